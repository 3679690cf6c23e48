// What the events of the page ask of the browser, see stage.py and task_tab.py.

window.medappPage = {
  fold(tab) { // as something has been asked for
    window.medapp?.stages[tab]?.surfaces?.rest(2500);
    document.getElementById(`${tab}-work`)?.classList.add('drawer-closed');
  },
  unfold(tab) { if (window.innerWidth >= 1220) document.getElementById(`${tab}-work`)?.classList.remove('drawer-closed'); },
  open(tab) { // the form, also of a tab that nobody has seen yet
    this.opened = tab;
    document.getElementById(`${tab}-work`)?.classList.remove('drawer-closed');
  },
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
  async openLink() { // of the address: the tab of its example is opened, and its stage asks Python for the rest
    const name = new URLSearchParams(location.hash.slice(1)).get('example');
    if (name === null) return;
    for (let tries = 0; tries < 300; tries++) {
      const { tabs, examples } = JSON.parse(document.getElementById('page-examples')?.textContent ?? '{"tabs": [], "examples": {}}');
      const tab = Object.hasOwn(examples, name) ? examples[name] : tabs[0];
      const button = document.querySelectorAll('#page-tabs > .tab-wrapper button[role="tab"]')[tabs.indexOf(tab)];
      if (button?.getAttribute('aria-selected') === 'false') button.click();
      const stage = window.medapp?.stages[tab];
      if (stage && (stage.scene || tries > 20)) { stage.openLink(location.hash); return; } // a first view comes before it
      await new Promise((later) => setTimeout(later, 100));
    }
  },
};

window.medappPage.openLink();
window.addEventListener('hashchange', () => window.medappPage.openLink());

document.addEventListener('keydown', ({ key, target }) => { // a slider of Gradio's tells of a typed number once it is left
  if (key === 'Enter' && target.matches?.('.work input[type="number"]')) target.blur();
});
