import * as ask from "./request.js";
import * as code from "./code.js";
import * as server from "./server.js";
import { Columns } from "./columns.js";
import { Vectors } from "./vectors.js";

const $ = (id) => document.getElementById(id);
const columns = new Columns($("columns"), $("told"), $("legend"));

let models = [];
let vectors = [];
let request = null;
let running = null; // the AbortController of the answer that is coming
let tab = "json";

// ---- from the request to the form

function show() {
  const chat = ask.isChat(request);
  check("mode", chat ? "chat" : "completion");
  $("system-label").hidden = !chat;
  fill($("system"), ask.systemOf(request));
  fill($("prompt"), ask.promptOf(request));
  for (const name of ["max_tokens", "temperature", "top_p", "seed"]) fill($(name), request[name] ?? "");
  check("view", ask.isSweep(request) ? "sweep" : "two");
  const choice = ask.template(request);
  $("preset").value = choice?.preset ?? "";
  $("edits").hidden = $("add-edit").hidden = Boolean(choice?.preset);
  showEdits(choice?.edits ?? []);
  const colour = request.projections?.[0];
  $("colour-vector").value = colour?.vector ?? "";
  showLayers();
  if (colour) $("colour-layer").value = String(colour.layer);
  showCode();
}

// fill leaves what is being typed alone.
function fill(field, value) {
  if (document.activeElement !== field) field.value = value;
}

function check(name, value) {
  for (const radio of document.getElementsByName(name)) radio.checked = radio.value === value;
}

function showEdits(edits) {
  const place = $("edits");
  while (place.children.length > edits.length) place.lastElementChild.remove();
  edits.forEach((edit, i) => {
    if (!place.children[i]) place.append(newEdit(i));
    const part = (name) => place.children[i].querySelector("." + name);
    options(part("vector"), vectors.map((v) => v.id), edit.vector);
    const vector = vectors.find((v) => v.id === edit.vector);
    const unit = edit.strength !== undefined ? "strength" : "multiplier";
    part("unit").value = unit;
    part("unit").hidden = !vector?.calibration;
    const amount = edit[unit] ?? 1;
    fill(part("amount"), amount);
    if (document.activeElement !== part("slide")) part("slide").value = toSlide(amount);
    fill(part("layers"), edit.layers === undefined ? "" : [].concat(edit.layers).join(","));
    fill(part("tokens"), edit.tokens ?? "");
    fill(part("operator"), edit.operator ?? "");
    part("operator").placeholder = vector?.operator || "add";
  });
}

function options(select, names, chosen) {
  const wanted = names.includes(chosen) || !chosen ? names : [...names, chosen];
  if ([...select.options].map((o) => o.value).join("\n") !== wanted.join("\n")) select.replaceChildren(...wanted.map((name) => new Option(name, name)));
  if (chosen !== undefined) select.value = chosen;
}

function showLayers() {
  const vector = vectors.find((v) => v.id === $("colour-vector").value);
  const layers = (vector?.layers ?? []).map(String);
  options($("colour-layer"), layers, layers.includes($("colour-layer").value) ? $("colour-layer").value : vector && String(ask.middle(vector)));
  $("colour-layer").parentElement.hidden = $("colour-of").parentElement.hidden = !vector;
}

function showCode() {
  for (const t of document.querySelectorAll("[role=tab]")) {
    const chosen = t.id === "tab-" + tab;
    t.setAttribute("aria-selected", chosen);
    t.tabIndex = chosen ? 0 : -1;
    if (chosen) $("panel").setAttribute("aria-labelledby", t.id);
  }
  $("code").readOnly = tab !== "json";
  fill($("code"), code[tab](request));
  note("");
}

function note(text, wrong = false) {
  $("code-note").textContent = text;
  $("code-note").classList.toggle("problem", wrong);
  $("code").setAttribute("aria-invalid", wrong);
}

// ---- the slider: fine near 0, alike on both sides

const most = 4, bend = 2.4;

