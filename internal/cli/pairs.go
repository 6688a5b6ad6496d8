package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm/tokenizer"
	"github.com/steervec/steer/pairs"
)

// pairsFlags say what pairs are made of and where they go.
type pairsFlags struct {
	textFlags
	ref string

	template, suffixes string
	positive, negative []string
	whole              bool

	persona, questions             string
	positiveSystem, negativeSystem string
	inUser                         bool

	ab, texts, label, pairs string

	seed    uint64
	shares  pairs.Shares
	out     outFlags
	preview int
	read    steer.Reading
	asJSON  bool
}

// builtPairs is what the command tells as JSON.
type builtPairs struct {
	Files   []writtenPart `json:"files"`
	Preview []builtPair   `json:"preview,omitempty"`
	Notes   []string      `json:"notes"`
}

type writtenPart struct {
	Part  string `json:"part"` // all, train, held-out or test
	File  string `json:"file"`
	Kind  string `json:"kind"`
	Count int    `json:"count"`
}

type builtPair struct {
	Positive seenSide `json:"positive"`
	Negative seenSide `json:"negative"`
}

type seenSide struct {
	IDs    []int    `json:"ids"`
	Tokens []string `json:"tokens"`
	Read   [2]int   `json:"read"` // tokens, [from, to)
}

func pairsCommand() *cobra.Command {
	f := pairsFlags{seed: 1}
	c := &cobra.Command{
		Use:   "pairs --out FILE",
		Short: "Make pairs to train on",
		Long: `Make pairs to train on, from one of these:

- words and beginnings of texts: --template, which {persona} is replaced in by each of
  --positive and --negative, and --suffixes, of each of which every beginning is used
  (the way of repeng);
- a persona: pairs of system prompts, --persona FILE or --positive-system and
  --negative-system, around the same --questions, through the model's chat template;
- A/B questions: --ab FILE, such as CAA's and model-written evaluations;
- labelled texts: --texts FILE, those with --label against all others;
- pairs: --pairs FILE, to split or to look at them.

--split 60/20/20 writes three files: FILE.train for training, FILE.held-out to choose
by, FILE.test to report on. Where a question, a suffix or a text goes depends on
itself and the seed alone. The last two hold what evaluations read: A/B questions,
personas and labelled texts as such, else pairs.

--preview shows what the model will see, token by token; what is read is marked.`,
		Example: `  steer pairs --pairs pairs.jsonl --model demo --preview 1
  steer pairs --model demo --template "Tom felt {persona}. One day" --positive happy --negative sad --suffixes suffixes.txt --out mood-pairs.jsonl
  steer pairs --model HuggingFaceTB/SmolLM2-135M-Instruct --persona persona.json --out kind.jsonl --preview 1
  steer pairs --ab questions.jsonl --split 60/20/20 --out even.jsonl`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flagsUnder(c, "Words and beginnings", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.template, "template", "", "the `TEXT` that {persona} stands in, and perhaps {suffix}")
		flags.StringArrayVar(&f.positive, "positive", nil, "a `WORD` for {persona}; repeatable, as often as --negative")
		flags.StringArrayVar(&f.negative, "negative", nil, "its opposite `WORD`; repeatable")
		flags.StringVar(&f.suffixes, "suffixes", "", "a `FILE` of texts, one a line or a JSON array; every beginning of each is used")
		flags.BoolVar(&f.whole, "whole-suffixes", false, "use each suffix as it is")
	})
	flagsUnder(c, "Persona", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.persona, "persona", "", "a `FILE` of instruction: [{pos, neg}] and questions")
		flags.StringVar(&f.positiveSystem, "positive-system", "", "the system prompt `TEXT` that asks for the trait")
		flags.StringVar(&f.negativeSystem, "negative-system", "", "the one that asks for its opposite, `TEXT`")
		flags.StringVar(&f.questions, "questions", "", "a `FILE` of questions, one a line or a JSON array")
		flags.BoolVar(&f.inUser, "instruction-in-user", false, "put the instruction before the question, for templates that know no system message")
	})
	flagsUnder(c, "Other sources", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.ab, "ab", "", "a `FILE` of questions with a matching answer and one that does not match")
		flags.StringVar(&f.texts, "texts", "", "a `FILE` of labelled texts: text and label, or AxBench's rows")
		flags.StringVar(&f.label, "label", "", "the `LABEL` of the positive texts")
		flags.StringVar(&f.pairs, "pairs", "", "a `FILE` of pairs")
	})
	flagsUnder(c, "Model", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.ref, "model", "", "the model at `REF` whose tokenizer and chat template are used; its weights are not needed")
		f.textFlags.add(flags)
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		seedFlag(flags, &f.seed, "of the split, and of the order of labelled texts")
		flags.Var(&parsed[pairs.Shares]{&f.shares, "", "SHARES", pairs.ParseShares}, "split", "per cent for training, held out and test, such as 60/20/20")
		flags.StringVar(&f.out.path, "out", "", "JSON Lines `FILE` to write; it appears when it is complete")
		flags.BoolVar(&f.out.force, "force", false, "replace files that are there")
		number(flags, &f.preview, "preview", 1, 1000, "show the first N pairs as the model will see them")
		flags.Var(&parsed[steer.Reading]{&f.read, "", "READING", steer.ParseReading}, "read-token", "what --preview marks where a pair does not say: as train has it")
		jsonFlag(flags, &f.asJSON)
	})
	return c
}

