package eval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// CalibrateOptions say what strength 1 is to cost, and on what.
type CalibrateOptions struct {
	Text       string  // neutral text
	TextTokens int     // of it that are taken; 0: 512
	Budget     float64 // nats: the 95th percentile of the divergence of a token; 0: 1

	// Continue is how many tokens the steered model writes, greedily, after each
	// passage's prompt; what it wrote is scored both ways and counts like the text.
	// 0: 20; negative: none.
	Continue int

	Progress func(multiplier, kl95 float64) // after each measurement; nil: nobody is told
}

// Calibrated is a calibration and how it was found.
type Calibrated struct {
	steer.Calibration
	Measured Estimate `json:"measured"` // the cost at the multiplier
	Tries    int      `json:"tries"`    // multipliers that were measured
	Usage    lm.Usage `json:"-"`
}

// Calibrate finds the multiplier of a vector at which the 95th percentile of the
// divergence of a token from the unsteered model is the budget. The use's own
// multiplier does not matter. It is an error where no multiplier has that cost, as
// with an operator that does not look at the vector's length.
func Calibrate(ctx context.Context, m *lm.Model, use Use, opts CalibrateOptions) (*Calibrated, error) {
	opts.Budget = cmp.Or(opts.Budget, 1)
	one := 1.0
	use.Multiplier, use.Strength = &one, nil
	arm, err := NewArm(m, []Use{use}, 1)
	if err != nil {
		return nil, err
	}
	c, err := newCalibrator(m, opts)
	if err != nil {
		return nil, err
	}
	found, err := c.find(ctx, []dose{{use, opts.Budget}})
	if err != nil {
		return nil, err
	}
	if found[0].err != nil {
		return nil, found[0].err
	}
	return &Calibrated{
		Calibration: steer.Calibration{
			Multiplier: found[0].multiplier, Budget: opts.Budget, Operator: arm.Point.Operator, Layers: arm.Point.Layers,
			Tokens: use.Tokens, TextHash: HashText(opts.Text),
		},
		Measured: found[0].measured, Tries: found[0].tries, Usage: c.usage,
	}, nil
}

// HashText returns the digest by which a text is known.
func HashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// calibrator measures what multipliers cost.
type calibrator struct {
	model     *lm.Model
	opts      CalibrateOptions
	texts     []passage
	bootstrap bootstrap
	usage     lm.Usage
}

func newCalibrator(m *lm.Model, opts CalibrateOptions) (*calibrator, error) {
	if opts.Budget < 0 || math.IsNaN(opts.Budget) || math.IsInf(opts.Budget, 0) {
		return nil, fmt.Errorf("a budget of %v nats makes no sense", opts.Budget)
	}
	texts, err := passages(m, opts.Text, cmp.Or(opts.TextTokens, 512))
	return &calibrator{model: m, opts: opts, texts: texts, bootstrap: bootstrap{resamples: 1000}}, err
}

// dose is a use whose multiplier is looked for: the one that costs the budget, or
// where the budget is negative, against the vector.
type dose struct {
	use    Use
	budget float64
}

// found is what was found of a dose.
type found struct {
	multiplier float64
	measured   Estimate
	tries      int
	err        error // there is no such multiplier
}

// find looks for the multipliers of all doses together, so that what they measure
// shares what is computed.
func (c *calibrator) find(ctx context.Context, doses []dose) ([]found, error) {
	out, searches := make([]found, len(doses)), make([]*search, len(doses))
	for i, d := range doses {
		searches[i] = newSearch(math.Abs(d.budget))
	}
	for {
		var arms []Arm
		var of []int
		for i, s := range searches {
			if s.done {
				continue
			}
			arm, err := NewArm(c.model, []Use{doses[i].use}, math.Copysign(s.next(), doses[i].budget))
			if err != nil {
				return nil, err
			}
			arms, of = append(arms, arm), append(of, i)
		}
		if len(arms) == 0 {
			return out, nil
		}
		measured, err := c.measure(ctx, arms)
		if err != nil {
			return nil, err
		}
		for k, i := range of {
			cost := c.bootstrap.pooled(divergences(measured[k]), kl95)
			if c.opts.Progress != nil {
				c.opts.Progress(arms[k].Point.Multiplier, cost.Value)
			}
			s := searches[i]
			if better := s.tell(cost.Value); better {
				out[i].multiplier, out[i].measured = arms[k].Point.Multiplier, cost
			}
			out[i].tries, out[i].err = s.tries, s.err
		}
	}
}

