// Hand voxels: what was painted and erased on the grid of the image, axes towards R, A, S; 0 is as the method has it. Tips
// are measured in mm, whatever the size and the shear of the voxels.

const PAINTED = 1, ERASED = 2;
const MAX_STEPS = 20; // that can be undone

function createHandVoxels(shape, vectors) { // `vectors` (3 x 3): mm of a step along each axis
  const [nx, ny, nz] = shape;
  const voxels = new Uint8Array(nx * ny * nz);
  const strides = [1, nx, nx * ny];
  const metric = vectors.map((a) => vectors.map((b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2]));
  let steps = []; // of { value, index, old }, the last one done first
  let undone = [];
  let step = null; // the stroke that is being made
  let decided = 0; // voxels that are not 0
  let box = null; // of what has changed since it was asked for: [low, high]

  function touch(i, value) { // all changes go through here
    decided += (value > 0) - (voxels[i] > 0);
    voxels[i] = value;
    const at = [i % nx, Math.floor(i / nx) % ny, Math.floor(i / (nx * ny))];
    box ??= [[...at], [...at]];
    for (let axis = 0; axis < 3; axis++) {
      if (at[axis] < box[0][axis]) box[0][axis] = at[axis];
      if (at[axis] > box[1][axis]) box[1][axis] = at[axis];
    }
  }

  function put(i) {
    if (voxels[i] === step.value) return;
    step.index.push(i);
    step.old.push(voxels[i]);
    touch(i, step.value);
  }

  function findReach(axes, radius) { // voxels along each axis that a tip of that radius reaches
    const g = metric;
    if (axes.length === 2) {
      const [a, b] = axes;
      const det = g[a][a] * g[b][b] - g[a][b] ** 2;
      return { [a]: radius * Math.sqrt(g[b][b] / det), [b]: radius * Math.sqrt(g[a][a] / det) };
    }
    const minor = (a, b) => g[a][a] * g[b][b] - g[a][b] ** 2;
    const det = g[0][0] * minor(1, 2) - g[0][1] * (g[0][1] * g[2][2] - g[1][2] * g[0][2]) + g[0][2] * (g[0][1] * g[1][2] - g[1][1] * g[0][2]);
    return [[1, 2], [0, 2], [0, 1]].map(([a, b]) => radius * Math.sqrt(minor(a, b) / det));
  }

  function dab(at, across, radius, isBall) { // at a place in voxels, in the layer across that axis or as a ball
    const near = at.map((x, axis) => Math.min(shape[axis] - 1, Math.max(0, Math.round(x))));
    put(near[0] + nx * near[1] + nx * ny * near[2]); // a tip smaller than a voxel is one
    const axes = [0, 1, 2].filter((axis) => isBall || axis !== across);
    const reach = findReach(axes, radius);
    const centre = at.map((x, axis) => (axis === across ? near[axis] : x));
    const range = [0, 1, 2].map((axis) => (axes.includes(axis)
      ? [Math.max(0, Math.ceil(centre[axis] - reach[axis])), Math.min(shape[axis] - 1, Math.floor(centre[axis] + reach[axis]))]
      : [near[axis], near[axis]]));
    const g = metric, most = radius * radius;
    for (let z = range[2][0]; z <= range[2][1]; z++)
      for (let y = range[1][0]; y <= range[1][1]; y++)
        for (let x = range[0][0]; x <= range[0][1]; x++) {
          const dx = x - centre[0], dy = y - centre[1], dz = z - centre[2];
          const far = g[0][0] * dx * dx + g[1][1] * dy * dy + g[2][2] * dz * dz + 2 * (g[0][1] * dx * dy + g[0][2] * dx * dz + g[1][2] * dy * dz);
          if (far <= most) put(x + nx * y + nx * ny * z);
        }
  }

  function measure(from, to) { // mm between two places in voxels
    const d = to.map((x, axis) => x - from[axis]);
    return Math.sqrt(d.reduce((sum, a, i) => sum + d.reduce((row, b, j) => row + a * b * metric[i][j], 0), 0));
  }

  return {
    voxels,
    shape,
    get isEmpty() { return decided === 0; },
    get canUndo() { return steps.length > 0; },
    get canRedo() { return undone.length > 0; },
    get stroke() { return step; },
    load(bytes) { // from elsewhere, not to be undone step by step
      voxels.set(bytes);
      decided = bytes.reduce((sum, value) => sum + (value > 0), 0);
    },
    begin(value) { step = { value, index: [], old: [] }; },
    draw(from, to, across, radius, isBall) { // a line of dabs
      const parts = Math.max(1, Math.ceil(measure(from, to) / Math.max(radius / 3, 0.3)));
      for (let part = from === to ? 0 : 1; part <= parts; part++) {
        dab(from.map((x, axis) => x + ((to[axis] - x) * part) / parts), across, radius, isBall);
      }
    },
    fill(outline, across) { // what lies within a line that ends where it began, in its layer
      const [a, b] = [0, 1, 2].filter((axis) => axis !== across);
      const layer = Math.round(outline[0][across]) * strides[across];
      const rows = outline.map((at) => at[b]);
      for (let row = Math.max(0, Math.ceil(Math.min(...rows))); row <= Math.min(shape[b] - 1, Math.max(...rows)); row++) {
        const cuts = [];
        outline.forEach((at, i) => {
          const next = outline[(i + 1) % outline.length];
          if (at[b] <= row === next[b] <= row) return;
          cuts.push(at[a] + ((row - at[b]) / (next[b] - at[b])) * (next[a] - at[a]));
        });
        cuts.sort((x, y) => x - y);
        for (let cut = 0; cut + 1 < cuts.length; cut += 2) {
          for (let x = Math.max(0, Math.ceil(cuts[cut])); x <= Math.min(shape[a] - 1, cuts[cut + 1]); x++) {
            put(layer + row * strides[b] + x * strides[a]);
          }
        }
      }
    },
    mark(indices) { indices.forEach(put); },
    end() { // whether anything has changed
      const done = step;
      step = null;
      if (!done?.index.length) return false;
      steps = [...steps, { ...done, index: Int32Array.from(done.index), old: Uint8Array.from(done.old) }].slice(-MAX_STEPS);
      undone = [];
      return true;
    },
    cancel() { // the stroke that is being made
      step?.index.forEach((i, n) => touch(i, step.old[n]));
      step = null;
    },
    undo() {
      const last = steps.pop();
      if (!last) return false;
      last.index.forEach((i, n) => touch(i, last.old[n]));
      undone.push(last);
      return true;
    },
    redo() {
      const next = undone.pop();
      if (!next) return false;
      next.index.forEach((i) => touch(i, next.value));
      steps.push(next);
      return true;
    },
    clear() { // as one step
      this.begin(0);
      for (let i = 0; i < voxels.length; i++) if (voxels[i]) put(i);
      return this.end();
    },
    takeBox() { const taken = box; box = null; return taken; },
  };
}

async function unpackBytes(text) { // as ui/proposals.py packs them
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer());
}

async function packBytes(bytes) { // as text, see ui/corrections.py
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = '';
  for (let i = 0; i < packed.length; i += 32768) text += String.fromCharCode(...packed.subarray(i, i + 32768));
  return btoa(text);
}
