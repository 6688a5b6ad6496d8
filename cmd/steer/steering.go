package main

import (
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

// steeringFlags say which vectors act and how.
type steeringFlags struct {
	vectors  []string
	layers   []int
	operator steer.Operator
	minToken int
	tokens   lm.Tokens
}

func (f *steeringFlags) add(c *cobra.Command) {
	flagsUnder(c, "Steering", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&f.vectors, "vector", nil, "steer with the vector in `FILE[:MULTIPLIER]`; repeatable")
		integers(flags, &f.layers, "steer-layers", "which of the vectors' layers act, such as 1,2,-1; all when not given")
		choice(flags, &f.operator, "operator", []string{"add", "ablate", "ablate-then-add"}, operatorOf, "how the vectors act")
		number(flags, &f.minToken, "min-token", -math.MaxInt32, math.MaxInt32, "steer from position N on, negative from the prompt's end")
		flags.Var(&parsed[lm.Tokens]{&f.tokens, "", "TOKENS", steer.ParseTokens}, "tokens",
			"steer these positions: 1,4 or 1::2 or mask:0,0,1,1,0 or prompt or response; negative ones count from the prompt's end")
	})
}

// operatorOf returns the operator of a name that is known to be one.
func operatorOf(name string) steer.Operator {
	operator, err := steer.ParseOperator(name)
	if err != nil {
		panic(err)
	}
	return operator
}

// steering is what the flags ask for, with the vectors' files read.
type steering struct {
	options []steer.EditOption
	layers  []int // nil: all of a vector's
	vectors []loadedVector
}

type loadedVector struct {
	text       string // as it was given
	vector     *steer.Vector
	multiplier float64
}

// load checks the flags and reads the vectors. A steering flag without a vector
// is a mistake.
func (f *steeringFlags) load(c *cobra.Command) (*steering, error) {
	s := &steering{options: []steer.EditOption{steer.Using(f.operator), steer.OnTokens(f.tokens)}, layers: f.layers}
	if len(f.vectors) == 0 {
		for _, name := range []string{"steer-layers", "operator", "min-token", "tokens"} {
			if c.Flags().Changed(name) {
				return nil, usage("--%s says how to steer, but no --vector is given", name)
			}
		}
	}
	if c.Flags().Changed("min-token") {
		if f.tokens != nil {
			return nil, usage("give one of --tokens and --min-token")
		}
		s.options = append(s.options, steer.OnTokens(steer.From(f.minToken)))
	}
	for _, text := range f.vectors {
		path, multiplier, err := splitVector(text)
		if err != nil {
			return nil, err
		}
		vector, err := steer.LoadVector(path)
		if err != nil {
			return nil, err
		}
		s.vectors = append(s.vectors, loadedVector{text, vector, multiplier})
	}
	return s, nil
}

// apply returns a view of the model that is steered as asked.
func (s *steering) apply(model *lm.Model) (*lm.Model, error) {
	for _, v := range s.vectors {
		options := s.options
		if s.layers != nil {
			layers := slices.Clone(s.layers)
			for i, n := range layers {
				var err error
				if layers[i], err = model.Layer(n); err != nil {
					return nil, usage("--steer-layers: %w", err)
				}
			}
			options = append(slices.Clone(options), steer.AtLayers(layers...))
		}
		edit, err := v.vector.Edit(v.multiplier, options...)
		if err != nil {
			return nil, usage("--vector %s: %w", v.text, err)
		}
		if model, err = model.With(edit); err != nil {
			return nil, usage("--vector %s: %w", v.text, err)
		}
	}
	return model, nil
}

// splitVector parts FILE[:MULTIPLIER]; a file that has the whole as its name wins.
func splitVector(text string) (path string, multiplier float64, err error) {
	colon := strings.LastIndexByte(text, ':')
	if _, err := os.Stat(text); err == nil || colon < 0 {
		return text, 1, nil
	}
	value, err := strconv.ParseFloat(text[colon+1:], 64)
	if err != nil || colon == 0 {
		return "", 0, usage("--vector %s: there is no such file, and %q is not a multiplier", text, text[colon+1:])
	}
	return text[:colon], value, nil
}
