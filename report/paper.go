package report

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colors on white paper: Okabe and Ito's blue and vermilion, darkened for text
// and small marks, which people with any kind of color vision tell apart.
var onPaper = map[role]color.NRGBA{
	ink: {0x1a, 0x1a, 0x1a, 0xff}, muted: {0x5c, 0x5c, 0x5c, 0xff}, faint: {0xe3, 0xe3, 0xe3, 0xff}, paper: {0xff, 0xff, 0xff, 0xff},
	positive: {0x00, 0x5f, 0xa3, 0xff}, negative: {0xb8, 0x47, 0x00, 0xff}, accent: {0x00, 0x77, 0x55, 0xff},
}

// colorOf returns the color of a role on paper.
func (m *mark) colorOf(r role) color.NRGBA {
	share := math.Abs(m.share)
	side := positive
	if m.share < 0 {
		side = negative
	}
	c := onPaper[r]
	switch r {
	case diverging:
		from, to := onPaper[paper], onPaper[side]
		mix := func(a, b uint8) uint8 { return uint8(math.Round(float64(a) + share*(float64(b)-float64(a)))) }
		c = color.NRGBA{mix(from.R, to.R), mix(from.G, to.G), mix(from.B, to.B), 0xff}
	case contrast:
		c = onPaper[ink]
		if share >= legible {
			c = onPaper[paper]
		}
	}
	if m.opacity != 0 {
		c.A = uint8(math.Round(255 * m.opacity))
	}
	return c
}

// pixel is a CSS pixel in the lengths of papers, 1/96 inch.
const pixel = vg.Inch / 96

// dotsPerInch is the resolution of PNG files.
const dotsPerInch = 300

// fonts are embedded, so that figures look the same everywhere.
var fonts = font.NewCache(liberation.Collection())

// writePNG and writeSVG draw the scene on white paper.
func (s *scene) writePNG(w io.Writer) error {
	canvas := vgimg.NewWith(vgimg.UseWH(vg.Length(s.width)*pixel, vg.Length(s.height)*pixel), vgimg.UseDPI(dotsPerInch), vgimg.UseBackgroundColor(color.White))
	s.draw(canvas)
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(w); err != nil {
		return fmt.Errorf("write figure %s: %w", s.name, err)
	}
	return nil
}

func (s *scene) writeSVG(w io.Writer) error {
	canvas := vgsvg.New(vg.Length(s.width)*pixel, vg.Length(s.height)*pixel)
	s.draw(canvas)
	if _, err := canvas.WriteTo(w); err != nil {
		return fmt.Errorf("write figure %s: %w", s.name, err)
	}
	return nil
}

func (s *scene) draw(c vg.Canvas) {
	place := func(p point) vg.Point { return vg.Point{X: vg.Length(p.x) * pixel, Y: vg.Length(s.height-p.y) * pixel} }
	for _, m := range s.marks {
		if m.text != "" {
			m.drawText(c, place(m.points[0]))
			continue
		}
		var path vg.Path
		if m.radius > 0 {
			center, r := place(m.points[0]), vg.Length(m.radius)*pixel
			path.Move(vg.Point{X: center.X + r, Y: center.Y})
			path.Arc(center, r, 0, 2*math.Pi)
			path.Close()
		} else {
			for i, p := range m.points {
				if i == 0 {
					path.Move(place(p))
				} else {
					path.Line(place(p))
				}
			}
			if m.closed {
				path.Close()
			}
		}
		if m.fill != none {
			c.SetColor(m.colorOf(m.fill))
			c.Fill(path)
		}
		if m.stroke != none {
			c.SetColor(m.colorOf(m.stroke))
			c.SetLineWidth(vg.Length(m.width) * pixel)
			var dash []vg.Length
			for _, d := range m.dash {
				dash = append(dash, vg.Length(d)*pixel)
			}
			c.SetLineDash(dash, 0)
			c.Stroke(path)
		}
	}
}

func (m *mark) drawText(c vg.Canvas, at vg.Point) {
	face := font.Font{Typeface: "Liberation", Variant: "Sans"}
	if m.bold {
		face.Weight = 2 // of golang.org/x/image/font: bold
	}
	size := vg.Length(m.size) * pixel
	drawn := fonts.Lookup(face, size)
	c.SetColor(m.colorOf(m.fill))
	c.Push()
	defer c.Pop()
	c.Translate(at)
	if m.upward {
		c.Rotate(math.Pi / 2)
	}
	shift := vg.Length(0)
	switch m.anchor {
	case middle:
		shift = -drawn.Width(m.text) / 2
	case end:
		shift = -drawn.Width(m.text)
	}
	c.FillString(drawn, vg.Point{X: shift}, m.text)
}
