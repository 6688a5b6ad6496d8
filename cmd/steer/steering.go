package main

import (
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// steeringFlags say which vectors act and how.
type steeringFlags struct {
	vectors  []string
	layers   string
	operator string
	minToken int
	tokens   string
}

func (f *steeringFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.vectors, "vector", nil, "steer with the vector in `FILE[:MULTIPLIER]`; repeatable")
	flags.StringVar(&f.layers, "steer-layers", "", "which of the vectors' layers act, such as `1,2,-1`; default all")
	flags.StringVar(&f.operator, "operator", "add", "how the vectors act: add, ablate or ablate-then-add")
	flags.IntVar(&f.minToken, "min-token", 0, "steer from position `N` on")
	flags.StringVar(&f.tokens, "tokens", "", "steer positions `LIST`: 1,4 or 1::2 or mask:0,0,1,1,0 or prompt or response")
}

// edits loads the vectors. A steering flag without a vector is a mistake.
func (f *steeringFlags) edits(c *cobra.Command) ([]lm.Edit, error) {
	if len(f.vectors) == 0 {
		for _, name := range []string{"steer-layers", "operator", "min-token", "tokens"} {
			if c.Flags().Changed(name) {
				return nil, usage("--%s says how to steer, but no --vector is given", name)
			}
		}
		return nil, nil
	}
	var opts steer.EditOptions
	var err error
	if opts.Operator, err = steer.ParseOperator(f.operator); err != nil {
		return nil, usage("--operator: %w", err)
	}
	if opts.Layers, err = parseLayers("steer-layers", f.layers); err != nil {
		return nil, err
	}
	switch {
	case f.tokens != "" && c.Flags().Changed("min-token"):
		return nil, usage("give one of --tokens and --min-token")
	case f.tokens != "":
		if opts.Tokens, err = steer.ParseTokens(f.tokens); err != nil {
			return nil, usage("--tokens: %w", err)
		}
	case c.Flags().Changed("min-token"):
		if f.minToken < 0 {
			return nil, usage("--min-token is %d, less than 0", f.minToken)
		}
		opts.Tokens = steer.From(f.minToken)
	}
	var edits []lm.Edit
	for _, text := range f.vectors {
		path, multiplier, err := splitVector(text)
		if err != nil {
			return nil, err
		}
		vector, err := steer.LoadVector(path)
		if err != nil {
			return nil, err
		}
		opts.Multiplier = multiplier
		edit, err := vector.Edit(opts)
		if err != nil {
			return nil, usage("--vector %s: %w", text, err)
		}
		edits = append(edits, edit)
	}
	return edits, nil
}

// splitVector parts FILE[:MULTIPLIER]; a file of the whole name wins.
func splitVector(text string) (path string, multiplier *float64, err error) {
	if _, err := os.Stat(text); err == nil {
		return text, nil, nil
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return text, nil, nil
	}
	value, err := strconv.ParseFloat(text[colon+1:], 64)
	if err != nil {
		return "", nil, usage("--vector %s: there is no such file, and %q is not a multiplier", text, text[colon+1:])
	}
	return text[:colon], &value, nil
}
