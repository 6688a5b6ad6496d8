package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/pairs"
)

// Part is what a shard of an evaluation measured, with all that rows are made of
// besides, so that the parts of several machines are summed up without model and data.
type Part struct {
	Format     string          `json:"format"`  // PartFormat
	Version    string          `json:"version"` // of steer
	Shard      steer.Shard     `json:"shard"`
	Model      ModelInfo       `json:"model"`
	Data       DataInfo        `json:"data"` // what is asked
	Text       DataInfo        `json:"text"` // on which the cost is measured
	Chat       bool            `json:"chat"`
	TextTokens int             `json:"text_tokens"`
	Seed       uint64          `json:"seed"`
	Resamples  int             `json:"resamples"`
	Generate   *Generate       `json:"generate,omitempty"`
	Told       json.RawMessage `json:"told,omitempty"` // what else is to be told of the whole
	Work       Work            `json:"work"`

	Items    []pairs.Item `json:"items"`
	Measured *Measured    `json:"measured"`
	Written  *Measured    `json:"written,omitempty"` // nil: nothing was to be written
}

// PartFormat is the format of parts of this version.
const PartFormat = "steer-evaluation-1"

// partStart is how a file of a part begins.
var partStart = []byte(`{"format":"` + PartFormat + `"`)

// IsPart reports whether a file begins like one that [Part.Save] wrote.
func IsPart(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	start := make([]byte, len(partStart))
	n, _ := file.Read(start)
	return bytes.Equal(start[:n], partStart)
}

// Save writes the part, beside path and renamed.
func (p *Part) Save(path string) error {
	p.Format = PartFormat
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := encodeLines(file, []*Part{p}); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return file.Commit()
}

// LoadPart reads a file that Save wrote.
func LoadPart(path string) (*Part, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var p Part
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if p.Format != PartFormat {
		return nil, fmt.Errorf("read %s: its format is %.40q, not %q", path, p.Format, PartFormat)
	}
	if p.Measured == nil {
		return nil, fmt.Errorf("read %s: nothing was measured", path)
	}
	return &p, nil
}

// differs names what two parts do not agree in that decides about figures.
func (p *Part) differs(other *Part) error {
	return firstDifference([]difference{
		{"weights", p.Model.WeightsHash, other.Model.WeightsHash}, {"number format", p.Model.DType, other.Model.DType},
		{"instruction set", p.Model.Instructions, other.Model.Instructions}, {"model", p.Model.ID, other.Model.ID},
		{"evaluation data", p.Data.Hash, other.Data.Hash}, {"neutral text", p.Text.Hash, other.Text.Hash},
		{"use of the chat template", p.Chat, other.Chat}, {"number of tokens of the text", p.TextTokens, other.TextTokens},
		{"seed", p.Seed, other.Seed}, {"number of resamples", p.Resamples, other.Resamples}, {"plan of the texts", p.Generate, other.Generate},
		{"version of steer", release(p.Version), release(other.Version)},
	})
}

// MergeParts sums up the parts of an evaluation, read from files, and returns the rows of
// the whole, which are those of a single run to the bit, and a part that is the whole: its
// work is that of all. A part that is missing, that is there twice, or that is of other
// data, weights, vectors, options, number format or instruction set is an error that names
// it.
func MergeParts(paths ...string) (*Part, []Row, error) {
	var whole *Part
	for _, path := range paths {
		p, err := LoadPart(path)
		if err != nil {
			return nil, nil, err
		}
		if whole == nil {
			whole = p
			continue
		}
		if err := whole.add(p); err != nil {
			return nil, nil, fmt.Errorf("%s and %s: %w", paths[0], path, err)
		}
	}
	if whole == nil {
		return nil, nil, errors.New("there are no parts")
	}
	summary, err := NewSummary(Options{Items: whole.Items, Seed: whole.Seed, Resamples: whole.Resamples})
	if err != nil {
		return nil, nil, err
	}
	rows, err := summary.RowsOf(whole.Measured, whole.Written)
	return whole, rows, err
}

// add takes what another part has.
func (p *Part) add(other *Part) error {
	if err := p.differs(other); err != nil {
		return err
	}
	if (p.Written == nil) != (other.Written == nil) {
		return errors.New("one has texts, and the other none")
	}
	if err := p.Measured.Merge(other.Measured); err != nil {
		return err
	}
	if p.Written != nil {
		if err := p.Written.Merge(other.Written); err != nil {
			return err
		}
	}
	p.Shard = steer.Shard{}
	p.Work = *p.Work.add(&other.Work)
	return nil
}
