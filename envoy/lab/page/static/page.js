// Draws what the server tells of, and hands it what is pressed. No library, no build.

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

let state = null;
let users = [];
let buckets = [];
let chosen = -1;
let dragging = false;

// --- grids -----------------------------------------------------------------------------------------

class Grid {
  constructor(section) {
    this.section = section;
    this.box = section.querySelector(".cells");
    this.cells = [];
    this.told = [];
  }

  fill(count) {
    this.cells = Array.from({ length: count }, (_, index) => {
      const cell = document.createElement("i");
      cell.className = "cell";
      cell.id = `${this.section.id}-${index}`;
      cell.dataset.user = users[index];
      if (this.box.getAttribute("role") === "listbox") cell.setAttribute("role", "option");
      return cell;
    });
    this.box.replaceChildren(...this.cells);
  }

  hear(index, told, quietly) {
    const [version, failed] = told;
    const cell = this.cells[index];
    const before = cell.dataset.version;
    const kind = kindOf(version);
    if (before !== kind && kind) cell.dataset.version = kind;
    if (Boolean(failed) !== cell.hasAttribute("data-failed")) cell.toggleAttribute("data-failed", Boolean(failed));
    const role = cell.getAttribute("role");
    if (role && !quietly && before && kind && before !== kind) this.point(cell);
    const was = this.told[index];
    this.told[index] = told;
    if (role && (was?.[0] !== version || was?.[1] !== failed)) {
      cell.setAttribute("aria-label", `${users[index]}: ${failed ? "failed" : version ?? "no answer"}`);
    }
  }

  // A ring for a second, without animation.
  point(cell) {
    cell.classList.add("just-moved");
    setTimeout(() => cell.classList.remove("just-moved"), 1000);
  }

  count(counters) {
    for (const [name, value] of Object.entries(counters)) {
      const field = this.section.querySelector(`[data-count="${name}"]`);
      if (field) write(field, number.format(value));
    }
  }

  tally() {
    const tally = { stable: 0, canary: 0, failed: 0 };
    for (const [version, failed] of this.told.filter(Boolean)) {
      if (failed) tally.failed += 1;
      else if (kindOf(version)) tally[kindOf(version)] += 1;
    }
    if (!this.parts) this.furnish();
    const names = { stable: state.stable, canary: state.canary, failed: "failed" };
    for (const [kind, part] of Object.entries(this.parts)) {
      const share = (100 * tally[kind]) / this.told.length;
      part.bar.style.width = `${share}%`;
      write(part.name, names[kind]);
      write(part.users, String(tally[kind]));
      write(part.share, `${share.toFixed(1)} %`);
      part.entry.hidden = kind === "failed" && tally.failed === 0;
    }
  }

  // The bar and the legend, once; what changes in them is text.
  furnish() {
    const parts = ["canary", "failed", "stable"].map((kind) => {
      const bar = Object.assign(document.createElement("i"), { className: kind });
      const entry = document.createElement("span");
      const [name, users, share] = [document.createTextNode(""), document.createElement("b"), document.createTextNode("")];
      entry.append(Object.assign(document.createElement("i"), { className: `dot ${kind}` }), name, users, share);
      return [kind, { bar, entry, name, users, share }];
    });
    this.parts = Object.fromEntries(parts);
    this.section.querySelector(".share").append(...parts.map(([, part]) => part.bar));
    this.section.querySelector(".legend").append(...parts.map(([, part]) => part.entry));
  }
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function kindOf(version) {
  if (!version || !state) return undefined;
  return version === state.stable ? "stable" : "canary";
}

const sticky = new Grid($("sticky"));
const random = new Grid($("random"));

// --- one user ----------------------------------------------------------------------------------------

function choose(index) {
  sticky.cells[chosen]?.classList.remove("chosen");
  sticky.cells[chosen]?.removeAttribute("aria-selected");
  chosen = index;
  const cell = sticky.cells[chosen];
  if (!cell) return;
  cell.classList.add("chosen");
  cell.setAttribute("aria-selected", "true");
  sticky.box.setAttribute("aria-activedescendant", cell.id);
  describe();
}

function describe() {
  if (chosen < 0 || !sticky.told[chosen]) return;
  const [version, failed, moves, reason, served] = sticky.told[chosen];
  const moved = moves === 0 ? "never moved" : moves === 1 ? "moved once" : `moved ${moves} times`;
  const got = failed ? "failed" : `${version ?? "no answer"} by ${reason ?? "nobody"}`;
  write($("about"), `${users[chosen]}, bucket ${number.format(buckets[chosen])}: ${got}${served ? `, from ${served}` : ""}, ${moved}`);
}

function rowLength() {
  return getComputedStyle(sticky.box).gridTemplateColumns.split(" ").length;
}

// Cells as they stand on the screen, which is by bucket if one asked for that.
function onScreen() {
  const order = users.map((_, index) => index);
  return $("order").checked ? order.sort((a, b) => buckets[a] - buckets[b]) : order;
}

sticky.box.addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: rowLength(), ArrowUp: -rowLength(), Home: -Infinity, End: Infinity };
  const step = steps[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const order = onScreen();
  const at = chosen < 0 ? (step > 0 ? -step : 0) : order.indexOf(chosen);
  choose(order[Math.max(0, Math.min(order.length - 1, at + step))]);
});
sticky.box.addEventListener("focus", () => chosen < 0 && choose(onScreen()[0]));
for (const kind of ["pointerover", "pointerdown"]) {
  sticky.box.addEventListener(kind, (event) => {
    const index = sticky.cells.indexOf(event.target);
    if (index >= 0) choose(index);
  });
}
$("order").addEventListener("change", () => {
  const order = onScreen();
  for (const grid of [sticky, random]) order.forEach((user, place) => (grid.cells[user].style.order = place));
});

