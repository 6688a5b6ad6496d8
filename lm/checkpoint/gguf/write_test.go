package gguf

import (
	"bytes"
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
	if keys := []string{"general.architecture", "u", "i", "f", "yes", "no"}; !reflect.DeepEqual(file.Keys(), keys) {
		t.Errorf("the keys are %q", file.Keys())
	}
	for key, want := range map[string]any{"general.architecture": "test", "u": uint64(8), "i": int64(-7), "f": 0.5, "yes": true, "no": false} {
		if got := file.Value(key); got != want {
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
	wrong.Set("list", []string{"a"})
	if _, err := wrong.Encode(); err == nil || !strings.Contains(err.Error(), `metadata "list": a []string`) {
		t.Errorf("error %v", err)
	}
	for _, tensor := range []Tensor{{Name: "short", Type: F32, Shape: []int{2}, Data: []byte{0}}, {Name: "of a type unknown", Type: 99, Shape: []int{1}, Data: []byte{0}}} {
		if _, err := (&Contents{Tensors: []Tensor{tensor}}).Encode(); err == nil || !strings.Contains(err.Error(), tensor.Name) {
			t.Errorf("error %v", err)
		}
	}
}
