// Stage: shows the scene that Python sends (see scene.py), and tells Python where the crosshair went. Gradio runs these files
// together, once for each mounted component, as the body of a function with the arguments element, trigger, props, watch.

const OPTIONS = {
  backColor: [0, 0, 0, 1], fontColor: [0.92, 0.92, 0.92, 1], crosshairColor: [0.45, 1, 0.55, 0.6],
  crosshairWidthUnit: 'mm', crosshairGap: 14, fontMinPx: 13, logLevel: 'error',
  isRadiologicalConvention: true, sagittalNoseLeft: true, isSliceMM: true, showAllOrientationMarkers: true,
  show3Dcrosshair: false, clipPlaneColor: [0, 0, 0, 0], dragAndDropEnabled: false, isColorbar: false, showLegend: false,
  loadingText: '', meshThicknessOn2D: 0, viewModeHotKey: '', clipPlaneHotKey: '', cycleClipPlaneHotKey: '', multiplanarForceRender: true,
};
const page = (window.medapp ??= { stages: {}, radiological: null, script: null });

const nameFile = (file) => file.orig_name || file.url; // by its content

function soon(task) { // at most once for each frame of the screen
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; task(); });
  };
}

const seen = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done))); // what was to be drawn is

function createStage(element, trigger, props) {
  const root = element.querySelector('.mv');
  const side = root.querySelector('.mv-side');
  const find = (selector) => side.querySelector(selector) ?? root.querySelector(selector);
  const stage = {
    element, root, side, trigger, name: root.dataset.name,
    view: root.querySelector('.mv-view'), canvas: root.querySelector('canvas'),
    nv: null, scene: null, image: '', // name of the file of the image that is displayed
    hidden: new Set(), hiddenByKey: new Map(), known: new Set(), loads: 0, // files that were loaded (for tests)
    field: (name) => find(`[data-field="${name}"]`),
    say(name, text) { find(`[data-say="${name}"]`).textContent = text; },
    text: (name) => find(`[data-say="${name}"]`).textContent,
    section(name, isShown) { side.querySelector(`[data-section="${name}"]`).hidden = !isShown; },
    figure(text) { const chip = root.querySelector('.mv-figure'); chip.textContent = text; chip.hidden = !text; },
    message(text) { root.querySelector('.mv-message').textContent = text; },
    draw() {}, drawNow() {}, isSettingUp: false, // once there is something to draw with
    drawAbove: () => stage.picture?.draw(),
    describe: (frac) => stage.readout.describe(frac),
    set: (name, value) => Boolean(stage.scene) && stage.live.set(name, value),
    openLink: (hash) => trigger('link', parseLink(hash)),
    extents() {
      const corners = [0, 1].flatMap((x) => [0, 1].flatMap((y) => [0, 1].map((z) => stage.nv.frac2mm([x, y, z], 0, true))));
      const of = (pick) => [0, 1, 2].map((axis) => pick(...corners.map((corner) => corner[axis])));
      return { low: of(Math.min), high: of(Math.max) };
    },
    swatch(paint) {
      const square = Object.assign(document.createElement('span'), { className: 'mv-swatch' });
      square.style.background = paint;
      return square;
    },
    ramp(name, { colours, low, high, unit }) { // a colour scale with its ends
      const stops = colours.map((colour) => `rgb(${colour.join(' ')})`).join(', ');
      side.querySelector(`[data-ramp="${name}"] i`).style.background = `linear-gradient(to right, ${stops})`;
      stage.say(`${name}-low`, formatNumber(low));
      stage.say(`${name}-high`, `${formatNumber(high)} ${unit}`.trim());
    },
    checkbox(title, isOn, paint, changed) {
      const label = Object.assign(document.createElement('label'), { className: 'mv-check' });
      const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: isOn });
      box.addEventListener('change', () => changed(box.checked));
      label.append(box, stage.swatch(paint), title);
      return label;
    },
    ramp3D(surface) { // the colour scale of a surface
      stage.section('surface', Boolean(surface));
      if (!surface) return;
      stage.say('surface-name', surface.name);
      stage.ramp('surface', { ...surface, colours: surface.ramp });
    },
    async loadVolume(file, options) {
      stage.loads++;
      return window.niivue.NVImage.loadFromUrl({ url: file.url, name: file.orig_name || file.path, ...options });
    },
    goTo(mm) {
      const { nv } = stage;
      if (!stage.image) return;
      nv.scene.crosshairPos = [...nv.mm2frac(mm.slice(0, 3), 0, true)].map((x) => Math.min(1, Math.max(0, x)));
      stage.draw();
      nv.createOnLocationChange();
    },
    setSide(radiological) { // on every stage of the page: two conventions side by side would be dangerous
      for (const one of Object.values(page.stages)) {
        if (!one.nv) continue;
        one.nv.setRadiologicalConvention(radiological);
        one.field('side').value = radiological ? 'radiological' : 'neurological';
        one.say('side', radiological ? 'Picture’s left is the patient’s right' : 'Picture’s left is the patient’s left');
        one.draw();
      }
    },
  };

  // ---- the script and the graphics context

  function fetchScript(source, integrity) {
    return new Promise((resolve, reject) => {
      const tag = document.createElement('script');
      if (integrity) Object.assign(tag, { integrity, crossOrigin: 'anonymous' });
      Object.assign(tag, { src: source, onload: resolve, onerror: () => { tag.remove(); reject(new Error(source)); } });
      document.head.append(tag);
    });
  }

  async function fetchLibrary(own) {
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
    side.hidden = true;
    stage.message(`The interactive view cannot be shown here: ${reason}. Pictures drawn by the server take its place.`);
    trigger('nowebgl', { reason });
  }

  async function start(own) {
    const { canvas, view } = stage;
    const gl = canvas.getContext('webgl2', { alpha: true, antialias: false });
    if (!gl) throw new Error('this browser has no WebGL 2, or it is switched off');
    page.script ??= fetchLibrary(own);
    const { Niivue } = await page.script.catch((error) => { page.script = null; throw error; });
    const nv = (stage.nv = new Niivue(OPTIONS));
    nv.setMouseEventConfig({ leftButton: { primary: 8, withShift: 9, withCtrl: 3 }, rightButton: 9, centerButton: 3 });
    nv.setTouchEventConfig({ singleTouch: 8, doubleTouch: 3 });
    nv.onLocationChange = (place) => stage.readout.locate(place);
    nv.onIntensityChange = () => stage.window.follow();
    nv.onMouseUp = () => { if (stage.image) stage.window.follow(); };
    const drawCross = nv.drawCrosshairs3D.bind(nv);
    nv.drawCrosshairs3D = (...rest) => { // as thin as can be seen, whatever the scale of the tile
      const tile = nv.screenSlices.at(-1);
      if (!rest[3] || !stage.field('cross').checked) return;
      nv.opts.crosshairWidth = Math.abs((1.2 * devicePixelRatio * tile.fovMM[0]) / tile.leftTopWidthHeight[2]);
      if (nv.crosshairs3D) nv.crosshairs3D.mm[0] = NaN; // made anew
      drawCross(...rest);
    };
    await nv.attachToCanvas(canvas, false);
    stage.drawNow = nv.drawScene.bind(nv);
    stage.draw = soon(stage.drawNow);
    nv.drawScene = () => (stage.isSettingUp ? stage.draw() : stage.drawNow()); // NiiVue asks for it at each setting
    stage.shader = createShader(nv);
    stage.textures = createTextures(nv);
    stage.surfaces = createSurfaces(stage);
    Object.assign(stage, {
      regions: createRegions(stage), live: createLiveMask(stage), maps: createMaps(stage),
      comparison: createComparison(stage), correction: createCorrection(stage), warp: createWarp(stage), window: createWindow(stage),
      readout: createReadout(stage), picture: createPicture(stage), layout: createLayout(stage),
      state: createViewState(stage), film: createFilm(stage),
    });
    stage.share = createShare(stage);
    stage.pointer = followPointer(stage);
    canvas.addEventListener('webglcontextlost', () => giveUp('the browser ran out of graphics memory'));
    let size = '';
    new ResizeObserver((_, observer) => {
      const now = `${view.clientWidth} ${view.clientHeight}`;
      if (element.isConnected && now !== size && stage.image && view.clientWidth) { size = now; stage.layout.apply(); }
      if (element.isConnected) return;
      observer.disconnect();
      if (page.stages[stage.name] === stage) delete page.stages[stage.name];
      nv.cleanup();
      gl.getExtension('WEBGL_lose_context')?.loseContext();
    }).observe(view);
  }

  // ---- Python's scene

  let turn = 0;
  async function show() {
    const mine = ++turn;
    const scene = props.value;
    root.classList.toggle('mv-empty', !scene);
    side.hidden = !scene;
    if (!scene) { clear(); return; }
    try {
      stage.started ??= start(scene.script?.url);
      await stage.started;
      if (mine !== turn) return;
      stage.isSettingUp = true;
      await display(scene);
    } catch (error) {
      if (mine === turn) { console.error(error); giveUp(error.message); }
    } finally {
      if (mine === turn) stage.isSettingUp = false;
    }
  }

  async function display(scene) {
    const { nv } = stage;
    const before = stage.scene;
    const isNewImage = stage.image !== nameFile(scene.image.file);
    const isNewKind = before?.key !== scene.key;
    const isNew = isNewImage || isNewKind;
    stage.message(isNewImage ? 'Loading…' : '');
    if (isNewKind) {
      if (!stage.hiddenByKey.has(scene.key)) stage.hiddenByKey.set(scene.key, new Set());
      stage.hidden = stage.hiddenByKey.get(scene.key);
    }
    for (const { name, is_shown } of scene.regions?.regions ?? []) {
      if (!is_shown && (isNew || !stage.known.has(`${scene.key} ${name}`))) stage.hidden.add(name);
      stage.known.add(`${scene.key} ${name}`);
    }
    stage.state.hide(scene);
    if (isNewImage) {
      const image = await stage.loadVolume(scene.image.file, {});
      if (props.value !== scene) return;
      const isSameResult = before?.case === scene.case && before.key === scene.key; // a first view that is computed now
      const mm = isSameResult ? nv.frac2mm(nv.scene.crosshairPos, 0, true) : null;
      clear();
      const { low, high } = scene.image.presets[0];
      Object.assign(image, { cal_min: low, cal_max: high });
      stage.scene = scene;
      nv.volumes = [];
      nv.addVolume(image);
      stage.image = nameFile(scene.image.file);
      stage.warp.measureBox();
      stage.window.load();
      if (!isSameResult) stage.layout.reset();
      stage.field('cross').checked = !stage.layout.findFlat();
      nv.opts.isOrientationTextVisible = !scene.image.is_picture;
      root.classList.toggle('mv-picture', scene.image.is_picture);
      stage.goTo(scene.crosshair ?? mm ?? nv.frac2mm([0.5, 0.5, 0.5], 0, true));
    } else {
      stage.scene = scene;
      if (scene.crosshair) stage.goTo(scene.crosshair);
      await stage.surfaces.changeBrain(before);
      if (stage.scene !== scene) return;
    }
    stage.say('remark', scene.image.remark);
    stage.layout.load(isNew);
    stage.setSide(page.radiological ?? scene.radiological);
    stage.message('');
    await stage.regions.load(before?.regions);
    if (stage.scene !== scene) return;
    stage.correction.load();
    await stage.correction.restore();
    if (stage.scene !== scene) return;
    await stage.live.load();
    stage.live.markNear();
    if (scene.regions) stage.regions.paint();
    if (isNewImage) { // the slices are seen before the slower 3-D view is made
      await seen();
      if (stage.scene !== scene) return;
      await stage.surfaces.light();
      if (stage.scene !== scene) return;
    }
    await stage.comparison.load(isNew);
    if (stage.scene !== scene) return;
    await stage.warp.load(isNew);
    await stage.maps.load(isNew);
    if (stage.scene !== scene) return;
    stage.layout.set(stage.layout.name);
    await stage.surfaces.load();
    if (stage.scene !== scene) return;
    await stage.state.take(scene);
    if (stage.scene !== scene) return;
    stage.share.load();
    nv.createOnLocationChange();
    await seen();
    if (stage.scene !== scene) return;
    root.dataset.shown = scene.key; // for tests: everything is there
  }

  function clear() {
    stage.image = '';
    stage.scene = null;
    delete root.dataset.shown;
    if (!stage.nv) return;
    stage.comparison.stop();
    stage.warp.stop();
    stage.surfaces.reset();
    stage.textures.clear();
    stage.nv.volumes = [];
    stage.nv.overlays = [];
    stage.figure('');
    stage.nv.drawScene();
  }

  // ---- the page's controls

  function moveControls(tries = 100) { // into the panel, which is mounted after the stage
    const panel = document.getElementById(`${stage.name}-layers`);
    if (panel) panel.replaceChildren(side);
    else if (tries) setTimeout(moveControls, 100, tries - 1);
  }

  const actions = {
    in: () => stage.layout.zoom(1.25),
    out: () => stage.layout.zoom(0.8),
    reset: () => { stage.layout.reset(); stage.window.usePreset(0); stage.draw(); },
    lens: () => stage.pointer.toggleLens(),
    correct: () => stage.correction.toggle(),
    share: () => stage.share.toggle(),
    full: () => stage.picture.toggleFull(),
    play: () => stage.warp.play(),
  };
  const changes = {
    preset: (value) => { if (value) stage.window.usePreset(Number(value)); },
    side: (value) => { page.radiological = value === 'radiological'; stage.setSide(page.radiological); },
    cross: () => stage.draw(),
    cut: () => stage.surfaces.cut(true),
    style: () => stage.regions.style(),
    map: (value) => stage.maps.choose(value),
    other: (value) => stage.comparison.choose(value),
    way: () => stage.comparison.show(),
    'fusion-view': () => stage.live.setView(),
    grid: () => stage.warp.setGrid(),
    arrows: () => stage.draw(),
  };
  const moves = {
    low: () => moveWindow('low'),
    high: () => moveWindow('high'),
    opacity: () => stage.regions.style(),
    'map-opacity': () => stage.maps.setOpacity(),
    swipe: (value) => stage.comparison.setSwipe(Number(value)),
    warp: (value) => {
      stage.warp.stop();
      if (stage.comparison.name !== stage.scene.warp.image) stage.comparison.choose(stage.scene.warp.image);
      stage.warp.setShare(Number(value));
    },
    'grid-mm': () => stage.warp.setGrid(),
    'arrow-scale': () => stage.draw(),
  };
  const moveWindow = (name) => {
    const [low, high] = [Number(stage.field('low').value), Number(stage.field('high').value)];
    stage.window.set(name === 'high' ? Math.min(low, high) : low, high);
  };
  const onClick = ({ target }) => {
    const button = target.closest('button');
    if (!button || !stage.image) return;
    if (button.dataset.layout) stage.layout.set(button.dataset.layout);
    actions[button.dataset.do]?.();
  };
  for (const part of [root, side]) part.addEventListener('click', onClick);
  side.addEventListener('change', ({ target }) => { if (stage.image) changes[target.dataset.field]?.(target.value); });
  side.addEventListener('input', ({ target }) => { if (stage.image) moves[target.dataset.field]?.(target.value); });

  element.medapp_stage = stage;
  page.stages[stage.name] = stage;
  moveControls();
  watch('value', show);
  watch('proposals', () => stage.correction?.proposals.take(props.proposals));
  watch('jump', () => { if (props.jump) stage.goTo(props.jump.slice(0, 3)); });
  show();
}

if (!element.medapp_stage) createStage(element, trigger, props);
