// The body of a function with the arguments `element` and `trigger`, run once the header is mounted, see page.py.

const button = element.querySelector('[data-do="erase"]');
button.addEventListener('click', () => { // asks once
  if (!button.dataset.asked) {
    button.dataset.asked = 'yes';
    button.textContent = 'Delete all my uploads and results';
    return;
  }
  button.disabled = true;
  button.textContent = 'Deleting…';
  trigger('erase', {});
});
