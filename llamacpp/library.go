package llamacpp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/hybridgroup/yzma/pkg/llama"
	"github.com/hybridgroup/yzma/pkg/loader"
	"github.com/jupiterrider/ffi"
)

// The versions whose functions take the structures that the bindings lay out. Another
// one might read them in other places, so it is not called.
const (
	Version     = "0.5.0"  // of llama.cpp
	GGMLVersion = "0.25.1" // of ggml, which comes with it
)

// Folder is the variable of the environment that names the folder of llama.cpp's
// libraries where nobody else does.
const Folder = "STEER_LLAMACPP"

// library is llama.cpp, loaded once for the program: shared libraries cannot be
// loaded twice, nor unloaded while a model is in use.
type library struct {
	folder  string
	ggml    ggml
	devices []Device
}

var loaded struct {
	sync.Mutex
	*library
}

// load loads the libraries in a folder, unless they are loaded. It is an error where
// they are missing, or of another version, or where those of another folder are
// loaded already.
func load(folder string) (*library, error) {
	if folder == "" {
		folder = os.Getenv(Folder)
	}
	if folder == "" {
		return nil, fmt.Errorf("no folder of llama.cpp's libraries is named, neither by an option nor by the variable %s", Folder)
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("find llama.cpp's libraries: %w", err)
	}
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.library != nil {
		if loaded.folder != folder {
			return nil, fmt.Errorf("load llama.cpp from %s: that of %s is loaded already", folder, loaded.folder)
		}
		return loaded.library, nil
	}
	l := &library{folder: folder}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("load llama.cpp from %s: %w", folder, err)
	}
	loaded.library = l
	return l, nil
}

func (l *library) load() error {
	folder, err := l.named()
	if err != nil {
		return err
	}
	if folder != l.folder {
		defer os.RemoveAll(folder)
	}
	base, err := ffi.Load(loader.GetLibraryFilename(folder, "ggml-base"))
	if err != nil {
		return err
	}
	if err := checkVersion(base, "ggml", "ggml_version", GGMLVersion); err != nil {
		return err
	}
	main, err := ffi.Load(loader.GetLibraryFilename(folder, "llama"))
	if err != nil {
		return err
	}
	if err := checkVersion(main, "llama.cpp", "llama_version", Version); err != nil {
		return err
	}
	if err := l.ggml.find(base); err != nil {
		return err
	}
	if err := llama.Load(folder); err != nil {
		return err
	}
	llama.LogSet(logCallback)
	// what computes on each kind of device is a library of its own, which looks for the
	// others by name
	if err := llama.GGMLBackendLoadAllFromPath(l.folder); err != nil {
		return err
	}
	llama.BackendInit()
	l.devices = listDevices()
	if len(l.devices) == 0 {
		return errors.New("there is no library libggml-cpu, nor one for another device")
	}
	return nil
}

// checkVersion calls a function that gives a version as a text and needs no
// structure to do so.
func checkVersion(lib ffi.Lib, what, function, want string) error {
	f, err := lib.Get(function)
	if err != nil {
		return fmt.Errorf("its %s cannot say its version, so it is not version %s, which is needed", what, want)
	}
	text, _, _ := purego.SyscallN(f)
	version := goString(text)
	if release, _, _ := strings.Cut(version, "-"); release != want { // builds of a release may say 0.5.0-dev
		return fmt.Errorf("its %s has version %s; version %s is needed", what, version, want)
	}
	return nil
}

// named returns a folder in which the libraries have the names by which they are
// loaded: their own, or a temporary one with links to them, as packages put versions
// into the names.
func (l *library) named() (string, error) {
	entries, err := os.ReadDir(l.folder)
	if err != nil {
		var failed *fs.PathError
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return "", err
	}
	var missing []string
	links := map[string]string{}
	for _, name := range []string{"ggml-base", "ggml", "llama"} {
		wanted := filepath.Base(loader.GetLibraryFilename("", name))
		if _, err := os.Stat(filepath.Join(l.folder, wanted)); err == nil {
			continue
		}
		versioned := versions(entries, wanted)
		if len(versioned) != 1 {
			missing = append(missing, wanted)
			continue
		}
		links[wanted] = versioned[0]
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("%s is not there", strings.Join(missing, ", "))
	}
	if len(links) == 0 {
		return l.folder, nil
	}
	folder, err := os.MkdirTemp("", "steer-llamacpp-")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		links[e.Name()] = e.Name()
	}
	for name, target := range links {
		if err := os.Symlink(filepath.Join(l.folder, target), filepath.Join(folder, name)); err != nil {
			os.RemoveAll(folder)
			return "", err
		}
	}
	return folder, nil
}

// versions returns the names of files that are a library with a version in its name,
// as libllama.v0.5.0.so is libllama.so.
func versions(entries []os.DirEntry, wanted string) []string {
	extension := filepath.Ext(wanted)
	begin := strings.TrimSuffix(wanted, extension) + "."
	var found []string
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, begin) && filepath.Ext(name) == extension && name != wanted {
			found = append(found, name)
		}
	}
	return found
}

// Device is something that computes: a GPU, or the CPU.
type Device struct {
	Name        string // as llama.cpp has it: CPU, CUDA0, Vulkan0
	Description string // the model of the processor
	GPU         bool
	Free, Total uint64 // bytes of its memory

	handle llama.GGMLBackendDevice
}

func (d Device) String() string {
	return fmt.Sprintf("%s (%s, %.1f GiB)", d.Name, d.Description, float64(d.Total)/(1<<30))
}