// --- the release -------------------------------------------------------------------------------------

function show(told) {
  state = told;
  const { weight, enabled, broken, serving, canary } = state;
  if (!dragging) {
    $("weight").value = weight;
    mark(weight);
  }
  for (const button of document.querySelectorAll("[data-weight]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.weight) === weight));
  }
  $("all-stable").setAttribute("aria-pressed", String(weight === 0));
  $("all-canary").setAttribute("aria-pressed", String(weight === 100));
  $("break").setAttribute("aria-pressed", String(broken));
  write($("break"), broken ? "Repair the canary" : "Break the canary");
  const nobody = weight === 0 || !enabled;
  write($("fault-hint"), nobody ? `Nobody is on ${canary} now.` : "It answers 503; the guard takes it out.");
  $("kill").setAttribute("aria-checked", String(!enabled));
  write($("kill").lastElementChild, enabled ? "Off" : "On");
  showConfiguration(state.configuration);
  const [mood, text] = standing(state);
  $("standing").dataset.mood = mood;
  write($("standing"), text);
  tour(state, mood);
}

// How things stand: the mood of the banner, and what it says.
function standing({ weight, enabled, broken, serving, probing, stable, canary, standings, in_force }) {
  const numbers = `asked ${weight} %, in force ${in_force ?? "?"} %`;
  if (!enabled) return ["killed", `Kill switch on: everybody gets ${stable}. ${canary}: ${numbers}.`];
  if (standings[canary]?.held_out) return ["out", `${canary} is held out by its guard: ${numbers}. Its users get ${stable}.`];
  if (probing) return ["probing", `${canary} is on trial with a tenth of its users: ${numbers}.`];
  const ill = broken || !serving;
  if (ill && weight === 0) return ["broken", `${canary} ${broken ? "is broken" : "is stopped"}, and nobody is on it: ${numbers}. No request fails.`];
  if (ill) return ["broken", `${canary} ${broken ? "is broken" : "does not answer"}: ${numbers}. Its guard is looking.`];
  // The proxy's own word comes up to half a second after a change.
  if (in_force !== null && Math.abs(in_force - weight) > 0.001) return ["apart", `${canary}: ${numbers}.`];
  return ["well", `${canary}: ${numbers}. ${stable} has the others.`];
}

// The file line by line. What just changed is marked and scrolled to, within its pane.
let lines = [];
function showConfiguration(text) {
  const now = text.split("\n");
  if (now.join("\n") === lines.join("\n")) return;
  const pane = $("configuration");
  let first = 0;
  let last = 0;
  while (first < now.length && now[first] === lines[first]) first += 1;
  while (last < now.length - first && last < lines.length - first && now.at(-1 - last) === lines.at(-1 - last)) last += 1;
  const spans = now.map((line, index) => {
    const changed = lines.length > 0 && index >= first && index < now.length - last;
    return Object.assign(document.createElement("span"), { textContent: line || " ", className: changed ? "changed" : "" });
  });
  lines = now;
  pane.replaceChildren(...spans);
  const shown = pane.querySelector(".changed") ?? spans.find((span) => span.textContent.includes('"weight"'));
  if (shown) pane.scrollTop = shown.offsetTop - (pane.clientHeight - shown.offsetHeight) / 2;
}

// Steps are ticked off in their order, as what they speak of is seen.
let done = 0;
function tour({ weight, enabled, broken, serving, canary, standings, in_force }, mood) {
  const seen = [
    weight === 5 && mood === "well",
    weight === 30 && mood === "well",
    mood === "out",
    !broken && serving && enabled && mood === "well",
    weight === 100 && mood === "well",
  ];
  while (done < seen.length && seen[done]) {
    $("tour").children[done].className = "done";
    done += 1;
  }
}

function mark(weight) {
  $("percent").textContent = `${weight} %`;
  $("weight").style.setProperty("--fill", `${weight}%`);
  $("weight").setAttribute("aria-valuetext", `${weight} percent`);
}

async function post(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    show(told.state);
  } catch (problem) {
    news({ at: Date.now() / 1000, kind: "refused", text: `Not changed: ${problem.message}` });
    if (state) show(state);
  }
}

