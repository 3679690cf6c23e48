// View state: how the stage is set, as plain values for a scene file or a link, and taken up again; see view_state.py.

const SHARES = { opacity: 'opacity', map_opacity: 'map-opacity' }; // name here to field
const BOXES = ['cross', 'cut', 'grid', 'arrows'];

function createViewState(stage) {
  let taken = ''; // the case whose state was taken up

  const round = (x) => Number(x.toPrecision(9));
  const hasOption = (name, value) => [...stage.field(name).options].some((option) => option.value === value);

  function read() {
    const { nv, scene } = stage;
    const [image] = nv.volumes;
    const state = {
      mm: [...nv.frac2mm(nv.scene.crosshairPos, 0, true)].slice(0, 3).map(round),
      layout: stage.layout.name,
      pan: [...nv.scene.pan2Dxyzmm].map(round),
      turn: [nv.scene.renderAzimuth, nv.scene.renderElevation].map(round),
      near: round(nv.scene.volScaleMultiplier),
      networks: stage.field('fusion-view').value,
      compared: stage.comparison.name,
      way: stage.field('way').value,
      line: stage.shader.values.swipe ?? 0.5,
      map: stage.field('map').value,
    };
    if (Number.isFinite(image.cal_min + image.cal_max)) state.window = [image.cal_min, image.cal_max].map(round);
    const known = scene.regions?.regions.map(({ name }) => name) ?? [];
    if (known.length <= 300) state.hidden = known.filter((name) => stage.hidden.has(name));
    if (scene.regions) state.style = stage.field('style').value;
    if (scene.warp) state.t = Number(stage.field('warp').value);
    for (const [name, field] of Object.entries(SHARES)) state[name] = Number(stage.field(field).value);
    for (const name of BOXES) state[name] = stage.field(name).checked;
    return state;
  }

  const has = (value) => value !== null && value !== undefined;
  const put = (field, value) => { if (has(value) && hasOption(field, value)) stage.field(field).value = value; };

  async function apply(state) { // what is not known here, or not there, stays as it is
    const { nv, scene } = stage;
    if (state.window) stage.window.set(...state.window);
    put('way', state.way);
    if (has(state.compared) && state.compared !== stage.comparison.name) await stage.comparison.choose(state.compared);
    stage.comparison.show();
    if (has(state.line)) stage.comparison.setSwipe(state.line);
    for (const [name, field] of Object.entries(SHARES)) if (has(state[name])) stage.field(field).value = state[name];
    for (const name of BOXES) if (has(state[name])) stage.field(name).checked = state[name];
    put('style', state.style);
    put('fusion-view', state.networks);
    stage.live.setView();
    if (scene.regions) stage.regions.style();
    if (has(state.map) && hasOption('map', state.map)) await stage.maps.choose(state.map);
    if (stage.scene !== scene) return;
    if (scene.warp && has(state.t)) stage.warp.setShare(state.t);
    stage.warp.setGrid();
    if (state.pan) nv.setPan2Dxyzmm([...state.pan]);
    if (has(state.near)) nv.scene.volScaleMultiplier = state.near;
    if (state.turn) nv.setRenderAzimuthElevation(...state.turn);
    if (has(state.layout)) stage.layout.set(state.layout);
    if (state.mm) stage.goTo(state.mm);
    stage.surfaces.cut(true);
  }

  const isDue = (scene) => Boolean(scene.state) && taken !== scene.case;

  return {
    read,
    apply,
    hide(scene) { // before the regions are drawn
      if (!isDue(scene) || !scene.state.hidden) return;
      stage.hidden.clear();
      for (const name of scene.state.hidden) stage.hidden.add(name);
    },
    async take(scene) { // once all is there
      if (!isDue(scene)) return;
      taken = scene.case;
      await apply(scene.state);
    },
  };
}
