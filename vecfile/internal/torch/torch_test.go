package torch

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// files returns the committed files that PyTorch and Python wrote.
func files(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, pattern := range []string{"*.pt", "*.bin", "*.pkl"} {
		paths, err := filepath.Glob("../../testdata/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(path)] = data
		}
	}
	if len(out) < 10 {
		t.Fatalf("there are only %d files", len(out))
	}
	return out
}

const (
	storageOf2 = "((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ" // and the mark of a tensor's arguments before it
	rebuild    = "ctorch._utils\n_rebuild_tensor_v2\n"
	noHooks    = "\x89ccollections\nOrderedDict\n)RtR."
)

// legacy is a file of the older kind with one storage of two numbers.
func legacy(program string) []byte {
	data := append([]byte(nil), magicPickle...)
	data = append(data, "\x80\x02M\xe9\x03.\x80\x02}.\x80\x02"+program+"\x80\x02]X\x01\x00\x00\x000a."...)
	data = binary.LittleEndian.AppendUint64(data, 2)
	return append(data, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40)
}

func cut(data []byte, n int) []byte { return data[:len(data)-n] }

func TestPicklesThatDoMoreThanRebuildAreRefusedByName(t *testing.T) {
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"imports a function":          {[]byte("\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."), `class "os.system" is not one that is rebuilt`},
		"imports from the stack":      {[]byte("\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R."), `class "builtins.eval" is not one that is rebuilt`},
		"imports a part of a class":   {[]byte("\x80\x04\x8c\x05torch\x8c\x10serialization.os\x93."), `class "torch.serialization.os" is not one that is rebuilt`},
		"imports what torch has":      {[]byte("\x80\x02ctorch\nload\n."), `class "torch.load" is not one that is rebuilt`},
		"calls what is no function":   {[]byte("\x80\x02K\x01)R."), "a number is called with a tuple of 0"},
		"calls a storage":             {[]byte("\x80\x02ctorch\nFloatStorage\nK\x05\x85R."), `class "torch.FloatStorage" is not one that is called`},
		"makes an instance":           {[]byte("\x80\x02(ios\nsystem\n."), "instruction INST (0x69) at byte 3 is not allowed"},
		"makes an object":             {[]byte("\x80\x02(cos\nsystem\no."), `class "os.system" is not one`},
		"makes an object, otherwise":  {[]byte("\x80\x02(K\x01o."), "instruction OBJ (0x6f) at byte 5 is not allowed"},
		"looks in the registry":       {[]byte("\x80\x02\x82\x01."), "instruction EXT1 (0x82) at byte 2 is not allowed"},
		"has keywords":                {[]byte("\x80\x04)})\x92."), "instruction NEWOBJ_EX (0x92) at byte 5 is not allowed"},
		"has buffers":                 {[]byte("\x80\x05\x97."), "instruction NEXT_BUFFER (0x97) at byte 2 is not allowed"},
		"names a storage by a line":   {[]byte("\x80\x02Px\n."), "instruction PERSID (0x50) at byte 2 is not allowed"},
		"names a storage of nowhere":  {[]byte("\x80\x02K\x01Q."), "it names a storage outside of it: a number"},
		"new object of nothing":       {[]byte("\x80\x02K\x01)\x81."), "an object is made of a number"},
		"new object with arguments":   {[]byte("\x80\x02csteering_vectors.steering_vector\nSteeringVector\nK\x01\x85\x81."), "is made with a tuple of 1"},
		"attributes of a tensor":      {[]byte("\x80\x02K\x01}b."), "attributes are set of a number"},
		"attributes that are no dict": {[]byte("\x80\x02}K\x01b."), "the attributes of a dictionary of 0 are a number"},
		"key that is a list":          {[]byte("\x80\x02}]K\x01s."), "a key of a dictionary is a list of 0"},
		"ends in the middle":          {[]byte("\x80\x02X\xff\xff\xff\xff"), "at byte 2: it ends in the middle"},
		"without an end":              {[]byte("\x80\x02K\x01"), "it ends in the middle"},
		"an empty stack":              {[]byte("\x80\x02."), "the stack is empty"},
		"a mark as value":             {[]byte("\x80\x02(."), "a mark is where a value should be"},
		"no mark":                     {[]byte("\x80\x02t."), "there is no mark"},
		"what nobody remembers":       {[]byte("\x80\x02h\x07."), "nothing is remembered under 7"},
		"a number of many bytes":      {[]byte("\x80\x02\x8b\x00\x00\x10\x00" + strings.Repeat("\x01", 1<<20) + "."), "a whole number has 1048576 bytes"},

		"view past its storage":  {legacy(rebuild + storageOf2 + "K\x01K\x02\x85K\x01\x85" + noHooks), "past its storage of 2 elements"},
		"view that repeats":      {legacy(rebuild + storageOf2 + "K\x00J\x00\x00\x00\x10\x85K\x00\x85" + noHooks), "larger than its storage of 2 elements"},
		"view that goes back":    {legacy(rebuild + storageOf2 + "K\x01K\x02\x85J\xff\xff\xff\xff\x85" + noHooks), "has shape [2] and strides [-1]"},
		"view of other strides":  {legacy(rebuild + storageOf2 + "K\x00K\x02\x85)" + noHooks), "has shape [2] and strides []"},
		"view of enormous steps": {legacy(rebuild + storageOf2 + "K\x00K\x02\x85J\xff\xff\xff\x7f\x85" + noHooks), "past its storage of 2 elements"},
		"storage of other types": {legacy("(X\x07\x00\x00\x00storageccollections\nOrderedDict\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ."), "is of the class collections.OrderedDict, which is not read"},
		"storage that is large":  {legacy("(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\xff\xff\xff\x7ftQ."), "claims 2147483647 elements"},
		"storage not used":       {legacy("K\x01."), "is there twice, or not used"},
		"file that is cut short": {cut(legacy(rebuild+storageOf2+"K\x00K\x02\x85K\x01\x85"+noHooks), 6), "which are not there"},
		"file without its end":   {cut(legacy(rebuild+storageOf2+"K\x00K\x02\x85K\x01\x85"+noHooks), 12), "ends in the middle"},
		"a zip of nothing":       {[]byte("PK\x05\x06" + strings.Repeat("\x00", 18)), "there is no data.pkl"},
	} {
		value, _, err := Load(test.data, "")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %s, error %v, want one that says %q", name, Describe(value), err, test.want)
		}
	}
}