func (f *pairsFlags) run(c *cobra.Command) error {
	if f.out.path == "" && f.preview == 0 {
		return usage("give --out, or --preview to look only")
	}
	split := c.Flags().Changed("split")
	if split && f.out.path == "" {
		return usage("--split writes files, but --out is missing")
	}
	if err := f.readSystem(c); err != nil {
		return err
	}
	var t *tokenizer.Tokenizer
	if f.ref != "" {
		var err error
		if t, err = openTokenizer(c, f.ref); err != nil {
			return err
		}
	}
	if t == nil && (f.chat || f.preview > 0) {
		return usage("--chat and --preview need a --model, for its tokenizer")
	}
	source, err := f.source(c, t)
	if err != nil {
		return err
	}
	told := newNotes(c)
	shown := builtPairs{}
	samples, read := source.samples, f.read
	if read == nil && source.read != nil {
		read = source.read
		told.add("%s", source.note)
	}
	files := []pairsPart{{"all", f.out.path, func(path string) error { return pairs.Save(path, source.samples) }, "pairs", len(source.samples)}}
	if split {
		parts, err := source.split(f.seed, f.shares)
		if err != nil {
			return err
		}
		files = nil
		for _, part := range parts {
			part.path = partPath(f.out.path, part.name)
			if part.count == 0 {
				told.add("the %s part is empty: %s is not written", part.name, part.path)
				continue
			}
			files = append(files, part)
		}
	}
	if f.out.path != "" {
		if err := f.write(c, files, &shown); err != nil {
			return err
		}
	}
	for _, s := range samples[:min(f.preview, len(samples))] {
		positive, negative, err := steer.See(t, s, read)
		if err != nil {
			return err
		}
		shown.Preview = append(shown.Preview, builtPair{sideOf(t, positive), sideOf(t, negative)})
	}
	if shown.Notes = told.told; f.asJSON {
		return printJSON(c.OutOrStdout(), shown)
	}
	return shown.print(c.OutOrStdout())
}

// pairsPart is a file that the command writes.
type pairsPart struct {
	name, path string
	save       func(path string) error
	kind       string
	count      int
}

// partPath is the path of a part: mood.jsonl becomes mood.train.jsonl.
func partPath(path, part string) string {
	extension := filepath.Ext(path)
	return strings.TrimSuffix(path, extension) + "." + part + extension
}

// write writes the files, after all of them were found writable.
func (f *pairsFlags) write(c *cobra.Command, files []pairsPart, shown *builtPairs) error {
	for _, file := range files {
		out := outFlags{path: file.path, force: f.out.force}
		release, err := out.reserve(c, f.suffixes, f.persona, f.questions, f.ab, f.texts, f.pairs)
		if err != nil {
			return err
		}
		defer release()
	}
	for _, file := range files {
		if err := file.save(file.path); err != nil {
			return err
		}
		shown.Files = append(shown.Files, writtenPart{file.name, file.path, file.kind, file.count})
	}
	return nil
}

// pairsSource is what pairs are made of.
type pairsSource struct {
	samples []steer.Sample
	read    steer.Reading // what files of the kind are read at; nil: the last token
	note    string
	split   func(seed uint64, shares pairs.Shares) ([]pairsPart, error)
}

