package kernel

import (
	"math"
	"runtime"
	"sync"
	"unsafe"
)

// Product computes dst = x·Wᵀ + bias for x [rows, In] and dst [rows, Out], both
// contiguous; bias is [Out] or nil. It uses all workers.
func Product(dst, x []float32, rows int, w *Matrix, bias []float32) {
	if rows == 0 || w.Out == 0 {
		return
	}
	p := products.Get().(*product)
	p.set, p.w, p.rows = active, w, rows
	p.dst, p.bias = dst[:rows*w.Out], bias
	p.prepare(x[:rows*w.In])
	p.divide()
	parallel(p.down*w.panels(), p)
	p.w, p.x, p.dst, p.bias = nil, nil, nil, nil
	products.Put(p)
}

// product is one call of Product while it runs.
type product struct {
	set       *instructionSet
	w         *Matrix
	rows      int
	dst, bias []float32

	// The activations [rows, stride]: x, or in rounded or halves.
	format  int
	x       []float32
	halves  []uint16
	rounded []float32
	stride  int

	// The work is down x panels tasks of blockRows rows.
	down, blockRows int
}

var products = sync.Pool{New: func() any { return new(product) }}

// prepare brings the activations into the form that the tiles read.
func (p *product) prepare(x []float32) {
	in := p.w.In
	p.x, p.stride = x, in
	switch {
	case p.w.Precision == F32:
		p.format = single
	case p.w.Precision == BF16 && p.set.tile[half][1] != nil:
		p.format = half
		p.stride = 2*p.w.steps + 32 // rows do not all begin in the same set of the cache
		sized(&p.halves, p.rows*p.stride)
		p.halves = p.halves[:cap(p.halves)]
		p.eachRow(func(r int) {
			to := p.halves[r*p.stride : (r+1)*p.stride]
			RoundBF16(to, x[r*in:(r+1)*in])
			clear(to[in : 2*p.w.steps])
		})
	case p.w.Precision == BF16 || in%2 == 1:
		p.format = mixed
		p.stride = 2 * p.w.steps
		p.x = sized(&p.rounded, p.rows*p.stride)
		p.eachRow(func(r int) {
			to := p.x[r*p.stride : (r+1)*p.stride]
			copy(to, x[r*in:(r+1)*in])
			if p.w.Precision == BF16 {
				roundSingle(to[:in])
			}
			clear(to[in:])
		})
	default:
		p.format = mixed
	}
}

// eachRow shares work on rows over the workers where that pays.
func (p *product) eachRow(f func(row int)) {
	const together = 16
	Parallel((p.rows+together-1)/together, func(task int) {
		for r := task * together; r < min(p.rows, (task+1)*together); r++ {
			f(r)
		}
	})
}

// divide settles the size of a task: many rows, for which a panel is brought
// into the second cache once, but fewer if workers would be idle.
func (p *product) divide() {
	const most, least, tasksPerWorker = 86 * tileRows, 2 * tileRows, 6
	p.down = (p.rows + most - 1) / most
	wanted := tasksPerWorker * runtime.GOMAXPROCS(0)
	for p.down*p.w.panels() < wanted && p.rows/(p.down+1) >= least {
		p.down++
	}
	p.blockRows = (p.rows + p.down - 1) / p.down
	p.blockRows = (p.blockRows + tileRows - 1) / tileRows * tileRows
	p.down = (p.rows + p.blockRows - 1) / p.blockRows
}

// do computes one panel of outputs for one block of rows.
func (p *product) do(task int) {
	panel := task / p.down
	from := task % p.down * p.blockRows
	to := min(p.rows, from+p.blockRows)
	columns := min(panelWidth, p.w.Out-panel*panelWidth)
	if p.set.tile[single][1] == nil {
		for r := from; r < to; r++ {
			p.plain(r, panel, columns)
		}
		return
	}
	// Steps that are taken together: their weights stay in the second cache
	// while all rows pass.
	const most = 1024
	for first := 0; first < p.w.steps || first == 0; first += most {
		steps := min(most, p.w.steps-first)
		tiles := (to - from + tileRows - 1) / tileRows
		for r := from; r < to; {
			rows := (to - r + tiles - 1) / tiles // of equal height, nearly
			p.tiles(r, rows, panel, columns, first, steps)
			r, tiles = r+rows, tiles-1
		}
	}
}

