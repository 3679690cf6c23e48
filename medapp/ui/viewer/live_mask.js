// Live mask: probabilities that the browser fuses and thresholds by itself, with volume and number of the lesions.

function findComponents(isInside, [nx, ny, nz]) { // runs along x, joined where they touch, be it at a corner
  const from = [], to = [], parent = []; // of each run, within its row
  const first = new Int32Array(ny * nz + 1); // run of each row
  const find = (run) => {
    while (parent[run] !== run) run = parent[run] = parent[parent[run]];
    return run;
  };
  const join = (row, other) => { // both lists of runs are in order
    let i = first[row], j = first[other];
    while (i < first[row + 1] && j < first[other + 1]) {
      if (from[i] <= to[j] && from[j] <= to[i]) {
        const [a, b] = [find(i), find(j)];
        parent[Math.max(a, b)] = Math.min(a, b);
      }
      if (to[i] < to[j]) i++; else j++;
    }
  };
  const rows = [];
  for (let row = 0; row < ny * nz; row++) {
    const base = row * nx;
    for (let x = 0; x < nx; x++) {
      if (!isInside[base + x]) continue;
      from.push(x);
      while (x < nx && isInside[base + x]) x++;
      to.push(x);
      rows.push(row);
      parent.push(parent.length);
    }
    first[row + 1] = from.length;
    const y = row % ny;
    if (y) join(row, row - 1);
    if (row >= ny) {
      if (y) join(row, row - ny - 1);
      join(row, row - ny);
      if (y + 1 < ny) join(row, row - ny + 1);
    }
  }
  const roots = parent.map((_, run) => find(run));
  const sizes = new Map();
  roots.forEach((root, run) => sizes.set(root, (sizes.get(root) ?? 0) + to[run] - from[run]));
  return { rows, from, to, roots, sizes };
}

const FAINT = 6; // bytes: no threshold is so low

