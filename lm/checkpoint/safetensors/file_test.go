package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// file puts a header and data together.
func file(header string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, data)...)
}

func TestParseRefuses(t *testing.T) {
	tensor := func(fields string) string { return `{"a":{` + fields + `}}` }
	for _, c := range []struct {
		name string
		data []byte
		want string // part of the error
	}{
		{"no header", []byte{1, 2, 3}, "open x: the file has 3 bytes, too few for a header's length"},
		{"header longer than the file", file("{}", 0)[:9], "the header claims 2 bytes; the file has 9 in all"},
		{"header longer than any", binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "at most 100000000 are allowed"},
		{"header of no bytes", file("", 0), "does not begin with {"},
		{"space before the header", file(" {}", 0), "does not begin with {"},
		{"header that is no object", file("[]", 0), "does not begin with {"},
		{"header cut short", file(`{"a":{"dtype":"F32"`, 0), "unexpected EOF"},
		{"something behind the header", file(`{}{}`, 0), "something follows"},
		{"header that is not UTF-8", file("{\"\xff\":1}", 0), "not UTF-8"},
		{"tensor twice", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), `"a" comes twice`},
		{"tensor twice, once escaped", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), `"a" comes twice`},
		{"field twice", file(tensor(`"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]`), 1), `"a": "dtype" comes twice`},
		{"metadata twice", file(`{"__metadata__":{},"__metadata__":{}}`, 0), `"__metadata__" comes twice`},
		{"metadata key twice", file(`{"__metadata__":{"k":"v","k":"w"}}`, 0), `"k" comes twice`},
		{"metadata that is no text", file(`{"__metadata__":{"k":1}}`, 0), `"__metadata__": "k": 1 stands where a string belongs`},
		{"field in another case", file(tensor(`"Dtype":"U8","shape":[1],"data_offsets":[0,1]`), 1), "needs dtype, shape and data_offsets"},
		{"no shape", file(tensor(`"dtype":"U8","data_offsets":[0,1]`), 1), "needs dtype, shape and data_offsets"},
		{"null for a shape", file(tensor(`"dtype":"U8","shape":null,"data_offsets":[0,1]`), 1), "stands where [ belongs"},
		{"null for a size", file(tensor(`"dtype":"U8","shape":[null],"data_offsets":[0,1]`), 1), "stands where a number belongs"},
		{"negative size", file(tensor(`"dtype":"U8","shape":[-1],"data_offsets":[0,1]`), 1), "-1 is not a size"},
		{"broken size", file(tensor(`"dtype":"U8","shape":[1.5],"data_offsets":[0,1]`), 1), "1.5 is not a size"},
		{"three offsets", file(tensor(`"dtype":"U8","shape":[1],"data_offsets":[0,1,1]`), 1), "has 3 data offsets"},
		{"past the end", file(tensor(`"dtype":"U8","shape":[2],"data_offsets":[0,2]`), 1), `open x: tensor "a": offset 63 is past the end of the file (62)`},
		{"offset beyond all", file(tensor(`"dtype":"U8","shape":[2],"data_offsets":[0,9223372036854775807]`), 1), "is past the end of the file (80)"},
		{"backwards", file(tensor(`"dtype":"U8","shape":[0],"data_offsets":[1,0]`), 1), "run backwards"},
		{"hole before", file(tensor(`"dtype":"U8","shape":[1],"data_offsets":[1,2]`), 2), "data begins at 1; the tensors before it end at 0"},
		{"hole behind", file(tensor(`"dtype":"U8","shape":[1],"data_offsets":[0,1]`), 2), "the tensors end at byte 62; the file has 63"},
		{"overlap", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), `tensor "b": data begins at 1; the tensors before it end at 2`},
		{"shape and data disagree", file(tensor(`"dtype":"F32","shape":[2,3],"data_offsets":[0,4]`), 4), "shape [2 3] of F32 needs 24 bytes"},
		{"shape that overflows to the size of its data", file(tensor(`"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]`), 4), "too large"},
		{"shape of a strange type that overflows", file(tensor(`"dtype":"?","shape":[4611686018427387904,4],"data_offsets":[0,4]`), 4), "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := safetensors.Parse("x", c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct{ name, header string }{
		{"no tensors", `{}`},
		{"padding", `{}      `},
		{"only metadata", `{"__metadata__":{"format":"pt"}}`},
		{"empty tensors, also between others", `{"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"c":{"dtype":"F64","shape":[0],"data_offsets":[4,4]}}`},
		{"entries out of order", `{"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`},
		{"fields of a later version", `{"a":{"dtype":"U8","layout":{"x":[1,{}]},"shape":[4],"data_offsets":[0,4]}}`},
		{"types that are not known", `{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := 0
			if strings.Contains(c.header, "4]") {
				data = 4
			}
			f, err := safetensors.Parse("x", file(c.header, data))
			if err != nil {
				t.Fatal(err)
			}
			if string(f.Header()) != c.header {
				t.Errorf("header %q", f.Header())
			}
		})
	}
}

func TestNamesComeInOrderOfTheData(t *testing.T) {
	f, err := safetensors.Parse("x", file(`{"z":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},"y":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 4))
	if err != nil || !slices.Equal(f.Names(), []string{"y", "z"}) {
		t.Error(f.Names(), err)
	}
}

