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
    if (!quietly && before && kind && before !== kind) {
      cell.classList.remove("just-moved");
      void cell.offsetWidth; // so that the animation begins again
      cell.classList.add("just-moved");
    }
    this.told[index] = told;
    if (cell.getAttribute("role")) cell.setAttribute("aria-label", `${users[index]}: ${failed ? "failed" : version ?? "no answer"}`);
  }

  count(counters) {
    for (const [name, value] of Object.entries(counters)) {
      const field = this.section.querySelector(`[data-count="${name}"]`);
      if (field) field.textContent = number.format(value);
    }
  }

  tally() {
    const tally = { stable: 0, canary: 0, failed: 0 };
    for (const [version, failed] of this.told.filter(Boolean)) {
      if (failed) tally.failed += 1;
      else if (kindOf(version)) tally[kindOf(version)] += 1;
    }
    const names = { stable: state.stable, canary: state.canary, failed: "failed" };
    const parts = ["canary", "failed", "stable"];
    const bar = this.section.querySelector(".share");
    if (bar.children.length === 0) bar.append(...parts.map((part) => Object.assign(document.createElement("i"), { className: part })));
    parts.forEach((part, index) => (bar.children[index].style.width = `${(100 * tally[part]) / this.told.length}%`));
    const legend = parts
      .filter((part) => part !== "failed" || tally.failed)
      .map((part) => {
        const entry = document.createElement("span");
        const dot = Object.assign(document.createElement("i"), { className: `dot ${part}` });
        const share = (100 * tally[part]) / this.told.length;
        entry.append(dot, names[part], Object.assign(document.createElement("b"), { textContent: tally[part] }), `${share.toFixed(1)} %`);
        return entry;
      });
    this.section.querySelector(".legend").replaceChildren(...legend);
  }
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
  const text = `${users[chosen]}, bucket ${number.format(buckets[chosen])}: ${got}${served ? `, from ${served}` : ""}, ${moved}`;
  if ($("about").textContent !== text) $("about").textContent = text;
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
  const { weight, enabled, broken, canary } = state;
  if (!dragging) {
    $("weight").value = weight;
    mark(weight);
  }
  for (const button of document.querySelectorAll("[data-weight]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.weight) === weight));
  }
  $("blue").setAttribute("aria-pressed", String(weight === 0));
  $("green").setAttribute("aria-pressed", String(weight === 100));
  $("break").setAttribute("aria-pressed", String(broken));
  $("break").textContent = broken ? "Repair the canary" : "Break the canary";
  $("kill").setAttribute("aria-checked", String(!enabled));
  $("kill").lastElementChild.textContent = enabled ? "Off" : "On";
  $("configuration").textContent = state.configuration;

  const standing = state.standings[canary];
  const [mood, text] = !enabled
    ? ["killed", "Kill switch: everybody on stable"]
    : standing?.held_out
      ? ["out", `${canary} held out by its guard`]
      : state.probing
        ? ["probing", `${canary} on trial: a tenth of its users`]
        : ["well", `${canary} in force: ${weight} %`];
  $("standing").dataset.mood = mood;
  if ($("standing").textContent !== text) $("standing").textContent = text;
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
$("weight").addEventListener("input", () => {
  dragging = true;
  mark(Number($("weight").value));
});
// Arrow keys say `change` at every step; the last one counts.
let pause;
$("weight").addEventListener("change", () => {
  clearTimeout(pause);
  pause = setTimeout(() => {
    dragging = false;
    setWeight(Number($("weight").value));
  }, 200);
});
for (const button of document.querySelectorAll("[data-weight]")) {
  button.addEventListener("click", () => setWeight(Number(button.dataset.weight)));
}
$("blue").addEventListener("click", () => setWeight(0));
$("green").addEventListener("click", () => setWeight(100));
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
