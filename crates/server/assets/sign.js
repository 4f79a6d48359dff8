// The signing page: draw or type, see it in place, confirm; or reject. All words are in the page; this file shows and hides.
//
// What was drawn is kept in the tab (sessionStorage) until the server has it, so neither a reload nor a lost connection
// loses it. Sending the same signature again is safe: the server answers as it did the first time.
'use strict';

(() => {
  const $ = (id) => document.getElementById(id);
  const page = document.querySelector('main');
  const base = page.dataset.base;
  const kept = `sealpost${base}`;

  watchStage();
  if (page.dataset.stage === 'open') bindSigning();

  // ---- Dialogs -------------------------------------------------------------------------------------------------------

  function show(dialog) {
    if (dialog.showModal) dialog.showModal();
    else dialog.setAttribute('open', '');
    document.documentElement.classList.add('still');
  }

  function hide(dialog) {
    if (dialog.close) dialog.close();
    else dialog.removeAttribute('open');
    document.documentElement.classList.remove('still');
  }

  // ---- A page that waits for others moves on by itself ---------------------------------------------------------------

  function watchStage() {
    for (const dialog of document.querySelectorAll('dialog')) {
      dialog.addEventListener('close', () => document.documentElement.classList.remove('still'));
      for (const button of dialog.querySelectorAll('[data-close]')) button.addEventListener('click', () => hide(dialog));
    }
    if (!('watch' in page.dataset)) return;
    let looked = 0;
    const look = async () => {
      if (!document.hidden) {
        looked += 1;
        try {
          const answer = await fetch(`${base}/stage`, { cache: 'no-store' });
          if (answer.ok && (await answer.json()).stage !== page.dataset.stage) {
            window.location.reload();
            return;
          }
        } catch {
          // Offline for a moment: the next look will tell.
        }
      }
      if (looked < 200) window.setTimeout(look, looked < 30 ? 2000 : 15000);
    };
    window.setTimeout(look, 1500);
  }

  // ---- Signing -------------------------------------------------------------------------------------------------------

  function bindSigning() {
    const sheet = { pad: $('pad'), typed: $('typed'), confirm: $('confirm'), reject: $('reject') };
    const upright = window.matchMedia('(orientation: portrait) and (max-width: 640px)');
    // What is sent: the picture of a drawn signature, or a typed name.
    let mark = null;
    let cameFrom = sheet.pad;

    const pad = new window.SealpostPad($('pad-canvas'), {
      rotated: () => upright.matches,
      pen: $('pad-pen'),
      penned: (down) => {
        $('pad-said').textContent = down ? $('pad-said').dataset.down : $('pad-said').dataset.up;
      },
      changed: () => {
        $('pad-undo').disabled = pad.empty;
        $('pad-clear').disabled = pad.empty;
        $('pad-done').disabled = !pad.enough;
        $('pad-hint').hidden = !pad.empty;
        keep(pad.empty ? null : pad.save());
      },
    });

    const openPad = () => {
      show(sheet.pad);
      const saved = recall();
      if (pad.empty && saved) pad.restore(saved);
      pad.fit();
      pad.changed();
    };
    $('sign').addEventListener('click', openPad);
    window.addEventListener('resize', () => sheet.pad.open && pad.fit());
    $('pad-undo').addEventListener('click', () => pad.undo());
    $('pad-clear').addEventListener('click', () => pad.clear());
    $('pad-done').addEventListener('click', () => {
      hide(sheet.pad);
      const picture = pad.picture();
      confirm(picture, { signature_png_base64: picture.slice(picture.indexOf(',') + 1) }, sheet.pad);
    });

    // Typed instead of drawn, where the flow allows it: the server writes the name, and what it shows is what will be signed.
    if (sheet.typed) bindTyped();

    function bindTyped() {
      const image = $('typed-image');
      const name = () => $('typed-name').value.trim();
      let waiting = 0;
      const write = () => {
        window.clearTimeout(waiting);
        $('typed-done').disabled = true;
        say($('typed-form'), null);
        if (name()) image.src = `${base}/typed.png?name=${encodeURIComponent(name())}`;
        else image.removeAttribute('src');
      };
      image.addEventListener('load', () => {
        image.hidden = false;
        $('typed-done').disabled = false;
      });
      // A character that cannot be written, or no connection.
      image.addEventListener('error', () => {
        image.hidden = true;
        say($('typed-form'), navigator.onLine === false ? 'typed_lost' : 'typed_refused');
      });
      $('pad-type').addEventListener('click', () => {
        hide(sheet.pad);
        show(sheet.typed);
        write();
      });
      $('typed-name').addEventListener('input', () => {
        window.clearTimeout(waiting);
        $('typed-done').disabled = true;
        waiting = window.setTimeout(write, 250);
      });
      $('typed-form').addEventListener('submit', (event) => {
        event.preventDefault();
        if ($('typed-done').disabled) return;
        hide(sheet.typed);
        confirm(image.src, { typed_name: name() }, sheet.typed);
      });
    }

    // Seen in place, agreed to, sent.
    function confirm(picture, given, from) {
      mark = given;
      cameFrom = from;
      for (const ink of document.querySelectorAll('[data-ink]')) ink.setAttribute('href', picture);
      say($('confirm-form'), null);
      show(sheet.confirm);
    }
    $('confirm-again').addEventListener('click', () => {
      hide(sheet.confirm);
      if (cameFrom === sheet.pad) {
        pad.clear();
        openPad();
      } else {
        show(cameFrom);
      }
    });
    $('consent').addEventListener('change', () => $('consent').checked && say($('confirm-form'), null));
    $('confirm-form').addEventListener('submit', async (event) => {
      event.preventDefault();
      if (!$('consent').checked) {
        say($('confirm-form'), 'consent');
        $('consent').focus();
        return;
      }
      // With the language, so that the words agreed to are on record as they were shown.
      const body = { ...mark, consent: document.documentElement.lang };
      if ($('code')) {
        body.code = $('code').value.trim();
        if (!/^[0-9]{6}$/.test(body.code)) {
          say($('confirm-form'), 'code_missing');
          $('code').focus();
          return;
        }
      }
      await submit($('confirm-form'), '/sign', body);
    });

    // The code, where one is asked for. Another may be sent after a minute.
    if ($('code-send')) {
      const button = $('code-send');
      const words = button.textContent;
      button.addEventListener('click', async () => {
        button.disabled = true;
        let wait = 0;
        try {
          const answer = await fetch(`${base}/code`, { method: 'POST', cache: 'no-store' });
          const problem = answer.ok ? {} : await answer.json().catch(() => ({}));
          if (!say($('confirm-form'), answer.ok ? 'code_sent' : problem.code)) say($('confirm-form'), 'refused');
          wait = answer.ok ? 60 : Math.min(600, Number(answer.headers.get('retry-after')) || 5);
          if (answer.ok) $('code').focus();
        } catch {
          say($('confirm-form'), 'code_not_sent');
        }
        const tick = () => {
          button.disabled = wait > 0;
          button.textContent = wait > 0 ? `${button.dataset.again} ${wait}s` : words;
          if (wait > 0) window.setTimeout(tick, 1000);
          wait -= 1;
        };
        tick();
      });
    }

    // Rejecting.
    $('reject-open').addEventListener('click', () => show(sheet.reject));
    for (const choice of document.querySelectorAll('[data-reason]')) {
      choice.addEventListener('click', () => {
        $('reason').value = choice.textContent.trim();
        say($('reject-form'), null);
        $('reason').focus();
      });
    }
    $('reject-form').addEventListener('submit', async (event) => {
      event.preventDefault();
      const reason = $('reason').value.trim();
      if (!reason) {
        say($('reject-form'), 'reason');
        $('reason').focus();
        return;
      }
      await submit($('reject-form'), '/reject', { reason });
    });

    window.addEventListener('online', () => {
      for (const form of document.querySelectorAll('form[data-lost]')) form.requestSubmit();
    });
  }

  // Shows one of a form's messages, by its code, or none.
  function say(form, code) {
    let shown = null;
    for (const message of form.querySelectorAll('[data-message]')) {
      message.hidden = message.dataset.message !== code;
      if (!message.hidden) shown = message;
    }
    if (shown) shown.scrollIntoView({ block: 'nearest' });
    return shown;
  }

  async function submit(form, path, body) {
    if (form.dataset.busy) return;
    form.dataset.busy = 'yes';
    delete form.dataset.lost;
    const button = form.querySelector('[type=submit]');
    button.disabled = true;
    say(form, 'sending');
    const outcome = await send(path, body, () => say(form, 'again'));
    if (outcome.settled) {
      keep(null);
      // Without the place on the page that a link in it led to: to the same place would be no new page.
      window.location.replace(window.location.pathname + window.location.search);
      return;
    }
    delete form.dataset.busy;
    button.disabled = false;
    if (outcome.lost) form.dataset.lost = 'yes';
    if (!say(form, outcome.code)) say(form, 'refused');
  }

  // Tries three times while the connection or the server fails, which is safe: the same signature is never signed twice.
  // `settled` means the page has something new to say: done, or a state in which this can no longer be done.
  async function send(path, body, retrying) {
    for (const pause of [0, 1200, 3000]) {
      if (pause) {
        retrying();
        await new Promise((done) => window.setTimeout(done, pause));
      }
      const limit = new AbortController();
      const timer = window.setTimeout(() => limit.abort(), 20000);
      try {
        const answer = await fetch(base + path, {
          method: 'POST',
          headers: { 'content-type': 'application/json', accept: 'application/json' },
          body: JSON.stringify(body),
          signal: limit.signal,
          cache: 'no-store',
        });
        if (answer.ok || answer.status === 404 || answer.status === 409) return { settled: true };
        if (answer.status < 500) {
          const problem = await answer.json().catch(() => ({}));
          const about = (problem.errors || []).find((error) => error.field === 'code');
          if (about) return { code: about.code.endsWith('_code') ? about.code : 'code_missing' };
          return { code: problem.code };
        }
      } catch {
        // Refused, reset, cut or too slow: try again.
      } finally {
        window.clearTimeout(timer);
      }
    }
    return { lost: true, code: 'lost' };
  }

  function keep(drawing) {
    try {
      if (drawing) window.sessionStorage.setItem(kept, JSON.stringify(drawing));
      else window.sessionStorage.removeItem(kept);
    } catch {
      // Storage may be full or forbidden; the drawing then lives as long as the page.
    }
  }

  function recall() {
    try {
      return JSON.parse(window.sessionStorage.getItem(kept));
    } catch {
      return null;
    }
  }
})();
