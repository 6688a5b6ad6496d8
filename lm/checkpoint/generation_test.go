package checkpoint_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm/checkpoint"
)

func TestEndTokens(t *testing.T) {
	const absent = "absent"
	for name, c := range map[string]struct {
		generation, config string
		want               []int
		fails              string
	}{
		"one":                  {absent, `{"eos_token_id":2}`, []int{2}, ""},
		"several":              {absent, `{"eos_token_id":[2,7]}`, []int{2, 7}, ""},
		"none":                 {absent, `{}`, nil, ""},
		"null":                 {absent, `{"eos_token_id":null}`, nil, ""},
		"for generation":       {`{"eos_token_id":[3]}`, `{"eos_token_id":2}`, []int{3}, ""},
		"an empty list":        {`{"eos_token_id":[]}`, `{"eos_token_id":2}`, []int{}, ""},
		"silent on generation": {`{"temperature":1}`, `{"eos_token_id":2}`, []int{2}, ""},
		"a file of no bytes":   {"", `{"eos_token_id":2}`, nil, "generation_config.json: unexpected end"},
		"a file cut short":     {`{"eos_token_id":`, `{"eos_token_id":2}`, nil, "generation_config.json: "},
		"a text":               {absent, `{"eos_token_id":"</s>"}`, nil, `config.json: eos_token_id is "</s>", not a token id`},
		"a list of texts":      {`{"eos_token_id":["</s>"]}`, `{}`, nil, "generation_config.json: eos_token_id is"},
		"negative":             {absent, `{"eos_token_id":[1,-1]}`, nil, "config.json: eos_token_id holds -1"},
		"half an id":           {absent, `{"eos_token_id":1.5}`, nil, "config.json: eos_token_id is 1.5"},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"config.json": text(c.config), "model.safetensors": weightFile(t, nil, "a")}
			if c.generation != absent {
				files["generation_config.json"] = text(c.generation)
			}
			open, err := checkpoint.OpenFS(files, "mine", checkpoint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			got, err := open.EndTokens()
			switch {
			case c.fails == "" && err != nil, c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
				t.Errorf("error %v; want one with %q", err, c.fails)
			case !slices.Equal(got, c.want) || (got == nil) != (c.want == nil):
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
