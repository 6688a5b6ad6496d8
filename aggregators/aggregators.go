// Package aggregators holds the ways in which the activations of samples become
// directions, or what another operator than an addition reads: what docs/methods.md
// tabulates, one file each.
//
// Each is a small value that [Aggregator] describes. What it gives depends on the
// set of samples alone, to the bit: samples may come in any order, in any parts that
// are merged, from any number of runs. Below, δ is a positive activation less its
// negative one, μ₊ and μ₋ the means of both sides.
package aggregators

import (
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/steervec/steer/internal/parameters"
)

// Aggregator turns the activations of one layer into one direction, or into the rows
// that its operator asks for. It is a recipe; New starts a fresh accumulation.
type Aggregator interface {
	// Name names the recipe and its options; recipes of equal names are the same.
	Name() string
	// New returns an empty accumulator for activations of this width.
	New(width int) Accumulator
}

// Accumulator takes the activations of samples as they come and keeps what the
// direction needs of them. It belongs to one goroutine.
//
// What it gives must depend on the set of samples alone, to the bit: neither on
// their order nor on how they were split among accumulators and merged. Those of
// this package keep exact sums, or rows that are sorted before they are used.
type Accumulator interface {
	// Add takes one sample's activations, each [width]. It does not keep the slices.
	// One of them is nil where the sample has one prompt, which an [Unpaired] recipe
	// takes.
	Add(positive, negative []float32)
	// Merge adds what another accumulator of the same recipe and width has taken.
	Merge(other Accumulator) error
	// Samples returns how many samples were added.
	Samples() int
	// Direction returns the direction of what was added so far, [width], or rows
	// [rank, width]. It is an error where there is none, as when nothing was added.
	Direction() ([]float32, error)

	// The binary form continues to the same bits where it left off. Unmarshalling
	// checks its input and needs an accumulator of the same recipe and width.
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// Acting is an aggregator whose rows another operator than an addition reads.
type Acting interface {
	Aggregator
	Operator() string // as operators are written; "": an addition
}

// Unpaired is an aggregator that also takes samples of one prompt.
type Unpaired interface {
	Aggregator
	Unpaired()
}

// Joint is an aggregator that looks at all layers together.
type Joint interface {
	Aggregator
	// Directions returns what Direction does for each layer's accumulator; nil for a
	// layer that is left out.
	Directions(layers []Accumulator) ([][]float32, error)
}

// ByHeads is an aggregator of the site attn_heads that has to know the size of a head.
type ByHeads interface {
	Aggregator
	// OfSize returns the aggregator for heads of so many elements, which is an error
	// where it knows of another size.
	OfSize(size int) (Aggregator, error)
}

// kind is a sort of aggregators as they are written.
type kind struct {
	usage string // NAME or NAME:KEY=VALUE,…, parameters that may be left out in brackets
	parse func(p *parameters.Set) Aggregator
}

func (k kind) name() string { return k.usage[:strings.IndexAny(k.usage+":", ":[")] }

// kinds are all aggregators, in the order in which they are listed.
var kinds = []kind{
	{"mean", func(*parameters.Set) Aggregator { return Mean() }},
	{"mean-centred", func(*parameters.Set) Aggregator { return MeanCentred() }},
	{"pca[:centred=differences|activations,rank=N]", func(p *parameters.Set) Aggregator {
		return PCA(PCAOptions{Centred: p.Choice("centred", CentredDifferences, CentredActivations), Rank: p.Count("rank", 1)})
	}},
	{"logistic[:C=N]", func(p *parameters.Set) Aggregator {
		return Logistic(LogisticOptions{C: p.Positive("C", 0), Tolerance: p.Positive("tolerance", 0), MaxIterations: p.Count("iterations", 0)})
	}},
	{"lda", func(*parameters.Set) Aggregator { return Discriminant() }},
	{"kmeans[:k=N]", func(p *parameters.Set) Aggregator { return KMeans(p.Count("k", 4)) }},
	{"heads[:top=N,direction=probe,size=N]", func(p *parameters.Set) Aggregator {
		return Heads(HeadOptions{Top: p.Count("top", 0), Probe: p.Flag("direction", "probe"), Size: p.Count("size", 0)})
	}},
	{"linear-act", func(*parameters.Set) Aggregator { return LinearAcT() }},
	{"transport", func(*parameters.Set) Aggregator { return Transport() }},
	{"leace", func(*parameters.Set) Aggregator { return LEACE() }},
}

// Syntax says how each aggregator is written, with what may follow its name.
func Syntax() string {
	var usage []string
	for _, k := range kinds {
		usage = append(usage, k.usage)
	}
	return strings.Join(usage, "; ")
}

// Parse reads an aggregator as its Name is: NAME or NAME:KEY=VALUE,KEY=VALUE. What it
// does not know, and numbers out of range, are errors.
func Parse(text string) (Aggregator, error) {
	name, p, err := parameters.Parse(text)
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.name() == name })
	if at < 0 {
		var names []string
		for _, k := range kinds {
			names = append(names, k.name())
		}
		return nil, fmt.Errorf("unknown aggregator %q: it is one of %s", name, strings.Join(names, ", "))
	}
	var a Aggregator
	if err == nil {
		a = kinds[at].parse(p)
		err = p.End()
	}
	if err != nil {
		return nil, fmt.Errorf("aggregator %q: %w; it is written %s", text, err, kinds[at].usage)
	}
	return a, nil
}

func errMerge(a, b Accumulator) error {
	return fmt.Errorf("merge: %T cannot take %T of another recipe or width", a, b)
}

var errNoSamples = errors.New("no samples were added")