func divergences(texts []passageCost) [][]float64 {
	out := make([][]float64, len(texts))
	for i, t := range texts {
		out[i] = t.KL
	}
	return out
}

// measure returns what arms cost on the passages and on what the steered model
// writes after their prompts: [arms][texts].
func (c *calibrator) measure(ctx context.Context, arms []Arm) ([][]passageCost, error) {
	out, usage, err := costs(ctx, c.model, c.texts, arms, nil)
	if err != nil {
		return nil, err
	}
	c.usage = c.usage.Add(usage)
	write := cmp.Or(c.opts.Continue, 20)
	if write < 0 {
		return out, nil
	}
	var prompts []lm.Input
	for _, arm := range arms {
		for _, p := range c.texts {
			in, first, err := p.input(c.model, "")
			if err != nil {
				return nil, err
			}
			prompts = append(prompts, lm.Input{Tokens: in.Tokens[:first+p.prompt], Steering: arm.Steering})
		}
	}
	written, err := c.model.Generate(ctx, prompts, lm.GenerateOptions{MaxTokens: write})
	if err != nil {
		return nil, err
	}
	for i, arm := range arms {
		var continued []passage
		for k, p := range c.texts {
			if ids := written[i*len(c.texts)+k].IDs; len(ids) > 0 {
				continued = append(continued, passage{p.number, p.special, append(p.tokens[:p.prompt:p.prompt], ids...), p.prompt})
			}
		}
		if len(continued) == 0 {
			continue
		}
		own, usage, err := costs(ctx, c.model, continued, []Arm{arm}, nil)
		if err != nil {
			return nil, err
		}
		c.usage = c.usage.Add(usage)
		out[i] = append(out[i], own[0]...)
	}
	return out, nil
}

// search finds where a cost that grows with the multiplier is the budget: by
// doubling and halving until it lies between two multipliers, then by the Illinois
// variant of the secant on the logarithms of both (Dowell and Jarratt 1971), since
// the divergence is about a power of the multiplier.
type search struct {
	budget float64
	at     float64 // log of the multiplier that is measured next
	low    bound   // whose cost is below the budget
	high   bound
	side   int     // which bound stayed in the last step, -1 or 1
	best   float64 // the smallest distance from the budget so far, in logarithms
	tries  int
	done   bool
	err    error
}

// bound is a multiplier and its cost, as logarithms, the cost of the budget being 0.
type bound struct {
	x, y  float64
	known bool
}

const (
	searchBegin = 1.0 / 16
	searchMost  = 60   // measurements
	searchClose = 5e-3 // a relative distance from the budget that is good enough
	searchReach = 24   // doublings or halvings until a cost is given up
)

func newSearch(budget float64) *search {
	return &search{budget: budget, at: math.Log(searchBegin), best: math.Inf(1)}
}

func (s *search) next() float64 { return math.Exp(s.at) }

// tell takes the cost at the multiplier that was asked for. It reports whether
// nothing was closer to the budget yet.
func (s *search) tell(cost float64) (better bool) {
	s.tries++
	y := math.Log(max(cost, 1e-9) / s.budget)
	if better = math.Abs(y) < s.best; better {
		s.best = math.Abs(y)
	}
	here := bound{s.at, y, true}
	if y < 0 {
		if s.low.known && s.high.known {
			if s.side == -1 {
				s.high.y /= 2
			}
			s.side = -1
		}
		s.low = here
	} else {
		if s.low.known && s.high.known {
			if s.side == 1 {
				s.low.y /= 2
			}
			s.side = 1
		}
		s.high = here
	}
	reach := searchReach * math.Ln2
	switch begin := math.Log(searchBegin); {
	case s.best <= searchClose || s.tries >= searchMost:
		s.done = true
	case !s.high.known && s.at > begin+reach:
		s.done, s.err = true, fmt.Errorf("at a multiplier of %.3g the cost is %.3g nats, and a greater one does not bring it to %v", s.next(), cost, s.budget)
	case !s.low.known && s.at < begin-reach:
		s.done, s.err = true, fmt.Errorf("at a multiplier of %.3g the cost is still %.3g nats, more than %v", s.next(), cost, s.budget)
	case !s.high.known:
		s.at += math.Ln2
	case !s.low.known:
		s.at -= math.Ln2
	case s.high.x-s.low.x < 1e-9: // the cost jumps here
		s.done = true
	default:
		s.at = s.low.x - s.low.y*(s.high.x-s.low.x)/(s.high.y-s.low.y)
	}
	return better
}
