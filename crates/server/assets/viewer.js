// The pages of the document: shown small at once and sharp once they are near; and one of them closely, by pinching, double
// tap, wheel, keys or buttons. All words are in the page.
'use strict';

(() => {
  const $ = (id) => document.getElementById(id);
  const sheets = [...document.querySelectorAll('.sheet')];
  if (!sheets.length) return;
  sharpenWhatIsNear();
  bindViewer();

  // A phone cannot hold sixty sharp pages at once: those far from the screen go back to the small image.
  function sharpenWhatIsNear() {
    if (!('IntersectionObserver' in window)) {
      for (const sheet of sheets) sharpen(sheet.querySelector('img'));
      return;
    }
    const watch = (margin, act) => {
      const observer = new IntersectionObserver((entries) => entries.forEach(act), { rootMargin: margin });
      for (const sheet of sheets) observer.observe(sheet);
    };
    watch('80% 0px', (entry) => entry.isIntersecting && sharpen(entry.target.querySelector('img')));
    watch('400% 0px', (entry) => {
      if (!entry.isIntersecting) entry.target.querySelector('img').removeAttribute('srcset');
    });
  }

  // Loaded aside first, so that the small image stays until the sharp one is there.
  function sharpen(image) {
    if (image.srcset) return;
    const aside = new Image();
    aside.addEventListener('load', () => {
      image.srcset = image.dataset.srcset;
    });
    aside.sizes = image.sizes;
    aside.srcset = image.dataset.srcset;
  }

  function bindViewer() {
    const viewer = $('viewer');
    const scroller = $('viewer-scroll');
    const image = $('viewer-image');
    const most = 6;
    let at = 0;
    let zoom = 1;

    const fit = () => Math.min(scroller.clientWidth, 900);

    // Zooms so that what is under the spot (from the scroller's corner) stays under it.
    function zoomTo(wanted, x = scroller.clientWidth / 2, y = scroller.clientHeight / 2) {
      const before = image.getBoundingClientRect();
      const frame = scroller.getBoundingClientRect();
      const u = (frame.left + x - before.left) / Math.max(1, before.width);
      const v = (frame.top + y - before.top) / Math.max(1, before.height);
      zoom = Math.max(1, Math.min(most, wanted));
      image.style.width = `${fit() * zoom}px`;
      const after = image.getBoundingClientRect();
      scroller.scrollLeft += after.left + u * after.width - frame.left - x;
      scroller.scrollTop += after.top + v * after.height - frame.top - y;
      $('viewer-out').disabled = zoom <= 1;
      $('viewer-in').disabled = zoom >= most;
      load();
    }

    // As sharp as the screen can show at this size. What is there already is shown until then.
    function load() {
      const button = sheets[at];
      const wanted = fit() * zoom * Math.min(window.devicePixelRatio || 1, 3);
      const widths = [800, 1400, 2000];
      const width = widths.find((each) => each >= wanted) || widths[widths.length - 1];
      if (Number(image.dataset.loaded) >= width) return;
      image.dataset.loaded = width;
      const sharp = new Image();
      sharp.addEventListener('load', () => {
        if (sheets[at] === button && Number(image.dataset.loaded) === width) image.src = sharp.src;
      });
      sharp.src = `${button.dataset.zoom}?width=${width}`;
    }

    function turn(to) {
      at = Math.max(0, Math.min(sheets.length - 1, to));
      const button = sheets[at];
      const small = button.querySelector('img');
      image.width = small.width;
      image.height = small.height;
      image.alt = button.dataset.alt;
      image.dataset.loaded = 0;
      image.src = small.currentSrc || small.src;
      if ($('viewer-page')) {
        $('viewer-page').textContent = `${at + 1} / ${sheets.length}`;
        $('viewer-before').disabled = at === 0;
        $('viewer-next').disabled = at === sheets.length - 1;
      }
      scroller.scrollTop = 0;
      zoomTo(zoom);
    }

    sheets.forEach((sheet, place) => {
      sheet.addEventListener('click', (event) => {
        viewer.showModal ? viewer.showModal() : viewer.setAttribute('open', '');
        document.documentElement.classList.add('still');
        zoom = 1;
        turn(place);
        if (window.innerWidth >= 700) return;
        // On a phone enlarged at once, around the spot that was tapped; a key press has no spot and begins at the corner.
        const box = sheet.getBoundingClientRect();
        const u = event.detail ? (event.clientX - box.left) / box.width : 0;
        const v = event.detail ? (event.clientY - box.top) / box.height : 0;
        zoomTo(2);
        scroller.scrollLeft = u * scroller.scrollWidth - scroller.clientWidth / 2;
        scroller.scrollTop = v * scroller.scrollHeight - scroller.clientHeight / 2;
      });
    });
    $('viewer-in').addEventListener('click', () => zoomTo(zoom * 1.6));
    $('viewer-out').addEventListener('click', () => zoomTo(zoom / 1.6));
    if ($('viewer-page')) {
      $('viewer-before').addEventListener('click', () => turn(at - 1));
      $('viewer-next').addEventListener('click', () => turn(at + 1));
    }
    window.addEventListener('resize', () => viewer.open && zoomTo(zoom));
    scroller.addEventListener('keydown', (event) => {
      const act = { '+': () => zoomTo(zoom * 1.6), '=': () => zoomTo(zoom * 1.6), '-': () => zoomTo(zoom / 1.6), 0: () => zoomTo(1) }[event.key];
      if (!act || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      act();
    });

    const spot = (event) => {
      const frame = scroller.getBoundingClientRect();
      return [event.clientX - frame.left, event.clientY - frame.top];
    };

    // A double tap, or a click of a mouse.
    let tapped = { time: 0, x: 0, y: 0 };
    image.addEventListener('click', (event) => {
      const [x, y] = spot(event);
      const again = event.timeStamp - tapped.time < 350 && Math.hypot(x - tapped.x, y - tapped.y) < 40;
      tapped = { time: again ? 0 : event.timeStamp, x, y };
      if (again || event.pointerType === 'mouse') zoomTo(zoom > 1.2 ? 1 : 2.5, x, y);
    });

    // Two fingers. One finger scrolls by itself (see touch-action in sign.css).
    let pinch = null;
    const fingers = (event) => {
      const [a, b] = event.touches;
      const [x, y] = spot({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
      return { x, y, apart: Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)) };
    };
    scroller.addEventListener('touchstart', (event) => {
      pinch = event.touches.length === 2 ? { ...fingers(event), zoom } : null;
    }, { passive: true });
    scroller.addEventListener('touchmove', (event) => {
      if (!pinch || event.touches.length !== 2) return;
      event.preventDefault();
      const now = fingers(event);
      scroller.scrollLeft -= now.x - pinch.x;
      scroller.scrollTop -= now.y - pinch.y;
      zoomTo(pinch.zoom * (now.apart / pinch.apart), now.x, now.y);
      pinch.x = now.x;
      pinch.y = now.y;
    }, { passive: false });
    for (const kind of ['touchend', 'touchcancel']) {
      scroller.addEventListener(kind, () => {
        pinch = null;
      });
    }
    // Safari's own gesture would zoom the whole page.
    scroller.addEventListener('gesturestart', (event) => event.preventDefault());
    // A trackpad's pinch comes as a wheel with the control key.
    scroller.addEventListener('wheel', (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoomTo(zoom * Math.exp(-event.deltaY / 200), ...spot(event));
    }, { passive: false });
  }
})();
