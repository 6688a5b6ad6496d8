package kernel

import (
	"encoding/binary"
	"testing"

	"github.com/x448/float16"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Every half and every bfloat16 widens as the checkpoint's own reader says.
func TestStoredNumbersWidenExactly(t *testing.T) {
	data := make([]byte, 0, 2<<16)
	for bits := range 1 << 16 {
		data = binary.LittleEndian.AppendUint16(data, uint16(bits))
	}
	for _, test := range []struct {
		stored Stored
		dtype  safetensors.DType
	}{{StoredF16, safetensors.F16}, {StoredBF16, safetensors.BF16}} {
		want, err := safetensors.Tensor{DType: test.dtype, Shape: []int{1 << 16}, Data: data}.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 1<<16)
		View{Data: data, Type: test.stored, Rows: 1, Cols: 1 << 16, RowStride: 1 << 16, ColStride: 1}.Row(0, got)
		for i := range got {
			if got[i] != want[i] && (got[i] == got[i] || want[i] == want[i]) { // a NaN is one
				t.Fatalf("%s %#04x is %v, want %v", test.dtype, i, got[i], want[i])
			}
		}
	}
	for half, want := range map[uint16]float32{0x3c00: 1, 0xc000: -2, 0x0001: 1.0 / (1 << 24), 0x7bff: 65504, 0x3555: 0.33325195} {
		if got := float16.Frombits(half).Float32(); got != want {
			t.Errorf("half %#04x is %v, want %v", half, got, want)
		}
	}
}
