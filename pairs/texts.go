package pairs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/steervec/steer"
)

// ReadTexts reads labelled texts from r, in JSON, JSON Lines or CSV: records of
// text and label, or AxBench's input, output and output_concept, whose label is
// the concept. The name is for errors, which also tell the line.
func ReadTexts(r io.Reader, name string) ([]Text, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read texts: %w", err)
	}
	var texts []Text
	err = scan(data, []string{"text", "label", "output", "output_concept"}, func(e entry) error {
		var text Text
		var err error
		switch {
		case e.fields.hasAny("output_concept"):
			text, err = conceptText(e.fields)
		case e.fields.hasAny("text", "label"):
			text.Text, text.Label, err = e.fields.textAndLabel()
		default:
			err = errors.New("this is no record of text and label")
		}
		texts = append(texts, text)
		return err
	})
	if err == nil && len(texts) == 0 {
		err = errors.New("there are no texts in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return texts, nil
}

// ReadLines reads texts from r, such as suffixes or questions: the strings of a
// JSON array, or the lines that are not empty. The name is for errors.
func ReadLines(r io.Reader, name string) ([]string, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: line %d: the text is not valid UTF-8", name, lineAt(data, invalidUTF8(data)))
	}
	var lines []string
	if first, second := leadingBytes(data); first == '[' && (second == '"' || second == ']') && json.Valid(data) {
		if err := json.Unmarshal(data, &lines); err != nil {
			return nil, fmt.Errorf("%s: this is no array of texts: %w", name, err)
		}
	} else {
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: there are no texts in it", name)
	}
	return lines, nil
}

// Samples makes pairs to train on of items with two options: the two prompts with
// their answers. Letters such as "(A)" are read as [Read] reads them.
func Samples(items []Item) ([]steer.Sample, error) {
	samples := make([]steer.Sample, len(items))
	for i, item := range items {
		if len(item.Options) != 2 || item.Kind != ABItem && item.Kind != PairItem {
			return nil, fmt.Errorf("item %s has no two answers to make a pair of", item.ID)
		}
		s := &samples[i]
		s.Positive, s.PositiveResponse = item.Options[0].joined()
		s.Negative, s.NegativeResponse = item.Options[1].joined()
		if item.Kind == ABItem {
			s.ReadPositive, s.ReadNegative = steer.ReadAt(-2), steer.ReadAt(-2)
		}
	}
	return samples, nil
}

// joined returns the prompt with its answer, and where that begins; 0: there is
// nothing before it.
func (o Option) joined() (text string, response int) {
	response = len(o.Prompt)
	if response > 0 {
		response += len(o.Answer) - len(strings.TrimPrefix(o.Answer, " "))
	}
	return o.Prompt + o.Answer, response
}
