package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/steervec/steer/eval"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"nats": func(v float64) string { return signed(v, 2) }, "interval": interval}).Parse(pageHTML))

// page is what the template is filled with. Sections without data are nil, and
// left out.
type page struct {
	Title       string
	Style       template.CSS
	Script      template.JS
	Verdict     []string
	Sections    []section
	Maps        []methodMap
	Effect      []captioned
	Cost        *captioned
	Comparisons []comparison
	Movements   *shownMovements
	Texts       []shownText
	Tokens      *shownTokens
	Vectors     []captioned
	Command     string
	Facts       []fact
}

type section struct{ ID, Title string }

// captioned is a figure and what is said below it.
type captioned struct {
	Figure  template.HTML
	Caption string
}

// HTML writes the report as one page that needs nothing else: no other file, no
// network. It can be read without its scripts. What comes from data is escaped.
func (d *Data) HTML(w io.Writer) error {
	v := newView(d)
	p := page{
		Title: "Does it steer " + d.Manifest.Model.ID + "?", Style: template.CSS(pageCSS), Script: template.JS(pageJS),
		Verdict: v.verdict(), Maps: v.maps(), Comparisons: v.comparisons(), Movements: v.shownMovements(), Texts: v.texts(), Tokens: v.tokens(),
		Command: commandLine(d.Manifest.Command), Facts: v.facts(),
	}
	if methods := v.methods(); len(methods) > 0 {
		p.Effect = figures(
			captioned{svgOf(v.curves(methods[0], eval.Report)), "Blue: the chosen layer with its 95 % interval over items; gray: the other layers; dashed: what a system prompt or prefix reaches without steering; diamonds, where strengths are multipliers: random vectors of the same length."},
			captioned{svgOf(v.slopes(methods[0], eval.Report)), "The slope of each item's propensity over the multiplier, its mean with the 95 % interval, and below it the share of items whose slope is negative."},
		)
	}
	if cost := v.tradeOff(eval.Report); cost != nil {
		p.Cost = &captioned{Figure: cost.svg()}
	}
	p.Vectors = figures(
		captioned{svgOf(v.cosines()), "Cosines between the vectors of layers and aggregators: where neighbours agree, the direction persists."},
		captioned{svgOf(v.planes()), "Activations of the training pairs where they are read, on their first two principal components; one scale for both directions in a panel. Filled circles are positive, open triangles negative."},
	)
	for _, s := range []struct {
		section
		there bool
	}{
		{section{"where", "Layer and strength"}, p.Maps != nil}, {section{"effect", "Effect"}, p.Effect != nil}, {section{"cost", "Cost"}, p.Cost != nil},
		{section{"baselines", "Baselines"}, p.Comparisons != nil}, {section{"examples", "Examples"}, p.Movements != nil}, {section{"texts", "Texts"}, p.Texts != nil},
		{section{"tokens", "Tokens"}, p.Tokens != nil}, {section{"vectors", "Vectors"}, p.Vectors != nil}, {section{"again", "Run it again"}, true},
	} {
		if s.there {
			p.Sections = append(p.Sections, s.section)
		}
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// interval writes an estimate's, where it has one.
func interval(e eval.Estimate) string {
	if e.Low == e.High {
		return "–"
	}
	return signed(e.Low, 2) + " to " + signed(e.High, 2)
}

// svgOf draws a figure that there may not be.
func svgOf(s *scene) template.HTML {
	if s == nil {
		return ""
	}
	return s.svg()
}

// figures leaves out those that there are no data for.
func figures(all ...captioned) []captioned {
	all = slices.DeleteFunc(all, func(c captioned) bool { return c.Figure == "" })
	if len(all) == 0 {
		return nil
	}
	return all
}

// methodMap is the heat maps of a method on both halves, and their numbers.
type methodMap struct {
	Method  string
	Figures []template.HTML
	Cells   []shownCell
}

type shownCell struct {
	Layer                                         int
	Strength, Propensity, Match, Effect, Interval string
	Chosen                                        bool
}

func (v *view) maps() []methodMap {
	var maps []methodMap
	for i, of := range v.methods() {
		m := methodMap{Method: of.String()}
		for _, half := range []eval.Half{eval.Choose, eval.Report} {
			if s := v.heatMap(of, half); s != nil {
				s.name = fmt.Sprintf("%s-%d", s.name, i)
				m.Figures = append(m.Figures, s.svg())
			}
		}
		for _, c := range v.cells(of, eval.Report) {
			e, match := c.row.Metrics[eval.Propensity], "–"
			if p, ok := c.row.Metrics[eval.Match]; ok {
				match = fmt.Sprintf("%.1f %%", 100*p.Value)
			}
			chosen := v.Manifest.Result != nil && isPoint(c.row, v.Manifest.Result.Chosen)
			m.Cells = append(m.Cells, shownCell{c.layer, number(c.strength), signed(e.Value, 2), match, signed(c.effect.Value, 2), interval(c.effect), chosen})
		}
		if m.Figures != nil {
			maps = append(maps, m)
		}
	}
	return maps
}

// shownMovements are how far items move, and those that move least.
type shownMovements struct {
	Figure template.HTML
	Worst  []shownExample
}

type shownExample struct {
	By, Unsteered, Steered, Side, ID, Question, Yes, No string
}

// examplesShown is how many examples are listed with their texts.
const examplesShown = 12

func (v *view) shownMovements() *shownMovements {
	s := v.movementBars(eval.Report)
	if s == nil {
		return nil
	}
	shown := &shownMovements{Figure: s.svg()}
	moved := v.movements(eval.Report)
	for _, m := range moved[:min(examplesShown, len(moved))] {
		e := shownExample{By: signed(m.by, 2), Unsteered: signed(m.Unsteered, 2), Steered: signed(m.Value, 2), Side: "pos", ID: "item " + m.ID}
		if m.by < 0 {
			e.Side = "neg"
		}
		if item := v.items[m.ID]; item != nil && len(item.Options) > 0 {
			first := item.Options[0]
			if e.Question = first.Question; e.Question == "" {
				e.Question = first.Prompt
			}
			if e.Yes = strings.TrimSpace(first.Answer); len(item.Options) > 1 {
				e.No = strings.TrimSpace(item.Options[1].Answer)
			}
		}
		shown.Worst = append(shown.Worst, e)
	}
	return shown
}

// shownText is what was written after one prompt at each strength.
type shownText struct {
	Prompt  string
	Columns []textColumn
}

type textColumn struct{ Name, Strength, Text, Scores string }

// texts are those of the chosen layer and method, a column a strength.
func (v *view) texts() []shownText {
	var rows []*eval.Row
	for i := range v.Rows {
		row := &v.Rows[i]
		if row.Set != eval.Generation || len(row.Texts) == 0 || row.Baseline == eval.RandomVector || row.Baseline == eval.ZeroStrength {
			continue
		}
		if r := v.Manifest.Result; r != nil && row.Baseline == "" && (methodOf(row.Point) != methodOf(r.Chosen) || !slices.Equal(row.Layers, r.Chosen.Layers)) {
			continue
		}
		rows = append(rows, row)
	}
	name := func(row *eval.Row) (name string, order float64) {
		switch row.Baseline {
		case eval.NoSteering:
			return "not steered", 0
		case eval.PositivePrompt:
			return "asked for it", math.Inf(1)
		case eval.NegativePrompt:
			return "asked for the opposite", math.Inf(-1)
		}
		return "at " + signed(strength(row.Point), 2), strength(row.Point)
	}
	slices.SortStableFunc(rows, func(a, b *eval.Row) int {
		_, x := name(a)
		_, y := name(b)
		return compare(x, y)
	})
	var out []shownText
	byID := map[string]int{}
	for _, row := range rows {
		title, order := name(row)
		for _, t := range row.Texts {
			at, known := byID[t.ID]
			if !known {
				at, byID[t.ID] = len(out), len(out)
				out = append(out, shownText{Prompt: t.Prompt})
			}
			out[at].Columns = append(out[at].Columns, textColumn{title, number(order), strings.TrimSpace(t.Text), scoresOf(t)})
		}
	}
	return out
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// scoresOf writes a text's scores, and which of them failed.
func scoresOf(t eval.Text) string {
	var parts []string
	for _, name := range sortedKeys(t.Scores) {
		parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+number(t.Scores[name]))
	}
	for _, name := range sortedKeys(t.Failed) {
		parts = append(parts, name+" failed: "+t.Failed[name])
	}
	return strings.Join(parts, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// shownTokens are texts whose tokens are colored.
type shownTokens struct {
	Layer         int
	Center, Limit string
	Steered       bool
	Texts         []tokenText
}

type tokenText struct{ Unsteered, Steered []shownToken }

type shownToken struct{ Token, Side, Share, Value string }

func (v *view) tokens() *shownTokens {
	var row *eval.Row
	for i := range v.Rows {
		r := &v.Rows[i]
		if r.Set != eval.Projections || len(r.Tokens) == 0 || len(r.Layers) != 1 {
			continue
		}
		if row == nil || v.Manifest.Result != nil && slices.Equal(r.Layers, v.Manifest.Result.Chosen.Layers) {
			row = r
		}
	}
	if row == nil {
		return nil
	}
	var texts [][]eval.TokenRow
	var all []float64 // without the texts' first tokens
	for i, token := range row.Tokens {
		if i == 0 || token.Text != row.Tokens[i-1].Text {
			texts = append(texts, nil)
		} else {
			all = append(all, token.Unsteered)
		}
		texts[len(texts)-1] = append(texts[len(texts)-1], token)
	}
	center, limit := TokenScale(append([]float64{0}, all...))
	shown := &shownTokens{Layer: row.Layers[0], Center: number(center), Limit: number(limit)}
	token := func(text string, value float64) shownToken {
		share := min(max((value-center)/limit, -1), 1)
		side := "pos"
		if share < 0 {
			side = "neg"
		}
		return shownToken{text, side, fmt.Sprintf("%.0f", 100*math.Abs(share)), number(value)}
	}
	for _, text := range texts {
		var t tokenText
		for _, row := range text {
			t.Unsteered = append(t.Unsteered, token(row.Token, row.Unsteered))
			t.Steered = append(t.Steered, token(row.Token, row.Steered))
			shown.Steered = shown.Steered || row.Steered != row.Unsteered
		}
		shown.Texts = append(shown.Texts, t)
	}
	return shown
}

type fact struct{ Name, Value string }

// facts are all that a reader needs to run the sweep again to the same bits.
func (v *view) facts() []fact {
	m := v.Manifest
	facts := []fact{
		{"steer", m.Version}, {"model", strings.TrimSpace(m.Model.ID + " " + m.Model.Revision)}, {"weights", m.Model.WeightsHash},
		{"computed in", strings.Trim(m.Model.DType+", "+m.Model.Instructions, ", ")}, {"layers of the model", fmt.Sprint(m.Model.Layers)},
	}
	for _, data := range []struct {
		name string
		info eval.DataInfo
	}{{"trained on", m.Pairs}, {"evaluated on", m.Eval}, {"cost on", m.Text}} {
		if data.info.Hash != "" {
			path := data.info.Path
			if path == "" {
				path = "built-in text"
			}
			facts = append(facts, fact{data.name, fmt.Sprintf("%s, %d records, %s", path, data.info.Count, data.info.Hash)})
		}
	}
	strengths := "multipliers " + numbers(m.Grid.Multipliers)
	if v.byBudget() {
		strengths = "budgets " + numbers(m.Grid.Budgets) + " nats"
	}
	facts = append(facts,
		fact{"grid", fmt.Sprintf("layers %s; %s; %s; tokens %s; %s", strings.Trim(fmt.Sprint(m.Grid.Layers), "[]"), strings.Join(m.Grid.Aggregators, ", "),
			strings.Join(m.Grid.Operators, ", "), strings.Join(m.Grid.Scopes, ", "), strengths)},
		fact{"read", m.Plan.Read}, fact{"layer type", string(m.Plan.Site)},
		fact{"seed", fmt.Sprintf("%d; %s; %d resamples", m.Plan.Seed, counted(m.Plan.Random, "random vector"), m.Plan.Resamples)})
	if i := m.Plan.Instructions; i != nil {
		facts = append(facts, fact{"prompts", fmt.Sprintf("for it: %q; against: %q", i[0], i[1])})
	}
	if m.Plan.MaxKL95 > 0 {
		facts = append(facts, fact{"chosen among", fmt.Sprintf("points that cost at most %s nats at the 95th percentile of tokens", number(m.Plan.MaxKL95))})
	}
	for _, note := range m.Notes {
		facts = append(facts, fact{"note", note})
	}
	if w := m.Work; w != nil {
		facts = append(facts, fact{"work", fmt.Sprintf("%d token-layers given, %d computed, %d saved; %.1f s", w.Given, w.Computed, w.Saved(), w.Seconds)})
	}
	return slices.DeleteFunc(facts, func(f fact) bool { return f.Value == "" })
}

func numbers(values []float64) string {
	var texts []string
	for _, x := range values {
		texts = append(texts, number(x))
	}
	return strings.Join(texts, ", ")
}

// commandLine writes arguments as a shell takes them.
func commandLine(arguments []string) string {
	var words []string
	for _, a := range arguments {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=@+%", r))
		}) {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
