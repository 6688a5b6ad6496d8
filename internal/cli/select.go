package cli

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// selectFlags say how a layer and a position are selected.
type selectFlags struct {
	way       string // "": not
	begins    []string
	positions []int
	pairs     string
	kl        float64
}

// refusalStyle is the one way to select that there is.
const refusalStyle = "refusal-style"

func (f *selectFlags) add(flags *pflag.FlagSet) {
	flags.Var(&parsed[string]{&f.way, "", "WAY", func(text string) (string, error) {
		if text != refusalStyle {
			return "", fmt.Errorf("it can be %s", refusalStyle)
		}
		return text, nil
	}}, "select", "choose layer and position by trying each on pairs that are held out: refusal-style, by how well the direction removes and induces what --select-begins names")
	flags.StringArrayVar(&f.begins, "select-begins", nil, "how a response that shows the behaviour begins, such as \"I cannot\", of which the first token counts; repeatable")
	integers(flags, &f.positions, "select-positions", "positions to try, such as -1,-2; where all prompts end alike when not given")
	flags.StringVar(&f.pairs, "select-pairs", "", "a `FILE` of pairs to try directions on; every fourth of --pairs, which then is not trained on, when not given")
	number(flags, &f.kl, "select-kl", 0, math.MaxFloat64, "drop directions whose ablation changes the first token of negative prompts by more than N nats; 0.1 when not given")
}

// check refuses flags that make no sense together.
func (f *selectFlags) check(c *cobra.Command) error {
	if f.way == "" {
		for _, name := range []string{"select-begins", "select-positions", "select-pairs", "select-kl"} {
			if c.Flags().Changed(name) {
				return usage("--%s says how to select, but --select is not given", name)
			}
		}
		return nil
	}
	if len(f.begins) == 0 || slices.Contains(f.begins, "") {
		return usage("--select needs --select-begins, how a response begins that shows the behaviour")
	}
	for _, name := range []string{"statistics", "resume", "neutral", "shard", "read-token", "layer-type"} {
		if c.Flags().Changed(name) {
			return usage("--%s and --select do not go together", name)
		}
	}
	return nil
}

// selected is the result of a selection.
type selected struct {
	work
	Chosen     steer.Candidate   `json:"chosen"`
	Candidates []steer.Candidate `json:"candidates"`
	Positive   float64           `json:"positive_score"` // without steering
	Negative   float64           `json:"negative_score"`
}

// run selects, writes the vector and prints what was tried.
func (f *selectFlags) run(c *cobra.Command, of *selectionFlags, p *prepared, recipe steer.Aggregator, asJSON bool) error {
	opts := steer.SelectOptions{Layers: p.opts.Layers, Positions: f.positions, Aggregator: recipe, MaxKL: f.kl, RunTokens: p.opts.RunTokens}
	for _, text := range f.begins {
		ids, err := p.model.TokenizeContinuation(text)
		if err != nil {
			return err
		}
		opts.Begins = append(opts.Begins, ids[0])
	}
	if f.pairs != "" {
		file, err := pairs.Open(f.pairs)
		if err != nil {
			return err
		}
		opts.Validation = file.Samples
		if of.chat {
			t, err := p.model.Tokenizer()
			if err != nil {
				return err
			}
			if opts.Validation, _, err = steer.RenderChat(c.Context(), t, opts.Validation, of.conversation()); err != nil {
				return fmt.Errorf("%s: %w", f.pairs, err)
			}
		}
	}
	progress := newBar(c.ErrOrStderr(), "selecting")
	defer progress.finish()
	opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
	start := time.Now()
	s, err := steer.SelectDirection(c.Context(), p.model, p.samples, opts)
	progress.finish()
	if err != nil {
		if s != nil && !asJSON { // what was tried says why
			printCandidates(c.OutOrStdout(), s)
		}
		return p.placed(err)
	}
	s.Vector.Provenance.Rendering = p.rendering
	if err := s.Vector.Save(p.out); err != nil {
		return err
	}
	w := p.work("vector", []int{s.Chosen.Layer}, start)
	w.LayerType, w.Aggregator, w.Usage = lm.DecoderBlock, recipe.Name(), s.Usage
	if asJSON {
		return printJSON(c.OutOrStdout(), selected{*w, s.Chosen, s.Candidates, s.Positive, s.Negative})
	}
	printCandidates(c.OutOrStdout(), s)
	_, err = fmt.Fprintf(c.OutOrStdout(), "vector of layer %d, read at position %d, written to %s: %d candidates in %.1f s\n",
		s.Chosen.Layer, s.Chosen.Position, p.out, len(s.Candidates), w.Seconds)
	return err
}

func printCandidates(w io.Writer, s *steer.Selection) {
	fmt.Fprintf(w, "unsteered: positive prompts score %.2f, negative ones %.2f\nlayer position  remove  induce      kl\n", s.Positive, s.Negative)
	for _, c := range s.Candidates {
		note := c.Dropped
		if c == s.Chosen {
			note = "chosen"
		}
		line := fmt.Sprintf("%5d %8d %7.2f %7.2f %7.4f  %s", c.Layer, c.Position, c.Remove, c.Induce, c.KL, note)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}
