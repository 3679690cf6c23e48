// Viewer: shows the scene that Python sends (see scene.py) and tells Python where the crosshair went.
// Gradio runs this file once for each mounted component, as the body of a function with the arguments
// element, trigger, props, server, upload, watch. NiiVue's own drawing does the work; this wires it to the page.

const root = element.querySelector('.mv');
const stage = root.querySelector('.mv-stage');
const canvas = root.querySelector('canvas');
const page = (window.__medapp_viewer ??= { viewers: new Set(), script: null, wheel: 0 });
const field = (name) => root.querySelector(`[data-field="${name}"]`);
const say = (name, text) => { root.querySelector(`[data-say="${name}"]`).textContent = text; };
const message = (text) => { root.querySelector('.mv-message').textContent = text; };

const PLANES = { axial: 0, coronal: 1, sagittal: 2, all: 3, render: 4 };
const FOUR_UP = [ // [left, top, width, height] of the canvas; axial above coronal share left and right
  { sliceType: 0, position: [0, 0, 0.5, 0.5] },
  { sliceType: 4, position: [0.5, 0, 0.5, 0.5] },
  { sliceType: 1, position: [0, 0.5, 0.5, 0.5] },
  { sliceType: 2, position: [0.5, 0.5, 0.5, 0.5] },
];
const OPTIONS = {
  backColor: [0, 0, 0, 1], fontColor: [0.92, 0.92, 0.92, 1], crosshairColor: [0.45, 1, 0.55, 1],
  crosshairWidthUnit: 'mm', crosshairGap: 14, fontMinPx: 13, logLevel: 'error',
  isRadiologicalConvention: true, sagittalNoseLeft: true, isSliceMM: true, showAllOrientationMarkers: true,
  show3Dcrosshair: true, clipPlaneColor: [0, 0, 0, 0], dragAndDropEnabled: false, isColorbar: false, showLegend: false, loadingText: '',
  viewModeHotKey: '', clipPlaneHotKey: '', cycleClipPlaneHotKey: '', maxDrawUndoBitmaps: 1,
};

