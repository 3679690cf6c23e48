// Window, view and crosshair, and the controls that move them. Continues viewer_layers.js in the same function.

function number(x) { return Number.isInteger(x) ? String(x) : Number(x.toPrecision(3)).toString(); }

function soon(task) { // at most once for each frame of the screen
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; task(); });
  };
}

function showWindow() { // the sliders follow what is drawn
  const { cal_min: low, cal_max: high } = my.nv.volumes[0];
  for (const [name, value] of [['low', low], ['high', high]]) {
    field(name).value = value;
    root.querySelector(`[data-of="${name}"]`).value = number(value);
  }
  const near = (a, b) => Math.abs(a - b) <= 1e-4 * Math.abs(high - low);
  const found = my.scene.image.presets.findIndex((p) => near(p.low, low) && near(p.high, high));
  field('preset').value = found < 0 ? '' : String(found);
}

function setWindow(low, high) {
  const [image] = my.nv.volumes;
  const least = (my.scene.image.high - my.scene.image.low) / 1000;
  Object.assign(image, { cal_min: low, cal_max: Math.max(high, low + least) });
  my.nv.refreshLayers(image, 0);
  for (const heat of my.scene.heats.filter((h) => h.solid)) { // images that are compared share one window
    const other = my.heats.get(heat.file.url);
    if (!other) continue;
    Object.assign(other, { cal_min: image.cal_min, cal_max: image.cal_max });
    my.nv.refreshLayers(other, my.nv.volumes.indexOf(other));
  }
  my.nv.drawScene();
  showWindow();
}

function setSide(radiological) { // for every viewer of the page: two conventions side by side would be dangerous
  for (const { nv, element: at } of page.viewers) {
    nv.setRadiologicalConvention(radiological);
    at.querySelector('[data-field="side"]').value = radiological ? 'radiological' : 'neurological';
    at.querySelector('[data-say="side"]').textContent =
      radiological ? 'Picture’s left is the patient’s right' : 'Picture’s left is the patient’s left';
  }
}

function setLayout(name) {
  stage.dataset.layout = name;
  for (const button of root.querySelectorAll('button[data-layout]')) {
    button.setAttribute('aria-pressed', String(button.dataset.layout === name));
  }
  if (name === 'all') my.nv.setCustomLayout(FOUR_UP); else my.nv.clearCustomLayout();
  my.nv.setSliceType(PLANES[name]);
}

function zoom(factor) { // about the crosshair
  const { nv } = my;
  const [x, y, z, old] = nv.scene.pan2Dxyzmm;
  const now = Math.min(10, Math.max(0.5, old * factor));
  const mm = nv.frac2mm(nv.scene.crosshairPos);
  nv.setPan2Dxyzmm([x, y, z].map((pan, i) => pan + (old - now) * mm[i]).concat(now));
}

function resetView() {
  const { nv } = my;
  nv.scene.volScaleMultiplier = 1.3;
  nv.setRenderAzimuthElevation(150, 12);
  nv.setPan2Dxyzmm([0, 0, 0, 1]);
}

function cut() { // the 3-D view loses what is above the crosshair
  const { nv } = my;
  const open = field('cut').checked;
  nv.setClipPlane(open ? [nv.scene.crosshairPos[2] - 0.5, 0, 90] : [2, 0, 0]); // keeps what is below
}

function goTo(mm) {
  for (const one of page.viewers) {
    if (one !== my && (!my.sync || one.sync !== my.sync || !one.image)) continue;
    const frac = one.nv.mm2frac(mm.slice(0, 3), 0, true);
    one.nv.scene.crosshairPos = frac.map((x) => Math.min(1, Math.max(0, x)));
    one.nv.drawScene();
    one.nv.createOnLocationChange();
  }
}

