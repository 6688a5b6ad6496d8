package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/steervec/steer/lm"
)

// promptRecord is a line of a file of prompts in JSON Lines.
type promptRecord struct {
	ID            json.RawMessage `json:"id"`
	Prompt        string          `json:"prompt"`
	PromptIDs     []int           `json:"prompt_ids"`
	Messages      []messageRecord `json:"messages"`
	Continuations []string        `json:"continuations"`
}

type messageRecord struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// readFile reads the file of prompts.
func (f *promptFlags) readFile(c *cobra.Command) error {
	if f.file == "" {
		return usage("--prompts is empty")
	}
	name := f.file
	var data []byte
	var err error
	if f.file == "-" {
		name = "standard input"
		data, err = f.stdin.take(c, "prompts")
	} else {
		data, err = os.ReadFile(f.file)
	}
	if err != nil {
		return err
	}
	if err := f.parse(name, bytes.TrimPrefix(data, []byte("\ufeff"))); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// parse reads a prompt a line; the lines are objects where the first begins
// like one.
func (f *promptFlags) parse(name string, data []byte) error {
	start := bytes.TrimLeft(data, " \t\r\n")
	objects := bytes.HasPrefix(start, []byte("{"))
	if bytes.HasPrefix(start, []byte("[")) && json.Valid(start) {
		return errors.New("this is a JSON array or list; a file of prompts has a text a line, or an object a line")
	}
	seen := map[string]int{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		where := fmt.Sprintf("%s: line %d: ", name, number)
		r := request{text: string(line)}
		var err error
		switch {
		case !utf8.Valid(line):
			err = errors.New("the text is not valid UTF-8")
		case objects:
			r, err = f.parseRecord(line)
		case f.chat:
			r.messages = f.messages(r.text)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if r.where = where; r.id == nil {
			r.id = json.RawMessage(strconv.Itoa(number))
		}
		if before := seen[string(r.id)]; before != 0 {
			return fmt.Errorf("line %d: the id %s is that of line %d as well", number, r.id, before)
		}
		seen[string(r.id)] = number
		f.requests = append(f.requests, r)
	}
	if len(f.requests) == 0 {
		return errors.New("there are no prompts in it")
	}
	return nil
}

func (f *promptFlags) parseRecord(line []byte) (request, error) {
	var record promptRecord
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&record); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			field := "it"
			if wrong.Field != "" {
				field = fmt.Sprintf("field %q", wrong.Field)
			}
			return request{}, fmt.Errorf("%s cannot be a JSON %s", field, wrong.Value)
		}
		if field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
			return request{}, fmt.Errorf("field %s is not known; the fields are id, prompt, prompt_ids, messages and continuations", field)
		}
		return request{}, fmt.Errorf("it is not a prompt in JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if decoder.More() {
		return request{}, errors.New("there is more after the object; an object has a line of its own")
	}
	r := request{text: record.Prompt, tokens: record.PromptIDs, continuations: record.Continuations}
	given := 0
	for _, is := range []bool{record.Prompt != "", record.PromptIDs != nil, record.Messages != nil} {
		if is {
			given++
		}
	}
	switch id := bytes.TrimSpace(record.ID); {
	case given != 1:
		return r, errors.New("give one of prompt, prompt_ids and messages, and not empty")
	case len(record.PromptIDs) == 0 && record.PromptIDs != nil || len(record.Messages) == 0 && record.Messages != nil:
		return r, errors.New("the prompt is empty")
	case len(id) == 0 || string(id) == "null":
	case id[0] == '"' || id[0] == '-' || '0' <= id[0] && id[0] <= '9':
		r.id = record.ID
	default:
		return r, fmt.Errorf("the id is %.80s, neither a text nor a number", id)
	}
	for _, m := range record.Messages {
		if m.Role == "" {
			return r, errors.New("a message has no role")
		}
		r.messages = append(r.messages, lm.Message{Role: m.Role, Content: m.Content})
	}
	switch {
	case f.chat && r.tokens != nil:
		return r, errors.New("--chat needs a text, and prompt_ids are given")
	case r.messages != nil && f.system != "":
		if r.messages[0].Role == "system" {
			return r, errors.New("--system is given, but the conversation has a system message of its own")
		}
		r.messages = append([]lm.Message{{Role: "system", Content: f.system}}, r.messages...)
	case r.messages == nil && f.chat:
		r.messages = f.messages(r.text)
	}
	return r, nil
}
