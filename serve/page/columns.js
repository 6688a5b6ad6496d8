// The texts: a column for each choice, its tokens coloured by their projection.

import { isChat } from "./request.js";

const shade = 0.55; // of the strongest colour, which leaves the text readable

export class Columns {
  constructor(place, told, legend) {
    this.place = place;
    this.told = told;
    this.legend = legend;
    this.list = [];
    this.of = "unsteered";
    place.addEventListener("pointerover", (e) => this.tell(e.target));
    place.addEventListener("focusin", (e) => this.tell(e.target));
    place.addEventListener("keydown", (e) => this.walk(e));
  }

  // begin makes an empty column for each choice.
  begin(request) {
    this.chat = isChat(request);
    this.list = (request.steering_choices ?? [null]).map((choice) => new Column(title(choice)));
    this.place.replaceChildren(...this.list.map((c) => c.element));
    this.place.classList.toggle("many", this.list.length > 3);
    this.legend.replaceChildren();
  }

  // add takes over what an event of the stream says.
  add(event) {
    for (const choice of event.choices ?? []) {
      const column = this.list[choice.index];
      if (!column) continue;
      column.add(tokensOf(choice, this.chat), this.chat ? choice.delta?.content : choice.text);
      if (choice.finish_reason) column.end(choice);
    }
    if (event.choices?.some((c) => c.finish_reason)) this.paint();
  }

  // stop ends what has not ended by itself.
  stop(why) {
    for (const c of this.list) c.stop(why);
  }

  // paint colours all tokens on one scale, symmetric about 0.
  paint() {
    let most = 0;
    for (const c of this.list) for (const t of c.all()) most = Math.max(most, Math.abs(valueOf(t, this.of) ?? 0));
    for (const c of this.list) for (const t of c.all()) t.span.style.backgroundColor = colourOf(valueOf(t, this.of), most);
    this.legend.replaceChildren();
    if (most > 0) this.legend.append((-most).toPrecision(2), document.createElement("i"), "+" + most.toPrecision(2));
  }

  show(of) {
    this.of = of;
    this.paint();
  }

  tell(span) {
    const token = span.token;
    if (!token) return;
    this.told.replaceChildren();
    const say = (...parts) => this.told.append(...parts);
    const strong = (text) => Object.assign(document.createElement("b"), { textContent: text });
    say("token ", strong(JSON.stringify(token.text)));
    for (const of of ["unsteered", "steered"]) {
      const value = valueOf(token, of);
      if (value !== undefined) say(`, projection ${of} `, strong(value.toFixed(2)));
    }
    if (token.steered) say(", steered");
    if (token.logprob !== undefined) say(", probability ", strong(percent(token.logprob)));
    const others = (token.others ?? []).filter((o) => o.text !== token.text);
    if (others.length > 0) say("; instead of it ", ...others.flatMap((o, i) => [i ? ", " : "", strong(JSON.stringify(o.text)), " " + percent(o.logprob)]));
  }

  // walk moves from token to token; one of them is where the tab key stops.
  walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    const token = event.target.token;
    if (!step || !token) return;
    event.preventDefault();
    const all = token.column.all();
    const to = Math.min(Math.max(all.indexOf(token) + step, 0), all.length - 1);
    token.span.tabIndex = -1;
    all[to].span.tabIndex = 0;
    all[to].span.focus();
  }
}

class Column {
  constructor(title) {
    this.prompt = [];
    this.response = [];
    this.written = ""; // the text as the server writes it
    this.element = document.createElement("article");
    this.element.className = "column waiting";
    const heading = document.createElement("h3");
    heading.textContent = title;
    this.text = document.createElement("div");
    this.text.className = "text";
    this.foot = document.createElement("footer");
    this.element.append(heading, this.text, this.foot);
  }

  all() { return [...this.prompt, ...this.response]; }

