// Picture: what lies above the slices (scale bar and arrows), saving it, and the full screen.

const BARS = [1, 2, 5, 10, 20, 50, 100, 200]; // mm

function createPicture(stage) {
  const { nv, canvas } = stage;
  const above = stage.root.querySelector('.mv-above');

  function draw() {
    if (above.width !== canvas.width || above.height !== canvas.height) Object.assign(above, { width: canvas.width, height: canvas.height });
    const pen = above.getContext('2d');
    const scale = canvas.width / Math.max(1, canvas.clientWidth);
    pen.clearRect(0, 0, above.width, above.height);
    if (!stage.image) return;
    drawBar(pen, scale);
    stage.warp.drawArrows(pen, scale);
  }

  function drawBar(pen, scale) {
    const tile = nv.screenSlices.find(({ axCorSag, fovMM }) => axCorSag < 3 && fovMM[0]);
    if (!tile || stage.scene.image.is_picture) return;
    const [left, top, width, height] = tile.leftTopWidthHeight;
    const perMM = width / Math.abs(tile.fovMM[0]);
    const mm = BARS.findLast((length) => length * perMM < width * 0.25);
    if (!mm) return;
    const [x, y] = [left + 12 * scale, top + height - 14 * scale];
    Object.assign(pen, { strokeStyle: '#fff', fillStyle: '#fff', lineWidth: 2 * scale, font: `${12 * scale}px system-ui, sans-serif`, shadowColor: '#000', shadowBlur: 3 * scale });
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x + mm * perMM, y);
    pen.stroke();
    pen.fillText(mm < 10 ? `${mm} mm` : `${mm / 10} cm`, x, y - 6 * scale);
    pen.shadowBlur = 0;
  }

  async function save() { // at twice the resolution, with what is said below the picture
    nv.setHighResolutionCapable(2 * devicePixelRatio);
    nv.drawScene();
    const scale = canvas.width / canvas.clientWidth;
    const bar = 48 * scale;
    const out = Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height + bar });
    const pen = out.getContext('2d');
    pen.fillRect(0, 0, out.width, out.height);
    pen.drawImage(canvas, 0, 0);
    pen.drawImage(above, 0, 0);
    Object.assign(pen, { fillStyle: '#e6edf3', font: `${13 * scale}px system-ui, sans-serif`, textBaseline: 'middle' });
    for (const label of stage.root.querySelectorAll('.mv-captions span')) {
      const [box, at] = [canvas.getBoundingClientRect(), label.getBoundingClientRect()];
      pen.fillText(label.textContent, (at.left - box.left + 6) * scale, (at.top - box.top + at.height / 2) * scale);
    }
    const lines = [stage.scene.title, ['place', 'values', 'side'].map((name) => stage.text(name)).filter(Boolean).join('   ·   ')];
    lines.forEach((line, i) => pen.fillText(line, 8 * scale, canvas.height + (i + 0.5) * (bar / 2), out.width - 16 * scale));
    nv.setHighResolutionCapable(0);
    nv.drawScene();
    const blob = await new Promise((resolve) => out.toBlob(resolve, 'image/png'));
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: `${stage.name || 'medapp'}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function toggleFull() { // with the panel beside it
    if (document.fullscreenElement) document.exitFullscreen();
    else (stage.root.closest('.work') ?? stage.root).requestFullscreen?.();
  }

  return { draw, save, toggleFull };
}
