package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
	"github.com/steervec/steer/report"
)

// sweepFlags say what a sweep tries, or name a manifest that does.
type sweepFlags struct {
	asked        askedFlags
	writing      writingFlags
	model        modelFlags
	manifest     string
	pairs, eval  string
	layers       *steer.Layers
	layerType    lm.Site
	read         steer.Reading
	aggregators  []string
	operators    []string
	scopes       []string
	budgets      []float64
	most         float64
	out          string
	resume, json bool
	shard        steer.Shard
	after        string // a folder
	activations  string // a file
}

func sweepCommand() *cobra.Command {
	f := sweepFlags{asked: newAskedFlags(), most: 1}
	c := &cobra.Command{
		Use:   "sweep --model REF --pairs TRAIN --eval HELD-OUT --out DIR",
		Short: "Find out which layer, strength and method steer best",
		Long: `Find out which layer, strength and method steer best.

A vector is trained on every layer in one pass over the pairs. Every point of the grid
is evaluated on held-out data; the best one is chosen on half of it, of those that cost
no more than --max-cost, and what is reported is the other half, beside no steering,
random vectors and prompts.

The folder gets rows.jsonl, a line for each point and set of metrics, as they come;
sweep.json, the manifest, which --manifest runs again; the vectors; and report.html.
After an interrupt or a kill --resume goes on, to the same rows.

With --shard several machines share the questions: each measures its part at all points of
the grid, and steer merge makes the rows of a single run. What comes after the choice, the
comparison with random vectors and the texts, is done by --resume in the merged folder, or
by shards again, with --after. docs/many-machines.md shows it.`,
		Example: `  steer sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl --layers 2-4 --multipliers -0.6,-0.3,0,0.3,0.6 --out mood-sweep
  steer sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl --layers 3 --budgets -0.5,0.5 --operators add,add-same-norm --text neutral.txt --out equal-cost
  steer sweep --manifest mood-sweep/sweep.json --out again
  steer sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl --layers 3 --multipliers 0,0.6 --generate 3 --max-tokens 40 --words happy,smiled --out texts`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "out"); err != nil {
				return err
			}
			told := newNotes(c)
			m, manifest, data, scorers, err := f.prepare(c, told)
			if err != nil {
				return err
			}
			manifest.Command = append([]string{"steer", "sweep"}, flagsOf(c)...)
			manifest.Version = version()
			if _, err := os.Stat(filepath.Join(f.out, eval.RowsFile)); err == nil && !f.resume {
				told.add("beginning anew; %s has the rows of another sweep, which --resume would continue", f.out)
			}
			progress := newBar(c.ErrOrStderr(), "sweeping")
			defer progress.finish()
			done, err := eval.Sweep(c.Context(), m, *manifest, *data, eval.SweepRun{Dir: f.out, Resume: f.resume, Scorers: scorers, Shard: f.shard, After: f.after, Progress: func(done, total int) {
				progress.set(int64(done), int64(total))
			}})
			if errors.Is(err, context.Canceled) {
				return resumable{err, f.out}
			}
			if err != nil {
				return err
			}
			progress.finish()
			if done.Shard == nil {
				return showSweep(c, f.out, done, told, f.json)
			}
			if f.json {
				return printJSON(c.OutOrStdout(), done)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "shard %s is in %s: %d groups of points; %d token-layers given, %d computed, in %.1f s\n",
				f.shard, f.out, done.Shard.To-done.Shard.From, done.Work.Given, done.Work.Computed, done.Work.Seconds)
			return err
		},
	}
	f.model.add(c)
	flagsUnder(c, "Data", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.pairs, "pairs", "", "`FILE` of contrastive pairs to train on")
		flags.StringVar(&f.eval, "eval", "", "`FILE` of held-out questions with two answers, or pairs")
		f.asked.addData(flags)
		flags.Var(&parsed[steer.Reading]{&f.read, "", "READING", steer.ParseReading}, "read-token", "what is read of the training pairs; as steer train reads the file when not given")
		flags.StringVar(&f.activations, "activations", "", "a `FILE` that steer extract or steer merge wrote of the training pairs, in place of computing them here")
		siteFlag(flags, &f.layerType, "where in the layers")
		flags.StringVar(&f.manifest, "manifest", "", "run the sweep of this `FILE`, a sweep.json, again: model, data, grid and seeds are its own, and other weights or data are an error")
	})
	flagsUnder(c, "Grid", func(flags *pflag.FlagSet) {
		layersFlag(flags, &f.layers, "layers", "layers to try; all when not given")
		numbers(flags, &f.asked.multipliers, "multipliers", "multipliers to try")
		numbers(flags, &f.budgets, "budgets", "in place of multipliers, costs in nats at which points are compared, negative ones against the vector; what has that cost is looked for at each layer")
		list(flags, &f.aggregators, "aggregators", "mean", "how activations become a direction", func(text string) error { _, err := steer.ParseAggregator(text); return err })
		list(flags, &f.operators, "operators", eval.OwnOperator, "how the vectors act; own is what their aggregator asks for, mostly add", func(text string) error {
			if text == eval.OwnOperator {
				return nil
			}
			_, err := steer.ParseOperator(text)
			return err
		})
		list(flags, &f.scopes, "scopes", "all", "the tokens that are steered: all, prompt, response or another selection without a comma", func(text string) error {
			if text == "all" {
				return nil
			}
			_, err := steer.ParseTokens(text)
			return err
		})
		number(flags, &f.most, "max-cost", 0, 1e6, "nats that the chosen point may cost, the 95th percentile over tokens")
	})
	flagsUnder(c, "What it is compared with", f.asked.addBaselines)
	f.writing.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.out, "out", "", "`FOLDER` to write")
		shardFlag(flags, &f.shard, "the questions")
		flags.StringVar(&f.after, "after", "", "with --shard, do a part of what is left to do in this `FOLDER`, which steer merge made of the grid's shards")
		flags.BoolVar(&f.resume, "resume", false, "continue the sweep that was stopped, if there was one")
		jsonFlag(flags, &f.json)
	})
	return c
}

