// Textures of our own, in units that NiiVue leaves alone: bytes on the grid of the image, x fastest, axes towards R, A, S.

async function fetchBytes(url) { // of a gzipped file
  const reply = await fetch(url);
  if (!reply.ok) throw new Error(`${url}: ${reply.status}`);
  const stream = reply.body.pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function createTextures(nv) {
  const { gl } = nv;
  const FORMATS = { 1: [gl.R8, gl.RED], 2: [gl.RG8, gl.RG], 3: [gl.RGB8, gl.RGB], 4: [gl.RGBA8, gl.RGBA] };
  const units = new Map(); // name to { texture, url, bytes, shape, channels, scale }

  function bind(unit, target, texture) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(target, texture);
  }

  function upload3D(name, bytes, shape, channels, linear) {
    const old = units.get(name);
    const same = old && old.channels === channels && old.shape.every((n, i) => n === shape[i]) && old.linear === linear;
    const texture = same ? old.texture : gl.createTexture();
    if (old && !same) gl.deleteTexture(old.texture);
    bind(UNITS[name], gl.TEXTURE_3D, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const [internal, format] = FORMATS[channels];
    if (!same) {
      for (const p of ['MIN_FILTER', 'MAG_FILTER']) gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_${p}`], linear ? gl.LINEAR : gl.NEAREST);
      for (const p of ['S', 'T', 'R']) gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_WRAP_${p}`], gl.CLAMP_TO_EDGE);
      gl.texStorage3D(gl.TEXTURE_3D, 1, internal, ...shape);
    }
    gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, ...shape, format, gl.UNSIGNED_BYTE, bytes);
    gl.activeTexture(gl.TEXTURE0);
    const entry = { ...old, texture, bytes, shape, channels, linear, url: '' };
    units.set(name, entry);
    return entry;
  }

  function patch3D(name, [low, high]) { // a box of bytes that were changed in place, one channel
    const { texture, bytes, shape } = units.get(name);
    bind(UNITS[name], gl.TEXTURE_3D, texture);
    const size = high.map((n, axis) => n - low[axis] + 1);
    const how = { UNPACK_ALIGNMENT: 1, UNPACK_ROW_LENGTH: shape[0], UNPACK_IMAGE_HEIGHT: shape[1], UNPACK_SKIP_PIXELS: low[0], UNPACK_SKIP_ROWS: low[1], UNPACK_SKIP_IMAGES: low[2] };
    for (const [key, value] of Object.entries(how)) gl.pixelStorei(gl[key], value);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, ...low, ...size, gl.RED, gl.UNSIGNED_BYTE, bytes);
    for (const key of Object.keys(how)) if (key !== 'UNPACK_ALIGNMENT') gl.pixelStorei(gl[key], 0);
    gl.activeTexture(gl.TEXTURE0);
  }

  function upload2D(name, bytes, width, height, linear) { // RGBA
    const texture = units.get(name)?.texture ?? gl.createTexture();
    bind(UNITS[name], gl.TEXTURE_2D, texture);
    for (const p of ['MIN_FILTER', 'MAG_FILTER']) gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${p}`], linear ? gl.LINEAR : gl.NEAREST);
    for (const p of ['S', 'T']) gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_WRAP_${p}`], gl.CLAMP_TO_EDGE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    gl.activeTexture(gl.TEXTURE0);
    units.set(name, { texture });
  }

  async function load(name, scene, linear) { // a SceneTexture; nothing is fetched twice
    const old = units.get(name);
    if (old?.url === scene.file.url) return old;
    const bytes = await fetchBytes(scene.file.url);
    const entry = upload3D(name, bytes, scene.shape, scene.channels, linear);
    return Object.assign(entry, { url: scene.file.url, scale: scene.scale });
  }

  function clear() {
    for (const { texture } of units.values()) if (texture) gl.deleteTexture(texture);
    units.clear();
    upload2D('palette', new Uint8Array(256 * 4 * 4), 256, 4, false);
    upload2D('ramp', new Uint8Array(4), 1, 1, true);
    for (const name of ['labels', 'chances', 'kept', 'values', 'near', 'hand', 'offers']) upload3D(name, new Uint8Array(1), [1, 1, 1], 1, false);
    upload3D('field', new Uint8Array([128, 128, 128, 128]), [1, 1, 1], 4, true);
  }

  clear();
  function keep(name, bytes, { shape, channels, scale, file }) { // for reading only
    units.set(name, { bytes, shape, channels, scale, url: file.url });
  }

  return { load, keep, upload2D, upload3D, patch3D, clear, get: (name) => units.get(name) };
}

function markNear(entries, size = 4) { // blocks of the grid that hold any of the bytes, for a texture that tells where to look
  const [first] = entries;
  const [nx, ny, nz] = first.shape;
  const shape = first.shape.map((n) => Math.ceil(n / size));
  const out = new Uint8Array(shape[0] * shape[1] * shape[2]);
  for (const { bytes, channels, least = 1 } of entries)
    for (let z = 0, i = 0; z < nz; z++)
      for (let y = 0; y < ny; y++) {
        const row = shape[0] * ((y / size | 0) + shape[1] * (z / size | 0));
        for (let x = 0; x < nx; x++)
          for (let c = 0; c < channels; c++, i++) if (bytes[i] >= least) out[row + (x / size | 0)] = 255;
      }
  return { bytes: out, shape, scale: [nx, ny, nz].map((n, i) => n / (shape[i] * size)) };
}

function readBytes(entry, frac) { // the channels of the voxel at shares (0 to 1) of the image's box, as in the shader
  if (!entry?.bytes || frac.some((x) => !(x >= 0 && x <= 1))) return null;
  const { shape, channels, scale = [1, 1, 1] } = entry;
  const [x, y, z] = shape.map((n, i) => Math.min(n - 1, Math.floor(frac[i] * scale[i] * n)));
  const start = channels * (x + shape[0] * (y + shape[1] * z));
  return entry.bytes.subarray(start, start + channels);
}
