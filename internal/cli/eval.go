package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// askedFlags say what an evaluation asks, and what with it is compared.
type askedFlags struct {
	chat               bool
	text               string // the file's name
	textTokens         int
	multipliers        []float64
	random             int
	positive, negative string
	seed               uint64
	resamples          int
}

func (f *askedFlags) addData(flags *pflag.FlagSet) {
	flags.BoolVar(&f.chat, "chat", false, "ask each question through the model's chat template")
	flags.StringVar(&f.text, "text", "", "neutral `FILE`, plain text with empty lines between paragraphs, on which the cost is measured; the data's own prompts when not given")
	number(flags, &f.textTokens, "text-tokens", 8, 1<<20, "tokens of it that are taken")
}

func (f *askedFlags) addBaselines(flags *pflag.FlagSet) {
	number(flags, &f.random, "random", 0, 1000, "random vectors of the same length to compare with")
	flags.StringVar(&f.positive, "positive-system", "", "`TEXT` that asks for the behaviour, to compare with: a system message with --chat, else the beginning of each prompt")
	flags.StringVar(&f.negative, "negative-system", "", "`TEXT` that asks for its opposite")
	seedFlag(flags, &f.seed, "equal seeds give equal random vectors, halves and intervals")
	number(flags, &f.resamples, "resamples", 1, 1e6, "draws of the bootstrap that the intervals come from")
}

func newAskedFlags() askedFlags {
	return askedFlags{textTokens: 512, random: 3, seed: 1, resamples: 1000, multipliers: []float64{-1.5, -1, -0.5, 0, 0.5, 1, 1.5}}
}

// numbers is a flag for a list of numbers.
func numbers(flags *pflag.FlagSet, target *[]float64, name, help string) {
	var text []string
	for _, n := range *target {
		text = append(text, plain(n))
	}
	flags.Var(&parsed[[]float64]{target, strings.Join(text, ","), "LIST", func(text string) ([]float64, error) {
		var out []float64
		for part := range strings.SplitSeq(text, ",") {
			n, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
			if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
				return nil, fmt.Errorf("%q is not a number", part)
			}
			out = append(out, n)
		}
		slices.Sort(out)
		return slices.Compact(out), nil
	}}, name, help)
}

// instruction returns the pair of prompts that steering is compared with; nil:
// there is none. The data may have one.
func (f *askedFlags) instruction(data pairs.Items) (*pairs.Instruction, error) {
	switch {
	case f.positive != "" && f.negative != "":
		return &pairs.Instruction{Positive: f.positive, Negative: f.negative}, nil
	case f.positive != "" || f.negative != "":
		return nil, usage("give both of --positive-system and --negative-system, or neither")
	case len(data.Instructions) > 0:
		return &data.Instructions[0], nil
	}
	return nil, nil
}

// neutral returns the text on which the cost is measured, and what names it.
func (f *askedFlags) neutral(items []pairs.Item) (string, eval.DataInfo, error) {
	text, info := eval.TextOf(items), eval.DataInfo{Count: 1}
	if f.text != "" {
		data, err := os.ReadFile(f.text)
		if err != nil {
			return "", info, err
		}
		text, info.Path = string(data), f.text
	}
	info.Hash = eval.HashText(text)
	return text, info, nil
}

// evaluation is the result of steer eval.
type evaluation struct {
	Data eval.DataInfo `json:"data"`
	Text eval.DataInfo `json:"text"`
	Work eval.Work     `json:"work"`
	Rows []eval.Row    `json:"rows"`
	result
}

