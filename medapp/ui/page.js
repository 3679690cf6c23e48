// What the events of the page ask of the browser, see stage.py and task_tab.py.

window.medappPage = {
  fold(tab) { // as something has been asked for
    window.medapp?.stages[tab]?.surfaces?.rest(2500);
    document.getElementById(`${tab}-work`)?.classList.add('drawer-closed');
  },
  unfold(tab) { if (window.innerWidth >= 1220) document.getElementById(`${tab}-work`)?.classList.remove('drawer-closed'); },
  widenFor(id, tab, isOpen) { // the panel, for what is opened in it; a phone has one column, and goes there
    if (window.innerWidth > 800) document.getElementById(`${tab}-work`)?.classList.toggle('panel-wide', isOpen);
    else if (isOpen) { this.fold(tab); setTimeout(() => document.getElementById(id)?.scrollIntoView(), 200); }
  },
  namePicture(id, name) { document.querySelector(`#${id} .image-container > button`)?.setAttribute('aria-label', name); },
  setLive(tab, name, value) { window.medapp?.stages[tab]?.set(name, value); },
  markMethod(tab, method) { // whether the shown result is of another method than the chosen one
    const shown = document.querySelector(`#${tab}-whose [data-method]`);
    document.getElementById(`${tab}-stage`)?.classList.toggle('is-other', Boolean(shown) && shown.dataset.method !== method);
  },
};

document.addEventListener('keydown', ({ key, target }) => { // a slider of Gradio's tells of a typed number once it is left
  if (key === 'Enter' && target.matches?.('.work input[type="number"]')) target.blur();
});
