package eval

import (
	"encoding/json"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// Row is one line of rows.jsonl: what was measured of one point, on one half of
// the data. Rows of one evaluation differ in point, set and half.
type Row struct {
	Point
	Set     Set                 `json:"set"`
	Half    Half                `json:"half,omitempty"` // of the items; "" where it has none or all of them
	Metrics map[string]Estimate `json:"metrics,omitempty"`

	Examples   []Example   `json:"examples,omitempty"`   // in the items' order
	Texts      []Text      `json:"texts,omitempty"`      // of Generation
	Cosines    *Cosines    `json:"cosines,omitempty"`    // of Vectors
	Projection *Projection `json:"projection,omitempty"` // of Activations
	Tokens     []TokenRow  `json:"tokens,omitempty"`     // of Projections
}

// Point is a way to steer, or to do without.
type Point struct {
	Baseline   Baseline `json:"baseline,omitempty"` // "": a point of the grid
	Seed       uint64   `json:"seed,omitempty"`     // of a random vector
	Layers     []int    `json:"layers,omitempty"`   // 0-based; one in a sweep
	Aggregator string   `json:"aggregator,omitempty"`
	Operator   string   `json:"operator,omitempty"` // as steer.ParseOperator reads it
	Scope      string   `json:"scope,omitempty"`    // the tokens that are steered, as steer.ParseTokens reads them, or "all"

	// Multiplier multiplies the vector. Strength is the same in units of the vector's
	// calibration, where it has one. Budget is the cost for which the multiplier was
	// found, in nats (the 95th percentile of the divergence of a token), negative for
	// steering against the vector; 0: it was given.
	Multiplier float64 `json:"multiplier"`
	Strength   float64 `json:"strength,omitempty"`
	Budget     float64 `json:"budget,omitempty"`
}

// Baseline is what a result is to be compared with.
type Baseline string

const (
	NoSteering     Baseline = "none"
	ZeroStrength   Baseline = "zero"    // the vector at multiplier 0, which must equal no steering to the bit
	RandomVector   Baseline = "random"  // a random vector of the same length
	PositivePrompt Baseline = "prompt+" // not steered, but asked for the behaviour
	NegativePrompt Baseline = "prompt-" // not steered, but asked for its opposite
)

// Set is a set of metrics that come together.
type Set string

const (
	// Choices are two-sided questions and pairs: the metrics Propensity, Gained,
	// Match and Accuracy. An example's value is its propensity.
	Choices Set = "choices"
	// Multiple are questions with several options: MC1 and MC2.
	Multiple Set = "multiple"
	// Labelled are texts that show a concept or not: Propensity is the difference of
	// the mean log-probabilities of a token.
	Labelled Set = "texts"
	// Steerability is how choices move with the multiplier: Slope, Spearman and
	// WrongWay. Its points have no multiplier. An example's value is its slope.
	Steerability Set = "steerability"
	// Cost is what steering does to neutral text: KL, KL95, FirstKL and Perplexity.
	Cost Set = "cost"
	// Generation is texts that were written, with what scored them.
	Generation Set = "generation"
	// Vectors are the cosines between the vectors of all layers and aggregators.
	Vectors Set = "vectors"
	// Activations are those of the training pairs at one layer, brought to a plane.
	Activations Set = "activations"
	// Projections are the tokens of texts with their projection on the vector.
	Projections Set = "projections"
)

// Names of metrics, the keys of [Row.Metrics]; docs/evaluating.md has the
// formulas. A judge or another scorer of texts adds its own.
const (
	Propensity = "propensity" // nats: log p(matching answer) - log p(other)
	Match      = "match"      // probability of the matching answer among the two
	Gained     = "gain"       // nats: the propensity less that of the same item without steering
	Accuracy   = "accuracy"   // share of items whose matching answer is the likelier
	MC1        = "mc1"        // share of items whose likeliest option is the true one
	MC2        = "mc2"        // probability of the true options among all
	Slope      = "slope"      // nats a unit of the multiplier
	Spearman   = "spearman"   // rank correlation of multiplier and propensity
	WrongWay   = "wrong_way"  // share of items with a slope below 0
	KL         = "kl"         // nats a token, of the steered model from the unsteered one
	KL95       = "kl95"       // 95th percentile over tokens
	FirstKL    = "first_kl"   // at the first token after a prompt
	Perplexity = "perplexity" // of the text

	Distinct            = "distinct"             // share of different word pairs in a text
	Words               = "words"                // share of a text's words that are in the list
	Pattern             = "pattern"              // share of texts that the expression matches
	UnsteeredPerplexity = "unsteered_perplexity" // of a written text, under the unsteered model
	Failed              = "failed"               // share of texts that could not be scored
)

// Half says which of the items a row is of. A sweep chooses on one half and
// reports on the other.
type Half string

const (
	Choose Half = "choose"
	Report Half = "report"
)

// Estimate is a mean over items, or another figure of them, with its interval.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"` // 95 % by bootstrap over items; equal to Value where there is nothing to draw
	High  float64 `json:"high"`
	N     int     `json:"n"` // items, texts or tokens
}

