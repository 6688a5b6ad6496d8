package gguf

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// fileTypes are the numbers that general.file_type has for files of mostly one type.
var fileTypes = map[Type]uint32{
	F32: 0, F16: 1, BF16: 32, Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9, Q2_K: 10, Q3_K: 11, Q4_K: 14, Q5_K: 16, Q6_K: 18, IQ4_NL: 25, MXFP4: 38,
}

// FileType returns the number that general.file_type has for a file whose matrices are
// mostly of a type that can be written.
func (t Type) FileType() uint32 { return fileTypes[t] }

// Quantize writes a copy of the file in which matrices are rounded as [Type.Encode]
// does, to the type, or to one of [Type.Fitting] where its blocks do not fill a row. Norms,
// positions and what chooses experts stay, and so does what has the type already; other
// blocks are expanded first, and lose by being rounded twice. It returns how many tensors
// it rounded.
func (f *File) Quantize(ctx context.Context, w io.Writer, kind Type) (rounded int, err error) {
	if _, ok := fileTypes[kind]; !ok {
		return 0, fmt.Errorf("numbers cannot be rounded to %v", kind)
	}
	alignment, err := alignmentOf(f.metadata["general.alignment"])
	if err != nil {
		return 0, err
	}
	header, tensors := slices.Clone(f.header[:f.tensorsAt]), make([]Made, 0, len(f.names))
	if f.fileTypeAt > 0 {
		binary.LittleEndian.PutUint32(header[f.fileTypeAt:], kind.FileType())
	}
	for _, name := range f.names {
		stored := f.tensors[name]
		if !stored.Type.Expands() {
			return 0, fmt.Errorf("tensor %q holds %v, which cannot be copied", name, stored.Type)
		}
		t := Made{Tensor: stored, Done: func() { f.Release(stored.Data) }}
		if t.Type = stored.Becomes(kind); t.Type != stored.Type {
			rounded++
			t.Rows = stored.rows
		}
		tensors = append(tensors, t)
	}
	return rounded, writeTensors(ctx, w, header, tensors, alignment)
}

// Becomes returns the type that the tensor has in a file whose matrices are of one:
// the type, one of [Type.Fitting], or its own.
func (t *Tensor) Becomes(kind Type) Type {
	if len(t.Shape) < 2 || t.Len() == 0 {
		return t.Type
	}
	for _, part := range []string{"_norm", "ffn_gate_inp", "position_embd", "ssm_conv1d", "ssm_a", "ssm_d", "shortconv.conv", ".bias"} {
		if strings.Contains(t.Name, part) {
			return t.Type
		}
	}
	if !kind.Blocks() {
		return kind
	}
	if fitting, ok := kind.Fitting(t.Shape[len(t.Shape)-1]); ok {
		return fitting
	}
	return t.Type
}

// rows expands some of the tensor's rows.
func (t *Tensor) rows(values []float32, first int) error {
	width := t.Shape[len(t.Shape)-1]
	elements, bytes := t.Type.Block()
	size := func(rows int) int { return rows * width / elements * bytes }
	t.Type.Expand(values, t.Data[size(first):size(first+len(values)/width)])
	return nil
}
