// A timeline on a canvas, of `data`: what the page of a trace and the live page share.
//
// data: first, length (ns: from when until when there is something to see), colours, arrowColours, texts, memory, rows and tracks (by
// number).  A track has name, begin, end, spans, seen and marks (one span after the other, five numbers each: state, begin, end, text, and the
// track that ended it or -1), and the arrows from it and to it.  What has not ended yet ends at Infinity.  marked, if it is there: a Set of
// texts; spans with others are pale.
"use strict";
const stage = document.getElementById("stage"), canvas = document.getElementById("canvas"), tip = document.getElementById("tip");
const pen = canvas.getContext("2d");
const AXIS = 22, ROW = 20, BAR = 14, MEMORY = 60, NARROW = 0.5, MARK = 3, SPAN = 5;
const view = { begin: 0, end: data.length, top: 0 };  // ns, ns, px
const ink = {};
let LEFT = 210, width = 0, height = 0, pending = false, hovered = null, pointer = null;

function paintLegend() {
  for (const [text, colour] of data.legend) {
    const entry = document.createElement("span"), box = document.createElement("i");
    box.style.background = colour;
    entry.append(box, text);
    document.getElementById("legend").append(entry);
  }
}

// ---- where things are

const x = ns => LEFT + (ns - view.begin) / (view.end - view.begin) * (width - LEFT);
const ns = x => view.begin + (x - LEFT) / (width - LEFT) * (view.end - view.begin);
const y = row => AXIS + row * ROW - view.top;
const bottom = () => height - (data.memory.length ? MEMORY : 0);
const rowOf = new Map();

function setRows(rows) {
  data.rows = rows;
  rowOf.clear();
  rows.forEach((row, at) => row.tracks.forEach(track => rowOf.set(track, at)));
}

function addArrows(arrows) {
  for (let at = 0; at < arrows.length; at += 5) {
    const arrow = arrows.slice(at, at + 5);
    for (const end of [1, 3]) (data.tracks[arrow[end]].arrows ??= []).push(arrow);
  }
}

// The first span that ends at the moment or later.
function firstFrom(spans, moment, low = 0) {
  let high = spans.length / SPAN;
  while (low < high) {
    const middle = low + high >> 1;
    if (spans[SPAN * middle + 2] < moment) low = middle + 1; else high = middle;
  }
  return low;
}

function change(begin, end, top) {
  const least = 100, all = data.length - data.first;  // ns
  if (end - begin < least) { const middle = (begin + end) / 2; begin = middle - least / 2; end = middle + least / 2; }
  const length = Math.min(end - begin, all * 1.02);
  begin = Math.max(data.first - all * 0.01, Math.min(begin, data.length + all * 0.01 - length));
  view.begin = begin;
  view.end = begin + length;
  view.top = Math.max(0, Math.min(top, data.rows.length * ROW + AXIS - bottom() + ROW));
  draw();
}
const zoom = (factor, at = (view.begin + view.end) / 2) => {
  if (data.following) at = view.end;
  change(at - (at - view.begin) * factor, at + (view.end - at) * factor, view.top);
};
const pan = (dx, dy) => {
  const by = dx / (width - LEFT) * (view.end - view.begin);
  change(view.begin + by, view.end + by, view.top + dy);
};
const all = () => change(data.first, data.length, 0);

// ---- drawing

function draw() {
  if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; paint(); }); }
}

function paint() {
  const scale = window.devicePixelRatio || 1;
  width = stage.clientWidth;
  height = stage.clientHeight;
  LEFT = width < 600 ? 110 : 210;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px sans-serif";
  pen.textBaseline = "middle";
  pen.lineWidth = 1;
  paintAxis();
  pen.save();
  pen.beginPath();
  pen.rect(0, AXIS, width, bottom() - AXIS);
  pen.clip();
  const first = Math.max(0, Math.floor(view.top / ROW)), last = Math.min(data.rows.length, Math.ceil((view.top + bottom()) / ROW));
  for (let row = first; row < last; row++) paintRow(row);
  if (hovered) paintArrows();
  pen.restore();
  if (data.memory.length) paintMemory();
}

