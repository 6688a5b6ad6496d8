package vecfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// content is what a file says, before anybody has said what its numbers mean.
type content struct {
	format   Format
	rows     map[int][]float32 // number in the file -> [rank, width]
	rank     int               // 0 means 1
	lone     bool              // there is one direction, without a number: it lies under 0
	producer string            // who wrote it; "": not certain
	may      []string          // who may have, where it is not certain
	notes    []string          // what is to be known of it

	// metadata is what this package wrote into the file, FormatKey among it, or
	// what the file says of itself in another way, by the keys of this package.
	metadata map[string]string
}

// add adds a tensor of the file under a number.
func (c *content) add(number int, shape []int, values []float32) error {
	if err := checkLayer(number); err != nil {
		return err
	}
	if _, twice := c.rows[number]; twice {
		return fmt.Errorf("number %d is there twice", number)
	}
	rank := 1
	switch {
	case len(shape) == 2:
		rank = shape[0]
	case len(shape) != 1:
		return fmt.Errorf("its shape is %v, not [width] or [rank, width]", shape)
	}
	if c.rows == nil {
		c.rows = map[int][]float32{}
		c.rank = rank
	}
	if rank == 0 || len(values)%rank != 0 {
		return fmt.Errorf("its shape is %v", shape)
	}
	if max(c.rank, 1) != rank {
		return fmt.Errorf("it has %d rows where others have %d", rank, c.rank)
	}
	c.rows[number] = values
	return nil
}

// check refuses what is no vector: nothing at all, other widths, numbers that are
// not finite.
func (c *content) check() error {
	width := -1
	for _, number := range slices.Sorted(maps.Keys(c.rows)) {
		values := c.rows[number]
		if err := check(values); err != nil {
			return fmt.Errorf("layer %d in it: %w", number, err)
		}
		if width < 0 {
			width = len(values)
		}
		if len(values) != width {
			return fmt.Errorf("layer %d in it has %d elements where others have %d", number, len(values)/max(c.rank, 1), width/max(c.rank, 1))
		}
	}
	return nil
}

// ours reports whether this package wrote the file.
func (c *content) ours() bool { return c.metadata[FormatKey] != "" }

// embedded reads the metadata that this package writes into files of other
// formats.
func embedded(text []byte) (map[string]string, error) {
	var metadata map[string]string
	if err := json.Unmarshal(text, &metadata); err != nil {
		return nil, fmt.Errorf("the metadata of steer: %w", err)
	}
	return metadata, checkVersion(metadata)
}

func checkVersion(metadata map[string]string) error {
	version, err := strconv.Atoi(metadata[FormatKey])
	switch {
	case err != nil || version < 1:
		return fmt.Errorf("%s is %q, not a version number", FormatKey, metadata[FormatKey])
	case version > newest:
		return fmt.Errorf("the file has format %d; this version of steer reads up to %d", version, newest)
	}
	return nil
}

// embed writes metadata as other formats hold it.
func embed(metadata map[string]string) ([]byte, error) { return json.Marshal(metadata) }

// wholeNumber reads a number as this package writes it.
func wholeNumber(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && strconv.Itoa(n) == text
}

// numberIn reads the number at the end of a name such as layer_3, layers.3 or 3.
func numberIn(name string) (int, bool) {
	for _, prefix := range []string{"layers.", "layer.", "layers_", "layer_", "layer", "direction.", "arr_"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return wholeNumber(rest)
		}
	}
	return wholeNumber(name)
}
