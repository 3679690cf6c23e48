// Shader of the slices: image, compared image, map, regions and live mask in one pass. All that can be switched or moved
// is a uniform, so that nothing is uploaded again. NiiVue finds uniforms by their lines: one a line.

const UNITS = { labels: 20, palette: 21, chances: 22, kept: 23, values: 24, ramp: 25, field: 26,
  offers: 27, near: 28, hand: 29 }; // 0 to 15 are NiiVue's
const SHOWS = { bottom: 0, top: 1, swipe: 2, checkerboard: 3, difference: 4, overlay: 5 };
const AGREEMENT = ['#7b8fc0', '#ecc078', '#ff6e1e']; // one, two and three networks: darker to brighter for every eye
const MASKS = { mask: 0, agreement: 1, first: 2, second: 3, third: 4 };

const SLICES = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume;
uniform highp sampler3D overlay;
uniform highp sampler3D labels;
uniform highp sampler2D palette;
uniform highp sampler3D chances;
uniform highp sampler3D kept;
uniform highp sampler3D near;
uniform highp sampler3D hand;
uniform highp sampler3D offers;
uniform highp sampler3D values;
uniform highp sampler2D ramp;
uniform highp sampler3D field;
uniform float opacity;
uniform int axCorSag;
uniform vec4 tile;
uniform int show;
uniform float swipe;
uniform float warp;
uniform float peak;
uniform mat3 mmToTexture;
uniform vec3 fieldScale;
uniform vec3 boxMM;
uniform float gridMM;
uniform float mapOpacity;
uniform int mapSigned;
uniform float labelFill;
uniform float labelLine;
uniform int live;
uniform float threshold;
uniform vec3 weights;
uniform int vote;
uniform int mask;
uniform float veil;
uniform int byHand;
uniform float handFill;
uniform int offerBit;
uniform vec3 offerLow;
uniform vec3 offerSize;
uniform vec3 offerColour;
uniform vec3 liveColour;
uniform vec3 colour1;
uniform vec3 colour2;
uniform vec3 colour3;
uniform vec3 agree1;
uniform vec3 agree2;
uniform vec3 agree3;
uniform vec3 lens;
uniform vec3 nearScale;
uniform float pixel;
in vec3 texPos;
out vec4 color;

vec4 look(float code, int row) { return texelFetch(palette, ivec2(int(code * 255.0 + 0.5), row), 0); }

float fuse(vec3 p) {
  if (vote == 0) return dot(p, weights) / max(dot(vec3(1.0), weights), 1e-6);
  vec3 on = step(1e-6, weights);
  float n = on.x + on.y + on.z;
  vec3 low = mix(vec3(1.0), p, on);
  if (n < 2.5) return min(low.x, min(low.y, low.z));
  return max(min(p.x, p.y), min(max(p.x, p.y), p.z));
}
float chance(vec3 at) {
  vec3 p = texture(chances, at).rgb;
  return mask == 2 ? p.x : mask == 3 ? p.y : mask == 4 ? p.z : fuse(p);
}
bool automatic(vec3 at) { return chance(at) >= threshold && (mask > 1 || texture(kept, at).r > 0.02); }
bool inside(vec3 at) {
  float decided = byHand > 0 && mask < 2 ? texture(hand, at).r * 255.0 : 0.0; // 1 painted, 2 erased
  return decided > 0.5 ? decided < 1.5 : automatic(at);
}

vec3 paintSigned(float d) {
  vec3 hue = d > 0.0 ? mix(vec3(0.84, 0.37, 0.0), vec3(1.0, 0.84, 0.67), smoothstep(0.5, 1.0, d))
                     : mix(vec3(0.0, 0.45, 0.74), vec3(0.67, 0.89, 1.0), smoothstep(0.5, 1.0, -d));
  return hue * smoothstep(0.0, 0.45, abs(d));
}

vec3 paintLive(vec3 rgb, vec3 here, float code, bool edge, vec3 edgeColour) {
  vec3 p = texture(chances, here).rgb;
  if (mask == 1) { // by how many networks agree
    vec3 votes = step(vec3(threshold), p) * step(1e-6, weights);
    float n = votes.x + votes.y + votes.z;
    if (n > 0.5) rgb = mix(rgb, n > 2.5 ? agree3 : n > 1.5 ? agree2 : agree1, 0.7);
    else if (handFill > 0.0 && inside(here)) rgb = mix(rgb, liveColour, handFill);
    if (edge) rgb = vec3(1.0);
  } else if (mask > 1) { // one network
    vec3 hue = mask == 2 ? colour1 : mask == 3 ? colour2 : colour3;
    if (inside(here)) rgb = mix(rgb, hue, 0.55);
    if (edge) rgb = hue;
  } else {
    vec4 own = look(code, 2);
    float fill = max(labelFill, handFill);
    if (fill > 0.0 && inside(here)) rgb = mix(rgb, own.a > 0.0 ? own.rgb : liveColour, fill);
    if (edge) rgb = mix(rgb, edgeColour, labelLine);
  }
  if (veil > 0.0 && mask < 2) {
    float f = clamp(fuse(p), 1e-4, 1.0 - 1e-4);
    float bits = -(f * log2(f) + (1.0 - f) * log2(1.0 - f));
    rgb = mix(rgb, vec3(1.0, 0.72, 0.1), veil * bits * step(0.02, fuse(p)));
  }
  return rgb;
}

