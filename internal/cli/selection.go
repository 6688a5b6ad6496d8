package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// selectionFlags say which activations of which pairs are read.
type selectionFlags struct {
	textFlags
	model     modelFlags
	pairs     string
	out       outFlags
	layers    *steer.Layers
	layerType lm.Site
	read      steer.Reading // nil: what the kind of file says, or the last token
	shard     steer.Shard
	runTokens int

	systemPositive, systemNegative string
	neutral                        string // a file
}

func (f *selectionFlags) add(c *cobra.Command) {
	f.model.add(c)
	flagsUnder(c, "What is read", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.pairs, "pairs", "", "`FILE` of contrastive pairs, JSON Lines, JSON, CSV or CAA's; - for standard input")
		f.textFlags.add(flags)
		flags.StringVar(&f.systemPositive, "system-positive", "", "begin the conversations of the positive prompts with the system message `TEXT`")
		flags.StringVar(&f.systemNegative, "system-negative", "", "begin those of the negative prompts with `TEXT`")
		layersFlag(flags, &f.layers, "layers", "layers to read; all when not given")
		siteFlag(flags, &f.layerType, "where in the layers")
		flags.Var(&parsed[steer.Reading]{&f.read, "", "READING", steer.ParseReading}, "read-token",
			`what is read of a prompt where a pair does not say: a position, negative from the prompt's end, or mean, mean:2:-1, mean:response, mean:"text"; the last token when not given`)
		shardFlag(flags, &f.shard, "the pairs")
		number(flags, &f.runTokens, "run-tokens", 1, math.MaxInt32, "compute at most N tokens together: bounds memory, never changes results; 1024 when not given")
	})
}

func (f *selectionFlags) addOutput(c *cobra.Command, asJSON *bool) {
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		f.out.add(flags)
		jsonFlag(flags, asJSON)
	})
}

// prepared is a request whose flags are checked, whose pairs are read and whose
// model is open.
type prepared struct {
	file      string // of the pairs, for errors
	lines     []int  // of the samples
	samples   []steer.Sample
	neutral   []string // where the texts behind the pairs stand
	rendering steer.Rendering
	model     *lm.Model
	opts      steer.ExtractOptions
	out       string
	told      *notes
	release   func()
}

func (f *selectionFlags) prepare(c *cobra.Command) (p *prepared, err error) {
	if err := require(c, "model", "pairs", cmp.Or(f.out.name, "out")); err != nil {
		return nil, err
	}
	if err := f.readSystem(c); err != nil {
		return nil, err
	}
	for _, name := range []string{"system-positive", "system-negative"} {
		if c.Flags().Changed(name) && !f.chat {
			return nil, usage("--%s is for conversations; --chat is not given", name)
		}
	}
	release, err := f.out.reserve(c, f.model.ref, f.pairs)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	p = &prepared{file: f.pairs, told: newNotes(c), out: f.out.path, release: release,
		opts: steer.ExtractOptions{Site: f.layerType, RunTokens: f.runTokens, Read: f.read, Shard: f.shard}}
	var file pairs.File
	if f.pairs == "-" {
		p.file = "standard input"
		data, err := f.stdin.take(c, "pairs")
		if err != nil {
			return nil, err
		}
		file, err = pairs.Read(bytes.NewReader(data), p.file)
		if err != nil {
			return nil, err
		}
	} else if file, err = pairs.Open(f.pairs); err != nil {
		return nil, err
	}
	p.samples, p.lines = file.Samples, file.Lines
	if p.opts.Read == nil && file.Read != nil {
		p.opts.Read = file.Read
		p.told.add("%s; --read-token chooses another", file.Note)
	}
	if f.neutral != "" {
		if err := f.against(c, p); err != nil {
			return nil, err
		}
	}
	if p.model, err = f.model.open(c); err != nil {
		return nil, err
	}
	if p.opts.Layers, err = f.layers.Of(p.model); err != nil {
		return nil, err
	}
	if f.chat {
		if err := f.render(c.Context(), p); err != nil {
			return nil, p.placed(err)
		}
	}
	return p, p.noteLongPrompts(c.Context())
}