let timer = 0;
function located({ mm, vox, values }) {
  const { image, heats, regions } = my.scene;
  const places = [...mm].slice(0, 3).map((x, i) => `${['RL', 'AP', 'SI'][i][Number(x < 0)]} ${Math.abs(x).toFixed(1)}`);
  say('place', `${places.join('  ')} mm`);
  const read = { [image.name]: values[0]?.value };
  for (const heat of heats) {
    const index = my.nv.volumes.indexOf(my.heats.get(heat.file.url));
    if (index > 0) read[heat.name] = values[index]?.value;
  }
  const [, dx, dy] = my.nv.volumes[0].dimsRAS;
  const code = my.codes?.[vox[0] + dx * (vox[1] + dy * vox[2])] ?? 0;
  const inside = code ? regions.members[code - 1].map((id) => regions.regions[id].name) : [];
  const texts = Object.entries(read).map(([name, value]) => `${name} ${value === undefined ? '–' : number(value)}`);
  if (image.unit) texts[0] += ` ${image.unit}`;
  say('values', [...texts, ...inside].join('  ·  '));
  if (field('cut').checked) soonCut();
  clearTimeout(timer);
  if (document.activeElement !== canvas) return; // Python moved it, or another viewer
  timer = setTimeout(() => {
    trigger('select', { mm: [...mm].slice(0, 3), voxel: [...vox], values: read, regions: inside });
  }, 250);
}
const soonCut = soon(cut);

function save() {
  my.nv.drawScene();
  const [bar, out] = [34 * devicePixelRatio, document.createElement('canvas')];
  Object.assign(out, { width: canvas.width, height: canvas.height + bar });
  const pen = out.getContext('2d');
  pen.fillRect(0, 0, out.width, out.height);
  pen.drawImage(canvas, 0, 0);
  Object.assign(pen, { fillStyle: '#ddd', font: `${13 * devicePixelRatio}px sans-serif`, textBaseline: 'middle' });
  const text = [...root.querySelectorAll('[data-say]')].map((span) => span.textContent).filter(Boolean).join('   |   ');
  pen.fillText(text, 8, canvas.height + bar / 2, out.width - 16);
  const link = Object.assign(document.createElement('a'), { href: out.toDataURL('image/png'), download: 'view.png' });
  link.click();
}

// ---- the page's controls -----------------------------------------------------------------------------------------

const actions = {
  in: () => zoom(1.25),
  out: () => zoom(0.8),
  reset: () => { setLayout('all'); resetView(); reWindow(0); },
  save,
};
const reWindow = (index) => { const preset = my.scene.image.presets[index]; setWindow(preset.low, preset.high); };
root.addEventListener('click', ({ target }) => {
  if (target.dataset.layout && target.matches('button')) setLayout(target.dataset.layout);
  actions[target.dataset.do]?.();
});
field('preset').addEventListener('change', ({ target }) => { if (target.value) reWindow(Number(target.value)); });
for (const name of ['low', 'high']) {
  field(name).addEventListener('input', soon(() => {
    const [low, high] = [Number(field('low').value), Number(field('high').value)];
    setWindow(name === 'high' ? Math.min(low, high) : low, high);
  }));
}
field('style').addEventListener('change', styleRegions);
field('opacity').addEventListener('input', soon(styleRegions));
field('side').addEventListener('change', ({ target }) => {
  page.radiological = target.value === 'radiological';
  setSide(page.radiological);
});
field('cross').addEventListener('change', () => my.nv.drawScene());
field('cut').addEventListener('change', cut);

const STEPS = { // on the axial picture, and through it
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};
canvas.addEventListener('keydown', (event) => {
  const step = STEPS[event.key];
  if (!step || !my.image) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const mirrored = my.nv.opts.isRadiologicalConvention;
  my.nv.moveCrosshairInVox(mirrored ? -step[0] : step[0], step[1], step[2]);
}, true);

// The wheel scrolls slices, unless it was scrolling the page when the picture came under the pointer.
stage.addEventListener('wheel', (event) => {
  if (event.timeStamp - page.wheel < 300) { page.wheel = event.timeStamp; event.stopImmediatePropagation(); }
}, { capture: true, passive: true });
if (!page.listening) {
  page.listening = true;
  window.addEventListener('wheel', (event) => {
    if (!event.target.closest?.('.mv-stage')) page.wheel = event.timeStamp;
  }, { capture: true, passive: true });
}

element.medapp_viewer = my;
watch('value', show);
watch('jump', () => {
  if (!props.jump) return;
  my.jump = props.jump.slice(0, 3); // kept until there is an image to go to it in
  if (my.image) follow();
});
show();
