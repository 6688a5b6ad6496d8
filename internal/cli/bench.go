package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// shape is the size of a Llama model.
type shape struct {
	name                                                    string
	hidden, layers, heads, keyValueHeads, inner, vocabulary int
}

var shapes = []shape{
	{"135M", 576, 30, 9, 3, 1536, 49152},
	{"360M", 960, 32, 15, 5, 2560, 49152},
	{"1B", 2048, 16, 32, 8, 8192, 128256},
}

// benchOf measures each part on a shape, but for memory, which has its own.
var benchOf = map[string]func(*bench, shape) error{
	"prefill": (*bench).prefill, "decode": (*bench).decode, "quantised": (*bench).quantised, "batch": (*bench).batch,
	"train": (*bench).train, "steer": (*bench).steer, "sweep": (*bench).sweep, "serve": (*bench).serve,
}

// benchParts are what is measured, in order.
var benchParts = []string{"prefill", "decode", "quantised", "batch", "train", "steer", "sweep", "serve", "memory"}

// bench is one run of the measurements.
type bench struct {
	shapes, parts []string
	tokens        int
	rounds        int
	quantize      gguf.Type // of the weights that decode and steer; F32: they are bfloat16
	trainPairs    int
	asJSON        bool

	ctx     context.Context
	out     io.Writer // of lines; discarded when JSON is asked for
	figures []figure
}

// figure is one thing that was measured; what does not apply to it is left out.
type figure struct {
	Part            string  `json:"part"`
	Model           string  `json:"model"`
	Case            string  `json:"case"`
	Seconds         float64 `json:"seconds,omitempty"`
	TokensPerSecond float64 `json:"tokens_per_second,omitempty"`
	Rate            float64 `json:"rate,omitempty"` // operations or bytes per second
	ShareOfPeak     float64 `json:"share_of_peak,omitempty"`
	GivenTokens     int     `json:"given_tokens,omitempty"`
	ComputedTokens  int     `json:"computed_tokens,omitempty"`
	SecondsUnshared float64 `json:"seconds_without_sharing,omitempty"`
	PeakBytes       float64 `json:"peak_bytes,omitempty"`
	Ratio           float64 `json:"ratio,omitempty"` // to the first case

	// Of the server, over loopback: to a plain call of Generate, and the median and the
	// 99th percentile of the seconds to a text's first token and from token to token.
	PlainRatio float64    `json:"ratio_to_generate,omitempty"`
	First      [2]float64 `json:"seconds_to_first_token,omitzero"`
	Between    [2]float64 `json:"seconds_between_tokens,omitzero"`
}

// measurements are what JSON tells.
type measurements struct {
	Version      string   `json:"version"`
	Instructions string   `json:"instructions"`
	Cores        int      `json:"cores"`
	Multiply     float64  `json:"peak_f32_operations_per_second"`
	Pairs        float64  `json:"peak_bf16_operations_per_second"`
	Read         float64  `json:"peak_read_bytes_per_second"`
	Figures      []figure `json:"figures"`
}

func (b *bench) tell(f figure, line string, args ...any) {
	b.figures = append(b.figures, f)
	fmt.Fprintf(b.out, "  %-5s "+line+"\n", append([]any{f.Model}, args...)...)
}

