package llamacpp

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ebitengine/purego"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
)

// address is where an activation is read or changed.
type address struct {
	layer int
	site  arch.Site
}

// watch follows the graph of a context while it is computed. llama.cpp asks it of each
// node whether it is wanted, computes up to there, and shows it.
type watch struct {
	ggml *ggml

	// of the run
	want      map[string]*wanted // by the names of nodes
	toTheLast bool               // nothing is read past the last node that is wanted
	ctx       context.Context

	// of the batch
	rows    []row
	outputs []int // rows that have outputs
	left    int   // nodes that are wanted and did not come yet
	stopped bool
	err     error

	values, delta []float32

	each func(name string, t tensor) // is told every node before it is computed; nil: nobody
}

// wanted is a node at which something is read or changed.
type wanted struct {
	address
	width int
	edits []engine.Edit
	taps  []engine.Tap
	come  bool
}

// A context knows its watch by a number: C cannot hold a pointer to Go's memory.
var watches struct {
	sync.Map // of *watch by uintptr
	last     atomic.Uintptr
}

// register returns the number by which C knows the watch.
func (w *watch) register() uintptr {
	id := watches.last.Add(1)
	watches.Store(id, w)
	return id
}

// evalCallback is the ggml_backend_sched_eval_callback of all contexts: there can only
// be so many functions that C calls. It must not panic into C.
var evalCallback = purego.NewCallback(func(t uintptr, ask bool, id uintptr) uintptr {
	found, ok := watches.Load(id)
	if !ok {
		return 0
	}
	w := found.(*watch)
	defer func() {
		if r := recover(); r != nil {
			w.fail(fmt.Errorf("reading a node of the graph: %v", r))
		}
	}()
	if ask {
		return number(w.ask(tensor(t)))
	}
	return number(w.show(tensor(t)))
})

// abortCallback is the ggml_abort_callback of all contexts.
var abortCallback = purego.NewCallback(func(id uintptr) uintptr {
	found, ok := watches.Load(id)
	if !ok || found.(*watch).ctx == nil {
		return 0
	}
	return number(found.(*watch).ctx.Err() != nil)
})

func number(is bool) uintptr {
	if is {
		return 1
	}
	return 0
}

func (w *watch) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.stopped = true
}

// begin sorts what is asked of a run by nodes.
func (w *watch) begin(ctx context.Context, m *Model, run *engine.Run, edits []engine.Edit) error {
	w.ctx, w.toTheLast = ctx, run.Logits == nil && len(run.Taps) > 0
	w.want = map[string]*wanted{}
	at := func(layer int, site arch.Site) (*wanted, error) {
		name, err := m.node(layer, site)
		if err != nil {
			return nil, err
		}
		if w.want[name] == nil {
			w.want[name] = &wanted{address: address{layer, site}, width: m.decoder.Width(layer, site)}
		}
		return w.want[name], nil
	}
	for _, t := range run.Taps {
		n, err := at(t.Layer, t.Site)
		if err != nil {
			return err
		}
		n.taps = append(n.taps, t)
	}
	for _, e := range edits {
		n, err := at(e.Layer, e.Site)
		if err != nil {
			return err
		}
		n.edits = append(n.edits, e)
	}
	if w.toTheLast { // what is changed past the last tap changes nothing that is read
		last := slices.MaxFunc(run.Taps, func(a, b engine.Tap) int { return a.Layer - b.Layer }).Layer
		for name, n := range w.want {
			if n.layer > last {
				delete(w.want, name)
			}
		}
	}
	return nil
}

// beginBatch notes the rows that are computed next.
func (w *watch) beginBatch(rows []row) {
	w.rows, w.outputs = rows, w.outputs[:0]
	for i, r := range rows {
		if r.output {
			w.outputs = append(w.outputs, i)
		}
	}
	for _, n := range w.want {
		n.come = false
	}
	w.left, w.stopped, w.err = len(w.want), false, nil
}

// ask reports whether a node is to be shown.
func (w *watch) ask(t tensor) bool {
	if w.stopped {
		return true // the next part of the graph ends as soon as it begins
	}
	name := w.ggml.nameOf(t)
	if w.each != nil {
		w.each(string(name), t)
	}
	n := w.want[string(name)]
	if n == nil || n.come {
		return false
	}
	n.come = true
	w.left--
	return n.touches(w.rows) || w.left == 0 && w.toTheLast
}

