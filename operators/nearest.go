package operators

import (
	"errors"
	"fmt"
	"math"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm/engine"
)

// AddNearest adds the row that points most as the activation does: h + v_j, j being
// that of the largest cosine of h and v, the first of equals. One or more rows, none
// zero, such as the means of groups of differences.
//
// Source: steering-lite, topk_clusters.py.
func AddNearest() engine.Operator { return addNearest{} }

type addNearest struct{}

func (addNearest) Name() string { return "add-nearest" }

func (addNearest) Prepare(vector []float32, width int) ([]float32, error) {
	if width <= 0 || len(vector) == 0 || len(vector)%width != 0 {
		return nil, fmt.Errorf("it has %s; the operator needs one or more rows", counted(vector, width))
	}
	if linear.IsZero(vector) {
		return nil, nil
	}
	for at := 0; at < len(vector); at += width {
		if linear.IsZero(vector[at : at+width]) {
			return nil, errors.New("a row is zero: it points nowhere")
		}
	}
	return vector, nil
}

func (addNearest) Delta(delta, activation, rows []float32) {
	width := len(activation)
	best, nearest := math.Inf(-1), 0
	for at := 0; at < len(rows); at += width {
		row := rows[at : at+width]
		if along := linear.Dot(activation, row) / math.Sqrt(linear.Dot(row, row)); along > best {
			best, nearest = along, at
		}
	}
	copy(delta, rows[nearest:nearest+width])
}
