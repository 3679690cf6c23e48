// Regions: one label map in which each code stands for the regions that overlap there, and their legend.

function createRegions(stage) {
  const { textures, shader } = stage;
  let codes = null; // the label map as it was sent

  const isHidden = (id) => stage.hidden.has(stage.scene.regions.regions[id].name);

  function paint() { // rows: colour; identity of what is visible; colour of the live mask; colour of what lies below
    const { regions, live } = stage.scene;
    if (!regions) return;
    const bytes = new Uint8Array(256 * 4 * 4);
    const put = (row, code, rgb, alpha = 255) => bytes.set([...rgb, alpha], 4 * (256 * row + code));
    const own = new Set(stage.live.isDrawn() ? live.regions : []);
    const identities = new Map();
    regions.members.forEach((ids, i) => {
      const visible = ids.filter((id) => !isHidden(id));
      const mine = visible.filter((id) => own.has(id) && stage.live.isOwn(i + 1));
      if (mine.length) put(2, i + 1, rgb(regions.regions[mine.at(-1)].colour));
      const left = visible.filter((id) => !mine.includes(id));
      if (!left.length) return;
      const key = left.join();
      if (!identities.has(key)) identities.set(key, i + 1);
      put(0, i + 1, rgb(regions.regions[left.at(-1)].colour));
      put(1, i + 1, [identities.get(key), 0, 0]);
      put(3, i + 1, rgb(regions.regions[left.at(-2) ?? left.at(-1)].colour));
    });
    textures.upload2D('palette', bytes, 256, 4, false);
    style();
  }

  const rgb = (css) => toUnit(css).map((share) => Math.round(share * 255));

  function style() {
    const kind = stage.field('style').value;
    const strength = Number(stage.field('opacity').value);
    stage.say('opacity', `${Math.round(strength * 100)} %`);
    shader.set({
      labelFill: kind === 'outline' ? 0 : kind === 'both' ? strength * 0.5 : strength,
      labelLine: kind === 'fill' ? 0 : strength && Math.max(strength, 0.9),
    });
    stage.draw();
  }

  function listLegend() {
    const { regions } = stage.scene.regions;
    const list = regions.length > 12 ? regions.filter((region) => region.is_present) : regions;
    stage.side.querySelector('.mv-legend').replaceChildren(...list.map((region) => {
      const title = region.is_present ? region.name : `${region.name} (none)`;
      const line = stage.checkbox(title, !stage.hidden.has(region.name), region.colour, (on) => {
        stage.hidden[on ? 'delete' : 'add'](region.name);
        repaint();
      });
      line.classList.toggle('mv-none', !region.is_present);
      return line;
    }));
  }

  function repaint() { // what is hidden has changed
    stage.live.follow();
    paint();
    stage.surfaces.follow();
  }

  return {
    paint,
    reveal(ids) {
      const names = ids.map((id) => stage.scene.regions.regions[id].name).filter((name) => stage.hidden.delete(name));
      if (!names.length) return;
      listLegend();
      repaint();
    },
    get codes() { return codes; },
    async load(before) {
      const { regions } = stage.scene;
      stage.section('regions', Boolean(regions));
      if (!regions) { codes = null; shader.set({ labelFill: 0, labelLine: 0 }); return; }
      const entry = await textures.load('labels', regions.texture, false);
      codes = entry.bytes;
      if (!before || before.outline !== regions.outline || before.opacity !== regions.opacity) {
        stage.field('style').value = regions.outline ? 'outline' : 'fill';
        stage.field('opacity').value = regions.opacity;
      }
      listLegend();
    },
    namesAt(frac) { // of the visible regions at a place
      const code = readBytes(textures.get('labels'), frac)?.[0];
      const { regions } = stage.scene;
      if (!code || !regions) return [];
      return (regions.members[code - 1] ?? []).filter((id) => !isHidden(id)).map((id) => regions.regions[id].name);
    },
    style,
  };
}
