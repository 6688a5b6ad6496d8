package lm_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm"
)

// conditioned is a model with a prompt, an edit of layer 1 and the numbers that
// evidence at layer 0 gives.
type conditioned struct {
	*testing.T
	model  *lm.Model
	tokens []int
	edit   lm.Edit
	vector []float32 // of the evidence
	rows   [][]float32
}

func newConditioned(t *testing.T) *conditioned {
	c := &conditioned{T: t, model: open(t)}
	r := rand.New(rand.NewPCG(5, 6))
	for range 24 {
		c.tokens = append(c.tokens, r.IntN(c.model.Decoder().Vocabulary))
	}
	random := func() []float32 {
		v := make([]float32, c.model.Decoder().Hidden)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	c.edit = lm.Edit{Layers: map[int][]float32{1: random()}, Operator: addition}
	c.vector = random()
	_, err := c.model.Forward(t.Context(), []lm.Input{{Tokens: c.tokens}}, lm.ForwardOptions{
		Taps:       []lm.Address{{Layer: 0, Site: lm.DecoderBlock}},
		Activation: func(_, _ int, _ lm.Address, h []float32) { c.rows = append(c.rows, slices.Clone(h)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// with returns the edit with a condition on some tokens.
func (c *conditioned) with(condition *lm.Condition, tokens lm.Tokens) lm.Edit {
	e := c.edit
	e.Condition, e.Tokens = condition, tokens
	return e
}

// logits returns the logits of the last half of a prompt under edits.
func (c *conditioned) logits(model *lm.Model, edits ...lm.Edit) []float32 {
	c.Helper()
	steering, err := model.Steering(edits...)
	if err != nil {
		c.Fatal(err)
	}
	var out []float32
	_, err = model.Forward(c.Context(), []lm.Input{{Tokens: c.tokens, Steering: steering, Prompt: len(c.tokens) / 2}}, lm.ForwardOptions{
		Logits: func(_, _ int, logits []float32) { out = append(out, logits...) },
	})
	if err != nil {
		c.Fatal(err)
	}
	return out
}

// marked selects tokens one by one.
type marked []bool

func (m marked) Selects(position, _ int) bool { return position < len(m) && m[position] }
func (marked) Check(int) error                { return nil }

// measured is what a measure is by its formula, in float64.
func measured(measure lm.Measure, h, v []float32) float64 {
	dot := func(a, b func(i int) float64) float64 {
		sum := 0.0
		for i := range h {
			sum += a(i) * b(i)
		}
		return sum
	}
	x := func(i int) float64 { return float64(h[i]) }
	y := func(i int) float64 { return float64(v[i]) }
	if measure == lm.CAST {
		share := dot(x, y) / dot(y, y)
		y = func(i int) float64 { return math.Tanh(share * float64(v[i])) }
	}
	along := dot(x, y) / math.Sqrt(dot(y, y))
	if measure != lm.Projection {
		along /= math.Sqrt(dot(x, x))
	}
	return along
}

// An edit with evidence of each token changes those tokens whose own activation
// has it, to the bit, and where it is to be released those that follow.
func TestConditionsDecideEachTokenInItsOwnPass(t *testing.T) {
	c := newConditioned(t)
	for _, measure := range []lm.Measure{lm.CAST, lm.Cosine, lm.Projection} {
		var values []float64
		for _, h := range c.rows {
			values = append(values, measured(measure, h, c.vector))
		}
		sorted := slices.Sorted(slices.Values(values))
		middle := func(share int) float64 { k := len(sorted) * share / 8; return (sorted[k-1] + sorted[k]) / 2 }
		for _, below := range []bool{false, true} {
			for _, held := range []bool{false, true} {
				for _, tokens := range []lm.Tokens{nil, selection{from: 3, of: 1}, selection{of: 2}, selection{of: 1, answer: true}} {
					threshold, release := middle(5), middle(3)
					if below {
						threshold, release = middle(3), middle(5)
					}
					evidence := &lm.Evidence{Layer: 0, Vector: c.vector, Measure: measure, When: lm.EachToken, Threshold: threshold, Below: below}
					if held {
						evidence.Release = &release
					}
					acts := make(marked, len(values))
					before := false
					for p, x := range values {
						selected := tokens == nil || tokens.Selects(p, len(c.tokens)/2)
						bound := threshold
						if held && before {
							bound = release
						}
						before = selected && (x > bound) != below
						acts[p] = before
					}
					n := 0
					for _, a := range acts {
						if a {
							n++
						}
					}
					if n == 0 {
						t.Fatal("no token has the evidence")
					}
					name := fmt.Sprintf("%s, below %v, held %v, on %v: %d tokens", measure, below, held, tokens, n)
					got := c.logits(c.model, c.with(&lm.Condition{Evidence: evidence}, tokens))
					if !slices.Equal(got, c.logits(c.model, c.with(nil, acts))) {
						t.Errorf("%s: not those that have the evidence are changed", name)
					}
					if slices.Equal(got, c.logits(c.model)) {
						t.Errorf("%s: nothing is changed", name)
					}
				}
			}
		}
	}
}

// Tokens on which different edits act alternate; what was found of each is known
// to the next, whatever else acts on it.
func TestEvidenceIsHeldAcrossTokensThatAreChangedDifferently(t *testing.T) {
	c := newConditioned(t)
	var values []float64
	for _, h := range c.rows {
		values = append(values, measured(lm.Projection, h, c.vector))
	}
	sorted := slices.Sorted(slices.Values(values))
	threshold, release := (sorted[17]+sorted[18])/2, (sorted[5]+sorted[6])/2
	evidence := &lm.Evidence{Vector: c.vector, Measure: lm.Projection, When: lm.EachToken, Threshold: threshold, Release: &release}
	other := lm.Edit{Layers: map[int][]float32{2: c.vector}, Operator: addition, Tokens: selection{of: 2}}
	acts, before := make(marked, len(values)), false
	for p, x := range values {
		before = x > threshold || before && x > release
		acts[p] = before
	}
	if !slices.Equal(c.logits(c.model, other, c.with(&lm.Condition{Evidence: evidence}, nil)), c.logits(c.model, other, c.with(nil, acts))) {
		t.Error("other tokens are changed than those that have the evidence")
	}
}

// What the prompt decides holds for all of its tokens and all that follow, in
// forward passes and in generated text.
func TestConditionsAreDecidedFromThePrompt(t *testing.T) {
	c := newConditioned(t)
	half := len(c.tokens) / 2
	mean := make([]float32, len(c.vector))
	for i := range mean {
		sum := 0.0
		for _, h := range c.rows[:half] {
			sum += float64(h[i])
		}
		mean[i] = float32(sum / float64(half))
	}
	write := func(edits ...lm.Edit) []int {
		model, err := c.model.With(edits...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := model.Generate(t.Context(), []lm.Input{{Tokens: c.tokens, Prompt: half}, {Tokens: c.tokens[:half]}},
			lm.GenerateOptions{MaxTokens: 10, IgnoreEnd: true, RunTokens: 5})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(out[0].IDs, out[1].IDs)
	}
	if slices.Equal(write(), write(c.edit)) {
		t.Fatal("the edit changes no text")
	}
	for _, measure := range []lm.Measure{lm.CAST, lm.Cosine, lm.Projection} {
		for when, h := range map[lm.When][]float32{lm.PromptMean: mean, lm.PromptLast: c.rows[half-1], "": mean} {
			value := measured(measure, h, c.vector)
			margin := 1e-4 * math.Abs(value)
			for _, test := range []struct {
				threshold float64
				below     bool
				holds     bool
			}{{value - margin, false, true}, {value + margin, false, false}, {value - margin, true, false}, {value + margin, true, true}} {
				condition := &lm.Condition{Evidence: &lm.Evidence{Vector: c.vector, Measure: measure, When: when, Threshold: test.threshold, Below: test.below}}
				var want []lm.Edit
				if test.holds {
					want = append(want, c.edit)
				}
				name := fmt.Sprintf("%s of %q against %v (below %v)", measure, when, test.threshold, test.below)
				if !slices.Equal(c.logits(c.model, c.with(condition, nil)), c.logits(c.model, want...)) {
					t.Errorf("%s: logits are not those of an edit that acts: %v", name, test.holds)
				}
				if !slices.Equal(write(c.with(condition, nil)), write(want...)) {
					t.Errorf("%s: the text is not that of an edit that acts: %v", name, test.holds)
				}
			}
		}
	}
}

// A sequence for which a condition was decided is one that has none: it shares what
// is computed with those that are steered so.
func TestWhatIsDecidedSharesWithWhatNeedsNoDecision(t *testing.T) {
	c := newConditioned(t)
	cached := c.model.Cached(1000)
	c.logits(cached)
	c.logits(cached, c.edit)
	for _, threshold := range []float64{-1e9, 1e9} {
		condition := &lm.Condition{Evidence: &lm.Evidence{Vector: c.vector, Measure: lm.Projection, Threshold: threshold}}
		steering, err := cached.Steering(c.with(condition, nil))
		if err != nil {
			t.Fatal(err)
		}
		usage, err := cached.Forward(t.Context(), []lm.Input{{Tokens: c.tokens, Steering: steering, Read: []int{len(c.tokens) - 1}}}, lm.ForwardOptions{
			Logits: func(int, int, []float32) {},
		})
		// the prompt, up to the layer of the evidence, and its last token
		n := len(c.tokens)
		want := lm.Usage{Given: n, Computed: n + 1, GivenLayers: 3 * n, ComputedLayers: n + 3}
		if err != nil || usage != want {
			t.Errorf("threshold %v: %+v (%v), want %+v", threshold, usage, err, want)
		}
	}
}

// Conditions are combined as words of logic are, whether their parts are decided
// from the prompt or for each token.
func TestConditionsAreCombined(t *testing.T) {
	c := newConditioned(t)
	plain, steered := c.logits(c.model), c.logits(c.model, c.edit)
	r := rand.New(rand.NewPCG(7, 8))
	var draw func(depth int) (lm.Condition, bool)
	draw = func(depth int) (lm.Condition, bool) {
		switch sort := r.IntN(4); {
		case depth == 0 || sort == 0:
			holds := r.IntN(2) == 0
			e := &lm.Evidence{Vector: c.vector, Measure: lm.Projection, Threshold: 1e9 + float64(r.IntN(3)), When: []lm.When{lm.PromptMean, lm.PromptLast, lm.EachToken}[r.IntN(3)]}
			e.Below = holds
			return lm.Condition{Evidence: e}, holds
		case sort == 1:
			part, holds := draw(depth - 1)
			return lm.Condition{Not: &part}, !holds
		default:
			holds := sort == 2
			var parts []lm.Condition
			for range 1 + r.IntN(3) {
				part, h := draw(depth - 1)
				parts = append(parts, part)
				if h != (sort == 2) {
					holds = sort != 2
				}
			}
			if sort == 2 {
				return lm.Condition{All: parts}, holds
			}
			return lm.Condition{Any: parts}, holds
		}
	}
	for range 60 {
		condition, holds := draw(3)
		want := plain
		if holds {
			want = steered
		}
		if got := c.logits(c.model, c.with(&condition, nil)); !slices.Equal(got, want) {
			t.Fatalf("%+v: it acts where it should not, or the other way; it holds: %v", condition, holds)
		}
	}
}

func TestConditionsThatMakeNoSenseAreErrors(t *testing.T) {
	c := newConditioned(t)
	evidence := func(change func(*lm.Evidence)) lm.Condition {
		e := &lm.Evidence{Vector: c.vector, When: lm.EachToken}
		change(e)
		return lm.Condition{Evidence: e}
	}
	at := func(layer int, site lm.Site) lm.Condition {
		return evidence(func(e *lm.Evidence) { e.Layer, e.Site = layer, site })
	}
	release := 0.5
	good := evidence(func(*lm.Evidence) {})
	deep := good
	for range 40 {
		deep = lm.Condition{Not: &[]lm.Condition{deep}[0]}
	}
	for _, test := range []struct {
		name      string
		condition lm.Condition
		want      string // "": it is right
	}{
		{"below the edit", at(0, ""), ""},
		{"earlier in the edited layer", at(1, lm.MLP), ""},
		{"at the edit", at(1, ""), "are not known yet when it is edited at layer 1, decoder_block"},
		{"above the edit", at(2, lm.AttnHeads), "not known yet"},
		{"above the edit, from the prompt", evidence(func(e *lm.Evidence) { e.Layer, e.When = 2, lm.PromptMean }), ""},
		{"nothing", lm.Condition{}, "exactly one of evidence, all, any and not"},
		{"two at once", lm.Condition{Evidence: good.Evidence, Not: &good}, "exactly one"},
		{"all of none", lm.Condition{All: []lm.Condition{}}, "says nothing"},
		{"a part that is wrong", lm.Condition{Any: []lm.Condition{good, at(9, "")}}, "layer 9 is out of range"},
		{"a site that is not there", at(0, "nowhere"), `site "nowhere" is not known`},
		{"another width", evidence(func(e *lm.Evidence) { e.Vector = e.Vector[1:] }), "the site has"},
		{"several rows for a cosine", evidence(func(e *lm.Evidence) { e.Measure, e.Vector = lm.Cosine, slices.Concat(c.vector, c.vector) }), "elements"},
		{"no direction", evidence(func(e *lm.Evidence) { e.Vector = make([]float32, len(c.vector)) }), "it has no direction"},
		{"an unknown measure", evidence(func(e *lm.Evidence) { e.Measure = "angle" }), `the measure "angle" is unknown`},
		{"an unknown time", evidence(func(e *lm.Evidence) { e.When = "later" }), `it is taken "later"`},
		{"no threshold", evidence(func(e *lm.Evidence) { e.Threshold = math.NaN() }), "the threshold is NaN"},
		{"released before it holds", evidence(func(e *lm.Evidence) { e.Release = &release }), "not behind the threshold"},
		{"a prompt that is released", evidence(func(e *lm.Evidence) { e.Release, e.When, e.Threshold = &release, lm.PromptLast, 1 }), "is not released"},
		{"too deep", deep, "nested more than 32 deep"},
	} {
		_, err := c.model.Steering(c.with(&test.condition, nil))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	for name, change := range map[string]func(*lm.Edit){
		"half-life":            func(e *lm.Edit) { e.Decay.HalfLife = -1 },
		"decays from token":    func(e *lm.Edit) { e.Decay.From = 3 },
		"begins or ends with":  func(e *lm.Edit) { e.Between = &lm.Between{Begin: "a"} },
		"pieces of evidence":   func(e *lm.Edit) { e.Condition = many(c.vector) },
		"layer 3 is out of":    func(e *lm.Edit) { e.Condition = &[]lm.Condition{at(3, "")}[0] },
		"evidence at layer 1,": func(e *lm.Edit) { e.Condition = &[]lm.Condition{at(-2, "")}[0] },
	} {
		e := c.edit
		change(&e)
		if _, err := c.model.Steering(e); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, name)
		}
	}
}

// many is a condition of more evidence than can be kept of a token.
func many(vector []float32) *lm.Condition {
	c := &lm.Condition{}
	for i := range 65 {
		c.Any = append(c.Any, lm.Condition{Evidence: &lm.Evidence{Vector: vector, When: lm.EachToken, Threshold: float64(i)}})
	}
	return c
}

// An edit that fades adds less and less to each generated token, and then nothing.
func TestEditsFade(t *testing.T) {
	c := newConditioned(t)
	half := len(c.tokens) / 2
	for _, decay := range []lm.Decay{{HalfLife: 1}, {HalfLife: 0.25, From: 1}, {HalfLife: 0.5, From: 4}} { // shares that float32 has
		faded := c.with(nil, nil)
		faded.Decay = decay
		var each []lm.Edit
		for p := range c.tokens {
			left := math.Exp2(-max(0, float64(p-half-decay.From)) / decay.HalfLife)
			if left < math.Exp2(-24) {
				continue
			}
			only := make(marked, p+1)
			only[p] = true
			scaled := make([]float32, len(c.vector))
			for i, v := range c.edit.Layers[1] {
				scaled[i] = float32(left) * v
			}
			each = append(each, lm.Edit{Layers: map[int][]float32{1: scaled}, Operator: addition, Tokens: only})
		}
		if got := c.logits(c.model, faded); !slices.Equal(got, c.logits(c.model, each...)) {
			t.Errorf("%+v: it does not fade so", decay)
		}
	}
}

// Parts of the text are found in the prompt and in what is written, and where a
// string goes over several tokens the one that completes it counts.
func TestEditsKeepToPartsOfTheText(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	const text = "Tom had a dog. <i>The dog was sad.</i> Mia was happy. <i>Then they played"
	tokens, err := model.Tokenize(text)
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := model.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	inside := make(marked, len(tokens))
	for p := range tokens {
		before := tokenizer.Decode(tokens[:p+1], false)
		inside[p] = strings.LastIndex(before, "<i>") > strings.LastIndex(before, "</i>")
	}
	if n := slices.Index(inside, true); n < 0 || slices.Index(inside[n:], false) < 0 || !inside[len(inside)-1] {
		t.Fatalf("%v is no good test", inside)
	}
	vector := make([]float32, model.Decoder().Hidden)
	for i := range vector {
		vector[i] = float32(i%5) - 2
	}
	edit := func(tokens lm.Tokens, between *lm.Between) lm.Edit {
		return lm.Edit{Layers: map[int][]float32{2: vector}, Operator: addition, Tokens: tokens, Between: between}
	}
	outside := make(marked, len(inside))
	for p, in := range inside {
		outside[p] = !in
	}
	write := func(n int, edits ...lm.Edit) []int {
		view, err := model.With(edits...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := view.Generate(t.Context(), []lm.Input{{Tokens: tokens[:n]}}, lm.GenerateOptions{MaxTokens: 6, IgnoreEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		return out[0].IDs
	}
	scores := func(edits ...lm.Edit) []float64 {
		view, err := model.With(edits...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := view.Score(t.Context(), []lm.Continuation{{Prompt: lm.Input{Tokens: tokens[:3]}, Tokens: tokens[3:]}})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	for _, test := range []struct {
		between lm.Between
		tokens  marked
	}{{lm.Between{Begin: "<i>", End: "</i>"}, inside}, {lm.Between{Begin: "<i>", End: "</i>", Outside: true}, outside}} {
		got, want := edit(nil, &test.between), edit(test.tokens, nil)
		if a, b := scores(got), scores(want); !slices.Equal(a, b) || slices.Equal(a, scores()) {
			t.Errorf("%+v: scores %v, want %v", test.between, a, b)
		}
		// what is written goes on in the part in which the prompt ends
		rest := edit(slices.Concat(test.tokens, slices.Repeat(marked{!test.between.Outside}, 6)), nil)
		if a, b := write(len(tokens), got), write(len(tokens), rest); !slices.Equal(a, b) {
			t.Errorf("%+v: wrote %v, want %v", test.between, a, b)
		}
	}
}

// What evidence costs a token, beside its way through the model.
func BenchmarkEvidence(b *testing.B) {
	for _, width := range []int{576, 2048, 4096} {
		h, v := make([]float32, width), make([]float32, width)
		for i := range h {
			h[i], v[i] = float32(i%7)-3, float32(i%5)-2
		}
		for _, measure := range []lm.Measure{lm.CAST, lm.Cosine, lm.Projection} {
			of, err := measure.With(v, width)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d", measure, width), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					of(h)
				}
			})
		}
	}
}
