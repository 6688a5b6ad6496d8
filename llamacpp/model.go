package llamacpp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/checkpoint/translate"
	"github.com/steervec/steer/lm/engine"
)

const (
	maxSequences   = 256 // of a context of llama.cpp's
	spareSequences = 64  // for tokens that are computed once more
	spareStates    = 8   // the same, where sequences have states
)

// Options say where llama.cpp is and what it computes on.
type Options struct {
	Libraries string // folder of its shared libraries; "": the variable STEER_LLAMACPP names it
	GPULayers int    // how many layers lie on the GPU, from the last one on; [AllLayers]: all

	Note func(text string) // is told what the user should know; nil: nobody
}

// AllLayers puts a model on the GPU as a whole.
const AllLayers = -1

// Open returns what opens models on llama.cpp.
func Open(o Options) engine.Opener {
	return func(ctx context.Context, source engine.Source, dtype engine.DType) (engine.Engine, error) {
		l, err := load(o.Libraries)
		if err != nil {
			return nil, err
		}
		return l.open(ctx, source, dtype, o)
	}
}

// Model is a model that llama.cpp has loaded.
type Model struct {
	library      *library
	native       *nativeModel
	decoder      *arch.Decoder
	dtype        engine.DType
	devices      []Device // that layers lie on, beside the CPU
	layers       int      // that lie there
	architecture string
	vocabulary   int // as llama.cpp counts it
	batchOutputs int // rows of a batch that may have outputs
	sites        map[address]string
	stateful     bool
	windows      bool
	window       int // that the model has and llama.cpp does not know of; 0: none

	controlled   sync.Once
	equalControl bool // control vectors are what edits in the callback are
}

// nativeModel is freed when nobody uses it: the model and its contexts, in whatever
// order they are found to be out of use.
type nativeModel struct {
	handle llama.Model
	users  atomic.Int32
}

func (n *nativeModel) release() {
	if n.users.Add(-1) == 0 {
		llama.ModelFree(n.handle)
	}
}