function createLiveMask(stage) {
  const { textures, shader } = stage;
  let settings = {};
  let box = null; // of the voxels that any probability reaches: [low, size]
  let own = new Set(); // codes of the label map that the live mask draws instead

  const live = () => stage.scene?.live;

  function findWeights() { // of each probability, 0 where it is switched off
    const { switches, weights, names } = live();
    return names.map((_, i) => {
      const on = switches.length ? settings[switches[i]] !== false : true;
      return on ? (settings.fusion === 'weighted' && weights.length ? Number(settings[weights[i]]) : 1) : 0;
    });
  }

  function findBox() {
    const { bytes, shape: [nx, ny, nz], channels } = textures.get('chances');
    const low = [nx, ny, nz], high = [-1, -1, -1];
    for (let z = 0, i = 0; z < nz; z++)
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++, i += channels) {
          if (bytes[i] < FAINT && (channels < 2 || bytes[i + 1] < FAINT) && (channels < 3 || bytes[i + 2] < FAINT)) continue;
          if (x < low[0]) low[0] = x; if (x > high[0]) high[0] = x;
          if (y < low[1]) low[1] = y; if (y > high[1]) high[1] = y;
          if (z < low[2]) low[2] = z; if (z > high[2]) high[2] = z;
        }
    return high[0] < 0 ? null : [low, high.map((n, i) => n - low[i] + 1)];
  }

  function isAbove() { // the voxels of the box at or above the threshold, as the shader fuses them
    const { bytes, shape: [nx, ny], channels } = textures.get('chances');
    const [low, [sx, sy, sz]] = box;
    const weights = findWeights();
    const total = weights.reduce((sum, w) => sum + w, 0);
    const on = weights.map((w, i) => (w > 0 ? i : -1)).filter((i) => i >= 0);
    const least = Number(settings.threshold) * 255 - 1e-6;
    const out = new Uint8Array(sx * sy * sz);
    for (let z = 0, o = 0; z < sz; z++)
      for (let y = 0; y < sy; y++) {
        let i = channels * (low[0] + nx * (low[1] + y + ny * (low[2] + z)));
        for (let x = 0; x < sx; x++, i += channels, o++) {
          let value = bytes[i];
          if (channels > 1) {
            if (settings.fusion === 'vote') {
              const sorted = on.map((c) => bytes[i + c]).sort((a, b) => a - b);
              value = sorted[(sorted.length - 1) >> 1];
            } else value = (weights[0] * bytes[i] + weights[1] * bytes[i + 1] + (weights[2] ?? 0) * (bytes[i + 2] ?? 0)) / total;
          }
          if (value >= least) out[o] = 1;
        }
      }
    return out;
  }

  function recount() { // which components are large enough, or all if none is, and how much they are, as corrected by hand
    const { shape } = textures.get('chances');
    const hand = stage.correction.voxels;
    const kept = new Uint8Array(shape[0] * shape[1] * shape[2]);
    let voxels = 0, count = 0, areCandidates = false;
    if (box && findWeights().some((w) => w > 0)) {
      const [low, size] = box;
      const { rows, from, to, roots, sizes } = findComponents(isAbove(), size);
      let least = Number(settings.min_lesion_ml ?? 0) / live().voxel_ml - 1e-6;
      areCandidates = sizes.size > 0 && ![...sizes.values()].some((n) => n >= least);
      if (areCandidates) least = 0;
      for (const n of sizes.values()) if (n >= least) { voxels += n; count++; }
      rows.forEach((row, run) => {
        if (sizes.get(roots[run]) < least) return;
        const base = low[0] + shape[0] * (low[1] + (row % size[1]) + shape[1] * (low[2] + Math.floor(row / size[1])));
        kept.fill(255, base + from[run], base + to[run]);
      });
    }
    textures.upload3D('kept', kept, shape, 1, true);
    if (hand) [voxels, count, areCandidates] = [...countComponents(kept, hand.bytes, shape), false];
    return { ml: voxels * live().voxel_ml, count, areCandidates };
  }

  function countComponents(automatic, hand, shape) { // voxels and number
    const isInside = automatic.map((kept, i) => Number(hand[i] ? hand[i] === PAINTED : kept > 0));
    const { sizes } = findComponents(isInside, shape);
    return [[...sizes.values()].reduce((sum, n) => sum + n, 0), sizes.size];
  }

  function describe(ml, count) { // the number of what is counted may not be known yet
    const { noun } = live();
    return `${ml.toFixed(1)} ml${noun && count !== null ? ` in ${count} ${noun}${count === 1 ? '' : 's'}` : ''}`;
  }

  function keepCodes() { // what the server's label map has of the mask
    const { regions } = stage.scene;
    const { codes } = stage.regions;
    const { shape, bytes, channels } = textures.get('chances');
    const hand = stage.correction.voxels?.bytes;
    const counts = regions.members.map(() => [0, 0]); // voxels of a code, and those with a probability
    for (let i = 0; i < codes.length; i++) {
      if (!codes[i]) continue;
      const count = counts[codes[i] - 1];
      count[0]++;
      if (hand?.[i]) { count[1]++; continue; }
      for (let c = 0; c < channels; c++) if (bytes[i * channels + c] >= 2) { count[1]++; break; }
    }
    own = new Set(); // a lesion that is gone has no probability left, and stays part of the label map
    regions.members.forEach((ids, i) => {
      if (ids.some((id) => live().regions.includes(id)) && counts[i][1] > counts[i][0] / 2) own.add(i + 1);
    });
    if (hand) stage.correction.settle(recount().count); // what the server has marked is corrected already
    else textures.upload3D('kept', codes.map((code) => (own.has(code) ? 255 : 0)), shape, 1, true);
  }

  function setUniforms() {
    const weights = findWeights();
    while (weights.length < 3) weights.push(0);
    shader.set({ live: Number(isDrawn()), threshold: Math.max(Number(settings.threshold), 1e-3), weights, vote: Number(settings.fusion === 'vote') });
  }

  function isDrawn() { // hidden with its regions
    const { regions } = stage.scene ?? {};
    return Boolean(live() && regions && live().regions.some((id) => !stage.hidden.has(regions.regions[id].name)));
  }

  return {
    isDrawn,
    markNear() { // once regions and probabilities are there
      const entries = [['labels', 1], ['chances', FAINT]]
        .map(([name, least]) => ({ ...textures.get(name), least })).filter((entry) => entry.url);
      if (stage.correction.voxels) entries.push(stage.correction.voxels);
      const { bytes, shape, scale } = entries.length ? markNear(entries) : { bytes: new Uint8Array(1), shape: [1, 1, 1], scale: [1, 1, 1] };
      textures.upload3D('near', bytes, shape, 1, true);
      shader.set({ nearScale: scale });
    },
    markBox([low, high], size = 4) { // as near
      const { bytes, shape } = textures.get('near');
      const [a, b] = [low, high].map((at) => at.map((x) => Math.floor(x / size)));
      for (let z = a[2]; z <= b[2]; z++)
        for (let y = a[1]; y <= b[1]; y++) bytes.fill(255, a[0] + shape[0] * (y + shape[1] * z), b[0] + 1 + shape[0] * (y + shape[1] * z));
      textures.upload3D('near', bytes, shape, 1, true);
    },
    describe,
    countCorrected: () => recount().count,
    get names() { return live()?.is_probability ? live().names : []; },
    async load() {
      stage.figure('');
      if (!live()) { shader.set({ live: 0 }); stage.section('fusion', false); return; }
      settings = { ...live().settings };
      const before = textures.get('chances')?.url;
      await textures.load('chances', live().texture, true);
      if (before !== live().texture.file.url) box = findBox();
      keepCodes();
      const several = live().names.length > 1;
      stage.section('fusion', several);
      if (several) {
        const [a, b, c] = live().colours.map(toUnit);
        shader.set({ colour1: a, colour2: b, colour3: c ?? b });
        const key = (text, paint) => {
          const line = Object.assign(document.createElement('span'), { className: 'mv-key' });
          line.append(stage.swatch(paint), text);
          return line;
        };
        const { names, colours } = live();
        stage.side.querySelector('.mv-networks').replaceChildren(...names.map((name, i) => key(name, colours[i])));
        stage.side.querySelector('.mv-agreement').replaceChildren(
          ...names.map((_, i) => key(`${i + 1} of ${names.length} agree`, AGREEMENT[i + 3 - names.length])));
      }
      const { regions } = stage.scene.regions;
      const first = regions[live().regions.find((id) => regions[id].is_present) ?? live().regions[0]];
      if (first) shader.set({ liveColour: toUnit(first.colour) });
      setUniforms();
    },
    follow: setUniforms,
    set(name, value) { // an option is being moved; true if the picture follows
      if (!live() || !(name in settings)) return false;
      settings[name] = value;
      const { ml, count, areCandidates } = recount();
      const isTold = stage.correction.settle(count);
      setUniforms();
      stage.draw();
      if (!isTold) stage.figure(areCandidates
        ? `${count} candidate${count === 1 ? '' : 's'} below ${Number(settings.min_lesion_ml)} ml`
        : describe(ml, count));
      return true;
    },
    setView() { // what the main picture shows of several networks
      const view = stage.field('fusion-view').value;
      shader.set({ mask: view === 'agreement' ? MASKS.agreement : MASKS.mask, veil: view === 'uncertainty' ? 0.85 : 0 });
      stage.draw();
    },
    tile(shows) { // uniforms of a tile that shows one network or the agreement; null for others
      if (shows === 'agreement') return { mask: MASKS.agreement };
      const index = live()?.names.indexOf(shows) ?? -1;
      return index < 0 ? null : { mask: MASKS.first + index };
    },
    read(frac) { // [name, text] of each probability at a place
      const bytes = live()?.is_probability && textures.get('chances').url && readBytes(textures.get('chances'), frac);
      if (!bytes) return [];
      return live().names.map((name, i) => [name, `${Math.round((bytes[i] / 255) * 100)} %`]);
    },
    isOwn: (code) => own.has(code),
  };
}
