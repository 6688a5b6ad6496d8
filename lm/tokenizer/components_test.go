package tokenizer

import (
	"encoding/json"
	"testing"
)

// component is a small tokenizer.json made to use one component or one
// combination, with what the Rust library gives for some strings. The
// expectations come from the npm package tokenizers 0.23.2: encode with and
// without special tokens, getIds, getSpecialTokensMask, getOffsets, decode.
type component struct {
	File  map[string]json.RawMessage // its model is the name of one in models
	Cases []struct {
		Text string
		reference
	}
}

// components are the tokenizers of testdata/components.json by name.
func components(t testing.TB) map[string]component {
	t.Helper()
	var file struct {
		Models     map[string]json.RawMessage
		Tokenizers map[string]component
	}
	readJSON(t, "testdata/components.json", &file)
	for _, c := range file.Tokenizers {
		var name string
		if err := json.Unmarshal(c.File["model"], &name); err != nil {
			t.Fatal(err)
		}
		c.File["model"] = file.Models[name]
	}
	return file.Tokenizers
}

func (c component) parse(t testing.TB) *Tokenizer {
	t.Helper()
	data, err := json.Marshal(c.File)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Parse(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// decodesNormalizedSpecials are the tokenizers with special tokens that are
// looked for in the normalized text. Rust 0.23 decodes these in their
// normalized form and does not know that form as special, so that it cannot
// skip them; here they decode as they are written and can be skipped.
var decodesNormalizedSpecials = map[string]bool{
	"added-zoo-lower":           true,
	"llama-normalized-specials": true,
}

func TestEqualsRustOnComponents(t *testing.T) {
	for name, c := range components(t) {
		t.Run(name, func(t *testing.T) {
			tok := c.parse(t)
			for _, one := range c.Cases {
				want := one.reference
				if decodesNormalizedSpecials[name] {
					want.Dec = tok.Decode(want.Raw, false)
					want.Decs = tok.Decode(want.Raw, true)
				}
				checkReference(t, tok, one.Text, want)
			}
		})
	}
}

func TestNormalizedSpecialTokensCanBeSkipped(t *testing.T) {
	tok := components(t)["llama-normalized-specials"].parse(t)
	e, err := tok.Encode("<s>the world", EncodeOptions{NoSpecialTokens: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Decode(e.IDs, true); got != "the world" {
		t.Errorf("decoded %q from %v", got, e.IDs)
	}
}

func TestUnknownComponentsAreNamed(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{"normalizer", `{"normalizer":{"type":"Rot13"}}`, `parse tokenizer.json: normalizer: the normalizer "Rot13" is not known`},
		{"nested", `{"normalizer":{"type":"Sequence","normalizers":[{"type":"Rot13"}]}}`, `parse tokenizer.json: normalizer: the normalizer "Rot13" is not known`},
		{"pre-tokenizer", `{"pre_tokenizer":{"type":"Guess"}}`, `parse tokenizer.json: pre_tokenizer: the pre-tokenizer "Guess" is not known`},
		{"post-processor", `{"post_processor":{"type":"Polish"}}`, `parse tokenizer.json: post_processor: the post-processor "Polish" is not known`},
		{"decoder", `{"decoder":{"type":"Enigma"}}`, `parse tokenizer.json: decoder: the decoder "Enigma" is not known`},
		{"model", `{"model":{"type":"Oracle","vocab":{}}}`, `parse tokenizer.json: model: the model "Oracle" is not known`},
		{"behavior", `{"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"Shattered"}}`, `parse tokenizer.json: pre_tokenizer: type Split: the behavior "Shattered" is not known`},
		{"merge", `{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`, `parse tokenizer.json: model: merge 0: "b" is not in the vocabulary`},
		{"dropout", `{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}}`, `parse tokenizer.json: model: a dropout of 0.1 makes tokens random`},
		{"id", `{"model":{"type":"WordLevel","vocab":{"a":2000000000}}}`, `parse tokenizer.json: model: token "a": id 2000000000 is out of range for a vocabulary of 1 tokens`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.file), nil)
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}