func benchCommand() *cobra.Command {
	b := bench{tokens: 512, rounds: 5}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine and what is made of it",
		Long: `Measure prefill, decoding, weights of few bits, batches, training, steering, sweeps, the server
and memory on Llama shapes with random weights, which are made on the spot: nothing is downloaded.

Every figure is the median of several rounds and stands beside the machine's own
peak, measured in the same rounds: the fused multiply-adds or bfloat16 dot products
that its cores can do, and the bytes that they can read from memory. What bounds a
figure is the peak; on a shared machine compare shares, not times.`,
		Example: `  steer bench
  steer bench --shapes 135M --parts prefill,decode
  steer bench --parts decode,steer --quantize q4_0
  STEER_INSTRUCTIONS=avx2 steer bench --parts prefill`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			b.ctx, b.out = c.Context(), c.OutOrStdout()
			if b.trainPairs > 0 {
				return b.trainOnly()
			}
			if b.asJSON {
				b.out = io.Discard
			}
			return b.run(c.OutOrStdout())
		},
	}
	var names []string
	for _, s := range shapes {
		names = append(names, s.name)
	}
	flagsUnder(c, "Measurements", func(flags *pflag.FlagSet) {
		selection(flags, &b.shapes, "shapes", names, "model sizes")
		selection(flags, &b.parts, "parts", benchParts, "what is measured")
		number(flags, &b.tokens, "tokens", 1, 1<<20, "tokens of a prefill")
		number(flags, &b.rounds, "rounds", 1, 1000, "times that each figure is taken")
		quantizeFlag(flags, &b.quantize, "quantize", gguf.Quantizable(), []string{"none"}, "blocks of few bits for the weights of decode and steer")
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &b.asJSON) })
	c.Flags().IntVar(&b.trainPairs, "train-pairs", 0, "train on so many pairs and end")
	_ = c.Flags().MarkHidden("train-pairs")
	return c
}

// selection is a flag for some of a few names, all of them by default.
func selection(flags *pflag.FlagSet, target *[]string, name string, names []string, help string) {
	*target = names
	flags.Var(&parsed[[]string]{target, strings.Join(names, ","), "LIST", func(text string) ([]string, error) {
		chosen := strings.Split(text, ",")
		for _, one := range chosen {
			if !slices.Contains(names, one) {
				return nil, fmt.Errorf("%q is none of %s", one, strings.Join(names, ", "))
			}
		}
		return chosen, nil
	}}, name, help)
}

func (b *bench) run(out io.Writer) error {
	instructions, err := kernel.Instructions()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "steer %s, %d cores, kernels for %s\n", version(), runtime.GOMAXPROCS(0), instructions)
	peak := kernel.MeasurePeak(4 * peakTime)
	fmt.Fprintf(b.out, "peaks: f32 multiply-adds %s, bf16 dot products %s, read %s\n",
		rateOf(peak.Multiply, "FLOP/s"), rateOf(peak.Pairs, "FLOP/s"), rateOf(peak.Read, "B/s"))
	for _, part := range b.parts {
		fmt.Fprintf(b.out, "\n%s\n", part)
		if part == "memory" {
			if err := b.memory(); err != nil {
				return err
			}
			continue
		}
		for _, s := range shapes {
			if !slices.Contains(b.shapes, s.name) {
				continue
			}
			if err := benchOf[part](b, s); err != nil {
				return fmt.Errorf("%s of %s: %w", part, s.name, err)
			}
		}
	}
	if !b.asJSON {
		return nil
	}
	return printJSON(out, measurements{version(), instructions, runtime.GOMAXPROCS(0), peak.Multiply, peak.Pairs, peak.Read, b.figures})
}

// rateOf writes a rate with a metric prefix; "-" where there is none.
func rateOf(rate float64, unit string) string {
	if rate == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f G%s", rate/1e9, unit)
}

// percent writes a share of a peak; "-" where the peak is not known.
func percent(share float64) string {
	if share == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*share)
}

func median(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// open makes a model of the shape, with weights in blocks unless the type is F32.
func (b *bench) open(s shape, dtype lm.DType, quantize gguf.Type) (*lm.Model, error) {
	config := fmt.Sprintf(`{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": %d,
		"num_hidden_layers": %d, "num_attention_heads": %d, "num_key_value_heads": %d, "intermediate_size": %d,
		"vocab_size": %d, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000,
		"max_position_embeddings": 1048576, "tie_word_embeddings": true}`,
		s.hidden, s.layers, s.heads, s.keyValueHeads, s.inner, s.vocabulary)
	return lm.Random(b.ctx, "llama-"+s.name, []byte(config), lm.Compute(dtype), lm.Quantize(quantize))
}

// linear returns the weights of the decoder blocks' linear layers.
func (s shape) linear() float64 {
	size := s.hidden / s.heads
	return float64(s.layers * (s.hidden*(2*s.hidden+2*s.keyValueHeads*size) + 3*s.hidden*s.inner))
}

// someTokens returns n token ids that look like text in nothing but their number.
func (s shape) someTokens(n, seed int) []int {
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = (seed*7919 + i*104729 + i*i*31) % s.vocabulary
	}
	return tokens
}

