// Window: the grey values that are black and white, the same for every image on the stage.

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
      Object.assign(other, { cal_min: image.cal_min, cal_max: image.cal_max });
      nv.refreshLayers(other, nv.volumes.indexOf(other));
    }
    stage.draw();
    follow();
  }

  return {
    follow,
    set,
    current: () => ({ cal_min: stage.nv.volumes[0].cal_min, cal_max: stage.nv.volumes[0].cal_max }),
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
