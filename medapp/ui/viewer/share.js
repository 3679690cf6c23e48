// Share: the menu that saves what is shown: a picture, a film, a link, a scene file, or a document for NiiVue.

function createShare(stage) {
  const { root } = stage;
  const menu = root.querySelector('.mv-share');
  const button = root.querySelector('[data-do="share"]');
  const find = (name) => menu.querySelector(`[data-share="${name}"]`);
  let isBusy = false; // one thing at a time

  const say = (text) => { menu.querySelector('.mv-share-said').textContent = text; };
  const formatSize = (bytes) => (bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1000)} kB`);
  const nameFile = () => stage.scene.sharing?.link?.example ?? stage.scene.key ?? 'medapp';

  function listTexts(isStill) { // below the picture: what it shows, where, and what the visitor adds
    const own = find('line').value.trim();
    if (!find('caption').checked) return own ? [own] : [];
    const [title, place, notice] = stage.picture.describe();
    return [title, isStill ? place : '', own, notice];
  }

  function setBusy(wanted, text = '') {
    isBusy = wanted;
    for (const one of menu.querySelectorAll('[data-share-needs]')) one.disabled = wanted || one.dataset.shareNeeds === 'nothing';
    say(text);
  }

  function refresh() { // what can be shared of the scene
    const { sharing, strokes } = stage.scene;
    const link = sharing?.link;
    const kept = find('film').value;
    find('film').replaceChildren(...stage.film.list().map(([key, title]) => new Option(title, key)));
    if ([...find('film').options].some(({ value }) => value === kept)) find('film').value = kept;
    const isCorrected = strokes > 0 || stage.correction.strokes > 0;
    menu.querySelector('[data-share-say="link"]').textContent = link
      ? `Reopens this example with its settings and this view${isCorrected ? ', without your corrections: a scene file keeps them' : ''}.`
      : 'Only results of the examples have a link: what you upload is never part of one. Save a scene file instead.';
    find('link').dataset.shareNeeds = link ? 'quiet' : 'nothing';
    find('address').hidden = true;
    const isSeparable = Boolean(sharing?.is_separable);
    const choice = find('with-image');
    choice.disabled = !isSeparable;
    if (!isSeparable) choice.checked = true;
    menu.querySelector('[data-share-say="image"]').textContent = isSeparable
      ? (choice.checked ? 'The file holds the image: pass it on with care.' : 'You will be asked for the image when you open it.')
      : 'This result is itself an image, so the file holds it: pass it on with care.';
    setBusy(isBusy, isBusy ? menu.querySelector('.mv-share-said').textContent : '');
  }

  async function attempt(text, work) {
    if (isBusy) return;
    setBusy(true, text);
    try { setBusy(false, await work()); } catch (error) { setBusy(false, error.message); }
  }

  const ask = (event, more = {}) => {
    if (isBusy) return;
    setBusy(true, 'Preparing the file…');
    stage.trigger(event, { state: stage.state.read(), ...more });
  };

  async function recordFilm() {
    const bar = menu.querySelector('.mv-recording');
    const progress = bar.querySelector('progress');
    bar.hidden = false;
    try {
      const blob = await stage.film.record(find('film').value, listTexts(false), (share) => { progress.value = share; });
      const suffix = blob.type === 'video/mp4' ? 'mp4' : 'webm';
      saveFile(blob, `${nameFile()}-${find('film').value}.${suffix}`);
      return `Saved, ${formatSize(blob.size)}.`;
    } finally { bar.hidden = true; progress.value = 0; }
  }

  async function copyLink() {
    const address = find('address');
    address.value = formatLink(stage.scene, stage.state.read());
    address.hidden = false;
    address.select();
    try { await navigator.clipboard.writeText(address.value); return 'Link copied.'; } catch { return 'Copy the link from the field.'; }
  }

  const actions = {
    picture: () => attempt('Drawing…', async () => { await stage.picture.save(listTexts(true), nameFile()); return 'Picture saved.'; }),
    record: () => attempt('Recording…', recordFilm),
    stop: () => stage.film.cancel(),
    link: () => attempt('', copyLink),
    scene: () => ask('save_scene', { with_image: find('with-image').checked }),
    document: () => ask('save_document'),
    close: () => open(false),
  };

  function open(wanted) {
    menu.hidden = !wanted;
    button.setAttribute('aria-expanded', String(wanted));
    if (wanted) { refresh(); find('caption').focus(); } else button.focus();
  }

  menu.addEventListener('click', ({ target }) => { actions[target.closest('button')?.dataset.share]?.(); });
  menu.addEventListener('change', ({ target }) => { if (target.dataset.share === 'with-image') refresh(); });
  menu.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Escape') open(false);
  });

  return {
    toggle: () => open(menu.hidden),
    load() { // another scene
      if (!menu.hidden) refresh();
    },
    deliver(made) { // by Python: a file, or null
      const [file] = [made].flat();
      if (!file) { setBusy(false, 'Nothing was saved: see the message.'); return; }
      Object.assign(document.createElement('a'), { href: file.url, download: file.orig_name ?? '' }).click();
      setBusy(false, `Saved${file.size ? `, ${formatSize(file.size)}` : ''}.`);
    },
  };
}