// Example is one item's part in a row.
type Example struct {
	ID        string  `json:"id"`
	Value     float64 `json:"value"`     // steered
	Unsteered float64 `json:"unsteered"` // the movement is the difference
}

// Text is what a model wrote after one prompt.
type Text struct {
	ID     string             `json:"id"`     // of the item
	Prompt string             `json:"prompt"` // what was asked
	Text   string             `json:"text"`
	Scores map[string]float64 `json:"scores,omitempty"`
	Failed map[string]string  `json:"failed,omitempty"` // scorer -> why it gave no score
}

// Cosines are the cosines between vectors.
type Cosines struct {
	Names  []VectorName `json:"names"`
	Values [][]float64  `json:"values"` // [names][names]
}

// VectorName is one layer of one aggregator's vector.
type VectorName struct {
	Layer      int    `json:"layer"`
	Aggregator string `json:"aggregator"`
}

// Projection is activations on their first two principal components.
type Projection struct {
	Positive  [][2]float64 `json:"positive"` // [samples]
	Negative  [][2]float64 `json:"negative"`
	Explained [2]float64   `json:"explained"` // shares of the variance
}

// TokenRow is a token of a text with its projection on the vector's
// direction, in the units of activations, on the unsteered and on the steered model.
type TokenRow struct {
	Text      int     `json:"text"` // which one, from 0
	Token     string  `json:"token"`
	Unsteered float64 `json:"unsteered"`
	Steered   float64 `json:"steered"`
}

// Manifest is sweep.json: all that a sweep depends on, so that it can be run again
// to the same bits, and what came of it.
type Manifest struct {
	Format  string   `json:"format"`  // ManifestFormat
	Version string   `json:"version"` // of steer
	Command []string `json:"command"` // that ran it

	Model ModelInfo `json:"model"`
	Pairs DataInfo  `json:"pairs"` // what the vectors were trained on
	Eval  DataInfo  `json:"eval"`  // what they were evaluated on
	Text  DataInfo  `json:"text"`  // the neutral text of the cost
	Grid  Grid      `json:"grid"`
	Plan  Plan      `json:"plan"`

	// Shard is set in the folder of a shard, which has measured.jsonl, a line for each
	// group, in place of rows.jsonl.
	Shard *SweepShard `json:"shard,omitempty"`

	// Groups and Rows are how many groups of points are done, and how many lines of
	// rows.jsonl or measured.jsonl are of them; a sweep that was stopped goes on from there.
	Groups  int               `json:"groups"`
	Rows    int               `json:"rows"`
	Vectors map[string]string `json:"vectors,omitempty"` // aggregator -> sha256:… of its vector's file
	Notes   []string          `json:"notes,omitempty"`   // what whoever reads the rows should know
	Work    *Work             `json:"work,omitempty"`    // what the run that ended it computed, and the shards before
	Result  *Result           `json:"result,omitempty"`  // nil until the sweep has ended
}

// SweepShard says which part of a sweep a folder has: a share of the items in the groups
// from … to-1.
type SweepShard struct {
	steer.Shard
	From int `json:"from"`
	To   int `json:"to"`
}

// ManifestFormat is the format of manifests of this version.
const ManifestFormat = "steer-sweep-1"