// peakTime is how long each peak is measured beside a figure.
var peakTime = 150 * time.Millisecond

func (b *bench) prefill(s shape) error {
	for _, dtype := range []lm.DType{lm.BFloat16, lm.Float32} {
		m, err := b.open(s, dtype, gguf.F32)
		if err != nil {
			return err
		}
		precision := map[string]kernel.Precision{"bf16": kernel.BF16, "mixed": kernel.Mixed, "f32": kernel.F32}[m.Description().DType]
		input := []lm.Input{{Tokens: s.someTokens(b.tokens, 1), Read: []int{b.tokens - 1}}}
		opts := lm.ForwardOptions{Logits: func(int, int, []float32) {}, RunTokens: b.tokens}
		var seconds, rates, shares []float64
		for round := range b.rounds + 1 {
			bound := kernel.MeasurePeak(peakTime).Products(precision)
			begin := time.Now()
			if _, err := m.Forward(b.ctx, input, opts); err != nil {
				return err
			}
			took := time.Since(begin).Seconds()
			if round == 0 {
				continue // memory is taken for the first time
			}
			rate := 2 * s.linear() * float64(b.tokens) / took
			seconds, rates, shares = append(seconds, took), append(rates, rate), append(shares, rate/bound)
		}
		name := "bf16"
		if dtype == lm.Float32 {
			name = "f32 activations (" + m.Description().DType + ")"
		}
		took := median(seconds)
		f := figure{Part: "prefill", Model: s.name, Case: name, Seconds: took, TokensPerSecond: float64(b.tokens) / took,
			Rate: median(rates), ShareOfPeak: finite(median(shares))}
		b.tell(f, "%-24s %4d tokens in %.3f s, %5.0f tokens/s; linear layers %s, %s of the peak",
			name, b.tokens, took, f.TokensPerSecond, rateOf(f.Rate, "FLOP/s"), percent(f.ShareOfPeak))
	}
	return nil
}

// finite is 0 for a share of a peak that is not known.
func finite(share float64) float64 {
	if math.IsInf(share, 0) {
		return 0
	}
	return share
}

// decode measures the time of each step.
func (b *bench) decode(s shape) error {
	m, err := b.open(s, lm.Auto, b.quantize)
	if err != nil {
		return err
	}
	bytes := s.bytes(b.quantize)
	for _, batch := range []int{1, 4, 16, 64} {
		var rates, shares []float64
		for range b.rounds {
			bound := kernel.MeasurePeak(peakTime).Read
			step, err := b.steps(m, s, batch, 24)
			if err != nil {
				return err
			}
			rates = append(rates, 1/step)
			shares = append(shares, bytes/step/bound)
		}
		rate := median(rates)
		f := figure{Part: "decode", Model: s.name, Case: fmt.Sprintf("batch %d", batch), Seconds: 1 / rate,
			TokensPerSecond: float64(batch) * rate, Rate: bytes * rate, ShareOfPeak: finite(median(shares))}
		b.tell(f, "batch %2d: %7.1f tokens/s; reads %s of weights, %s of the peak", batch,
			f.TokensPerSecond, rateOf(f.Rate, "B/s"), percent(f.ShareOfPeak))
	}
	return nil
}