// A file inside a pickle is read once for all that name it, not once for each.
func TestFilesInsidePicklesAreNotReadOverAndOver(t *testing.T) {
	inner := legacy("(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ.")
	load := "ctorch.storage\n_load_from_bytes\n"
	program := []byte("\x80\x04(" + load + "B")
	program = binary.LittleEndian.AppendUint32(program, uint32(len(inner)))
	program = append(append(program, inner...), "\x94\x85R"...)
	if value, _, err := Load(append(bytes.Clone(program), "l."...), ""); err != nil {
		t.Fatalf("%s: %v", Describe(value), err)
	}
	for range 3 {
		program = append(program, load+"h\x00\x85R"...)
	}
	if _, _, err := Load(append(program, "l."...), ""); err == nil || !strings.Contains(err.Error(), "the same bytes many times") {
		t.Errorf("error %v", err)
	}
	nested := []byte("\x80\x04" + load + "B")
	nested = binary.LittleEndian.AppendUint32(nested, uint32(len(inner)))
	nested = append(append(nested, inner...), "\x85R."...)
	outer := append([]byte(nil), magicPickle...)
	outer = append(outer, "\x80\x02M\xe9\x03.\x80\x02}."...)
	if _, _, err := Load(append(append(outer, nested...), "\x80\x02]."...), ""); err == nil || !strings.Contains(err.Error(), "inside of itself") {
		t.Errorf("error %v", err)
	}
}

