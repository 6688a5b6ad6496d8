package lm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/lm"
)

// from selects the tokens from a position on.
type from int

func (f from) Selects(position, _ int) bool { return position >= int(f) }
func (from) Check(int) error                { return nil }

// answer selects what comes after the prompt.
type answer struct{}

func (answer) Selects(position, prompt int) bool { return position >= prompt }
func (answer) Check(int) error                   { return nil }

// push is an edit that adds a vector of that size to a layer.
func push(m *lm.Model, layer int, size float32, tokens lm.Tokens) lm.Edit {
	vector := make([]float32, m.Width(layer, lm.DecoderBlock))
	for i := range vector {
		vector[i] = size * float32(i%5-2)
	}
	return lm.Edit{Layers: map[int][]float32{layer: vector}, Operator: addition, Tokens: tokens}
}

func steering(t *testing.T, m *lm.Model, edits ...lm.Edit) *lm.Steering {
	t.Helper()
	s, err := m.Steering(edits...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request is a sequence of a batch and when it comes and goes.
type request struct {
	in     lm.Input
	opts   lm.GenerateOptions
	begins int // step
	ends   int // step after which it is removed; 0: never
}

func requests(t *testing.T, m *lm.Model) []request {
	free := lm.GenerateOptions{Temperature: 1.5, TopP: 0.95, MaxTokens: 12, IgnoreEnd: true}
	greedy := lm.GenerateOptions{MaxTokens: 20, IgnoreEnd: true}
	long := make([]int, 70)
	for i := range long {
		long[i] = (i*i + 3) % 200
	}
	seeded := func(seed uint64) lm.Input { return lm.Input{Tokens: []int{51, 106, 220}, Seed: seed} }
	return []request{
		{in: lm.Input{Tokens: []int{51, 106, 220}}, opts: greedy},
		{in: lm.Input{Tokens: []int{51, 106, 220}}, opts: greedy, begins: 3}, // the same again, some steps behind
		{in: seeded(1), opts: free},
		{in: seeded(2), opts: free, begins: 1},
		{in: seeded(2), opts: free, begins: 2},
		{in: lm.Input{Tokens: long}, opts: greedy},
		{in: lm.Input{Tokens: long[:69]}, opts: greedy, begins: 4},
		{in: lm.Input{Tokens: long, Steering: steering(t, m, push(m, 1, 0.5, nil))}, opts: greedy, begins: 2},
		{in: lm.Input{Tokens: long, Prompt: 40, Steering: steering(t, m, push(m, 1, 0.5, answer{}))}, opts: greedy, begins: 2},
		{in: lm.Input{Tokens: long, Steering: steering(t, m, push(m, 2, 0.7, from(66)), push(m, 0, -0.3, answer{}))}, opts: free},
		{in: lm.Input{Tokens: long, Seed: 9}, opts: free, begins: 1, ends: 4},
		{in: lm.Input{Tokens: []int{7}, Steering: steering(t, m, push(m, 0, 1, nil))}, opts: greedy, begins: 6},
	}
}

// A sequence writes what it writes alone, whenever it comes, whoever else is
// there, however its prompt is cut into chunks, and whatever was computed before.
func TestASequenceWritesInABatchWhatItWritesAlone(t *testing.T) {
	model := open(t)
	all := requests(t, model)
	var alone [][]int
	for _, r := range all {
		out, err := model.Generate(t.Context(), []lm.Input{r.in}, r.opts)
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, out[0].IDs)
	}
	for _, way := range []struct {
		name  string
		model *lm.Model
		chunk int
	}{
		{"together", model, 0}, {"chunks of 1", model, 1}, {"chunks of 7", model, 7}, {"chunks of 64", model, 64},
		{"cached", model.Cached(4096), 0}, {"cached, chunks of 7", model.Cached(4096), 7}, {"cached in less than it needs", model.Cached(64), 16},
	} {
		t.Run(way.name, func(t *testing.T) {
			for _, round := range []string{"cold", "warm"} {
				for i, ids := range inBatch(t, way.model, all, way.chunk) {
					want := alone[i]
					if all[i].ends > 0 {
						want = want[:min(len(want), len(ids))]
					}
					if !slices.Equal(ids, want) {
						t.Errorf("%s: sequence %d wrote %v, alone %v", round, i, ids, want)
					}
				}
				if err := way.model.CheckCache(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func inBatch(t *testing.T, m *lm.Model, all []request, chunk int) [][]int {
	t.Helper()
	b, err := m.NewBatch(lm.BatchOptions{RunTokens: chunk})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sequences := make([]*lm.Sequence, len(all))
	for step, waiting := 0, len(all); waiting > 0 || b.Open() > 0; step++ {
		for i, r := range all {
			if r.begins == step {
				if sequences[i], err = b.Add(t.Context(), r.in, r.opts); err != nil {
					t.Fatal(err)
				}
				waiting--
			}
			if r.ends == step && step > 0 {
				b.Remove(sequences[i])
			}
		}
		if err := b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	out := make([][]int, len(all))
	for i, s := range sequences {
		out[i] = s.Generation().IDs
	}
	return out
}

func TestASampledTextDependsOnItsSeedsAlone(t *testing.T) {
	model := open(t)
	opts := lm.GenerateOptions{Temperature: 2, Seed: 3, MaxTokens: 10, IgnoreEnd: true}
	in := func(seed uint64) lm.Input { return lm.Input{Tokens: []int{51, 106}, Seed: seed} }
	out, err := model.Generate(t.Context(), []lm.Input{in(0), in(1), in(0), in(1)}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out[0].IDs, out[2].IDs) || !slices.Equal(out[1].IDs, out[3].IDs) || slices.Equal(out[0].IDs, out[1].IDs) {
		t.Errorf("seeds 0, 1, 0, 1 wrote %v", out)
	}
}

// Prompts that are there already are not computed again, steered or not.
func TestACachedViewComputesOnlyWhatIsNew(t *testing.T) {
	plain := open(t)
	model := plain.Cached(4096)
	tokens := make([]int, 50)
	for i := range tokens {
		tokens[i] = i + 1
	}
	steered := steering(t, plain, push(plain, 1, 0.5, from(20)))
	forward := func(in lm.Input) int {
		in.Read = []int{len(in.Tokens) - 1}
		usage, err := model.Forward(t.Context(), []lm.Input{in}, lm.ForwardOptions{Logits: func(int, int, []float32) {}})
		if err != nil {
			t.Fatal(err)
		}
		return usage.Computed
	}
	for _, test := range []struct {
		name string
		in   lm.Input
		want int
	}{
		{"at first all", lm.Input{Tokens: tokens}, 50},
		{"then what is read", lm.Input{Tokens: tokens}, 1},
		{"another ending", lm.Input{Tokens: append(slices.Clone(tokens[:45]), 3, 3)}, 2},
		{"steered from position 20 on", lm.Input{Tokens: tokens, Steering: steered}, 30},
		{"steered again", lm.Input{Tokens: tokens, Steering: steered}, 1},
		{"steered alike by another edit", lm.Input{Tokens: tokens, Steering: steering(t, plain, push(plain, 1, 0.5, from(20)))}, 1},
		{"steered otherwise", lm.Input{Tokens: tokens, Steering: steering(t, plain, push(plain, 1, 0.6, from(20)))}, 30},
		{"an idle edit is none", lm.Input{Tokens: tokens, Steering: steering(t, plain, push(plain, 1, 0.6, from(99)))}, 1},
	} {
		if got := forward(test.in); got != test.want {
			t.Errorf("%s: %d tokens are computed, want %d", test.name, got, test.want)
		}
	}
	b, err := model.NewBatch(lm.BatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Add(t.Context(), lm.Input{Tokens: tokens}, lm.GenerateOptions{MaxTokens: 1, IgnoreEnd: true}); err != nil {
		t.Fatal(err)
	}
	if err := b.Step(t.Context()); err != nil || b.Usage().Computed != 1 {
		t.Errorf("a prompt that is there costs %v (%v)", b.Usage(), err)
	}
}

// A pass that ends at a layer must not be taken for one that went on.
func TestActivationsOfLowerLayersLeaveNothingHalfComputedBehind(t *testing.T) {
	plain := open(t)
	model := plain.Cached(4096)
	in := lm.Input{Tokens: []int{5, 6, 7, 8, 9}, Read: []int{4}}
	tap := func(layer int, site lm.Site) {
		t.Helper()
		_, err := model.Forward(t.Context(), []lm.Input{in}, lm.ForwardOptions{
			Taps: []lm.Address{{Layer: layer, Site: site}}, Activation: func(int, int, lm.Address, []float32) {},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tap(0, lm.InputLayerNorm)
	tap(0, lm.DecoderBlock)
	tap(2, lm.SelfAttn)
	want, got := allLogits(t, plain, in), allLogits(t, model, in)
	if !slices.Equal(want, got) {
		t.Error("the logits differ")
	}
}

func allLogits(t *testing.T, m *lm.Model, in lm.Input) (out []float32) {
	t.Helper()
	_, err := m.Forward(t.Context(), []lm.Input{in}, lm.ForwardOptions{Logits: func(_, _ int, l []float32) { out = append(out, l...) }})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The mean over a span is that of the single positions, to the bit the same
// alone, among others, and in runs of any size.
func TestMeansOverSpans(t *testing.T) {
	model := open(t)
	taps := []lm.Address{{Layer: 0, Site: lm.SelfAttn}, {Layer: 2, Site: lm.DecoderBlock}}
	base := make([]int, 40)
	for i := range base {
		base[i] = (7 * i) % 150
	}
	branch := func(at int, more ...int) []int { return append(slices.Clone(base[:at]), more...) }
	steered := steering(t, model, push(model, 1, 0.5, from(10)))
	inputs := []lm.Input{
		{Tokens: base, Mean: lm.Span{From: 0, To: 40}},
		{Tokens: base, Mean: lm.Span{From: 5, To: 20}},
		{Tokens: branch(30, 1, 2, 3), Mean: lm.Span{From: 5, To: 33}},
		{Tokens: branch(30, 1, 2, 4), Mean: lm.Span{From: 5, To: 33}},
		{Tokens: branch(20, 9), Mean: lm.Span{From: 20, To: 21}},
		{Tokens: branch(20, 9, 9), Mean: lm.Span{From: 1, To: 22}},
		{Tokens: branch(10, 9, 9), Mean: lm.Span{From: 0, To: 12}},
		{Tokens: base, Mean: lm.Span{From: 0, To: 40}, Steering: steered},
		{Tokens: branch(35, 1), Mean: lm.Span{From: 33, To: 36}, Steering: steered},
	}
	type key struct {
		input int
		tap   lm.Address
	}
	means := func(inputs []lm.Input, m *lm.Model, together int) map[key][]float32 {
		out := map[key][]float32{}
		_, err := m.Forward(t.Context(), inputs, lm.ForwardOptions{Taps: taps, RunTokens: together, Activation: func(input, position int, at lm.Address, a []float32) {
			if position != inputs[input].Mean.To-1 || out[key{input, at}] != nil {
				t.Errorf("input %d gives a mean at position %d, %v", input, position, at)
			}
			out[key{input, at}] = slices.Clone(a)
		}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := map[key][]float32{}
	for i, in := range inputs {
		for k, mean := range means([]lm.Input{in}, model, 0) {
			want[key{i, k.tap}] = mean
		}
		single := in
		single.Mean = lm.Span{}
		sums := map[lm.Address][]float64{}
		_, err := model.Forward(t.Context(), []lm.Input{single}, lm.ForwardOptions{Taps: taps, Activation: func(_, position int, at lm.Address, a []float32) {
			if sums[at] == nil {
				sums[at] = make([]float64, len(a))
			}
			if in.Mean.From <= position && position < in.Mean.To {
				for j, v := range a {
					sums[at][j] += float64(v)
				}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for at, sum := range sums {
			for j, v := range sum {
				if mean := float32(v / float64(in.Mean.To-in.Mean.From)); mean != want[key{i, at}][j] {
					t.Fatalf("input %d, %v: the mean of element %d is %v, want %v", i, at, j, want[key{i, at}][j], mean)
				}
			}
		}
	}
	cached := model.Cached(1000)
	for _, way := range []struct {
		name     string
		model    *lm.Model
		together int
	}{{"together", model, 0}, {"runs of 7", model, 7}, {"token by token", model, 1}, {"cached", cached, 7}, {"cached again", cached, 0}} {
		got := means(inputs, way.model, way.together)
		for k, mean := range want {
			if !slices.Equal(got[k], mean) {
				t.Errorf("%s: input %d, %v: other bits", way.name, k.input, k.tap)
			}
		}
	}
}

// A sequence that outgrows its positions is computed anew at every token; its
// old keys and values must not stay.
func TestRecomputingLeaksNothing(t *testing.T) {
	config := `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 50, "hidden_act": "silu",
		"rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 16, "rope_scaling": {"type": "dynamic", "factor": 2}, "tie_word_embeddings": true}`
	plain, err := lm.Random(t.Context(), "dynamic", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	model := plain.Cached(0)
	b, err := model.NewBatch(lm.BatchOptions{RunTokens: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := b.Add(t.Context(), lm.Input{Tokens: []int{1, 2, 3}}, lm.GenerateOptions{MaxTokens: 60, IgnoreEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for b.Open() > 0 {
		before := b.Usage().Computed
		if err := b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := b.Usage().Computed - before; n > 8 {
			t.Fatalf("a step computes %d tokens of at most 8", n)
		}
		_, slots := model.CacheUse()
		most = max(most, slots)
	}
	if most > 256 {
		t.Errorf("a sequence of 63 tokens takes %d slots", most)
	}
	out, err := plain.Generate(t.Context(), []lm.Input{{Tokens: []int{1, 2, 3}}}, lm.GenerateOptions{MaxTokens: 60, IgnoreEnd: true})
	if err != nil || !slices.Equal(out[0].IDs, s.Generation().IDs) {
		t.Errorf("in runs of 8 it wrote %v, at once %v (%v)", s.Generation().IDs, out, err)
	}
}

func TestASequenceEndsWithItsContextAndTheOthersGoOn(t *testing.T) {
	model := open(t)
	b, err := model.NewBatch(lm.BatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	opts := lm.GenerateOptions{MaxTokens: 9, IgnoreEnd: true}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped, err := b.Add(ctx, lm.Input{Tokens: []int{1, 2}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Add(t.Context(), lm.Input{Tokens: []int{1, 2}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	for step := 0; b.Open() > 0; step++ {
		if step == 4 {
			cancel()
		}
		if err := b.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if g := stopped.Generation(); g.Finish != lm.FinishCancelled || len(g.IDs) != 4 || !errors.Is(stopped.Err(), context.Canceled) {
		t.Errorf("it ended with %+v, %v", g, stopped.Err())
	}
	if g := other.Generation(); g.Finish != lm.FinishLength || len(g.IDs) != 9 {
		t.Errorf("the other one ended with %+v", g)
	}
}

// After a step that was interrupted a batch goes on to the same texts.
func TestAnInterruptedStepCanBeTakenAgain(t *testing.T) {
	for _, model := range []*lm.Model{open(t), open(t).Cached(500)} {
		all := requests(t, model)
		for i := range all {
			all[i].begins, all[i].ends = 0, 0
		}
		want := inBatch(t, model, all, 0)
		b, err := model.NewBatch(lm.BatchOptions{RunTokens: 20})
		if err != nil {
			t.Fatal(err)
		}
		var sequences []*lm.Sequence
		for _, r := range all {
			s, err := b.Add(t.Context(), r.in, r.opts)
			if err != nil {
				t.Fatal(err)
			}
			sequences = append(sequences, s)
		}
		for step := 0; b.Open() > 0; step++ {
			ctx, cancel := context.WithCancel(t.Context())
			if step%3 == 1 {
				cancel()
			}
			if err := b.Step(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			cancel()
		}
		for i, s := range sequences {
			if got := s.Generation().IDs; !slices.Equal(got, want[i]) {
				t.Errorf("sequence %d wrote %v, want %v", i, got, want[i])
			}
		}
		b.Close()
		if err := model.CheckCache(); err != nil {
			t.Error(err)
		}
	}
}

// Where numbers stop being finite, an error says where that began, and other
// sequences go on.
func TestWhatIsNotFiniteIsNamed(t *testing.T) {
	model := open(t)
	broken := steering(t, model, lm.Edit{Site: lm.MLP, Layers: map[int][]float32{1: make([]float32, model.Width(1, lm.MLP))}, Tokens: from(2),
		Operator: lm.OperatorFunc("broken", func(delta, _, _ []float32) { delta[3] = float32(math.NaN()) })})
	const want = "an activation is not finite, first at layer 1, site mlp, position 2"
	in := lm.Input{Tokens: []int{1, 2, 3, 4}, Steering: broken}
	_, err := model.Forward(t.Context(), []lm.Input{{Tokens: []int{5}}, in}, lm.ForwardOptions{Logits: func(int, int, []float32) {}})
	var where *lm.InputError
	if !errors.As(err, &where) || where.Input != 1 || !strings.Contains(err.Error(), want) {
		t.Errorf("forward: %v", err)
	}
	out, err := model.Generate(t.Context(), []lm.Input{{Tokens: []int{5}}, in}, lm.GenerateOptions{MaxTokens: 5, IgnoreEnd: true})
	if !errors.As(err, &where) || where.Input != 1 || !strings.Contains(err.Error(), want) {
		t.Errorf("generate: %v", err)
	}
	if len(out) != 2 || len(out[0].IDs) != 5 || out[1].Finish != lm.FinishError || len(out[1].IDs) != 0 {
		t.Errorf("written is %+v", out)
	}
}

func TestMistakesAreErrorsBeforeAnythingIsComputed(t *testing.T) {
	model := open(t)
	width := model.Width(0, lm.DecoderBlock)
	nan := make([]float32, width)
	nan[7] = float32(math.NaN())
	layer := func(n int, vector []float32) map[int][]float32 { return map[int][]float32{n: vector} }
	for _, test := range []struct {
		name, want string
		edit       lm.Edit
	}{
		{"no operator", "no operator", lm.Edit{Layers: layer(0, make([]float32, width))}},
		{"no layers", "no layers", lm.Edit{Operator: addition}},
		{"a layer too many", "layer 9 is out of range", lm.Edit{Operator: addition, Layers: layer(9, make([]float32, width))}},
		{"another width", "has 3 elements", lm.Edit{Operator: addition, Layers: layer(0, make([]float32, 3))}},
		{"not a number", "element 7 is NaN", lm.Edit{Operator: addition, Layers: layer(0, nan)}},
		{"an unknown site", `site "nowhere" is not known`, lm.Edit{Operator: addition, Site: "nowhere", Layers: layer(0, make([]float32, width))}},
		{"a layer twice", "given twice", lm.Edit{Operator: addition, Layers: map[int][]float32{2: make([]float32, width), -1: make([]float32, width)}}},
	} {
		if _, err := model.With(test.edit); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for _, test := range []struct {
		name, want string
		in         lm.Input
		opts       lm.GenerateOptions
	}{
		{"nothing", "it is empty", lm.Input{}, lm.GenerateOptions{}},
		{"text and tokens", "more than one of", lm.Input{Text: "a", Tokens: []int{1}}, lm.GenerateOptions{}},
		{"a negative prompt", "said to be -3 of 2 tokens", lm.Input{Tokens: []int{1, 2}, Prompt: -3}, lm.GenerateOptions{}},
		{"a prompt past the end", "said to be 1000 of 2 tokens", lm.Input{Tokens: []int{1, 2}, Prompt: 1000}, lm.GenerateOptions{}},
		{"steering for another model", "made for another model", lm.Input{Tokens: []int{1}, Steering: steering(t, open(t), push(model, 0, 1, nil))}, lm.GenerateOptions{}},
		{"more than the positions", "positions that the model has learned", lm.Input{Tokens: make([]int, 1000)}, lm.GenerateOptions{}},
		{"a negative length", "max tokens is -1", lm.Input{Tokens: []int{1}}, lm.GenerateOptions{MaxTokens: -1}},
		{"a vast length", fmt.Sprint("not from 0 to ", math.MaxInt32), lm.Input{Tokens: []int{1}}, lm.GenerateOptions{MaxTokens: math.MaxInt32 + 1}},
		{"a negative run", "-1 tokens cannot be computed together", lm.Input{Tokens: []int{1}}, lm.GenerateOptions{RunTokens: -1}},
		{"an empty stop string", "a stop string is empty", lm.Input{Tokens: []int{1}}, lm.GenerateOptions{Stop: []string{""}}},
	} {
		if _, err := model.Generate(t.Context(), []lm.Input{test.in}, test.opts); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestTheSmallestTemperatureIsGreedy(t *testing.T) {
	model := open(t)
	in := []lm.Input{{Tokens: []int{51, 106}}}
	greedy, err := model.Generate(t.Context(), in, lm.GenerateOptions{MaxTokens: 8, IgnoreEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	cold, err := model.Generate(t.Context(), in, lm.GenerateOptions{MaxTokens: 8, IgnoreEnd: true, Temperature: 1e-320})
	if err != nil || !slices.Equal(cold[0].IDs, greedy[0].IDs) {
		t.Errorf("wrote %v, greedy %v (%v)", cold, greedy, err)
	}
}

func TestTextInTextOut(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := model.Tokenize("Once there was")
	if err != nil {
		t.Fatal(err)
	}
	opts := lm.GenerateOptions{MaxTokens: 12}
	byTokens, err := model.Generate(t.Context(), []lm.Input{{Tokens: tokens}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	byText, err := model.Generate(t.Context(), []lm.Input{{Text: "Once there was"}}, opts)
	if err != nil || byText[0].Text != byTokens[0].Text || byText[0].Text == "" {
		t.Errorf("by text %q, by tokens %q (%v)", byText[0].Text, byTokens[0].Text, err)
	}
	scores, err := model.Score(t.Context(), []lm.Continuation{{Prompt: lm.Input{Text: "Once there was"}, Text: byText[0].Text}})
	if err != nil || len(scores[0]) == 0 {
		t.Errorf("%v (%v)", scores, err)
	}
}

// However many prompts there are, a limited number is open at a time, and each
// text is that of its prompt.
func TestManyPromptsAreContinuedSomeAtATime(t *testing.T) {
	plain := open(t)
	model := plain.Cached(0)
	var inputs []lm.Input
	for i := range 150 {
		inputs = append(inputs, lm.Input{Tokens: []int{5, 6, 7, i}})
	}
	most := 0
	opts := lm.GenerateOptions{MaxTokens: 3, IgnoreEnd: true, Token: func(int, int, string) {
		_, slots := model.CacheUse()
		most = max(most, slots)
	}}
	out, err := model.Generate(t.Context(), inputs, opts)
	if err != nil {
		t.Fatal(err)
	}
	opts.Token = nil
	for _, i := range []int{0, 63, 64, 149} {
		alone, err := plain.Generate(t.Context(), inputs[i:i+1], opts)
		if err != nil || !slices.Equal(alone[0].IDs, out[i].IDs) {
			t.Errorf("prompt %d writes %v, alone %v (%v)", i, out[i].IDs, alone, err)
		}
	}
	if limit := 64*(64+16) + 64; most > limit {
		t.Errorf("%d slots are in use, more than 64 sequences need", most)
	}
}

// Prompts of one forward pass lie side by side, however short their branches are.
func TestShortBranchesShareMemory(t *testing.T) {
	model := open(t).Cached(0)
	var inputs []lm.Input
	for i := range 200 {
		inputs = append(inputs, lm.Input{Tokens: []int{1, 2, 3, 4, 5, 6, 7, 8, 9, i}, Read: []int{9}})
	}
	if _, err := model.Forward(t.Context(), inputs, lm.ForwardOptions{Logits: func(int, int, []float32) {}}); err != nil {
		t.Fatal(err)
	}
	if slots := model.CacheSlots(); slots > 209+16 {
		t.Errorf("209 distinct prefixes took %d slots", slots)
	}
}
