package pairs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/tokenizer"
	"github.com/steervec/steer/pairs"
)

const talking = `{"chat_template": "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}{% if add_generation_prompt %} [assistant]{% endif %}"}`

// open returns the demonstration model's tokenizer with a chat template.
func open(t *testing.T, template string) *tokenizer.Tokenizer {
	t.Helper()
	data, err := fs.ReadFile(demo.Files(), "tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := tokenizer.Parse(data, []byte(template))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func decoded(tokens *tokenizer.Tokenizer, ids []int) string { return tokens.Decode(ids, false) }

func TestContrastsHaveEveryBeginningOfASuffix(t *testing.T) {
	tokens := open(t, talking)
	c := pairs.Contrast{Template: "Tom felt {persona}.", Positive: []string{"happy", "glad"}, Negative: []string{"sad", "lonely"}, Suffixes: []string{"Once there was", "Tom"}}
	got, err := c.Build(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, s := range got {
		texts = append(texts, s.Positive+"|"+s.Negative)
		if at := s.PositiveResponse; s.Positive[at:] != s.Negative[s.NegativeResponse:] || s.Positive[:at] != "Tom felt happy. " && s.Positive[:at] != "Tom felt glad. " {
			t.Errorf("the response of %q begins at %d", s.Positive, at)
		}
	}
	e, err := tokens.Encode("Once there was", tokenizer.EncodeOptions{NoSpecialTokens: true})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := tokens.Encode("Tom", tokenizer.EncodeOptions{NoSpecialTokens: true})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, suffix := range []struct {
		text    string
		offsets [][2]int
	}{{"Once there was", e.Offsets}, {"Tom", whole.Offsets}} {
		for _, offset := range suffix.offsets[:len(suffix.offsets)-1] {
			for i := range c.Positive {
				beginning := suffix.text[:offset[1]]
				want = append(want, "Tom felt "+c.Positive[i]+". "+beginning+"|Tom felt "+c.Negative[i]+". "+beginning)
			}
		}
	}
	if !slices.Equal(texts, want) {
		t.Errorf("the pairs are\n%q, want\n%q", texts, want)
	}
}

func TestContrastsTakeTheirOtherForms(t *testing.T) {
	tokens := open(t, talking)
	base := pairs.Contrast{Template: "Be {persona}.", Positive: []string{"kind"}, Negative: []string{"cruel"}, Suffixes: []string{"I see"}, Whole: true}
	for _, test := range []struct {
		name   string
		change func(c *pairs.Contrast)
		want   string // the positive prompt
	}{
		{"whole", func(c *pairs.Contrast) {}, "Be kind. I see"},
		{"an empty suffix", func(c *pairs.Contrast) { c.Suffixes = []string{""} }, "Be kind."},
		{"a place for the suffix", func(c *pairs.Contrast) { c.Template = "[{suffix}] by {persona} Tom" }, "[I see] by kind Tom"},
		{"a conversation", func(c *pairs.Contrast) { c.Chat, c.System = true, "Rule." }, "[system] Rule.[user] Be kind. [assistant]I see"},
	} {
		c := base
		test.change(&c)
		got, err := c.Build(t.Context(), tokens)
		if err != nil {
			t.Fatal(err)
		}
		text := got[0].Positive
		if c.Chat {
			text = decoded(tokens, got[0].PositiveIDs)
			if answer := decoded(tokens, got[0].PositiveIDs[got[0].PositiveResponse:]); answer != "I see" {
				t.Errorf("%s: the response is %q", test.name, answer)
			}
		}
		if len(got) != 1 || text != test.want {
			t.Errorf("%s: %d pairs, the first is %q, want %q", test.name, len(got), text, test.want)
		}
	}
}

func TestWhatNoPairsCanBeBuiltOfIsRefused(t *testing.T) {
	tokens := open(t, talking)
	strict := open(t, `{"chat_template": "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m.content }}{% endfor %}"}`)
	contrast := func(change func(c *pairs.Contrast)) func() error {
		c := pairs.Contrast{Template: "Be {persona}.", Positive: []string{"kind"}, Negative: []string{"cruel"}, Suffixes: []string{"I"}}
		change(&c)
		return func() error { _, err := c.Build(t.Context(), tokens); return err }
	}
	persona := pairs.Persona{Instructions: []pairs.Instruction{{Positive: "a", Negative: "b"}}, Questions: []string{"c"}}
	for _, test := range []struct {
		name  string
		build func() error
		want  string
	}{
		{"no slot", contrast(func(c *pairs.Contrast) { c.Template = "Be." }), "{persona}"},
		{"odd words", contrast(func(c *pairs.Contrast) { c.Negative = nil }), "1 positive and 0 negative"},
		{"no suffixes", contrast(func(c *pairs.Contrast) { c.Suffixes = nil }), "no suffixes"},
		{"an empty suffix to cut", contrast(func(c *pairs.Contrast) { c.Suffixes = []string{""} }), "is empty"},
		{"a suffix's place in a conversation", contrast(func(c *pairs.Contrast) { c.Template, c.Chat = "{persona} {suffix}", true }), "begins the answer"},
		{"one label only", func() error { _, err := pairs.Labelled([]pairs.Text{{Text: "x", Label: "a"}}, "a", 1); return err }, "1 texts have the label"},
		{"a persona without questions", func() error { _, err := (pairs.Persona{}).Build(t.Context(), tokens); return err }, "0 and 0"},
		{"a template without system messages", func() error { _, err := persona.Build(t.Context(), strict); return err }, "can stand in the user's message"},
	} {
		if err := test.build(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v does not say %q", test.name, err, test.want)
		}
	}
	persona.InUser = true
	if got, err := persona.Build(t.Context(), strict); err != nil || got[0].Positive != "a\n\nc" {
		t.Errorf("with the instruction in the user's message: %+v, %v", got, err)
	}
}

func TestPersonasSurroundTheSameQuestions(t *testing.T) {
	tokens := open(t, talking)
	p := pairs.Persona{Instructions: []pairs.Instruction{{Positive: "Be kind.", Negative: "Be cruel."}, {Positive: "Help.", Negative: "Hurt."}}, Questions: []string{"Why?", "Who?"}}
	got, err := p.Build(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 {
		t.Fatalf("%d pairs, want one for each question and instruction", len(got))
	}
	if positive, negative := decoded(tokens, got[1].PositiveIDs), decoded(tokens, got[1].NegativeIDs); positive != "[system] Help.[user] Why? [assistant]" || negative != "[system] Hurt.[user] Why? [assistant]" {
		t.Errorf("the second pair is %q and %q", positive, negative)
	}
}

// A/B questions are read at the letter, with and without a conversation.
func TestQuestionsAreReadAtTheLetter(t *testing.T) {
	tokens := open(t, talking)
	items, err := pairs.OpenItems("testdata/ab.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, chat := range []bool{false, true} {
		samples, err := pairs.Samples(items.Items)
		if err != nil {
			t.Fatal(err)
		}
		if chat {
			if samples, _, err = steer.RenderChat(t.Context(), tokens, samples, steer.Chat{}); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []string{"A", "B"} {
			positive, _, err := steer.See(tokens, samples[i], nil)
			if err != nil {
				t.Fatal(err)
			}
			if read := decoded(tokens, positive.Tokens[positive.Read.From:positive.Read.To]); read != want {
				t.Errorf("chat %v: of %q the token %q is read", chat, decoded(tokens, positive.Tokens), read)
			}
			if text := decoded(tokens, positive.Tokens); chat && !strings.HasPrefix(text, "[user] "+items.Items[i].Options[0].Question+" [assistant](") {
				t.Errorf("the conversation is %q", text)
			}
		}
	}
}

func TestLabelledTextsAreAllUsed(t *testing.T) {
	texts := []pairs.Text{{Text: "a", Label: "x"}, {Text: "b", Label: "y"}, {Text: "c", Label: "x"}, {Text: "d", Label: "x"}, {Prompt: "p", Text: "e", Label: "z"}}
	count := func(seed uint64) (map[string]int, []steer.Sample) {
		got, err := pairs.Labelled(texts, "x", seed)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for _, s := range got {
			counts[s.Positive]++
			counts[s.Negative]++
		}
		return counts, got
	}
	counts, first := count(1)
	if len(first) != 3 || counts["a"] != 1 || counts["c"] != 1 || counts["d"] != 1 || counts["b"]+counts["p e"] != 3 || counts["b"] == 0 || counts["p e"] == 0 {
		t.Errorf("the texts occur %v times", counts)
	}
	if _, again := count(1); !reflect.DeepEqual(first, again) {
		t.Error("one seed gives two orders")
	}
	different := false
	for seed := range uint64(10) {
		_, other := count(seed + 2)
		different = different || !reflect.DeepEqual(first, other)
	}
	if !different {
		t.Error("all seeds give one order")
	}
}

func TestASplitIsStable(t *testing.T) {
	shares, err := pairs.ParseShares("60/20/20")
	if err != nil {
		t.Fatal(err)
	}
	var items []string
	for i := range 2000 {
		items = append(items, strings.Repeat("x", i%7)+string(rune('a'+i%26))+strings.Repeat("y", i/26))
	}
	key := func(s string) string { return s }
	parts := pairs.Split(items, key, 1, shares)
	for _, part := range []struct {
		name string
		got  int
		want float64
	}{{"train", len(parts.Train), 1200}, {"held-out", len(parts.HeldOut), 400}, {"test", len(parts.Test), 400}} {
		if float64(part.got) < 0.85*part.want || float64(part.got) > 1.15*part.want {
			t.Errorf("%s has %d of 2000, want about %v", part.name, part.got, part.want)
		}
	}
	fewer := pairs.Split(items[:1000], key, 1, shares)
	if !slices.Equal(fewer.Train, parts.Train[:len(fewer.Train)]) || !slices.Equal(fewer.Test, parts.Test[:len(fewer.Test)]) {
		t.Error("items move to another part when others go")
	}
	if other := pairs.Split(items, key, 2, shares); slices.Equal(other.Train, parts.Train) {
		t.Error("the seed has no influence")
	}
	two := pairs.Split(items, key, 1, pairs.Shares{Train: 0.9, HeldOut: 0.1})
	if len(two.Test) != 0 || len(two.Train)+len(two.HeldOut) != len(items) {
		t.Errorf("a part of no share has %d", len(two.Test))
	}
	for _, wrong := range []string{"60/40", "60/20/30", "a/b/c", "120/-20/0", "NaN/50/50"} {
		if got, err := pairs.ParseShares(wrong); err == nil {
			t.Errorf("%q is read as %+v", wrong, got)
		}
	}
}

// What is written is read back as it is.
func TestWrittenPairsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	for name, samples := range map[string][]steer.Sample{
		"texts": {{Positive: "a <b> ü", Negative: "c", PositiveResponse: 2, ReadPositive: steer.ReadAt(-2), ReadNegative: steer.ReadMean(steer.From(1))}},
		"ids":   {{Positive: "a", Negative: "b", PositiveIDs: []int{1, 2, 3}, NegativeIDs: []int{1, 4}, PositiveResponse: 1, NegativeResponse: 1}},
	} {
		path := filepath.Join(dir, name)
		if err := pairs.Save(path, samples); err != nil {
			t.Fatal(err)
		}
		got, err := pairs.Open(path)
		if err != nil || !reflect.DeepEqual(got.Samples, samples) {
			t.Errorf("%s: read back %+v (%v), want %+v", name, got.Samples, err, samples)
		}
	}
	function := []steer.Sample{{Positive: "a", Negative: "b", ReadPositive: steer.ReadFunc("mine", func(string) int { return 0 })}}
	if err := pairs.Save(filepath.Join(dir, "function"), function); err == nil {
		t.Error("a reading that is a function was written")
	}
	if _, err := os.Stat(filepath.Join(dir, "function")); err == nil {
		t.Error("a file that could not be written is there")
	}
}

// The parts that are held out are what an evaluation reads.
func TestWrittenEvaluationDataAreReadBack(t *testing.T) {
	dir := t.TempDir()
	questions, err := pairs.OpenItems("testdata/ab.json")
	if err != nil {
		t.Fatal(err)
	}
	persona := pairs.Persona{Instructions: []pairs.Instruction{{Positive: "a", Negative: "b"}}, Questions: []string{"c?"}}
	texts := []pairs.Text{{Prompt: "p", Text: "t", Label: "sea"}, {Text: "u", Label: "wood"}}
	for _, test := range []struct {
		name string
		save func(path string) error
		want func(items pairs.Items) bool
	}{
		{"questions", func(path string) error { return pairs.SaveQuestions(path, questions.Items) }, func(items pairs.Items) bool {
			return len(items.Items) == 2 && reflect.DeepEqual(items.Items[1].Options, questions.Items[1].Options) && items.Items[1].ID == questions.Items[1].ID
		}},
		{"persona", func(path string) error { return pairs.SavePersona(path, persona, "judge") }, func(items pairs.Items) bool {
			return items.JudgePrompt == "judge" && reflect.DeepEqual(items.Instructions, persona.Instructions) && items.Items[0].Options[0].Prompt == "c?"
		}},
		{"texts", func(path string) error { return pairs.SaveTexts(path, texts, "sea") }, func(items pairs.Items) bool {
			return items.Items[0].Options[0].Matches && !items.Items[1].Options[0].Matches && items.Items[0].Options[0].Prompt == "p" && items.Items[0].Concept == "sea"
		}},
	} {
		path := filepath.Join(dir, test.name)
		if err := test.save(path); err != nil {
			t.Fatal(err)
		}
		if items, err := pairs.OpenItems(path); err != nil || !test.want(items) {
			t.Errorf("%s: read back %+v (%v)", test.name, items, err)
		}
	}
}