// tiles computes some steps of a few rows with a panel.
func (p *product) tiles(row, rows, panel, columns, first, steps int) {
	a, size := unsafe.Pointer(nil), 4
	if p.format == half {
		a, size = unsafe.Pointer(unsafe.SliceData(p.halves)), 2
	} else {
		a = unsafe.Pointer(unsafe.SliceData(p.x))
	}
	perStep := 1
	if p.format != single {
		perStep = 2
	}
	a = unsafe.Add(a, (row*p.stride+first*perStep)*size)
	w := unsafe.Add(unsafe.Pointer(unsafe.SliceData(p.w.panel(panel))), first*panelWidth*4)
	more, last := first > 0, first+steps == p.w.steps

	tile, wide := p.set.tile[p.format][rows], p.set.columns
	if rows == 1 && p.set.panel[p.format] != nil {
		tile, wide = p.set.panel[p.format], panelWidth
	}
	for c := 0; c < columns; c += wide {
		at := row*p.w.Out + panel*panelWidth + c
		var bias *float32
		if p.bias != nil && last {
			bias = &p.bias[panel*panelWidth+c]
		}
		w := (*byte)(unsafe.Add(w, c*4))
		if c+wide <= columns {
			tile((*byte)(a), p.stride*size, w, panelWidth*4, p.set.lanes*4, steps, &p.dst[at], p.w.Out*4, more, bias)
			continue
		}
		p.edge(tile, a, size, w, steps, row, rows, panel*panelWidth+c, columns-c, more, bias != nil)
	}
}

// edge computes a tile of which only some columns exist.
func (p *product) edge(tile tileFunc, a unsafe.Pointer, size int, w *byte, steps, row, rows, out, columns int, more, biased bool) {
	buffer := edges.Get().(*[tileRows * panelWidth]float32)
	defer edges.Put(buffer)
	if more {
		for r := range rows {
			copy(buffer[r*panelWidth:][:columns], p.dst[(row+r)*p.w.Out+out:])
		}
	}
	tile((*byte)(a), p.stride*size, w, panelWidth*4, p.set.lanes*4, steps, &buffer[0], panelWidth*4, more, nil)
	for r := range rows {
		to := p.dst[(row+r)*p.w.Out+out:][:columns]
		copy(to, buffer[r*panelWidth:])
		if biased {
			for c := range to {
				to[c] += p.bias[out+c]
			}
		}
	}
}

var edges = sync.Pool{New: func() any { return new([tileRows * panelWidth]float32) }}

// plain computes one row with a panel: the specification of the tiles, which
// differ from it in rounding alone.
func (p *product) plain(row, panel, columns int) {
	x := p.x[row*p.stride : (row+1)*p.stride]
	words := p.w.panel(panel)
	dst := p.dst[row*p.w.Out+panel*panelWidth:][:columns]
	const together = 8
	for c := 0; c < columns; c += together {
		var sums [together]float32
		for k := range p.w.steps {
			w := (*[together]uint32)(words[k*panelWidth+c:])
			if p.format == single {
				for i := range sums {
					sums[i] += x[k] * math.Float32frombits(w[i])
				}
				continue
			}
			lower, upper := x[2*k], x[2*k+1]
			for i := range sums {
				sums[i] += lower * math.Float32frombits(w[i]<<16)
				sums[i] += upper * math.Float32frombits(w[i]&0xffff0000)
			}
		}
		for i, sum := range sums[:min(together, columns-c)] {
			if p.bias != nil {
				sum += p.bias[panel*panelWidth+c+i]
			}
			dst[c+i] = sum
		}
	}
}

// RoundBF16 writes x, rounded to the nearest bfloat16 (ties to even), into dst.
func RoundBF16(dst []uint16, x []float32) {
	done := 0
	if n := len(x) &^ 15; n > 0 && active.roundHalf != nil {
		active.roundHalf(&dst[0], &x[0], n)
		done = n
	}
	for i, v := range x[done:] {
		dst[done+i] = ToBF16(v)
	}
}

// roundSingle rounds x to bfloat16 in place.
func roundSingle(x []float32) {
	done := 0
	if n := len(x) &^ 15; n > 0 && active.roundSingle != nil {
		active.roundSingle(&x[0], &x[0], n)
		done = n
	}
	for i, v := range x[done:] {
		x[done+i] = FromBF16(ToBF16(v))
	}
}
