package llamacpp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
)

const (
	// batchRows is how many tokens llama.cpp is given at once. It computes so many
	// together, so that row i of a node is token i.
	batchRows = 512

	// outputBytes bounds the logits of a batch. They are computed for every row that is
	// read past the keys and values of the last layer.
	outputBytes = 64 << 20

	leastCells = 1024 // of a context

	noCells = 1 // what llama_decode returns where a batch finds no room
)

// Session is a context of llama.cpp's, made when a run needs it, and made anew with
// what it held where a run needs more cells.
type Session struct {
	model *Model
	sequences
	*nativeContext             // nil: there is none yet
	most           int         // sequences of the context
	steered        []float32   // the control vector that is set
	byControl      func() bool // whether control vectors add what they can
}

// nativeContext is what C holds of a session. It knows nothing of the session, so that
// a session that nobody closed can be found to be out of use.
type nativeContext struct {
	model   *nativeModel
	context llama.Context
	batch   llama.Batch
	cells   int
	watch   *watch
	id      uintptr // by which C knows the watch
	freed   atomic.Bool
}

func (c *nativeContext) free() {
	if c == nil || c.freed.Swap(true) {
		return
	}
	llama.Free(c.context)
	llama.BatchFree(c.batch)
	watches.Delete(c.id)
	c.model.release()
}

// NewSession returns an empty session.
func (m *Model) NewSession() engine.Session {
	s := &Session{model: m, byControl: m.controls}
	s.sequences = sequences{memory: native{s}, stateful: m.stateful}
	if m.windows {
		s.keeper = maxSequences - 1
	}
	return s
}

// Close gives the memory back.
func (s *Session) Close() {
	s.nativeContext.free()
	*s = *s.model.NewSession().(*Session)
	s.memory = native{s}
}

// Run computes the nodes of a run, batch by batch. When ctx ends it returns with its
// error: on the CPU in the middle of a batch, on other devices after it.
func (s *Session) Run(ctx context.Context, run *engine.Run) (err error) {
	if run.First > 0 {
		return errors.New("llama.cpp begins a run at the first layer, and at no other")
	}
	if err := ctx.Err(); err != nil || len(run.Tokens) == 0 {
		return err
	}
	for _, segment := range run.Segments {
		if err := s.model.checkLength(segment.Length); err != nil {
			return err
		}
	}
	if err := s.grow(run.Slots+batchRows, s.model.sequences(run.States)); err != nil {
		return err
	}
	s.forget(run.Freed)
	edits, err := s.steer(run)
	if err != nil {
		return err
	}
	if err := s.watch.begin(ctx, s.model, run, edits); err != nil {
		return err
	}
	s.begin()
	if err := s.compute(ctx, run); err != nil {
		s.takeBack()
		return err
	}
	return nil
}

// compute packs the nodes into batches and computes them.
func (s *Session) compute(ctx context.Context, run *engine.Run) error {
	output, node := s.model.outputs(run), 0
	for i := range run.Segments {
		p := part{Segment: &run.Segments[i]}
		for p.from = p.Position; p.from < p.Position+p.Nodes; {
			p.to = p.from + s.room(output[node:node+p.Position+p.Nodes-p.from])
			if p.to > p.from && s.place(p, node, run.Tokens, output) {
				node += p.to - p.from
				p.from = p.to
				continue
			}
			if len(s.rows) == 0 {
				return fmt.Errorf("%d paths end in the session; there can be no more", len(s.list))
			}
			if err := s.decode(ctx, run); err != nil {
				return err
			}
		}
	}
	return s.decode(ctx, run)
}

// room returns how many more nodes the batch takes, of which some have outputs.
func (s *Session) room(output []bool) int {
	left := s.model.batchOutputs
	for _, r := range s.rows {
		if r.output {
			left--
		}
	}
	output = output[:min(len(output), batchRows-len(s.rows))]
	for i, is := range output {
		if is && left == 0 {
			return i
		}
		if is {
			left--
		}
	}
	return len(output)
}

// decode computes the rows that are packed and hands out their logits.
func (s *Session) decode(ctx context.Context, run *engine.Run) error {
	if len(s.rows) == 0 {
		return nil
	}
	err := complained(func() error {
		code, err := s.submit()
		// what is computed once more may lie in cells of its own, beside those of its slots
		for err == nil && code == noCells && ctx.Err() == nil {
			vector := s.steered
			if err := errors.Join(s.grow(s.cells+batchRows, 0), s.control(vector)); err != nil {
				return err
			}
			code, err = s.submit()
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.watch.err != nil:
			return s.watch.err
		case err != nil:
			return err
		case code != 0:
			return fmt.Errorf("llama.cpp does not compute %d tokens (%d)", len(s.rows), code)
		}
		return s.watch.end()
	})
	if err != nil {
		return err
	}
	for i, r := range s.rows {
		if _, wanted := slices.BinarySearch(run.LogitRows, r.node); !wanted || run.Logits == nil {
			continue
		}
		logits, err := llama.GetLogitsIth(s.context, int32(i), s.model.vocabulary)
		if err != nil || logits == nil {
			return fmt.Errorf("llama.cpp has no logits of token %d of %d", i, len(s.rows))
		}
		run.Logits(r.node, logits[:s.model.decoder.Vocabulary])
	}
	s.computed()
	return nil
}

