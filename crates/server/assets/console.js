// The console: keeps live parts fresh, and asks before what cannot be undone. Every page works without it.
'use strict';

(() => {
  for (const button of document.querySelectorAll('[data-confirm]')) {
    button.addEventListener('click', (event) => {
      if (!window.confirm(button.dataset.confirm)) event.preventDefault();
    });
  }

  // The same page is fetched again and its live part put in place of the shown one, unless someone is reading it closely:
  // text is selected, a field is in use, or the tab is hidden.
  for (const part of document.querySelectorAll('[data-live]')) {
    let failures = 0;
    const refresh = async () => {
      const busy = document.hidden || !document.getSelection().isCollapsed || part.contains(document.activeElement);
      if (!busy) {
        try {
          const answer = await fetch(window.location.href, { cache: 'no-store', redirect: 'error' });
          if (!answer.ok) throw new Error(String(answer.status));
          const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('[data-live]');
          if (fresh && fresh.innerHTML !== part.innerHTML) part.innerHTML = fresh.innerHTML;
          failures = 0;
        } catch {
          failures += 1;
        }
      }
      if (failures < 10) window.setTimeout(refresh, Number(part.dataset.live) * (1 + failures));
    };
    window.setTimeout(refresh, Number(part.dataset.live));
  }
})();
