// The console: keeps live parts fresh, and asks before what cannot be undone. Every page works without it.
'use strict';

(() => {
  // On a phone the menu is wider than the screen.
  document.querySelector('nav [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });

  for (const button of document.querySelectorAll('[data-confirm]')) {
    button.addEventListener('click', (event) => {
      if (!window.confirm(button.dataset.confirm)) event.preventDefault();
    });
  }

  // The same page is fetched again and its live part put in place of the shown one, unless someone is reading it closely:
  // text is selected, a field is in use, something is unfolded, or the tab is hidden. A part that says it is at its end rests.
  [...document.querySelectorAll('[data-live]')].forEach((part, place) => {
    let failures = 0;
    const refresh = async () => {
      const busy = document.hidden || !document.getSelection().isCollapsed || part.contains(document.activeElement)
        || part.querySelector('details[open]');
      if (!busy) {
        try {
          const answer = await fetch(window.location.href, { cache: 'no-store', redirect: 'error' });
          if (!answer.ok) throw new Error(String(answer.status));
          const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
          const fresh = page.querySelectorAll('[data-live]')[place];
          if (fresh && fresh.innerHTML !== part.innerHTML) part.innerHTML = fresh.innerHTML;
          if (fresh && 'liveEnd' in fresh.dataset) return;
          failures = 0;
        } catch {
          failures += 1;
        }
      }
      if (failures < 10) window.setTimeout(refresh, Number(part.dataset.live) * (1 + failures));
    };
    if (!('liveEnd' in part.dataset)) window.setTimeout(refresh, Number(part.dataset.live));
  });
})();
