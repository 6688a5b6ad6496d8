package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/eval"
)

// writingFlags say what a model is to write in an evaluation, and who scores it.
type writingFlags struct {
	questions   int // 0: none
	maxTokens   int
	temperature float64
	words       string
	list        []string // of them
	pattern     string

	judge   string // the endpoint
	model   string
	kind    string
	prompts string
	highest float64
	cache   string
}

func (f *writingFlags) add(c *cobra.Command) {
	f.maxTokens, f.highest, f.kind = 128, 2, "concept"
	flagsUnder(c, "Texts", func(flags *pflag.FlagSet) {
		number(flags, &f.questions, "generate", 0, 1<<20, "let the model write after the first N prompts at each multiplier; their repetition and their perplexity under the unsteered model are measured")
		number(flags, &f.maxTokens, "max-tokens", 1, 1<<20, "of each text")
		number(flags, &f.temperature, "temperature", 0, 1e6, "of the writing; 0 takes the likeliest token")
		flags.StringVar(&f.words, "words", "", "score by the share of words in this `LIST`, such as happy,smiled, or in a file of words, @FILE")
		flags.StringVar(&f.pattern, "pattern", "", "score by whether the regular `EXPRESSION` matches")
		flags.StringVar(&f.judge, "judge-url", "", "score by a judge at this `URL` of an OpenAI-compatible endpoint, such as http://localhost:8080/v1; its key comes from STEER_JUDGE_KEY or OPENAI_API_KEY")
		flags.StringVar(&f.model, "judge-model", "", "the judge's `NAME` at the endpoint")
		choice(flags, &f.kind, "judge-asks", []string{"concept", "trait"}, func(name string) string { return name },
			"concept asks about concept, instruction and fluency from 0 to 2, trait about a trait and coherence from 0 to 100")
		flags.StringVar(&f.prompts, "judge-prompts", "", "ask what the files NAME.txt of this `FOLDER` say in place of that, with {question}, {answer} and {concept} where they belong")
		number(flags, &f.highest, "judge-highest", 1, 1e6, "the greatest rating of those prompts; above 10 the judge answers with a number alone")
		flags.StringVar(&f.cache, "judge-cache", "", "`FOLDER` that keeps the judge's answers; in the user's cache when not given")
	})
}

// options says how the texts are written.
func (f *writingFlags) options(scorers []eval.Scorer, seed uint64, c *cobra.Command) eval.WriteOptions {
	progress := newBar(c.ErrOrStderr(), "judging")
	return eval.WriteOptions{Questions: f.questions, MaxTokens: f.maxTokens, Temperature: f.temperature, Seed: seed, Scorers: scorers, Progress: func(done, total int) {
		if progress.set(int64(done), int64(total)); done == total {
			progress.finish()
		}
	}}
}

// plan is what a manifest says of the texts; nil: there are none.
func (f *writingFlags) plan(scorers []eval.Scorer) *eval.Generate {
	if f.questions == 0 {
		return nil
	}
	g := &eval.Generate{Questions: f.questions, MaxTokens: f.maxTokens, Temperature: f.temperature, Pattern: f.pattern, Words: f.list}
	for _, s := range scorers {
		if judge, ok := s.(*eval.Judge); ok {
			g.Judge = judge.Model
			for _, p := range judge.Prompts {
				g.Judge += " " + p.Name + ":" + eval.HashText(p.Text)
			}
		}
	}
	return g
}

// from takes over what a manifest says. Where the judge is it does not say.
func (f *writingFlags) from(g *eval.Generate) error {
	if g == nil {
		return nil
	}
	f.questions, f.maxTokens, f.temperature, f.pattern, f.words = g.Questions, g.MaxTokens, g.Temperature, g.Pattern, strings.Join(g.Words, ",")
	if g.Judge != "" && f.judge == "" {
		return usage("the texts were judged by %s; give its --judge-url and --judge-model", strings.Fields(g.Judge)[0])
	}
	return nil
}

// scorers checks the flags and returns who scores. The data may say how a judge is
// to be asked about a trait.
func (f *writingFlags) scorers(c *cobra.Command, trait string) ([]eval.Scorer, error) {
	var out []eval.Scorer
	if f.questions == 0 {
		for _, name := range []string{"words", "pattern", "judge-url", "judge-model", "judge-prompts", "max-tokens", "temperature"} {
			if c.Flags().Changed(name) {
				return nil, usage("--%s is about texts; --generate is not given", name)
			}
		}
		return nil, nil
	}
	if f.words != "" {
		f.list = strings.FieldsFunc(f.words, func(r rune) bool { return r == ',' })
		if path, ok := strings.CutPrefix(f.words, "@"); ok {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			f.list = strings.Fields(string(data))
		}
		if len(f.list) == 0 {
			return nil, usage("--words %s: there are no words", f.words)
		}
		out = append(out, eval.WordList(f.list))
	}
	if f.pattern != "" {
		expression, err := regexp.Compile(f.pattern)
		if err != nil {
			return nil, usage("--pattern %q: %w", f.pattern, err)
		}
		out = append(out, eval.Matching(expression))
	}
	if f.judge == "" {
		return out, nil
	}
	if f.model == "" {
		return nil, usage("--judge-model is missing")
	}
	judge := &eval.Judge{URL: f.judge, Model: f.model, Key: os.Getenv("STEER_JUDGE_KEY"), Cache: f.cache, Prompts: eval.ConceptPrompts()}
	if judge.Key == "" {
		judge.Key = os.Getenv("OPENAI_API_KEY")
	}
	var err error
	switch {
	case f.prompts != "":
		judge.Prompts, err = eval.LoadPrompts(f.prompts, f.highest)
	case f.kind == "trait":
		judge.Prompts = eval.TraitPrompts(trait)
	}
	if err == nil && judge.Cache == "" {
		var dir string
		if dir, err = os.UserCacheDir(); err == nil {
			judge.Cache = filepath.Join(dir, "steer", "judge")
		}
	}
	return append(out, judge), err
}
