package gguf

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	contents := func() *Contents {
		c := &Contents{Tensors: []Tensor{
			{Name: "one", Type: F32, Shape: []int{3}, Data: []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40}},
			{Name: "none", Type: F32, Shape: []int{0}, Data: nil},
			{Name: "two", Type: F16, Shape: []int{2, 1}, Data: []byte{0, 0x3c, 0, 0xc0}},
			{Name: "blocks", Type: Q8_0, Shape: []int{1, 32}, Data: make([]byte, 34)},
		}}
		c.Set("general.architecture", "test")
		c.Set("u", uint32(7))
		c.Set("i", int32(-7))
		c.Set("f", float32(0.5))
		c.Set("yes", true)
		c.Set("no", false)
		c.Set("u", uint32(8)) // again
		c.Set("long", uint64(1)<<40)
		c.Set("texts", []string{"a", ""})
		c.Set("signed", []int32{-1, 2})
		c.Set("sizes", []uint32{3})
		c.Set("scores", []float32{0.25})
		c.Set("flags", []bool{true, false})
		return c
	}
	data, err := contents().Encode()
	if err != nil {
		t.Fatal(err)
	}
	file, err := Parse("f", data)
	if err != nil {
		t.Fatal(err)
	}
	if keys := []string{"general.architecture", "u", "i", "f", "yes", "no", "long", "texts", "signed", "sizes", "scores", "flags"}; !reflect.DeepEqual(file.Keys(), keys) {
		t.Errorf("the keys are %q", file.Keys())
	}
	for key, want := range map[string]any{
		"general.architecture": "test", "u": uint64(8), "i": int64(-7), "f": 0.5, "yes": true, "no": false, "long": uint64(1) << 40,
		"texts": []string{"a", ""}, "signed": []int64{-1, 2}, "sizes": []uint64{3}, "scores": []float64{0.25}, "flags": []bool{true, false},
	} {
		if got := file.Value(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	for _, want := range contents().Tensors {
		got, ok := file.Tensor(want.Name)
		if !ok || got.Type != want.Type || !reflect.DeepEqual(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("tensor %+v came back as %+v", want, got)
		}
	}
	if again, err := contents().Encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("equal contents give other bytes: %v", err)
	}
}

func TestWhatCannotBeWrittenIsNamed(t *testing.T) {
	wrong := &Contents{}
	wrong.Set("list", []int64{1})
	if _, err := wrong.Encode(); err == nil || !strings.Contains(err.Error(), `metadata "list": a []int64`) {
		t.Errorf("error %v", err)
	}
	for _, tensor := range []Tensor{{Name: "short", Type: F32, Shape: []int{2}, Data: []byte{0}}, {Name: "of a type unknown", Type: 99, Shape: []int{1}, Data: []byte{0}}} {
		if _, err := (&Contents{Tensors: []Tensor{tensor}}).Encode(); err == nil || !strings.Contains(err.Error(), tensor.Name) {
			t.Errorf("error %v", err)
		}
	}
}

// Tensors that are made row by row while the file is written are those that lie in memory.
func TestTensorsAreMadeWhileTheFileIsWritten(t *testing.T) {
	const rows, width = 700, 1024
	all := make([]float32, rows*width)
	for i := range all {
		all[i] = float32(i % 251)
	}
	for _, kind := range []Type{F32, F16, BF16, Q4_0} {
		elements, size := kind.Block()
		data := make([]byte, len(all)/elements*size)
		if err := kind.Encode(data, all); err != nil {
			t.Fatal(err)
		}
		want, err := (&Contents{Tensors: []Tensor{{Name: "w", Type: kind, Shape: []int{rows / 7, 7, width}, Data: data}}}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		made := Made{
			Tensor: Tensor{Name: "w", Type: kind, Shape: []int{rows / 7, 7, width}},
			Rows: func(values []float32, first int) error {
				copy(values, all[first*width:])
				return nil
			},
			Done: func() { done++ },
		}
		var got bytes.Buffer
		if err := new(Contents).Write(t.Context(), &got, []Made{made}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) || done != 1 {
			t.Errorf("%v: other bytes, or done %d times", kind, done)
		}
		broken := errors.New("broken")
		made.Rows = func([]float32, int) error { return broken }
		if err := new(Contents).Write(t.Context(), &got, []Made{made}); !errors.Is(err, broken) || !strings.Contains(err.Error(), `"w"`) {
			t.Errorf("%v: an error of a row gives %v", kind, err)
		}
	}
}
