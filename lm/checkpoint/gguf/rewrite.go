package gguf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// fileTypes are the numbers that general.file_type has for files of mostly one type.
var fileTypes = map[Type]uint32{
	Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9, Q2_K: 10, Q3_K: 11, Q4_K: 14, Q5_K: 16, Q6_K: 18, IQ4_NL: 25, MXFP4: 38,
}

// Quantize writes a copy of the file in which matrices are rounded as [Type.Quantize]
// does, to the type, or to one of [Type.Fitting] where its blocks do not fill a row. Norms,
// positions and what chooses experts stay, and so does what has the type already; other
// blocks are expanded first, and lose by being rounded twice. It returns how many tensors
// it rounded.
func (f *File) Quantize(ctx context.Context, w io.Writer, kind Type) (rounded int, err error) {
	if _, ok := rounding[kind]; !ok {
		return 0, fmt.Errorf("numbers cannot be rounded to %v", kind)
	}
	alignment, err := alignmentOf(f.metadata["general.alignment"])
	if err != nil {
		return 0, err
	}
	header, types := slices.Clone(f.header[:f.tensorsAt]), make([]Type, len(f.names))
	if f.fileTypeAt > 0 {
		binary.LittleEndian.PutUint32(header[f.fileTypeAt:], fileTypes[kind])
	}
	offset := uint64(0)
	for i, name := range f.names {
		t := f.tensors[name]
		if !t.Type.Expands() {
			return 0, fmt.Errorf("tensor %q holds %v, which cannot be copied", name, t.Type)
		}
		if types[i] = t.becomes(kind); types[i] != t.Type {
			rounded++
		}
		header = appendTensor(header, t, types[i], offset)
		elements, bytes := types[i].Block()
		offset += aligned(uint64(t.Len()/elements*bytes), alignment)
	}
	padded := func(data []byte, size uint64) error {
		if _, err := w.Write(data); err != nil {
			return err
		}
		_, err := w.Write(make([]byte, aligned(size, alignment)-size))
		return err
	}
	if err := padded(header, uint64(len(header))); err != nil {
		return 0, err
	}
	for i, name := range f.names {
		t := f.tensors[name]
		if types[i] == t.Type {
			err = padded(t.Data, uint64(len(t.Data)))
		} else if err = t.round(ctx, w, types[i]); err == nil {
			elements, bytes := types[i].Block()
			err = padded(nil, uint64(t.Len()/elements*bytes))
		}
		if err != nil {
			return 0, fmt.Errorf("tensor %q: %w", name, err)
		}
		f.Release(t.Data)
	}
	return rounded, nil
}

// becomes returns the type that the tensor has in a file of mostly one.
func (t *Tensor) becomes(kind Type) Type {
	if len(t.Shape) < 2 || t.Len() == 0 {
		return t.Type
	}
	for _, part := range []string{"_norm", "ffn_gate_inp", "position_embd"} {
		if strings.Contains(t.Name, part) {
			return t.Type
		}
	}
	if fitting, ok := kind.Fitting(t.Shape[len(t.Shape)-1]); ok {
		return fitting
	}
	return t.Type
}

// round writes the tensor's elements as a type, some rows at a time on every core.
func (t *Tensor) round(ctx context.Context, w io.Writer, kind Type) error {
	width := t.Shape[len(t.Shape)-1]
	from, _ := t.Type.Block()
	if width%from != 0 {
		return errors.New("its rows are not whole blocks")
	}
	rows, workers := t.Len()/width, runtime.GOMAXPROCS(0)
	const together = 64 // rows of a worker
	size := func(kind Type, rows int) int {
		elements, bytes := kind.Block()
		return rows * width / elements * bytes
	}
	parts, failures := make([][]byte, workers), make([]error, workers)
	for first := 0; first < rows; first += workers * together {
		if err := ctx.Err(); err != nil {
			return err
		}
		var wait sync.WaitGroup
		for i := range workers {
			wait.Go(func() {
				begin := min(first+i*together, rows)
				n := min(together, rows-begin)
				values := make([]float32, n*width)
				t.Type.Expand(values, t.Data[size(t.Type, begin):size(t.Type, begin+n)])
				parts[i] = make([]byte, size(kind, n))
				failures[i] = kind.Quantize(parts[i], values)
			})
		}
		wait.Wait()
		if err := errors.Join(failures...); err != nil {
			return err
		}
		for _, part := range parts {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
	}
	return nil
}
