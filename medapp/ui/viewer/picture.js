// Picture: what lies above the slices (scale bar and arrows), saving it, and the full screen.

const BARS = [1, 2, 5, 10, 20, 50, 100, 200]; // mm
const NO_DIAGNOSIS = 'For research and demonstration. Not a medical device, never a diagnosis.';

function saveFile(blob, name) { // to the visitor's downloads
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}

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
    stage.correction.drawRing(pen, scale);
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

  function wrap(pen, text, width) { // lines that fit
    const lines = [];
    for (const word of text.split(' ')) {
      const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
      if (lines.length && pen.measureText(longer).width <= width) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return lines;
  }

  function describe() { // what stands below a picture
    const { title, sharing } = stage.scene;
    const places = stage.root.classList.contains('mv-picture') ? ['place', 'values'] : ['place', 'values', 'side'];
    return [[title, sharing?.headline].filter(Boolean).join(': '), places.map((name) => stage.text(name)).filter(Boolean).join('   ·   '), NO_DIAGNOSIS];
  }

  function compose(out, texts, isEven = false) { // what is displayed now, and the texts below it, on a canvas
    const scale = canvas.width / Math.max(1, canvas.clientWidth);
    const font = `${13 * scale}px system-ui, sans-serif`;
    const pen = out.getContext('2d');
    pen.font = font;
    const lines = texts.filter(Boolean).flatMap((text) => wrap(pen, text, canvas.width - 16 * scale));
    const bar = lines.length && Math.ceil((lines.length * 20 + 8) * scale);
    const even = (n) => (isEven ? n - (n % 2) : n); // as films need it
    const size = { width: even(canvas.width), height: even(canvas.height + bar) };
    if (out.width !== size.width || out.height !== size.height) Object.assign(out, size);
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, out.width, out.height);
    pen.drawImage(canvas, 0, 0);
    pen.drawImage(above, 0, 0);
    Object.assign(pen, { fillStyle: '#e6edf3', font, textBaseline: 'middle' });
    const box = canvas.getBoundingClientRect();
    for (const label of stage.root.querySelectorAll('.mv-captions span')) {
      const at = label.getBoundingClientRect();
      pen.fillText(label.textContent, (at.left - box.left + 6) * scale, (at.top - box.top + at.height / 2) * scale);
    }
    lines.forEach((line, i) => pen.fillText(line, 8 * scale, canvas.height + (14 + i * 20) * scale));
  }

  function findScale() { // twice the screen's, or what the graphics card can draw
    const { gl } = nv;
    const most = Math.min(gl.getParameter(gl.MAX_RENDERBUFFER_SIZE), ...gl.getParameter(gl.MAX_VIEWPORT_DIMS), 8192);
    return Math.min(2 * devicePixelRatio, most / Math.max(canvas.clientWidth, canvas.clientHeight));
  }

  async function save(texts, name) { // at twice the resolution
    const out = document.createElement('canvas');
    nv.setHighResolutionCapable(findScale());
    try {
      stage.drawNow();
      compose(out, texts);
    } finally {
      nv.setHighResolutionCapable(0);
      stage.drawNow();
    }
    const blob = await new Promise((resolve) => out.toBlob(resolve, 'image/png'));
    if (!blob) throw new Error('this browser has not enough memory for it');
    saveFile(blob, `${name}.png`);
  }

  function toggleFull() { // with the panel beside it
    if (document.fullscreenElement) document.exitFullscreen();
    else (stage.root.closest('.work') ?? stage.root).requestFullscreen?.();
  }

  return { draw, describe, compose, save, toggleFull };
}
