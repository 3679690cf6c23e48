// Comparison: another image over the bottom one, alone, by a line between them, by squares, as a difference, or by turns.

function createComparison(stage) {
  const { shader } = stage;
  let image = null; // NiiVue's volume of the other image
  let name = ''; // of the other image
  let timer = 0;

  async function choose(wanted) {
    const { nv, scene } = stage;
    const other = scene.others.find((one) => one.name === wanted) ?? null;
    if (image && image.name !== other?.file.url) { nv.removeVolume(image); image = null; }
    name = other ? wanted : '';
    stage.field('other').value = name;
    if (other && !image) {
      image = await stage.loadVolume(other.file, { colormap: 'gray' });
      if (name !== wanted || stage.scene !== scene) { image = null; return; }
      Object.assign(image, { name: other.file.url, ...stage.window.forOther(other) });
      nv.addVolume(image);
      stage.surfaces.hideOverlays();
    }
    show();
  }

  function show() {
    clearInterval(timer);
    const way = name ? stage.field('way').value : 'bottom';
    for (const part of stage.side.querySelectorAll('[data-of-way]')) part.hidden = !name || !part.dataset.ofWay.split(' ').includes(way);
    let top = false;
    if (way === 'blink') timer = setInterval(() => { top = !top; shader.set({ show: top ? 1 : 0 }); stage.draw(); }, 700);
    shader.set({ show: way === 'blink' ? 0 : SHOWS[way] });
    stage.layout.caption();
    stage.draw();
  }

  return {
    choose,
    show,
    get name() { return name; },
    get volume() { return image; },
    get image() { return stage.scene.others.find((one) => one.name === name); },
    setSwipe(share) {
      shader.set({ swipe: Math.min(1, Math.max(0, share)) });
      stage.field('swipe').value = shader.values.swipe;
      stage.draw();
    },
    async load(isNew) {
      const { others, compared, comparison } = stage.scene;
      stage.section('comparison', others.length > 0);
      const wanted = isNew || !name ? compared : name;
      stage.field('other').replaceChildren(new Option('none', ''), ...others.map((one) => new Option(one.name, one.name)));
      if (isNew) {
        if (image) image = null; // gone with the image that it lay on
        name = '';
        stage.field('way').value = comparison;
        shader.set({ swipe: 0.5 });
      }
      await choose(others.some((one) => one.name === wanted) ? wanted : '');
    },
    stop() { clearInterval(timer); image = null; name = ''; shader.set({ show: 0 }); },
  };
}
