// The surface a signature is drawn on.
//
// Keeps the strokes as points, so that undo, another screen size and the final picture all come from the same data. A line
// is wider where the hand is slow or presses, as ink is. Whoever cannot draw moves the pen with the keyboard. Knows nothing
// of the page around it; sign.js does.
'use strict';

window.SealpostPad = class {
  // `rotated()` says whether the canvas is shown turned by 90 degrees (see .pad in sign.css); `changed()` is called after
  // every stroke, undo and clear; `penned(down)` when the keyboard puts the pen down or lifts it. `pen` is the element that
  // shows where that pen is.
  constructor(canvas, { rotated, changed, penned, pen }) {
    this.canvas = canvas;
    this.rotated = rotated;
    this.changed = changed;
    this.penned = penned;
    this.pen = pen;
    this.strokes = [];
    this.current = null;
    canvas.addEventListener('keydown', (event) => this.#key(event));
    canvas.addEventListener('blur', () => {
      this.#lift();
      this.pen.hidden = true;
    });
    canvas.addEventListener('pointerdown', (event) => this.#begin(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const kind of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      canvas.addEventListener(kind, (event) => this.#end(event));
    }
    // Safari would otherwise scroll or select while a finger draws.
    canvas.addEventListener('touchstart', (event) => event.preventDefault(), { passive: false });
  }

  // Fits the canvas to its box; strokes drawn for another size are scaled into it.
  fit() {
    const width = this.canvas.offsetWidth;
    const height = this.canvas.offsetHeight;
    if (!width || !height) return;
    if (this.width && (this.width !== width || this.height !== height)) {
      const scale = Math.min(width / this.width, height / this.height);
      const dx = (width - this.width * scale) / 2;
      const dy = (height - this.height * scale) / 2;
      for (const stroke of this.strokes) {
        for (const point of stroke) {
          point.x = point.x * scale + dx;
          point.y = point.y * scale + dy;
          point.w *= scale;
        }
      }
    }
    this.width = width;
    this.height = height;
    const density = Math.min(window.devicePixelRatio || 1, 3);
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(height * density);
    this.context = this.canvas.getContext('2d');
    this.context.scale(density, density);
    this.#redraw();
  }

  // A tap is no signature: something of a certain length has to have been drawn.
  get enough() {
    let length = 0;
    for (const stroke of this.strokes) {
      for (let i = 1; i < stroke.length; i += 1) {
        length += Math.hypot(stroke[i].x - stroke[i - 1].x, stroke[i].y - stroke[i - 1].y);
      }
    }
    return length > 60;
  }

  get empty() {
    return this.strokes.length === 0;
  }

  undo() {
    this.strokes.pop();
    this.#redraw();
    this.changed();
  }

  clear() {
    this.strokes = [];
    this.#redraw();
    this.changed();
  }

  // What can be kept and given back to `restore`.
  save() {
    const round = (n) => Math.round(n * 10) / 10;
    const strokes = this.strokes.map((stroke) => stroke.map((p) => [round(p.x), round(p.y), round(p.w)]));
    return { width: this.width, height: this.height, strokes };
  }

  restore({ width, height, strokes }) {
    this.width = width;
    this.height = height;
    this.strokes = strokes.map((stroke) => stroke.map(([x, y, w]) => ({ x, y, w, v: 0, t: 0 })));
    this.fit();
    this.changed();
  }

  // The strokes alone, cut to their edges, on a transparent ground: a PNG of at most 1000 x 500.
  picture() {
    const points = this.strokes.flat();
    const margin = 10;
    const left = Math.min(...points.map((p) => p.x)) - margin;
    const top = Math.min(...points.map((p) => p.y)) - margin;
    const right = Math.max(...points.map((p) => p.x)) + margin;
    const bottom = Math.max(...points.map((p) => p.y)) + margin;
    const scale = Math.min(2.5, 1000 / (right - left), 500 / (bottom - top));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.floor((right - left) * scale));
    canvas.height = Math.max(1, Math.floor((bottom - top) * scale));
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    context.translate(-left, -top);
    for (const stroke of this.strokes) drawStroke(context, stroke);
    return canvas.toDataURL('image/png');
  }

  // The arrows move the pen, the space bar puts it down and lifts it, backspace takes the last stroke back.
  #key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (this.current && this.pointer !== 'keys')) return;
    if (way) {
      const pace = event.shiftKey ? 24 : 8;
      const spot = this.spot || { x: this.width * 0.2, y: this.height * 0.5 };
      this.spot = {
        x: Math.max(4, Math.min(this.width - 4, spot.x + way[0] * pace)),
        y: Math.max(4, Math.min(this.height - 4, spot.y + way[1] * pace)),
      };
      if (this.current) this.#point(this.spot.x, this.spot.y, event.timeStamp, 0.5);
    } else if (event.key === ' ') {
      if (this.current) this.#lift();
      else {
        this.spot ||= { x: this.width * 0.2, y: this.height * 0.5 };
        this.pointer = 'keys';
        this.current = [];
        this.strokes.push(this.current);
        this.#point(this.spot.x, this.spot.y, event.timeStamp, 0.5);
        this.penned(true);
      }
    } else if (event.key === 'Backspace' && !this.current) {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
    this.#showPen();
  }

  #lift() {
    if (!this.current || this.pointer !== 'keys') return;
    this.current = null;
    this.#redraw();
    this.changed();
    this.penned(false);
  }

  #showPen() {
    if (!this.spot) return;
    this.pen.hidden = false;
    this.pen.classList.toggle('down', Boolean(this.current));
    this.pen.style.transform = `translate(${this.spot.x}px, ${this.spot.y}px)`;
  }

  #begin(event) {
    if (this.current || !event.isPrimary || event.button > 0) return;
    event.preventDefault();
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.current = [];
    this.strokes.push(this.current);
    this.#add(event);
  }

  #move(event) {
    if (!this.current || event.pointerId !== this.pointer) return;
    event.preventDefault();
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const each of events.length ? events : [event]) this.#add(each);
  }

  #end(event) {
    if (!this.current || event.pointerId !== this.pointer) return;
    this.current = null;
    this.#redraw();
    this.changed();
  }

  #add(event) {
    const box = this.canvas.getBoundingClientRect();
    const turned = this.rotated();
    const x = turned ? event.clientY - box.top : event.clientX - box.left;
    const y = turned ? box.right - event.clientX : event.clientY - box.top;
    // A finger whose pressure is not measured reports none, a half or all of it.
    const measured = event.pointerType === 'pen' ? event.pressure > 0 : ![0, 0.5, 1].includes(event.pressure);
    this.#point(x, y, event.timeStamp, measured && event.pointerType !== 'mouse' ? event.pressure : null);
  }

  // `pressure` from 0 to 1; null where it is not known and the speed alone decides.
  #point(x, y, time, pressure) {
    const stroke = this.current;
    const last = stroke[stroke.length - 1];
    if (last && Math.hypot(x - last.x, y - last.y) < 1.2) return;
    if (stroke.length > 4000) return;
    const broad = Math.max(5.5, Math.min(this.width, this.height * 2) / 75);
    const point = { x, y, t: time, v: 0, w: broad * 0.75 };
    if (last) {
      // Speed and width both follow slowly, or the line would look knotted.
      const speed = Math.hypot(x - last.x, y - last.y) / Math.max(1, point.t - last.t);
      point.v = last.v * 0.7 + speed * 0.3;
      let wanted = broad * Math.max(0.34, 1 - point.v * 0.26);
      if (pressure !== null) wanted = wanted * 0.4 + broad * (0.3 + pressure) * 0.6;
      point.w = last.w * 0.72 + wanted * 0.28;
    }
    stroke.push(point);
    drawEnd(this.context, stroke);
  }

  #redraw() {
    if (!this.context) return;
    this.context.clearRect(0, 0, this.width, this.height);
    for (const stroke of this.strokes) drawStroke(this.context, stroke);
  }
};