const setWeight = (weight) => post("weight", { weight });
// The slider is the person's from a first move until the server has answered to the last.
let moves = 0;
$("weight").addEventListener("input", () => {
  dragging = true;
  moves += 1;
  mark(Number($("weight").value));
});
// Arrow keys say `change` at every step; the last one counts.
let pause;
$("weight").addEventListener("change", () => {
  clearTimeout(pause);
  pause = setTimeout(async () => {
    const last = moves;
    await setWeight(Number($("weight").value));
    if (last !== moves) return;
    dragging = false;
    if (state) show(state);
  }, 200);
});
for (const button of document.querySelectorAll("[data-weight]")) {
  button.addEventListener("click", () => setWeight(Number(button.dataset.weight)));
}
$("all-stable").addEventListener("click", () => setWeight(0));
$("all-canary").addEventListener("click", () => setWeight(100));
$("break").addEventListener("click", () => post("broken", { broken: !state.broken }));
$("kill").addEventListener("click", () => post("enabled", { enabled: !state.enabled }));

// --- news ------------------------------------------------------------------------------------------

function news({ at, kind, text }) {
  const entry = document.createElement("li");
  entry.dataset.kind = kind;
  const when = new Date(at * 1000);
  const time = Object.assign(document.createElement("time"), { textContent: clock.format(when), dateTime: when.toISOString() });
  entry.append(time, Object.assign(document.createElement("span"), { textContent: text }));
  $("news").querySelector(".nothing")?.remove();
  $("news").prepend(entry);
  while ($("news").children.length > 40) $("news").lastElementChild.remove();
}

// --- what the server tells -------------------------------------------------------------------------

function begin(all) {
  users = all.users;
  buckets = all.buckets;
  show(all.state);
  $("count").textContent = number.format(users.length);
  for (const [grid, told] of [[sticky, all.sticky], [random, all.random]]) {
    if (grid.cells.length !== users.length) grid.fill(users.length);
    told.cells.forEach((cell, index) => grid.hear(index, cell, true));
    grid.count(told);
    grid.tally();
  }
  $("news").replaceChildren();
  all.news.forEach(news);
  if (!all.news.length) {
    $("news").append(Object.assign(document.createElement("li"), { className: "nothing", textContent: "Nothing yet: change something." }));
  }
  $("links").replaceChildren(
    ...Object.entries(all.links).map(([name, href]) => Object.assign(document.createElement("a"), { href, textContent: name })),
  );
  if (all.tour.stop) {
    const command = (text) => Object.assign(document.createElement("code"), { textContent: text });
    $("outage").replaceChildren("Stop its service: ", command(all.tour.stop));
    $("repair").replaceChildren("Start it: ", command(all.tour.start));
  }
  // Somebody who is on stable at 5 % and on the canary at 30 %, as the tour has it.
  const mover = users[buckets.findIndex((bucket) => bucket >= 5_000 && bucket < 30_000)];
  write($("ask"), `curl -i ${all.tour.ask} -H '${all.tour.header}: ${mover}'`);
  write($("ask-header"), all.tour.answer);
  document.documentElement.dataset.sweeps = all.sweeps;
}

function answers(told) {
  for (const [grid, part] of [[sticky, told.sticky], [random, told.random]]) {
    for (const [index, ...cell] of part.cells) grid.hear(index, cell, false);
    grid.count(part);
    grid.tally();
  }
  describe();
}

const events = new EventSource("events");
const hear = (kind, what) => events.addEventListener(kind, (event) => what(JSON.parse(event.data)));
hear("all", begin);
hear("answers", answers);
hear("state", show);
hear("news", news);
hear("sweep", ({ sweeps }) => (document.documentElement.dataset.sweeps = sweeps));
events.addEventListener("error", () => {
  $("standing").dataset.mood = "lost";
  $("standing").textContent = "No word from the demo; trying again";
});
