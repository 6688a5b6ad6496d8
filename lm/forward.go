package lm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/forest"
)

// Input is one sequence to compute.
type Input struct {
	Tokens []int
	Prompt int    // how many of the tokens are the prompt, for edits that ask; 0: all
	Edits  []Edit // beside those of the model; share the slice between inputs where they are the same
	Read   []int  // positions to read, from 0; nil: all
}

// Tap is an address whose activations are read.
type Tap struct {
	Layer int // 0-based
	Site  Site
}

// ForwardOptions say what a forward pass reads. Slices given to the functions
// are valid during the call only; the functions are called from one goroutine,
// as results come, in an order that depends on the inputs alone.
type ForwardOptions struct {
	Taps       []Tap
	Activation func(input, position int, tap Tap, activation []float32) // after edits
	Logits     func(input, position int, logits []float32)              // nil: no logits are computed
	Completed  func(input int) error                                    // everything of the input was read; an error ends the pass
	Progress   func(done, total int)                                    // nodes
	RunNodes   int                                                      // nodes computed together; changes memory and speed, never results; 0: 1024
}

// Usage counts the tokens of a call.
type Usage struct {
	Given    int `json:"given_tokens"`    // in all inputs
	Computed int `json:"computed_tokens"` // distinct prefixes
}

// maxEdits is how many edits may be at work on one input.
const maxEdits = 64

// Forward computes the inputs as one prefix forest: each distinct prefix once,
// nothing past the last tap, logits only where they are asked for. It reports
// how many tokens were given and computed. Errors name the input and the value
// that is wrong.
func (m *Model) Forward(ctx context.Context, inputs []Input, opts ForwardOptions) (Usage, error) {
	s, err := m.schedule(inputs, opts)
	if err != nil {
		return Usage{}, err
	}
	return s.usage, s.compute(ctx, m.executor.NewCache(), nil)
}

// compute runs the forest. With keep, the cache holds on to every node, and keep
// is told the path of each input when that is complete.
func (s *schedule) compute(ctx context.Context, cache *cpu.Cache, keep func(input int, path cpu.Path)) error {
	limit := s.opts.RunNodes
	if limit == 0 {
		limit = 1024
	}
	var path cpu.Path
	done := 0
	for run := range s.forest.Runs(limit) {
		packed := s.newRun()
		slot := cache.Reserve(run.Nodes())
		for _, segment := range run.Segments {
			path = path.Upto(segment.From)
			if n := segment.To - segment.From; n > 0 {
				path = path.With(slot, n)
				slot += n
				packed.add(segment, path)
			}
			if segment.Done && keep != nil {
				keep(segment.Sequence, path)
			}
		}
		if err := s.model.executor.Run(ctx, cache, packed.finish()); err != nil {
			return fmt.Errorf("compute: %w", err)
		}
		for _, segment := range run.Segments {
			if segment.Done && s.opts.Completed != nil {
				if err := s.opts.Completed(segment.Sequence); err != nil {
					return err
				}
			}
		}
		done += len(packed.Tokens)
		if s.opts.Progress != nil {
			s.opts.Progress(done, s.usage.Computed)
		}
		path = path.Upto(run.Keep)
		if keep == nil {
			path = cache.Keep(path)
		}
	}
	return nil
}

// schedule is a checked request: the forest and what its nodes are read and
// edited for.
type schedule struct {
	model     *Model
	inputs    []Input
	sequences []forest.Sequence
	opts      ForwardOptions
	forest    *forest.Forest
	readers   []reader // by owner
	steering  *steering
	usage     Usage
}

// reader is an input that reads a position. The owner is the first input in the
// schedule whose path has that node.
type reader struct{ owner, position, input int32 }

func (m *Model) schedule(inputs []Input, opts ForwardOptions) (*schedule, error) {
	if len(opts.Taps) > 0 && opts.Activation == nil {
		return nil, errors.New("forward: taps are given but no function to read them")
	}
	for _, t := range opts.Taps {
		if t.Layer < 0 || t.Layer >= m.Layers() {
			return nil, fmt.Errorf("forward: tap at layer %d; the model has layers 0 to %d", t.Layer, m.Layers()-1)
		}
		if err := m.CheckSite(t.Layer, t.Site); err != nil {
			return nil, fmt.Errorf("forward: %w", err)
		}
	}
	s := &schedule{model: m, inputs: inputs, opts: opts, steering: newSteering(m)}
	s.sequences = make([]forest.Sequence, 0, len(inputs))
	for i, in := range inputs {
		if err := m.checkTokens(in.Tokens); err != nil {
			return nil, fmt.Errorf("forward: input %d: %w", i, err)
		}
		for _, p := range in.Read {
			if p < 0 || p >= len(in.Tokens) {
				return nil, fmt.Errorf("forward: input %d: position %d is outside its %d tokens", i, p, len(in.Tokens))
			}
		}
		marks, err := s.steering.marks(in)
		if err != nil {
			return nil, fmt.Errorf("forward: input %d: %w", i, err)
		}
		s.sequences = append(s.sequences, forest.Sequence{Tokens: in.Tokens, Marks: marks})
		s.usage.Given += len(in.Tokens)
	}
	s.forest = forest.New(s.sequences)
	s.usage.Computed = s.forest.Nodes()
	s.assignReaders()
	return s, nil
}