const INK = '#10151f';

function drawStroke(context, stroke) {
  if (stroke.length === 1) {
    dot(context, stroke[0]);
    return;
  }
  for (let i = 2; i <= stroke.length; i += 1) segment(context, stroke, i);
  tail(context, stroke);
}

function drawEnd(context, stroke) {
  if (stroke.length === 1) dot(context, stroke[0]);
  else segment(context, stroke, stroke.length);
}

function dot(context, point) {
  context.fillStyle = INK;
  context.beginPath();
  context.arc(point.x, point.y, point.w / 2, 0, Math.PI * 2);
  context.fill();
}

const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, w: (a.w + b.w) / 2 });

// The curve between the middles before and after point `count - 2`, with that point as its control; in short pieces, since
// a canvas line has one width.
function segment(context, stroke, count) {
  const b = stroke[count - 2];
  const c = stroke[count - 1];
  const from = count > 2 ? middle(stroke[count - 3], b) : b;
  const to = middle(b, c);
  const steps = Math.max(2, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / 2));
  context.strokeStyle = INK;
  context.lineCap = 'round';
  let last = from;
  for (let i = 1; i <= steps; i += 1) {
    const s = i / steps;
    const u = 1 - s;
    const next = {
      x: u * u * from.x + 2 * u * s * b.x + s * s * to.x,
      y: u * u * from.y + 2 * u * s * b.y + s * s * to.y,
      w: from.w + (to.w - from.w) * s,
    };
    context.lineWidth = next.w;
    context.beginPath();
    context.moveTo(last.x, last.y);
    context.lineTo(next.x, next.y);
    context.stroke();
    last = next;
  }
}

// From the last middle to where the pen was lifted, thinning out.
function tail(context, stroke) {
  const end = stroke[stroke.length - 1];
  let last = middle(stroke[stroke.length - 2], end);
  const from = last;
  const steps = 6;
  for (let i = 1; i <= steps; i += 1) {
    const s = i / steps;
    const next = { x: from.x + (end.x - from.x) * s, y: from.y + (end.y - from.y) * s };
    context.lineWidth = from.w * (1 - 0.45 * s);
    context.beginPath();
    context.moveTo(last.x, last.y);
    context.lineTo(next.x, next.y);
    context.stroke();
    last = next;
  }
}
