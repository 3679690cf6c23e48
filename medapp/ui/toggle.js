// The body of a function with the argument `element`, run once a toggle is mounted, see toggle.py.

const button = element.querySelector('.toggle');
const row = document.getElementById(button.dataset.row);
const name = button.dataset.class;

function tell() { // also when something else has changed the class
  const isOn = row.classList.contains(name);
  button.setAttribute('aria-expanded', String(name.endsWith('-closed') ? !isOn : isOn));
}

if (name === 'drawer-closed' && window.innerWidth < 1220 && `${window.medappPage?.opened}-work` !== row.id) row.classList.add(name); // the picture keeps 45 % of the window
button.addEventListener('click', () => row.classList.toggle(name));
new MutationObserver(tell).observe(row, { attributeFilter: ['class'] });
tell();
