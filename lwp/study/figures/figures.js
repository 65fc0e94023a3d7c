// Goes through the steps of a page, back and forward, and says what is pointed at.
//
// steps: of each what, why and more, and of parts a state (a class; "there" if nothing is said), a text or null, and whether the step
// touches the part.  about: what each part is.  Elements are known by data-step and data-part.
"use strict";
const { steps, about } = JSON.parse(document.getElementById("steps").textContent);
const $ = id => document.getElementById(id);
const rows = [...document.querySelectorAll("[data-step]")], parts = [...document.querySelectorAll("[data-part]")];
let at = 0;

function show(step) {
  at = Math.max(0, Math.min(step, steps.length - 1));
  const { what, why, more, states } = steps[at];
  $("count").textContent = `${at + 1} of ${steps.length}`;
  for (const [id, text] of Object.entries({ what, why, more })) $(id).textContent = text;
  $("back").disabled = at === 0;
  $("forward").disabled = at === steps.length - 1;
  for (const row of rows) {
    row.classList.toggle("now", Number(row.dataset.step) === at);
    row.classList.toggle("later", Number(row.dataset.step) > at);
  }
  for (const part of parts) {
    const [state, text, touched] = states[part.dataset.part] ?? ["there", null, false];
    part.classList.remove("absent", "mapped", "there", "gone");
    part.classList.add(state);
    part.classList.toggle("now", touched);
    if (text !== null) part.querySelector(".says").textContent = text;
  }
}

// Shows a step, and scrolls to it; the stepper may stay in sight above the figure.
function go(step) {
  show(step);
  const { top, bottom, right } = document.querySelector(".figure .now").getBoundingClientRect();
  const stepper = document.querySelector(".stepper"), { left, height } = stepper.getBoundingClientRect();
  const first = left < right && getComputedStyle(stepper).position === "sticky" ? height : 0;
  if (bottom > innerHeight) scrollBy(0, bottom - innerHeight + 8);
  else if (top < first) scrollBy(0, top - first - 8);
}

const touching = part => steps.flatMap(({ states }, at) => states[part]?.[2] ? [at] : []);

function point(part) {
  $("part").textContent = part ? about[part] : "";
  const steps = part ? touching(part) : [];
  for (const row of rows) row.classList.toggle("touching", steps.includes(Number(row.dataset.step)));
}

const under = event => event.target.closest("[data-part]")?.dataset.part;
document.addEventListener("pointerover", event => point(under(event)));
document.addEventListener("click", event => {
  const part = under(event), row = event.target.closest("[data-step]");
  if (row) go(Number(row.dataset.step));
  if (!part) return;
  const all = touching(part);  // the next one, or the first again
  if (all.length) go(all.find(step => step > at) ?? all[0]);
  point(part);
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  go(to);
});
$("back").addEventListener("click", () => go(at - 1));
$("forward").addEventListener("click", () => go(at + 1));
show(0);
