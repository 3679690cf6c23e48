// Layout: which planes are shown where, what each tile shows, zoom and captions.

const PLANES = { axial: 0, coronal: 1, sagittal: 2, render: 4 };
const tile = (plane, box) => ({ plane, box, shows: '', warp: null, caption: '' });
const WIDE = [ // the axial plane large; left, top, width, height as shares
  tile('axial', [0, 0, 0.56, 1]), tile('render', [0.56, 0, 0.44, 0.52]),
  tile('coronal', [0.56, 0.52, 0.22, 0.48]), tile('sagittal', [0.78, 0.52, 0.22, 0.48]),
];
const TALL = [
  tile('axial', [0, 0, 1, 0.54]), tile('render', [0, 0.54, 0.5, 0.46]),
  tile('coronal', [0.5, 0.54, 0.5, 0.23]), tile('sagittal', [0.5, 0.77, 0.5, 0.23]),
];
const SQUARE = [0.72, 1.35]; // a stage of such a width to its height
const GAP = 5; // pixels of the page around each tile
const BASIC = { all: 'All', axial: 'Axial', coronal: 'Coronal', sagittal: 'Sagittal', render: '3-D' };

function pack([first, ...rest]) { // for a stage about as wide as high: the first large, 3-D beside it, the others in a row below
  const small = rest.filter((one) => one.plane !== 'render');
  return [
    { ...first, box: [0, 0, 0.6, 0.62] },
    ...rest.filter((one) => one.plane === 'render').map((one) => ({ ...one, box: [0.6, 0, 0.4, 0.62] })),
    ...small.map((one, i) => ({ ...one, box: [i / small.length, 0.62, 1 / small.length, 0.38] })),
  ];
}

