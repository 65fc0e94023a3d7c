// The live page: the timeline of timeline.js, fed by the server's events.  No text of the program is ever made HTML.
"use strict";
const SHOWN = 30e9, LATE = 1.5e8, MANY = 40, LOOKUPS = 20000, TEXTS = 50000;  // ns, ns: how far the picture is behind, lanes, a frame
const data = { first: -SHOWN, length: 0, colours: [], arrowColours: {}, texts: {}, tracks: {}, memory: [], rows: [] };
const feed = { now: 0, reach: 0, offset: null, most: 0, spans: 0, missed: 0, deadlocks: 0, state: "connecting", text: "",
  beyond: 0 };  // how far a thread pointer is from an ident
const groups = new Map();  // by what they have in common
let grouping = "name", chosen = null, stale = true;
const $ = id => document.getElementById(id);
// ---- the feed

function begin() {
  const source = new EventSource("events");
  source.addEventListener("hello", event => hello(JSON.parse(event.data)));
  source.addEventListener("news", event => news(JSON.parse(event.data)));
  source.addEventListener("moment", event => moment(JSON.parse(event.data)));
  source.addEventListener("ended", () => { source.close(); say("ended", "the program has ended"); });
  source.addEventListener("error", () => say("lost", "no connection to the server"));
  stage.addEventListener("pick", event => pick(event.detail));
  $("pause").addEventListener("click", () => follow(!data.following));
  $("grouping").addEventListener("change", event => group(event.target.value));
  Object.assign(keys, {
    " ": () => follow(!data.following), 0: () => follow(true, SHOWN), o: toggleAll, n: () => walk(1), p: () => walk(-1),
  });
  setInterval(refresh, 250);
  setInterval(() => {
    if (chosen !== null && data.following) showThread();
    if (grouping === "state" && data.following) regroup();
  }, 1000);
  requestAnimationFrame(frame);
}

function hello(said) {
  Object.assign(data, { colours: said.colours, arrowColours: said.arrowColours, legend: said.legend, texts: {}, tracks: {}, memory: [] });
  Object.assign(feed, { now: 0, reach: 0, offset: null, most: said.most, spans: 0, state: "live", text: "", deadlocks: 0, program: said.program, pid: said.pid });
  groups.clear();
  setRows([]);
  chosen = hovered = null;
  $("title").textContent = `${said.program} (pid ${said.pid})`;
  $("legend").replaceChildren();
  paintLegend();
  follow(true, SHOWN);
}

function news(said) {
  feed.now = said.now;
  feed.missed = said.missed;
  const offset = said.now - performance.now() * 1e6 - LATE;
  feed.offset = feed.offset === null || Math.abs(offset - feed.offset) > 1e9 ? offset : feed.offset + (offset - feed.offset) / 10;
  Object.assign(data.texts, said.texts);
  for (const [number, change] of Object.entries(said.tracks)) takeTrack(Number(number), change);
  addArrows(said.arrows.flatMap((_, at, all) => at % 5 || !(all[at + 1] in data.tracks && all[at + 3] in data.tracks) ? [] : all.slice(at, at + 5)));
  data.memory.push(...said.memory);
  if (hovered?.spans && SPAN * hovered.span >= hovered.spans.length) hovered = null;
  if (feed.spans > feed.most) forget();
}

function takeTrack(number, change) {
  const track = data.tracks[number] ??= { number, end: Infinity, spans: [], seen: [], marks: [], arrows: [] };
  for (const key of ["name", "tid", "pointer", "about", "begin", "end"]) if (key in change) track[key] = change[key];
  for (const which of ["spans", "seen", "marks"]) replace(track[which], change[which]);
  if ("name" in change || "end" in change) stale = true;
}

// New spans replace those that don't begin earlier.
function replace(spans, fresh) {
  const before = spans.length;
  if (fresh.length) while (spans.length && spans[spans.length - SPAN + 1] >= fresh[1]) spans.length -= SPAN;
  for (let at = 0; at < fresh.length; at++) spans.push(fresh[at] ?? Infinity);
  feed.spans += (spans.length - before) / SPAN;
}

