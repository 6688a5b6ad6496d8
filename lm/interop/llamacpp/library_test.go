package llamacpp

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/hybridgroup/yzma/pkg/llama"
	"github.com/jupiterrider/ffi"
)

// libraries returns the folder of llama.cpp's libraries, which are loaded once.
func libraries(t *testing.T) string {
	t.Helper()
	folder, required := "../../../llamacpp/lib", false
	switch value := os.Getenv("STEER_LLAMACPP"); value {
	case "":
	case "require":
		required = true
	default:
		folder, required = value, true
	}
	if _, err := os.Stat(filepath.Join(folder, "libllama.so")); err != nil {
		if required {
			t.Fatalf("llama.cpp's libraries are not in %s; the script llamacpp/fetch brings them", folder)
		}
		t.Skipf("llama.cpp's libraries are not in %s; the script llamacpp/fetch brings them", folder)
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the libraries are those of linux on amd64")
	}
	if err := load(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

var loaded struct {
	once sync.Once
	err  error
	// controlVectors is llama.cpp's own reader of control vectors.
	controlVectors ffi.Fun
}

func load(folder string) error {
	loaded.once.Do(func() {
		loaded.err = func() error {
			if err := llama.Load(folder); err != nil {
				return err
			}
			llama.LogSet(llama.LogSilent())
			if err := llama.GGMLBackendLoadAllFromPath(folder); err != nil {
				return err
			}
			llama.Init()
			common, err := ffi.Load(filepath.Join(folder, "libllama-common.so"))
			if err != nil {
				return err
			}
			// common_control_vector_data common_control_vector_load(const std::vector<common_control_vector_load_info> &).
			// A result that has a destructor is written where a first, hidden argument points.
			loaded.controlVectors, err = common.Prep("_Z26common_control_vector_loadRKSt6vectorI31common_control_vector_load_infoSaIS0_EE",
				&ffi.TypePointer, &ffi.TypePointer, &ffi.TypePointer)
			return err
		}()
	})
	return loaded.err
}

// The structures of C++ as GCC's library lays them out.
type (
	vector[E any] struct{ begin, end, capacity *E }
	text          struct {
		data   *byte
		length uint64
		local  [16]byte
	}
	// loadInfo is common_control_vector_load_info.
	loadInfo struct {
		strength float32
		name     text
	}
	// loadedData is common_control_vector_data. Row n of the data is direction n+1.
	loadedData struct {
		width int32
		data  vector[float32]
	}
)

// readControlVector reads a file as llama.cpp's programs do. Row n of the data is
// direction n+1, of the given width.
func readControlVector(path string) (data []float32, width int, err error) {
	name := append([]byte(path), 0)
	info := &loadInfo{strength: 1, name: text{data: &name[0], length: uint64(len(path))}}
	infos := &vector[loadInfo]{begin: info}
	infos.end = (*loadInfo)(unsafe.Add(unsafe.Pointer(info), unsafe.Sizeof(*info)))
	infos.capacity = infos.end
	result := &loadedData{}
	var returned ffi.Arg
	loaded.controlVectors.Call(unsafe.Pointer(&returned), unsafe.Pointer(&result), unsafe.Pointer(&infos))
	runtime.KeepAlive(name)
	if result.width < 1 {
		return nil, 0, fmt.Errorf("llama.cpp does not read %s", path)
	}
	count := (uintptr(unsafe.Pointer(result.data.end)) - uintptr(unsafe.Pointer(result.data.begin))) / unsafe.Sizeof(float32(0))
	return append([]float32(nil), unsafe.Slice(result.data.begin, count)...), int(result.width), nil
}
