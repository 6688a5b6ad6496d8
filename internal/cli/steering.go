package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// steeringFlags say which vectors act and, where a vector does not say itself,
// how.
type steeringFlags struct {
	vectors  []string
	layers   *steer.Layers
	operator steer.Operator // nil: the vector's own
	minToken int
	tokens   lm.Tokens
	when     []string // conditions, all of which are to hold
	inside   *lm.Between
	outside  *lm.Between
	decay    *lm.Decay
	strength *float64 // nil: multipliers
}

func (f *steeringFlags) add(c *cobra.Command) {
	flagsUnder(c, "Steering", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&f.vectors, "vector", nil, "steer with this `VECTOR`: a file, perhaps :MULTIPLIER, and perhaps "+
			",strength=N ,layers=LAYERS ,operator=OPERATOR ,tokens=TOKENS for it alone, such as happy.safetensors:0.7,layers=3,tokens=response; repeatable; the flags below say it for all others")
		flags.Var(&parsed[*float64]{&f.strength, "", "N", parseStrength}, "strength",
			"steer this strongly, in place of multipliers: 1 is what steer calibrate has found to cost its budget and written into the vector's file")
		layersFlag(flags, &f.layers, "steer-layers", "which of the vectors' layers act; all when not given")
		flags.Var(&parsed[steer.Operator]{&f.operator, "", "OPERATOR", steer.ParseOperator}, "operator",
			"how the vectors act, as the vector's file says, which mostly is add, when not given: "+steer.OperatorSyntax())
		number(flags, &f.minToken, "min-token", -math.MaxInt32, math.MaxInt32, "steer from position N on, negative from the prompt's end")
		flags.Var(&parsed[lm.Tokens]{&f.tokens, "", "TOKENS", steer.ParseTokens}, "tokens",
			"steer these positions: 1,4 or 1::2 or mask:0,0,1,1,0 or prompt or response, or response:5:20 for generated tokens by number; "+
				"negative ones count from the prompt's end; all when not given")
		flags.StringArrayVar(&f.when, "when", nil, "steer only under this `CONDITION`: FILE:LAYER>0.2 (or <), where the CAST measure of the prompt's mean with a vector is above; "+
			"a FILE of steer train-condition; {JSON}; or always, whatever the vector's file says; repeatable: all must hold")
		flags.Var(&parsed[*lm.Between]{&f.inside, "", "BEGIN,END", parseBetween}, "inside", "steer only inside parts of the text that begin and end with these strings, such as <think>,</think>")
		flags.Var(&parsed[*lm.Between]{&f.outside, "", "BEGIN,END", parseBetween}, "outside", "steer only outside such parts")
		flags.Var(&parsed[*lm.Decay]{&f.decay, "", "N", parseDecay}, "half-life", "halve what is added every N generated tokens; N:FROM begins after generated token FROM")
	})
}

func parseBetween(text string) (*lm.Between, error) {
	begin, end, ok := strings.Cut(text, ",")
	if !ok {
		return nil, errors.New("it is not BEGIN,END")
	}
	b := &lm.Between{Begin: begin, End: end}
	return b, b.Check()
}

func parseDecay(text string) (*lm.Decay, error) {
	length, from, more := strings.Cut(text, ":")
	d := &lm.Decay{}
	var err error
	if d.HalfLife, err = strconv.ParseFloat(length, 64); err == nil && more {
		d.From, err = strconv.Atoi(from)
	}
	if err != nil || d.HalfLife <= 0 {
		return nil, errors.New("it is not a number of tokens, nor N:FROM")
	}
	return d, d.Check()
}

// condition returns what the flags say of when vectors act; nil: nothing.
func (f *steeringFlags) condition() (*steer.When, error) {
	all := &steer.When{}
	for _, text := range f.when {
		w, err := steer.ParseWhen(text)
		if err == nil && w.Always && len(f.when) > 1 {
			err = errors.New("it is not combined with others")
		}
		if err != nil {
			return nil, usage("--when %s: %w", text, err)
		}
		all.All = append(all.All, *w)
	}
	switch len(all.All) {
	case 0:
		return nil, nil
	case 1:
		return &all.All[0], nil
	}
	return all, nil
}

