package steer

import "github.com/steervec/steer/aggregators"

// Aggregator turns the activations of one layer into one direction, or into what
// another operator reads; see [aggregators.Aggregator]. Package aggregators has more
// of them than the three of this package.
type Aggregator = aggregators.Aggregator

// Accumulator takes the activations of samples as they come; see
// [aggregators.Accumulator].
type Accumulator = aggregators.Accumulator

// Mean takes the mean of positive minus negative (mean_aggregator of the reference;
// Rimsky et al. 2023).
func Mean() Aggregator { return aggregators.Mean() }

// PCA takes the first principal component of the differences and their negatives,
// uncentred, of length 1, with the sign that the mean difference has along it
// (pca_aggregator of the reference).
func PCA() Aggregator { return aggregators.PCA(aggregators.PCAOptions{}) }

// Logistic takes the normal of the plane that a logistic regression puts between
// positive and negative activations, of length 1 (logistic_aggregator of the reference).
func Logistic() Aggregator { return aggregators.Logistic(aggregators.LogisticOptions{}) }

// AggregatorFunc makes an aggregator of a function of all activations: see
// [aggregators.Func].
func AggregatorFunc(name string, f func(positive, negative [][]float32) ([]float32, error)) Aggregator {
	return aggregators.Func(name, f)
}

// ParseAggregator returns the aggregator that is written NAME or
// NAME:KEY=VALUE,KEY=VALUE, as its Name is: see [aggregators.Parse].
func ParseAggregator(text string) (Aggregator, error) { return aggregators.Parse(text) }

// AggregatorSyntax says how each aggregator is written.
func AggregatorSyntax() string { return aggregators.Syntax() }
