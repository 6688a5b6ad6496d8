package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/steervec/steer/lm"
)

// What steering costs is measured on neutral text: how far the steered model's
// distribution of each next token is from the unsteered one's.

// passage is a stretch of neutral text as tokens. A part of it counts as the
// prompt, so that a scope that begins after the prompt has something to steer and
// "the first token after a prompt" means something.
type passage struct {
	number  int   // of all
	special []int // what the tokenizer puts before a text
	tokens  []int
	prompt  int // of tokens
}

const (
	// passageTokens is how long a passage is, and passageLeast the shortest that is
	// worth measuring.
	passageTokens = 128
	passageLeast  = 8
	// logBytes is about how much of unsteered log-probabilities is kept at a time.
	logBytes = 128 << 20
)

// passages parts a text at its empty lines, and longer paragraphs into stretches.
// A quarter of each is its prompt. At most so many tokens are taken; 0: all.
func passages(m *lm.Model, text string, most int) ([]passage, error) {
	special, err := m.Tokenize("")
	if err != nil {
		return nil, err
	}
	var out []passage
	total := 0
	for paragraph := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if paragraph = strings.TrimSpace(paragraph); paragraph == "" {
			continue
		}
		tokens, err := m.TokenizeContinuation(paragraph)
		if err != nil {
			return nil, err
		}
		for part := range slices.Chunk(tokens, passageTokens) {
			if most > 0 && total+len(part) > most {
				part = part[:most-total]
			}
			if len(part) < passageLeast {
				continue
			}
			total += len(part)
			out = append(out, passage{len(out), special, slices.Clip(part), max(1, len(part)/4)})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the neutral text has no paragraph of at least %d tokens", passageLeast)
	}
	return out, nil
}

// input returns the passage as a model reads it, after an instruction, and the
// position of its first token.
func (p passage) input(m *lm.Model, instruction string) (in lm.Input, first int, err error) {
	before := p.special
	if instruction != "" {
		if before, err = m.Tokenize(strings.TrimSpace(instruction)); err != nil {
			return in, 0, err
		}
	}
	in = lm.Input{Tokens: slices.Concat(before, p.tokens), Prompt: len(before) + p.prompt}
	for position := in.Prompt - 1; position < len(in.Tokens)-1; position++ {
		in.Read = append(in.Read, position)
	}
	return in, len(before), nil
}

// passageCost is what an arm does to one passage, at each token after its prompt.
type passageCost struct {
	KL      []float64 `json:"kl"`      // nats, from the unsteered model
	LogProb []float64 `json:"logprob"` // of the token that is there
}

// costs measures arms on passages: [arms][passages].
func costs(ctx context.Context, m *lm.Model, texts []passage, arms []Arm, progress func(done, total int)) (out [][]passageCost, usage lm.Usage, err error) {
	for range arms {
		out = append(out, make([]passageCost, len(texts)))
	}
	most := logBytes / (4 * m.Decoder().Vocabulary) // tokens whose log-probabilities are kept
	for from := 0; from < len(texts); {
		to, read := from, 0
		for to < len(texts) && (read == 0 || read+len(texts[to].tokens) <= most) {
			read += len(texts[to].tokens)
			to++
		}
		done := func(n, all int) {
			if progress != nil && all > 0 {
				progress(from*all+(to-from)*n, len(texts)*all)
			}
		}
		used, err := costsOf(ctx, m, texts, from, to, arms, out, done)
		if err != nil {
			return nil, usage, err
		}
		usage = usage.Add(used)
		from = to
	}
	return out, usage, nil
}

// costsOf measures the passages from … to-1.
func costsOf(ctx context.Context, m *lm.Model, texts []passage, from, to int, arms []Arm, out [][]passageCost, progress func(done, total int)) (usage lm.Usage, err error) {
	var inputs []lm.Input
	unsteered := make([][][]float32, to-from) // [passages][tokens read][vocabulary]
	plain := make([]passageCost, to-from)
	for i := range unsteered {
		in, _, err := texts[from+i].input(m, "")
		if err != nil {
			return usage, err
		}
		inputs = append(inputs, in)
		unsteered[i] = make([][]float32, len(in.Read))
		plain[i] = passageCost{make([]float64, len(in.Read)), make([]float64, len(in.Read))}
	}
	usage, err = m.Forward(ctx, inputs, lm.ForwardOptions{Logits: func(input, position int, logits []float32) {
		in, row := inputs[input], make([]float32, len(logits))
		lm.LogProbabilities(row, logits)
		k := position - in.Read[0]
		unsteered[input][k] = row
		plain[input].LogProb[k] = float64(row[in.Tokens[position+1]])
	}})
	if err != nil {
		return usage, passageError(err, func(input int) int { return texts[from+input].number })
	}
	inputs = nil
	var arm, text []int // of each input
	for a, one := range arms {
		for i := range plain {
			if one.Steering.ID() == "" && one.Instruction == "" {
				out[a][from+i] = plain[i]
				continue
			}
			in, _, err := texts[from+i].input(m, one.Instruction)
			if err != nil {
				return usage, err
			}
			in.Steering = one.Steering
			inputs, arm, text = append(inputs, in), append(arm, a), append(text, i)
			out[a][from+i] = passageCost{make([]float64, len(in.Read)), make([]float64, len(in.Read))}
		}
	}
	if len(inputs) == 0 {
		return usage, nil
	}
	row := make([]float32, m.Decoder().Vocabulary)
	used, err := m.Forward(ctx, inputs, lm.ForwardOptions{Progress: progress, Logits: func(input, position int, logits []float32) {
		in := inputs[input]
		k := position - in.Read[0]
		lm.LogProbabilities(row, logits)
		c := &out[arm[input]][from+text[input]]
		c.KL[k] = lm.Divergence(row, unsteered[text[input]][k])
		c.LogProb[k] = float64(row[in.Tokens[position+1]])
	}})
	return usage.Add(used), passageError(err, func(input int) int { return texts[from+text[input]].number })
}

// passageError names the passage that an error is about.
func passageError(err error, of func(input int) int) error {
	if wrong := (*lm.InputError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("passage %d of the neutral text: %w", of(wrong.Input)+1, wrong.Err)
	}
	return err
}

// costRow is the row of what an arm costs.
func (b bootstrap) costRow(point Point, texts []passageCost) Row {
	divergences := make([][]float64, len(texts))
	logprobs := make([][]float64, len(texts))
	first := make([]float64, len(texts))
	for i, t := range texts {
		divergences[i], logprobs[i], first[i] = t.KL, t.LogProb, t.KL[0]
	}
	return Row{Point: point, Set: Cost, Metrics: map[string]Estimate{
		KL:         b.pooled(divergences, mean),
		KL95:       b.pooled(divergences, kl95),
		FirstKL:    b.mean(first),
		Perplexity: b.pooled(logprobs, perplexity),
	}}
}

// perplexity is exp of minus the mean log-probability of tokens, and no greater than
// a number can be.
func perplexity(logprobs []float64) float64 { return math.Exp(min(-mean(logprobs), 700)) }

// kl95 is the 95th percentile, by which costs are compared.
func kl95(divergences []float64) float64 { return percentile(divergences, 0.95) }
