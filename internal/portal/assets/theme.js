// Sets light or dark before the page is drawn: what was chosen here, else what the
// system prefers.
(function () {
  'use strict';
  var dark = window.matchMedia('(prefers-color-scheme: dark)');
  function chosen() {
    try { return localStorage.getItem('theme'); } catch (e) { return null; }
  }
  function apply() {
    var theme = chosen() || (dark.matches ? 'dark' : 'light');
    document.documentElement.setAttribute('data-bs-theme', theme);
  }
  dark.addEventListener('change', apply);
  window.addEventListener('storage', apply);
  document.addEventListener('click', function (event) {
    if (!event.target.closest || !event.target.closest('[data-theme-toggle]')) { return; }
    var next = document.documentElement.getAttribute('data-bs-theme') === 'dark' ? 'light' : 'dark';
    try {
      if ((next === 'dark') === dark.matches) { localStorage.removeItem('theme'); } else { localStorage.setItem('theme', next); }
    } catch (e) { /* a browser that keeps nothing: it holds until the next page */ }
    document.documentElement.setAttribute('data-bs-theme', next);
  });
  apply();
  document.documentElement.classList.add('script');
})();
