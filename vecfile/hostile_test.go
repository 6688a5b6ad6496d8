package vecfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// controlVector is a file with the keys of repeng's and others.
func controlVector(t *testing.T, keys map[string]any, tensors ...gguf.Tensor) []byte {
	t.Helper()
	c := &gguf.Contents{Tensors: tensors}
	c.Set("general.architecture", "controlvector")
	for key, value := range keys {
		c.Set(key, value)
	}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func row(name string, shape ...int) gguf.Tensor {
	size := 4
	for _, d := range shape {
		size *= d
	}
	return gguf.Tensor{Name: name, Type: gguf.F32, Shape: shape, Data: bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, size/4)}
}

func TestControlVectorsSayWhatTheyAre(t *testing.T) {
	easysteer := func(component string) map[string]any {
		return map[string]any{"controlvector.method": "iti", "controlvector.easysteer": `{"version":1,"component":` + component + `}`, "controlvector.own": float32(1)}
	}
	for name, test := range map[string]struct {
		data     []byte
		err      string
		producer string
		site     string
	}{
		"of heads":               {controlVector(t, easysteer(`"attention_heads"`), row("direction.3", 2)), "", "easysteer", "attn_heads"},
		"of the stream":          {controlVector(t, easysteer(`"hidden_states"`), row("direction.0", 2)), "", "easysteer", ""},
		"of who knows what":      {controlVector(t, easysteer(`null`), row("direction.0", 2)), "", "easysteer", ""},
		"of routers":             {controlVector(t, easysteer(`"router_logits"`), row("direction.3", 2)), `component "router_logits"`, "", ""},
		"with a base of its own": {controlVector(t, map[string]any{"glp.mode": "project"}, row("direction.3", 2)), `metadata "glp.mode" is not known`, "", ""},
		"that is a model":        {controlVector(t, map[string]any{"general.architecture": "llama"}, row("blk.0.attn_q.weight", 2)), `a model of architecture "llama"`, "", ""},
		"with other tensors":     {controlVector(t, nil, row("weight", 2)), `tensor "weight" is not named direction.<number>`, "", ""},
		"with negative ones":     {controlVector(t, nil, row("direction.-1", 2)), `"direction.-1" is not named`, "", ""},
		"with matrices":          {controlVector(t, nil, row("direction.1", 1, 2)), "[1 2], not F32 with one dimension", "", ""},
		"of halves":              {controlVector(t, nil, gguf.Tensor{Name: "direction.1", Type: gguf.F16, Shape: []int{2}, Data: make([]byte, 4)}), "is F16 [2], not F32", "", ""},
		"of several widths":      {controlVector(t, nil, row("direction.1", 2), row("direction.2", 3)), "has 3 elements where others have 2", "", ""},
		"without directions":     {controlVector(t, nil), "the file has no layers", "", ""},
		"with bad metadata":      {controlVector(t, map[string]any{"steer.metadata": "{"}, row("direction.1", 2)), "the metadata of steer", "", ""},
		"of a newer version":     {controlVector(t, map[string]any{"steer.metadata": `{"steer.format":"99"}`}, row("direction.1", 2)), "format 99", "", ""},
	} {
		c, err := parse("v", test.data)
		var f File
		var origin Origin
		if err == nil {
			opts := Options{}
			if c.producer == "" {
				opts.From = "llama.cpp"
			}
			f, origin, err = c.translate(opts)
		}
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want one that says %q", name, err, test.err)
			}
			continue
		}
		if err != nil || origin.Producer.Name != test.producer || f.Metadata[LayerTypeKey] != test.site {
			t.Errorf("%s: of %s, at %q, %v", name, origin.Producer.Name, f.Metadata[LayerTypeKey], err)
		}
	}
}

// npy is an array with a header as it is given.
func npy(header string, data []byte) []byte {
	out := append([]byte(magicNPY), 1, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(header)))
	return append(append(out, header...), data...)
}

func TestArraysThatLieAreRefused(t *testing.T) {
	const four = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"larger than the file":     {npy(fmt.Sprintf(four, "1000000,"), make([]byte, 8)), "that there may be"},
		"of a size that overflows": {npy(fmt.Sprintf(four, "4294967296, 4294967296, 4294967296"), make([]byte, 8)), "that there may be"},
		"of a number too long":     {npy(fmt.Sprintf(four, "99999999999999999999,"), make([]byte, 8)), "that there may be"},
		"cut short":                {npy(fmt.Sprintf(four, "4,"), make([]byte, 15)), "takes 16 bytes; there are 15"},
		"of objects":               {npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", []byte("\x80\x02cos\nsystem\n.")), "is not one of numbers"},
		"of whole numbers":         {npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }\n", make([]byte, 8)), `elements "i8"`},
		"with code in its header":  {npy("{'descr': __import__('os'), }", nil), "is not one of numbers"},
		"without a header":         {[]byte(magicNPY + "\x01\x00\xff\xff"), "the header"},
		"of another version":       {[]byte(magicNPY + "\x09\x00\xff\xff"), "version 9"},
		"with an endless header":   {append([]byte(magicNPY+"\x02\x00"), 0xff, 0xff, 0xff, 0xff), "the header takes 4294967295 bytes"},
		"of four dimensions":       {npy(fmt.Sprintf(four, "1, 1, 1, 1"), make([]byte, 4)), "not [width] or [layers, width]"},
		"of no elements":           {npy(fmt.Sprintf(four, "0,"), nil), "the vector is empty"},
	} {
		c, err := parse("v", test.data)
		if err == nil {
			layer := 1
			_, _, err = c.translate(Options{Layer: &layer})
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, test.want)
		}
	}
}

// A small archive that would fill memory is refused before it does.
func TestCompressedArraysAreBoundedByTheirFile(t *testing.T) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.Create("layer.1.npy")
	if err != nil {
		t.Fatal(err)
	}
	const count = 20 << 20
	if _, err := w.Write(npy(fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }\n", count), nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, 4*count); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := parse("v", out.Bytes()); err == nil || !strings.Contains(err.Error(), "that there may be") {
		t.Errorf("%d bytes stand for %d: %v", out.Len(), 4*count, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