// showSweep writes the report of a sweep that has ended and prints what it found.
func showSweep(c *cobra.Command, dir string, done *eval.Manifest, told *notes, asJSON bool) error {
	for _, note := range done.Notes {
		told.add("%s", note)
	}
	if asJSON && done.Result == nil { // a merged grid
		return printJSON(c.OutOrStdout(), done)
	}
	found, err := report.Read(dir)
	if err != nil {
		return err
	}
	page := filepath.Join(dir, report.PageFile)
	if err := found.Save(page); err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), done)
	}
	out := c.OutOrStdout()
	if err := found.Text(out, colored(out)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nwrote %s\n", page)
	return err
}

// list is a flag for values parted by commas; a part that only says a parameter, as
// in rotate:by=30,only=positive, belongs to the one before.
func list(flags *pflag.FlagSet, target *[]string, name, standard, help string, check func(string) error) {
	*target = []string{standard}
	flags.Var(&parsed[[]string]{target, standard, "LIST", func(text string) ([]string, error) {
		var out []string
		for part := range strings.SplitSeq(text, ",") {
			if n := len(out); n > 0 && strings.Contains(part, "=") && !strings.Contains(part, ":") {
				out[n-1] += "," + part
				continue
			}
			out = append(out, part)
		}
		for i, part := range out {
			if err := check(part); err != nil {
				return nil, err
			}
			if slices.Contains(out[:i], part) {
				return nil, fmt.Errorf("%s is given twice", part)
			}
		}
		return out, nil
	}}, name, help)
}

// flagsOf returns the flags that were given, as they would be typed again.
func flagsOf(c *cobra.Command) (words []string) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "bool" {
			words = append(words, "--"+f.Name)
			return
		}
		words = append(words, "--"+f.Name, f.Value.String())
	})
	return words
}

