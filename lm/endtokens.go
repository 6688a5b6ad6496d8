package lm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/steervec/steer/lm/checkpoint"
)

// endTokens reads eos_token_id, one id or several, from generation_config.json
// or else from config.json.
func endTokens(c *checkpoint.Checkpoint) ([]int, error) {
	generation, err := fs.ReadFile(c.FS(), "generation_config.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{"generation_config.json", generation}, {"config.json", c.Config()}} {
		var fields struct {
			EOS json.RawMessage `json:"eos_token_id"`
		}
		if len(file.data) == 0 {
			continue
		}
		if err := json.Unmarshal(file.data, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
		var one int
		var several []int
		switch {
		case len(fields.EOS) == 0 || string(fields.EOS) == "null":
		case json.Unmarshal(fields.EOS, &one) == nil:
			return []int{one}, nil
		case json.Unmarshal(fields.EOS, &several) == nil:
			return several, nil
		default:
			return nil, fmt.Errorf("%s: eos_token_id is %s, not a token id or a list of them", file.name, fields.EOS)
		}
	}
	return nil, nil
}