function ticks() {
  const span = view.end - view.begin, most = Math.max(2, (width - LEFT) / 110);
  let step = 1;
  for (let factor of (function* () { for (;;) { yield 2; yield 2.5; yield 2; } })()) {
    if (span / step <= most) break;
    step *= factor;
  }
  const [size, unit] = step >= 1e9 ? [1e9, "s"] : step >= 1e6 ? [1e6, "ms"] : step >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const found = [];
  for (let at = Math.ceil(Math.max(view.begin, data.first, 0) / step) * step; at <= Math.min(view.end, data.length); at += step)
    found.push([at, (at / size).toLocaleString("en", { maximumFractionDigits: 0 }) + " " + unit]);
  return found;
}

function paintAxis() {
  let free = LEFT;
  for (const [at, text] of ticks()) {
    const place = x(at), half = pen.measureText(text).width / 2;
    pen.fillStyle = ink.line;
    pen.fillRect(place, AXIS - 4, 1, height - AXIS);
    const middle = Math.min(Math.max(place, LEFT + half), width - half - 2);
    if (middle - half < free) continue;
    free = middle + half + 8;
    pen.fillStyle = ink.dim;
    pen.textAlign = "center";
    pen.fillText(text, middle, AXIS / 2);
  }
}

function cut(text, room) {
  if (pen.measureText(text).width <= room) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = low + high + 1 >> 1;
    if (pen.measureText(text.slice(0, middle) + "…").width <= room) low = middle; else high = middle - 1;
  }
  return low > 0 ? text.slice(0, low).trimEnd() + "…" : "";
}

function paintRow(at) {
  const row = data.rows[at], top = y(at) + (ROW - BAR) / 2;
  pen.textAlign = "left";
  pen.fillStyle = ink.ink;
  if (row.paint) return row.paint(y(at));
  if (at === data.chosen) pen.fillRect(2, y(at) + 2, 3, ROW - 4);
  pen.fillText(cut(row.label, LEFT - 16), 8, y(at) + ROW / 2);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, AXIS, width - LEFT, height);
  pen.clip();
  for (const number of row.tracks) {
    const track = data.tracks[number];
    if (track.end < view.begin || track.begin > view.end) continue;
    paintSpans(track.spans, top, BAR);
    paintSpans(track.seen, top + 4, BAR - 8);
    paintSpans(track.marks, top - 2, BAR + 4, MARK);
    if (row.tracks.length > 1) {
      const left = Math.max(x(track.begin), LEFT), right = Math.min(x(track.end), width);
      if (right - left > 60) {
        pen.font = "10px sans-serif";
        pen.fillStyle = "#000";
        pen.fillText(cut(track.name, right - left - 8), left + 4, y(at) + ROW / 2);
        pen.font = "12px sans-serif";
      }
    }
  }
  if (hovered && hovered.row === at && hovered.span !== null) {
    const { spans, span } = hovered;
    pen.strokeStyle = ink.ink;
    const [begin, end] = [1, 2].map(which => x(Math.min(spans[SPAN * span + which], data.length)));
    pen.strokeRect(begin, top - 0.5, Math.max(1, end - begin), BAR + 1);
  }
  pen.restore();
}

// What is narrower than NARROW together with what is drawn already is passed over at once.
function paintSpans(spans, top, high, least = NARROW) {
  const right = Math.min(width, x(data.length));
  let drawn = LEFT;
  for (let at = firstFrom(spans, view.begin); SPAN * at < spans.length && spans[SPAN * at + 1] <= view.end;) {
    const begin = Math.max(x(spans[SPAN * at + 1]), drawn), end = Math.min(x(spans[SPAN * at + 2]), right);
    if (end - drawn >= NARROW) {
      pen.fillStyle = data.colours[spans[SPAN * at]];
      pen.globalAlpha = data.marked && !data.marked.has(spans[SPAN * at + 3]) ? 0.15 : 1;
      pen.fillRect(begin, top, Math.max(end - begin, least), high);
      drawn = end;
    }
    at++;
    const next = ns(drawn + NARROW);
    if (spans[SPAN * at + 2] < next) at = firstFrom(spans, next, at);
  }
  pen.globalAlpha = 1;
}

// Those of the bar pointed at; of a name, those of its thread.
function paintArrows() {
  const { track, row, spans, span } = hovered;
  let left = 300;
  for (const number of track === null ? data.rows[row].tracks : [track])
    for (const [why, source, from, target, to] of data.tracks[number].arrows ?? []) {
      if (!rowOf.has(source) || !rowOf.has(target)) continue;
      if (span !== null) {
        const begin = spans[SPAN * span + 1] - 1000, end = spans[SPAN * span + 2] + 1000;
        if (!(source === track && begin <= from && from <= end) && !(target === track && begin <= to && to <= end)) continue;
      } else if (to < view.begin || from > view.end) continue;
      paintArrow(data.arrowColours[why] ?? ink.ink, x(from), y(rowOf.get(source)) + ROW / 2, x(to), y(rowOf.get(target)) + ROW / 2);
      if (--left < 0) return;
    }
}

