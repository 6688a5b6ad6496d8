package kernel

import (
	"math"
	"runtime"
	"sync"
	"unsafe"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// Product computes dst = x·Wᵀ + bias for x [rows, In] and dst [rows, Out], both
// contiguous; bias is [Out] or nil. It uses all workers.
func Product(dst, x []float32, rows int, w *Matrix, bias []float32) {
	Products(Call{dst, x, rows, w, bias})
}

// Call is the arguments of one [Product].
type Call struct {
	Dst, X []float32
	Rows   int
	W      *Matrix
	Bias   []float32
}

// Products computes several products at once, whose results must not overlap:
// workers go from one to the next without waiting for each other. Neighbouring
// calls with the same X share what is prepared of it.
func Products(calls ...Call) {
	b := batches.Get().(*batch)
	defer batches.Put(b)
	b.begin(calls)
	if n := b.blocks[len(b.products)]; n > 0 {
		parallel(n, (*preparation)(b))
	}
	if n := b.tasks[len(b.products)]; n > 0 {
		parallel(n, (*multiplication)(b))
	}
	b.end()
}

// batch is a call of Products while it runs.
type batch struct {
	products []*product
	blocks   []int // before each product and after the last: blocks of rows to prepare
	tasks    []int // the same for tasks
	spare    []*product
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) begin(calls []Call) {
	panels := 0
	for _, c := range calls {
		panels += c.W.panels()
	}
	b.products, b.blocks, b.tasks = b.products[:0], append(b.blocks[:0], 0), append(b.tasks[:0], 0)
	for i, c := range calls {
		if len(b.spare) == i {
			b.spare = append(b.spare, new(product))
		}
		p := b.spare[i]
		b.products = append(b.products, p)
		p.set, p.w, p.rows = active, c.W, c.Rows
		p.dst, p.bias, p.source = c.Dst[:c.Rows*c.W.Out], c.Bias, c.X[:c.Rows*c.W.In]
		blocks, tasks := p.form(), 0
		if i > 0 && blocks > 0 && b.products[i-1].sameActivations(p) {
			p.x, p.halves, blocks = b.products[i-1].x, b.products[i-1].halves, 0
		}
		if c.Rows > 0 && c.W.Out > 0 {
			p.divide(panels)
			tasks = p.down * c.W.panels()
		}
		b.blocks = append(b.blocks, b.blocks[i]+blocks)
		b.tasks = append(b.tasks, b.tasks[i]+tasks)
	}
}

// end forgets what belongs to the caller, and keeps the memory.
func (b *batch) end() {
	for _, p := range b.products {
		*p = product{rounded: p.rounded, own: p.own}
	}
}

// find returns the product that a number belongs to, and what is left of it.
func find(starts []int, n int) (product, rest int) {
	low, high := 0, len(starts)-1
	for high-low > 1 {
		if middle := (low + high) / 2; starts[middle] <= n {
			low = middle
		} else {
			high = middle
		}
	}
	return low, n - starts[low]
}

// preparation and multiplication are a batch's two rounds of work.
type (
	preparation    batch
	multiplication batch
)

func (b *preparation) do(task int) {
	i, block := find(b.blocks, task)
	b.products[i].prepare(block)
}

func (b *multiplication) do(task int) {
	i, rest := find(b.tasks, task)
	b.products[i].do(rest)
}

// product is one of a batch.
type product struct {
	set       *instructionSet
	w         *Matrix
	rows      int
	dst, bias []float32
	source    []float32 // [rows, In]

	// The activations [rows, stride] in the form that the tiles read: the source
	// itself, or its values rounded or as halves.
	format int
	x      []float32
	halves []uint16
	stride int

	rounded []float32 // memory for x
	own     []uint16  // memory for halves

	// The work is down x panels tasks of blockRows rows.
	down, blockRows int
}

// prepareRows is how many rows are prepared at a time.
const prepareRows = 16

// form settles the form of the activations, and returns how many blocks of rows
// are to be brought into it.
func (p *product) form() (blocks int) {
	in := p.w.In
	p.x, p.stride = p.source, in
	switch {
	case p.w.Precision == F32:
		p.format = single
		return 0
	case p.w.Precision == BF16 && p.set.tile[half][1] != nil:
		p.format = half
		p.stride = 2*p.w.steps + 32 // rows do not all begin in the same set of the cache
		p.halves = sized(&p.own, p.rows*p.stride)
	case p.w.Precision == BF16 || in%2 == 1:
		p.format = mixed
		p.stride = 2 * p.w.steps
		p.x = sized(&p.rounded, p.rows*p.stride)
	default:
		p.format = mixed
		return 0
	}
	return (p.rows + prepareRows - 1) / prepareRows
}

// sameActivations reports whether another product reads the same ones in the
// same form.
func (p *product) sameActivations(q *product) bool {
	return len(p.source) == len(q.source) && len(p.source) > 0 && &p.source[0] == &q.source[0] &&
		p.format == q.format && p.stride == q.stride && p.w.Precision == q.w.Precision
}

// prepare brings a block of rows into the form of the activations.
func (p *product) prepare(block int) {
	in := p.w.In
	for r := block * prepareRows; r < min(p.rows, (block+1)*prepareRows); r++ {
		row := p.source[r*in : (r+1)*in]
		if p.format == half {
			to := p.halves[r*p.stride : (r+1)*p.stride]
			RoundBF16(to, row)
			clear(to[in : 2*p.w.steps])
			continue
		}
		to := p.x[r*p.stride : (r+1)*p.stride]
		copy(to, row)
		if p.w.Precision == BF16 {
			roundSingle(to[:in])
		}
		clear(to[in:])
	}
}

// divide settles the size of a task: many rows, for which a panel is brought
// into the second cache once, but fewer if workers would be idle with so many
// panels in all.
func (p *product) divide(panels int) {
	const most, least, tasksPerWorker = 86 * tileRows, 2 * tileRows, 6
	p.down = (p.rows + most - 1) / most
	wanted := tasksPerWorker * runtime.GOMAXPROCS(0)
	for p.down*panels < wanted && p.rows/(p.down+1) >= least {
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
		dst[done+i] = bfloat16.Round(v)
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
		x[done+i] = bfloat16.Widen(bfloat16.Round(v))
	}
}