vec3 paintRegions(vec3 rgb, vec3 here, vec3 dx, vec3 dy) { // lines of two pixels lie just outside, so that they hide nothing
  float code = texture(labels, here).r;
  vec4 look0 = look(code, 0);
  float id = look(code, 1).r, grown = id, grownCode = code;
  bool seeks = live == 1 && !inside(here), edge = false;
  bool seeksOld = live == 1 && byHand == 2 && mask < 2 && !automatic(here), oldEdge = false;
  vec3 edgeColour = liveColour;
  for (int i = 0; i < 8; i++) {
    vec2 step2 = i < 4 ? vec2(i == 0 ? 1.8 : i == 1 ? -1.8 : 0.0, i == 2 ? 1.8 : i == 3 ? -1.8 : 0.0)
                       : vec2(i < 6 ? 1.3 : -1.3, i % 2 == 0 ? 1.3 : -1.3);
    vec3 q = here + step2.x * dx + step2.y * dy;
    float other = texture(labels, q).r;
    float otherId = look(other, 1).r;
    if (otherId > grown) { grown = otherId; grownCode = other; }
    if (seeks && !edge && inside(q)) { edge = true; vec4 c = look(other, 2); if (c.a > 0.0) edgeColour = c.rgb; }
    if (seeksOld && automatic(q)) oldEdge = true;
  }
  if (id > 0.0) rgb = mix(rgb, look0.rgb, labelFill * look0.a);
  if (grown > id) {
    vec3 rim = look(grownCode, 0).rgb;
    if (id > 0.0 && rim == look0.rgb) rim = look(grownCode, 3).rgb;
    rgb = mix(rgb, rim, labelLine);
  }
  if (live == 1) rgb = paintLive(rgb, here, code, edge, edgeColour);
  if (oldEdge && mod(gl_FragCoord.x + gl_FragCoord.y, 8.0 * pixel) < 4.0 * pixel) rgb = vec3(0.95);
  return rgb;
}

bool isOffered(vec3 at) {
  vec3 place = (at - offerLow) / offerSize;
  if (any(lessThan(place, vec3(0.0))) || any(greaterThanEqual(place, vec3(1.0)))) return false;
  return (int(texture(offers, place).r * 255.0 + 0.5) & offerBit) > 0;
}

vec3 paintOffer(vec3 rgb, vec3 here, vec3 dx, vec3 dy) { // what a click may mean: a fill and its outline
  if (isOffered(here)) return mix(rgb, offerColour, 0.35);
  for (int i = 0; i < 8; i++) {
    float turn = float(i) * 0.7854;
    if (isOffered(here + 1.8 * (cos(turn) * dx + sin(turn) * dy))) return offerColour;
  }
  return rgb;
}