// loadedVector is a vector and how it is to act.
type loadedVector struct {
	text string // the flag's value
	steer.Intervention
	vector *steer.Vector
	hash   string      // of the file
	given  *steer.When // the condition, before it was looked up
}

// applied is a vector as JSON results tell of it.
type applied struct {
	File       string  `json:"file"`
	Hash       string  `json:"hash"` // of the file's bytes
	Multiplier float64 `json:"multiplier"`
	Operator   string  `json:"operator"`
	LayerType  lm.Site `json:"layer_type"`
	Layers     []int   `json:"layers"`
	Tokens     string  `json:"tokens"`

	When    *steer.When `json:"when,omitempty"` // as it was given; the vector's own is in its file
	Between *lm.Between `json:"between,omitempty"`
	Decay   *lm.Decay   `json:"decay,omitempty"`
}

// load checks the flags and reads the vectors. A steering flag without a vector
// is a mistake.
func (f *steeringFlags) load(c *cobra.Command) ([]loadedVector, error) {
	if len(f.vectors) == 0 {
		for _, name := range []string{"strength", "steer-layers", "operator", "min-token", "tokens", "when", "inside", "outside", "half-life"} {
			if c.Flags().Changed(name) {
				return nil, usage("--%s says how to steer, but no --vector is given", name)
			}
		}
	}
	tokens := f.tokens
	if c.Flags().Changed("min-token") {
		if tokens != nil {
			return nil, usage("give one of --tokens and --min-token")
		}
		tokens = steer.From(f.minToken)
	}
	common := steer.Intervention{Layers: f.layers, Strength: f.strength, Between: f.inside, Decay: f.decay}
	if f.outside != nil {
		if f.inside != nil {
			return nil, usage("give one of --inside and --outside")
		}
		common.Between = &lm.Between{Begin: f.outside.Begin, End: f.outside.End, Outside: true}
	}
	var err error
	if common.When, err = f.condition(); err != nil {
		return nil, err
	}
	if f.operator != nil {
		common.Operator = f.operator.Name()
	}
	if tokens != nil {
		common.Tokens = fmt.Sprint(tokens)
	}
	var loaded []loadedVector
	for _, text := range f.vectors {
		v := loadedVector{text: text}
		if v.Intervention, err = parseVector(text, common); err != nil {
			return nil, usage("--vector %s: %w", text, err)
		}
		if v.Vector == "-" {
			return nil, usage("--vector %s: a vector is not read from standard input", text)
		}
		if v.vector, err = steer.LoadVector(v.Vector); err != nil {
			return nil, err
		}
		if v.hash, err = hashFile(v.Vector); err != nil {
			return nil, err
		}
		if v.given = v.When; v.given != nil {
			if v.When, err = v.given.Embed(v.vector, steer.LoadVector); err != nil {
				return nil, fmt.Errorf("--when: %w", err)
			}
		}
		loaded = append(loaded, v)
	}
	return loaded, nil
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil)), nil
}

// apply returns a view of the model that the vectors steer. What may surprise
// is noted.
func apply(model *lm.Model, vectors []loadedVector, told *notes) (*lm.Model, []applied, error) {
	how := []applied{}
	for _, v := range vectors {
		fail := func(err error) (*lm.Model, []applied, error) {
			return nil, nil, usage("--vector %s: %w", v.text, err)
		}
		edit, err := v.Edit(model, v.vector)
		if err != nil {
			return fail(err)
		}
		found, err := v.vector.Check(model, edit)
		if err != nil {
			return fail(err)
		}
		for _, note := range found {
			told.add("%s: %s", v.Vector, note)
		}
		multiplier, err := v.Factor(v.vector)
		if err != nil {
			return fail(err)
		}
		if v.When == nil && edit.Condition != nil {
			told.add("%s: the vector acts where the condition of its file holds; --when always lifts it", v.Vector)
		}
		if v.Strength != nil {
			if other := v.vector.Calibration.Differs(model, edit); other != "" {
				told.add("%s: %s: what the strength costs may be another", v.Vector, other)
			}
		}
		if multiplier == 0 {
			told.add("%s: the multiplier is 0: the vector changes nothing", v.Vector)
		}
		if model, err = model.With(edit); err != nil {
			return fail(err)
		}
		how = append(how, applied{v.Vector, v.hash, multiplier, edit.Operator.Name(), edit.Site, slices.Sorted(maps.Keys(edit.Layers)), cmp.Or(v.Tokens, "all"),
			v.given, v.Between, v.Decay})
	}
	return model, how, nil
}

