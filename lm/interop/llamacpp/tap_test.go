package llamacpp

import (
	"fmt"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/jupiterrider/ffi"

	"github.com/steervec/steer"
)

// What llama.cpp calls l_out-n is the output of block n: cvector-generator, which
// writes what it learns at l_out-n as direction.n+1, so writes the output of block
// N-1 as direction.N, and llama.cpp adds it one block later.
func TestTheOutputsOfBlocksAreNumberedAlike(t *testing.T) {
	folder := libraries(t)
	taps, err := newTaps(folder, "l_out-")
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := openBoth(t, "llama", gguf.F32, taps.callback)
	width := ours.Decoder().Hidden
	theirs.logits(t, nil, width)
	recording, err := steer.Record(t.Context(), ours, prompt, steer.RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for layer, rows := range recording.Layers {
		got := taps.values[fmt.Sprintf("l_out-%d", layer)]
		if len(got) != len(prompt)*width {
			t.Fatalf("l_out-%d has %d elements", layer, len(got))
		}
		for position, row := range rows {
			for i, want := range row {
				if d := math.Abs(float64(got[position*width+i] - want)); !(d <= 1e-4) {
					t.Fatalf("layer %d, token %d: element %d is %v there, %v here", layer, position, i, got[position*width+i], want)
				}
			}
		}
	}
}

// taps keeps the tensors of a prefix that llama.cpp computes.
type taps struct {
	callback uintptr // ggml_backend_sched_eval_callback
	values   map[string][]float32

	name, bytes, get ffi.Fun
}

func newTaps(folder, prefix string) (*taps, error) {
	base, err := ffi.Load(filepath.Join(folder, "libggml-base.so"))
	if err != nil {
		return nil, err
	}
	t := &taps{values: map[string][]float32{}}
	if t.name, err = base.Prep("ggml_get_name", &ffi.TypePointer, &ffi.TypePointer); err != nil {
		return nil, err
	}
	if t.bytes, err = base.Prep("ggml_nbytes", &ffi.TypeUint64, &ffi.TypePointer); err != nil {
		return nil, err
	}
	if t.get, err = base.Prep("ggml_backend_tensor_get", &ffi.TypeVoid, &ffi.TypePointer, &ffi.TypePointer, &ffi.TypeUint64, &ffi.TypeUint64); err != nil {
		return nil, err
	}
	// It is asked first whether a tensor is wanted, and called again when it is there.
	t.callback = purego.NewCallback(func(tensor uintptr, ask bool, _ uintptr) uintptr {
		var text *byte
		t.name.Call(unsafe.Pointer(&text), unsafe.Pointer(&tensor))
		name := string(unsafe.Slice(text, cStringLength(text)))
		if !strings.HasPrefix(name, prefix) {
			if ask {
				return 0
			}
			return 1
		}
		if !ask {
			var size, offset uint64
			t.bytes.Call(unsafe.Pointer(&size), unsafe.Pointer(&tensor))
			values := make([]float32, size/4)
			to := unsafe.SliceData(values)
			t.get.Call(nil, unsafe.Pointer(&tensor), unsafe.Pointer(&to), unsafe.Pointer(&offset), unsafe.Pointer(&size))
			t.values[name] = values
		}
		return 1
	})
	return t, nil
}

func cStringLength(text *byte) (n int) {
	for *(*byte)(unsafe.Add(unsafe.Pointer(text), n)) != 0 {
		n++
	}
	return n
}
