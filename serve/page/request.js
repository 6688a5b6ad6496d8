// The request is all that the page knows: the form shows it, the JSON is it, a link
// carries it, and the answer depends on nothing else.

export const sweep = [-1, -0.5, 0, 0.5, 1]; // factors of the five strengths

export function initial(model, vectors) {
  const vector = vectors[0];
  const request = {
    model,
    prompt: "Anna had a red kite. One day, Anna met Leo at the bridge.",
    max_tokens: 48, temperature: 0.7, top_p: 1, seed: 3,
    steering_choices: [null, { edits: vector ? [edit(vector)] : [] }],
  };
  if (vector) colourBy(request, vector.id, middle(vector));
  return request;
}

// edit is what a vector does at first: half of it, at the middle one of its layers, on
// what is written, so that the prompt is computed once for all choices.
export function edit(vector) {
  const own = vector.calibration;
  if (own) return { vector: vector.id, strength: 0.5, layers: own.layers, operator: own.operator, ...(own.tokens ? { tokens: own.tokens } : {}) };
  return { vector: vector.id, multiplier: 0.5, layers: [middle(vector)], tokens: "response" };
}

export const middle = (vector) => vector.layers[Math.floor(vector.layers.length / 2)];

export const isChat = (request) => "messages" in request;

export function setMode(request, chat) {
  if (chat === isChat(request)) return;
  const text = promptOf(request);
  if (chat) {
    delete request.prompt;
    request.messages = [{ role: "user", content: text }];
  } else {
    delete request.messages;
    request.prompt = text;
  }
}

export function promptOf(request) {
  if (!isChat(request)) return typeof request.prompt === "string" ? request.prompt : "";
  const last = request.messages.findLast?.((m) => m.role === "user");
  return typeof last?.content === "string" ? last.content : "";
}

export function setPrompt(request, text) {
  if (!isChat(request)) {
    request.prompt = text;
    return;
  }
  const last = request.messages.findLast((m) => m.role === "user");
  if (last) last.content = text;
  else request.messages.push({ role: "user", content: text });
}

export function systemOf(request) {
  const first = isChat(request) && request.messages.find((m) => m.role === "system");
  return typeof first?.content === "string" ? first.content : "";
}

export function setSystem(request, text) {
  if (!isChat(request)) return;
  const others = request.messages.filter((m) => m.role !== "system");
  request.messages = text ? [{ role: "system", content: text }, ...others] : others;
}

// template is the choice that the form's interventions are about: the last one.
export function template(request) {
  return request.steering_choices?.at(-1) ?? null;
}

export const isSweep = (request) => (request.steering_choices?.length ?? 0) === sweep.length;

// setTemplate puts a choice, and what follows from it, in its place.
export function setTemplate(request, choice) {
  request.steering_choices = isSweep(request) && choice?.edits
    ? sweep.map((factor) => factor === 1 ? choice : scaled(choice, factor))
    : [null, choice];
}

export function setView(request, five) {
  const choice = template(request);
  if (five && choice?.edits) request.steering_choices = sweep.map((factor) => factor === 1 ? choice : scaled(choice, factor));
  else request.steering_choices = [null, choice];
}

function scaled(choice, factor) {
  if (factor === 0) return null;
  return { edits: choice.edits.map((e) => e.strength !== undefined ? { ...e, strength: round(e.strength * factor) } : { ...e, multiplier: round((e.multiplier ?? 1) * factor) }) };
}

export const round = (x) => Number(x.toPrecision(4));

// colourBy asks for the projections by which tokens are coloured, of both passes, so
// that changing between them needs no other answer.
export function colourBy(request, vector, layer) {
  if (!vector) delete request.projections;
  else request.projections = ["unsteered", "steered"].map((of) => ({ vector, layer, of }));
}

// whole is the request with as many texts as it has choices.
export const whole = (request) => ({ ...request, n: request.steering_choices?.length ?? 1 });

// body is what is sent: the request, with what the page needs to show it.
export function body(request) {
  return { ...whole(request), stream: true, ...(isChat(request) ? { logprobs: true, top_logprobs: 4 } : { logprobs: 4 }) };
}

export const path = (request) => isChat(request) ? "/v1/chat/completions" : "/v1/completions";

// toLink and fromLink keep a request in an address.
export const toLink = (request) => "#" + encodeURIComponent(JSON.stringify(request));

export function fromLink(hash) {
  if (hash.length < 2) return null;
  const request = JSON.parse(decodeURIComponent(hash.slice(1)));
  return check(request);
}

// check returns the request, or throws what is wrong with it.
export function check(request) {
  if (request === null || typeof request !== "object" || Array.isArray(request)) throw new Error("the request is not an object");
  if (("prompt" in request) === ("messages" in request)) throw new Error("give one of prompt and messages");
  if ("messages" in request && !Array.isArray(request.messages)) throw new Error("messages is not a list");
  if (request.steering_choices !== undefined && !Array.isArray(request.steering_choices)) throw new Error("steering_choices is not a list");
  return request;
}