// prepare opens the model and reads the data, of the flags or of a manifest.
func (f *sweepFlags) prepare(c *cobra.Command, told *notes) (*lm.Model, *eval.Manifest, *eval.SweepData, []eval.Scorer, error) {
	fail := func(err error) (*lm.Model, *eval.Manifest, *eval.SweepData, []eval.Scorer, error) {
		return nil, nil, nil, nil, err
	}
	var before *eval.Manifest
	if f.after != "" {
		if f.shard == (steer.Shard{}) {
			return fail(usage("--after is for shards; on one machine --resume goes on in the folder itself"))
		}
		if f.manifest != "" {
			return fail(usage("give one of --manifest and --after"))
		}
		f.manifest = filepath.Join(f.after, eval.ManifestFile)
	}
	if f.manifest != "" {
		var err error
		if before, err = f.fromManifest(c); err != nil {
			return fail(err)
		}
	} else if err := require(c, "model", "pairs", "eval"); err != nil {
		return fail(err)
	}
	if c.Flags().Changed("budgets") {
		if c.Flags().Changed("multipliers") {
			return fail(usage("give one of --multipliers and --budgets"))
		}
		f.asked.multipliers = nil
	}
	manifest, data := &eval.Manifest{}, &eval.SweepData{}
	file, err := pairs.Open(f.pairs)
	if err != nil {
		return fail(err)
	}
	hash, err := hashFile(f.pairs)
	if err != nil {
		return fail(err)
	}
	data.Samples, manifest.Pairs = file.Samples, eval.DataInfo{Path: f.pairs, Hash: hash, Count: len(file.Samples)}
	items, info, err := openData(f.eval)
	if err != nil {
		return fail(err)
	}
	data.Items, manifest.Eval = items.Items, info
	if data.Text, manifest.Text, err = f.asked.neutral(items.Items); err != nil {
		return fail(err)
	}
	scorers, err := f.writing.scorers(c, items.JudgePrompt)
	if err != nil {
		return fail(err)
	}
	instruction, err := f.asked.instruction(items)
	if err != nil {
		return fail(err)
	}
	switch {
	case f.read == nil && file.Read != nil:
		f.read = file.Read
		told.add("%s; --read-token chooses another", file.Note)
	case f.read == nil:
		f.read = steer.ReadAt(-1)
	}
	m, err := f.model.open(c)
	if err != nil {
		return fail(err)
	}
	if f.activations != "" {
		if data.Activations, err = steer.LoadActivations(f.activations); err != nil {
			return fail(err)
		}
	}
	manifest.Model = modelInfo(m, f.model.ref)
	layers, err := f.layers.Of(m)
	if err != nil {
		return fail(usage("--layers: %w", err))
	}
	if layers == nil {
		layers = m.LayersOf(f.layerType)
	}
	manifest.Grid = eval.Grid{Layers: layers, Aggregators: f.aggregators, Operators: f.operators, Scopes: f.scopes, Multipliers: f.asked.multipliers, Budgets: f.budgets}
	manifest.Plan = eval.Plan{
		Site: f.layerType, Read: f.read.String(), Chat: f.asked.chat, TextTokens: f.asked.textTokens, MaxKL95: f.most,
		Seed: f.asked.seed, Resamples: f.asked.resamples, Random: f.asked.random, Generate: f.writing.plan(scorers),
	}
	if instruction != nil {
		manifest.Plan.Instructions = &[2]string{instruction.Positive, instruction.Negative}
	}
	if before != nil {
		manifest.Grid, manifest.Plan = before.Grid, before.Plan
		if err := before.Differs(manifest); err != nil {
			return fail(fmt.Errorf("%s cannot be run again to the same bits: %w", f.manifest, err))
		}
	}
	return m, manifest, data, scorers, nil
}

// fromManifest takes the model, the data and what they are read with from a
// manifest. Its paths hold from where the command runs.
func (f *sweepFlags) fromManifest(c *cobra.Command) (*eval.Manifest, error) {
	c.Flags().Visit(func(flag *pflag.Flag) {
		if !slices.Contains([]string{"manifest", "out", "resume", "json", "model", "pairs", "eval", "text", "dtype", "judge-url", "judge-model", "judge-asks", "judge-prompts", "judge-highest", "judge-cache", "shard", "after", "activations"}, flag.Name) {
			f.manifest = ""
		}
	})
	if f.manifest == "" {
		return nil, usage("beside --manifest only --out, --resume and --json, and other places of the model, the data and the judge, can be given")
	}
	m, err := eval.ReadManifest(f.manifest)
	if err != nil {
		return nil, err
	}
	m.Shard = nil // what a shard was of is run again as a whole, or in other shards
	for _, part := range []struct {
		flag   string
		target *string
		value  string
	}{{"model", &f.model.ref, m.Model.Ref}, {"pairs", &f.pairs, m.Pairs.Path}, {"eval", &f.eval, m.Eval.Path}, {"text", &f.asked.text, m.Text.Path}} {
		if !c.Flags().Changed(part.flag) {
			*part.target = part.value
		}
	}
	if err := f.writing.from(m.Plan.Generate); err != nil {
		return nil, err
	}
	if m.Plan.Read != "" {
		if f.read, err = steer.ParseReading(m.Plan.Read); err != nil {
			return nil, fmt.Errorf("%s: %w", f.manifest, err)
		}
	}
	return m, nil
}
