package serve_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/steervec/steer/serve"
)

// Every curl command of docs/server.md is replayed, and shows every field that a
// request for a text may have.
func TestEveryExampleOfTheDocsIsAnswered(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.AllowUpload = true })
	text, err := os.ReadFile("../docs/server.md")
	if err != nil {
		t.Fatal(err)
	}
	bodies, ran := "", 0
	for _, command := range regexp.MustCompile(`(?ms)^curl (.*?) ?localhost:8080(/\S*)((?:[^'\n]*'[^']*')*)$`).FindAllStringSubmatch(string(text), -1) {
		method, body, headers := "GET", "", []string{}
		for _, option := range regexp.MustCompile(`(?s)-([dHX]) (?:'([^']*)'|(\S+))`).FindAllStringSubmatch(command[1]+" "+command[3], -1) {
			switch value := option[2] + option[3]; option[1] {
			case "d":
				method, body = "POST", value
			case "X":
				method = value
			case "H":
				name, value, _ := strings.Cut(value, ": ")
				headers = append(headers, name, value)
			}
		}
		r := s.do(method, command[2], body, headers...)
		if r.status != 200 || strings.Contains(string(r.body), `data: {"error"`) || r.header.Get("X-Steer-Ignored") != "" {
			t.Errorf("%s %s %s: %d %s", method, command[2], body, r.status, r.body)
		}
		ran++
		bodies += body
	}
	if n := strings.Count(string(text), "\ncurl "); ran != n || n == 0 {
		t.Errorf("%d of %d commands ran", ran, n)
	}
	for _, key := range serve.RequestKeys() {
		if !strings.Contains(bodies, `"`+key+`"`) {
			t.Errorf("no example shows %s", key)
		}
		if !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("the docs do not tell of %s", key)
		}
	}
}
