package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/steervec/steer/eval"
)

// Verdict says in three sentences whether the vector steers, how that compares
// with the baselines, and what it costs.
func (d *Data) Verdict() []string { return newView(d).verdict() }

func (v *view) verdict() []string {
	r := v.Manifest.Result
	if r == nil {
		return []string{
			fmt.Sprintf("The sweep has not ended: %d rows are there, and nothing is chosen yet.", len(v.Rows)),
			"What follows are the rows so far.",
			"Run the same command again to go on.",
		}
	}
	return []string{v.whether(r), v.compared(r), v.price(r)}
}

// whether says if the chosen point steers, as measured on the half that did not
// choose it.
func (v *view) whether(r *eval.Result) string {
	e, verdict := r.OnReport, "is not shown to steer"
	switch {
	case e.Low > 0:
		verdict = "steers"
	case e.High < 0:
		verdict = "steers the wrong way"
	}
	text := fmt.Sprintf("The vector %s: %s, chosen on one half of the items, moves the propensity by %s nats (95 %% interval %s to %s) on the %d of the other half",
		verdict, v.pointName(r.Chosen), signed(e.Value, 2), signed(e.Low, 2), signed(e.High, 2), e.N)
	if wrong, ok := v.steerability(r.Chosen, eval.WrongWay); ok {
		text += fmt.Sprintf(", and over all multipliers %.0f %% of them move the wrong way", 100*wrong.Value)
	}
	return text + "."
}

// steerability returns a metric of how a point's layer and method steer.
func (v *view) steerability(p eval.Point, metric string) (eval.Estimate, bool) {
	for _, row := range v.rows(eval.Steerability, eval.Report, "") {
		if slices.Equal(row.Layers, p.Layers) && methodOf(row.Point) == methodOf(p) {
			e, ok := row.Metrics[metric]
			return e, ok
		}
	}
	return eval.Estimate{}, false
}

// pointName says where and how strongly a point steers.
func (v *view) pointName(p eval.Point) string {
	at := "all its layers"
	if layer, ok := layerOf(p); ok {
		at = fmt.Sprintf("layer %d", layer)
	}
	how := "multiplier " + number(p.Multiplier)
	if p.Budget != 0 {
		how = fmt.Sprintf("a budget of %s (multiplier %s)", natsOf(p.Budget), number(p.Multiplier))
	}
	return fmt.Sprintf("%s at %s, %s", at, how, methodOf(p))
}

// natsOf writes a number of nats.
func natsOf(v float64) string {
	if math.Abs(v) == 1 {
		return number(v) + " nat"
	}
	return number(v) + " nats"
}

// compared says what the baselines gain.
func (v *view) compared(r *eval.Result) string {
	var parts []string
	best, random := eval.Gain{}, 0
	for _, b := range r.Baselines {
		switch {
		case b.Point.Baseline != eval.RandomVector || b.Point.Multiplier != r.Chosen.Multiplier:
			continue
		case random == 0 || b.Gain.Value > best.Gain.Value:
			best = b
		}
		random++
	}
	if random > 0 {
		parts = append(parts, fmt.Sprintf("the best of %s of the same length reaches %s nats", counted(random, "random vector"), signed(best.Gain.Value, 2)))
	}
	for _, b := range r.Baselines {
		switch b.Point.Baseline {
		case eval.PositivePrompt:
			parts = append(parts, fmt.Sprintf("a prompt that asks for the behaviour %s", signed(b.Gain.Value, 2)))
		case eval.NegativePrompt:
			parts = append(parts, fmt.Sprintf("one that asks for the opposite %s", signed(b.Gain.Value, 2)))
		}
	}
	if len(parts) == 0 {
		return "There are no baselines to compare it with."
	}
	return fmt.Sprintf("For comparison, %s.", strings.Join(parts, ", "))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// price says what the chosen point costs, and whether the choice was a good one.
func (v *view) price(r *eval.Result) string {
	text := fmt.Sprintf("On neutral text it costs %s nats at the 95th percentile of tokens", number(r.KL95.Value))
	if row := v.at(r.Chosen, eval.Cost, ""); row != nil {
		none, ok := v.unsteered(eval.Cost, "", eval.Perplexity)
		if steered, measured := row.Metrics[eval.Perplexity]; ok && measured {
			text += fmt.Sprintf(" and takes the perplexity from %s to %s", number(none.Value), number(steered.Value))
		}
	}
	if most := v.Manifest.Plan.MaxKL95; most > 0 {
		text += fmt.Sprintf(", where %s were allowed", number(most))
	}
	switch {
	case isPoint(&eval.Row{Point: r.Best}, r.Chosen):
		return text + "; in hindsight it is the best point as well."
	case r.Within:
		return text + "; the best point in hindsight lies within its interval."
	}
	return fmt.Sprintf("%s; in hindsight %s was better, outside of its interval.", text, v.pointName(r.Best))
}