// checkTokens refuses what the executor could not compute.
func (m *Model) checkTokens(tokens []int) error {
	if len(tokens) == 0 {
		return errors.New("it has no tokens")
	}
	d := m.Decoder()
	for i, t := range tokens {
		if t < 0 || t >= d.Vocabulary {
			return fmt.Errorf("token %d at position %d is outside the vocabulary of %d", t, i, d.Vocabulary)
		}
	}
	return m.checkLength(len(tokens))
}

// checkLength refuses sequences past the last learned position.
func (m *Model) checkLength(n int) error {
	d := m.Decoder()
	if d.Embedding.Positions != "" && n > d.MaxPositions {
		return fmt.Errorf("%d tokens are more than the %d positions that the model has learned", n, d.MaxPositions)
	}
	return nil
}

// assignReaders finds the owner of each position that an input reads.
func (s *schedule) assignReaders() {
	s.readers = make([]reader, 0, len(s.inputs))
	var owner []int // of each position of the path
	for i, input := range s.forest.Order() {
		in := s.inputs[input]
		owner = owner[:s.forest.Shared(i)]
		for len(owner) < len(in.Tokens) {
			owner = append(owner, input)
		}
		read := in.Read
		for k := range max(len(read), len(in.Tokens)) {
			position := k
			if read != nil {
				if k >= len(read) {
					break
				}
				position = read[k]
			}
			s.readers = append(s.readers, reader{int32(owner[position]), int32(position), int32(input)})
		}
	}
	slices.SortStableFunc(s.readers, func(a, b reader) int { return cmp.Compare(a.owner, b.owner) })
}

// readersOf returns who reads the nodes that an input owns.
func (s *schedule) readersOf(owner int) []reader {
	compare := func(r reader, owner int) int { return cmp.Compare(int(r.owner), owner) }
	from, _ := slices.BinarySearchFunc(s.readers, owner, compare)
	n, _ := slices.BinarySearchFunc(s.readers[from:], owner+1, compare)
	return s.readers[from : from+n]
}

// packedRun is a run of the executor under construction.
type packedRun struct {
	cpu.Run
	schedule  *schedule
	positions []int
	readers   [][]int // [nodes] inputs that read the node
	marks     map[uint32][]int
}

func (s *schedule) newRun() *packedRun {
	return &packedRun{schedule: s, marks: map[uint32][]int{}}
}

func (r *packedRun) add(segment forest.Segment, path cpu.Path) {
	s := r.schedule
	in, marks := s.inputs[segment.Sequence], s.sequences[segment.Sequence].Marks
	first := len(r.Tokens)
	r.Segments = append(r.Segments, cpu.Segment{Nodes: segment.To - segment.From, Position: segment.From, Path: path, Length: len(in.Tokens)})
	r.Tokens = append(r.Tokens, in.Tokens[segment.From:segment.To]...)
	for p := segment.From; p < segment.To; p++ {
		if marks != nil && marks[p] != 0 {
			r.marks[marks[p]] = append(r.marks[marks[p]], len(r.positions))
		}
		r.positions = append(r.positions, p)
		r.readers = append(r.readers, nil)
	}
	for _, reader := range s.readersOf(segment.Sequence) {
		if position := int(reader.position); segment.From <= position && position < segment.To {
			row := first + position - segment.From
			r.readers[row] = append(r.readers[row], int(reader.input))
		}
	}
}

func (r *packedRun) finish() *cpu.Run {
	opts := r.schedule.opts
	var rows []int
	for row, readers := range r.readers {
		if len(readers) > 0 {
			rows = append(rows, row)
		}
	}
	for _, t := range opts.Taps {
		r.Taps = append(r.Taps, cpu.Tap{Layer: t.Layer, Site: t.Site, Rows: rows, Read: func(row int, activation []float32) {
			for _, input := range r.readers[row] {
				opts.Activation(input, r.positions[row], t, activation)
			}
		}})
	}
	if opts.Logits != nil {
		r.LogitRows = rows
		r.Logits = func(row int, logits []float32) {
			for _, input := range r.readers[row] {
				opts.Logits(input, r.positions[row], logits)
			}
		}
	}
	r.Edits = r.schedule.steering.edits(r.marks)
	return &r.Run
}