func TestStrangeTypesAreNamedWhenUsed(t *testing.T) {
	f, err := safetensors.Parse("x", file(`{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}`, 4))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := f.Tensor("a")
	if _, err := a.Float32s(); err == nil || !strings.Contains(err.Error(), `tensor "a" holds F4`) {
		t.Error(err)
	}
}

func TestOpenMapsAndReleases(t *testing.T) {
	values := make([]float32, 1<<16)
	for i := range values {
		values[i] = float32(i)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "w.safetensors")
	err := safetensors.Write(path, []safetensors.Tensor{safetensors.New("w", []int{256, 256}, values)}, map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []struct {
		name string
		open func() (*safetensors.File, error)
	}{
		{"a path", func() (*safetensors.File, error) { return safetensors.Open(path) }},
		{"a folder", func() (*safetensors.File, error) { return safetensors.OpenFS(os.DirFS(dir), "w.safetensors") }},
		{"memory", func() (*safetensors.File, error) {
			return safetensors.OpenFS(fstest.MapFS{"w.safetensors": {Data: data}}, "w.safetensors")
		}},
	} {
		t.Run(open.name, func(t *testing.T) {
			f, err := open.open()
			if err != nil {
				t.Fatal(err)
			}
			w, ok := f.Tensor("w")
			if !ok || f.Metadata()["k"] != "v" {
				t.Fatal(ok, f.Metadata())
			}
			for range 2 {
				got, err := w.Float32s()
				if err != nil || !slices.Equal(got, values) {
					t.Fatal("other values came back", err)
				}
				f.Release(w) // the next round reads it again
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error("a second Close:", err)
			}
		})
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := safetensors.Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := safetensors.Open(empty); err == nil || !strings.Contains(err.Error(), "has 0 bytes") {
		t.Error(err)
	}
}

// Files of the official library are read, and written again to the same bytes.
func TestOfficialFiles(t *testing.T) {
	var paths []string
	for _, pattern := range []string{"../../../testdata/goldens/*/golden.safetensors", filepath.Join(shared(), "models/*/*.safetensors")} {
		more, _ := filepath.Glob(pattern)
		paths = append(paths, more...)
	}
	if len(paths) == 0 {
		t.Fatal("no goldens are there")
	}
	for _, path := range paths {
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
			f, err := safetensors.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var tensors []safetensors.Tensor
			for _, name := range f.Names() {
				tensor, _ := f.Tensor(name)
				tensors = append(tensors, tensor)
				if _, err := tensor.Float32s(); (err == nil) != strings.Contains("F64 F32 F16 BF16", string(tensor.DType)) {
					t.Error(err)
				}
			}
			again := filepath.Join(t.TempDir(), "again")
			if err := safetensors.Write(again, tensors, f.Metadata()); err != nil {
				t.Fatal(err)
			}
			want, _ := os.ReadFile(path)
			got, _ := os.ReadFile(again)
			if len(f.Metadata()) > 1 { // the official library writes them in no order
				want, got = want[8+len(f.Header()):], got[8+len(f.Header()):]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("wrote %d other bytes than the %d that were read", len(got), len(want))
			}
		})
	}
}

// shared returns the folder of larger test material beside the repository,
// which need not be there.
func shared() string {
	if dir := os.Getenv("STEER_SHARED"); dir != "" {
		return dir
	}
	for dir, _ := os.Getwd(); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "..", "shared")
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, header := range []string{
		`{}`,
		`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   `,
		`{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"I64","shape":[0],"data_offsets":[4,4]}}`,
		`{"a":{"dtype":"F16","shape":[],"data_offsets":[0,2]},"b":{"dtype":"F4","shape":[4],"data_offsets":[2,4]}}`,
		`{"a":{"dtype":"F64","shape":[9223372036854775807,2],"data_offsets":[0,4]}}`,
		`{"a":{"shape":[[]],"x":{"y":[{}]}}`,
	} {
		f.Add(file(header, 4))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := safetensors.Parse("x", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "open x: ") {
				t.Errorf("error without its file: %v", err)
			}
			return
		}
		total := 0
		for _, name := range parsed.Names() {
			tensor, ok := parsed.Tensor(name)
			if !ok {
				t.Errorf("%q is listed and not there", name)
			}
			total += len(tensor.Data)
			tensor.Float32s()
		}
		if total+8+len(parsed.Header()) != len(data) {
			t.Errorf("tensors take %d bytes of %d", total, len(data))
		}
		if !json.Valid(parsed.Header()) {
			t.Error("took a header that is not JSON")
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{300, 10_000} {
		b.Run(fmt.Sprint(n, " tensors"), func(b *testing.B) {
			var tensors []safetensors.Tensor
			for i := range n {
				tensors = append(tensors, safetensors.New(fmt.Sprintf("model.layers.%d.self_attn.q_proj.weight", i), []int{2, 2}, make([]float32, 4)))
			}
			path := filepath.Join(b.TempDir(), "w")
			if err := safetensors.Write(path, tensors, nil); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				f, err := safetensors.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}

func BenchmarkFloat32s(b *testing.B) {
	for _, d := range []safetensors.DType{safetensors.F32, safetensors.F16, safetensors.BF16, safetensors.F64} {
		b.Run(string(d), func(b *testing.B) {
			data := make([]byte, 4<<20)
			for i := range data {
				data[i] = byte(i * 7 % 113)
			}
			tensor := safetensors.Tensor{DType: d, Shape: []int{len(data) / d.Size()}, Data: data}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := tensor.Float32s(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
