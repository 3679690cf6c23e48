// Film: the stage while something moves, recorded as the browser can: WebM, or MP4 where there is no WebM.

const FILM_TYPES = ['video/webm;codecs=vp8', 'video/webm', 'video/mp4'];
const FILM_BITS = 8_000_000; // a second
const FRAME_MS = 1000 / 15;
const SLICE_AXES = { axial: 2, coronal: 1, sagittal: 0 }; // towards S, A and R

function createFilm(stage) {
  let isCancelled = false;

  const wait = (ms) => new Promise((next) => setTimeout(next, ms));
  const paint = () => Promise.race([new Promise(requestAnimationFrame), wait(1000)]); // a page out of sight is not painted
  const thereAndBack = (n) => Array.from({ length: n }, (_, i) => 1 - Math.abs(1 - (2 * i) / (n - 1)));
  const hideCross = () => { stage.field('cross').checked = false; };

  function scroll(plane) {
    const axis = SLICE_AXES[plane];
    const slices = stage.nv.volumes[0]?.dimsRAS[axis + 1] ?? 1;
    return {
      begin() { hideCross(); stage.layout.set(plane); },
      values: Array.from({ length: slices }, (_, i) => (i + 0.5) / slices),
      pause: Math.min(250, Math.max(FRAME_MS, 6000 / slices)),
      move(share) {
        const at = [...stage.nv.scene.crosshairPos];
        at[axis] = share;
        stage.nv.scene.crosshairPos = at;
      },
    };
  }

  const KINDS = {
    axial: ['Slices, axial', () => scroll('axial')],
    coronal: ['Slices, coronal', () => scroll('coronal')],
    sagittal: ['Slices, sagittal', () => scroll('sagittal')],
    turn: ['Turning 3-D view', () => ({
      begin() { stage.layout.set('render'); },
      values: Array.from({ length: 90 }, (_, i) => 4 * i),
      pause: FRAME_MS,
      move(degrees) { stage.nv.scene.renderAzimuth = (125 + degrees) % 360; },
    })],
    warp: ['Deformation to 100 %', () => ({
      async begin() {
        hideCross();
        stage.field('way').value = 'top';
        if (stage.comparison.name !== stage.scene.warp.image) await stage.comparison.choose(stage.scene.warp.image);
        stage.comparison.show();
      },
      values: thereAndBack(61),
      pause: FRAME_MS,
      move: (share) => stage.warp.setShare(share),
    })],
    line: ['Line across the images', () => ({
      async begin() {
        hideCross();
        stage.field('way').value = 'swipe';
        if (!stage.comparison.name) await stage.comparison.choose(stage.scene.others[0].name);
        stage.comparison.show();
      },
      values: thereAndBack(61),
      pause: FRAME_MS,
      move: (share) => stage.comparison.setSwipe(share),
    })],
  };

  function list() { // [key, title] of what can be shown of the scene
    const isFlat = Boolean(stage.layout.findFlat());
    const isThere = { axial: !isFlat, coronal: !isFlat, sagittal: !isFlat, turn: !isFlat, warp: Boolean(stage.scene.warp), line: stage.scene.others.length > 0 };
    return Object.entries(KINDS).filter(([key]) => isThere[key]).map(([key, [title]]) => [key, title]);
  }

  const check = (scene) => {
    if (isCancelled) throw new Error('Cancelled.');
    if (stage.scene !== scene || !stage.canvas.clientWidth) throw new Error('The film ended early, because something else is shown now.');
  };

  async function draw(key, texts, scene, tell) { // the pictures of the film, packed
    const { begin, values, pause, move } = KINDS[key][1]();
    const out = document.createElement('canvas');
    const frames = [];
    stage.warp.stop();
    await begin();
    await wait(50); // the captions have their places
    for (const [i, value] of values.entries()) {
      check(scene);
      move(value);
      stage.drawNow();
      stage.picture.compose(out, texts, true);
      frames.push(await new Promise((packed) => out.toBlob(packed, 'image/jpeg', 0.95)));
      tell((i + 1) / values.length);
    }
    return { frames, pause, width: out.width, height: out.height };
  }

  async function encode({ frames, pause, width, height }, type, scene, tell) { // at an even pace, however long drawing took
    const out = Object.assign(document.createElement('canvas'), { width, height });
    const pen = out.getContext('2d', { willReadFrequently: true });
    let [track] = out.captureStream(0).getVideoTracks();
    if (!track.requestFrame) [track] = out.captureStream().getVideoTracks();
    const recorder = new MediaRecorder(new MediaStream([track]), { mimeType: type, videoBitsPerSecond: FILM_BITS });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const ended = new Promise((stop) => { recorder.onstop = stop; });
    recorder.start();
    try {
      let due = performance.now();
      for (const [i, frame] of [...frames, frames.at(-1)].entries()) { // the last one again, so that it stays as long
        check(scene);
        const picture = await createImageBitmap(frame);
        pen.drawImage(picture, 0, 0);
        picture.close();
        track.requestFrame?.();
        tell(i / frames.length);
        await paint();
        await paint(); // the browser takes a picture as it paints
        due = Math.max(due + pause, performance.now());
        await wait(due - performance.now());
      }
    } finally {
      recorder.stop();
      await ended;
      track.stop();
    }
    return new Blob(parts, { type: type.split(';')[0] });
  }

  async function record(key, texts, tell) { // a Blob; tell(share) gets how far it is
    const type = FILM_TYPES.find((one) => window.MediaRecorder?.isTypeSupported(one));
    if (!type) throw new Error('This browser cannot record films.');
    isCancelled = false;
    const { scene, view } = stage;
    const before = stage.state.read();
    view.style.pointerEvents = 'none';
    try {
      const drawn = await draw(key, texts, scene, (share) => tell(share / 2));
      return await encode(drawn, type, scene, (share) => tell((1 + share) / 2));
    } finally {
      view.style.pointerEvents = '';
      if (stage.scene === scene) await stage.state.apply(before);
    }
  }

  return { list, record, cancel() { isCancelled = true; } };
}