func TestPlainValuesAreRebuilt(t *testing.T) {
	for name, test := range map[string]struct {
		program string
		want    any
	}{
		"numbers":     {"\x80\x02(K\x01M\x00\x01J\xff\xff\xff\xff\x8a\x01\x80\x8a\x08\x01\x00\x00\x00\x00\x00\x00\x80G\x3f\xe0\x00\x00\x00\x00\x00\x00I7\nF1.5\nt.", Tuple{int64(1), int64(256), int64(-1), int64(-128), int64(-9223372036854775807), 0.5, int64(7), 1.5}},
		"texts":       {"\x80\x04(X\x01\x00\x00\x00a\x8c\x01bVc\nU\x01dC\x01et.", Tuple{"a", "b", "c", "d", []byte("e")}},
		"constants":   {"\x80\x02(N\x88\x89I01\nt.", Tuple{nil, true, false, true}},
		"lists":       {"\x80\x02]q\x00K\x01a(K\x02K\x03e.", &List{[]any{int64(1), int64(2), int64(3)}}},
		"tuples":      {"\x80\x02K\x01\x85K\x02\x86K\x03K\x04\x87.", Tuple{Tuple{Tuple{int64(1)}, int64(2)}, int64(3), int64(4)}},
		"memory":      {"\x80\x04K\x01\x94K\x020h\x002\x87.", Tuple{int64(1), int64(1), int64(1)}},
		"marks":       {"\x80\x02K\x01(K\x02K\x031.", int64(1)},
		"keys":        {"\x80\x02}(K\x01K\x02K\x01K\x03u.", &Dict{Keys: []any{int64(1)}, Values: []any{int64(3)}, at: map[any]int{int64(1): 0}}},
		"a long list": {"\x80\x02(K\x01l.", &List{[]any{int64(1)}}},
	} {
		value, _, err := Load([]byte(test.program), "")
		if err != nil || !reflect.DeepEqual(value, test.want) {
			t.Errorf("%s: %#v (%v), want %#v", name, value, err, test.want)
		}
	}
	if value, _, err := Load([]byte("\x80\x02]q\x00h\x00a."), ""); err != nil || value.(*List).Items[0] != value {
		t.Errorf("a list in itself is %s (%v)", Describe(value), err)
	}
}

// What is saved is loaded, with the record beside it.
func TestSavedLayersAreLoaded(t *testing.T) {
	data, err := Save([]Layer{{3, []int{2}, []float32{1, -2}}, {-1, []int{2, 2}, []float32{1, 2, 3, 4}}}, "about.json", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	value, record, err := Load(data, "about.json")
	if err != nil || string(record) != "{}" {
		t.Fatalf("record %q, %v", record, err)
	}
	dict := value.(*Dict)
	if !reflect.DeepEqual(dict.Keys, []any{int64(3), int64(-1)}) {
		t.Errorf("the keys are %v", dict.Keys)
	}
	second := dict.Values[1].(*Tensor)
	if values, err := second.Float32s(); err != nil || !reflect.DeepEqual(values, []float32{1, 2, 3, 4}) || !reflect.DeepEqual(second.Shape, []int{2, 2}) {
		t.Errorf("%v %v, %v", second.Shape, values, err)
	}
	at := bytes.Index(data, []byte("\x00\x00\x80\x3f"))
	data[at]++
	if _, _, err := Load(data, ""); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged storage: %v", err)
	}
}

// Whatever a file holds, its tensors lie in it and are no larger than it.
func FuzzLoad(f *testing.F) {
	for _, data := range files(f) {
		f.Add(data)
	}
	f.Add(legacy(rebuild + storageOf2 + "K\x00K\x02\x85K\x01\x85" + noHooks))
	f.Add([]byte("\x80\x02}(K\x01K\x02K\x01K\x03u."))
	f.Fuzz(func(t *testing.T, data []byte) {
		value, _, err := Load(data, "steer.json")
		if err != nil {
			return
		}
		each(value, func(tensor *Tensor) {
			if tensor.Len() > 2*len(data) {
				t.Fatalf("a tensor of %d elements in %d bytes", tensor.Len(), len(data))
			}
			if values, err := tensor.Float32s(); err == nil && len(values) != tensor.Len() {
				t.Fatalf("%d values of a tensor of shape %v", len(values), tensor.Shape)
			}
		})
	})
}

// each visits the tensors of a value that lie on its surface.
func each(value any, visit func(*Tensor)) {
	var values []any
	switch v := value.(type) {
	case *Tensor:
		visit(v)
	case *Dict:
		values = v.Values
	case *List:
		values = v.Items
	case Tuple:
		values = v
	case *Object:
		values = v.Attributes.Values
	}
	for _, v := range values {
		if t, ok := v.(*Tensor); ok {
			visit(t)
		}
	}
}