// submit gives the rows to llama.cpp.
func (s *Session) submit() (code int32, err error) {
	s.watch.beginBatch(s.rows)
	s.batch.Clear()
	for _, r := range s.rows {
		if err := s.batch.Add(llama.Token(r.token), llama.Pos(r.position), r.sequences, r.output); err != nil {
			return 0, fmt.Errorf("pack a batch: %w", err)
		}
	}
	return llama.Decode(s.context, s.batch)
}

// grow makes a context of so many cells and sequences at least, and moves into it what
// the one before it held. Cells grow by a half or more each time.
func (s *Session) grow(cells, sequences int) error {
	held := 0
	if s.nativeContext != nil {
		held = s.cells
	}
	if cells <= held && sequences <= s.most {
		return nil
	}
	if cells > held {
		cells = (max(cells, leastCells, held+held/2) + 255) / 256 * 256
	}
	sequences = min(maxSequences, max(sequences, s.most))
	larger, err := s.model.newContext(max(cells, held), sequences)
	if err != nil {
		return err
	}
	if held > 0 {
		state := make([]byte, llama.StateGetSize(s.context))
		state = state[:llama.StateGetData(s.context, state)]
		if llama.StateSetData(larger.context, state) == 0 {
			larger.free()
			return fmt.Errorf("llama.cpp does not move what it holds of %d tokens into memory for %d", held, larger.cells)
		}
		*larger.watch = *s.watch
		s.nativeContext.free()
	}
	paths := sequences
	if s.keeper > 0 {
		paths = min(paths, s.keeper)
	}
	s.list = append(s.list, make([]sequence, paths-len(s.list))...)
	s.nativeContext, s.steered, s.most = larger, nil, sequences
	runtime.AddCleanup(s, (*nativeContext).free, larger)
	return nil
}

// newContext makes a context of so many cells and sequences.
func (m *Model) newContext(cells, sequences int) (*nativeContext, error) {
	if err := m.fits(cells); err != nil {
		return nil, err
	}
	c := &nativeContext{model: m.native, cells: cells, watch: &watch{ggml: &m.library.ggml}}
	c.id = c.watch.register()
	err := complained(func() (err error) {
		c.context, err = llama.InitFromModel(m.native.handle, m.contextParams(cells, sequences, c.id))
		if err != nil || c.context == 0 {
			return fmt.Errorf("llama.cpp makes no context of %d tokens", cells)
		}
		return nil
	})
	if err != nil {
		watches.Delete(c.id)
		return nil, err
	}
	c.batch = llama.BatchInit(batchRows, 0, maxSequences)
	m.native.users.Add(1)
	return c, nil
}

// native is the memory of a session's context.
type native struct{ *Session }

func (n native) share(with, sequence, from, to int) {
	if memory, err := llama.GetMemory(n.context); err == nil {
		llama.MemorySeqCp(memory, llama.SeqId(with), llama.SeqId(sequence), llama.Pos(from), llama.Pos(to))
	}
}

func (n native) remove(sequence, from, to int) {
	if memory, err := llama.GetMemory(n.context); err == nil {
		llama.MemorySeqRm(memory, llama.SeqId(sequence), llama.Pos(from), llama.Pos(to))
	}
}

// steer gives llama.cpp what it can add itself as a control vector, and returns the
// other edits. That is plain addition, on all tokens of the run, at the output of a
// block from the second one on, where nothing else is changed there: it stays on the
// device.
func (s *Session) steer(run *engine.Run) ([]engine.Edit, error) {
	layers, width := len(s.model.decoder.Blocks), s.model.decoder.Hidden
	if len(run.Edits) == 0 && s.steered == nil {
		return nil, nil
	}
	at := map[address]int{}
	for _, e := range run.Edits {
		at[address{e.Layer, e.Site}]++
	}
	var vector []float32
	var others []engine.Edit
	for _, e := range run.Edits {
		if at[address{e.Layer, e.Site}] > 1 || !isAddition(e) || len(e.Rows) < len(run.Tokens) || !s.byControl() {
			others = append(others, e)
			continue
		}
		if vector == nil {
			vector = make([]float32, (layers-1)*width) // from layer 1 on
		}
		copy(vector[(e.Layer-1)*width:], e.Vector[:width])
	}
	return others, s.control(vector)
}

// control sets a control vector for the layers from the second on; nil: none.
func (s *Session) control(vector []float32) error {
	if slices.Equal(vector, s.steered) {
		return nil
	}
	last := int32(len(s.model.decoder.Blocks) - 1)
	if code := llama.SetAdapterCvec(s.context, vector, int32(s.model.decoder.Hidden), 1, last); code != 0 {
		return fmt.Errorf("llama.cpp does not take a control vector of %d numbers (%d)", len(vector), code)
	}
	s.steered = vector
	return nil
}

// isAddition reports whether an edit is what a control vector can do.
func isAddition(e engine.Edit) bool {
	return e.Site == arch.DecoderBlock && e.Layer > 0 && e.Acts == nil && (e.Scale == 0 || e.Scale == 1) && e.Operator.Name() == addition{}.Name()
}
