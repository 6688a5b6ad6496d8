package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// registry holds the vectors that requests may name.
type registry struct {
	mu       sync.RWMutex
	vectors  map[string]*named
	uploaded int
}

// named is a vector of the registry. It does not change.
type named struct {
	name     string
	vector   *steer.Vector
	hash     string
	uploaded bool
}

func newRegistry() *registry { return &registry{vectors: map[string]*named{}} }

var (
	errTaken = errors.New("there is a vector of this name")
	errMany  = fmt.Errorf("there are %d uploaded vectors already", maxUploaded)
)

// checkName refuses what does not fit into a model's name, a header or an address.
func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("a name has 1 to %d letters, digits, dots, dashes and underscores", maxName)
	}
	return nil
}

// add takes a vector in under a new name.
func (r *registry) add(name string, v *steer.Vector, uploaded bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	entry := &named{name, v, vectorHash(v), uploaded}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.vectors[name] != nil:
		return errTaken
	case uploaded && r.uploaded >= maxUploaded:
		return errMany
	case uploaded:
		r.uploaded++
	}
	r.vectors[name] = entry
	return nil
}

// find returns the vector of a name, which stands at a path of a request.
func (r *registry) find(name, path string) (*named, *problem) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if v := r.vectors[name]; v != nil {
		return v, nil
	}
	p := invalid(path, "there is no vector %q; GET /v1/vectors lists those there are", name)
	p.code = "vector_not_found"
	return nil, p
}

// all returns the vectors by name.
func (r *registry) all() (list []*named) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(r.vectors)) {
		list = append(list, r.vectors[name])
	}
	return list
}

