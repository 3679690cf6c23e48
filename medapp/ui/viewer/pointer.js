// Pointer: the line of a comparison, strokes of a correction, the lens, zoom by wheel and by two fingers, names under the pointer, and keys.

const STEPS = { // on the axial picture, and through it
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};
const ERASER_BUTTON = 5; // of a pen that is turned round, which the W3C's Pointer Events number so
const REACH = 14; // pixels of the page within which a line is grasped

function followPointer(stage) {
  const { nv, canvas, view, shader } = stage;
  const tip = stage.root.querySelector('.mv-tip');
  let isSwiping = false;
  let isPainting = false;
  let lensOn = false;
  const touches = new Map();

  const toCanvas = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * devicePixelRatio, (event.clientY - box.top) * devicePixelRatio];
  };
  const findTile = ([x, y]) => nv.screenSlices.find(({ axCorSag, leftTopWidthHeight: [left, top, width, height] }) =>
    axCorSag < 3 && x >= left && x < left + width && y >= top && y < top + height);
  const fracAt = (at) => {
    const frac = findTile(at) && nv.canvasPos2frac(at);
    return frac && frac[0] >= 0 ? [...frac] : null;
  };
  const shareAt = (at) => { // of the tile under it
    const found = findTile(at);
    return found && (at[0] - found.leftTopWidthHeight[0]) / found.leftTopWidthHeight[2];
  };
  const isAtLine = (at) => {
    const found = shader.values.show === SHOWS.swipe && findTile(at);
    return found && Math.abs(shareAt(at) - shader.values.swipe) * found.leftTopWidthHeight[2] < REACH * devicePixelRatio;
  };

  view.addEventListener('pointerdown', (event) => {
    if (event.target.closest('.mv-offer')) return; // its buttons lie above the picture
    touches.set(event.pointerId, event);
    if (touches.size > 1) { isPainting = false; stage.correction.cancel(); } // two fingers zoom
    const isTip = event.button === 0 || (event.pointerType === 'pen' && event.button === ERASER_BUTTON);
    if (!isTip || touches.size > 1 || !stage.image) return;
    const at = toCanvas(event);
    if (isAtLine(at)) isSwiping = true;
    else isPainting = stage.correction.begin(event, at, findTile(at));
  }, true);
  const isBusy = () => isSwiping || isPainting || touches.size > 1;
  for (const kind of ['mousedown', 'touchstart', 'mousemove', 'touchmove']) { // NiiVue's own events come after these
    view.addEventListener(kind, (event) => { if (isBusy()) event.stopImmediatePropagation(); }, true);
  }
  for (const kind of ['pointerup', 'pointercancel']) {
    window.addEventListener(kind, (event) => {
      touches.delete(event.pointerId);
      if (isPainting) stage.correction.end();
      stage.correction.proposals.release(kind === 'pointerup' ? toCanvas(event) : null);
      isSwiping = isPainting = false;
    });
  }

  view.addEventListener('pointermove', (event) => {
    if (!stage.image) return;
    const at = toCanvas(event);
    if (touches.has(event.pointerId) && touches.size === 2) pinch(event);
    if (isPainting) stage.correction.move((event.getCoalescedEvents?.() ?? [event]).map(toCanvas), findTile);
    stage.correction.hover(at, findTile(at));
    if (isPainting) return;
    if (isSwiping) { const share = shareAt(at); if (share !== undefined) stage.comparison.setSwipe(share); return; }
    canvas.style.cursor = isAtLine(at) ? 'ew-resize' : 'crosshair';
    if (lensOn) { shader.set({ lens: [at[0], canvas.height - at[1], 90 * devicePixelRatio] }); stage.draw(); }
    if (!touches.size) point(event, stage.correction.draws() ? null : fracAt(at));
  }, true);
  view.addEventListener('pointerleave', () => {
    tip.hidden = true;
    stage.correction.hover(null, null);
    if (lensOn) { shader.set({ lens: [0, 0, 0] }); stage.draw(); }
  });
  function pinch(event) {
    const [a, b] = [...touches.values()];
    const before = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    touches.set(event.pointerId, event);
    const [c, d] = [...touches.values()];
    const after = Math.hypot(c.clientX - d.clientX, c.clientY - d.clientY);
    const frac = fracAt(toCanvas({ clientX: (c.clientX + d.clientX) / 2, clientY: (c.clientY + d.clientY) / 2 }));
    if (before && frac) stage.layout.zoomAt(nv.frac2mm(frac), after / before);
  }

  function point(event, frac) { // what lies under the pointer
    const lines = frac ? stage.describe(frac) : [];
    tip.hidden = !lines.length;
    if (!lines.length) return;
    tip.replaceChildren(...lines.map((text) => Object.assign(document.createElement('span'), { textContent: text })));
    const box = view.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    tip.style.left = `${Math.min(x + 14, box.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.min(y + 14, box.height - tip.offsetHeight - 4)}px`;
  }

  view.addEventListener('wheel', (event) => { // scrolls slices; zooms a picture, and everything with Ctrl
    if (!stage.image || !(event.ctrlKey || event.metaKey || stage.layout.findFlat())) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const frac = fracAt(toCanvas(event));
    if (frac) stage.layout.zoomAt(nv.frac2mm(frac), event.deltaY < 0 ? 1.15 : 1 / 1.15);
  }, { capture: true, passive: false });

  canvas.addEventListener('keydown', (event) => {
    const step = STEPS[event.key];
    if (event.key.toLowerCase() === 'm' || !stage.image) { event.stopImmediatePropagation(); return; } // NiiVue's drag modes
    if (!step) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const mirrored = nv.opts.isRadiologicalConvention;
    nv.moveCrosshairInVox(mirrored ? -step[0] : step[0], step[1], step[2]);
  }, true);

  return {
    toggleLens() {
      lensOn = !lensOn;
      stage.root.querySelector('[data-do="lens"]').setAttribute('aria-pressed', String(lensOn));
      shader.set({ lens: [0, 0, 0] });
      stage.draw();
    },
  };
}
