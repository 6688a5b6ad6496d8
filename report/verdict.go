package report

import (
	"fmt"
	"math"
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
	text := fmt.Sprintf("The vector %s: %s, chosen on one half of the items, it moves the propensity by %s nats (95 %% interval %s to %s) on the %d of the other half",
		verdict, v.pointName(r.Chosen), signed(e.Value, 2), signed(e.Low, 2), signed(e.High, 2), e.N)
	if wrong, ok := r.Steering.Metrics[eval.WrongWay]; ok {
		text += fmt.Sprintf(", of which %.0f %% move the wrong way", 100*wrong.Value)
	}
	return text + "."
}

// pointName says where and how strongly a point steers.
func (v *view) pointName(p eval.Point) string {
	at := "all its layers"
	if layer, ok := layerOf(p); ok {
		at = fmt.Sprintf("layer %d", layer)
	}
	how := "at multiplier " + number(p.Multiplier)
	if p.Budget != 0 {
		how = fmt.Sprintf("at a budget of %s nats (multiplier %s)", number(p.Budget), number(p.Multiplier))
	}
	return fmt.Sprintf("at %s, %s (%s)", at, how, methodOf(p))
}

// compared says what the baselines reach.
func (v *view) compared(r *eval.Result) string {
	none, ok := v.unsteered(eval.Choices, eval.Report, eval.Propensity)
	if !ok {
		return "There are no baselines to compare it with."
	}
	var parts []string
	best := math.Inf(-1)
	count := 0
	for _, row := range v.rows(eval.Choices, eval.Report, eval.RandomVector) {
		if e, ok := row.Metrics[eval.Propensity]; ok && sameSign(row.Multiplier, r.Chosen.Multiplier) {
			best, count = max(best, e.Value-none.Value), count+1
		}
	}
	if count > 0 {
		parts = append(parts, fmt.Sprintf("the best of %s of its length moves it by %s nats", counted(count, "random vector"), signed(best, 2)))
	}
	for _, p := range v.promptBaselines(eval.Report) {
		parts = append(parts, fmt.Sprintf("%s %s nats", p.sentence, signed(p.estimate.Value-none.Value, 2)))
	}
	if len(parts) == 0 {
		return "There are no baselines to compare it with."
	}
	return fmt.Sprintf("For comparison: %s.", strings.Join(parts, ", "))
}

func sameSign(a, b float64) bool { return (a < 0) == (b < 0) }

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// price says what the chosen point costs, and whether the choice was a good one.
func (v *view) price(r *eval.Result) string {
	var text string
	if row := v.at(r.Chosen, eval.Cost, eval.Report); row != nil {
		kl, perplexity := row.Metrics[eval.KL95], row.Metrics[eval.Perplexity]
		text = fmt.Sprintf("On neutral text it costs %s nats at the 95th percentile of tokens", number(kl.Value))
		if none, ok := v.unsteered(eval.Cost, "", eval.Perplexity); ok && perplexity.Value > 0 {
			text += fmt.Sprintf(" and takes the perplexity from %s to %s", number(none.Value), number(perplexity.Value))
		}
	} else {
		text = "What it costs on neutral text was not measured"
	}
	if r.Within {
		return text + "; the best point in hindsight lies within the chosen one's interval."
	}
	return fmt.Sprintf("%s; in hindsight %s would have been better, by more than the interval.", text, v.pointName(r.Best))
}