// remove takes an uploaded vector out. Texts that are steered by it go on.
func (r *registry) remove(name string) *problem {
	v, p := r.find(name, "")
	if p != nil {
		p.status = http.StatusNotFound
		return p
	}
	if !v.uploaded {
		return &problem{status: http.StatusForbidden, kind: "invalid_request_error", code: "vector_fixed", message: "the server was started with this vector"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.vectors[name] == v {
		delete(r.vectors, name)
		r.uploaded--
	}
	return nil
}

// vectorHash is of what a vector does: its site, rank and layers.
func vectorHash(v *steer.Vector) string {
	digest := sha256.New()
	fmt.Fprintf(digest, "%s %d\n", v.Site, max(v.Rank, 1))
	for _, layer := range slices.Sorted(maps.Keys(v.Layers)) {
		fmt.Fprintf(digest, "%d %d\n", layer, len(v.Layers[layer]))
		binary.Write(digest, binary.LittleEndian, v.Layers[layer]) // a hash takes everything
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}

// described is a vector as answers tell of it.
type described struct {
	ID              string                     `json:"id"`
	Object          string                     `json:"object"`
	Hash            string                     `json:"hash"`
	LayerType       lm.Site                    `json:"layer_type"`
	Rank            int                        `json:"rank"`
	Layers          []int                      `json:"layers"`
	Norms           map[int]float64            `json:"norms"`
	ActivationNorms map[int]float64            `json:"activation_norms,omitempty"`
	Operator        string                     `json:"operator"`
	Calibration     *steer.Calibration         `json:"calibration,omitempty"`
	Model           string                     `json:"model,omitempty"` // that it was trained on
	Aggregator      string                     `json:"aggregator,omitempty"`
	Read            string                     `json:"read,omitempty"`
	Uploaded        bool                       `json:"uploaded"`
	Cosines         map[string]map[int]float64 `json:"cosines,omitempty"` // with other vectors, by layer
}

func describe(n *named) described {
	v := n.vector
	d := described{
		ID: n.name, Object: "vector", Hash: n.hash, LayerType: v.Site, Rank: max(v.Rank, 1), Layers: slices.Sorted(maps.Keys(v.Layers)), Norms: v.Norms(),
		ActivationNorms: v.ActivationNorms, Operator: v.Operator, Calibration: v.Calibration, Model: v.Provenance.Model, Aggregator: v.Provenance.Aggregator,
		Read: v.Provenance.Read, Uploaded: n.uploaded,
	}
	if d.LayerType == "" {
		d.LayerType = lm.DecoderBlock
	}
	if d.Operator == "" {
		d.Operator = steer.Add().Name()
	}
	return d
}

func (s *Server) listVectors(w http.ResponseWriter, _ *http.Request) {
	list := []described{}
	for _, v := range s.registry.all() {
		list = append(list, describe(v))
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

// getVector describes one vector, with the angles that it makes with the others.
func (s *Server) getVector(w http.ResponseWriter, r *http.Request) {
	v, p := s.registry.find(r.PathValue("name"), "")
	if p != nil {
		p.status = http.StatusNotFound
		p.write(w)
		return
	}
	d := describe(v)
	d.Cosines = map[string]map[int]float64{}
	for _, other := range s.registry.all() {
		if other.name == v.name {
			continue
		}
		if cosines, err := v.vector.Cosine(other.vector); err == nil { // others live in another place
			d.Cosines[other.name] = cosines
		}
	}
	writeJSON(w, http.StatusOK, d)
}

func (s *Server) removeVector(w http.ResponseWriter, r *http.Request) {
	if p := s.registry.remove(r.PathValue("name")); p != nil {
		p.write(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"id": r.PathValue("name"), "object": "vector.deleted", "deleted": true})
}

// vectorFile gives a vector as a file that every command reads.
func (s *Server) vectorFile(w http.ResponseWriter, r *http.Request) {
	v, p := s.registry.find(r.PathValue("name"), "")
	if p != nil {
		p.status = http.StatusNotFound
		p.write(w)
		return
	}
	data, err := throughFile(func(path string) ([]byte, error) {
		if err := v.vector.Save(path); err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	})
	if err != nil {
		failed("write the vector: %v", err).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", v.name+".safetensors"))
	_, _ = w.Write(data)
}

// throughFile lets vectors, which are read and written as files, pass through one
// that nobody else names.
func throughFile[T any](use func(path string) (T, error)) (T, error) {
	dir, err := os.MkdirTemp("", "steer-serve")
	if err != nil {
		var none T
		return none, err
	}
	defer os.RemoveAll(dir)
	return use(filepath.Join(dir, "vector.safetensors"))
}

// newVector is the body of a request for a vector: pairs to train it on, or a file.
type newVector struct {
	Name       string          `json:"name"`
	Data       string          `json:"data"`  // a vector's file as base64; or
	Pairs      json.RawMessage `json:"pairs"` // as a file of pairs has them
	Layers     json.RawMessage `json:"layers"`
	LayerType  lm.Site         `json:"layer_type"`
	Aggregator string          `json:"aggregator"`
	Read       string          `json:"read"`
	Stream     bool            `json:"stream"`
}

// addVector takes in a vector, which it trains or is given.
func (s *Server) addVector(w http.ResponseWriter, r *http.Request) {
	if !s.opts.AllowUpload {
		(&problem{status: http.StatusForbidden, kind: "invalid_request_error", code: "uploads_not_allowed", message: "the server takes no vectors; it can be started with --allow-upload"}).write(w)
		return
	}
	body, p := s.readBody(w, r)
	if p != nil {
		p.write(w)
		return
	}
	var request newVector
	if p = decodeObject(body, &request, ""); p == nil {
		p = s.checkNewVector(&request)
	}
	if p != nil {
		p.write(w)
		return
	}
	if request.Data != "" {
		v, p := s.uploaded(&request)
		if p == nil {
			p = s.take(request.Name, v)
		}
		s.answerVector(w, request.Name, p)
		return
	}
	s.train(w, r, &request)
}

func (s *Server) checkNewVector(request *newVector) *problem {
	if err := checkName(request.Name); err != nil {
		return invalid("name", "%v", err)
	}
	if _, p := s.registry.find(request.Name, ""); p == nil {
		return taken(errTaken)
	}
	if (request.Data != "") == !isNull(request.Pairs) {
		return invalid("", "a vector is made of pairs or of data; give one of them")
	}
	return nil
}

func taken(err error) *problem {
	return &problem{status: http.StatusConflict, kind: "invalid_request_error", param: "name", code: "vector_exists", message: err.Error()}
}

// take keeps a vector that fits the model.
func (s *Server) take(name string, v *steer.Vector) *problem {
	edit, err := v.Edit(1)
	if err == nil {
		_, err = v.Check(s.model, edit)
	}
	if err != nil {
		return invalid("", "the vector does not fit the model: %v", err)
	}
	if err := s.registry.add(name, v, true); err != nil {
		return taken(err)
	}
	return nil
}

func (s *Server) answerVector(w http.ResponseWriter, name string, p *problem) {
	if p != nil {
		p.write(w)
		return
	}
	v, p := s.registry.find(name, "name")
	if p != nil { // it was removed at once
		p.write(w)
		return
	}
	writeJSON(w, http.StatusOK, describe(v))
}

// uploaded reads the vector that a request brings along.
func (s *Server) uploaded(request *newVector) (*steer.Vector, *problem) {
	data, err := base64.StdEncoding.DecodeString(request.Data)
	if err != nil {
		return nil, invalid("data", "it is not base64: %v", err)
	}
	v, err := throughFile(func(path string) (*steer.Vector, error) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return nil, err
		}
		v, err := steer.LoadVector(path)
		if err != nil {
			return nil, errors.New(withoutPath(err.Error(), path))
		}
		return v, nil
	})
	if err != nil {
		return nil, invalid("data", "%v", err)
	}
	return v, nil
}

// withoutPath leaves out of an error what is of the server alone.
func withoutPath(text, path string) string {
	return string(bytes.ReplaceAll([]byte(text), []byte(path), []byte("the file")))
}

// train makes a vector of pairs. One is trained at a time, beside those who write.
func (s *Server) train(w http.ResponseWriter, r *http.Request, request *newVector) {
	samples, opts, p := s.trainOptions(request)
	if p != nil {
		p.write(w)
		return
	}
	select {
	case s.training <- struct{}{}:
		defer func() { <-s.training }()
	default:
		overloaded("another vector is being trained").write(w)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.lifetime, cancel)()
	if !request.Stream {
		v, p := s.trained(ctx, samples, opts)
		if p == nil {
			p = s.take(request.Name, v)
		}
		s.answerVector(w, request.Name, p)
		return
	}
	out := newStream(w)
	type progress struct {
		Done  int `json:"done"`
		Total int `json:"total"`
	}
	told := make(chan progress, 1)
	opts.Progress = func(done, total int) {
		select {
		case told <- progress{done, total}:
		default: // the client has not read the last one
		}
	}
	type result struct {
		vector *steer.Vector
		p      *problem
	}
	ended := make(chan result, 1)
	go func() {
		v, p := s.trained(ctx, samples, opts)
		ended <- result{v, p}
	}()
	for {
		select {
		case p := <-told:
			if out.send(map[string]any{"progress": p}) != nil {
				cancel()
			}
		case <-out.silence.C:
			if out.ping() != nil {
				cancel()
			}
		case end := <-ended:
			p := end.p
			if p == nil {
				p = s.take(request.Name, end.vector)
			}
			if p == nil {
				var v *named
				if v, p = s.registry.find(request.Name, "name"); p == nil {
					_ = out.send(map[string]any{"vector": describe(v)})
				}
			}
			out.end(p)
			return
		}
	}
}

// trained trains a vector.
func (s *Server) trained(ctx context.Context, samples []steer.Sample, opts steer.TrainOptions) (*steer.Vector, *problem) {
	v, err := steer.Train(ctx, s.model, samples, opts)
	wrong := (*steer.SampleError)(nil)
	switch {
	case err == nil:
		return v, nil
	case errors.As(err, &wrong):
		return nil, invalid(at("pairs", wrong.Sample), "the %s prompt: %v", wrong.Side, wrong.Err)
	case s.lifetime.Err() != nil:
		return nil, overloaded("%v", errEnding)
	}
	return nil, invalid("", "%v", err)
}

// trainOptions reads what is to be trained.
func (s *Server) trainOptions(request *newVector) ([]steer.Sample, steer.TrainOptions, *problem) {
	opts := steer.TrainOptions{Site: request.LayerType, RunTokens: s.opts.RunTokens}
	fail := func(p *problem) ([]steer.Sample, steer.TrainOptions, *problem) { return nil, opts, p }
	file, err := pairs.Read(io.Reader(bytes.NewReader(request.Pairs)), "pairs")
	if err != nil {
		return fail(invalid("pairs", "%v", err))
	}
	if n := len(file.Samples); n == 0 || n > maxPairs {
		return fail(invalid("pairs", "there are %d; a vector is trained on 1 to %d", n, maxPairs))
	}
	opts.Read = file.Read
	if request.Read != "" {
		if opts.Read, err = steer.ParseReading(request.Read); err != nil {
			return fail(invalid("read", "%v", err))
		}
	}
	if request.Aggregator != "" {
		if opts.Aggregator, err = steer.ParseAggregator(request.Aggregator); err != nil {
			return fail(invalid("aggregator", "%v", err))
		}
	}
	layers, p := parseLayers(request.Layers, "layers")
	if p != nil {
		return fail(p)
	}
	if opts.Layers, err = layers.Of(s.model); err != nil {
		return fail(invalid("layers", "%v", err))
	}
	return file.Samples, opts, nil
}
