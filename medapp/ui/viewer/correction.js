// Correction: the visitor paints and erases on the mask, in any plane. What is decided by hand lies on top of the mask that
// the threshold gives. Python gets all of it once the hand rests, and answers with the exact numbers.

const REST_MS = 400; // after the last stroke
const SIZES = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40]; // mm across
const MAX_LEFT = 4; // results that are no longer shown
const SHOWN_BY_HAND = { automatic: 0, corrected: 1, both: 2 };

function createCorrection(stage) {
  const { root, shader, textures, nv } = stage;
  const strip = root.querySelector('.mv-tools');
  const button = root.querySelector('[data-do="correct"]');
  const settings = { tool: 'brush', tip: 'disc', fill: false, size: SIZES.indexOf(6), shown: 'corrected' };
  let hand = null; // the voxels, once the tools have been opened
  const left = new Map(); // case to the voxels of results that were shown before, with their steps
  let caseName = ''; // of the result that they belong to
  let strokes = 0; // changes so far
  let isOpen = false;
  let counts = { added: 0, removed: 0, inside: 0 }; // voxels
  let stroke = null; // { tile, across, last, outline }
  let ring = null; // where the tip is: { at, tile }
  let hasPen = false; // then a finger does not paint
  let lastSent = 0; // the number of strokes that Python was told of
  let posted = Promise.resolve(); // what was sent, one after the other
  let sent = null; // the number of strokes on their way to Python, which answers before more are sent

  const radius = () => SIZES[settings.size] / 2;
  const canCorrect = () => Boolean(stage.scene?.live);
  const draws = () => isOpen && ['brush', 'eraser'].includes(settings.tool);
  const say = (text) => { strip.querySelector('.mv-saved').textContent = text; };

  // ---- the voxels and what is seen of them

  function create() {
    const shape = stage.scene.live.texture.shape;
    const corner = (frac) => [...nv.frac2mm(frac, 0, true)].slice(0, 3);
    const zero = corner([0, 0, 0]);
    const vectors = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((end, axis) => corner(end).map((x, i) => (x - zero[i]) / shape[axis]));
    hand = createHandVoxels(shape, vectors);
    textures.upload3D('hand', hand.voxels, shape, 1, false);
  }

  const proposals = createProposals(stage, {
    shape: () => hand.shape,
    isInside: (i) => isIn(hand.voxels[i], textures.get('kept').bytes[i]),
    isSaved: () => sent === null && strokes === lastSent,
    take(index, removes) { // as one stroke
      hand.begin(removes ? ERASED : PAINTED);
      hand.mark(index);
      if (hand.end()) changed();
    },
  });

  const isIn = (decided, automatic) => (decided ? decided === PAINTED : automatic > 0);

  function recount() { // from all voxels
    const automatic = textures.get('kept').bytes;
    counts = { added: 0, removed: 0, inside: 0 };
    if (!hand || automatic.length !== hand.voxels.length) return;
    for (let i = 0; i < automatic.length; i++) count(hand.voxels[i], automatic[i], 1);
  }

  function count(decided, automatic, sign) {
    if (!decided && !automatic) return;
    const now = isIn(decided, automatic);
    if (now) counts.inside += sign;
    if (now && !automatic) counts.added += sign;
    if (!now && automatic) counts.removed += sign;
  }

  function countFrom(first) { // of the stroke's voxels from that one on
    const { index, old, value } = hand.stroke;
    const automatic = textures.get('kept').bytes;
    for (let n = first; n < index.length; n++) {
      count(old[n], automatic[index[n]], -1);
      count(value, automatic[index[n]], 1);
    }
  }

  function tell(components = null) { // the volume, and once the hand rests how many lesions there are
    const ml = (voxels) => (voxels * stage.scene.live.voxel_ml);
    if (settings.shown === 'automatic') {
      stage.figure(`Automatic: ${stage.live.describe(ml(counts.inside - counts.added + counts.removed), null)}`);
      return;
    }
    const format = (sign, x) => (x ? ` ${sign}${x < 1 ? x.toFixed(2) : x.toFixed(1)}` : '');
    const byHand = format('+', ml(counts.added)) + format('−', ml(counts.removed));
    stage.figure(`${stage.live.describe(ml(counts.inside), components)}${byHand && `, by hand${byHand}`}`);
  }

  const refresh = soon(() => { // what has changed goes to the graphics card
    const box = hand?.takeBox();
    if (!box) return;
    textures.patch3D('hand', box);
    stage.live.markBox(box);
    stage.draw();
  });

  function follow() { // uniforms and buttons
    const of = (name) => strip.querySelector(`[data-tool="${name}"]`);
    for (const name of ['move', 'brush', 'eraser', 'click']) of(name).setAttribute('aria-pressed', String(settings.tool === name));
    for (const name of ['disc', 'ball']) of(name).setAttribute('aria-pressed', String(settings.tip === name));
    of('fill').setAttribute('aria-pressed', String(settings.fill));
    of('undo').disabled = !hand?.canUndo;
    of('redo').disabled = !hand?.canRedo;
    of('clear').disabled = !hand || hand.isEmpty;
    strip.querySelector('[data-pick="size"]').value = settings.size;
    strip.querySelector('output').textContent = `${SIZES[settings.size]} mm`;
    strip.querySelector('[data-pick="shown"]').value = settings.shown;
    strip.hidden = !isOpen;
    button.setAttribute('aria-pressed', String(isOpen));
    button.hidden = !canCorrect();
    proposals.use(isOpen && settings.tool === 'click');
    shader.set({ byHand: hand ? SHOWN_BY_HAND[settings.shown] : 0, handFill: isOpen ? 0.25 : 0 });
    stage.draw();
  }

  // ---- to Python

  let timer = 0;
  function changed() { // after a stroke, an undo or the like
    strokes++;
    refresh();
    const components = stage.live.countCorrected();
    recount();
    tell(components);
    follow();
    say('');
    rest();
  }

  function rest() { // what has not been sent goes on its way soon
    clearTimeout(timer);
    if (strokes !== lastSent) timer = setTimeout(sendIfFree, REST_MS);
  }

  const sendIfFree = () => { if (!stroke && sent === null) send(); }; // else once the stroke ends, or the answer is there

  function send() { // in the order of the strokes, also of a result that is no longer shown
    sent = lastSent = strokes;
    say('Saving…');
    const message = { case: caseName, strokes };
    const packed = hand.isEmpty ? '' : packBytes(hand.voxels);
    posted = posted.catch(() => {}).then(async () => stage.trigger('correct', { ...message, voxels: await packed }));
  }

  function flush() { // what has not been sent, before another result is shown
    clearTimeout(timer);
    if (hand && strokes !== lastSent) send();
  }

  function settleSent(text) { // an answer is there
    const isLast = sent === strokes;
    sent = null;
    if (isLast) say(text);
    else if (!stroke) rest();
  }

  function leave() { // the result goes, and may be shown again
    left.delete(caseName);
    left.set(caseName, hand);
    if (left.size > MAX_LEFT) left.delete(left.keys().next().value);
  }

  // ---- strokes

  function place(at, tile) { // in voxels, or null beside the image
    const frac = nv.canvasPos2frac(at);
    if (frac[0] < 0) return null;
    return [...frac].slice(0, 3).map((x, axis) => Math.min(1, Math.max(0, x)) * hand.shape[axis] - 0.5)
      .map((x, axis) => (axis === tile.across ? Math.round(x) : x));
  }

  const findAcross = (tile) => 2 - tile.axCorSag; // the axis across its slices: axial 2, coronal 1, sagittal 0
  const isSame = (tile, other) => other && tile.axCorSag === other.axCorSag && String(tile.leftTopWidthHeight) === String(other.leftTopWidthHeight);

  function extend(at) {
    if (!at) return;
    const first = hand.stroke.index.length;
    hand.draw(stroke.last ?? at, at, stroke.across, settings.fill ? Math.min(radius(), 0.5) : radius(), settings.tip === 'ball' && !settings.fill);
    stroke.last = at;
    if (settings.fill) stroke.outline.push(at);
    countFrom(first);
    refresh();
    tell();
  }

  const tools = {
    move: () => { settings.tool = 'move'; },
    brush: () => { settings.tool = 'brush'; },
    eraser: () => { settings.tool = 'eraser'; },
    click: () => { settings.tool = 'click'; },
    disc: () => { settings.tip = 'disc'; },
    ball: () => { settings.tip = 'ball'; settings.fill = false; },
    fill: () => { settings.fill = !settings.fill; if (settings.fill) settings.tip = 'disc'; },
    undo: () => { if (hand.undo()) changed(); },
    redo: () => { if (hand.redo()) changed(); },
    clear: () => { if (hand.clear()) changed(); },
    close: () => open(false),
    smaller: () => { settings.size = Math.max(0, settings.size - 1); },
    larger: () => { settings.size = Math.min(SIZES.length - 1, settings.size + 1); },
    flip: () => { settings.shown = settings.shown === 'automatic' ? 'corrected' : 'automatic'; },
  };
  const KEYS = { m: 'move', b: 'brush', e: 'eraser', c: 'click', f: 'fill', u: 'undo', U: 'redo', y: 'redo', a: 'flip', Escape: 'close', '[': 'smaller', ']': 'larger' };

  function use(name) {
    tools[name]();
    follow();
    if (name === 'flip') tell(stage.live.countCorrected());
    stage.drawAbove();
  }

  function open(wanted) {
    if (wanted && !canCorrect()) return;
    cancel();
    isOpen = wanted;
    ring = null;
    if (isOpen && !hand) {
      create();
      stage.live.countCorrected();
      recount();
    }
    if (isOpen) {
      settings.shown = 'corrected';
      stage.regions.reveal(stage.scene.live.regions); // what is painted on is seen
    }
    follow();
    stage.figure('');
    if (isOpen) tell();
    stage.drawAbove();
  }

  function cancel() {
    proposals.release(null);
    if (!stroke) return;
    hand.cancel();
    stroke = null;
    recount();
    refresh();
    tell();
    rest();
  }

  strip.addEventListener('click', ({ target }) => {
    const name = target.closest('button')?.dataset.tool;
    if (name && stage.image) use(name);
  });
  strip.addEventListener('input', ({ target }) => {
    if (target.dataset.pick === 'size') settings.size = Number(target.value);
    if (target.dataset.pick === 'shown') settings.shown = target.value;
    follow();
    if (target.dataset.pick === 'shown') tell(stage.live.countCorrected());
    stage.drawAbove();
  });
  strip.querySelector('[data-pick="size"]').max = SIZES.length - 1;

  window.addEventListener('keydown', (event) => {
    const { target, key } = event;
    if (!root.isConnected || !root.offsetParent || !canCorrect() || event.altKey) return;
    if (target.matches?.('textarea, select, [contenteditable], input:not([type="range"]):not([type="checkbox"])')) return;
    const undoes = (event.ctrlKey || event.metaKey) && key.toLowerCase() === 'z';
    if ((event.ctrlKey || event.metaKey) && !undoes) return;
    const isOffer = isOpen && !undoes && proposals.key(key, target);
    const name = isOffer ? 'offer' : undoes ? (event.shiftKey ? 'redo' : 'undo') : KEYS[key];
    if (!name || (!isOpen && !(document.activeElement === stage.canvas && ['brush', 'eraser', 'click'].includes(name)))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (isOffer) return;
    if (name === 'close' && stroke) return cancel();
    if (!isOpen) open(true);
    use(name);
  }, true);

  return {
    get voxels() { return hand && { bytes: hand.voxels, shape: hand.shape, channels: 1 }; },
    get isOpen() { return isOpen; },
    get strokes() { return strokes; },
    draws,
    follow,
    flush,
    cancel,
    proposals,
    tellFailure: () => settleSent('Not saved; the next stroke tries again.'),
    toggle: () => open(!isOpen),
    load() { // a scene: what was corrected stays as long as the result is the same
      const { scene } = stage;
      if (scene.case !== caseName || !canCorrect()) {
        flush();
        if (hand) leave();
        [hand, stroke, strokes, lastSent, sent, isOpen, caseName] = [null, null, 0, 0, null, false, scene.case];
        proposals.forget();
        say('');
      } else if (hand) {
        textures.upload3D('hand', hand.voxels, hand.shape, 1, false);
        if (sent !== null && scene.strokes === sent) settleSent('Saved');
        proposals.restore();
      }
      follow();
    },
    async restore() { // what was corrected where the scene was saved
      const { scene } = stage;
      if (!scene.live?.hand || hand) return;
      const bytes = await fetchBytes(scene.live.hand.file.url);
      if (stage.scene !== scene) return;
      create();
      const before = left.get(scene.case);
      if (before?.voxels.length === bytes.length && before.voxels.every((voxel, i) => voxel === bytes[i])) hand = before;
      else hand.load(bytes);
      textures.upload3D('hand', hand.voxels, hand.shape, 1, false);
      follow();
    },
    settle(components) { // the mask that lies below has changed; whether the volume is told here
      recount();
      follow();
      if (isOpen) tell(components);
      return isOpen;
    },
    begin(event, at, tile) { // whether the pointer paints
      hasPen ||= event.pointerType === 'pen';
      if (!tile || (hasPen && event.pointerType === 'touch')) return false;
      proposals.press(at);
      if (!draws()) return false;
      clearTimeout(timer);
      if (settings.shown === 'automatic') { settings.shown = 'corrected'; follow(); }
      const erases = settings.tool === 'eraser' || (event.pointerType === 'pen' && event.buttons & 32);
      stroke = { tile, across: findAcross(tile), last: null, outline: [] };
      hand.begin(erases ? ERASED : PAINTED);
      ring = { at, tile };
      extend(place(at, stroke));
      return true;
    },
    move(points, findTile) {
      for (const at of points) if (stroke && isSame(stroke.tile, findTile(at))) extend(place(at, stroke));
    },
    end() {
      if (!stroke) return;
      const { outline, across, last } = stroke;
      if (outline.length > 2) hand.fill(outline, across);
      stroke = null;
      if (!hand.end()) { rest(); return; }
      changed();
      if (last) stage.goTo(nv.frac2mm(last.map((x, axis) => (x + 0.5) / hand.shape[axis]), 0, true));
    },
    hover(at, tile) { // the tip is drawn where the pointer is
      ring = draws() && tile ? { at, tile } : null;
      stage.drawAbove();
    },
    drawRing(pen, scale) {
      if (!ring || !draws()) return;
      const { leftTopWidthHeight: [left, top, width, height], fovMM } = ring.tile;
      pen.save();
      pen.beginPath();
      pen.rect(left, top, width, height);
      pen.clip();
      for (const [colour, line] of [['#000', 3], [settings.tool === 'eraser' ? '#9cd3ff' : '#fff', 1.5]]) {
        Object.assign(pen, { strokeStyle: colour, lineWidth: line * scale });
        pen.beginPath();
        pen.arc(...ring.at, Math.max((radius() * width) / Math.abs(fovMM[0]), 2 * scale), 0, 2 * Math.PI);
        pen.stroke();
      }
      pen.restore();
    },
  };
}
