// The vectors that the server has, and the training of another.

import * as server from "./server.js";

export class Vectors {
  constructor(place, form, use) {
    this.place = place;
    this.form = form;
    this.use = use;
    form.addEventListener("submit", (e) => { e.preventDefault(); this.train(); });
  }

  // show lists vectors with their lengths by layer and their angles to each other.
  async show(list) {
    const described = await Promise.all(list.map((v) => server.get("/v1/vectors/" + encodeURIComponent(v.id))));
    this.place.replaceChildren(...described.map(card));
    if (described.length === 0) this.place.textContent = "The server has no vectors yet.";
  }

  async train() {
    const field = (name) => this.form.querySelector("#" + name);
    const lines = (name) => field(name).value.split("\n").map((line) => line.trim()).filter(Boolean);
    const positive = lines("positive"), negative = lines("negative"), name = field("vector-name").value;
    const progress = field("training"), problem = field("train-problem"), button = this.form.querySelector("[type=submit]");
    problem.hidden = true;
    if (positive.length === 0 || positive.length !== negative.length) {
      problem.textContent = `The left side has ${positive.length} lines and the right one ${negative.length}: each line needs its counterpart.`;
      problem.hidden = false;
      return;
    }
    progress.hidden = false;
    progress.value = 0;
    button.disabled = true;
    try {
      await server.stream("/v1/vectors", { name, stream: true, pairs: positive.map((p, i) => ({ positive: p, negative: negative[i] })) }, (event) => {
        if (event.total) progress.value = event.done / event.total;
      });
      await this.use(name);
    } catch (error) {
      problem.textContent = (error.param ? error.param + ": " : "") + error.message;
      problem.hidden = false;
    } finally {
      progress.hidden = true;
      button.disabled = false;
    }
  }
}

function card(v) {
  const element = document.createElement("article");
  element.className = "about";
  const name = document.createElement("h3");
  name.textContent = v.id;
  const say = (text) => element.append(Object.assign(document.createElement("p"), { textContent: text }));
  element.append(name);
  say([v.layer_type, v.aggregator, v.model && "trained on " + v.model, v.operator && v.operator !== "add" && v.operator, v.hash.slice(0, 19)].filter(Boolean).join(", "));
  const layers = v.layers, most = Math.max(...layers.map((l) => v.norms[l]));
  const bars = document.createElement("div");
  bars.className = "bars";
  bars.setAttribute("role", "img");
  bars.setAttribute("aria-label", "length by layer: " + layers.map((l) => `${l}: ${v.norms[l].toPrecision(3)}`).join(", "));
  for (const l of layers) {
    const bar = document.createElement("i");
    bar.style.height = (100 * v.norms[l] / most).toFixed(1) + "%";
    bar.title = `layer ${l}: length ${v.norms[l].toPrecision(3)}` + (v.activation_norms?.[l] ? `, activations ${v.activation_norms[l].toPrecision(3)}` : "");
    bars.append(bar);
  }
  element.append(bars);
  say(`layers ${layers[0]} to ${layers.at(-1)}, the longest ${most.toPrecision(3)}`);
  for (const [other, cosines] of Object.entries(v.cosines ?? {})) {
    const all = Object.values(cosines);
    if (all.length > 0) say(`cosine with ${other}: ${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)} over the layers`);
  }
  return element;
}
