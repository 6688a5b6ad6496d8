package pairs

import (
	"encoding/json"
	"fmt"
	"strings"

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

// Save writes samples as JSON Lines that [Read] reads back as they are, beside path
// and renamed. A reading that is a function of the text cannot be written.
func Save(path string, samples []steer.Sample) error {
	return saveLines(path, func(line func(any) error) error {
		for i, s := range samples {
			out := written{s.Positive, s.Negative, s.PositiveIDs, s.NegativeIDs, s.PositiveResponse, s.NegativeResponse, "", ""}
			for _, side := range []struct {
				read steer.Reading
				to   *string
			}{{s.ReadPositive, &out.ReadPositive}, {s.ReadNegative, &out.ReadNegative}} {
				if side.read == nil {
					continue
				}
				*side.to = side.read.String()
				if _, err := steer.ParseReading(*side.to); err != nil {
					return fmt.Errorf("sample %d: %w", i, err)
				}
			}
			if err := line(out); err != nil {
				return err
			}
		}
		return nil
	})
}

// SaveQuestions writes questions with two answers as lines that [ReadItems] and
// [Read] take, beside path and renamed.
func SaveQuestions(path string, items []Item) error {
	return saveLines(path, func(line func(any) error) error {
		for _, item := range items {
			if len(item.Options) != 2 || item.Options[0].Question == "" || item.Options[0].Question != item.Options[1].Question {
				return fmt.Errorf("item %s is no question with two answers", item.ID)
			}
			err := line(struct {
				Question string `json:"question"`
				Yes      string `json:"answer_matching_behavior"`
				No       string `json:"answer_not_matching_behavior"`
			}{item.Options[0].Question, strings.TrimSpace(item.Options[0].Answer), strings.TrimSpace(item.Options[1].Answer)})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// SavePersona writes a persona as [ReadItems] reads it, with what a judge is asked
// ("": nothing), beside path and renamed.
func SavePersona(path string, p Persona, judge string) error {
	type instruction struct {
		Positive string `json:"pos"`
		Negative string `json:"neg"`
	}
	var instructions []instruction
	for _, i := range p.Instructions {
		instructions = append(instructions, instruction(i))
	}
	return saveLines(path, func(line func(any) error) error {
		return line(struct {
			Instructions []instruction `json:"instruction"`
			Questions    []string      `json:"questions"`
			Judge        string        `json:"eval_prompt,omitempty"`
		}{instructions, p.Questions, judge})
	})
}

// SaveTexts writes labelled texts as AxBench's rows, which [ReadItems] and
// [ReadTexts] take: those with the label are the positive ones.
func SaveTexts(path string, texts []Text, label string) error {
	return saveLines(path, func(line func(any) error) error {
		for _, text := range texts {
			category := "negative"
			if text.Label == label {
				category = "positive"
			}
			err := line(struct {
				Input    string `json:"input,omitempty"`
				Output   string `json:"output"`
				Concept  string `json:"output_concept"`
				Category string `json:"category"`
			}{text.Prompt, text.Text, text.Label, category})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// saveLines writes lines of JSON into a file that appears whole or not at all.
func saveLines(path string, write func(line func(any) error) error) error {
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(file)
	lines.SetEscapeHTML(false)
	if err := write(lines.Encode); err != nil {
		_ = file.Abort()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return file.Commit()
}