const fromSlide = (at) => ask.round(Math.sign(at) * most * Math.expm1(bend * Math.abs(at) / 100) / Math.expm1(bend));
const toSlide = (x) => Math.round(Math.sign(x) * 100 * Math.log1p(Math.min(Math.abs(x), most) / most * Math.expm1(bend)) / bend);

// ---- from the form to the request

function newEdit(i) {
  const element = $("edit").content.firstElementChild.cloneNode(true);
  const part = (name) => element.querySelector("." + name);
  const change = (f) => () => {
    const choice = structuredClone(ask.template(request));
    const edit = choice.edits[i];
    f(edit);
    ask.setTemplate(request, choice);
    show();
  };
  const amount = (value) => change((edit) => { edit[edit.strength !== undefined ? "strength" : "multiplier"] = value(); });
  part("vector").addEventListener("change", change((edit) => {
    const own = ask.edit(vectors.find((v) => v.id === part("vector").value));
    for (const key of Object.keys(edit)) delete edit[key];
    Object.assign(edit, own);
  }));
  part("slide").addEventListener("input", amount(() => fromSlide(Number(part("slide").value))));
  part("slide").addEventListener("change", again);
  part("amount").addEventListener("input", amount(() => Number(part("amount").value) || 0));
  part("unit").addEventListener("change", change((edit) => {
    const value = edit.strength ?? edit.multiplier ?? 1;
    const { multiplier } = vectors.find((v) => v.id === edit.vector).calibration;
    delete edit.strength;
    delete edit.multiplier;
    if (part("unit").value === "strength") edit.strength = ask.round(value / multiplier);
    else edit.multiplier = ask.round(value * multiplier);
  }));
  const text = (name, read) => part(name).addEventListener("input", change((edit) => {
    const value = part(name).value.trim();
    if (value === "") delete edit[name];
    else edit[name] = read(value);
  }));
  text("layers", (value) => /^-?\d+(\s*,\s*-?\d+)*$/.test(value) ? value.split(",").map(Number) : value);
  text("tokens", (value) => value);
  text("operator", (value) => value);
  part("remove").addEventListener("click", () => {
    const choice = structuredClone(ask.template(request));
    choice.edits.splice(i, 1);
    ask.setTemplate(request, choice);
    show();
  });
  return element;
}

// again writes anew after a slider has been let go of, if something was written.
function again() {
  if (columns.list.length > 0) run();
}

for (const radio of document.getElementsByName("mode")) radio.addEventListener("change", () => {
  ask.setMode(request, radio.value === "chat");
  show();
});
for (const radio of document.getElementsByName("view")) radio.addEventListener("change", () => {
  ask.setView(request, radio.value === "sweep");
  show();
});
$("prompt").addEventListener("input", () => { ask.setPrompt(request, $("prompt").value); show(); });
$("system").addEventListener("input", () => { ask.setSystem(request, $("system").value); show(); });
for (const name of ["max_tokens", "temperature", "top_p", "seed"]) $(name).addEventListener("input", () => {
  if ($(name).value === "") delete request[name];
  else request[name] = Number($(name).value);
  show();
});
$("preset").addEventListener("change", () => {
  const preset = $("preset").value;
  request.steering_choices = [null, preset ? { preset } : { edits: vectors[0] ? [ask.edit(vectors[0])] : [] }];
  show();
});
$("add-edit").addEventListener("click", () => {
  if (vectors.length === 0) return problem(new Error("there is no vector yet; train one below"));
  const choice = structuredClone(ask.template(request)) ?? {};
  choice.edits = [...(choice.edits ?? []), ask.edit(vectors[0])];
  ask.setTemplate(request, choice);
  show();
});
$("colour-vector").addEventListener("change", () => {
  const vector = vectors.find((v) => v.id === $("colour-vector").value);
  ask.colourBy(request, vector?.id, vector && ask.middle(vector));
  show();
  again();
});
$("colour-layer").addEventListener("change", () => {
  ask.colourBy(request, $("colour-vector").value, Number($("colour-layer").value));
  show();
  again();
});
$("colour-of").addEventListener("change", () => columns.show($("colour-of").value));

// ---- the request as text

