package steer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// A file of statistics is a safetensors file of bytes: the samples' ids, sorted;
// the sums of the activations' lengths; and for each layer the accumulator's own
// binary form. Equal statistics give equal bytes.
const (
	statisticsKey  = "steer.statistics" // metadata: a statisticsHeader
	checksumKey    = "steer.checksum"   // metadata: a digest of everything else
	samplesTensor  = "samples"          // [samples, 32]
	normsTensor    = "norms"
	layerTensor    = "layer." // and the layer
	statisticsForm = 1        // version of the format
)

type statisticsHeader struct {
	Format int `json:"format"`
	origin
	Usage   lm.Usage `json:"usage"`
	Prompts int      `json:"prompts"` // of the samples
	Shards  Shards   `json:"shards"`
	Rendering
}

// Save writes the statistics as a safetensors file, beside path and renamed.
func (s *Statistics) Save(path string) error {
	tensors, metadata, err := s.file()
	if err != nil {
		return fmt.Errorf("write statistics %s: %w", path, err)
	}
	return safetensors.Write(path, tensors, metadata)
}

// MarshalBinary returns the bytes that [Statistics.Save] writes, to be sent to
// whoever merges them; [ParseStatistics] reads them.
func (s *Statistics) MarshalBinary() ([]byte, error) {
	tensors, metadata, err := s.file()
	if err != nil {
		return nil, fmt.Errorf("write statistics: %w", err)
	}
	return safetensors.Encode(tensors, metadata)
}

// file returns what a file of the statistics holds.
func (s *Statistics) file() ([]safetensors.Tensor, map[string]string, error) {
	header, err := json.Marshal(statisticsHeader{statisticsForm, s.from, s.Usage, s.prompts, s.shards, s.Rendering})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(s.samples, func(a, b sampleID) int { return bytes.Compare(a[:], b[:]) })
	samples := make([]byte, 0, len(s.samples)*len(sampleID{}))
	for _, id := range s.samples {
		samples = append(samples, id[:]...)
	}
	norms, err := s.norms.AppendTo(nil)
	if err != nil {
		return nil, nil, err
	}
	tensors := []safetensors.Tensor{bytesTensor(samplesTensor, samples), bytesTensor(normsTensor, norms)}
	for i, layer := range s.from.Layers {
		data, err := s.accumulators[i].MarshalBinary()
		if err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", layer, err)
		}
		tensors = append(tensors, bytesTensor(layerTensor+strconv.Itoa(layer), data))
	}
	metadata := map[string]string{statisticsKey: string(header)}
	metadata[checksumKey] = checksum(metadata, slices.Clone(tensors))
	return tensors, metadata, nil
}

func bytesTensor(name string, data []byte) safetensors.Tensor {
	return safetensors.Tensor{Name: name, DType: safetensors.U8, Shape: []int{len(data)}, Data: data}
}