// steps decodes a few tokens of several sequences and returns the median
// seconds of a step.
func (b *bench) steps(m *lm.Model, s shape, batch, tokens int) (float64, error) {
	var prompts []lm.Input
	for i := range batch {
		prompts = append(prompts, lm.Input{Tokens: s.someTokens(8, i+1)})
	}
	var took []float64
	var last time.Time
	_, err := m.Generate(b.ctx, prompts, lm.GenerateOptions{MaxTokens: tokens + 1, IgnoreEnd: true, Token: func(sequence, _ int, _ string) {
		if sequence != 0 {
			return
		}
		if now := time.Now(); last.IsZero() {
			last = now
		} else {
			took = append(took, now.Sub(last).Seconds())
			last = now
		}
	}})
	if err != nil {
		return 0, err
	}
	return median(took), nil
}

// train compares training with and without shared prefixes.
func (b *bench) train(s shape) error {
	m, err := b.open(s, lm.Auto, gguf.F32)
	if err != nil {
		return err
	}
	for _, test := range []struct {
		name  string
		pairs []steer.Sample
	}{
		{"16 pairs of 100 tokens that share 98", s.choicePairs(16, 98, 0)},
		{"20 texts of 60 tokens, truncated, in two templates", s.truncatedPairs(20, 60, 12)},
	} {
		var with, without lm.Usage
		shared, err := b.trainTime(m, test.pairs, &with)
		if err != nil {
			return err
		}
		// Unequal first tokens leave nothing to share; all else is the same.
		apart := slices.Clone(test.pairs)
		for i := range apart {
			apart[i].PositiveIDs = append([]int{2 * i}, apart[i].PositiveIDs[1:]...)
			apart[i].NegativeIDs = append([]int{2*i + 1}, apart[i].NegativeIDs[1:]...)
		}
		const most = 20e12 // operations that a comparison is worth
		f := figure{Part: "train", Model: s.name, Case: test.name, GivenTokens: with.Given, ComputedTokens: with.Computed, Seconds: shared}
		line := fmt.Sprintf("%s: %d tokens given, %d computed, %.2f s", test.name, with.Given, with.Computed, shared)
		if 2*s.linear()*float64(with.Given) > most && s.name != b.shapes[0] {
			b.tell(f, "%s", line)
			continue
		}
		if f.SecondsUnshared, err = b.trainTime(m, apart, &without); err != nil {
			return err
		}
		f.Ratio = f.SecondsUnshared / shared
		b.tell(f, "%s; without sharing %d computed, %.2f s, %.1f times as long", line, without.Computed, f.SecondsUnshared, f.Ratio)
	}
	return nil
}

func (b *bench) trainTime(m *lm.Model, pairs []steer.Sample, usage *lm.Usage) (float64, error) {
	begin := time.Now()
	statistics, err := steer.Collect(b.ctx, m, pairs, steer.TrainOptions{})
	if err == nil {
		_, err = statistics.Vector()
		*usage = statistics.Usage
	}
	return time.Since(begin).Seconds(), err
}

// choicePairs are pairs of prompts, each shared sideways up to its last two
// tokens, as questions with two answers are; they have a beginning in common.
func (s shape) choicePairs(n, shared, common int) []steer.Sample {
	pairs := make([]steer.Sample, 0, n)
	for i := range n {
		question := append(s.someTokens(common, 1), s.someTokens(shared-common, i+2)...)
		question[common] = i // no two are equal from here on
		pairs = append(pairs, steer.Sample{
			PositiveIDs: slices.Concat(question, []int{11, 13}),
			NegativeIDs: slices.Concat(question, []int{12, 13}),
		})
	}
	return pairs
}

// truncatedPairs are all beginnings of some texts, each after two templates.
func (s shape) truncatedPairs(texts, length, template int) []steer.Sample {
	positive, negative := s.someTokens(template, 1), s.someTokens(template, 2)
	var pairs []steer.Sample
	for i := range texts {
		text := s.someTokens(length, i+3)
		text[0] = i
		for n := 1; n <= length; n++ {
			pairs = append(pairs, steer.Sample{
				PositiveIDs: slices.Concat(positive, text[:n]),
				NegativeIDs: slices.Concat(negative, text[:n]),
			})
		}
	}
	return pairs
}

// nowhere selects no token.
type nowhere struct{}

func (nowhere) Selects(int, int) bool { return false }
func (nowhere) Check(int) error       { return nil }

