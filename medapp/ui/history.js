// The body of a function with the arguments `element` and `trigger`, run once the cards are mounted, see history.py.

element.addEventListener('click', ({ target }) => {
  const button = target.closest('button[data-do]');
  if (!button) return;
  const { do: what, case: name } = button.dataset;
  window.medapp?.stages[element.querySelector('.med-history').dataset.tab]?.correction?.flush();
  if (what === 'again') trigger('again', { case: name });
  if (what === 'beside') trigger('beside', { case: name });
  if (what === 'alone') trigger('alone', {});
});
element.addEventListener('change', ({ target }) => {
  if (!target.matches('select')) return;
  const { value, selectedOptions: [chosen] } = target;
  if (!value) return;
  window.medappPage.open(chosen.dataset.tab);
  trigger('use', { case: target.dataset.case, method: value });
  target.value = '';
});
