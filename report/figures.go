package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/steervec/steer/eval"
)

// figureWidth is that of most figures. It is small, so that labels stay legible
// where the page is 400 pixels wide.
const figureWidth = 460

// cell is a point of the grid at a layer and a strength.
type cell struct {
	layer    int
	strength float64
	effect   eval.Estimate // how far the propensity moves from that without steering
	row      *eval.Row
}

// cells are the points of a method on one half, by layer, then strength.
func (v *view) cells(of method, half eval.Half) []cell {
	var cells []cell
	rows := v.rows(eval.Choices, half, "")
	for i := range rows {
		row := &rows[i]
		layer, ok := layerOf(row.Point)
		if !ok || methodOf(row.Point) != of {
			continue
		}
		if effect, ok := row.Metrics[eval.Gained]; ok {
			cells = append(cells, cell{layer, strength(row.Point), effect, row})
		}
	}
	slices.SortFunc(cells, func(a, b cell) int { return cmp.Or(a.layer-b.layer, cmp.Compare(a.strength, b.strength)) })
	return cells
}

// values returns the different values of cells, ascending.
func values[T cmp.Ordered](cells []cell, of func(cell) T) []T {
	var out []T
	for _, c := range cells {
		out = append(out, of(c))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// isPoint reports whether a row is of a point.
func isPoint(row *eval.Row, p eval.Point) bool {
	a, b := eval.Row{Point: row.Point}, eval.Row{Point: p}
	return a.Key() == b.Key()
}

// heatMap draws the effect at each layer and strength. Colors have the same scale
// on both halves; numbers stand in the cells, so that it can be read without color.
func (v *view) heatMap(of method, half eval.Half) *scene {
	cells := v.cells(of, half)
	if len(cells) == 0 {
		return nil
	}
	layers := values(cells, func(c cell) int { return c.layer })
	strengths := values(cells, func(c cell) float64 { return c.strength })
	limit := v.effectLimit(of)
	const left, top, right = 46.0, 26.0, 6.0
	width := (figureWidth - left - right) / float64(len(strengths))
	height := min(max(500/float64(len(layers)), 15), 30)
	bottom := top + height*float64(len(layers))
	s := &scene{
		name: "heat-" + string(half), width: figureWidth, height: bottom + 84,
		title: "Effect by layer and strength, " + halfName(half), about: fmt.Sprintf("Heat map of %d layers and %d strengths for %s. The numbers are below.", len(layers), len(strengths), of),
	}
	decimals := 2
	if limit >= 10 {
		decimals = 1
	}
	for _, c := range cells {
		column, _ := slices.BinarySearch(strengths, c.strength)
		row, _ := slices.BinarySearch(layers, c.layer)
		x, y := left+width*float64(column), top+height*float64(row)
		share := c.effect.Value / limit
		s.rect(x+0.75, y+0.75, width-1.5, height-1.5, style{fill: diverging, share: share}).tip =
			fmt.Sprintf("layer %d, %s %s: %s nats", c.layer, v.strengthName(), number(c.strength), signed(c.effect.Value, 3))
		if width >= 30 {
			text := s.label(x+width/2, y+height/2+4, signed(c.effect.Value, decimals), middle, contrast)
			text.share, text.size = share, min(fontSize, width/3.6)
		}
	}
	if r := v.Manifest.Result; r != nil {
		for _, mark := range []struct {
			point eval.Point
			style style
		}{{r.Best, style{stroke: ink, width: 1.5, dash: []float64{3, 2}}}, {r.Chosen, style{stroke: ink, width: 2.5}}} {
			layer, ok := layerOf(mark.point)
			column, found := slices.BinarySearch(strengths, strength(mark.point))
			row, there := slices.BinarySearch(layers, layer)
			if ok && found && there && methodOf(mark.point) == of {
				s.rect(left+width*float64(column)+1, top+height*float64(row)+1, width-2, height-2, mark.style)
			}
		}
	}
	for i, layer := range layers {
		s.label(left-7, top+height*(float64(i)+0.5)+4, strconv.Itoa(layer), end, muted)
	}
	title := s.label(12, (top+bottom)/2, "layer", middle, ink)
	title.upward = true
	every := int(math.Ceil(26 / width))
	for i, st := range strengths {
		if i%every == 0 {
			s.label(left+width*(float64(i)+0.5), bottom+16, number(st), middle, muted)
		}
	}
	s.label((left+figureWidth-right)/2, bottom+34, v.strengthName(), middle, ink)
	s.label(left, 14, halfName(half), start, ink).bold = true
	s.legend(left, bottom+46, figureWidth-left-right, number(-limit), "+"+number(limit)+" nats")
	return s
}

// effectLimit is the largest effect of a method on either half.
func (v *view) effectLimit(of method) float64 {
	limit := 0.0
	for _, half := range []eval.Half{eval.Choose, eval.Report} {
		for _, c := range v.cells(of, half) {
			limit = max(limit, math.Abs(c.effect.Value))
		}
	}
	if limit == 0 {
		return 1
	}
	return limit
}

func halfName(half eval.Half) string {
	switch half {
	case eval.Choose:
		return "the half that chooses"
	case eval.Report:
		return "the half that reports"
	}
	return "all items"
}

// curves draws the effect over the strength: the chosen layer with its interval,
// the others behind it, and the baselines.
func (v *view) curves(of method, half eval.Half) *scene {
	cells := v.cells(of, half)
	if len(cells) == 0 {
		return nil
	}
	layers := values(cells, func(c cell) int { return c.layer })
	shown := v.shownLayer(of, cells)
	ys, xs := []float64{0}, []float64{0}
	for _, c := range cells {
		e := c.effect
		ys, xs = append(ys, e.Value), append(xs, c.strength)
		if c.layer == shown {
			ys = append(ys, e.Low, e.High)
		}
	}
	prompts := v.promptBaselines(half)
	for _, p := range prompts {
		ys = append(ys, p.estimate.Value)
	}
	s := &scene{name: "curves", width: figureWidth, height: 330, title: "Effect curves: " + of.String(),
		about: fmt.Sprintf("Change of the propensity over the %s at %d layers; layer %d with its 95 %% interval.", v.strengthName(), len(layers), shown)}
	const right = 104
	y := axisOver(ys, 278, 14)
	x := axis{low: slices.Min(xs), high: slices.Max(xs), from: 56, to: figureWidth - right}
	s.frame(x, y, v.strengthName(), "effect on propensity (nats)", nil)
	line := func(layer int) (mean, low, high []point) {
		at := func(strength float64, e eval.Estimate) {
			px := x.at(strength)
			mean, low, high = append(mean, point{px, y.at(e.Value)}), append(low, point{px, y.at(e.Low)}), append(high, point{px, y.at(e.High)})
		}
		zero := false
		for _, c := range cells {
			if c.layer != layer {
				continue
			}
			if c.strength >= 0 && !zero {
				if c.strength > 0 {
					at(0, eval.Estimate{})
				}
				zero = true
			}
			at(c.strength, c.effect)
		}
		if !zero {
			at(0, eval.Estimate{})
		}
		return mean, low, high
	}
	for _, layer := range layers {
		if layer != shown {
			mean, _, _ := line(layer)
			s.line(mean, style{stroke: muted, width: 1, opacity: 0.55}).tip = fmt.Sprintf("layer %d", layer)
		}
	}
	tags := []tag{{y: y.at(0), text: "no steering", fill: muted}}
	for _, p := range prompts {
		at := y.at(p.estimate.Value)
		s.line([]point{{x.from, at}, {x.to, at}}, style{stroke: accent, width: 1.5, dash: []float64{6, 3}}).tip = fmt.Sprintf("%s: %s nats", p.name, number(p.estimate.Value))
		tags = append(tags, tag{y: at, text: p.name, fill: accent})
	}
	mean, low, high := line(shown)
	slices.Reverse(high)
	s.polygon(slices.Concat(low, high), style{fill: positive, opacity: 0.18})
	s.line(mean, style{stroke: positive, width: 2.5})
	for _, p := range mean {
		s.circle(p, 3, style{fill: positive})
	}
	tags = append(tags, tag{y: mean[len(mean)-1].y, text: fmt.Sprintf("layer %d", shown), fill: positive})
	tagged := false
	for _, r := range v.rows(eval.Choices, half, eval.RandomVector) {
		if e, ok := r.Metrics[eval.Gained]; ok && !v.byBudget() && r.Multiplier >= x.low && r.Multiplier <= x.high {
			at := point{x.at(r.Multiplier), y.at(e.Value)}
			s.randomMark(at).tip = fmt.Sprintf("random vector, seed %d: %s nats", r.Seed, number(e.Value))
			if !tagged {
				tags, tagged = append(tags, tag{at.y, "random", negative, true}), true
			}
		}
	}
	s.tags(x.to+8, tags)
	return s
}

// shownLayer is the chosen layer, or else the one with the largest effect.
func (v *view) shownLayer(of method, cells []cell) int {
	if r := v.Manifest.Result; r != nil && methodOf(r.Chosen) == of {
		if layer, ok := layerOf(r.Chosen); ok {
			return layer
		}
	}
	best := cells[0]
	for _, c := range cells {
		if c.effect.Value > best.effect.Value {
			best = c
		}
	}
	return best.layer
}

// tag is a name beside a line's end.
type tag struct {
	y      float64
	text   string
	fill   role
	random bool // with the mark of random vectors
}

// tags writes names beside the ends of lines, so that none covers another.
func (s *scene) tags(x float64, tags []tag) {
	slices.SortStableFunc(tags, func(a, b tag) int { return cmp.Compare(a.y, b.y) })
	const apart = 14
	for i := range tags {
		if i > 0 {
			tags[i].y = max(tags[i].y, tags[i-1].y+apart)
		}
	}
	for i := len(tags) - 1; i >= 0; i-- {
		limit := s.height - 46
		if i+1 < len(tags) {
			limit = tags[i+1].y - apart
		}
		tags[i].y = min(tags[i].y, limit)
	}
	for _, t := range tags {
		at := x
		if t.random {
			s.randomMark(point{x + 5, t.y})
			at += 14
		}
		s.label(at, t.y+4, t.text, start, t.fill)
	}
}

// randomMark draws a random vector's point.
func (s *scene) randomMark(at point) *mark {
	return s.glyph(3, at, 3.5, style{fill: paper, stroke: negative, width: 1.5})
}

// named is what a baseline gains, with its name.
type named struct {
	name     string
	estimate eval.Estimate
}

func (v *view) promptBaselines(half eval.Half) []named {
	var out []named
	for _, b := range []struct {
		baseline eval.Baseline
		name     string
	}{{eval.PositivePrompt, "prompt for it"}, {eval.NegativePrompt, "prompt against"}} {
		for _, row := range v.rows(eval.Choices, half, b.baseline) {
			if e, ok := row.Metrics[eval.Gained]; ok {
				out = append(out, named{b.name, e})
				break
			}
		}
	}
	return out
}

// priced is a point with what it does and what it costs.
type priced struct {
	row          *eval.Row
	cost, effect float64
}

// priced returns the points of a baseline ("": the grid) whose cost is known.
func (v *view) priced(half eval.Half, baseline eval.Baseline) []priced {
	var out []priced
	rows := v.rows(eval.Choices, half, baseline)
	for i := range rows {
		effect, ok := rows[i].Metrics[eval.Gained]
		cost := v.at(rows[i].Point, eval.Cost, half)
		if !ok || cost == nil {
			continue
		}
		if kl, ok := cost.Metrics[eval.KL95]; ok {
			out = append(out, priced{&rows[i], kl.Value, effect.Value})
		}
	}
	return out
}

// front returns the points for which no other has as much effect for less, by
// cost.
func front(points []priced) []priced {
	sorted := slices.Clone(points)
	slices.SortFunc(sorted, func(a, b priced) int { return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(b.effect, a.effect)) })
	var out []priced
	for _, p := range sorted {
		if p.effect > 0 && (len(out) == 0 || p.effect > out[len(out)-1].effect) {
			out = append(out, p)
		}
	}
	return out
}

// leastCost is where the axis of costs begins at the latest; what costs less stands
// there.
const leastCost = 1e-3

// tradeOff draws effect against cost, with the Pareto front and the baselines.
func (v *view) tradeOff(half eval.Half) *scene {
	points, random := v.priced(half, ""), v.priced(half, eval.RandomVector)
	if len(points) == 0 {
		return nil
	}
	methods := v.methods()
	lowest, highest, ys := 0.1, 10*leastCost, []float64{0}
	for _, p := range slices.Concat(points, random) {
		lowest, highest, ys = min(lowest, p.cost), max(highest, p.cost), append(ys, p.effect)
	}
	lowest = math.Pow(10, math.Floor(math.Log10(max(lowest, leastCost))))
	prompts := v.promptBaselines(half)
	for _, p := range prompts {
		ys = append(ys, p.estimate.Value)
	}
	legend := len(methods)
	s := &scene{name: "trade-off", width: figureWidth, height: 330 + 18*float64(legend+1), title: "Effect against cost",
		about: fmt.Sprintf("Each of %d points of the grid at its cost and its effect; the line joins those that no other point beats.", len(points))}
	const right = 104
	x := axis{low: lowest, high: max(highest, 10*lowest) * 1.15, from: 56, to: figureWidth - right, log: true}
	y := axisOver(ys, 278, 14)
	s.frame(x, y, "cost: KL of a token, 95th percentile (nats)", "effect on propensity (nats)", nil)
	var tags []tag
	for _, p := range prompts {
		at := y.at(p.estimate.Value)
		s.line([]point{{x.from, at}, {x.to, at}}, style{stroke: accent, width: 1.5, dash: []float64{6, 3}})
		tags = append(tags, tag{y: at, text: p.name, fill: accent})
	}
	if most := v.Manifest.Plan.MaxKL95; most > x.low && most < x.high {
		s.line([]point{{x.at(most), y.from}, {x.at(most), y.to}}, style{stroke: muted, width: 1.25, dash: []float64{1.5, 3}}).tip = "what a chosen point may cost"
		s.label(x.at(most)-4, y.to+10, "allowed", end, muted)
	}
	place := func(p priced) point { return point{x.at(p.cost), y.at(p.effect)} }
	for _, p := range points {
		kind := slices.Index(methods, methodOf(p.row.Point))
		fill := positive
		if p.effect < 0 {
			fill = muted
		}
		s.glyph(kind, place(p), 3.2, style{fill: fill, opacity: 0.55}).tip =
			fmt.Sprintf("layer %v, %s, %s: effect %s nats, cost %s nats", p.row.Layers, methodOf(p.row.Point), number(strength(p.row.Point)), signed(p.effect, 2), number(p.cost))
	}
	for i, p := range random {
		s.randomMark(place(p)).tip = fmt.Sprintf("random vector, seed %d", p.row.Seed)
		if i == 0 {
			tags = append(tags, tag{place(p).y, "random", negative, true})
		}
	}
	var steps []point
	for i, p := range front(points) {
		at := place(p)
		if i > 0 {
			steps = append(steps, point{at.x, steps[len(steps)-1].y})
		}
		steps = append(steps, at)
	}
	if len(steps) > 0 {
		steps = append(steps, point{x.to, steps[len(steps)-1].y})
		s.line(steps, style{stroke: ink, width: 1.5})
		tags = append(tags, tag{y: steps[len(steps)-1].y, text: "Pareto front", fill: ink})
	}
	if r := v.Manifest.Result; r != nil {
		for _, p := range points {
			if isPoint(p.row, r.Chosen) {
				s.circle(place(p), 7, style{stroke: ink, width: 2}).tip = "chosen"
			}
		}
	}
	s.tags(x.to+8, tags)
	for i, m := range methods {
		at := 338 + 18*float64(i)
		s.glyph(i, point{64, at - 4}, 3.2, style{fill: positive})
		s.label(76, at, m.String(), start, muted)
	}
	s.circle(point{64, 338 + 18*float64(legend) - 4}, 5, style{stroke: ink, width: 1.75})
	s.label(76, 338+18*float64(legend), "chosen; what costs less stands at the left edge", start, muted)
	return s
}

// slopes draws the steerability of each layer with its interval, and below it the
// share of items that move the wrong way.
func (v *view) slopes(of method, half eval.Half) *scene {
	type layerSlope struct {
		layer        int
		slope, wrong eval.Estimate
	}
	var slopes []layerSlope
	for _, row := range v.rows(eval.Steerability, half, "") {
		layer, ok := layerOf(row.Point)
		slope, measured := row.Metrics[eval.Slope]
		if ok && measured && methodOf(row.Point) == of {
			slopes = append(slopes, layerSlope{layer, slope, row.Metrics[eval.WrongWay]})
		}
	}
	if len(slopes) == 0 {
		return nil
	}
	slices.SortFunc(slopes, func(a, b layerSlope) int { return a.layer - b.layer })
	var ys []float64
	var names []string
	for _, l := range slopes {
		ys, names = append(ys, l.slope.Low, l.slope.High, 0), append(names, strconv.Itoa(l.layer))
	}
	s := &scene{name: "slopes", width: figureWidth, height: 330, title: "Steerability by layer",
		about: "Mean slope of the propensity over the multiplier at each layer with its 95 % interval, and the share of items with a negative slope."}
	y := axisOver(ys, 180, 14)
	x := axis{low: -0.5, high: float64(len(slopes)) - 0.5, from: 56, to: figureWidth - 12}
	share := axis{low: 0, high: 1, from: 288, to: 236}
	s.frame(x, y, "", "slope (nats a unit)", names)
	s.label(56, 226, "share of items that move the wrong way", start, muted)
	for _, tick := range []float64{0, 0.5, 1} {
		s.line([]point{{x.from, share.at(tick)}, {x.to, share.at(tick)}}, style{stroke: faint, width: 1})
		s.label(x.from-6, share.at(tick)+4, fmt.Sprintf("%.0f %%", 100*tick), end, muted)
	}
	chosen := -1
	if r := v.Manifest.Result; r != nil && methodOf(r.Chosen) == of {
		if layer, ok := layerOf(r.Chosen); ok {
			chosen = layer
		}
	}
	bar := min(0.7*(x.to-x.from)/float64(len(slopes)), 22)
	for i, l := range slopes {
		at := x.at(float64(i))
		s.line([]point{{at, y.at(l.slope.Low)}, {at, y.at(l.slope.High)}}, style{stroke: positive, width: 2})
		s.circle(point{at, y.at(l.slope.Value)}, 4, style{fill: positive}).tip = fmt.Sprintf("layer %d: %s nats a unit (%s to %s), %.0f %% move the wrong way",
			l.layer, signed(l.slope.Value, 2), signed(l.slope.Low, 2), signed(l.slope.High, 2), 100*l.wrong.Value)
		if l.layer == chosen {
			s.circle(point{at, y.at(l.slope.Value)}, 8, style{stroke: ink, width: 2})
		}
		s.rect(at-bar/2, share.at(l.wrong.Value), bar, share.from-share.at(l.wrong.Value), style{fill: negative})
	}
	s.line([]point{{x.from, share.from}, {x.to, share.from}}, style{stroke: muted, width: 1})
	s.label((x.from+x.to)/2, 312, "layer", middle, ink)
	return s
}

// movement is how far steering moved an item.
type movement struct {
	eval.Example
	by float64
}

// movements are those of the chosen point, the wrong ones first.
func (v *view) movements(half eval.Half) []movement {
	r := v.Manifest.Result
	if r == nil {
		return nil
	}
	row := v.at(r.Chosen, eval.Choices, half)
	if row == nil {
		return nil
	}
	out := make([]movement, len(row.Examples))
	for i, e := range row.Examples {
		out[i] = movement{e, e.Value - e.Unsteered}
	}
	slices.SortStableFunc(out, func(a, b movement) int { return cmp.Compare(a.by, b.by) })
	return out
}

// movementBars draws how far each item moved, in order.
func (v *view) movementBars(half eval.Half) *scene {
	moved := v.movements(half)
	if len(moved) == 0 {
		return nil
	}
	ys, wrong := []float64{0}, 0
	for _, m := range moved {
		ys = append(ys, m.by)
		if m.by < 0 {
			wrong++
		}
	}
	s := &scene{name: "movements", width: figureWidth, height: 300, title: "How far each item moves",
		about: fmt.Sprintf("Bars of %d items in ascending order; %d move the wrong way.", len(moved), wrong)}
	y := axisOver(ys, 248, 14)
	x := axis{low: 0, high: float64(len(moved)), from: 56, to: figureWidth - 12}
	s.frame(x, y, fmt.Sprintf("items, the worst first: %d of %d move the wrong way", wrong, len(moved)), "change of propensity (nats)", make([]string, 0))
	width := (x.to - x.from) / float64(len(moved))
	gap := min(1, width/5)
	for i, m := range moved {
		fill, top := positive, min(y.at(m.by), y.at(0))
		if m.by < 0 {
			fill = negative
		}
		s.rect(x.at(float64(i))+gap/2, top, width-gap, math.Abs(y.at(m.by)-y.at(0)), style{fill: fill}).tip =
			fmt.Sprintf("%s: %s nats, from %s to %s", m.ID, signed(m.by, 2), number(m.Unsteered), number(m.Value))
	}
	return s
}

// cosines draws the cosines between vectors.
func (v *view) cosines() *scene {
	for _, row := range v.Rows {
		c := row.Cosines
		if c == nil || len(c.Names) == 0 {
			continue
		}
		n := len(c.Names)
		aggregators := map[string]bool{}
		for _, name := range c.Names {
			aggregators[name.Aggregator] = true
		}
		left := 40.0
		if len(aggregators) > 1 {
			left = 86
		}
		const top = 8
		size := (figureWidth - left - 8) / float64(n)
		bottom := top + size*float64(n)
		s := &scene{name: "cosines", width: figureWidth, height: bottom + 74, title: "Cosines between vectors", about: fmt.Sprintf("Matrix of the cosines between %d vectors.", n)}
		for i := range n {
			for k := range n {
				x, y, cosine := left+size*float64(k), top+size*float64(i), c.Values[i][k]
				s.rect(x+0.4, y+0.4, size-0.8, size-0.8, style{fill: diverging, share: cosine}).tip =
					fmt.Sprintf("%s layer %d and %s layer %d: %s", c.Names[i].Aggregator, c.Names[i].Layer, c.Names[k].Aggregator, c.Names[k].Layer, signed(cosine, 3))
				if size >= 28 {
					text := s.label(x+size/2, y+size/2+4, signed(cosine, 2), middle, contrast)
					text.share, text.size = cosine, min(fontSize, size/3)
				}
			}
			if every := int(math.Ceil(13 / size)); i%every == 0 {
				name := strconv.Itoa(c.Names[i].Layer)
				s.label(left+size*(float64(i)+0.5), bottom+14, name, middle, muted)
				if len(aggregators) > 1 {
					name = c.Names[i].Aggregator + " " + name
				}
				s.label(left-6, top+size*(float64(i)+0.5)+4, name, end, muted)
			}
		}
		s.label((left+figureWidth-8)/2, bottom+30, "layer", middle, ink)
		s.legend(left, bottom+38, figureWidth-left-8, "−1", "1")
		return s
	}
	return nil
}

// legend draws the scale of a diverging color with the names of its ends.
func (s *scene) legend(x, y, width float64, low, high string) {
	const steps = 40
	for i := range steps {
		s.rect(x+width*float64(i)/steps, y, width/steps+0.3, 8, style{fill: diverging, share: 2*(float64(i)+0.5)/steps - 1})
	}
	s.label(x, y+22, low, start, muted)
	s.label(x+width/2, y+22, "0", middle, muted)
	s.label(x+width, y+22, high, end, muted)
}

// planes draws the activations of the training pairs, a panel a layer.
func (v *view) planes() *scene {
	var rows []*eval.Row
	for i := range v.Rows {
		if row := &v.Rows[i]; row.Projection != nil && len(row.Layers) == 1 {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	slices.SortStableFunc(rows, func(a, b *eval.Row) int { return a.Layers[0] - b.Layers[0] })
	const columns, gap = 3, 12.0
	size := (figureWidth - 2 - gap*(columns-1)) / columns
	panel := size + 22
	lines := float64((len(rows) + columns - 1) / columns)
	s := &scene{name: "planes", width: figureWidth, height: lines*(panel+gap) + 22, title: "Activations of the training pairs",
		about: fmt.Sprintf("Positive and negative activations on their first two principal components at %d layers.", len(rows))}
	for i, row := range rows {
		left, top := 1+float64(i%columns)*(size+gap), float64(i/columns)*(panel+gap)
		p := row.Projection
		shares := fmt.Sprintf("%.0f + %.0f %%", 100*p.Explained[0], 100*p.Explained[1])
		s.label(left, top+13, fmt.Sprintf("layer %d", row.Layers[0]), start, ink).bold = true
		s.label(left+size, top+13, shares, end, muted)
		s.rect(left, top+20, size, size, style{stroke: faint, width: 1})
		low, high := [2]float64{math.Inf(1), math.Inf(1)}, [2]float64{math.Inf(-1), math.Inf(-1)}
		for _, at := range slices.Concat(p.Positive, p.Negative) {
			for k := range at {
				low[k], high[k] = min(low[k], at[k]), max(high[k], at[k])
			}
		}
		// Both directions have one scale, so that distances mean the same.
		extent := max(high[0]-low[0], high[1]-low[1], math.SmallestNonzeroFloat32)
		place := func(at [2]float64) point {
			return point{left + size/2 + (at[0]-(low[0]+high[0])/2)/extent*(size-16), top + 20 + size/2 - (at[1]-(low[1]+high[1])/2)/extent*(size-16)}
		}
		for _, at := range p.Negative {
			s.glyph(1, place(at), 2.6, style{stroke: negative, width: 1.1, opacity: 0.9})
		}
		for _, at := range p.Positive {
			s.circle(place(at), 2.3, style{fill: positive, opacity: 0.75})
		}
	}
	y := lines*(panel+gap) + 8
	s.circle(point{6, y - 4}, 3, style{fill: positive})
	s.label(14, y, "positive", start, muted)
	s.glyph(1, point{80, y - 4}, 3, style{stroke: negative, width: 1.25})
	s.label(88, y, "negative", start, muted)
	s.label(figureWidth, y, "shares of the variance at the right", end, muted)
	return s
}