// steer compares decoding with and without vectors, in turns.
func (b *bench) steer(s shape) error {
	m, err := b.open(s, lm.Auto, b.quantize)
	if err != nil {
		return err
	}
	vector := func(tokens lm.Tokens) lm.Edit {
		layers := map[int][]float32{}
		for layer := range s.layers {
			layers[layer] = make([]float32, s.hidden)
			for i := range layers[layer] {
				layers[layer][i] = 1e-3 * float32(i%7-3)
			}
		}
		return lm.Edit{Site: lm.DecoderBlock, Layers: layers, Operator: steer.Add(), Tokens: tokens}
	}
	// evidence of each token, at the first layer, that always holds or never does
	under := func(holds bool) lm.Edit {
		e := vector(nil)
		e.Condition = &lm.Condition{Evidence: &lm.Evidence{Vector: e.Layers[0], When: lm.EachToken, Threshold: 2, Below: holds}}
		delete(e.Layers, 0)
		return e
	}
	variants := []struct {
		name  string
		edits []lm.Edit
	}{
		{"none", nil},
		{"one that is idle", []lm.Edit{vector(nowhere{})}},
		{"one on every layer", []lm.Edit{vector(nil)}},
		{"one, not holding", []lm.Edit{under(false)}},
		{"one, holding", []lm.Edit{under(true)}},
		{"eight on every layer", slices.Repeat([]lm.Edit{vector(nil)}, 8)},
	}
	times := make([][]float64, len(variants))
	for range 4 * b.rounds {
		for i, v := range variants {
			view, err := m.With(v.edits...)
			if err != nil {
				return err
			}
			step, err := b.steps(view, s, 1, 12)
			if err != nil {
				return err
			}
			times[i] = append(times[i], step)
		}
	}
	// How each compares with its neighbours in time, round by round.
	plain := slices.Clone(times[0])
	for i, v := range variants {
		ratios := make([]float64, len(times[i]))
		for round := range ratios {
			ratios[round] = times[i][round] / plain[round]
		}
		f := figure{Part: "steer", Model: s.name, Case: v.name, Seconds: median(times[i]), Ratio: median(ratios)}
		b.tell(f, "vectors: %-20s %.2f ms a step, %+.1f %%", v.name, 1e3*f.Seconds, 100*(f.Ratio-1))
	}
	return nil
}

// memory trains in processes of their own and compares their peaks.
func (b *bench) memory() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var first float64
	for _, pairs := range []int{100, 10000} {
		c := exec.CommandContext(b.ctx, self, "bench", "--train-pairs", strconv.Itoa(pairs))
		c.Stderr = os.Stderr
		begin := time.Now()
		told, err := c.Output()
		if err != nil {
			return fmt.Errorf("train on %d pairs: %w", pairs, err)
		}
		peak, err := strconv.ParseFloat(strings.TrimSpace(string(told)), 64)
		if err != nil {
			return fmt.Errorf("train on %d pairs: %w", pairs, err)
		}
		if peak == 0 {
			fmt.Fprintln(b.out, "  this system does not tell the memory of a process")
			return nil
		}
		if first == 0 {
			first = peak
		}
		f := figure{Part: "memory", Model: shapes[0].name, Case: fmt.Sprintf("train on %d pairs", pairs),
			Seconds: time.Since(begin).Seconds(), PeakBytes: peak, Ratio: peak / first}
		b.tell(f, "%-20s at most %.1f MiB, %.1f s, %+.1f %%", f.Case+":", peak/(1<<20), f.Seconds, 100*(f.Ratio-1))
	}
	return nil
}

// trainOnly is what a process of memory does: it trains and tells its peak.
func (b *bench) trainOnly() error {
	m, err := b.open(shapes[0], lm.Auto, gguf.F32)
	if err != nil {
		return err
	}
	limitGarbage()
	if _, err = b.trainTime(m, shapes[0].choicePairs(b.trainPairs, 18, 10), new(lm.Usage)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(b.out, peakMemory())
	return err
}