// checksum is a digest of a file's metadata, but for itself, and of its tensors.
func checksum(metadata map[string]string, tensors []safetensors.Tensor) string {
	digest := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if key != checksumKey {
			fmt.Fprintf(digest, "%q %q\n", key, metadata[key])
		}
	}
	slices.SortFunc(tensors, func(a, b safetensors.Tensor) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range tensors {
		fmt.Fprintf(digest, "%q %q %d\n", t.Name, t.DType, t.Shape)
		digest.Write(t.Data)
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}

// LoadStatistics reads a file that [Statistics.Save] or a run with
// [TrainOptions.State] wrote. The aggregator is found by its name: among those
// given, which is needed for one of a function, or else by [ParseAggregator].
func LoadStatistics(path string, aggregators ...Aggregator) (*Statistics, error) {
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	s, err := parseStatistics(file, aggregators)
	if err != nil {
		return nil, fmt.Errorf("read statistics %s: %w", path, err)
	}
	return s, nil
}

// ParseStatistics reads what [Statistics.MarshalBinary] gave, as [LoadStatistics]
// reads a file.
func ParseStatistics(data []byte, aggregators ...Aggregator) (*Statistics, error) {
	file, err := safetensors.Parse("statistics", data)
	if err != nil {
		return nil, err
	}
	s, err := parseStatistics(file, aggregators)
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	return s, nil
}

func parseStatistics(file *safetensors.File, aggregators []Aggregator) (*Statistics, error) {
	metadata := file.Metadata()
	if metadata[statisticsKey] == "" {
		return nil, errNotStatistics
	}
	var tensors []safetensors.Tensor
	byName := map[string][]byte{}
	for _, name := range file.Names() {
		t, _ := file.Tensor(name)
		tensors = append(tensors, t)
		byName[name] = t.Data
	}
	if checksum(metadata, tensors) != metadata[checksumKey] {
		return nil, errors.New("the file is damaged: its content is not that of its checksum")
	}
	header := statisticsHeader{}
	decoder := json.NewDecoder(bytes.NewReader([]byte(metadata[statisticsKey])))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&header); err != nil {
		return nil, fmt.Errorf("%s: %w", statisticsKey, err)
	}
	if header.Format != statisticsForm {
		return nil, fmt.Errorf("the file has format %d; this version of steer reads %d", header.Format, statisticsForm)
	}
	if err := errors.Join(header.check(), header.Shards.Check()); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(aggregators, func(a Aggregator) bool { return a.Name() == header.Aggregator })
	var aggregator Aggregator
	if at >= 0 {
		aggregator = aggregators[at]
	} else {
		var err error
		if aggregator, err = ParseAggregator(header.Aggregator); err != nil {
			return nil, err
		}
		if aggregator.Name() != header.Aggregator {
			return nil, fmt.Errorf("aggregator %q is not known", header.Aggregator)
		}
	}
	s := newStatistics(header.origin, aggregator)
	s.Usage, s.prompts, s.shards, s.Rendering = header.Usage, header.Prompts, header.Shards, header.Rendering
	ids := byName[samplesTensor]
	if len(ids)%len(sampleID{}) != 0 || len(ids) == 0 {
		return nil, fmt.Errorf("tensor %q of %d bytes is no list of samples", samplesTensor, len(ids))
	}
	for id := range slices.Chunk(ids, len(sampleID{})) {
		s.samples = append(s.samples, sampleID(id))
	}
	if err := s.norms.Read(byName[normsTensor]); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", normsTensor, err)
	}
	for i, layer := range header.Layers {
		if err := s.accumulators[i].UnmarshalBinary(byName[layerTensor+strconv.Itoa(layer)]); err != nil {
			return nil, fmt.Errorf("layer %d: %w", layer, err)
		}
		if n := s.accumulators[i].Samples(); n != len(s.samples) {
			return nil, fmt.Errorf("layer %d holds %d samples where %d are named", layer, n, len(s.samples))
		}
	}
	if n := len(s.samples); s.prompts < n || s.prompts > 2*n {
		return nil, fmt.Errorf("%d samples are said to have %d prompts", n, s.prompts)
	}
	if extra := len(byName) - 2 - len(header.Layers); extra != 0 {
		return nil, errors.New("there are tensors in it that are not of statistics")
	}
	return s, nil
}

var errNotStatistics = errors.New("it holds no statistics of a training run")

// check refuses layers and widths that no model has.
func (o *origin) check() error {
	if len(o.Layers) == 0 || len(o.Layers) != len(o.Widths) {
		return fmt.Errorf("%d layers have %d widths", len(o.Layers), len(o.Widths))
	}
	for i, layer := range o.Layers {
		if layer < 0 || i > 0 && layer <= o.Layers[i-1] {
			return fmt.Errorf("the layers %v are not ascending from 0", o.Layers)
		}
		if width := o.Widths[i]; width < 1 || width > 1<<24 {
			return fmt.Errorf("layer %d is said to be %d wide", layer, width)
		}
	}
	return nil
}

// checkState refuses a path at which something lies that a run's statistics must
// not take the place of.
func checkState(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file: the statistics of a run cannot be kept there", path)
	}
	file, err := safetensors.Open(path)
	if err == nil {
		defer file.Close()
		if file.Metadata()[statisticsKey] != "" {
			return nil
		}
		err = errNotStatistics
	}
	return fmt.Errorf("%s is there and would be replaced by the statistics of this run: %w; remove it or name another file", path, err)
}
