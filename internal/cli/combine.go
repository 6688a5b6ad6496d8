package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
)

// combination is what steer combine does, in this order.
type combination struct {
	layers    []int    // that are kept of each; nil: all
	unit      bool     // each has length 1 before its multiplier counts
	how       string   // sum, average or principal
	rank      int      // of principal directions
	against   []string // files
	normalise bool
	negate    bool
	scale     float64 // 0: not scaled
}

func (f *combination) add(c *cobra.Command) {
	flagsUnder(c, "What is done, in this order", func(flags *pflag.FlagSet) {
		integers(flags, &f.layers, "layers", "keep these layers of each; negative ones count from the model's last: 3,4,-1")
		flags.BoolVar(&f.unit, "unit", false, "give each the length 1 at every layer before its multiplier counts")
		choice(flags, &f.how, "how", []string{"sum", "average", "principal"}, func(name string) string { return name },
			"how several become one; principal directions are those that hold the most of all")
		number(flags, &f.rank, "rank", 1, 4096, "how many principal directions a layer gets; 1 when not given")
		flags.StringArrayVar(&f.against, "against", nil, "take away what lies in the direction of this `FILE`'s vector; of several, in the space that they span; repeatable")
		flags.BoolVar(&f.normalise, "normalise", false, "give the result the length 1 at every layer")
		flags.BoolVar(&f.negate, "negate", false, "turn the result the other way")
		number(flags, &f.scale, "scale", -1e9, 1e9, "multiply the result by N")
	})
}

// load reads the vectors that FILE[:MULTIPLIER] or FILE,strength=N names.
func (f *combination) load(texts []string) (vectors []*steer.Vector, files []string, err error) {
	for _, text := range texts {
		named, err := parseVector(text, steer.Intervention{})
		if err != nil {
			return nil, nil, usage("%s: %w", text, err)
		}
		v, err := f.open(named.Vector)
		if err == nil && f.unit {
			v, err = v.Normalise()
		}
		if err == nil && (named.Multiplier != nil || named.Strength != nil) {
			var factor float64
			if factor, err = named.Factor(v); err == nil {
				v, err = v.Scale(factor)
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", text, err)
		}
		vectors, files = append(vectors, v), append(files, named.Vector)
	}
	return vectors, files, nil
}

func (f *combination) open(path string) (*steer.Vector, error) {
	v, err := steer.LoadVector(path)
	if err == nil && f.layers != nil {
		v, err = v.Cut(f.layers...)
	}
	return v, err
}

// of combines vectors.
func (f *combination) of(vectors []*steer.Vector) (v *steer.Vector, err error) {
	switch f.how {
	case "average":
		v, err = steer.Average(vectors...)
	case "principal":
		v, err = steer.Principal(max(1, f.rank), vectors...)
	default:
		v = vectors[0]
		for _, other := range vectors[1:] {
			if v, err = v.Add(other); err != nil {
				return nil, err
			}
		}
	}
	if err != nil {
		return nil, err
	}
	var others []*steer.Vector
	for _, path := range f.against {
		other, err := steer.LoadVector(path)
		if err != nil {
			return nil, err
		}
		others = append(others, other)
	}
	for _, step := range []struct {
		asked bool
		do    func() (*steer.Vector, error)
	}{
		{len(others) > 0, func() (*steer.Vector, error) { return v.Orthogonalise(others...) }},
		{f.normalise, func() (*steer.Vector, error) { return v.Normalise() }},
		{f.negate, func() (*steer.Vector, error) { return v.Negate() }},
		{f.scale != 0, func() (*steer.Vector, error) { return v.Scale(f.scale) }},
	} {
		if step.asked {
			if v, err = step.do(); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func combineCommand() *cobra.Command {
	var what combination
	var out outFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "combine VECTOR[:MULTIPLIER]... --out FILE",
		Short: "Add, average, turn and cut vectors",
		Long: `Add, average, turn and cut vectors: several become one, and what was done is written
into its provenance. They must be of one layer type, family, layers and width. Vectors of
other tools are read too, where their files tell who wrote them.

Without other flags the vectors are added, each times its multiplier.`,
		Example: `  steer train --model demo --pairs pairs.jsonl --layers 3 --out happy.safetensors
  steer train --model demo --pairs pairs.jsonl --layers 3 --aggregator pca --out other.safetensors
  steer combine happy.safetensors other.safetensors:-0.5 --out sum.safetensors
  steer combine happy.safetensors --layers 3 --normalise --out unit.safetensors
  steer combine other.safetensors --against happy.safetensors --out rest.safetensors`,
		Args: someArguments("the vectors"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := require(c, "out"); err != nil {
				return err
			}
			if c.Flags().Changed("rank") && what.how != "principal" {
				return usage("--rank is for --how principal")
			}
			if c.Flags().Changed("scale") && what.scale == 0 {
				return usage("--scale 0 leaves nothing")
			}
			vectors, files, err := what.load(args)
			if err != nil {
				return err
			}
			release, err := out.reserve(c, slices.Concat(files, what.against)...)
			if err != nil {
				return err
			}
			defer release()
			v, err := what.of(vectors)
			if err != nil {
				return err
			}
			if err := v.Save(out.path); err != nil {
				return err
			}
			layers := slices.Sorted(maps.Keys(v.Layers))
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Vectors    []string `json:"vectors"`
					Layers     []int    `json:"layers"`
					Rows       int      `json:"rows"`
					Operations string   `json:"operations"`
					Out        string   `json:"out"`
				}{files, layers, max(1, v.Rank), v.Provenance.Operations, out.path})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "vector of layers %s written to %s: from %d\n", layerList(layers), out.path, len(vectors))
			return err
		},
	}
	what.add(c)
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		out.add(flags)
		jsonFlag(flags, &asJSON)
	})
	return c
}
