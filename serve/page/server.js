// What is said to the server.

let key = sessionStorage.getItem("key") ?? "";

export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answers ${status}`);
    this.status = status;
    this.param = error?.param ?? null;
  }
}

export function setKey(text) {
  key = text;
  sessionStorage.setItem("key", text);
}

async function ask(path, options = {}) {
  const headers = { ...(options.body ? { "Content-Type": "application/json" } : {}), ...(key ? { Authorization: "Bearer " + key } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  let error = null;
  try { error = (await answer.json()).error; } catch { /* it has no JSON to tell */ }
  throw new Refused(answer.status, error);
}

export const get = async (path) => (await ask(path)).json();

// stream posts a body and calls on with each event's object, until the end.
export async function stream(path, body, on, signal) {
  const answer = await ask(path, { method: "POST", body: JSON.stringify(body), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const text = line.slice(5).trim();
      if (text === "[DONE]") return;
      const event = JSON.parse(text);
      if (event.error) throw new Refused(200, event.error);
      on(event);
    }
  }
}