// steering resolves edits to marks: numbers that stand for a set of edits at
// work on a token, so that tokens that are changed differently are different
// nodes and all others are shared.
type steering struct {
	model  *Model
	groups map[*Edit]int // by the first of an input's own edits
	lists  [][]resolved  // [groups]
	ids    map[mark]uint32
	sets   []mark // by id; 0 is the empty set
}

type mark struct {
	group  int
	active uint64 // bit i: edit i of the group
	regime int    // of the positions
}

type resolved struct {
	Edit
	layers []int // ascending
}

func newSteering(m *Model) *steering {
	return &steering{model: m, groups: map[*Edit]int{}, ids: map[mark]uint32{{}: 0}, sets: []mark{{}}}
}

// marks returns the mark of each token of an input; nil: all zero.
func (s *steering) marks(in Input) ([]uint32, error) {
	regime := s.model.Decoder().Regime(len(in.Tokens))
	if len(in.Edits)+len(s.model.edits) == 0 && regime == 0 {
		return nil, nil
	}
	group, err := s.group(in.Edits)
	if err != nil {
		return nil, err
	}
	prompt := in.Prompt
	if prompt == 0 {
		prompt = len(in.Tokens)
	}
	for _, e := range s.lists[group] {
		if e.Tokens != nil {
			if err := e.Tokens.Check(prompt); err != nil {
				return nil, err
			}
		}
	}
	marks := make([]uint32, len(in.Tokens))
	for p := range marks {
		marks[p] = s.mark(group, p, prompt, regime)
	}
	return marks, nil
}

// mark returns the id of the edits that are at work at a position.
func (s *steering) mark(group, position, prompt, regime int) uint32 {
	key := mark{regime: regime}
	for i, e := range s.lists[group] {
		if e.Tokens == nil || e.Tokens.Selects(position, prompt) {
			key.active |= 1 << i
			key.group = group
		}
	}
	id, ok := s.ids[key]
	if !ok {
		id = uint32(len(s.sets))
		s.ids[key] = id
		s.sets = append(s.sets, key)
	}
	return id
}

// group checks the edits of the model and of an input, once for each slice.
func (s *steering) group(own []Edit) (int, error) {
	var key *Edit
	if len(own) > 0 {
		key = &own[0]
	}
	if g, ok := s.groups[key]; ok && len(s.lists[g]) == len(s.model.edits)+len(own) {
		return g, nil
	}
	all := slices.Concat(s.model.edits, own)
	if len(all) > maxEdits {
		return 0, fmt.Errorf("%d edits at once; at most %d can be", len(all), maxEdits)
	}
	var list []resolved
	for i, e := range all {
		r, err := s.model.resolve(e)
		if err != nil {
			return 0, fmt.Errorf("edit %d: %w", i, err)
		}
		list = append(list, r)
	}
	s.groups[key] = len(s.lists)
	s.lists = append(s.lists, list)
	return s.groups[key], nil
}

// resolve checks an edit against the model and makes its layers 0-based.
func (m *Model) resolve(e Edit) (resolved, error) {
	if e.Operator == nil {
		e.Operator = func(delta, _, vector []float32) { copy(delta, vector) }
	}
	vectors := map[int][]float32{}
	r := resolved{}
	for given, vector := range e.Layers {
		layer, err := m.Layer(given)
		if err != nil {
			return r, err
		}
		if err := m.CheckSite(layer, e.Site); err != nil {
			return r, err
		}
		if _, twice := vectors[layer]; twice {
			return r, fmt.Errorf("layer %d is given twice", layer)
		}
		if width := m.Decoder().Width(layer, e.Site); len(vector) != width {
			return r, fmt.Errorf("the vector for layer %d has %d elements; site %s of model %s has %d", layer, len(vector), e.Site, m.id, width)
		}
		for i, v := range vector {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return r, fmt.Errorf("the vector for layer %d has %v at element %d", layer, v, i)
			}
		}
		vectors[layer] = vector
		r.layers = append(r.layers, layer)
	}
	slices.Sort(r.layers)
	e.Layers = vectors
	r.Edit = e
	return r, nil
}

// edits lists what the executor changes for the marks of a run, given the rows
// of each.
func (s *steering) edits(rows map[uint32][]int) []cpu.Edit {
	var out []cpu.Edit
	for _, id := range sortedKeys(rows) {
		set := s.sets[id]
		for i, e := range s.lists[set.group] {
			if set.active&(1<<i) == 0 {
				continue
			}
			for _, layer := range e.layers {
				vector, operator := e.Layers[layer], e.Operator
				out = append(out, cpu.Edit{Layer: layer, Site: e.Site, Rows: rows[id], Delta: func(delta, activation []float32) {
					operator(delta, activation, vector)
				}})
			}
		}
	}
	return out
}

func sortedKeys(m map[uint32][]int) []uint32 {
	keys := make([]uint32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
