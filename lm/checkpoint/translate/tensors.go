package translate

import (
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// source says how a tensor of the checkpoint is made of one that is stored.
type source struct {
	tensor gguf.Tensor
	shape  []int // of the checkpoint's tensor
	how    change

	// The tensor's rows are these of the stored one, in this order; without an
	// order, all from first on.
	first, rows, width int
	order              func(row int) int // nil: as stored

	// below has, after every so many rows of the tensor, as many of its own; 0: none.
	below gguf.Tensor
	every int
}

// parts finds the source of every tensor.
func (t *translation) parts() {
	table := map[string]part{}
	for _, p := range t.arch.parts {
		table[p.stored] = p
	}
	for _, stored := range t.file.Names() {
		base, suffix := stored, ""
		for _, s := range []string{".weight", ".bias"} {
			if cut, ok := strings.CutSuffix(stored, s); ok {
				base, suffix = cut, s
			}
		}
		template, layer := base, ""
		if rest, ok := strings.CutPrefix(base, "blk."); ok {
			number, name, _ := strings.Cut(rest, ".")
			n, err := strconv.Atoi(number)
			if err == nil && n >= t.shape.layers && n < t.shape.layers+t.shape.ahead {
				continue
			}
			if err != nil || n < 0 || n >= t.shape.layers || strconv.Itoa(n) != number {
				t.fail("tensor %q is of a block that the metadata does not count", stored)
				return
			}
			template, layer = blk+name, number
		}
		p, ok := table[template]
		if p.how == fadingFlat {
			p.how = fading
		}
		if !ok || suffix == "" && p.how != asRow && p.how != fading {
			t.fail("tensor %q is not one that the architecture %s is known to have", stored, t.name)
			return
		}
		tensor, _ := t.file.Tensor(stored)
		if !tensor.Type.Expands() {
			t.fail("tensor %q holds %v, which is not supported", stored, tensor.Type)
		}
		how := p.how
		switch {
		case how == plusOne && suffix == ".bias", how == asTaps && suffix == ".bias":
			how = asItIs
		case how == asRow || how == fading:
			suffix = ""
		}
		t.add(tensor, how, strings.ReplaceAll(p.name, "{num}", layer)+suffix)
		if t.err != nil {
			return
		}
	}
	for name := range t.halves {
		t.fail("of tensor %q one half is missing", name)
	}
}

// add makes the sources of one stored tensor.
func (t *translation) add(tensor gguf.Tensor, how change, name string) {
	if tensor.Len() == 0 {
		t.fail("tensor %q of shape %v is empty", tensor.Name, tensor.Shape)
		return
	}
	s := source{tensor: tensor, shape: tensor.Shape, how: how, rows: 1, width: tensor.Shape[len(tensor.Shape)-1]}
	for _, n := range tensor.Shape[:len(tensor.Shape)-1] {
		s.rows *= n
	}
	h := t.shape
	queries, keys := h.heads*h.size, h.keyHeads*h.size
	expect := func(rows int) {
		if len(tensor.Shape) == 1 && !tensor.Type.Blocks() {
			s.rows, s.width = s.width, 1 // a bias has a row for each element
		}
		if s.rows != rows || len(tensor.Shape) > 2 {
			t.fail("tensor %q has shape %v; the metadata asks for %d rows", tensor.Name, tensor.Shape, rows)
		}
	}
	switch how {
	case factorTable:
		return
	case upper, lower:
		t.join(tensor, how, name)
		return
	case pairedQ:
		expect(queries)
		s.order = unpaired(h.size)
	case pairedK:
		expect(keys)
		s.order = unpaired(h.size)
	case unfusedQKV:
		expect(queries + 2*keys)
		groups := h.keyHeads
		s.order = fused(queries/groups, keys/groups, queries, keys)
	case fusedQKV:
		expect(queries + 2*keys)
		for i, letter := range []string{"q", "k", "v"} {
			one := s
			one.first = []int{0, queries, queries + keys}[i]
			one.rows = []int{queries, keys, keys}[i]
			one.shape = append([]int{one.rows}, tensor.Shape[1:]...)
			t.put(strings.ReplaceAll(name, "{qkv}", letter), one)
		}
		return
	case stacked:
		if len(tensor.Shape) < 2 || tensor.Shape[0] > maxStack {
			t.fail("tensor %q has shape %v; a stack has two dimensions or more, and at most %d layers", tensor.Name, tensor.Shape, maxStack)
			return
		}
		for i := range tensor.Shape[0] {
			one := s
			one.rows = s.rows / tensor.Shape[0]
			one.first = i * one.rows
			one.shape = tensor.Shape[1:]
			number := strconv.Itoa(i)
			t.put(strings.NewReplacer("{expert}", number, "{head}", number, "{stream}", number).Replace(name), one)
		}
		return
	case asTaps:
		if len(tensor.Shape) == 2 {
			s.shape = []int{tensor.Shape[0], 1, tensor.Shape[1]}
		}
	case asRow, fading:
		s.shape = []int{tensor.Len()}
	case asVector:
		if len(tensor.Shape) == 1 {
			s.shape = []int{1, tensor.Shape[0]}
		}
	case transposed:
		if len(tensor.Shape) == 2 {
			s.shape = []int{tensor.Shape[1], tensor.Shape[0]}
		}
	}
	t.put(name, s)
}

// join makes one tensor of two, once both are there.
func (t *translation) join(tensor gguf.Tensor, how change, name string) {
	halves := t.halves[name]
	if halves[how-upper].Name != "" {
		t.fail("tensor %q comes twice, in other forms", tensor.Name)
	}
	halves[how-upper] = tensor
	t.halves[name] = halves
	above, below := halves[0], halves[1]
	if above.Name == "" || below.Name == "" {
		return
	}
	if !slices.Equal(above.Shape, below.Shape) || len(above.Shape) < 2 || above.Type != below.Type {
		t.fail("tensors %q and %q, %v of %v and %v of %v, do not make one", above.Name, below.Name, above.Shape, above.Type, below.Shape, below.Type)
		return
	}
	delete(t.halves, name)
	s := source{tensor: above, below: below, how: how, shape: slices.Clone(above.Shape), width: above.Shape[len(above.Shape)-1], rows: 2}
	s.every = s.shape[len(s.shape)-2]
	s.shape[len(s.shape)-2] *= 2
	for _, n := range above.Shape[:len(above.Shape)-1] {
		s.rows *= n
	}
	t.put(name, s)
}

// row returns the bytes of a row, wherever it is stored.
func (s *source) row(r int) []byte {
	from, at := s.tensor.Data, s.first+r
	if s.every > 0 {
		part, i := r/(2*s.every), r%(2*s.every)
		if at = part*s.every + i; i >= s.every {
			from, at = s.below.Data, at-s.every
		}
	}
	if s.order != nil {
		at = s.order(at)
	}
	return from[at*s.rowBytes() : (at+1)*s.rowBytes()]
}

func (t *translation) put(name string, s source) {
	if _, twice := t.sources[name]; twice {
		t.fail("tensor %q comes twice, in other forms", s.tensor.Name)
	}
	t.sources[name] = s
}

// unpaired undoes llama.cpp's order of a head's rows, in which the halves that
// turn together, i and i+size/2, are neighbours.
func unpaired(size int) func(int) int {
	return func(row int) int {
		head, i := row/size*size, row%size
		if size%2 != 0 {
			return row
		}
		return head + i%(size/2)*2 + i/(size/2)
	}
}

// fused puts queries and keys of each group, q and k rows, and its values
// together again.
func fused(q, k, queries, keys int) func(int) int {
	return func(row int) int {
		group, i := row/(q+2*k), row%(q+2*k)
		switch {
		case i < q:
			return group*q + i
		case i < q+k:
			return queries + group*k + i - q
		}
		return queries + keys + group*k + i - q - k
	}
}

// dtype is the type that the checkpoint's tensor has.
func (s *source) dtype(expand safetensors.DType) safetensors.DType {
	switch s.tensor.Type {
	case gguf.F32:
		return safetensors.F32
	case gguf.F16:
		return safetensors.F16
	case gguf.BF16:
		return safetensors.BF16
	}
	return expand
}

// rowBytes is the size of a stored row.
func (s *source) rowBytes() int {
	elements, bytes := s.tensor.Type.Block()
	return s.width / elements * bytes
}

// stored returns the bytes in the file where they are the tensor's already; nil
// where it has to be made.
func (s *source) stored() []byte {
	if s.tensor.Type.Blocks() || s.order != nil || s.how == plusOne || s.how == fading || s.every > 0 || s.how == transposed && len(s.shape) == 2 {
		return nil
	}
	from, n := s.first*s.rowBytes(), s.rows*s.rowBytes()
	return s.tensor.Data[from : from+n : from+n]
}

// blocks returns the rows as they are stored, in blocks; false where they are not,
// or are no matrix.
func (s *source) blocks() (gguf.Rows, bool) {
	if !s.tensor.Type.Blocks() || len(s.shape) != 2 || s.how == plusOne || s.how == fading || s.every > 0 {
		return gguf.Rows{}, false
	}
	rows := gguf.Rows{Type: s.tensor.Type, Count: s.rows, Width: s.width, Order: s.order, Turned: s.how == transposed}
	if rows.Data = s.tensor.Data; s.order == nil {
		rows.Data = rows.Data[s.first*s.rowBytes() : (s.first+s.rows)*s.rowBytes()]
	}
	return rows, true
}

// make returns the tensor's bytes. Rows are shared out over all cores.
func (s *source) make(dtype safetensors.DType) []byte {
	out := make([]byte, s.rows*s.width*dtype.Size())
	workers := min(runtime.GOMAXPROCS(0), max(s.rows*s.width>>16, 1))
	var wait sync.WaitGroup
	for w := range workers {
		from, to := s.rows*w/workers, s.rows*(w+1)/workers
		wait.Go(func() { s.makeRows(out, dtype, from, to) })
	}
	wait.Wait()
	return out
}

// makeRows makes the rows [from, to) of the tensor, of its columns where it is
// transposed.
func (s *source) makeRows(out []byte, dtype safetensors.DType, from, to int) {
	size := dtype.Size()
	values := make([]float32, s.width)
	row := make([]byte, 0, s.width*size)
	for r := from; r < to; r++ {
		stored := s.row(r)
		switch {
		case s.tensor.Type.Blocks() || s.how == plusOne || s.how == fading:
			s.tensor.Type.Expand(values, stored)
			for i := range values {
				switch s.how {
				case plusOne:
					values[i]--
				case fading:
					values[i] = float32(math.Log(-float64(values[i])))
				}
			}
			row = safetensors.AppendFloats(row[:0], dtype, values)
		default:
			row = append(row[:0], stored...)
		}
		if s.how != transposed || len(s.shape) != 2 {
			copy(out[r*len(row):], row)
			continue
		}
		for i := range s.width {
			copy(out[(i*s.rows+r)*size:], row[i*size:(i+1)*size])
		}
	}
}