void main() {
  vec3 dx = dFdx(texPos), dy = dFdy(texPos);
  vec3 here = texPos;
  vec2 off = gl_FragCoord.xy - lens.xy;
  bool magnified = lens.z > 0.0 && dot(off, off) < lens.z * lens.z;
  if (magnified) { here -= (dx * off.x + dy * off.y) * (2.0 / 3.0); dx /= 3.0; dy /= 3.0; }

  vec3 at = here;
  if (warp > 0.0 && peak > 0.0)
    at += mmToTexture * ((texture(field, here * fieldScale).rgb * 255.0 - 128.0) / 127.0 * peak * warp);
  vec3 bottom = texture(volume, here).rgb, rgb = bottom;
  vec2 place = (gl_FragCoord.xy - tile.xy) / tile.zw;
  float line = 0.0;
  if (show > 0) {
    vec3 top = any(lessThan(at, vec3(0.0))) || any(greaterThan(at, vec3(1.0))) ? vec3(0.0) : texture(overlay, at).rgb;
    if (show == 1) rgb = top;
    if (show == 2) {
      rgb = place.x < swipe ? top : bottom;
      float gap = abs(place.x - swipe) * tile.z;
      line = max(1.0 - smoothstep(0.5 * pixel, 1.5 * pixel, gap),
        1.0 - smoothstep(6.0 * pixel, 7.0 * pixel, length((place - vec2(swipe, 0.06)) * tile.zw)));
    }
    if (show == 3) {
      vec2 cell = floor((gl_FragCoord.xy - tile.xy) / (40.0 * pixel));
      rgb = mod(cell.x + cell.y, 2.0) < 0.5 ? top : bottom;
    }
    if (show == 4) rgb = paintSigned(dot(bottom - top, vec3(0.299, 0.587, 0.114)));
    if (show == 5) rgb = vec3(top.r, 0.5 * (top.r + bottom.b), bottom.b);
  }
  if (gridMM > 0.0) {
    vec3 g = at * boxMM / gridMM;
    vec3 d = abs(fract(g - 0.5) - 0.5) / max(fwidth(g), vec3(1e-5));
    float near = min(axCorSag == 2 ? d.y : d.x, axCorSag == 0 ? d.y : d.z);
    rgb = mix(vec3(0.35, 0.95, 1.0), rgb, 0.45 + 0.55 * smoothstep(0.4, 1.3, near));
  }
  if (mapOpacity > 0.0) {
    float v = texture(values, here).r;
    float strength = mapSigned == 1 ? abs(v * 255.0 - 128.0) / 127.0 : v;
    rgb = mix(rgb, texture(ramp, vec2(v, 0.5)).rgb, mapOpacity * (mapSigned == 1 ? smoothstep(0.04, 0.45, strength) : smoothstep(0.01, 0.2, strength)));
  }

  if (texture(near, here * nearScale).r > 0.0) rgb = paintRegions(rgb, here, dx * pixel, dy * pixel);
  if (offerBit > 0) rgb = paintOffer(rgb, here, dx * pixel, dy * pixel);
  rgb = mix(rgb, vec3(1.0, 0.82, 0.25), line);
  if (lens.z > 0.0 && abs(length(off) - lens.z) < pixel) rgb = vec3(0.9);
  color = vec4(rgb, opacity);
}`;

const KINDS = { // how a uniform is set; all others are floats
  tile: '4fv', fieldScale: '3fv', boxMM: '3fv', weights: '3fv', liveColour: '3fv', colour1: '3fv', colour2: '3fv',
  colour3: '3fv', agree1: '3fv', agree2: '3fv', agree3: '3fv', lens: '3fv', nearScale: '3fv', show: '1i', mapSigned: '1i', live: '1i', byHand: '1i', vote: '1i', mask: '1i',
  offerBit: '1i', offerLow: '3fv', offerSize: '3fv', offerColour: '3fv',
};

function createShader(nv) {
  const values = {
    show: 0, swipe: 0.5, warp: 0, peak: 0, fieldScale: [1, 1, 1], boxMM: [1, 1, 1], gridMM: 0, mapOpacity: 0, mapSigned: 0,
    labelFill: 0, labelLine: 0, live: 0, threshold: 0.5, weights: [1, 0, 0], vote: 0, mask: 0, veil: 0, byHand: 0, handFill: 0,
    offerBit: 0, offerLow: [0, 0, 0], offerSize: [1, 1, 1], offerColour: [1, 1, 1],
    liveColour: [1, 0.43, 0.12], colour1: [1, 1, 1], colour2: [1, 1, 1], colour3: [1, 1, 1], lens: [0, 0, 0], nearScale: [1, 1, 1],
    agree1: toUnit(AGREEMENT[0]), agree2: toUnit(AGREEMENT[1]), agree3: toUnit(AGREEMENT[2]), pixel: 1,
    mmToTexture: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  };
  nv.setCustomSliceShader(SLICES);
  const { gl } = nv;
  const program = () => nv.customSliceShader;
  program().use(gl);
  for (const [name, unit] of Object.entries(UNITS)) gl.uniform1i(program().uniforms[name], unit);
  return {
    values,
    set(changed) { Object.assign(values, changed); },
    apply(own) { // before a tile is drawn
      const shader = program();
      if (!shader) return;
      shader.use(gl);
      for (const [name, value] of Object.entries({ ...values, ...own })) {
        const where = shader.uniforms[name];
        if (where === undefined || where === null) continue;
        if (name === 'mmToTexture') gl.uniformMatrix3fv(where, false, value);
        else gl[`uniform${KINDS[name] ?? '1f'}`](where, value);
      }
    },
  };
}

function toUnit(css) { // '#rrggbb' to three shares
  const number = parseInt(css.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255].map((c) => c / 255);
}
