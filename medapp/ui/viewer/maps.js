// Maps: values by colour over the image, one at a time, each with its scale and unit.

function createMaps(stage) {
  const { textures, shader } = stage;
  let shown = null; // the scene's map that is displayed

  async function choose(name) {
    const map = stage.scene.maps.find((one) => one.name === name) ?? null;
    shown = map;
    stage.field('map').value = map ? name : '';
    for (const part of stage.side.querySelectorAll('[data-of-map]')) part.hidden = !map;
    if (!map) { shader.set({ mapOpacity: 0 }); stage.draw(); return; }
    stage.ramp('map', map);
    await textures.load('values', map.texture, true);
    if (shown !== map) return;
    textures.upload2D('ramp', new Uint8Array(map.colours.flatMap((colour) => [...colour, 255])), map.colours.length, 1, true);
    shader.set({ mapSigned: Number(map.signed) });
    setOpacity();
  }

  function setOpacity() {
    const share = Number(stage.field('map-opacity').value);
    stage.say('map-opacity', `${Math.round(share * 100)} %`);
    shader.set({ mapOpacity: shown ? share : 0 });
    stage.draw();
  }

  return {
    choose,
    setOpacity,
    get shown() { return shown; },
    load(isNew) {
      const { maps, map } = stage.scene;
      const chosen = isNew ? map : stage.field('map').value;
      stage.section('maps', maps.length > 0);
      stage.field('map').replaceChildren(new Option('none', ''), ...maps.map((one) => new Option(one.name, one.name)));
      return choose(chosen).catch(() => choose(''));
    },
    read(frac) { // [name, text] of the displayed map at a place, or null
      const byte = shown && readBytes(textures.get('values'), frac)?.[0];
      if (byte === null || byte === undefined || !textures.get('values').url) return null;
      const { low, high, unit, name, signed } = shown;
      const value = signed && byte === 128 ? 0 : low + (byte / 255) * (high - low);
      return [name, `${formatNumber(value)} ${unit}`.trim()];
    },
  };
}