function createLayout(stage) {
  const { nv, shader } = stage;
  let name = 'all';
  let tiles = []; // as they are drawn
  let index = 0; // of the tile that is drawn

  const drawTile = nv.draw2DMain.bind(nv);
  nv.draw2DMain = (rect, ...rest) => {
    const [left, top, width, height] = rect[2] ? rect : [0, 0, nv.gl.canvas.width, nv.gl.canvas.height];
    shader.apply({ tile: [left, nv.gl.canvas.height - top - height, width, height], ...describe(tiles[index++]) });
    return drawTile(rect, ...rest);
  };
  const drawAll = nv.drawSceneCore.bind(nv);
  nv.drawSceneCore = (...rest) => {
    index = 0;
    shader.set({ pixel: stage.canvas.width / Math.max(1, stage.canvas.clientWidth) });
    const answer = drawAll(...rest);
    stage.drawAbove();
    return answer;
  };

  function describe(one) { // the uniforms of a tile
    const follows = stage.comparison.name && stage.comparison.name === stage.scene?.warp?.image;
    const warp = follows ? shader.values.warp : 0;
    if (!one) return { warp };
    const own = { warp: follows ? one.warp ?? warp : 0 };
    if (!one.shows) return own;
    const live = stage.live.tile(one.shows);
    if (live) return { ...own, ...live, show: 0 };
    if (one.shows === 'map') return { ...own, show: 0 };
    if (tiles.some(({ shows }) => shows === 'map')) own.mapOpacity = 0; // one tile has it, and the others show what lies below
    if (one.shows === 'difference') return { ...own, show: SHOWS.difference, mapOpacity: 0 };
    return { ...own, show: one.shows === stage.scene.image.name ? SHOWS.bottom : SHOWS.top };
  }

  function findFlat() { // the only plane of a picture, or ''
    const dims = nv.volumes[0]?.dimsRAS ?? [];
    return dims[3] === 1 ? 'axial' : dims[2] === 1 ? 'coronal' : dims[1] === 1 ? 'sagittal' : '';
  }

  function set(wanted) {
    const flat = findFlat();
    const arrangement = stage.scene?.arrangements[wanted];
    name = arrangement ? wanted : flat || (BASIC[wanted] ? wanted : 'all');
    for (const button of stage.root.querySelectorAll('button[data-layout]')) {
      button.setAttribute('aria-pressed', String(button.dataset.layout === name));
    }
    stage.view.dataset.layout = name;
    if (arrangement) {
      const other = arrangement.find((one) => stage.scene.others.some((image) => image.name === one.shows));
      if (other && stage.comparison.name !== other.shows) stage.comparison.choose(other.shows);
    }
    apply();
  }

  function apply() {
    const { clientWidth: width, clientHeight: height } = stage.view;
    const turn = ({ box: [left, top, across, down], ...rest }) => ({ ...rest, box: [top, left, down, across] });
    const arranged = stage.scene?.arrangements[name];
    const isTall = width < height; // a phone: what stands beside the other lies below it
    tiles = arranged ?? (name === 'all' ? WIDE : name === 'render' ? [] : [tile(name, [0, 0, 1, 1])]);
    if (tiles.some((one) => one.plane === 'render') && width > SQUARE[0] * height && width < SQUARE[1] * height) tiles = pack(tiles);
    else if (isTall && (arranged || name === 'all')) tiles = arranged ? tiles.map(turn) : TALL;
    if (tiles.length) {
      const [gapX, gapY] = [GAP / width, GAP / height];
      nv.setCustomLayout(tiles.map(({ plane, box: [x, y, w, h] }) => ({
        sliceType: PLANES[plane], position: [x + gapX, y + gapY, w - 2 * gapX, h - 2 * gapY],
      })));
      nv.setSliceType(3);
      tiles = tiles.filter((one) => one.plane !== 'render');
    } else {
      nv.clearCustomLayout();
      nv.setSliceType(PLANES[name]);
    }
    caption();
    stage.draw();
  }

  function caption() { // names in the corners of the tiles
    const { scene } = stage;
    const labels = [];
    const put = (text, left, top, right) => {
      const label = Object.assign(document.createElement('span'), { textContent: text });
      Object.assign(label.style, { top: `${top * 100}%`, ...(right ? { right: `${(1 - left) * 100}%` } : { left: `${left * 100}%` }) });
      labels.push(label);
    };
    const way = stage.comparison.name ? stage.field('way').value : 'bottom';
    const list = tiles.length ? tiles : name === 'render' ? [] : [tile(name, [0, 0, 1, 1])];
    list.forEach((one, i) => {
      const [left, top, width] = one.box;
      if (one.caption) put(one.caption, left, top);
      else if (scene && stage.comparison.name && way === 'swipe' && (i === 0 || list.length < 3)) {
        put(stage.comparison.name, left, top);
        put(scene.image.name, left + width, top, true);
      } else if (scene && i === 0 && way === 'top') put(stage.comparison.name, left, top);
      else if (scene && i === 0 && way === 'difference') put(`${scene.image.name} minus ${stage.comparison.name}`, left, top);
    });
    stage.root.querySelector('.mv-captions').replaceChildren(...labels);
  }

  function zoomAt(mm, factor) { // the place stays where it is on the screen
    const [x, y, z, old] = nv.scene.pan2Dxyzmm;
    const now = Math.min(12, Math.max(0.5, old * factor));
    nv.setPan2Dxyzmm([x, y, z].map((pan, i) => pan + (old - now) * mm[i]).concat(now));
  }

  return {
    set,
    apply,
    caption,
    zoomAt,
    findFlat,
    get name() { return name; },
    zoom(factor) { zoomAt(nv.frac2mm(nv.scene.crosshairPos), factor); },
    reset() {
      nv.scene.volScaleMultiplier = stage.scene?.brain || stage.scene?.surfaces.length ? 1.75 : 1.25;
      nv.setRenderAzimuthElevation(125, 18);
      nv.setPan2Dxyzmm([0, 0, 0, 1]);
    },
    load(isNew) {
      const flat = findFlat();
      const titles = Object.keys(stage.scene.arrangements);
      const buttons = [...(flat ? [] : Object.entries(BASIC)), ...titles.map((title) => [title, title])];
      if (flat && titles.length) buttons.unshift([flat, 'One']);
      stage.root.querySelector('[data-group="layout"]').replaceChildren(...buttons.map(([key, title]) => {
        const button = Object.assign(document.createElement('button'), { type: 'button', textContent: title });
        button.dataset.layout = key;
        return button;
      }));
      set(isNew ? stage.scene.state?.layout ?? (stage.scene.arrangement || 'all') : name);
    },
  };
}