// parseVector parts FILE[:MULTIPLIER][,strength=N][,layers=LAYERS]
// [,operator=OPERATOR][,tokens=TOKENS], beginning with what holds where it does not
// say. Where the name of a file that exists looks as if it had a multiplier or
// options, it is the name.
func parseVector(text string, v steer.Intervention) (steer.Intervention, error) {
	rest := text
	given := map[string]bool{}
	for {
		if path, multiplier, ok := existing(rest); ok {
			v.Vector, v.Multiplier = path, multiplier
			if multiplier != nil && !given["strength"] {
				v.Strength = nil // what the vector says itself wins over the flag
			}
			return v, v.Check()
		}
		at, name := lastOption(rest)
		if at < 0 {
			break
		}
		value := rest[at+len(name)+2:]
		if given[name] {
			return v, fmt.Errorf("%s is given twice", name)
		}
		given[name] = true
		if err := set(&v, name, value); err != nil {
			return v, fmt.Errorf("%s=%s: %w", name, value, err)
		}
		rest = rest[:at]
	}
	v.Vector = rest
	if colon := strings.LastIndexByte(rest, ':'); colon >= 0 {
		value, err := strconv.ParseFloat(rest[colon+1:], 64)
		if err != nil || colon == 0 {
			return v, fmt.Errorf("there is no such file, and %q is not a multiplier", rest[colon+1:])
		}
		v.Vector, v.Multiplier = rest[:colon], &value
		if !given["strength"] {
			v.Strength = nil
		}
	} else if comma := strings.LastIndexByte(rest, ','); comma >= 0 && strings.Contains(rest[comma:], "=") {
		return v, fmt.Errorf("there is no such file, and %q is none of strength=N, layers=LAYERS, operator=OPERATOR and tokens=TOKENS", rest[comma+1:])
	}
	return v, v.Check()
}

// existing returns the file that a text names, with or without a multiplier.
func existing(text string) (path string, multiplier *float64, ok bool) {
	if _, err := os.Stat(text); err == nil {
		return text, nil, true
	}
	if colon := strings.LastIndexByte(text, ':'); colon > 0 {
		value, err := strconv.ParseFloat(text[colon+1:], 64)
		if _, missing := os.Stat(text[:colon]); err == nil && missing == nil {
			return text[:colon], &value, true
		}
	}
	return "", nil, false
}

// lastOption returns where the last option of a text begins, at its comma, and
// its name.
func lastOption(text string) (at int, name string) {
	at = -1
	for _, option := range []string{"strength", "layers", "operator", "tokens"} {
		if i := strings.LastIndex(text, ","+option+"="); i > at {
			at, name = i, option
		}
	}
	return at, name
}

func set(v *steer.Intervention, option, value string) (err error) {
	switch option {
	case "strength":
		v.Strength, err = parseStrength(value)
	case "layers":
		v.Layers, err = steer.ParseLayers(value)
	case "operator":
		v.Operator = value
		_, err = steer.ParseOperator(value)
	case "tokens":
		v.Tokens = value
		_, err = steer.ParseTokens(value)
	}
	return err
}

func parseStrength(text string) (*float64, error) {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		return nil, fmt.Errorf("%q is not a number", text)
	}
	return &value, nil
}
