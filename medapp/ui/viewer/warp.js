// Warp: the deformation, played on the moving image, with a grid that it bends and arrows that show where points go.

function createWarp(stage) {
  const { textures, shader } = stage;
  let frame = 0;
  let axes = null; // columns: shares of the box for a millimetre along R, A, S

  const warp = () => stage.scene?.warp;

  function measureBox() {
    const { nv } = stage;
    const centre = nv.frac2mm([0.5, 0.5, 0.5], 0, true);
    const origin = nv.mm2frac([centre[0], centre[1], centre[2]], 0, true);
    axes = [0, 1, 2].map((axis) => {
      const moved = [centre[0], centre[1], centre[2]];
      moved[axis] += 1;
      return [...nv.mm2frac(moved, 0, true)].map((x, i) => x - origin[i]);
    });
    const edges = [0, 1, 2].map((axis) => {
      const corner = [0, 0, 0];
      const start = nv.frac2mm([...corner], 0, true);
      corner[axis] = 1;
      const end = nv.frac2mm(corner, 0, true);
      return Math.hypot(end[0] - start[0], end[1] - start[1], end[2] - start[2]);
    });
    shader.set({ mmToTexture: axes.flat(), boxMM: edges });
  }

  function setShare(share) {
    stage.field('warp').value = share;
    stage.say('warp', `${Math.round(share * 100)} %`);
    shader.set({ warp: warp() ? share : 0 });
    stage.draw();
  }

  function play() { // there and back in four seconds
    if (frame) { stop(); return; }
    const button = stage.side.querySelector('[data-do="play"]');
    button.textContent = 'Stop';
    const began = performance.now();
    const step = (now) => {
      const phase = ((now - began) / 2000) % 2;
      setShare(phase < 1 ? phase : 2 - phase);
      frame = requestAnimationFrame(step);
    };
    if (stage.comparison.name !== warp().image) stage.comparison.choose(warp().image);
    frame = requestAnimationFrame(step);
  }

  function stop() {
    cancelAnimationFrame(frame);
    frame = 0;
    stage.side.querySelector('[data-do="play"]').textContent = 'Play';
  }

  function vectorAt(frac) { // (3,) mm, and the logarithm of the Jacobian determinant
    const bytes = warp() && readBytes(textures.get('field'), frac);
    if (!bytes || !textures.get('field').url) return null;
    const [x, y, z, log] = [...bytes].map((byte) => (byte - 128) / 127);
    const { peak, log_peak: top } = warp();
    return { mm: [x * peak, y * peak, z * peak], log: log * top };
  }

  function drawArrows(pen, scale) { // on the canvas above the picture
    if (!warp() || !stage.field('arrows').checked) return;
    const { nv } = stage;
    const [box, field] = [stage.extents(), textures.get('field')];
    if (!field?.url) return;
    const longer = Number(stage.field('arrow-scale').value);
    const mask = textures.get('arrowMask');
    for (const tile of nv.screenSlices) {
      const { axCorSag: plane, leftTopMM, fovMM, leftTopWidthHeight: [left, top, width, height] } = tile;
      if (plane > 2 || !fovMM[0]) continue;
      const [h, v] = [[0, 1], [0, 2], [1, 2]][plane];
      const toX = (mm) => left + ((mm - leftTopMM[0]) / fovMM[0]) * width;
      const toY = (mm) => top + height - ((mm - leftTopMM[1]) / fovMM[1]) * height;
      const step = 10;
      pen.save();
      pen.beginPath();
      pen.rect(left, top, width, height);
      pen.clip();
      pen.lineWidth = 1.4 * scale;
      const mm = [...nv.frac2mm(nv.scene.crosshairPos, 0, true)].slice(0, 3);
      for (mm[h] = Math.ceil(box.low[h] / step) * step; mm[h] < box.high[h]; mm[h] += step)
        for (mm[v] = Math.ceil(box.low[v] / step) * step; mm[v] < box.high[v]; mm[v] += step) {
          const frac = nv.mm2frac([...mm], 0, true);
          const vector = vectorAt(frac);
          if (!vector || (mask && !(readBytes(mask, frac)?.[0] > 127))) continue;
          const length = Math.hypot(...vector.mm);
          if (length < 0.5) continue;
          const [x0, y0] = [toX(mm[h]), toY(mm[v])];
          const [x1, y1] = [toX(mm[h] + vector.mm[h] * longer), toY(mm[v] + vector.mm[v] * longer)];
          const angle = Math.atan2(y1 - y0, x1 - x0);
          const head = Math.min(6 * scale, Math.hypot(x1 - x0, y1 - y0) * 0.4);
          pen.strokeStyle = `hsl(${55 - Math.min(1, length / warp().peak) * 55} 100% 62%)`;
          pen.beginPath();
          pen.moveTo(x0, y0);
          pen.lineTo(x1, y1);
          for (const turn of [-0.45, 0.45]) {
            pen.moveTo(x1, y1);
            pen.lineTo(x1 - head * Math.cos(angle + turn), y1 - head * Math.sin(angle + turn));
          }
          pen.stroke();
        }
      pen.restore();
    }
  }

  return {
    play,
    stop,
    setShare,
    drawArrows,
    vectorAt,
    measureBox,
    setGrid() {
      const on = warp() && stage.field('grid').checked;
      shader.set({ gridMM: on ? Number(stage.field('grid-mm').value) : 0 });
      stage.draw();
    },
    async load(isNew) {
      stop();
      stage.section('warp', Boolean(warp()));
      if (!warp()) { shader.set({ warp: 0, peak: 0, gridMM: 0 }); return; }
      const field = await textures.load('field', warp().texture, true);
      shader.set({ peak: warp().peak, fieldScale: field.scale });
      if (warp().mask) textures.keep('arrowMask', await fetchBytes(warp().mask.file.url), warp().mask);
      if (isNew) { stage.field('grid').checked = stage.field('arrows').checked = false; setShare(1); }
      this.setGrid();
    },
    read(frac, mm) { // [name, text]: where the place goes, and how its volume changes
      const vector = vectorAt(frac);
      if (!vector) return [];
      return [
        ['moves', `${Math.hypot(...vector.mm).toFixed(1)} mm`],
        ['to', formatPlace(mm.map((x, i) => x + vector.mm[i]))],
        ['volume', `× ${Math.exp(vector.log).toFixed(2)}`],
      ];
    },
  };
}
