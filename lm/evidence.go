package lm

import (
	"fmt"
	"math"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/operators"
)

// With returns the measure with a vector [rows, width], as a function of an
// activation [width]. It is an error where the vector is no direction or not finite.
func (m Measure) With(vector []float32, width int) (func(activation []float32) float64, error) {
	rows, err := m.prepare(vector, width)
	if err != nil {
		return nil, err
	}
	return func(activation []float32) float64 { return m.of(activation, rows) }, nil
}

// prepare returns the vector as the measure is to have it: orthonormal rows.
func (m Measure) prepare(vector []float32, width int) ([]float32, error) {
	if m != CAST && m != Cosine && m != Projection {
		return nil, fmt.Errorf("the measure %q is unknown; it is one of %s, %s and %s", m, CAST, Cosine, Projection)
	}
	if len(vector) == 0 || len(vector)%width != 0 || m != CAST && len(vector) != width {
		return nil, fmt.Errorf("the vector has %d elements; the site has %d", len(vector), width)
	}
	if err := finite.Check(vector); err != nil {
		return nil, fmt.Errorf("the vector: %w", err)
	}
	rows, err := operators.Basis(vector, width)
	if err != nil {
		return nil, fmt.Errorf("the vector: %w", err)
	}
	return rows, nil
}

// of measures an activation with a vector that was prepared. It is 0 where a
// cosine is not defined.
func (m Measure) of(activation, rows []float32) float64 {
	width := len(activation)
	along, square := 0.0, 0.0 // h·x and x·x, x being what h is compared with
	own := 0.0                // h·h
	for _, h := range activation {
		own += float64(h) * float64(h)
	}
	if m != CAST {
		for i, h := range activation {
			along += float64(h) * float64(rows[i])
		}
		if m == Projection {
			return along
		}
		return cosine(along, own, 1)
	}
	var several [4]float64 // the projection's coordinates, mostly few
	coordinates := several[:0]
	for at := 0; at < len(rows); at += width {
		c := 0.0
		for i, h := range activation {
			c += float64(h) * float64(rows[at+i])
		}
		coordinates = append(coordinates, c)
	}
	for i, h := range activation {
		p := 0.0
		for j, c := range coordinates {
			p += c * float64(rows[j*width+i])
		}
		p = math.Tanh(p)
		along += float64(h) * p
		square += p * p
	}
	return cosine(along, own, square)
}

func cosine(along, a, b float64) float64 {
	if a == 0 || b == 0 {
		return 0
	}
	return along / math.Sqrt(a*b)
}

// holds says whether the evidence holds of a measure, given whether it did for the
// token before.
func (e *evidence) holds(measure float64, before bool) bool {
	bound := e.threshold
	if before {
		bound = e.release
	}
	if e.below {
		return measure < bound
	}
	return measure > bound
}
