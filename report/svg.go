package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// svg writes the scene for the page. Colors are classes, so that they follow the
// page's light or dark theme; every text is escaped.
func (s *scene) svg() template.HTML {
	var b strings.Builder
	id := "fig-" + s.name
	fmt.Fprintf(&b, `<svg class="fig" viewBox="0 0 %s %s" style="max-width:%spx" role="img" aria-labelledby="%s-t %s-d" xmlns="http://www.w3.org/2000/svg">`,
		px(s.width), px(s.height), px(1.25*s.width), html.EscapeString(id), html.EscapeString(id))
	fmt.Fprintf(&b, `<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, html.EscapeString(id), html.EscapeString(s.title), html.EscapeString(id), html.EscapeString(s.about))
	for _, m := range s.marks {
		m.write(&b)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

func (m *mark) write(b *strings.Builder) {
	attributes := m.attributes()
	closing := "/>"
	if m.tip != "" {
		closing = "><title>" + html.EscapeString(m.tip) + "</title></"
	}
	closed := func(name string) string {
		if m.tip == "" {
			return closing
		}
		return closing + name + ">"
	}
	switch {
	case m.text != "":
		at := m.points[0]
		turn := ""
		if m.upward {
			turn = fmt.Sprintf(` transform="rotate(-90 %s %s)"`, px(at.x), px(at.y))
		}
		weight := ""
		if m.bold {
			weight = ` font-weight="600"`
		}
		fmt.Fprintf(b, `<text x="%s" y="%s" text-anchor="%s" font-size="%s"%s%s%s>%s</text>`,
			px(at.x), px(at.y), m.anchor, px(m.size), weight, turn, attributes, html.EscapeString(m.text))
	case m.radius > 0:
		fmt.Fprintf(b, `<circle cx="%s" cy="%s" r="%s"%s%s`, px(m.points[0].x), px(m.points[0].y), px(m.radius), attributes, closed("circle"))
	default:
		name := "polyline"
		if m.closed {
			name = "polygon"
		}
		var points []string
		for _, p := range m.points {
			points = append(points, px(p.x)+","+px(p.y))
		}
		fmt.Fprintf(b, `<%s points="%s"%s%s`, name, strings.Join(points, " "), attributes, closed(name))
	}
}

// attributes are the classes of the colors and what else the style says.
func (m *mark) attributes() string {
	var classes []string
	var b strings.Builder
	for _, part := range []struct {
		prefix string
		role   role
	}{{"f", m.fill}, {"s", m.stroke}} {
		side, share := "", math.Abs(m.share)
		if part.role == diverging {
			side = "-p"
			if m.share < 0 {
				side = "-n"
			}
		}
		if part.role == contrast && share < legible {
			part.role = ink
			if share >= legibleOnDark {
				side = "-mid"
			}
		}
		if part.role == none {
			part.role = "none"
		}
		classes = append(classes, part.prefix+"-"+string(part.role)+side)
	}
	fmt.Fprintf(&b, ` class="%s"`, strings.Join(classes, " "))
	if m.fill == diverging {
		fmt.Fprintf(&b, ` style="--t:%.0f%%"`, 100*math.Abs(m.share))
	}
	if m.stroke != none {
		fmt.Fprintf(&b, ` stroke-width="%s"`, px(m.width))
	}
	if m.dash != nil {
		var lengths []string
		for _, d := range m.dash {
			lengths = append(lengths, px(d))
		}
		fmt.Fprintf(&b, ` stroke-dasharray="%s"`, strings.Join(lengths, " "))
	}
	if m.opacity != 0 {
		fmt.Fprintf(&b, ` opacity="%s"`, px(m.opacity))
	}
	return b.String()
}

// legible is the share of a diverging color from which on ink is no longer legible
// on it; on the page's dark theme that is legibleOnDark.
const (
	legible       = 0.8
	legibleOnDark = 0.6
)

// px writes a length to a hundredth.
func px(v float64) string {
	text := fmt.Sprintf("%.2f", v)
	text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	if text == "-0" {
		return "0"
	}
	return text
}
