package main

import (
	"crypto/sha256"
	"encoding/hex"
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
	layers   *layerSelection
	operator steer.Operator
	minToken int
	tokens   lm.Tokens
}

func (f *steeringFlags) add(c *cobra.Command) {
	flagsUnder(c, "Steering", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&f.vectors, "vector", nil, "steer with this `VECTOR`: a file, perhaps :MULTIPLIER, and perhaps "+
			",layers=LAYERS ,operator=OPERATOR ,tokens=TOKENS for it alone, such as happy.safetensors:0.7,layers=3,tokens=response; repeatable; the flags below say it for all others")
		layersFlag(flags, &f.layers, "steer-layers", "which of the vectors' layers act; all when not given")
		choice(flags, &f.operator, "operator", operatorNames, operatorOf, "how the vectors act")
		number(flags, &f.minToken, "min-token", -math.MaxInt32, math.MaxInt32, "steer from position N on, negative from the prompt's end")
		flags.Var(&parsed[lm.Tokens]{&f.tokens, "", "TOKENS", steer.ParseTokens}, "tokens",
			"steer these positions: 1,4 or 1::2 or mask:0,0,1,1,0 or prompt or response; negative ones count from the prompt's end; all when not given")
	})
}

var operatorNames = []string{"add", "ablate", "ablate-then-add"}

// operatorOf returns the operator of a name that is known to be one.
func operatorOf(name string) steer.Operator {
	operator, err := steer.ParseOperator(name)
	if err != nil {
		panic(err)
	}
	return operator
}

// loadedVector is a vector and how it is to act.
type loadedVector struct {
	vectorSpec
	vector *steer.Vector
	hash   string // of the file
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
}

// load checks the flags and reads the vectors. A steering flag without a vector
// is a mistake.
func (f *steeringFlags) load(c *cobra.Command) ([]loadedVector, error) {
	if len(f.vectors) == 0 {
		for _, name := range []string{"steer-layers", "operator", "min-token", "tokens"} {
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
	var loaded []loadedVector
	for _, text := range f.vectors {
		spec, err := parseVector(text, vectorSpec{multiplier: 1, layers: f.layers, operator: f.operator, tokens: tokens})
		if err != nil {
			return nil, usage("--vector %s: %w", text, err)
		}
		if spec.path == "-" {
			return nil, usage("--vector %s: a vector is not read from standard input", text)
		}
		v := loadedVector{vectorSpec: spec}
		if v.vector, err = steer.LoadVector(spec.path); err != nil {
			return nil, err
		}
		if v.hash, err = hashFile(spec.path); err != nil {
			return nil, err
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
		options := []steer.EditOption{steer.Using(v.operator), steer.OnTokens(v.tokens)}
		layers, err := v.layers.of(model)
		if err != nil {
			return fail(err)
		}
		if layers != nil {
			options = append(options, steer.AtLayers(layers...))
		}
		edit, err := v.vector.Edit(v.multiplier, options...)
		if err != nil {
			return fail(err)
		}
		found, err := v.vector.Check(model, edit)
		if err != nil {
			return fail(err)
		}
		for _, note := range found {
			told.add("%s: %s", v.path, note)
		}
		if v.multiplier == 0 {
			told.add("%s: the multiplier is 0: the vector changes nothing", v.path)
		}
		if model, err = model.With(edit); err != nil {
			return fail(err)
		}
		if layers == nil {
			layers = slices.Sorted(maps.Keys(edit.Layers))
		}
		tokens := "all"
		if v.tokens != nil {
			tokens = fmt.Sprint(v.tokens)
		}
		how = append(how, applied{v.path, v.hash, v.multiplier, v.operator.Name(), edit.Site, layers, tokens})
	}
	return model, how, nil
}

// vectorSpec is what the value of --vector says.
type vectorSpec struct {
	text       string // as it was given
	path       string
	multiplier float64
	layers     *layerSelection // nil: all of the vector's
	operator   steer.Operator
	tokens     lm.Tokens // nil: all
}

// parseVector parts FILE[:MULTIPLIER][,layers=LAYERS][,operator=OPERATOR]
// [,tokens=TOKENS], beginning with what holds where it does not say. Where the
// name of a file that exists looks as if it had a multiplier or options, it is
// the name.
func parseVector(text string, spec vectorSpec) (vectorSpec, error) {
	spec.text = text
	rest := text
	given := map[string]bool{}
	for {
		if path, multiplier, ok := existing(rest); ok {
			spec.path, spec.multiplier = path, multiplier
			return spec, nil
		}
		at, name := lastOption(rest)
		if at < 0 {
			break
		}
		value := rest[at+len(name)+2:]
		if given[name] {
			return spec, fmt.Errorf("%s is given twice", name)
		}
		given[name] = true
		if err := spec.set(name, value); err != nil {
			return spec, fmt.Errorf("%s=%s: %w", name, value, err)
		}
		rest = rest[:at]
	}
	spec.path, spec.multiplier = rest, 1
	if colon := strings.LastIndexByte(rest, ':'); colon >= 0 {
		value, err := strconv.ParseFloat(rest[colon+1:], 64)
		if err != nil || colon == 0 {
			return spec, fmt.Errorf("there is no such file, and %q is not a multiplier", rest[colon+1:])
		}
		spec.path, spec.multiplier = rest[:colon], value
	} else if comma := strings.LastIndexByte(rest, ','); comma >= 0 && strings.Contains(rest[comma:], "=") {
		return spec, fmt.Errorf("there is no such file, and %q is none of layers=LAYERS, operator=OPERATOR and tokens=TOKENS", rest[comma+1:])
	}
	return spec, nil
}

// existing returns the file that a text names, with or without a multiplier.
func existing(text string) (path string, multiplier float64, ok bool) {
	if _, err := os.Stat(text); err == nil {
		return text, 1, true
	}
	if colon := strings.LastIndexByte(text, ':'); colon > 0 {
		value, err := strconv.ParseFloat(text[colon+1:], 64)
		if _, missing := os.Stat(text[:colon]); err == nil && missing == nil {
			return text[:colon], value, true
		}
	}
	return "", 0, false
}

// lastOption returns where the last option of a text begins, at its comma, and
// its name.
func lastOption(text string) (at int, name string) {
	at = -1
	for _, option := range []string{"layers", "operator", "tokens"} {
		if i := strings.LastIndex(text, ","+option+"="); i > at {
			at, name = i, option
		}
	}
	return at, name
}

func (s *vectorSpec) set(name, value string) (err error) {
	switch name {
	case "layers":
		s.layers, err = parseLayers(value)
	case "operator":
		if !slices.Contains(operatorNames, value) {
			return fmt.Errorf("it is one of %s", strings.Join(operatorNames, ", "))
		}
		s.operator = operatorOf(value)
	case "tokens":
		s.tokens, err = steer.ParseTokens(value)
	}
	return err
}