function paintArrow(colour, x0, y0, x1, y1) {
  const angle = Math.atan2(y1 - y0, x1 - x0);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x1, y1);
  for (const side of [-0.4, 0.4]) pen.lineTo(x1 - 8 * Math.cos(angle + side), y1 - 8 * Math.sin(angle + side));
  pen.fill();
}

function paintMemory() {
  const most = Math.max(...data.memory.map(([, bytes]) => bytes)), top = bottom();
  pen.fillStyle = ink.paper;
  pen.fillRect(0, top, width, MEMORY);
  pen.fillStyle = ink.ink;
  pen.textAlign = "left";
  pen.fillText(`memory, at most ${(most / (1 << 20)).toFixed(1)} MiB`, 8, top + MEMORY / 2);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, top, width - LEFT, MEMORY);
  pen.clip();
  pen.strokeStyle = "#4c72b0";
  pen.beginPath();
  for (const [at, bytes] of data.memory) pen.lineTo(x(at), top + MEMORY - 8 - (MEMORY - 16) * bytes / most);
  pen.stroke();
  pen.restore();
}

// ---- what is pointed at

function find(px, py) {
  const row = Math.floor((py - AXIS + view.top) / ROW);
  if (py < AXIS || py > bottom() || row < 0 || row >= data.rows.length) return null;
  if (px < LEFT) return { row, track: data.rows[row].tracks.length > 1 ? null : data.rows[row].tracks[0], spans: null, span: null };
  const slack = (view.end - view.begin) / (width - LEFT);  // a pixel
  for (const number of data.rows[row].tracks) {
    const track = data.tracks[number], moment = ns(px);
    if (moment < track.begin - slack || moment > track.end + slack) continue;
    for (const spans of [track.marks, track.seen, track.spans])
      for (const near of [0, spans === track.marks ? MARK * slack : slack]) {
        const at = firstFrom(spans, moment - near);
        if (SPAN * at < spans.length && spans[SPAN * at + 1] <= moment + near) return { row, track: number, spans, span: at };
      }
  }
  return null;
}

const same = (one, other) =>
  one === other || (one && other && one.row === other.row && one.track === other.track && one.spans === other.spans && one.span === other.span);

const thousandths = new Intl.NumberFormat("en", { maximumFractionDigits: 3, minimumFractionDigits: 3 });

function told(track, spans, at) {
  const [, begin, end, text, by] = spans.slice(SPAN * at, SPAN * at + SPAN);
  return track.name + data.texts[text] + (by in data.tracks ? `\nby ${data.tracks[by].name}` : "") +
    (end === begin ? "" : `\n${thousandths.format((Math.min(end, data.length) - begin) / 1e6)} ms`);
}

function under(event) {
  const box = stage.getBoundingClientRect();
  return find(event.clientX - box.left, event.clientY - box.top);
}

function point(event) {
  const found = under(event);
  pointer = ns(event.clientX - stage.getBoundingClientRect().left);
  if (!same(found, hovered)) { hovered = found; draw(); }
  if (!found) { tip.style.display = "none"; return; }
  tip.textContent = found.span === null ? data.rows[found.row].about : told(data.tracks[found.track], found.spans, found.span);
  tip.style.display = "block";
  const right = event.clientX + 14 + tip.offsetWidth > innerWidth, below = event.clientY + 18 + tip.offsetHeight > innerHeight;
  tip.style.left = Math.max(0, right ? event.clientX - tip.offsetWidth - 10 : event.clientX + 14) + "px";
  tip.style.top = Math.max(0, below ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18) + "px";
}

// ---- tables

const make = (tag, text, ...children) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
};

