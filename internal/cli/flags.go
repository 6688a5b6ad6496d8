package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
)

// parsed is a flag whose text becomes a value of any type, so that a mistake in
// it is found before any work begins.
type parsed[T any] struct {
	target *T
	text   string // as it is given, or the default
	kind   string // what the help calls the value
	parse  func(text string) (T, error)
}

func (p *parsed[T]) Set(text string) error {
	value, err := p.parse(text)
	if err != nil {
		return err
	}
	*p.target, p.text = value, text
	return nil
}

func (p *parsed[T]) String() string { return p.text }

func (p *parsed[T]) Type() string { return p.kind }

// number is a flag for a number from low to high.
func number[N int | float64](flags *pflag.FlagSet, target *N, name string, low, high float64, help string) {
	parse := func(text string) (N, error) {
		value, err := strconv.ParseFloat(text, 64)
		if errors.Is(err, strconv.ErrRange) {
			err = nil // it is infinite, and out of range here as well
		}
		if err != nil || !math.IsNaN(value) && !math.IsInf(value, 0) && float64(N(value)) != value {
			return 0, fmt.Errorf("it is not %s", kindOf(*target))
		}
		if !(low <= value && value <= high) {
			return 0, fmt.Errorf("it is not from %s to %s", plain(low), plain(high))
		}
		return N(value), nil
	}
	text := ""
	if *target != 0 {
		text = fmt.Sprint(*target)
	}
	flags.Var(&parsed[N]{target, text, "N", parse}, name, help)
}

// plain writes a number without an exponent.
func plain(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

func kindOf(number any) string {
	if _, ok := number.(int); ok {
		return "a whole number"
	}
	return "a number"
}

// choice is a flag for one of a few names, the first of which is the default.
func choice[T any](flags *pflag.FlagSet, target *T, name string, names []string, of func(name string) T, help string) {
	*target = of(names[0])
	flags.Var(&parsed[T]{target, names[0], strings.ToUpper(name), func(text string) (T, error) {
		if !slices.Contains(names, text) {
			var none T
			return none, fmt.Errorf("it is one of %s", strings.Join(names, ", "))
		}
		return of(text), nil
	}}, name, help+": "+strings.Join(names, ", "))
}

// integers is a flag for a list such as 1,2,7.
func integers(flags *pflag.FlagSet, target *[]int, name, help string) {
	flags.Var(&parsed[[]int]{target, "", "LIST", parseIntegers}, name, help)
}

func parseIntegers(text string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", part)
		}
		out = append(out, n)
	}
	return out, nil
}

var errTwice = errors.New("is given twice")

// wrongFlag says what is wrong with a flag's value.
func wrongFlag(_ *cobra.Command, err error) error {
	wrong := (*pflag.InvalidValueError)(nil)
	switch {
	case !errors.As(err, &wrong):
		return err
	case errors.Is(err, errTwice):
		return fmt.Errorf("--%s %w", wrong.GetFlag().Name, errTwice)
	}
	return fmt.Errorf("--%s %q: %w", wrong.GetFlag().Name, wrong.GetValue(), wrong.Unwrap())
}

// seedFlag is a flag for where random numbers begin.
func seedFlag(flags *pflag.FlagSet, target *uint64, help string) {
	flags.Var(&parsed[uint64]{target, fmt.Sprint(*target), "N", func(text string) (uint64, error) {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("it is not a whole number from 0 to %d", uint64(math.MaxUint64))
		}
		return seed, nil
	}}, "seed", help)
}

// once is the value of a flag that may be given one time only.
type once struct {
	pflag.Value
	given bool
}

func (o *once) Set(text string) error {
	if o.given {
		return errTwice
	}
	o.given = true
	return o.Value.Set(text)
}

// onlyOnce makes it an error to repeat a flag of a command that is not a list.
func onlyOnce(c *cobra.Command) {
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Value.Type() != "stringArray" {
			f.Value = &once{Value: f.Value}
		}
	})
}

// siteFlag is a flag for a layer type; the default is decoder_block.
func siteFlag(flags *pflag.FlagSet, target *lm.Site, help string) {
	names := []string{string(lm.DecoderBlock)}
	for _, s := range arch.Sites() {
		if s != lm.DecoderBlock {
			names = append(names, string(s))
		}
	}
	choice(flags, target, "layer-type", names, func(name string) lm.Site { return lm.Site(name) }, help)
}

// aggregator is a flag for one of the recipes that have a name.
func aggregator(flags *pflag.FlagSet, target *steer.Aggregator) {
	*target = steer.Mean()
	flags.Var(&parsed[steer.Aggregator]{target, "mean", "AGGREGATOR", steer.ParseAggregator}, "aggregator",
		"how activations become a direction, or what another operator reads: "+steer.AggregatorSyntax())
}

// jsonFlag is the flag for machine-readable output.
func jsonFlag(flags *pflag.FlagSet, target *bool) {
	flags.BoolVar(target, "json", false, "print the result as JSON")
}

// layersFlag is a flag for a selection of layers.
func layersFlag(flags *pflag.FlagSet, target **steer.Layers, name, help string) {
	flags.Var(&parsed[*steer.Layers]{target, "", "LAYERS", steer.ParseLayers}, name, help+": "+steer.LayersSyntax)
}

// layerList writes ascending layers as 0-3,7.
func layerList(layers []int) string {
	text := ""
	for i := 0; i < len(layers); {
		j := i
		for j+1 < len(layers) && layers[j+1] == layers[j]+1 {
			j++
		}
		if text != "" {
			text += ","
		}
		text += strconv.Itoa(layers[i])
		if j > i {
			text += "-" + strconv.Itoa(layers[j])
		}
		i = j + 1
	}
	return text
}

// shardFlag is a flag for one of the parts into which something is split.
func shardFlag(flags *pflag.FlagSet, target *steer.Shard, of string) {
	flags.Var(&parsed[steer.Shard]{target, "", "N/OF", steer.ParseShard}, "shard",
		"only this part of "+of+", such as 3/8, the third of eight; steer merge puts the parts together")
}
