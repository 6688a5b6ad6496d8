// The request as code that gives the same texts.

import { isChat, path, whole } from "./request.js";

export const json = (request) => JSON.stringify(request, null, 2);

export function curl(request) {
  const quoted = JSON.stringify(whole(request)).replaceAll("'", `'\\''`);
  return `curl ${location.origin}${path(request)} \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'\n`;
}

// What OpenAI's client has words for; the rest is its extra body.
const known = new Set(["model", "prompt", "messages", "max_tokens", "temperature", "top_p", "seed", "n", "stop", "presence_penalty", "frequency_penalty", "logit_bias"]);

export function python(request) {
  const all = Object.entries(whole(request));
  const extra = Object.fromEntries(all.filter(([name]) => !known.has(name)));
  const lines = all.filter(([name]) => known.has(name)).map(([name, value]) => `    ${name}=${literal(value)},`);
  return `from openai import OpenAI

client = OpenAI(base_url=${literal(location.origin + "/v1")}, api_key="none")
answer = client.${isChat(request) ? "chat.completions" : "completions"}.create(
${lines.join("\n")}
    extra_body=${literal(extra)},
)
for choice in answer.choices:
    print(choice.${isChat(request) ? "message.content" : "text"})
`;
}

// literal writes a value of JSON as Python has it.
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return "[" + value.map(literal).join(", ") + "]";
  if (typeof value === "object") return "{" + Object.entries(value).map(([k, v]) => JSON.stringify(k) + ": " + literal(v)).join(", ") + "}";
  return JSON.stringify(value);
}

export function go(request) {
  const text = JSON.stringify(whole(request));
  const quoted = text.includes("`") ? JSON.stringify(text) : "`" + text + "`";
  return `package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"strings"
)

func main() {
	body := ${quoted}
	response, err := http.Post(${JSON.stringify(location.origin + path(request))}, "application/json", strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Choices []struct {
			${isChat(request) ? "Message struct{ Content string }" : "Text string"}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		log.Fatal(err)
	}
	for _, choice := range answer.Choices {
		fmt.Println(choice.${isChat(request) ? "Message.Content" : "Text"})
	}
}
`;
}
