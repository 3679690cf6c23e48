// Regions and maps: their legend, and how they are painted. Continues viewer.js in the same function.

function paintRegions() { // hidden regions leave the label map; an overlap takes the colour of its topmost visible region
  const { nv, scene: { regions } } = my;
  const visible = (id) => !my.hidden.has(regions.regions[id].name);
  const table = new Uint8Array(256);
  const lut = new Uint8ClampedArray(1024);
  const seen = new Map();
  regions.members.forEach((ids, i) => {
    const left = ids.filter(visible);
    if (!left.length) return;
    const key = left.join();
    if (!seen.has(key)) seen.set(key, i + 1);
    table[i + 1] = seen.get(key);
    lut.set(rgba(regions.regions[left.at(-1)].colour), 4 * table[i + 1]);
    const below = regions.regions[left.at(-2) ?? left.at(-1)].colour;
    if (regions.members.length < 128) lut.set(rgba(below), 4 * (table[i + 1] + 128)); // read by the slices' shader
  });
  nv.drawBitmap = my.codes.map((code) => table[code]);
  nv.drawLut = { lut, labels: Array(256).fill('') };
  nv.refreshColormaps();
  nv.refreshDrawing(false);
  styleRegions();
}

function rgba(hex) {
  const colour = parseInt(hex.slice(1), 16);
  return [colour >> 16, (colour >> 8) & 255, colour & 255, 255];
}

function styleRegions() {
  const { nv } = my;
  const opacity = Number(field('opacity').value);
  const style = field('style').value;
  root.querySelector('[data-of="opacity"]').value = `${Math.round(opacity * 100)} %`;
  nv.drawRimOpacity = style === 'fill' ? -1 : style === 'outline' ? opacity : Math.max(opacity, 0.9);
  nv.drawOpacity = !opacity ? 0 : style === 'outline' ? 0.001 : opacity; // rims need a fill, if one that cannot be seen
  nv.drawScene();
}

function row(name, title, paint, changed) {
  const label = Object.assign(document.createElement('label'), { className: 'mv-check' });
  const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: !my.hidden.has(name) });
  const swatch = Object.assign(document.createElement('span'), { className: 'mv-swatch' });
  swatch.style.background = paint;
  box.addEventListener('change', () => { my.hidden[box.checked ? 'delete' : 'add'](name); changed(); });
  label.append(box, swatch, title);
  return label;
}

function showLegend({ regions }) {
  const list = regions.length > 12 ? regions.filter((region) => region.is_present) : regions;
  root.querySelector('.mv-legend').replaceChildren(...list.map((region) => {
    const line = row(region.name, region.is_present ? region.name : `${region.name} (none)`, region.colour, paintRegions);
    line.classList.toggle('mv-none', !region.is_present);
    return line;
  }));
}

function showHeats(heats) {
  root.querySelector('.mv-heats').hidden = !heats.length;
  const more = new Map(); // what a map has beside its box, shown with it
  const redraw = () => {
    for (const heat of heats) {
      const image = my.heats.get(heat.file.url);
      const hidden = my.hidden.has(heat.name);
      image.opacity = hidden ? 0 : image.wanted;
      for (const part of more.get(heat.name)) part.style.display = hidden ? 'none' : '';
    }
    if (heats.length) my.nv.updateGLVolume();
  };
  root.querySelector('.mv-heats div').replaceChildren(...heats.flatMap((heat) => {
    const image = my.heats.get(heat.file.url);
    const stops = heat.colours.map((colour) => `rgb(${colour.join(' ')})`).join(', ');
    const ramp = Object.assign(document.createElement('div'), { className: 'mv-ramp' });
    const bar = document.createElement('i');
    bar.style.background = `linear-gradient(to right, ${stops})`;
    ramp.append(number(heat.low), bar, number(heat.high));
    const slider = Object.assign(document.createElement('label'), { className: 'mv-row' });
    const input = Object.assign(document.createElement('input'), { type: 'range', min: 0, max: 1, step: 0.05 });
    input.value = image.wanted;
    input.addEventListener('input', soon(() => { image.wanted = Number(input.value); redraw(); }));
    slider.append(Object.assign(document.createElement('span'), { textContent: 'Opacity' }), input);
    more.set(heat.name, [ramp, slider]);
    return [row(heat.name, heat.name, `linear-gradient(to right, ${stops})`, redraw), ramp, slider];
  }));
  redraw();
}
