package pairs

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/output"
)

// written is a sample as a line of a file.
type written struct {
	Positive         string `json:"positive,omitempty"`
	Negative         string `json:"negative,omitempty"`
	PositiveIDs      []int  `json:"positive_ids,omitempty"`
	NegativeIDs      []int  `json:"negative_ids,omitempty"`
	PositiveResponse int    `json:"positive_response,omitempty"`
	NegativeResponse int    `json:"negative_response,omitempty"`
	ReadPositive     string `json:"read_positive,omitempty"`
	ReadNegative     string `json:"read_negative,omitempty"`
}

// Write writes samples as JSON Lines that [Read] reads back as they are. A reading
// that is a function of the text cannot be written.
func Write(w io.Writer, samples []steer.Sample) error {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for i, s := range samples {
		line := written{s.Positive, s.Negative, s.PositiveIDs, s.NegativeIDs, s.PositiveResponse, s.NegativeResponse, "", ""}
		for _, side := range []struct {
			read steer.Reading
			to   *string
		}{{s.ReadPositive, &line.ReadPositive}, {s.ReadNegative, &line.ReadNegative}} {
			if side.read == nil {
				continue
			}
			*side.to = side.read.String()
			if _, err := steer.ParseReading(*side.to); err != nil {
				return fmt.Errorf("write pairs: sample %d: %w", i, err)
			}
		}
		if err := lines.Encode(line); err != nil {
			return fmt.Errorf("write pairs: %w", err)
		}
	}
	return nil
}

// Save writes samples as [Write] does into a file, beside path and renamed.
func Save(path string, samples []steer.Sample) error {
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	if err := Write(file, samples); err != nil {
		_ = file.Abort()
		return err
	}
	return file.Commit()
}
