package report

import (
	"math"
	"strconv"
	"strings"
)

// scene is a drawing: marks in CSS pixels from the top left. It is written as SVG
// into the page, whose style sheet gives roles their colors, and drawn for papers
// in colors of its own (paper.go).
type scene struct {
	name          string // of the files for papers
	title, about  string // what it shows; what a reader who does not see it should know
	width, height float64
	marks         []*mark
}

type point struct{ x, y float64 }

// role is what a color is for.
type role string

const (
	none      role = ""
	ink       role = "ink"
	muted     role = "muted"
	faint     role = "faint"
	paper     role = "paper"
	positive  role = "pos"
	negative  role = "neg"
	accent    role = "accent"
	diverging role = "div" // from negative over paper to positive, by share
	contrast  role = "on"  // legible on a diverging color of the same share
)

type style struct {
	fill, stroke role
	share        float64 // of a diverging color, -1 … 1
	width        float64 // of the stroke
	dash         []float64
	opacity      float64 // 0: opaque
}

type anchor string

const (
	start  anchor = "start"
	middle anchor = "middle"
	end    anchor = "end"
)

// mark is a polyline, a polygon, a circle or a text.
type mark struct {
	style
	points []point // of a line; the center; where the text is anchored
	closed bool
	radius float64 // of a circle
	text   string
	anchor anchor
	size   float64
	bold   bool
	upward bool   // the text is turned by a quarter
	tip    string // what a pointer that rests on it shows
}

func (s *scene) add(m mark) *mark {
	s.marks = append(s.marks, &m)
	return &m
}

func (s *scene) line(points []point, st style) *mark { return s.add(mark{style: st, points: points}) }

func (s *scene) polygon(points []point, st style) *mark {
	return s.add(mark{style: st, points: points, closed: true})
}

func (s *scene) rect(x, y, width, height float64, st style) *mark {
	return s.polygon([]point{{x, y}, {x + width, y}, {x + width, y + height}, {x, y + height}}, st)
}

func (s *scene) circle(at point, radius float64, st style) *mark {
	return s.add(mark{style: st, points: []point{at}, radius: radius})
}

func (s *scene) label(x, y float64, text string, a anchor, fill role) *mark {
	return s.add(mark{style: style{fill: fill}, points: []point{{x, y}}, text: text, anchor: a, size: fontSize})
}

// fontSize is that of all labels; small ones have four fifths of it.
const fontSize = 12

// glyph draws one of the shapes by which series are told apart without color.
func (s *scene) glyph(kind int, at point, r float64, st style) *mark {
	x, y := at.x, at.y
	switch kind % 5 {
	case 1:
		r *= 1.25
		return s.polygon([]point{{x, y - r}, {x + r, y + 0.8*r}, {x - r, y + 0.8*r}}, st)
	case 2:
		r *= 0.9
		return s.polygon([]point{{x - r, y - r}, {x + r, y - r}, {x + r, y + r}, {x - r, y + r}}, st)
	case 3:
		r *= 1.3
		return s.polygon([]point{{x, y - r}, {x + r, y}, {x, y + r}, {x - r, y}}, st)
	case 4:
		r *= 1.25
		return s.polygon([]point{{x, y + r}, {x + r, y - 0.8*r}, {x - r, y - 0.8*r}}, st)
	}
	return s.circle(at, r, st)
}

// axis maps values to pixels.
type axis struct {
	low, high float64 // values; of a logarithmic axis both positive
	from, to  float64 // pixels
	log       bool
}

func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log(max(v, a.low)), math.Log(low), math.Log(high)
	}
	return a.from + (a.to-a.from)*(v-low)/(high-low)
}

// axisOver makes a linear axis that holds all values and ends at ticks.
func axisOver(values []float64, from, to float64) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if low > high {
		low, high = 0, 1
	}
	if low == high {
		low, high = low-1, high+1
	}
	step := niceStep(high-low, 5)
	return axis{low: step * math.Floor(low/step+1e-9), high: step * math.Ceil(high/step-1e-9), from: from, to: to}
}

// niceStep returns 1, 2 or 5 times a power of ten that parts a range into about n.
func niceStep(extent float64, n int) float64 {
	raw := extent / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, factor := range []float64{1, 2, 5} {
		if raw <= factor*power*1.0000001 {
			return factor * power
		}
	}
	return 10 * power
}

func (a axis) ticks() []float64 {
	var ticks []float64
	if a.log {
		for power := math.Floor(math.Log10(a.low)); power <= math.Log10(a.high)+1e-9; power++ {
			if tick := math.Pow(10, power); tick >= a.low*0.999 {
				ticks = append(ticks, tick)
			}
		}
		return ticks
	}
	step := niceStep(a.high-a.low, 5)
	for i := math.Ceil(a.low/step - 1e-9); i*step <= a.high+step*1e-9; i++ {
		ticks = append(ticks, i*step)
	}
	return ticks
}

// frame draws axes with ticks, a light grid and titles. xNames, where they are
// given, stand at 0, 1, 2 … in place of numbers.
func (s *scene) frame(x, y axis, xTitle, yTitle string, xNames []string) {
	grid := style{stroke: faint, width: 1}
	for _, tick := range y.ticks() {
		s.line([]point{{x.from, y.at(tick)}, {x.to, y.at(tick)}}, grid)
		s.label(x.from-6, y.at(tick)+4, number(tick), end, muted)
	}
	if y.low < 0 && y.high > 0 {
		s.line([]point{{x.from, y.at(0)}, {x.to, y.at(0)}}, style{stroke: muted, width: 1})
	}
	ticks := x.ticks()
	if xNames != nil {
		ticks = nil
		every := (len(xNames) + 11) / 12
		for i := 0; i < len(xNames); i += every {
			ticks = append(ticks, float64(i))
		}
	}
	for _, tick := range ticks {
		s.line([]point{{x.at(tick), y.from}, {x.at(tick), y.from + 4}}, style{stroke: muted, width: 1})
		text := number(tick)
		if xNames != nil {
			text = xNames[int(tick)]
		}
		s.label(x.at(tick), y.from+18, text, middle, muted)
	}
	s.line([]point{{x.from, y.from}, {x.to, y.from}}, style{stroke: muted, width: 1})
	s.label((x.from+x.to)/2, y.from+36, xTitle, middle, ink)
	title := s.label(13, (y.from+y.to)/2, yTitle, middle, ink)
	title.upward = true
}

// number writes a value as briefly as figures want it, with a true minus.
func number(v float64) string {
	if v == 0 || math.Abs(v) < 1e-12 {
		return "0"
	}
	text := strconv.FormatFloat(v, 'g', 3, 64)
	if strings.Contains(text, "e") {
		exponent := math.Floor(math.Log10(math.Abs(v)))
		if exponent >= -4 && exponent < 6 {
			text = strconv.FormatFloat(v, 'f', max(0, 2-int(exponent)), 64)
		}
	}
	return strings.Replace(text, "-", "−", 1)
}

// signed writes a value with its sign and so many decimals.
func signed(v float64, decimals int) string {
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Trim(text, "-0.") == "" {
		return "0"
	}
	if v > 0 {
		return "+" + text
	}
	return strings.Replace(text, "-", "−", 1)
}