func evalCommand() *cobra.Command {
	var model modelFlags
	var steering steeringFlags
	asked := newAskedFlags()
	var writing writingFlags
	var data string
	var shard steer.Shard
	var measured outFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "eval --model REF --data FILE [--vector VECTOR]",
		Short: "Measure whether a vector steers, and what it costs",
		Long: `Measure whether vectors steer a model, and what that costs, beside what they have
to be compared with: no steering, the same vectors at 0, random vectors of the same
length, and prompts that ask for the behaviour.

The file has questions with a matching answer and one that does not match (CAA's and
model-written evaluations), pairs, multiple choice, labelled texts or questions; its
content says which. Vectors are measured at all of --multipliers; a multiplier behind
a vector's name multiplies them. docs/evaluating.md has the formulas.

--generate lets the model write answers as well, which scorers judge.

With --shard and --measured several machines share the questions, the text on which
the cost is measured and the prompts to write after; steer merge sums up what they
measured, to the rows of a single run.`,
		Example: `  steer eval --model demo --data held-out.jsonl --vector happy.safetensors --multipliers -0.6,-0.3,0,0.3,0.6
  steer eval --model demo --data held-out.jsonl --vector happy.safetensors,tokens=response --json
  steer eval --model demo --data held-out.jsonl --vector happy.safetensors --multipliers 0.6 --generate 4 --max-tokens 40 --words happy,smiled,laughed
  steer eval --model demo --data held-out.jsonl --vector happy.safetensors --multipliers -0.6,0,0.6 --shard 1/2 --measured measured1
  steer eval --model demo --data held-out.jsonl --vector happy.safetensors --multipliers -0.6,0,0.6 --shard 2/2 --measured measured2
  steer merge measured1 measured2 --out evaluation.json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "data"); err != nil {
				return err
			}
			vectors, err := steering.load(c)
			if err != nil {
				return err
			}
			if len(vectors) == 0 {
				return usage("--vector is missing")
			}
			if c.Flags().Changed("measured") {
				if err := require(c, "measured"); err != nil {
					return err
				}
				release, err := measured.reserve(c, model.ref, data)
				if err != nil {
					return err
				}
				defer release()
			} else if shard != (steer.Shard{}) {
				return usage("--shard %s is a part, of which there are no figures yet: give --measured, and put the parts together with steer merge", shard)
			}
			file, info, err := openData(data)
			if err != nil {
				return err
			}
			scorers, err := writing.scorers(c, file.JudgePrompt)
			if err != nil {
				return err
			}
			instruction, err := asked.instruction(file)
			if err != nil {
				return err
			}
			m, err := model.open(c)
			if err != nil {
				return err
			}
			told := newNotes(c)
			if file.Note != "" {
				told.add("%s", file.Note)
			}
			if _, _, err := apply(m, vectors, told); err != nil { // what may surprise
				return err
			}
			out := evaluation{Data: info}
			var text string
			if text, out.Text, err = asked.neutral(file.Items); err != nil {
				return err
			}
			var uses []eval.Use
			for _, v := range vectors {
				uses = append(uses, eval.Use{Vector: v.vector, Intervention: v.Intervention})
			}
			begun := time.Now()
			e, err := eval.NewEvaluator(c.Context(), m, eval.Options{
				Items: file.Items, Chat: asked.chat, Text: text, TextTokens: asked.textTokens, Seed: asked.seed, Resamples: asked.resamples,
			})
			if err != nil {
				return err
			}
			arms, err := eval.Baselines{Random: asked.random, Seed: asked.seed, Instruction: instruction}.Arms(m, uses, asked.multipliers)
			if err != nil {
				return err
			}
			steered, err := eval.Arms(m, uses, asked.multipliers)
			if err != nil {
				return err
			}
			progress := newBar(c.ErrOrStderr(), "evaluating")
			defer progress.finish()
			part := eval.Part{
				Version: version(), Shard: shard, Model: modelInfo(m, model.ref), Data: out.Data, Text: out.Text, Chat: asked.chat, TextTokens: asked.textTokens,
				Seed: asked.seed, Resamples: asked.resamples, Generate: writing.plan(scorers), Items: file.Items,
			}
			part.Measured, err = e.Measure(c.Context(), append(arms, steered...), shard, func(done, total int) { progress.set(int64(done), int64(total)) })
			if err != nil {
				return err
			}
			progress.finish()
			if writing.questions > 0 {
				writes := append([]eval.Arm{arms[0]}, slices.DeleteFunc(slices.Clone(arms), func(a eval.Arm) bool { return a.Instruction == "" })...)
				if part.Written, err = e.Write(c.Context(), append(writes, steered...), shard, writing.options(scorers, asked.seed, c)); err != nil {
					return err
				}
			}
			usage := e.Usage()
			out.Work = eval.Work{Given: usage.GivenLayers, Computed: usage.ComputedLayers, Seconds: time.Since(begun).Seconds()}
			_, how, err := apply(m, vectors, told)
			if err != nil {
				return err
			}
			out.result = resultOf(m, how, told)
			if measured.path != "" {
				part.Work = out.Work
				return out.save(c, &part, measured.path, asJSON)
			}
			if out.Rows, err = e.RowsOf(part.Measured, part.Written); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			return out.print(c.OutOrStdout())
		},
	}
	model.add(c)
	flagsUnder(c, "Data", func(flags *pflag.FlagSet) {
		flags.StringVar(&data, "data", "", "`FILE` of what is asked")
		asked.addData(flags)
	})
	steering.add(c)
	flagsUnder(c, "What is measured", func(flags *pflag.FlagSet) {
		numbers(flags, &asked.multipliers, "multipliers", "of the vectors")
		asked.addBaselines(flags)
	})
	writing.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		shardFlag(flags, &shard, "what is asked")
		measured.addNamed(flags, "measured", "`FILE` for what the figures are made of, in place of the figures: steer merge makes them, also of several")
		jsonFlag(flags, &asJSON)
	})
	return c
}

// modelInfo says which model is evaluated and how it computes.
func modelInfo(m *lm.Model, ref string) eval.ModelInfo {
	d := m.Description()
	return eval.ModelInfo{Ref: ref, ID: m.ID(), Revision: m.Revision(), WeightsHash: m.Fingerprint(), Layers: m.Layers(), DType: d.DType, Instructions: d.Instructions}
}

// savedPart is what steer eval tells of a part.
type savedPart struct {
	Shard string        `json:"shard,omitempty"`
	Data  eval.DataInfo `json:"data"`
	Work  eval.Work     `json:"work"`
	Out   string        `json:"out"`
	result
}

// save writes a part of an evaluation, with what the merged whole tells besides.
func (e *evaluation) save(c *cobra.Command, part *eval.Part, path string, asJSON bool) (err error) {
	if part.Told, err = json.Marshal(e.result); err != nil {
		return err
	}
	if err := part.Save(path); err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), savedPart{part.Shard.String(), e.Data, e.Work, path, e.result})
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "what was measured is written to %s: %d token-layers given, %d computed, in %.1f s\n", path, e.Work.Given, e.Work.Computed, e.Work.Seconds)
	return err
}

// openData reads a file of what is asked.
func openData(path string) (pairs.Items, eval.DataInfo, error) {
	file, err := pairs.OpenItems(path)
	if err != nil {
		return file, eval.DataInfo{}, err
	}
	hash, err := hashFile(path)
	return file, eval.DataInfo{Path: path, Hash: hash, Count: len(file.Items)}, err
}

// print writes a line for each row, the sets one after the other.
func (e *evaluation) print(w io.Writer) error {
	var text strings.Builder
	shown := map[eval.Set][]string{
		eval.Choices:      {eval.Propensity, eval.Match, eval.Accuracy},
		eval.Multiple:     {eval.MC1, eval.MC2},
		eval.Labelled:     {eval.Propensity},
		eval.Steerability: {eval.Slope, eval.Spearman, eval.WrongWay},
		eval.Cost:         {eval.KL, eval.KL95, eval.FirstKL, eval.Perplexity},
	}
	for _, set := range []eval.Set{eval.Choices, eval.Multiple, eval.Labelled, eval.Steerability, eval.Cost, eval.Generation} {
		rows := slices.DeleteFunc(slices.Clone(e.Rows), func(r eval.Row) bool { return r.Set != set })
		if len(rows) == 0 {
			continue
		}
		names := shown[set]
		if names == nil {
			names = metricNames(rows)
		}
		fmt.Fprintf(&text, "%-28s", set)
		for _, name := range names {
			fmt.Fprintf(&text, " %-30s", name)
		}
		text.WriteString("\n")
		for _, row := range rows {
			fmt.Fprintf(&text, "  %-26s", pointName(row))
			for _, name := range names {
				cell := ""
				if m, ok := row.Metrics[name]; ok {
					cell = fmt.Sprintf("%.4g [%.4g, %.4g]", m.Value, m.Low, m.High)
				}
				fmt.Fprintf(&text, " %-30s", cell)
			}
			text.WriteString("\n")
		}
		text.WriteString("\n")
	}
	saved := 100 * float64(e.Work.Saved()) / float64(max(e.Work.Given, 1))
	fmt.Fprintf(&text, "%d items; %d token-layers given, %d computed, %.0f %% saved, in %.1f s\n", e.Data.Count, e.Work.Given, e.Work.Computed, saved, e.Work.Seconds)
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// metricNames are the names of all metrics of rows, in order.
func metricNames(rows []eval.Row) []string {
	var names []string
	for _, row := range rows {
		for name := range row.Metrics {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// pointName says in a few words which point a row is of.
func pointName(r eval.Row) string {
	dose := fmt.Sprintf(" at %g", r.Multiplier)
	if r.Set == eval.Steerability {
		dose = ""
	}
	switch r.Baseline {
	case "":
		return "steered" + dose
	case eval.RandomVector:
		return fmt.Sprintf("random %d%s", r.Seed, dose)
	case eval.NoSteering:
		return "not steered"
	case eval.ZeroStrength:
		return "the vector at 0"
	case eval.PositivePrompt:
		return "prompted for it"
	case eval.NegativePrompt:
		return "prompted against it"
	}
	return cmp.Or(string(r.Baseline), "-")
}
