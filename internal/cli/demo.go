package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/demo/stories"
)

// demonstration is steering in ten seconds: a vector is trained, used and
// measured on the model in the binary.
type demonstration struct {
	positive, negative string
	seed               uint64
	color              bool

	ctx   context.Context
	out   io.Writer
	model *lm.Model
}

// What the demonstration does: how many pairs it trains on, where the vector
// acts, how strongly, and how many held-out stories it scores.
const (
	demoPairs    = 64
	demoScored   = 24
	demoStrength = 0.6
)

var demoLayers = []int{3}

// Where the seeds of the demonstration's stories begin, so that what is scored
// was neither trained on nor seen by the model.
const (
	trainSeeds   = 1 << 32
	writtenSeeds = 2 << 32
	scoredSeeds  = 3 << 32
)

func demoCommand() *cobra.Command {
	d := demonstration{seed: 1}
	asJSON := false
	c := &cobra.Command{
		Use:   "demo",
		Short: "See steering work, with the model in this program",
		Long: `See steering work, with the model in this program: nothing is downloaded.

A vector is trained on beginnings of little stories in two moods. It then turns the
same neutral beginning towards the one or the other, and stories that it was not
trained on say how far it turns the model. --model ` + demo.Name + ` names the model in
every other command.`,
		Example: `  steer demo
  steer demo --positive calm --negative angry
  steer generate --model demo --prompt "Once there was a little fox"`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if d.positive == d.negative {
				return usage("--positive and --negative are both %s", d.positive)
			}
			d.ctx, d.out = c.Context(), c.OutOrStdout()
			d.color = colored(d.out)
			if asJSON {
				d.out = io.Discard
			}
			told, err := d.run()
			if err == nil && asJSON {
				err = printJSON(c.OutOrStdout(), told)
			}
			return err
		},
	}
	flagsUnder(c, "Moods", func(flags *pflag.FlagSet) {
		moods := stories.Moods()
		name := func(name string) string { return name }
		choice(flags, &d.positive, "positive", moods, name, "the mood that the vector points to")
		choice(flags, &d.negative, "negative", slices.Concat(moods[1:], moods[:1]), name, "the mood that it points away from")
	})
	flagsUnder(c, "Choosing tokens", func(flags *pflag.FlagSet) {
		seedFlag(flags, &d.seed, "equal seeds give equal stories")
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

// colored reports whether colors can be shown.
func colored(w io.Writer) bool {
	file, ok := w.(*os.File)
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && (ok && term.IsTerminal(int(file.Fd())) || os.Getenv("CLICOLOR_FORCE") == "1")
}

// demonstrated is what the demonstration tells as JSON.
type demonstrated struct {
	GivenTokens    int                 `json:"given_tokens"`
	ComputedTokens int                 `json:"computed_tokens"`
	TrainSeconds   float64             `json:"train_seconds"`
	Beginning      string              `json:"beginning"`
	Continuations  []demoContinuation  `json:"continuations"`
	Curve          []demoCurvePosition `json:"curve"`
	Seconds        float64             `json:"seconds"`
}

type demoContinuation struct {
	Strength float64 `json:"strength"`
	Text     string  `json:"text"`
}

// demoCurvePosition is the mean preference of the steered model for held-out
// endings in the positive mood, in nats a token.
type demoCurvePosition struct {
	Strength   float64 `json:"strength"`
	Preference float64 `json:"preference"`
}

func (d *demonstration) run() (*demonstrated, error) {
	begin := time.Now()
	var err error
	if d.model, err = lm.Open(d.ctx, demo.Name); err != nil {
		return nil, err
	}
	limitGarbage()
	told := &demonstrated{}
	fmt.Fprintf(d.out, "A model of %.1f million parameters that writes little stories, and a vector that it learns now.\n\n",
		float64(d.model.Description().Parameters)/1e6)
	vector, err := d.train(told)
	if err != nil {
		return nil, err
	}
	if err := d.write(vector, told); err != nil {
		return nil, err
	}
	if err := d.curve(vector, told); err != nil {
		return nil, err
	}
	told.Seconds = time.Since(begin).Seconds()
	fmt.Fprintf(d.out, "All that took %.1f s on this machine's processor. The same with a model from the Hub:\n\n%s\n", told.Seconds, hubCommands)
	return told, nil
}

const hubCommands = `  printf '["%s", "%s"]\n' 'I feel happy' 'I feel sad' 'What a good day' 'What a bad day' > pairs.jsonl
  steer train --model Qwen/Qwen2.5-0.5B-Instruct --pairs pairs.jsonl --layers 12 --out mood.safetensors
  steer generate --model Qwen/Qwen2.5-0.5B-Instruct --prompt "My day was" --vector mood.safetensors:0.7
  steer score --model Qwen/Qwen2.5-0.5B-Instruct --prompt "I feel" --continuation " wonderful" --vector mood.safetensors:0.7`

// train learns the vector from beginnings of stories that are the same up to
// where their mood shows.
func (d *demonstration) train(told *demonstrated) (*steer.Vector, error) {
	pairs := stories.Pairs(trainSeeds+d.seed, demoPairs, d.positive, d.negative)
	samples := make([]steer.Sample, len(pairs))
	for i, p := range pairs {
		samples[i] = steer.Sample{Positive: p.Beginning + " " + p.PositiveStatement, Negative: p.Beginning + " " + p.NegativeStatement}
	}
	begin := time.Now()
	statistics, err := steer.Collect(d.ctx, d.model, samples, steer.TrainOptions{Layers: demoLayers})
	if err != nil {
		return nil, err
	}
	vector, err := statistics.Vector()
	if err != nil {
		return nil, err
	}
	usage := statistics.Usage
	told.TrainSeconds, told.GivenTokens, told.ComputedTokens = time.Since(begin).Seconds(), usage.Given, usage.Computed
	fmt.Fprintf(d.out, "Trained on %d pairs of story beginnings in %.0f ms: %d tokens given, %d computed, as pairs share theirs.\n",
		len(samples), 1e3*told.TrainSeconds, usage.Given, usage.Computed)
	fmt.Fprintf(d.out, "  %-9s %s %s\n", d.positive+":", pairs[0].Beginning, d.paint(pairs[0].PositiveStatement))
	fmt.Fprintf(d.out, "  %-9s %s %s\n\n", d.negative+":", pairs[0].Beginning, d.paint(pairs[0].NegativeStatement))
	return vector, nil
}

// at returns the model steered with the vector at a strength.
func (d *demonstration) at(vector *steer.Vector, strength float64) (*lm.Model, error) {
	if strength == 0 {
		return d.model, nil
	}
	edit, err := vector.Edit(strength)
	if err != nil {
		return nil, err
	}
	return d.model.With(edit)
}

// write continues a neutral beginning under the vector's two directions and
// without it.
func (d *demonstration) write(vector *steer.Vector, told *demonstrated) error {
	told.Beginning = stories.Pairs(writtenSeeds+d.seed, 1, d.positive, d.negative)[0].Beginning
	tokens, err := d.model.Tokenize(told.Beginning)
	if err != nil {
		return err
	}
	var columns [][]string
	for _, strength := range []float64{-demoStrength, 0, demoStrength} {
		m, err := d.at(vector, strength)
		if err != nil {
			return err
		}
		written, err := m.Generate(d.ctx, []lm.Input{{Tokens: tokens}}, lm.GenerateOptions{MaxTokens: 90, Temperature: 0.7, Seed: d.seed})
		if err != nil {
			return err
		}
		text := strings.TrimSpace(written[0].Text)
		told.Continuations = append(told.Continuations, demoContinuation{strength, text})
		columns = append(columns, wrap(text, 30))
	}
	fmt.Fprintf(d.out, "%s …\n\n", told.Beginning)
	fmt.Fprintf(d.out, "  %-32s%-32s%s\n", fmt.Sprintf("%s (%+.1f)", d.negative, -demoStrength), "not steered", fmt.Sprintf("%s (%+.1f)", d.positive, demoStrength))
	for row := range max(len(columns[0]), len(columns[1]), len(columns[2])) {
		line := " "
		for i, column := range columns {
			cell := ""
			if row < len(column) {
				cell = column[row]
			}
			line += " " + d.paint(cell)
			if i < 2 {
				line += strings.Repeat(" ", 31-len(cell))
			}
		}
		fmt.Fprintln(d.out, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(d.out)
	return nil
}

// wrap breaks a text into lines of at most width bytes; longer words stand alone.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// paint colors the words that show a mood.
func (d *demonstration) paint(text string) string {
	if !d.color {
		return text
	}
	const green, blue, plain = "\x1b[1;32m", "\x1b[1;34m", "\x1b[0m"
	positive, negative := stories.Words(d.positive), stories.Words(d.negative)
	words := strings.SplitAfter(text, " ")
	for i, word := range words {
		bare := strings.Trim(strings.ToLower(word), " .,")
		core := strings.TrimRight(word, " .,")
		switch {
		case slices.Contains(positive, bare):
			words[i] = green + core + plain + word[len(core):]
		case slices.Contains(negative, bare):
			words[i] = blue + core + plain + word[len(core):]
		}
	}
	return strings.Join(words, "")
}

// curve scores stories that the vector was not trained on: how much likelier the
// model finds what follows in the positive mood than in the negative one.
func (d *demonstration) curve(vector *steer.Vector, told *demonstrated) error {
	pairs := stories.Pairs(scoredSeeds+d.seed, demoScored, d.positive, d.negative)
	var heights []float64
	for strength := -1.5; strength <= 1.5; strength += 0.25 {
		m, err := d.at(vector, strength)
		if err != nil {
			return err
		}
		preference, err := preferenceOf(d.ctx, m, pairs)
		if err != nil {
			return err
		}
		told.Curve = append(told.Curve, demoCurvePosition{strength, preference})
		heights = append(heights, preference)
	}
	options := []asciigraph.Option{asciigraph.Height(9), asciigraph.Width(65), asciigraph.Precision(1), asciigraph.Offset(3)}
	if d.color {
		options = append(options, asciigraph.SeriesColors(asciigraph.Green))
	}
	fmt.Fprintf(d.out, "How much likelier %s endings of %d other stories are than %s ones (nats a token), by strength:\n\n%s\n",
		d.positive, demoScored, d.negative, asciigraph.Plot(heights, options...))
	axis := []byte(strings.Repeat(" ", 65+9))
	for i, label := range []string{"-1.5", "-0.75", "0", "0.75", "1.5"} {
		copy(axis[5+i*16:], label)
	}
	fmt.Fprintf(d.out, "   %s\n\n", strings.TrimRight(string(axis), " "))
	return nil
}

// preferenceOf is how much likelier a model finds what follows in the positive
// mood than in the negative one: the mean over pairs of the difference in
// log-probability, in nats a token.
func preferenceOf(ctx context.Context, m *lm.Model, pairs []stories.Pair) (float64, error) {
	var asked []lm.Continuation
	for _, p := range pairs {
		prompt, err := m.Tokenize(p.Beginning)
		if err != nil {
			return 0, err
		}
		for _, rest := range []stories.Continuation{p.Positive, p.Negative} {
			tokens, err := m.TokenizeContinuation(" " + rest.String())
			if err != nil {
				return 0, err
			}
			asked = append(asked, lm.Continuation{Prompt: lm.Input{Tokens: prompt}, Tokens: tokens})
		}
	}
	scores, err := m.Score(ctx, asked)
	if err != nil {
		return 0, err
	}
	total := 0.0
	for i := range pairs {
		total += mean(scores[2*i]) - mean(scores[2*i+1])
	}
	return total / float64(len(pairs)), nil
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}