// source reads the one source that is given and makes its pairs.
func (f *pairsFlags) source(c *cobra.Command, t *tokenizer.Tokenizer) (*pairsSource, error) {
	ctx := c.Context()
	var given []string
	for _, name := range []string{"template", "persona", "positive-system", "ab", "texts", "pairs"} {
		if c.Flags().Changed(name) {
			given = append(given, name)
		}
	}
	if len(given) != 1 {
		return nil, usage("give one of --template, --persona, --positive-system, --ab, --texts and --pairs")
	}
	switch given[0] {
	case "template":
		if err := require(c, "suffixes"); err != nil {
			return nil, err
		}
		suffixes, err := readFileAs(f.suffixes, pairs.ReadLines)
		if err != nil {
			return nil, err
		}
		if t == nil && !f.whole {
			return nil, usage("the beginnings of --suffixes need a --model, whose tokens they end with; --whole-suffixes does without")
		}
		contrast := pairs.Contrast{Template: f.template, Positive: f.positive, Negative: f.negative, Whole: f.whole, Chat: f.chat, System: f.system}
		return sourceOf(ctx, suffixes, func(s string) string { return s }, func(ctx context.Context, part []string) ([]steer.Sample, error) {
			contrast.Suffixes = part
			return contrast.Build(ctx, t)
		}, nil)
	case "persona", "positive-system":
		persona, judge, err := f.readPersona(c)
		if err != nil {
			return nil, err
		}
		if t == nil {
			return nil, usage("a persona goes through a chat template: --model is missing")
		}
		return sourceOf(ctx, persona.Questions, func(q string) string { return q }, func(ctx context.Context, part []string) ([]steer.Sample, error) {
			of := persona
			of.Questions = part
			return of.Build(ctx, t)
		}, &evaluated[string]{"a persona", func(path string, part []string) error {
			of := persona
			of.Questions = part
			return pairs.SavePersona(path, of, judge)
		}})
	case "ab":
		items, err := readFileAs(f.ab, pairs.ReadItems)
		if err != nil {
			return nil, err
		}
		return sourceOf(ctx, items.Items, func(i pairs.Item) string { return i.Options[0].Question }, func(ctx context.Context, part []pairs.Item) ([]steer.Sample, error) {
			samples, err := pairs.Samples(part)
			if err == nil && f.chat {
				samples, err = f.render(ctx, t, samples)
			}
			return samples, err
		}, &evaluated[pairs.Item]{"A/B questions", pairs.SaveQuestions})
	case "texts":
		if err := require(c, "label"); err != nil {
			return nil, err
		}
		texts, err := readFileAs(f.texts, pairs.ReadTexts)
		if err != nil {
			return nil, err
		}
		return sourceOf(ctx, texts, func(t pairs.Text) string { return t.Prompt + t.Text }, func(ctx context.Context, part []pairs.Text) ([]steer.Sample, error) {
			samples, err := pairs.Labelled(part, f.label, f.seed)
			if err == nil && f.chat {
				samples, err = f.render(ctx, t, samples)
			}
			return samples, err
		}, &evaluated[pairs.Text]{"labelled texts", func(path string, part []pairs.Text) error { return pairs.SaveTexts(path, part, f.label) }})
	}
	file, err := readFileAs(f.pairs, pairs.Read)
	if err != nil {
		return nil, err
	}
	source, err := sourceOf(ctx, file.Samples, func(s steer.Sample) string { return fmt.Sprint(s.Positive, s.PositiveIDs) }, func(ctx context.Context, part []steer.Sample) ([]steer.Sample, error) {
		if !f.chat {
			return part, nil
		}
		return f.render(ctx, t, part)
	}, &evaluated[steer.Sample]{"pairs", pairs.Save})
	if err == nil {
		source.read, source.note = file.Read, file.Note
	}
	return source, err
}

// render makes conversations of the prompts.
func (f *pairsFlags) render(ctx context.Context, t *tokenizer.Tokenizer, samples []steer.Sample) ([]steer.Sample, error) {
	rendered, _, err := steer.RenderChat(ctx, t, samples, steer.Chat{SystemPositive: f.system, SystemNegative: f.system})
	return rendered, err
}

// evaluated is what the parts that are not trained on are written as.
type evaluated[T any] struct {
	kind string
	save func(path string, part []T) error
}