func (l *library) open(ctx context.Context, source engine.Source, dtype engine.DType, o Options) (*Model, error) {
	decoder, err := describe(source)
	if err != nil {
		return nil, err
	}
	path, done, err := fileOf(ctx, source, dtype, o.Note)
	if err != nil {
		return nil, err
	}
	defer done()
	m := &Model{library: l, decoder: decoder, dtype: dtype}
	if o.GPULayers != 0 {
		m.devices = gpus(l.devices)
	}
	_, isFile := sourceFile(source)
	if err := m.load(path, o.GPULayers, isFile); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if err := m.look(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// describe is the decoder that a source's config describes, or as much as is known of
// one of another architecture.
func describe(source engine.Source) (*arch.Decoder, error) {
	decoder, err := arch.Parse(source.Config())
	if err == nil {
		return decoder, nil
	}
	if outline, other := arch.Outline(source.Config()); other == nil {
		return outline, nil
	}
	return nil, err
}

// fileOf returns the GGUF file of a source, and what is to be done when it is loaded.
// Another checkpoint is converted into a temporary file.
func fileOf(ctx context.Context, source engine.Source, dtype engine.DType, note func(string)) (path string, done func(), err error) {
	if path, ok := sourceFile(source); ok {
		return path, func() {}, nil
	}
	from, is := source.(translate.Source)
	if !is {
		return "", nil, errors.New("llama.cpp reads GGUF files, and what has none cannot be made one")
	}
	fail := func(err error) (string, func(), error) {
		return "", nil, fmt.Errorf("make a GGUF file for llama.cpp: %w", err)
	}
	kind := storedAs(from)
	if dtype == engine.Float32 {
		kind = gguf.F32
	}
	plan, err := translate.NewPlan(from, kind)
	if err != nil {
		return fail(err)
	}
	file, err := os.CreateTemp("", "steer-*.gguf")
	if err != nil {
		return fail(err)
	}
	remove := func() { os.Remove(file.Name()) }
	buffer := bufio.NewWriterSize(file, 1<<20)
	if err := errors.Join(plan.Write(ctx, buffer), buffer.Flush(), file.Close()); err != nil {
		remove()
		return fail(err)
	}
	if note != nil {
		note(fmt.Sprintf("llama.cpp reads GGUF files: the model is converted to one of %s matrices, in a temporary file", kind))
	}
	return file.Name(), remove, nil
}

// sourceFile returns the GGUF file that a source is, where it is one.
func sourceFile(source engine.Source) (path string, ok bool) {
	if filed, is := source.(engine.Filed); is {
		return filed.File()
	}
	return "", false
}

// storedAs returns the type of plain numbers in which a checkpoint's matrices are.
func storedAs(from translate.Source) gguf.Type {
	for _, name := range from.Names() {
		if t, ok := from.Tensor(name); ok && len(t.Shape) > 1 {
			switch t.DType {
			case safetensors.BF16:
				return gguf.BF16
			case safetensors.F16:
				return gguf.F16
			}
			break
		}
	}
	return gguf.F32
}

func gpus(devices []Device) []Device {
	var found []Device
	for _, d := range devices {
		if d.GPU {
			found = append(found, d)
		}
	}
	return found
}

// load reads the file, with so many layers on the GPUs; fewer than none: all. One that
// does not stay is read, and not mapped: Windows removes no file that is.
func (m *Model) load(path string, layers int, stays bool) error {
	params := llama.ModelDefaultParams()
	params.SetCPUOnly()
	if !stays {
		params.LoadMode = llama.LoadModeNone
	}
	if len(m.devices) > 0 {
		if params.NGpuLayers = int32(layers); layers < 0 {
			params.NGpuLayers = math.MaxInt32
		}
	}
	handles := make([]llama.GGMLBackendDevice, 0, len(m.devices)+1)
	for _, d := range m.devices {
		handles = append(handles, d.handle)
	}
	handles = append(handles, 0) // a list with nothing in it means none, where no list would mean all
	if err := params.SetDevices(handles); err != nil {
		return err
	}
	m.native = &nativeModel{}
	err := complained(func() (err error) {
		m.native.handle, err = llama.ModelLoadFromFile(path, params)
		return err
	})
	runtime.KeepAlive(handles)
	if err != nil {
		return fmt.Errorf("llama.cpp does not load %s: %w", path, err)
	}
	m.native.users.Store(1)
	runtime.AddCleanup(m, (*nativeModel).release, m.native)
	m.architecture, _ = llama.ModelMetaValStr(m.native.handle, "general.architecture")
	m.vocabulary = int(llama.VocabNTokens(llama.ModelGetVocab(m.native.handle)))
	m.batchOutputs = min(batchRows, max(16, outputBytes/4/m.vocabulary))
	if m.layers = len(m.decoder.Blocks); layers >= 0 {
		m.layers = min(m.layers, layers)
	}
	return nil
}

// check returns an error where what is loaded is no decoder, or not the one that is
// described.
func (m *Model) check() error {
	h := m.native.handle
	layers := int(llama.ModelNLayer(h))
	switch {
	case llama.ModelHasEncoder(h) || !llama.ModelHasDecoder(h) || llama.ModelIsDiffusion(h):
		return fmt.Errorf("%s is no decoder that writes one token after the other", m.architecture)
	case layers != len(m.decoder.Blocks):
		return fmt.Errorf("llama.cpp counts %d layers, and the file describes %d", layers, len(m.decoder.Blocks))
	case m.decoder.Streams != nil: // which lie one after the other there, and side by side here
		return fmt.Errorf("a %s has several residual streams, which this engine does not read", m.decoder.Family)
	case int(llama.ModelNEmbd(h)) != m.decoder.Hidden:
		return fmt.Errorf("llama.cpp counts a hidden size of %d, and the file describes %d", llama.ModelNEmbd(h), m.decoder.Hidden)
	case m.vocabulary < m.decoder.Vocabulary:
		return fmt.Errorf("llama.cpp counts %d tokens, and the file describes %d", m.vocabulary, m.decoder.Vocabulary)
	}
	m.stateful = llama.ModelIsRecurrent(h) || llama.ModelIsHybrid(h)
	if m.stateful && m.decoder.StateWeight() == 0 {
		return fmt.Errorf("llama.cpp's %s keeps states, and it is not described here where they are", m.architecture)
	}
	if m.windows = llama.ModelNSWA(h) > 0; !m.windows {
		for _, b := range m.decoder.Passed() {
			if w := max(b.Attention.Window, b.Attention.Chunk); w > 0 && (m.window == 0 || w < m.window) {
				m.window = w
			}
		}
	}
	return nil
}

// checkLength returns an error where llama.cpp does not compute a sequence of so many
// tokens as the model is described.
func (m *Model) checkLength(tokens int) error {
	switch {
	case m.window > 0 && tokens > m.window:
		return fmt.Errorf("a sequence of %d tokens: the model has a window of %d, and llama.cpp's %s has none", tokens, m.window, m.architecture)
	case m.decoder.RopeVariant(tokens) != 0:
		return fmt.Errorf("a sequence of %d tokens: the model's positions are scaled for it, and llama.cpp scales those of all sequences or of none", tokens)
	}
	return nil
}

// Decoder returns the description of the model: of an architecture that is not known
// here, an outline.
func (m *Model) Decoder() *arch.Decoder { return m.decoder }

// Description names llama.cpp's version, the numbers of keys and values, and the
// devices.
func (m *Model) Description() engine.Description {
	d := engine.Description{Name: "llama.cpp " + Version, Parameters: int(llama.ModelNParams(m.native.handle))}
	if d.DType = "f16 cache, flash attention where it can be"; m.dtype == engine.Float32 {
		d.DType = "f32 cache, no flash attention"
	}
	d.Instructions = "CPU " + systemInstructions()
	if len(m.devices) > 0 && m.layers > 0 {
		var names []string
		for _, device := range m.devices {
			names = append(names, fmt.Sprintf("%s %s", device.Name, device.Description))
		}
		d.Instructions = fmt.Sprintf("%d layers on %s; %s", m.layers, strings.Join(names, ", "), d.Instructions)
	}
	return d
}

// Limits says that runs begin at the first block, and how many paths a session keeps:
// some sequences are for tokens that are computed once more.
func (m *Model) Limits() engine.Limits { return engine.Limits{Ends: maxSequences - spareSequences} }

// sequences returns how many a session of so many states has. A state is memory
// whether it is used or not.
func (m *Model) sequences(states int) int {
	if m.stateful {
		return (states + spareStates + 7) / 8 * 8
	}
	return maxSequences
}

// Check returns an error where the graph of the model does not name the site. Edits are
// rows of numbers here as elsewhere, so every operator is possible.
func (m *Model) Check(layer int, site arch.Site, _ engine.Operator) error {
	_, err := m.node(layer, site)
	return err
}

// fits returns an error where a context of so many tokens would not fit into memory.
func (m *Model) fits(cells int) error {
	need := m.cellBytes() * uint64(cells)
	devices := m.devices
	if len(devices) == 0 || m.layers < len(m.decoder.Blocks) {
		devices = m.library.devices
	}
	var free uint64
	for _, d := range devices {
		available, _ := llama.GGMLBackendDeviceMemory(d.handle)
		free += available
	}
	if need > free {
		return fmt.Errorf("keys and values of %d tokens need %.1f GiB, and %.1f GiB of memory are free", cells, float64(need)/(1<<30), float64(free)/(1<<30))
	}
	return nil
}

// cellBytes returns how many bytes the keys and values of a token take.
func (m *Model) cellBytes() uint64 {
	h := m.native.handle
	size := m.decoder.Hidden / max(1, int(llama.ModelNHead(h)))
	elements := 0
	for i := range m.decoder.Blocks {
		if a := &m.decoder.Blocks[i].Attention; a.KVHeads > 0 {
			elements += 2 * a.KVHeads * a.HeadSize
		} else {
			elements += 2 * int(llama.ModelNHeadKV(h)) * size
		}
	}
	if m.dtype == engine.Float32 {
		return 4 * uint64(elements)
	}
	return 2 * uint64(elements)
}

func (m *Model) contextParams(cells, sequences int, watch uintptr) llama.ContextParams {
	p := llama.ContextDefaultParams()
	p.NCtx, p.NBatch, p.NUbatch, p.NSeqMax = uint32(cells), batchRows, batchRows, uint32(sequences)
	p.NOutputsMax = uint32(m.batchOutputs)
	p.NThreads, p.NThreadsBatch = int32(runtime.GOMAXPROCS(0)), int32(runtime.GOMAXPROCS(0))
	p.KVUnified = 1 // one memory, whose cells belong to any number of sequences
	p.SwaFull = 1   // paths may part before the last window
	p.NoPerf = 1
	p.CbEval, p.CbEvalUserData = evalCallback, watch
	p.AbortCallback, p.AbortCallbackData = abortCallback, watch
	if len(m.devices) == 0 {
		p.Offload_kqv, p.OpOffload = 0, 0
	}
	if m.dtype == engine.Float32 {
		p.TypeK, p.TypeV = llama.GGMLTypeF32, llama.GGMLTypeF32
		p.FlashAttentionType = llama.FlashAttentionTypeDisabled
	}
	return p
}

// outputs says which rows of a run the last layer computes to its end.
func (m *Model) outputs(run *engine.Run) []bool {
	out := make([]bool, len(run.Tokens))
	if run.Logits != nil {
		for _, row := range run.LogitRows {
			out[row] = true
		}
	}
	for _, t := range run.Taps {
		if t.Layer == len(m.decoder.Blocks)-1 {
			for _, row := range t.Rows {
				out[row] = true
			}
		}
	}
	return out
}