// show serves a node that is computed, and reports whether to go on.
func (w *watch) show(t tensor) bool {
	if w.stopped {
		return false
	}
	name := w.ggml.nameOf(t)
	n := w.want[string(name)]
	if n == nil {
		return true
	}
	if err := w.serve(t, n); err != nil {
		w.fail(fmt.Errorf("node %s: %w", bytes.Clone(name), err))
		return false
	}
	w.stopped = w.left == 0 && w.toTheLast
	return !w.stopped
}

// end returns an error where something went wrong on the way, or did not come.
func (w *watch) end() error {
	if w.err != nil {
		return w.err
	}
	for name, n := range w.want {
		if !n.come {
			return fmt.Errorf("layer %d, %s: the graph has no node %s", n.layer, n.site, name)
		}
	}
	return nil
}

// touches reports whether something is read or changed in rows of the batch.
func (n *wanted) touches(rows []row) bool {
	for _, t := range n.taps {
		if len(within(t.Rows, rows)) > 0 {
			return true
		}
	}
	for _, e := range n.edits {
		if len(within(e.Rows, rows)) > 0 {
			return true
		}
	}
	return false
}

// within returns those of ascending rows of the run that are in a batch.
func within(all []int, rows []row) []int {
	from, _ := slices.BinarySearch(all, rows[0].node)
	to, _ := slices.BinarySearch(all, rows[len(rows)-1].node+1)
	return all[from:to]
}

// serve changes and reads the rows of a node. They leave the device in one copy, from
// the first that somebody asks for to the last, and what changed returns in one.
func (w *watch) serve(t tensor, n *wanted) error {
	elements := w.ggml.elements(t)
	computed := elements / n.width // rows of the node
	if elements == 0 && len(w.outputs) > 0 || computed*n.width != elements || computed != len(w.rows) && computed != len(w.outputs) {
		return fmt.Errorf("it holds %d numbers side by side, not %d rows or %d of %d", elements, len(w.rows), len(w.outputs), n.width)
	}
	at := func(node int) int { // of a row of the run in the node; -1: it is not computed any more
		i := node - w.rows[0].node
		if computed == len(w.rows) {
			return i
		}
		if j, is := slices.BinarySearch(w.outputs, i); is {
			return j
		}
		return -1
	}
	first, last := computed, -1
	span := func(all []int) {
		for _, node := range within(all, w.rows) {
			if i := at(node); i >= 0 {
				first, last = min(first, i), max(last, i)
			}
		}
	}
	for _, t := range n.taps {
		span(t.Rows)
	}
	for _, e := range n.edits {
		span(e.Rows)
	}
	if last < 0 {
		return nil
	}
	values := size(&w.values, (last-first+1)*n.width)
	w.ggml.read(t, first*n.width, values)
	from, to := last+1, first // rows that changed
	for _, e := range n.edits {
		for _, node := range within(e.Rows, w.rows) {
			i := at(node)
			if i < 0 || e.Acts != nil && !e.Acts(node) {
				continue
			}
			w.change(e, values[(i-first)*n.width:(i-first+1)*n.width])
			from, to = min(from, i), max(to, i+1)
		}
	}
	if from < to {
		w.ggml.write(t, from*n.width, values[(from-first)*n.width:(to-first)*n.width])
	}
	for _, t := range n.taps {
		for _, node := range within(t.Rows, w.rows) {
			i := at(node)
			if i < 0 {
				return fmt.Errorf("row %d, which is read, is not computed", node)
			}
			t.Read(node, values[(i-first)*n.width:(i-first+1)*n.width])
		}
	}
	return nil
}

// change adds an edit's delta to an activation.
func (w *watch) change(e engine.Edit, activation []float32) {
	delta := size(&w.delta, len(activation))
	clear(delta)
	e.Operator.Delta(delta, activation, e.Vector)
	scale := e.Scale
	if scale == 0 {
		scale = 1
	}
	for i, d := range delta {
		activation[i] += scale * d
	}
}

// size makes a buffer n elements long; what is in it means nothing.
func size(buffer *[]float32, n int) []float32 {
	if cap(*buffer) < n {
		*buffer = make([]float32, n)
	}
	*buffer = (*buffer)[:n]
	return *buffer
}
