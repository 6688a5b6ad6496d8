package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/steervec/steer/eval"
)

// Text writes the essentials for a terminal: the verdict, the effect at each layer
// and strength, the baselines and the worst examples. With color the cells of the
// map are colored; the numbers stand there in any case.
func (d *Data) Text(w io.Writer, color bool) error {
	v := newView(d)
	var b strings.Builder
	for _, sentence := range v.verdict() {
		b.WriteString(wrapped(plain(sentence), 100) + "\n")
	}
	for i, of := range v.methods() {
		if i == maxMaps {
			fmt.Fprintf(&b, "\n%d further methods are in the HTML report.\n", len(v.methods())-maxMaps)
			break
		}
		v.writeMap(&b, of, color)
	}
	v.writeBaselines(&b)
	v.writeWorst(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// maxMaps is how many methods' maps a terminal shows.
const maxMaps = 4

func (v *view) writeMap(b *strings.Builder, of method, color bool) {
	half := eval.Report
	cells := v.cells(of, half)
	if len(cells) == 0 {
		return
	}
	strengths := values(cells, func(c cell) float64 { return c.strength })
	limit := v.effectLimit(of)
	fmt.Fprintf(b, "\nEffect on the propensity in nats, %s, %s\n  %-7s", plain(of.String()), halfName(half), "layer")
	for _, s := range strengths {
		fmt.Fprintf(b, "%8s", number(s))
	}
	byPlace := map[[2]float64]cell{}
	for _, c := range cells {
		byPlace[[2]float64{float64(c.layer), c.strength}] = c
	}
	for _, layer := range values(cells, func(c cell) int { return c.layer }) {
		fmt.Fprintf(b, "\n  %-7d", layer)
		for _, s := range strengths {
			c, ok := byPlace[[2]float64{float64(layer), s}]
			if !ok {
				b.WriteString(strings.Repeat(" ", 8))
				continue
			}
			text := signed(c.effect.Value, 2)
			if r := v.Manifest.Result; r != nil && isPoint(c.row, r.Chosen) {
				text = "[" + text + "]"
			}
			text = fmt.Sprintf("%8s", text)
			if color {
				background, foreground := terminalColor(c.effect.Value / limit)
				text = fmt.Sprintf("\x1b[48;5;%d;38;5;%dm%s\x1b[0m", background, foreground, text)
			}
			b.WriteString(text)
		}
	}
	b.WriteString("\n")
}

// comparison is a line of the table of baselines.
type comparison struct {
	Name             string
	Gain, Propensity eval.Estimate
	Match, Accuracy  string
	KL95, Perplexity string // "": not measured
}

// comparisons are the chosen point and the baselines on the half that reports.
func (v *view) comparisons() []comparison {
	var out []comparison
	add := func(name string, row *eval.Row) {
		gain, ok := row.Metrics[eval.Gained]
		if !ok {
			return
		}
		c := comparison{Name: name, Gain: gain, Propensity: row.Metrics[eval.Propensity]}
		for _, m := range []struct {
			name string
			to   *string
		}{{eval.Match, &c.Match}, {eval.Accuracy, &c.Accuracy}} {
			if e, ok := row.Metrics[m.name]; ok {
				*m.to = fmt.Sprintf("%.1f %%", 100*e.Value)
			}
		}
		if cost := v.at(row.Point, eval.Cost, eval.Report); cost != nil {
			c.KL95, c.Perplexity = number(cost.Metrics[eval.KL95].Value), number(cost.Metrics[eval.Perplexity].Value)
		}
		out = append(out, c)
	}
	if r := v.Manifest.Result; r != nil {
		if row := v.at(r.Chosen, eval.Choices, eval.Report); row != nil {
			add("chosen: "+v.pointName(r.Chosen), row)
		}
	}
	for _, b := range []struct {
		baseline eval.Baseline
		name     string
	}{
		{eval.NoSteering, "no steering"}, {eval.ZeroStrength, "the vector at strength 0"}, {eval.RandomVector, "random vector"},
		{eval.PositivePrompt, "a prompt that asks for it"}, {eval.NegativePrompt, "a prompt that asks for the opposite"},
	} {
		rows := v.rows(eval.Choices, eval.Report, b.baseline)
		for i := range rows {
			name := b.name
			if b.baseline == eval.RandomVector {
				if r := v.Manifest.Result; r != nil && rows[i].Multiplier != r.Chosen.Multiplier {
					continue // the curves have them
				}
				name = fmt.Sprintf("random vector of the same length, seed %d", rows[i].Seed)
			}
			add(name, &rows[i])
		}
	}
	return out
}

func (v *view) writeBaselines(b *strings.Builder) {
	all := v.comparisons()
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%-58s %24s %9s %9s\n", "Beside the baselines, "+halfName(eval.Report), "effect (nats)", "match", "KL95")
	for _, c := range all {
		name := []rune(plain(c.Name))
		if len(name) > 58 {
			name = append(name[:57], '…')
		}
		e := c.Gain
		fmt.Fprintf(b, "%-58s %24s %9s %9s\n", string(name), fmt.Sprintf("%s (%s)", signed(e.Value, 2), interval(e)), c.Match, c.KL95)
	}
}

// worstShown is how many of the examples that move the wrong way are listed.
const worstShown = 5

func (v *view) writeWorst(b *strings.Builder) {
	moved := v.movements(eval.Report)
	if len(moved) == 0 {
		return
	}
	fmt.Fprintf(b, "\nThe examples that move least, of %d\n", len(moved))
	for _, m := range moved[:min(worstShown, len(moved))] {
		fmt.Fprintf(b, "  %s nats (%s to %s)  %s\n", signed(m.by, 2), signed(m.Unsteered, 2), signed(m.Value, 2), plain(v.described(m.ID, 60)))
	}
}

// described returns the end of an item's question, and its answers.
func (v *view) described(id string, width int) string {
	item := v.items[id]
	if item == nil || len(item.Options) == 0 {
		return "item " + id
	}
	question := item.Options[0].Question
	if question == "" {
		question = item.Options[0].Prompt
	}
	asked := []rune(strings.Join(strings.Fields(question), " "))
	if len(asked) > width {
		asked = append([]rune("…"), asked[len(asked)-width:]...)
	}
	var answers []string
	for _, o := range item.Options[:min(2, len(item.Options))] {
		answer := []rune(strings.TrimSpace(o.Answer))
		if len(answer) > width/2 {
			answer = append(answer[:width/2], '…')
		}
		answers = append(answers, strconv.Quote(string(answer)))
	}
	return fmt.Sprintf("%s → %s", string(asked), strings.Join(answers, ", not "))
}

// plain takes out of a text what a terminal would obey.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '\ufffd'
		}
		return r
	}, text)
}

// wrapped breaks a text into lines at spaces.
func wrapped(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case column > 0 && column+1+n > width:
			b.WriteString("\n")
			column = 0
		case column > 0:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}