// ModelInfo says which model was evaluated and how it computed.
type ModelInfo struct {
	Ref          string `json:"ref"` // as it was opened
	ID           string `json:"id"`
	Revision     string `json:"revision,omitempty"`
	WeightsHash  string `json:"weights_hash"`
	Layers       int    `json:"layers"`
	DType        string `json:"dtype"`
	Instructions string `json:"instructions"`
}

// DataInfo names a file of data. A built-in text has no path.
type DataInfo struct {
	Path  string `json:"path,omitempty"`
	Hash  string `json:"hash"`  // sha256:… of its bytes
	Count int    `json:"count"` // records
}

// Grid is what a sweep tries: every layer with every aggregator, operator, scope
// and multiplier, or budget.
type Grid struct {
	Layers      []int     `json:"layers"`
	Aggregators []string  `json:"aggregators"`
	Operators   []string  `json:"operators"`
	Scopes      []string  `json:"scopes"`
	Multipliers []float64 `json:"multipliers,omitempty"` // or
	Budgets     []float64 `json:"budgets,omitempty"`     // nats
}

// Plan is how a sweep goes about it.
type Plan struct {
	Site         lm.Site    `json:"layer_type"`
	Read         string     `json:"read"`                   // of the training pairs, as steer.ParseReading reads it
	Chat         bool       `json:"chat"`                   // prompts go through the model's chat template
	TextTokens   int        `json:"text_tokens"`            // of the neutral text that are taken
	MaxKL95      float64    `json:"max_kl95"`               // nats: what a point that is chosen may cost
	Seed         uint64     `json:"seed"`                   // of the halves, the bootstrap and the random vectors
	Resamples    int        `json:"resamples"`              // of the bootstrap
	Random       int        `json:"random_vectors"`         // that the chosen one is compared with
	Instructions *[2]string `json:"instructions,omitempty"` // of prompt-only steering: positive and negative
	Generate     *Generate  `json:"generate,omitempty"`
}

// Generate is how texts are written and scored.
type Generate struct {
	Questions   int      `json:"questions"`
	MaxTokens   int      `json:"max_tokens"`
	Temperature float64  `json:"temperature"`
	Words       []string `json:"words,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
	Judge       string   `json:"judge,omitempty"` // the model that judged, and what it was asked
}

// Work counts what was computed, in token-layers: a token through one decoder
// block is one.
type Work struct {
	Given    int     `json:"given_token_layers"` // were every prompt computed by itself
	Computed int     `json:"computed_token_layers"`
	Seconds  float64 `json:"seconds"`
}

// Saved returns the token-layers that were not computed.
func (w Work) Saved() int { return w.Given - w.Computed }

// add returns the sum of both; nil is nothing.
func (w *Work) add(other *Work) *Work {
	switch {
	case w == nil:
		return other
	case other == nil:
		return w
	}
	return &Work{w.Given + other.Given, w.Computed + other.Computed, w.Seconds + other.Seconds}
}

// Result is what a sweep found. Gains are propensities as differences from no
// steering, in nats.
type Result struct {
	Chosen    Point    `json:"chosen"` // gains most on the half that chooses, of the points that cost no more than the plan says
	KL95      Estimate `json:"kl95"`   // what it costs
	OnChoose  Estimate `json:"choose"` // its gain there
	OnReport  Estimate `json:"report"` // on the other half
	Best      Point    `json:"best"`   // gains most on the half that reports, which nobody could have known
	OnBest    Estimate `json:"best_report"`
	Within    bool     `json:"within"`    // whether the best gain lies in the interval of the chosen point's
	Baselines []Gain   `json:"baselines"` // on the half that reports
}

// Gain is what a point gains.
type Gain struct {
	Point Point    `json:"point"`
	Gain  Estimate `json:"gain"`
}

// Key tells the rows of an evaluation apart.
func (r *Row) Key() string { return r.Point.key() + " " + string(r.Set) + " " + string(r.Half) }

func (p Point) key() string {
	key, err := json.Marshal(p)
	if err != nil {
		panic(err) // a point holds finite numbers and strings
	}
	return string(key)
}