// Drops what is oldest, as the file of records does.
function forget() {
  while (feed.spans > 0.9 * feed.most && feed.reach < feed.now) {
    feed.reach += Math.max(1e6, (feed.now - feed.reach) / 10);
    for (const track of Object.values(data.tracks)) forgetOf(track);
  }
  data.memory = data.memory.filter(([at]) => at >= feed.reach);
  if (Object.keys(data.texts).length > TEXTS) forgetTexts();
  hovered = null;
  arrange();
}

function forgetTexts() {
  const used = new Set();
  for (const { spans, seen, marks } of Object.values(data.tracks))
    for (const all of [spans, seen, marks]) for (let at = 3; at < all.length; at += SPAN) used.add(all[at]);
  data.texts = Object.fromEntries(Object.entries(data.texts).filter(([number]) => used.has(Number(number))));
}

function forgetOf(track) {
  for (const which of ["spans", "seen", "marks"]) {
    const old = firstFrom(track[which], feed.reach);
    track[which].splice(0, SPAN * old);
    feed.spans -= old;
  }
  track.arrows = track.arrows.filter(arrow => arrow[4] >= feed.reach);
  if (track.end < feed.reach) delete data.tracks[track.number];
}

function say(state, text) {
  feed.state = state;
  feed.text = text;
  refresh();
}

// ---- time goes on

function frame(time) {
  requestAnimationFrame(frame);
  if (feed.offset === null) return;
  data.length = Math.max(data.length, Math.min(feed.now, feed.state === "live" ? time * 1e6 + feed.offset : feed.now));
  data.first = Math.min(feed.reach, data.length - SHOWN);
  if (!data.following) return;
  const length = view.end - view.begin;
  if (Math.abs(view.end - data.pinned) > length / 100) return follow(false);  // it was moved
  data.pinned = view.end = data.length;
  view.begin = view.end - length;
  draw();
}

function follow(on, length = view.end - view.begin) {
  data.following = on;
  if (on) {
    data.pinned = view.end = data.length;
    view.begin = view.end - length;
  }
  $("pause").textContent = on ? "Pause" : "Go on";
  draw();
}

// ---- groups and their lanes: threads that live one after the other share one

const stateOf = track => track.spans.length ? track.spans[track.spans.length - SPAN] : 0;
const isAlive = track => track.end > feed.now;

function keyOf(track) {
  if (grouping === "nothing") return "";
  if (grouping === "name") return track.name.replace(/\d+/g, "#");
  return isAlive(track) ? (data.texts[track.spans[track.spans.length - 2]] ?? "").split("\n")[0].replace(/^:? /, "") : "ended";
}

function group(by) {
  grouping = by;
  $("grouping").value = by;
  regroup();
  view.top = 0;
}

function regroup() {
  const closed = new Map([...groups].map(([key, group]) => [key, group.closed]));
  groups.clear();
  for (const track of Object.values(data.tracks)) delete track.lane;
  arrange(closed);
}

function arrange(closed = new Map()) {
  for (const group of groups.values()) {
    for (const lane of group.lanes) lane.tracks = lane.tracks.filter(number => number in data.tracks);
    group.lanes = group.lanes.filter(lane => lane.tracks.length);
    group.idle = group.lanes.filter(lane => lane.last.end < Infinity);
  }
  for (const track of Object.values(data.tracks)) if (!track.lane) place(track, closed);
  const rows = [];
  for (const [key, group] of groups) {
    if (group.lanes.length > 1 && key) rows.push(head(key, group));
    if (!group.closed || group.lanes.length === 1) rows.push(...group.lanes.map(named));
  }
  setRows(rows);
  data.chosen = rowOf.get(chosen);
  draw();
}