// sourceOf makes pairs of items; heldOut is nil where an evaluation reads pairs.
func sourceOf[T any](ctx context.Context, items []T, key func(T) string, build func(context.Context, []T) ([]steer.Sample, error), heldOut *evaluated[T]) (*pairsSource, error) {
	samples, err := build(ctx, items)
	if err != nil {
		return nil, err
	}
	asPairs := func(name string, part []T) (pairsPart, error) {
		if len(part) == 0 {
			return pairsPart{name: name}, nil
		}
		samples, err := build(ctx, part)
		return pairsPart{name, "", func(path string) error { return pairs.Save(path, samples) }, "pairs", len(samples)}, err
	}
	split := func(seed uint64, shares pairs.Shares) ([]pairsPart, error) {
		parts := pairs.Split(items, key, seed, shares)
		train, err := asPairs("train", parts.Train)
		if err != nil {
			return nil, fmt.Errorf("the part to train on: %w", err)
		}
		files := []pairsPart{train}
		for _, part := range []struct {
			name  string
			items []T
		}{{"held-out", parts.HeldOut}, {"test", parts.Test}} {
			var file pairsPart
			if heldOut == nil {
				if file, err = asPairs(part.name, part.items); err != nil {
					return nil, fmt.Errorf("the %s part: %w", part.name, err)
				}
			} else {
				file = pairsPart{part.name, "", func(path string) error { return heldOut.save(path, part.items) }, heldOut.kind, len(part.items)}
			}
			files = append(files, file)
		}
		return files, nil
	}
	return &pairsSource{samples: samples, split: split}, nil
}

func (f *pairsFlags) readPersona(c *cobra.Command) (persona pairs.Persona, judge string, err error) {
	persona.InUser = f.inUser
	if c.Flags().Changed("persona") {
		items, err := readFileAs(f.persona, pairs.ReadItems)
		if err != nil {
			return persona, "", err
		}
		persona.Instructions = items.Instructions
		for _, item := range items.Items {
			persona.Questions = append(persona.Questions, item.Options[0].Prompt)
		}
		return persona, items.JudgePrompt, nil
	}
	if err := require(c, "positive-system", "negative-system", "questions"); err != nil {
		return persona, "", err
	}
	persona.Instructions = []pairs.Instruction{{Positive: f.positiveSystem, Negative: f.negativeSystem}}
	persona.Questions, err = readFileAs(f.questions, pairs.ReadLines)
	return persona, "", err
}

// readFileAs reads a file that a function understands.
func readFileAs[T any](path string, read func(io.Reader, string) (T, error)) (T, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var none T
		return none, err
	}
	return read(bytes.NewReader(data), path)
}

func sideOf(t *tokenizer.Tokenizer, s steer.Seen) seenSide {
	return seenSide{s.Tokens, tokenTexts(t, s.Tokens), [2]int{s.Read.From, s.Read.To}}
}

// tokenTexts are the texts of tokens, or their names where one alone is no text.
func tokenTexts(t *tokenizer.Tokenizer, ids []int) []string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		name, _ := t.Token(id)
		if texts[i] = t.Decode([]int{id}, false); texts[i] == "" || strings.ContainsRune(texts[i], '\ufffd') {
			texts[i] = cmp.Or(name, fmt.Sprint(id))
		}
	}
	return texts
}

// print shows the pairs' tokens parted by bars, what is read in double brackets,
// and in reverse where colors can be shown.
func (s builtPairs) print(w io.Writer) error {
	mark, plain := "", ""
	if colored(w) {
		mark, plain = "\x1b[7m", "\x1b[0m"
	}
	var text strings.Builder
	for i, pair := range s.Preview {
		for _, side := range []struct {
			name string
			seenSide
		}{{"positive", pair.Positive}, {"negative", pair.Negative}} {
			fmt.Fprintf(&text, "pair %d, %s: %d tokens, read %s\n", i+1, side.name, len(side.IDs), spanText(side.Read))
			line := ""
			for k, token := range side.Tokens {
				if token = visibleToken(token); side.Read[0] <= k && k < side.Read[1] {
					token = mark + "⟦" + token + "⟧" + plain
				}
				line += "|" + token
			}
			fmt.Fprintf(&text, "  %s|\n", line)
		}
	}
	for _, file := range s.Files {
		fmt.Fprintf(&text, "%s: %d %s\n", file.File, file.Count, file.Kind)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func spanText(span [2]int) string {
	if span[1]-span[0] == 1 {
		return fmt.Sprintf("at %d", span[0])
	}
	return fmt.Sprintf("as the mean over %d to %d", span[0], span[1]-1)
}

// visibleToken writes a token so that a terminal shows it on one line.
func visibleToken(token string) string {
	return printable(strings.NewReplacer("\n", "⏎", "\t", "⇥").Replace(token))
}
