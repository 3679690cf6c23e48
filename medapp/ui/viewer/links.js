// Links: what stands after the # of an address that reopens an example. Python checks all of it, see links.py.

const LINKED = { mm: 'mm', layout: 'layout', window: 'window', t: 't', line: 'line' }; // parts of the view state
const MAX_LINK = 2000; // characters

function formatLink(scene, state) { // null where no address can reopen the result
  if (!scene.sharing?.link) return null;
  const params = new URLSearchParams(scene.sharing.link);
  const short = (x) => Number(x.toPrecision(5));
  for (const name of Object.keys(LINKED)) {
    const value = state[name];
    if (value === undefined || value === null || (name === 'line' && value === 0.5)) continue;
    params.set(name, Array.isArray(value) ? value.map(short).join() : typeof value === 'number' ? short(value) : value);
  }
  return `${location.origin}${location.pathname}#${params.toString().replaceAll('%2C', ',')}`;
}

function parseLink(hash) { // for Python; what is no number becomes null, which it refuses
  const params = [...new URLSearchParams(hash.slice(1, MAX_LINK))];
  const parse = { layout: (text) => text, t: Number, line: Number };
  const numbers = (text) => text.split(',').map(Number);
  const link = { example: '', settings: {}, state: {} };
  for (const [name, text] of params) {
    if (name === 'example') link.example = text;
    else if (Object.hasOwn(LINKED, name)) link.state[name] = (parse[name] ?? numbers)(text);
    else Object.defineProperty(link.settings, name, { value: text, enumerable: true });
  }
  return link;
}
