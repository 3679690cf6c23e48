// Readout: where the crosshair is and what lies there; Python is told once it rests.

const formatPlace = (mm) => [...mm].slice(0, 3)
  .map((x, i) => `${['RL', 'AP', 'SI'][i][Number(x < 0)]} ${Math.abs(x).toFixed(1)}`).join('  ');

function createReadout(stage) {
  let timer = 0;

  function describe(frac) { // the names and shares at a place, for the pointer
    const names = stage.regions.namesAt(frac);
    const shares = stage.live.names.length > 1 ? stage.live.read(frac) : [];
    const isSeen = shares.some(([, text]) => parseInt(text, 10) > 1);
    return [...names, ...(isSeen ? shares.map((pair) => pair.join(' ')) : [])];
  }

  function locate({ mm, vox, values }) {
    const { scene, nv } = stage;
    if (!scene) return;
    const place = [...mm].slice(0, 3);
    const frac = nv.mm2frac(place, 0, true);
    const pixel = [vox[0], nv.volumes[0].dimsRAS[2] - 1 - vox[1]];
    stage.say('place', scene.image.is_picture ? `Pixel ${pixel.join(', ')}` : `${formatPlace(place)} mm`);
    const read = { [scene.image.name]: values[0]?.value };
    const other = nv.volumes.indexOf(stage.comparison.volume);
    if (other > 0) read[stage.comparison.name] = values[other]?.value;
    const texts = Object.entries(read).map(([name, value]) =>
      `${name} ${value === undefined ? '–' : formatNumber(value)} ${scene.image.unit}`.trim());
    if (nv.volumes[0].hdr.datatypeCode === 128) texts.length = 0; // of a colour picture one number says nothing
    const pairs = [...stage.live.read(frac), stage.maps.read(frac), ...stage.warp.read(frac, place)].filter(Boolean);
    const inside = stage.regions.namesAt(frac);
    stage.say('values', [...texts, ...pairs.map((pair) => pair.join(' ')), ...inside].join('  ·  '));
    stage.surfaces.cut();
    clearTimeout(timer);
    if (document.activeElement !== stage.canvas) return; // Python moved it
    timer = setTimeout(() => {
      stage.trigger('select', { mm: place, voxel: [...vox], values: read, regions: inside });
    }, 250);
  }

  return { describe, locate };
}
