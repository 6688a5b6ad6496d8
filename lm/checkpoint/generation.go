package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// generationFile says how a model is meant to write; not every checkpoint has it.
const generationFile = "generation_config.json"

// EndTokens returns the tokens that end a generation: eos_token_id, one id or
// several, of generation_config.json or else of config.json; none where neither
// says. Errors name the file.
func (c *Checkpoint) EndTokens() ([]int, error) {
	data, err := readJSON(c.fsys, generationFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if ids, err := endTokens(generationFile, data); err != nil || ids != nil {
			return ids, err
		}
	}
	return endTokens(configFile, c.config)
}

// endTokens returns the ids of one file, nil where it does not say.
func endTokens(name string, data []byte) ([]int, error) {
	var fields struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(fields.EOS) == 0 || string(fields.EOS) == "null" {
		return nil, nil
	}
	ids := []int{0}
	if json.Unmarshal(fields.EOS, &ids[0]) != nil && json.Unmarshal(fields.EOS, &ids) != nil {
		return nil, fmt.Errorf("%s: eos_token_id is %.80s, not a token id or a list of them", name, fields.EOS)
	}
	for _, id := range ids {
		if id < 0 {
			return nil, fmt.Errorf("%s: eos_token_id holds %d, which is no token's id", name, id)
		}
	}
	return ids, nil
}
