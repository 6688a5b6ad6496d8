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
)

// Size returns the bytes of one element.
func (s Stored) Size() int {
	if s == StoredF32 {
		return 4
	}
	return 2
}

// View is a strided look at a matrix [Rows, Cols] in a checkpoint's memory,
// little endian. Element (r, c) lies at element index r*RowStride + c*ColStride,
// so a transposed weight is a view with exchanged strides and a slice of rows is
// a view with shifted data.
type View struct {
	Data                 []byte
	Type                 Stored
	Rows, Cols           int
	RowStride, ColStride int

	// Release, unless nil, is told which parts of Data have been read and are
	// not needed any more; any number of goroutines may call it.
	Release func(data []byte)
}

// Slice returns a view of n rows from one on.
func (v View) Slice(from, n int) View { return v.Every(from, 1, n) }

// Every returns a view of n rows: one, and those that follow at a distance of
// step rows.
func (v View) Every(from, step, n int) View {
	if v.Data != nil {
		v.Data = v.Data[from*v.RowStride*v.Type.Size():]
	}
	v.Rows, v.RowStride = n, step*v.RowStride
	return v
}

// Row writes row r as float32 into dst [Cols].
func (v View) Row(r int, dst []float32) { v.read(r, 1, dst) }

// read writes n rows as float32 into dst [n, Cols].
func (v View) read(row, n int, dst []float32) {
	size := v.Type.Size()
	if v.ColStride == 1 {
		for r := range n {
			widen(dst[r*v.Cols:(r+1)*v.Cols], v.Data[(row+r)*v.RowStride*size:], v.Type)
		}
		return
	}
	// Rows of a transposed matrix: neighbours in memory are read together.
	for c := range v.Cols {
		for r := range n {
			widen(dst[r*v.Cols+c:][:1], v.Data[((row+r)*v.RowStride+c*v.ColStride)*size:], v.Type)
		}
	}
}

// release says that n rows have been read. Those of a transposed matrix share
// their memory with the others.
func (v View) release(row, n int) {
	if v.Release == nil || v.Rows == 0 || v.Cols == 0 {
		return
	}
	size := v.Type.Size()
	switch {
	case v.ColStride == 1:
		v.Release(v.Data[row*v.RowStride*size : ((row+n-1)*v.RowStride+v.Cols)*size])
	case n == v.Rows:
		v.Release(v.Data[:((v.Cols-1)*v.ColStride+v.Rows)*size])
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