// Devices loads the libraries in a folder and returns the devices for which one is
// there, the CPU last. "" is the folder that the variable STEER_LLAMACPP names.
func Devices(folder string) ([]Device, error) {
	l, err := load(folder)
	if err != nil {
		return nil, err
	}
	return slices.Clone(l.devices), nil
}

func listDevices() []Device {
	var gpus, others []Device
	for i := range llama.GGMLBackendDeviceCount() {
		handle := llama.GGMLBackendDeviceGet(i)
		d := Device{Name: llama.GGMLBackendDeviceName(handle), Description: strings.TrimSpace(llama.GGMLBackendDeviceDescription(handle)), handle: handle}
		kind := llama.GGMLBackendDevType(handle)
		d.GPU = kind == llama.GGMLBackendDeviceTypeGPU || kind == llama.GGMLBackendDeviceTypeIGPU
		d.Free, d.Total = llama.GGMLBackendDeviceMemory(handle)
		if d.GPU {
			gpus = append(gpus, d)
		} else {
			others = append(others, d)
		}
	}
	return append(gpus, others...)
}

// ggml is the functions on tensors, which lie on a device or not.
type ggml struct {
	get, set, nelements, nbytes, name, contiguous uintptr

	nameOffset uintptr // of the name in a tensor
	once       sync.Once
}

func (g *ggml) find(base ffi.Lib) error {
	for name, at := range map[string]*uintptr{
		"ggml_backend_tensor_get": &g.get, "ggml_backend_tensor_set": &g.set, "ggml_nelements": &g.nelements,
		"ggml_nbytes": &g.nbytes, "ggml_get_name": &g.name, "ggml_is_contiguous": &g.contiguous,
	} {
		var err error
		if *at, err = base.Get(name); err != nil {
			return fmt.Errorf("its ggml has no function %s", name)
		}
	}
	return nil
}

// tensor is one in a graph that is computed.
type tensor uintptr

// nameOf returns the name of a tensor, in the tensor's memory. It is asked of every
// node of a graph, so the library is asked only once where names lie.
func (g *ggml) nameOf(t tensor) []byte {
	g.once.Do(func() {
		at, _, _ := purego.SyscallN(g.name, uintptr(t))
		g.nameOffset = at - uintptr(t)
	})
	return cString(uintptr(t) + g.nameOffset)
}

// elements returns how many float32 numbers a tensor holds side by side, or 0 where it
// holds something else.
func (g *ggml) elements(t tensor) int {
	n, _, _ := purego.SyscallN(g.nelements, uintptr(t))
	size, _, _ := purego.SyscallN(g.nbytes, uintptr(t))
	side, _, _ := purego.SyscallN(g.contiguous, uintptr(t))
	if size != 4*n || side&1 == 0 {
		return 0
	}
	return int(n)
}

// read copies numbers from the first on out of a tensor.
func (g *ggml) read(t tensor, first int, values []float32) {
	purego.SyscallN(g.get, uintptr(t), uintptr(unsafe.Pointer(unsafe.SliceData(values))), uintptr(4*first), uintptr(4*len(values)))
}

// write copies numbers into a tensor.
func (g *ggml) write(t tensor, first int, values []float32) {
	purego.SyscallN(g.set, uintptr(t), uintptr(unsafe.Pointer(unsafe.SliceData(values))), uintptr(4*first), uintptr(4*len(values)))
}

// cString returns the bytes of a C text where they lie.
func cString(at uintptr) []byte {
	p := *(**byte)(unsafe.Pointer(&at)) // memory of C's, which does not move
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.Slice(p, n)
}

func goString(at uintptr) string {
	if at == 0 {
		return ""
	}
	return string(cString(at))
}

// complaints are the errors that llama.cpp logs, of which it tells its caller nothing.
var complaints struct {
	sync.Mutex
	lines []string
}

// logCallback is a ggml_log_callback. Any thread may call it.
var logCallback = purego.NewCallback(func(level int32, text, _ uintptr) uintptr {
	if llama.LogLevel(level) != llama.LogLevelError || text == 0 {
		return 0
	}
	complaints.Lock()
	defer complaints.Unlock()
	const most = 8
	if line := strings.TrimSpace(goString(text)); line != "" && len(complaints.lines) < most {
		complaints.lines = append(complaints.lines, line)
	}
	return 0
})

// complained calls f and adds to its error what llama.cpp logged meanwhile.
func complained(f func() error) error {
	complaints.Lock()
	complaints.lines = nil
	complaints.Unlock()
	err := f()
	complaints.Lock()
	defer complaints.Unlock()
	if err == nil || len(complaints.lines) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(complaints.lines, "; "))
}

// systemInstructions names the instruction sets for which llama.cpp's CPU library was
// chosen, as avx2+fma.
func systemInstructions() string {
	var sets []string
	for part := range strings.FieldsFuncSeq(llama.PrintSystemInfo(), func(r rune) bool { return r == '|' || r == ':' }) {
		name, value, _ := strings.Cut(part, "=")
		if name = strings.ToLower(strings.TrimSpace(name)); strings.TrimSpace(value) == "1" && name != "" && !slices.Contains(notInstructions, name) {
			sets = append(sets, name)
		}
	}
	if len(sets) == 0 {
		return runtime.GOARCH
	}
	return strings.Join(sets, "+")
}

// notInstructions are the features of a CPU library that are no instruction sets.
var notInstructions = []string{"llamafile", "openmp", "repack", "accelerate"}