function place(track, closed) {
  const key = keyOf(track);
  if (!groups.has(key)) groups.set(key, { lanes: [], idle: [], closed: closed.get(key), counts: new Map() });
  const group = groups.get(key), free = group.idle.findIndex(lane => lane.last.end <= track.begin);
  const lane = free < 0 ? { tracks: [] } : group.idle.splice(free, 1)[0];
  lane.tracks.push(track.number);
  lane.last = track;
  track.lane = lane;
  if (free < 0) group.lanes.push(lane);
  if (track.end < Infinity) group.idle.push(lane);
  if (group.lanes.length === MANY && key && group.closed === undefined) group.closed = true;
}

function named(lane) {
  const tracks = lane.tracks.map(number => data.tracks[number]), { name } = lane.last;
  lane.label = tracks.length > 1 ? `${tracks.length} × ${name.replace(/\d+/g, "#")}` : name;
  lane.about = tracks.slice(-12).map(track => track.about).join("\n");
  return lane;
}

function head(key, group) {
  const tracks = group.lanes.flatMap(lane => lane.tracks), alive = tracks.filter(number => isAlive(data.tracks[number]));
  const label = `${group.closed ? "▸" : "▾"} ${alive.length} ${key}`;
  return { label, about: `${label.slice(2)}\n${tally(alive)}`, tracks: group.closed ? tracks : [], group, paint: top => paintHead(label, group, tracks, top) };
}

