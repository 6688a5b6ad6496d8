package llamacpp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
)

// maxSequences is how many sequences a context of llama.cpp's can have.
const maxSequences = 256

// Options say where llama.cpp is and what it computes on.
type Options struct {
	Libraries string // folder of its shared libraries; "": the variable STEER_LLAMACPP names it
	GPULayers int    // how many layers lie on the GPU, from the last one on; [AllLayers]: all
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
	device       string
	gpu          bool
	vocabulary   int // as llama.cpp counts it
	batchOutputs int // rows of a batch that can have outputs
	architecture string
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
	file, ok := source.(interface{ File() (string, bool) })
	if !ok {
		return nil, errors.New("no file")
	}
	path, _ := file.File()
	m := &Model{library: l, dtype: dtype}
	var err error
	if m.decoder, err = arch.Parse(source.Config()); err != nil {
		return nil, err
	}
	params := llama.ModelDefaultParams()
	var devices []llama.GGMLBackendDevice
	var names []string
	if o.GPULayers != 0 {
		for _, d := range l.devices {
			if d.GPU {
				devices = append(devices, d.handle)
				names = append(names, d.Name)
			}
		}
	}
	m.gpu = len(devices) > 0
	params.NGpuLayers = 0
	if m.gpu {
		params.NGpuLayers = int32(o.GPULayers)
		if o.GPULayers < 0 {
			params.NGpuLayers = 1 << 20
		}
	}
	devices = append(devices, 0) // a list without an entry is none, and no list is all
	if err := params.SetDevices(devices); err != nil {
		return nil, err
	}
	m.native = &nativeModel{}
	err = complained(func() (err error) {
		m.native.handle, err = llama.ModelLoadFromFile(path, params)
		return err
	})
	runtime.KeepAlive(devices)
	if err != nil {
		return nil, fmt.Errorf("llama.cpp does not load %s: %w", path, err)
	}
	m.native.users.Store(1)
	runtime.AddCleanup(m, (*nativeModel).release, m.native)
	m.vocabulary = int(llama.VocabNTokens(llama.ModelGetVocab(m.native.handle)))
	m.batchOutputs = min(batchRows, max(16, outputBytes/4/m.vocabulary))
	m.architecture, _ = llama.ModelMetaValStr(m.native.handle, "general.architecture")
	return m, nil
}

// Decoder returns the description of the model.
func (m *Model) Decoder() *arch.Decoder { return m.decoder }

// Description names llama.cpp's version and device.
func (m *Model) Description() engine.Description {
	return engine.Description{Name: "llama.cpp " + Version}
}

// Check returns an error where the graph of the model does not name the site.
func (m *Model) Check(layer int, site arch.Site, _ engine.Operator) error {
	_, err := m.node(layer, site)
	return err
}

func (m *Model) node(layer int, site arch.Site) (string, error) {
	return fmt.Sprintf("%s-%d", map[arch.Site]string{arch.DecoderBlock: "l_out"}[site], layer), nil
}

func (m *Model) fits(cells int) error { return nil }

func (m *Model) contextParams(cells int, watch uintptr) llama.ContextParams {
	p := llama.ContextDefaultParams()
	p.NCtx, p.NBatch, p.NUbatch, p.NSeqMax = uint32(cells), batchRows, batchRows, maxSequences
	p.NOutputsMax = uint32(m.batchOutputs)
	p.NThreads, p.NThreadsBatch = int32(runtime.GOMAXPROCS(0)), int32(runtime.GOMAXPROCS(0))
	p.KVUnified, p.SwaFull, p.NoPerf = 1, 1, 1
	p.CbEval, p.CbEvalUserData = evalCallback, watch
	p.AbortCallback, p.AbortCallbackData = abortCallback, watch
	if !m.gpu {
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

func (m *Model) addsItself(e engine.Edit) bool {
	return e.Site == arch.DecoderBlock && e.Layer > 0 && e.Acts == nil && (e.Scale == 0 || e.Scale == 1) && e.Operator.Name() == "add"
}
