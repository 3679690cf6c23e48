// Proposals: a click asks Python which lesion may lie there, or which piece of the mask may be wrong. Regions of several sizes
// come back; the visitor chooses one, clicks it smaller or larger, and takes it as one stroke.

const CLICK_REACH = 6; // pixels of the page; a pointer that moves farther drags
const APART_MM = 40; // a click so far from the others asks anew
const OFFER_COLOURS = { add: [0.78, 0.49, 1], remove: [0.61, 0.83, 1] };
const CLICK_HINT = 'Click a lesion that was missed, or a piece of the mask that is wrong.';
const REFINE_HINT = 'Too large: click the part that is wrong. Too small: click what is missing.';

function createProposals(stage, { shape, isInside, isSaved, take }) { // from the correction: what is in the mask, and a stroke
  const { root, nv, shader, textures } = stage;
  const bar = root.querySelector('.mv-offer');
  const of = (name) => bar.querySelector(`[data-offer="${name}"]`);
  let isOn = false; // the tool is in hand
  let press = null; // where the pointer went down
  let asked = null; // { number, removes, clicks: of { mm, is_wanted }, shown: region that the last one was made on }
  let offer = null; // the answer: { removes, low, shape, bytes, sizes, chosen }
  let number = 0; // of the last question
  let flight = null; // the number of the one that Python has not answered

  function say(text, hint = REFINE_HINT) {
    bar.hidden = !isOn;
    for (const name of ['smaller', 'larger', 'take', 'drop']) of(name).hidden = !offer;
    const ml = offer && offer.sizes[offer.chosen].voxels * stage.scene.live.voxel_ml;
    of('text').textContent = text || (offer
      ? `${offer.removes ? 'Take away' : 'Add'} ${ml < 1 ? ml.toFixed(2) : ml.toFixed(1)} ml?${offer.sizes.length > 1 ? ` Size ${offer.chosen + 1} of ${offer.sizes.length}` : ''}`
      : CLICK_HINT);
    of('hint').textContent = offer && !text ? hint : '';
    of('take').textContent = offer?.removes ? 'Take away' : 'Add';
    of('smaller').disabled = !offer?.chosen;
    of('larger').disabled = !offer || offer.chosen === offer.sizes.length - 1;
  }

  function show(text = '') {
    if (offer) {
      const whole = shape();
      textures.upload3D('offers', offer.bytes, offer.shape, 1, false);
      shader.set({
        offerLow: offer.low.map((x, axis) => x / whole[axis]), offerSize: offer.shape.map((n, axis) => n / whole[axis]),
        offerColour: OFFER_COLOURS[offer.removes ? 'remove' : 'add'], offerBit: offer.sizes[offer.chosen].bit,
      });
    } else shader.set({ offerBit: 0 });
    say(text);
    stage.draw();
  }

  function drop(text = '') {
    [asked, offer, press] = [null, null, null];
    show(text);
  }

  // ---- a click

  function findVoxel(at) {
    const frac = nv.canvasPos2frac(at);
    return frac[0] < 0 ? null : shape().map((n, axis) => Math.min(n - 1, Math.max(0, Math.floor(frac[axis] * n))));
  }

  const flatten = ([x, y, z], [nx, ny]) => x + nx * (y + ny * z);

  function isOffered(voxel) {
    const local = voxel.map((x, axis) => x - offer.low[axis]);
    if (local.some((x, axis) => x < 0 || x >= offer.shape[axis])) return false;
    return (offer.bytes[flatten(local, offer.shape)] & offer.sizes[offer.chosen].bit) > 0;
  }

  function click(at) {
    const voxel = findVoxel(at);
    if (!voxel) return;
    const whole = shape();
    const mm = [...nv.frac2mm(voxel.map((x, axis) => (x + 0.5) / whole[axis]), 0, true)].slice(0, 3);
    const removes = isInside(flatten(voxel, whole));
    const isNear = asked?.clicks.some((other) => Math.hypot(...other.mm.map((x, i) => x - mm[i])) < APART_MM);
    if (offer && isNear && removes === offer.removes) { // refines what is shown
      const { low, shape: size, bytes, sizes, chosen } = offer;
      const shown = { low, shape: size, voxels: bytes.map((byte) => Number((byte & sizes[chosen].bit) > 0)) };
      asked = { ...asked, clicks: [...asked.clicks, { mm, is_wanted: !isOffered(voxel) }], shown };
    } else {
      drop();
      asked = { removes, clicks: [{ mm, is_wanted: true }], shown: null };
    }
    asked.number = ++number;
    say('Looking…');
    if (flight === null) send();
  }

  async function send() { // once Python has the mask as it is seen
    if (!asked) return;
    flight = asked.number;
    if (!isSaved()) { setTimeout(send, 100); return; }
    const question = { case: stage.scene.case, ...asked };
    const shown = asked.shown && { ...asked.shown, voxels: await packBytes(asked.shown.voxels) };
    stage.trigger('propose', { ...question, shown });
  }

  async function unpack({ low, shape: size, voxels, ...answer }) { // less what would change nothing
    const bytes = await unpackBytes(voxels);
    const whole = shape();
    const counts = new Map();
    for (let z = 0, i = 0; z < size[2]; z++)
      for (let y = 0; y < size[1]; y++)
        for (let x = 0; x < size[0]; x++, i++) {
          if (bytes[i] && isInside(flatten([x + low[0], y + low[1], z + low[2]], whole)) !== answer.removes) bytes[i] = 0;
          if (bytes[i]) counts.set(bytes[i], (counts.get(bytes[i]) ?? 0) + 1);
        }
    const sizes = [];
    for (let bit = 1; bit < 256; bit *= 2) {
      let voxelCount = 0;
      for (const [byte, count] of counts) if (byte & bit) voxelCount += count;
      if (voxelCount) sizes.push({ bit, voxels: voxelCount });
    }
    const first = sizes.findIndex(({ bit }) => bit >= 2 ** answer.first);
    return sizes.length ? { removes: answer.removes, low, shape: size, bytes, sizes, chosen: first < 0 ? sizes.length - 1 : first } : null;
  }

  function choose(step) {
    offer.chosen = Math.min(offer.sizes.length - 1, Math.max(0, offer.chosen + step));
    show();
  }

  function accept() {
    const { low, shape: size, bytes, sizes, chosen, removes } = offer;
    const whole = shape();
    const index = [];
    for (let z = 0, i = 0; z < size[2]; z++)
      for (let y = 0; y < size[1]; y++)
        for (let x = 0; x < size[0]; x++, i++) if (bytes[i] & sizes[chosen].bit) index.push(flatten([x + low[0], y + low[1], z + low[2]], whole));
    drop();
    take(index, removes);
  }

  const actions = { smaller: () => choose(-1), larger: () => choose(1), take: accept, drop: () => drop() };
  const KEYS = { Enter: 'take', Escape: 'drop', '[': 'smaller', ']': 'larger', '-': 'smaller', '+': 'larger' };

  bar.addEventListener('mousedown', (event) => event.preventDefault()); // Enter goes on to take what is shown
  bar.addEventListener('click', ({ target }) => {
    const name = target.closest('button')?.dataset.offer;
    if (name && offer) actions[name]();
  });

  return {
    use(wanted) { // the tool is taken in hand, or put away
      if (wanted === isOn) return;
      isOn = wanted;
      drop();
    },
    forget() { // another result is shown
      [flight, isOn] = [null, false];
      drop();
    },
    restore: () => { if (offer) show(); },
    key(key, target) { // whether it was meant for the proposal
      if (!isOn || !(offer || asked) || !KEYS[key] || (key === 'Enter' && bar.contains(target))) return false;
      if (offer) actions[KEYS[key]]();
      else if (key === 'Escape') drop();
      return true;
    },
    press(at) { press = isOn ? at : null; },
    release(at) { // a click, unless the pointer has moved
      const from = press;
      press = null;
      if (from && at && Math.hypot(at[0] - from[0], at[1] - from[1]) < CLICK_REACH * devicePixelRatio) click(at);
    },
    async take(answer) { // from Python; what was asked before, or of another result, is not shown
      if (!answer || answer.case !== stage.scene?.case) return;
      if (answer.number === flight) flight = null;
      if (answer.number !== asked?.number) { if (asked && flight === null) send(); return; }
      if (answer.message && offer) { // the last click meant nothing: what was proposed before it stays
        asked = { ...asked, clicks: asked.clicks.slice(0, -1) };
        say('', answer.message);
        return;
      }
      if (answer.message) { drop(answer.message); return; }
      const unpacked = await unpack(answer);
      if (answer.number !== asked?.number) return;
      offer = unpacked;
      if (offer) show(); else drop('Nothing to change at that spot.');
    },
    tellFailure() {
      flight = null;
      if (asked) drop('No answer came. Click again.');
    },
  };
}