$("tabs").addEventListener("click", (e) => choose(e.target.closest("[role=tab]")));
$("tabs").addEventListener("keydown", (e) => {
  const all = [...document.querySelectorAll("[role=tab]")];
  const at = all.indexOf(e.target);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (at < 0 || !step) return;
  const next = all[(at + step + all.length) % all.length];
  next.focus();
  choose(next);
});

function choose(button) {
  if (!button) return;
  tab = button.id.slice("tab-".length);
  showCode();
}

$("code").addEventListener("input", () => {
  if (tab !== "json") return;
  try {
    request = ask.check(JSON.parse($("code").value));
    show();
  } catch (error) {
    note(error.message, true);
  }
});
$("copy").addEventListener("click", () => copy($("code").value, "copied"));
$("link").addEventListener("click", () => {
  history.replaceState(null, "", ask.toLink(request));
  copy(location.href, "the link is copied, and in the address bar");
});

async function copy(text, told) {
  try {
    await navigator.clipboard.writeText(text);
    note(told);
  } catch {
    $("code").select();
    note("the browser does not let the page copy; the text is selected");
  }
}

// ---- writing

$("ask").addEventListener("submit", (e) => { e.preventDefault(); run(); });
$("stop").addEventListener("click", stop);
document.addEventListener("keydown", (e) => {
  if (e.key === "Enter" && (e.ctrlKey || e.metaKey) && !e.target.closest?.("#train")) { e.preventDefault(); run(); }
  if (e.key === "Escape") stop();
});

function stop() {
  running?.abort();
}

async function run() {
  stop();
  const mine = running = new AbortController();
  $("stop").disabled = false;
  problem(null);
  columns.begin(request);
  try {
    await server.stream(ask.path(request), ask.body(request), (event) => { if (running === mine) columns.add(event); }, mine.signal);
  } catch (error) {
    if (running !== mine) return;
    columns.stop(error.name === "AbortError" ? "stopped" : "failed");
    if (error.name !== "AbortError") problem(error);
  }
  if (running === mine) {
    running = null;
    $("stop").disabled = true;
  }
}

function problem(error) {
  const place = $("problem");
  place.hidden = !error;
  place.textContent = error ? (error.param ? error.param + ": " : "") + error.message : "";
}

// ---- vectors

const shelf = new Vectors($("vectors"), $("train"), async (name) => {
  await load();
  const choice = { edits: [...(ask.template(request)?.edits ?? []).filter((e) => e.vector !== name), ask.edit(vectors.find((v) => v.id === name))] };
  ask.setTemplate(request, choice);
  ask.colourBy(request, name, ask.middle(vectors.find((v) => v.id === name)));
  show();
});

// load asks what the server has.
async function load() {
  models = (await server.get("/v1/models")).data;
  vectors = (await server.get("/v1/vectors")).data;
  const presets = models.filter((m) => m.preset && m.preset !== "none").map((m) => m.preset);
  $("preset").replaceChildren(new Option("none: the vectors below", ""), ...presets.map((name) => new Option(name, name)));
  $("colour-vector").replaceChildren(...vectors.map((v) => new Option(v.id, v.id)), new Option("nothing", ""));
  const base = models[0];
  $("serving").textContent = `${base.root}, ${base.layers} layers, ${vectors.length} ${vectors.length === 1 ? "vector" : "vectors"}`;
  for (const radio of document.getElementsByName("mode")) if (radio.value === "chat") radio.disabled = !base.chat;
  $("train").hidden = !base.uploads;
  await shelf.show(vectors);
}

async function begin() {
  try {
    await load();
  } catch (error) {
    if (error.status === 401) {
      server.setKey(window.prompt("This server asks for a key.") ?? "");
      try { await load(); } catch (refused) { return failed(refused); }
    } else return failed(error);
  }
  try {
    request = ask.fromLink(location.hash);
  } catch (error) {
    problem(new Error("the link holds no request: " + error.message));
  }
  request ??= ask.initial(models[0].root, vectors);
  show();
}

function failed(error) {
  $("serving").textContent = "";
  problem(error);
}

begin();