function tally(numbers) {
  const counts = new Map();
  for (const number of numbers) {
    const name = data.legend.find(([, colour]) => colour === data.colours[stateOf(data.tracks[number])])?.[0].split(":")[0];
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
}

function toggleAll() {
  const closed = [...groups.values()].some(group => !group.closed && group.lanes.length > 1);
  for (const group of groups.values()) group.closed = closed;
  arrange();
}

// ---- a group's row: how many of its threads were in which state

function paintHead(label, group, tracks, top) {
  pen.font = "bold 12px sans-serif";
  pen.fillText(cut(label, LEFT - 16), 8, top + ROW / 2);
  pen.font = "12px sans-serif";
  if (grouping === "state") return;  // what they have in common they have just now
  let step = 1e6;
  while ((view.end - view.begin) / step > 200) step *= step.toString()[0] === "2" ? 2.5 : 2;
  if (!group.counts.has(step)) group.counts.set(step, new Map());
  const known = group.counts.get(step);
  if (known.size > 5000) known.clear();
  let left = LOOKUPS;
  for (let bucket = Math.max(Math.floor(view.begin / step), 0); (bucket + 1) * step <= Math.min(data.length, view.end); bucket++) {
    if (!known.has(bucket)) {
      if (left < 0) { draw(); break; }
      left -= tracks.length;
      known.set(bucket, countStates(tracks, (bucket + 0.5) * step));
    }
    const [begin, end] = [bucket, bucket + 1].map(at => Math.round(Math.max(LEFT, Math.min(x(at * step), width))));
    paintBucket(known.get(bucket), begin, end, top + 1, group.lanes.length);
  }
}

function countStates(tracks, moment) {
  const counts = new Uint32Array(data.colours.length);
  for (const number of tracks) {
    const { spans } = data.tracks[number], at = SPAN * firstFrom(spans, moment);
    if (at < spans.length && spans[at + 1] <= moment) counts[spans[at]]++;
  }
  return counts;
}

function paintBucket(counts, left, right, top, all) {
  let below = top + ROW - 2;
  counts.forEach((count, state) => {
    if (!count || right <= left) return;
    const high = (ROW - 2) * count / all;
    pen.fillStyle = data.colours[state];
    pen.fillRect(left, below -= high, right - left, high);
  });
}

// ---- the chosen thread

function pick(found) {
  const row = found && data.rows[found.row];
  if (row?.group) {
    row.group.closed = !row.group.closed;
    arrange();
  } else if (row) choose(found.track ?? row.tracks[row.tracks.length - 1]);
}

function choose(number) {
  chosen = number;
  data.chosen = rowOf.get(number);  // the row
  showThread();
  draw();
}

function walk(by) {
  const at = chosen === null ? (by > 0 ? -1 : data.rows.length) : rowOf.get(chosen) ?? 0;
  let next = at + by;
  while (data.rows[next]?.group) next += by;
  const row = data.rows[next];
  if (!row) return;
  choose(row.tracks[row.tracks.length - 1]);
  const top = next * ROW, room = bottom() - AXIS - ROW;
  change(view.begin, view.end, Math.min(top, Math.max(view.top, top - room)));
}

const seconds = ns => `${(ns / 1e9).toFixed(3)} s`;
const list = (kind, texts) => make(kind, undefined, ...texts.map(text => make("li", text)));

function eventsOf(track) {
  const found = [];
  for (let at = track.spans.length - SPAN; at >= 0 && found.length < 20; at -= SPAN) {
    const [, begin, end, text, by] = track.spans.slice(at, at + SPAN);
    if (begin > feed.now) continue;
    const when = end > feed.now ? `since ${seconds(feed.now - begin)}` : `${seconds(feed.now - begin)} ago, for ${thousandths.format((end - begin) / 1e6)} ms`;
    found.push(`${data.texts[text].replace(/^:? /, "").replaceAll("\n", ", ")}${by in data.tracks ? `, by ${data.tracks[by].name}` : ""}: ${when}`);
  }
  return found;
}

function showThread() {
  const number = chosen, track = data.tracks[number];
  if (!track) return;
  tellThread(track);
  if (!isAlive(track) || feed.state !== "live") return;
  fetch(`thread/${track.pointer - feed.beyond}`).then(answer => answer.json()).then(said => {
    track.said = said;
    if (number === chosen) tellThread(track);
  }, () => {});
}

function tellThread(track) {
  const { does = "", holds = [], stack = [] } = isAlive(track) && track.said || {};
  $("thread").replaceChildren(make("h2", track.name), make("p", track.about), make("p", does),
    ...holds.length ? [make("p", "It holds, and others wait for:"), list("ul", holds)] : [],
    ...stack.length ? [make("pre", stack.join("\n"))] : [],
    make("h2", "Its last events"), list("ol", eventsOf(track)));
}

// ---- the moment: who waits for whom, tables, groups

function moment(said) {
  if (said.error) return say(feed.state, said.error);
  if (feed.state === "live") feed.text = said.without && `Python does not answer, because ${said.without}`;
  feed.deadlocks = said.deadlocks.length;
  const main = Object.values(data.tracks).find(track => track.tid === said.main?.tid && track.name === said.main.name);
  if (main) feed.beyond = main.pointer - said.main.ident;
  $("alarm").textContent = said.deadlocks.map(text => `Deadlock: ${text}`).join("\n");
  showGraph(said.graph);
  showTable($("waits"), said.waits);
  $("counted").hidden = !said.locks;
  if (said.locks) showTable($("locks"), said.locks);
  showGroups(said);
  refresh();
}

const slots = new Map();  // by node: where it is, and for how many moments it has been missing
const BOX = { wide: 140, high: 34, columns: [1, 176], row: 44 };

// A node keeps its place until it has been missing for three moments.
function placeNodes(graph) {
  for (const [id, slot] of slots) if (id in graph.nodes) slot.missing = 0; else if (++slot.missing > 3) slots.delete(id);
  for (const id of Object.keys(graph.nodes).sort()) {
    if (slots.has(id)) continue;
    const column = id[0] === "t" ? 1 : 0, beside = graph.edges.find(edge => edge.from === id);
    const taken = new Set([...slots.values()].filter(slot => slot.column === column).map(slot => slot.row));
    let row = column ? 0 : slots.get(beside?.to)?.row ?? 0;
    while (taken.has(row)) row++;
    slots.set(id, { column, row, missing: 0 });
  }
}

const draws = (name, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const clipped = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;

function tipOf(kind) {
  return draws("marker", { id: `tip-${kind}`, class: kind, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse" },
    draws("path", { d: "M0 0L8 4L0 8z" }));
}

function edgeOf({ from, to, label, circle }) {
  const [one, other] = [slots.get(from), slots.get(to)], y = slot => slot.row * BOX.row + BOX.high / 2 + 1;
  const right = BOX.columns[1] + BOX.wide, kind = circle ? "circle" : "plain", by = one.row < other.row ? 6 : -6;
  const line = one.column === 0 ? `M${BOX.columns[0] + BOX.wide} ${y(one)}L${BOX.columns[1]} ${y(other)}`
    : `M${right} ${y(one) + by}C${right + 30} ${y(one) + by} ${right + 30} ${y(other) - by} ${right} ${y(other) - by}`;
  return draws("path", { d: line, class: kind, "marker-end": `url(#tip-${kind})` }, draws("title", {}, label));
}

function nodeOf([id, node]) {
  const slot = slots.get(id), x = BOX.columns[slot.column], y = slot.row * BOX.row + 1;
  const box = draws("g", { class: node.circle ? "circle" : "plain" },
    draws("rect", { x, y, width: BOX.wide, height: BOX.high, rx: 4 }),
    draws("text", { x: x + 6, y: y + 14 }, clipped(node.label, 22)),
    draws("text", { x: x + 6, y: y + 27, class: "about" }, clipped(node.about, 26)),
    draws("title", {}, `${node.label}: ${node.about}`));
  box.addEventListener("click", () => chooseIdent(node.ident));
  return box;
}

function showGraph(graph) {
  placeNodes(graph);
  const drawn = JSON.stringify(graph);
  if (drawn === feed.drawn) return;
  feed.drawn = drawn;
  const nodes = Object.entries(graph.nodes), rows = Math.max(0, ...nodes.map(([id]) => slots.get(id).row + 1));
  const left = graph.left ? [make("p", `${graph.left} more are not drawn.`)] : [];
  $("graph").replaceChildren(...nodes.length ? [draws("svg", { viewBox: `0 0 346 ${rows * BOX.row}`, role: "img" },
    draws("defs", {}, tipOf("plain"), tipOf("circle")), ...graph.edges.map(edgeOf), ...nodes.map(nodeOf)), ...left]
    : [make("p", "No thread waits for another.")]);
}

function showGroups({ groups, cancellations }) {
  const parts = groups.length ? [make("h2", "Groups and their tasks"), make("ul", undefined, ...groups.map(treeOf))] : [];
  if (cancellations.length) parts.push(make("h2", "The latest cancellations"), list("ul", cancellations));
  $("groups").replaceChildren(...parts);
}

function treeOf({ label, count, threads, groups }) {
  const told = threads.map(({ name, does, cancelled }) => {
    const item = make("li", `${name}: ${does}`);
    if (cancelled) item.append(Object.assign(make("div", `cancelled: ${cancelled}`), { className: "cancelled" }));
    return item;
  });
  if (count > threads.length) told.push(make("li", `and ${count - threads.length} more`));
  return make("li", label, make("ul", undefined, ...told, ...groups.map(treeOf)));
}

function chooseIdent(ident) {
  const track = Object.values(data.tracks).find(track => track.pointer === ident + feed.beyond && isAlive(track));
  if (track) choose(track.number);
}

// ---- what is said

function refresh() {
  if (!feed.program) return;
  if (stale) arrange();
  stale = false;
  const alive = Object.values(data.tracks).filter(isAlive).length;
  const missed = feed.missed ? `, ${feed.missed.toLocaleString("en")} records missed` : "";
  $("status").textContent = `${feed.text ? `${feed.text}; ` : ""}${alive.toLocaleString("en")} thread${alive === 1 ? "" : "s"}${missed}`;
  $("status").className = feed.text ? "bad" : "";
  document.title = `${feed.deadlocks ? "DEADLOCK: " : ""}${feed.program} (pid ${feed.pid})`;
}

addEventListener("DOMContentLoaded", begin);