// { columns, rows, left }; a column's head sorts by it.  pick: called with a row that is clicked on, returns whether it is to be marked.
function showTable(place, table, by = place.by, pick) {
  place.by = by;
  const rows = [...table.rows];
  if (by) rows.sort((one, other) => by.down * (one[by.at] < other[by.at] ? 1 : one[by.at] > other[by.at] ? -1 : 0));
  const isNumber = at => table.rows.some(row => typeof row[at] === "number");
  const heads = table.columns.map((name, at) => {
    const button = make("button", name);
    button.addEventListener("click", () => showTable(place, table, { at, down: by?.at === at ? -by.down : 1 }, pick));
    return cell("th", undefined, isNumber(at), button);
  });
  const lines = rows.map(row => make("tr", undefined, ...row.map((value, at) =>
    pick && !at ? cell("td", undefined, false, picking(place, row, pick)) : cell("td", String(value), isNumber(at)))));
  place.replaceChildren(rows.length ? make("table", undefined, make("tr", undefined, ...heads), ...lines) : make("p", "Nothing."));
  if (table.left) place.append(make("p", `${table.left} more rows are left out.`));
}

function picking(place, row, pick) {
  const button = make("button", row[0]);
  button.addEventListener("click", () => {
    for (const other of place.querySelectorAll("[aria-pressed]")) if (other !== button) other.removeAttribute("aria-pressed");
    button.toggleAttribute("aria-pressed", pick(row));
  });
  return button;
}

function cell(tag, text, number, ...children) {
  const made = make(tag, text, ...children);
  if (number) made.className = "number";
  return made;
}

// ---- wheel, drag, pinch, keys

const fingers = new Map();
let dragged = 0;  // since the pointer went down
stage.addEventListener("wheel", event => {
  event.preventDefault();
  const box = stage.getBoundingClientRect(), unit = event.deltaMode ? 20 : 1, px = event.clientX - box.left;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) * unit, 0);
  else if (px < LEFT) pan(0, event.deltaY * unit);
  else zoom(Math.exp(event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.002)), ns(px));
  point(event);
}, { passive: false });
stage.addEventListener("pointerdown", event => {
  fingers.set(event.pointerId, event);
  dragged = 0;
  stage.setPointerCapture(event.pointerId);
  canvas.focus();
});
stage.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId);
  if (!before) return point(event);
  const other = [...fingers.values()].find(finger => finger.pointerId !== event.pointerId);
  if (other) {  // two fingers: what is below each stays there
    const left = stage.getBoundingClientRect().left, fixed = ns(other.clientX - left);
    const was = Math.abs(before.clientX - other.clientX), is = Math.abs(event.clientX - other.clientX);
    if (was > 4 && is > 4) zoom(was / is, fixed);
  } else pan(before.clientX - event.clientX, before.clientY - event.clientY);
  dragged += Math.hypot(before.clientX - event.clientX, before.clientY - event.clientY) > 1;
  fingers.set(event.pointerId, event);
});
for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, event => fingers.delete(event.pointerId));
stage.addEventListener("click", event => stage.dispatchEvent(new CustomEvent("pick", { detail: dragged ? null : under(event) })));
stage.addEventListener("pointerleave", () => { tip.style.display = "none"; hovered = null; draw(); });
stage.addEventListener("dblclick", event => {
  const found = under(event);
  if (!found) return;
  const one = found.span === null ? null : found.spans, track = data.tracks[found.track ?? data.rows[found.row].tracks[0]];
  const begin = one ? one[SPAN * found.span + 1] : track.begin, end = Math.min(one ? one[SPAN * found.span + 2] : track.end, data.length);
  change(begin - (end - begin) / 20, end + (end - begin) / 20, view.top);
});
const keys = {};  // of the page, besides these
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(BUTTON|SELECT|INPUT|SUMMARY)$/.test(event.target.tagName)) return;
  const middle = pointer !== null && pointer > view.begin && pointer < view.end ? pointer : undefined;
  const step = (width - LEFT) / 10;
  const does = {
    "+": () => zoom(1 / 1.5, middle), "=": () => zoom(1 / 1.5, middle), w: () => zoom(1 / 1.5, middle),
    "-": () => zoom(1.5, middle), s: () => zoom(1.5, middle),
    ArrowLeft: () => pan(-step, 0), a: () => pan(-step, 0), ArrowRight: () => pan(step, 0), d: () => pan(step, 0),
    ArrowUp: () => pan(0, -ROW), ArrowDown: () => pan(0, ROW),
    PageUp: () => pan(0, AXIS - bottom()), PageDown: () => pan(0, bottom() - AXIS),
    0: all, Home: all,
    ...keys,
  }[event.key];
  if (does) { event.preventDefault(); does(); }
});

function takeInk() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "dim", "line", "paper", "red"]) ink[name] = style.getPropertyValue(`--${name}`).trim();
  draw();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", takeInk);
takeInk();
new ResizeObserver(draw).observe(stage);
