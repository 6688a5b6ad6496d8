package kernel

import (
	"runtime"
	"sync"
	"unsafe"
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
	runtime.KeepAlive(calls) // the matrices' memory goes with them
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
	for _, c := range calls {
		for i := range c.W.stripes {
			b.add(c, &c.W.stripes[i], panels)
		}
	}
}

// add makes a product of one stripe of a call's matrix.
func (b *batch) add(c Call, s *stripe, panels int) {
	i := len(b.products)
	if len(b.spare) == i {
		b.spare = append(b.spare, new(product))
	}
	p := b.spare[i]
	b.products = append(b.products, p)
	p.stripe, p.set, p.in, p.height = s, active, c.W.In, c.Rows
	p.dst, p.stride = c.Dst[min(s.from, len(c.Dst)):c.Rows*c.W.Out], c.W.Out
	p.source = c.X[:c.Rows*c.W.In]
	if c.Bias != nil {
		p.bias = c.Bias[s.from : s.from+s.out]
	}
	p.form = s.form(active, p.in)
	blocks, tasks := 0, 0
	switch {
	case p.form.kind == asGiven:
		p.x = wordsOf(p.source)
	case i > 0 && b.products[i-1].sameActivations(p):
		p.x = b.products[i-1].x
	default:
		p.x = sized(&p.own, p.height*p.form.words)
		blocks = (p.height + prepareRows - 1) / prepareRows
	}
	if p.height > 0 && s.out > 0 {
		p.divide(panels)
		tasks = p.down * s.panels()
	}
	b.blocks = append(b.blocks, b.blocks[i]+blocks)
	b.tasks = append(b.tasks, b.tasks[i]+tasks)
}

// end forgets what belongs to the caller, and keeps the memory.
func (b *batch) end() {
	for _, p := range b.products {
		*p = product{own: p.own}
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

// product is one of a batch: that with a stripe of a matrix.
type product struct {
	*stripe
	set    *instructionSet
	in     int
	height int       // rows
	dst    []float32 // from the stripe's first output on, rows stride elements apart
	stride int
	bias   []float32 // [out of the stripe]; nil: none
	source []float32 // [rows, in]

	form form     // in which the activations are read
	x    []uint32 // [rows, words of the form]
	own  []uint32 // memory for x

	// The work is down x panels tasks of blockRows rows.
	down, blockRows int
}

// prepareRows is how many rows are prepared at a time.
const prepareRows = 16

// sameActivations reports whether another product reads the same ones in the
// same form.
func (p *product) sameActivations(q *product) bool {
	return len(p.source) == len(q.source) && len(p.source) > 0 && &p.source[0] == &q.source[0] && p.form == q.form
}

// prepare brings a block of rows into the form of the activations.
func (p *product) prepare(block int) {
	for r := block * prepareRows; r < min(p.height, (block+1)*prepareRows); r++ {
		p.form.prepare(p.x[r*p.form.words:(r+1)*p.form.words], p.source[r*p.in:(r+1)*p.in])
	}
}

// divide settles the size of a task: many rows, for which a panel is brought
// into the second cache once, but fewer if workers would be idle with so many
// panels in all.
func (p *product) divide(panels int) {
	const most, least, tasksPerWorker = 86 * tileRows, 2 * tileRows, 6
	p.down = (p.height + most - 1) / most
	wanted := tasksPerWorker * runtime.GOMAXPROCS(0)
	for p.down*panels < wanted && p.height/(p.down+1) >= least {
		p.down++
	}
	p.blockRows = (p.height + p.down - 1) / p.down
	p.blockRows = (p.blockRows + tileRows - 1) / tileRows * tileRows
	p.down = (p.height + p.blockRows - 1) / p.blockRows
}

// do computes one panel of outputs for one block of rows.
func (p *product) do(task int) {
	from := task % p.down * p.blockRows
	p.panel(p, task/p.down, from, min(p.height, from+p.blockRows))
}

// numbersOf looks at words as numbers.
func numbersOf(x []uint32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}
