// Window: the grey values that are black and white; images that are compared follow it.

function formatNumber(x) { return Number.isInteger(x) ? String(x) : Number(x.toPrecision(3)).toString(); }

function createWindow(stage) {
  function follow() { // the sliders follow what is drawn
    const { cal_min: low, cal_max: high } = stage.nv.volumes[0];
    for (const [name, value] of [['low', low], ['high', high]]) {
      stage.field(name).value = value;
      stage.say(name, formatNumber(value));
    }
    const near = (a, b) => Math.abs(a - b) <= 1e-4 * Math.abs(high - low);
    const found = stage.scene.image.presets.findIndex((p) => near(p.low, low) && near(p.high, high));
    stage.field('preset').value = found < 0 ? '' : String(found);
  }

  function set(low, high) {
    const { nv, scene } = stage;
    const [image] = nv.volumes;
    const least = (scene.image.high - scene.image.low) / 1000;
    Object.assign(image, { cal_min: low, cal_max: Math.max(high, low + least) });
    nv.refreshLayers(image, 0);
    const other = stage.comparison.volume;
    if (other) {
      Object.assign(other, forOther(stage.comparison.image));
      nv.refreshLayers(other, nv.volumes.indexOf(other));
    }
    stage.draw();
    follow();
  }

  function forOther(other) { // of an image of other values: as the first one's window lies to its first preset
    const [first, own] = [stage.scene.image.presets[0], other.presets[0]];
    const { cal_min: low, cal_max: high } = stage.nv.volumes[0];
    const move = (x) => own.low + ((x - first.low) / (first.high - first.low)) * (own.high - own.low);
    return { cal_min: move(low), cal_max: move(high) };
  }

  return {
    follow,
    set,
    forOther,
    usePreset(index) { const preset = stage.scene.image.presets[index]; set(preset.low, preset.high); },
    load() {
      const { presets, low, high } = stage.scene.image;
      stage.field('preset').replaceChildren(...presets.map((p, i) => new Option(p.name, i)), new Option('by hand', ''));
      const margin = (high - low) / 10;
      for (const name of ['low', 'high']) Object.assign(stage.field(name), { min: low - margin, max: high + margin, step: 'any' });
      follow();
    },
  };
}