// The slices: image, maps, then regions with a line of two pixels just outside them, so that it hides no lesion.
// One uniform a line: that is how NiiVue finds them.
const SLICES = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume;
uniform highp sampler3D overlay;
uniform highp sampler3D drawing;
uniform highp sampler2D colormap;
uniform float overlays;
uniform float opacity;
uniform float drawOpacity;
uniform float drawRimOpacity;
in vec3 texPos;
out vec4 color;
vec3 paint(float code) {
  float rows = float(textureSize(colormap, 0).y);
  return texture(colormap, vec2((code * 255.0 + 0.5) / 256.0, (rows - 0.5) / rows)).rgb;
}
void main() {
  color = vec4(texture(volume, texPos).rgb, opacity);
  if (overlays > 0.0) {
    vec4 map = texture(overlay, texPos);
    color.rgb = mix(color.rgb, map.rgb, map.a);
  }
  float code = texture(drawing, texPos).r;
  if (code > 0.0) color.rgb = mix(color.rgb, paint(code), drawOpacity);
  if (drawRimOpacity < 0.0) return;
  vec3 x = dFdx(texPos), y = dFdy(texPos);
  float grown = code;
  for (int i = -2; i <= 2; i++)
    for (int j = -2; j <= 2; j++)
      if (i * i + j * j < 6) grown = max(grown, texture(drawing, texPos + float(i) * x + float(j) * y).r);
  if (grown == code) return;
  vec3 line = paint(grown);
  if (code > 0.0 && grown < 0.5 && line == paint(code)) line = paint(grown + 128.0 / 255.0); // the edge of what is below
  color.rgb = mix(color.rgb, line, drawRimOpacity);
}`;

const my = {
  element, sync: root.dataset.sync, nv: null, scene: null,
  image: '', mask: '', codes: null, heats: new Map(), // what is loaded, by address
  hidden: new Set(), loads: 0, // names of regions and maps switched off; how many files were loaded (for tests)
};

// ---- the script and the graphics context -------------------------------------------------------------------------

function fetchScript(source, integrity) {
  return new Promise((resolve, reject) => {
    const tag = document.createElement('script');
    if (integrity) Object.assign(tag, { integrity, crossOrigin: 'anonymous' });
    Object.assign(tag, { src: source, onload: resolve, onerror: () => { tag.remove(); reject(new Error(source)); } });
    document.head.append(tag);
  });
}

async function library(own) {
  const sources = JSON.parse(root.dataset.cdn).map((url) => [url, root.dataset.integrity]);
  if (own) sources.unshift([own, '']);
  for (const [source, integrity] of sources) {
    if (window.niivue) break;
    try { await fetchScript(source, integrity); } catch { /* try the next */ }
  }
  if (!window.niivue) throw new Error('the drawing script could not be loaded');
  return window.niivue;
}

function giveUp(reason) {
  root.classList.remove('mv-empty');
  root.classList.add('mv-off');
  message(`The interactive view cannot be shown here: ${reason}. Pictures drawn by the server take its place.`);
  trigger('nowebgl', { reason });
}

async function start(own) {
  const gl = canvas.getContext('webgl2', { alpha: true, antialias: false });
  if (!gl) throw new Error('this browser has no WebGL 2, or it is switched off');
  page.script ??= library(own);
  const { Niivue } = await page.script.catch((error) => { page.script = null; throw error; });
  const nv = new Niivue(OPTIONS);
  nv.setMouseEventConfig({ leftButton: { primary: 8, withShift: 9, withCtrl: 3 }, rightButton: 9, centerButton: 3 });
  nv.setTouchEventConfig({ singleTouch: 8, doubleTouch: 3 });
  nv.onLocationChange = located;
  nv.onIntensityChange = showWindow;
  nv.onMouseUp = () => { if (my.image) showWindow(); };
  const draw3D = nv.draw3D.bind(nv);
  nv.draw3D = (...rest) => { // regions are solid in 3-D whatever they are on the slices
    const { drawOpacity } = nv;
    nv.drawOpacity = drawOpacity && 1;
    try { return draw3D(...rest); } finally { nv.drawOpacity = drawOpacity; }
  };
  const drawCross = nv.drawCrosshairs3D.bind(nv);
  nv.drawCrosshairs3D = (...rest) => { // as thin as can be seen, whatever the scale of the tile
    const tile = nv.screenSlices.at(-1);
    const thin = Math.abs((1.5 * devicePixelRatio * tile.fovMM[0]) / tile.leftTopWidthHeight[2]);
    nv.opts.crosshairWidth = !field('cross').checked ? 0 : rest[3] ? thin : 0.8;
    if (nv.crosshairs3D) nv.crosshairs3D.mm[0] = NaN; // made anew
    if (nv.opts.crosshairWidth) drawCross(...rest);
  };
  await nv.attachToCanvas(canvas, false);
  nv.setCustomSliceShader(SLICES);
  nv.setCustomLayout(FOUR_UP);
  canvas.addEventListener('webglcontextlost', () => giveUp('the browser ran out of graphics memory'));
  new ResizeObserver((_, observer) => {
    if (element.isConnected) return;
    observer.disconnect();
    page.viewers.delete(my);
    nv.cleanup();
    gl.getExtension('WEBGL_lose_context')?.loseContext();
    link();
  }).observe(stage);
  return nv;
}

function link() { // viewers with one name follow each other
  for (const one of page.viewers) {
    const others = [...page.viewers].filter((v) => v !== one && one.sync && v.sync === one.sync && v.image);
    one.nv.broadcastTo(others.map((v) => v.nv), { '2d': true, '3d': true });
  }
}

// ---- Python's scene ----------------------------------------------------------------------------------------------

let running = null;
let waiting = false;
let off = false;

async function show() { // one at a time, and of those that came meanwhile only the last
  waiting = true;
  running ??= (async () => {
    while (waiting && !off) {
      waiting = false;
      try { await shown(props.value); } catch (error) { off = true; console.error(error); giveUp(error.message); }
    }
    running = null;
  })();
  await running;
}

async function shown(scene) {
  const empty = !scene || !scene.image;
  root.classList.toggle('mv-empty', empty);
  message(empty ? 'No image yet.' : my.image === scene.image.file.url ? '' : 'Loading the image…');
  if (empty) { clear(); return; }
  my.nv ??= await start(scene.script?.url);
  page.viewers.add(my);
  const fresh = my.image !== scene.image.file.url;
  const before = my.scene;
  my.scene = scene;
  if (fresh) await loadImage(scene.image, scene.crosshair);
  if (!before || before.radiological !== scene.radiological) setSide(page.radiological ?? scene.radiological);
  if (String(before?.crosshair) !== String(scene.crosshair) && scene.crosshair) goTo(scene.crosshair);
  follow();
  await loadHeats(scene.heats);
  await loadRegions(scene.regions, before?.regions);
  message('');
  root.querySelector('.mv-remark').textContent = scene.image.remark;
  link();
  my.nv.createOnLocationChange();
}

function follow() {
  if (my.jump) goTo(my.jump);
  my.jump = null;
}

function load(file, rest) {
  my.loads += 1;
  return window.niivue.NVImage.loadFromUrl({ url: file.url, name: file.orig_name, ...rest });
}

async function loadImage(picture, crosshair) {
  const { nv } = my;
  const [first] = picture.presets;
  const image = await load(picture.file, { colormap: 'gray', cal_min: first.low, cal_max: first.high });
  const place = my.image && !crosshair ? nv.frac2mm(nv.scene.crosshairPos, 0, true).slice(0, 3) : null;
  clear();
  nv.addVolume(image);
  my.image = picture.file.url;
  const stay = place && nv.mm2frac(place, 0, true).every((x) => x >= 0 && x <= 1);
  if (stay) goTo(place); else { resetView(); goTo(crosshair ?? nv.frac2mm([0.5, 0.5, 0.5], 0, true)); }
  field('preset').replaceChildren(...picture.presets.map((p, i) => new Option(p.name, i)), new Option('by hand', ''));
  field('preset').value = '0';
  for (const name of ['low', 'high']) {
    const margin = (picture.high - picture.low) / 10;
    Object.assign(field(name), { min: picture.low - margin, max: picture.high + margin, step: 'any' });
  }
  showWindow();
}

function clear() {
  my.image = my.mask = '';
  my.codes = null;
  my.heats.clear();
  if (!my.nv) return;
  my.nv.volumes = [];
  my.nv.overlays = [];
  if (my.nv.drawBitmap) my.nv.closeDrawing();
  my.nv.drawScene();
}

async function loadHeats(heats) {
  const { nv } = my;
  for (const [url, image] of my.heats) {
    if (heats.some((heat) => heat.file.url === url)) continue;
    nv.removeVolume(image);
    my.heats.delete(url);
  }
  for (const heat of heats.filter((h) => !my.heats.has(h.file.url))) {
    const name = `heat ${heat.solid} ${heat.signed} ${JSON.stringify(heat.colours)}`;
    const ramp = heat.colours.map((_, i) => Math.round((i * 255) / (heat.colours.length - 1)));
    const [R, G, B] = [0, 1, 2].map((channel) => heat.colours.map((colour) => colour[channel]));
    const clear = heat.signed ? ramp.map((v) => Math.round(Math.abs(2 * v - 255))) : ramp;
    nv.addColormap(name, { R, G, B, A: heat.solid ? ramp.map(() => 255) : clear, I: ramp });
    if (heat.opacity === 0) my.hidden.add(heat.name);
    const image = await load(heat.file, { colormap: name, cal_min: heat.low, cal_max: heat.high, opacity: 0 });
    image.wanted = heat.opacity || (heat.solid ? 1 : 0.7);
    nv.addVolume(image);
    my.heats.set(heat.file.url, image);
  }
  showHeats(heats);
}

async function loadRegions(regions, before) {
  const { nv } = my;
  root.querySelector('.mv-regions').hidden = !regions;
  if (!regions) {
    if (nv.drawBitmap) nv.closeDrawing();
    [my.mask, my.codes] = ['', null];
    return;
  }
  if (my.mask !== regions.file.url) {
    const mask = await load(regions.file, {});
    if (!nv.loadDrawing(mask)) throw new Error('a mask does not fit its image');
    nv.drawClearAllUndoBitmaps();
    my.codes = nv.drawBitmap.slice();
    my.mask = regions.file.url;
  }
  if (!before || before.outline !== regions.outline || before.opacity !== regions.opacity) {
    field('style').value = regions.outline ? 'outline' : 'fill';
    field('opacity').value = regions.opacity;
  }
  showLegend(regions);
  paintRegions();
}