// render makes a conversation of every prompt.
func (f *selectionFlags) render(ctx context.Context, p *prepared) (err error) {
	t, err := p.model.Tokenizer()
	if err != nil {
		return err
	}
	p.samples, p.rendering, err = steer.RenderChat(ctx, t, p.samples, f.conversation())
	return err
}

// conversation says how prompts become conversations.
func (f *selectionFlags) conversation() steer.Chat {
	return steer.Chat{SystemPositive: cmp.Or(f.systemPositive, f.system), SystemNegative: cmp.Or(f.systemNegative, f.system)}
}

// against puts the texts of a file in the place of the negative prompts.
func (f *selectionFlags) against(c *cobra.Command, p *prepared) error {
	neutral := promptFlags{file: f.neutral}
	if f.neutral == "-" && f.pairs == "-" {
		return usage("--pairs and --neutral both are to come from standard input")
	}
	if err := neutral.readFile(c); err != nil {
		return err
	}
	for i := range p.samples {
		s := &p.samples[i]
		s.Negative, s.NegativeIDs, s.NegativeResponse, s.ReadNegative = "", nil, 0, nil
	}
	for _, r := range neutral.requests {
		if r.messages != nil || r.continuations != nil {
			return usage("%s--neutral takes texts, not conversations or continuations", r.where)
		}
		p.samples = append(p.samples, steer.Sample{Negative: r.text, NegativeIDs: r.tokens})
		p.neutral = append(p.neutral, r.where)
	}
	return nil
}

// noteLongPrompts notes prompts that are longer than what the model is made for. A
// token stands for a byte at least, so that few texts have to be looked at.
func (p *prepared) noteLongPrompts(ctx context.Context) error {
	most := p.model.Decoder().MaxPositions
	if most == 0 {
		return nil
	}
	lengths := make([]int, 0, 2*len(p.samples))
	for _, s := range p.samples {
		for _, side := range []struct {
			text string
			ids  []int
		}{{s.Positive, s.PositiveIDs}, {s.Negative, s.NegativeIDs}} {
			n := len(side.ids)
			if side.ids == nil && len(side.text) > most {
				if err := ctx.Err(); err != nil {
					return err
				}
				if ids, err := p.model.Tokenize(side.text); err == nil { // an error comes again, with its place
					n = len(ids)
				}
			}
			lengths = append(lengths, n)
		}
	}
	noteLength(p.model, p.told, lengths)
	return nil
}

// placed says of an error of one of the samples on which line it stands.
func (p *prepared) placed(err error) error {
	if wrong := (*steer.SampleError)(nil); errors.As(err, &wrong) && wrong.Sample >= len(p.lines) {
		return fmt.Errorf("%s%w", p.neutral[wrong.Sample-len(p.lines)], wrong.Err)
	}
	return placedIn(p.file, p.lines, err)
}

// work reports what a training or an extraction did.
type work struct {
	made string

	Pairs   int    `json:"pairs"`
	Prompts int    `json:"prompts"`
	Shard   string `json:"shard,omitempty"` // of the pairs
	lm.Usage
	Seconds    float64           `json:"seconds"`
	LayerType  lm.Site           `json:"layer_type"`
	Layers     []int             `json:"layers"`
	Aggregator string            `json:"aggregator,omitempty"`
	Heads      map[int][]float64 `json:"head_accuracies,omitempty"` // by layer
	Out        string            `json:"out"`
	result
}

func (p *prepared) work(made string, layers []int, start time.Time) *work {
	return &work{made: made, Pairs: len(p.samples), Prompts: 2 * len(p.samples), Shard: p.opts.Shard.String(), Seconds: time.Since(start).Seconds(),
		LayerType: p.opts.Site, Layers: layers, Out: p.out, result: resultOf(p.model, []applied{}, p.told)}
}

func (w *work) print(c *cobra.Command, asJSON bool) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), w)
	}
	saved := 0.0
	if w.Given > 0 {
		saved = 100 * float64(w.Given-w.Computed) / float64(w.Given)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s of layers %s written to %s: %d prompts with %d tokens; %d of them computed, %.0f %% saved, in %.1f s\n",
		w.made, layerList(w.Layers), w.Out, w.Prompts, w.Given, w.Computed, saved, w.Seconds)
	return err
}