  add(tokens, text) {
    this.written += text ?? "";
    for (const t of tokens) this.append(this.response, t);
    if (tokens.length === 0 && text) this.append(this.response, { text });
  }

  append(list, token) {
    token.column = this;
    token.span = document.createElement("span");
    token.span.className = "token";
    token.span.textContent = token.text;
    token.span.token = token;
    token.span.tabIndex = this.all().length === 0 ? 0 : -1;
    list.push(token);
    if (list === this.response) this.text.append(token.span);
  }

  // end takes over what is told of a choice that has ended.
  end(choice) {
    this.element.classList.remove("waiting");
    const last = this.response.at(-1);
    if (last && !this.written.endsWith(last.text)) { // the token that ends a text is no part of it
      last.span.textContent = "";
      last.span.classList.add("end");
    }
    const told = choice.steer ?? {};
    const prompt = document.createElement("span");
    prompt.className = "prompt";
    for (const text of told.tokens?.prompt ?? []) this.append(this.prompt, { text });
    prompt.append(...this.prompt.map((t) => t.span));
    if (this.prompt.length > 0) this.text.prepend(prompt);
    for (const p of told.projections ?? []) {
      this.prompt.forEach((t, i) => set(t, p.of, p.prompt[i]));
      this.response.forEach((t, i) => set(t, p.of, p.response[i]));
    }
    for (const e of told.edits ?? []) {
      for (const [from, to] of e.positions ?? []) this.all().slice(from, to).forEach((t) => {
        t.steered = true;
        t.span.classList.add("steered");
      });
    }
    const notes = [`${this.response.length} tokens, ended by ${choice.finish_reason}`];
    for (const e of told.edits ?? []) {
      notes.push(`${e.vector || "inline"} acted on ${e.prompt_tokens} tokens of the prompt and ${e.response_tokens} of the text`, ...(e.notes ?? []));
    }
    this.foot.textContent = notes.join("; ");
  }

  stop(why) {
    if (!this.element.classList.contains("waiting")) return;
    this.element.classList.remove("waiting");
    this.foot.textContent = why;
  }
}

const set = (token, of, value) => { (token.values ??= {})[of] = value; };

const valueOf = (token, of) => token.values?.[of];

function colourOf(value, most) {
  if (value === undefined || most === 0) return "";
  return `rgb(var(--${value < 0 ? "less" : "more"}) / ${(shade * Math.abs(value) / most).toFixed(3)})`;
}

const percent = (logprob) => {
  const p = 100 * Math.exp(logprob);
  return p >= 0.1 ? p.toFixed(1) + " %" : "below 0.1 %";
};

// tokensOf returns the tokens of a choice of an event, with what else was thought of.
function tokensOf(choice, chat) {
  const l = choice.logprobs;
  if (!l) return [];
  if (chat) return (l.content ?? []).map((t) => ({ text: t.token, logprob: t.logprob, others: (t.top_logprobs ?? []).map((o) => ({ text: o.token, logprob: o.logprob })) }));
  return l.tokens.map((text, i) => ({
    text, logprob: l.token_logprobs[i],
    others: Object.entries(l.top_logprobs?.[i] ?? {}).map(([text, logprob]) => ({ text, logprob })).sort((a, b) => b.logprob - a.logprob),
  }));
}

// title says in few words what a choice does.
function title(choice) {
  if (!choice) return "unsteered";
  if (choice.preset) return "preset " + choice.preset;
  if (!choice.edits?.length) return "unsteered";
  return choice.edits.map((e) => {
    const much = e.strength !== undefined ? `strength ${e.strength}` : `× ${e.multiplier ?? 1}`;
    const layers = e.layers === undefined ? "all layers" : "layer " + [].concat(e.layers).join(", ");
    return `${e.vector ?? "inline"} ${much}, ${layers}${e.operator ? ", " + e.operator : ""}${e.tokens ? ", on " + e.tokens : ""}`;
  }).join("; ");
}
