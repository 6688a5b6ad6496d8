package kernel

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/x448/float16"

	"github.com/steervec/steer/lm/internal/bfloat16"
)

// Stored is the number format of a tensor as it lies in a checkpoint.
type Stored uint8

const (
	StoredF32 Stored = iota
	StoredF16
	StoredBF16

	// Blocks, as GGUF has them.
	StoredQ4_0
	StoredQ4_1
	StoredQ5_0
	StoredQ5_1
	StoredQ8_0
	StoredQ2_K
	StoredQ3_K
	StoredQ4_K
	StoredQ5_K
	StoredQ6_K
	StoredIQ4_NL
	StoredMXFP4

	storedTypes // how many there are
)

// String returns the type's name, such as "bf16" or "q4_k".
func (s Stored) String() string {
	if f := s.block(); f != nil {
		return f.name
	}
	return [...]string{StoredF32: "f32", StoredF16: "f16", StoredBF16: "bf16"}[s]
}

// Blocks reports whether numbers are stored in blocks of few bits.
func (s Stored) Blocks() bool { return s.block() != nil }

// Bytes returns the memory of so many elements, whole blocks.
func (s Stored) Bytes(elements int) int {
	if f := s.block(); f != nil {
		return elements / f.elements * f.bytes
	}
	if s == StoredF32 {
		return 4 * elements
	}
	return 2 * elements
}

// View is a strided look at a matrix [Rows, Cols] in a checkpoint's memory,
// little endian. Element (r, c) lies at element index r*RowStride + c*ColStride,
// so a transposed weight is a view with exchanged strides and a slice of rows is
// a view with shifted data. Rows of blocks are whole blocks, and ColStride is 1.
type View struct {
	Data                 []byte
	Type                 Stored
	Rows, Cols           int
	RowStride, ColStride int

	// Order, unless nil, says which row of Data each row is; ColStride is 1 then.
	Order func(row int) int

	// Release, unless nil, is told which parts of Data have been read and are
	// not needed any more; any number of goroutines may call it.
	Release func(data []byte)
}

// Slice returns a view of n rows from one on.
func (v View) Slice(from, n int) View { return v.Every(from, 1, n) }

// Every returns a view of n rows: one, and those that follow at a distance of
// step rows.
func (v View) Every(from, step, n int) View {
	v.Rows = n
	if order := v.Order; order != nil {
		v.Order = func(row int) int { return order(from + step*row) }
		return v
	}
	if v.Data != nil {
		v.Data = v.Data[v.Type.Bytes(from*v.RowStride):]
	}
	v.RowStride *= step
	return v
}

// Row writes row r as float32 into dst [Cols].
func (v View) Row(r int, dst []float32) { v.read(r, 1, dst) }

// stored returns row r as it is stored.
func (v View) stored(r int) []byte {
	if v.Order != nil {
		r = v.Order(r)
	}
	return v.Data[v.Type.Bytes(r*v.RowStride):][:v.Type.Bytes(v.Cols)]
}

// read writes n rows as float32 into dst [n, Cols].
func (v View) read(row, n int, dst []float32) {
	if v.ColStride == 1 {
		for r := range n {
			if to := dst[r*v.Cols : (r+1)*v.Cols]; v.Type.block() != nil {
				v.Type.block().expand(to, v.stored(row+r))
			} else {
				widen(to, v.stored(row+r), v.Type)
			}
		}
		return
	}
	// Rows of a transposed matrix: neighbours in memory are read together.
	for c := range v.Cols {
		for r := range n {
			widen(dst[r*v.Cols+c:][:1], v.Data[v.Type.Bytes((row+r)*v.RowStride+c*v.ColStride):], v.Type)
		}
	}
}

// release says that n rows have been read. Those of a transposed matrix share
// their memory with the others, and so do
// those in another order: what goes too early comes back.
func (v View) release(row, n int) {
	if v.Release == nil || v.Rows == 0 || v.Cols == 0 {
		return
	}
	switch {
	case v.Order != nil && n == v.Rows:
		v.Release(v.Data)
	case v.Order == nil && v.ColStride == 1:
		v.Release(v.Data[v.Type.Bytes(row*v.RowStride) : v.Type.Bytes((row+n-1)*v.RowStride)+v.Type.Bytes(v.Cols)])
	case n == v.Rows:
		v.Release(v.Data[:v.Type.Bytes((v.Cols-1)*v.ColStride+v.Rows)])
	}
}

// widen converts stored elements to float32.
func widen(dst []float32, data []byte, stored Stored) {
	done := 0
	if n := len(dst) &^ 15; n > 0 && active.widen[stored] != nil {
		active.widen[stored](&dst[0], (*uint16)(unsafe.Pointer(&data[:2*n][0])), n)
		done = n
	}
	for i := done; i < len(dst); i++ {
		switch stored {
		case StoredF32:
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		case StoredBF16:
			dst[i] = bfloat16.Widen(binary.LittleEndian.Uint16(data[2*i:]))
		case StoredF16:
			dst[i] = float16.Frombits(binary.LittleEndian.Uint16(data[2*i:])).Float32()
		}
	}
}
