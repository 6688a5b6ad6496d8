package pairs

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// entry is one record of a file and where it stands.
type entry struct {
	where  string // "line 3", for errors
	line   int    // from 1
	fields record // of an object or a row; nil for a list
	list   []jsonValue
}

// scan visits the records of a file in order, whatever its form: a JSON array, JSON
// values one after another, or CSV whose header has one of the known fields.
// Errors tell the line.
func scan(data []byte, known []string, visit func(entry) error) error {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return fmt.Errorf("line %d: the text is not valid UTF-8", lineAt(data, invalidUTF8(data)))
	}
	placed := func(e entry) error {
		if err := visit(e); err != nil {
			return fmt.Errorf("%s: %w", e.where, err)
		}
		return nil
	}
	switch first, second := leadingBytes(data); {
	case first == '[' && second != '"':
		return scanArray(data, placed)
	case first == '[' || first == '{':
		return scanValues(data, placed)
	case first != 0:
		return scanCSV(data, known, placed)
	}
	return nil
}

// leadingBytes returns the first two bytes that are not white space. A value
// that begins with [" is a pair, one that begins with [ and anything else an
// array of records.
func leadingBytes(data []byte) (first, second byte) {
	rest := bytes.TrimLeft(data, " \t\r\n")
	if len(rest) == 0 {
		return 0, 0
	}
	first = rest[0]
	if rest = bytes.TrimLeft(rest[1:], " \t\r\n"); len(rest) > 0 {
		second = rest[0]
	}
	return first, second
}

// scanArray visits the elements of a JSON array.
func scanArray(data []byte, visit func(entry) error) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	lines := lineCounter{data: data, line: 1}
	for element := 1; decoder.More(); element++ {
		start := skip(data, decoder.InputOffset(), " \t\r\n,")
		line := lines.at(start)
		e := entry{where: fmt.Sprintf("element %d (line %d)", element, line), line: line}
		if err := e.decode(decoder, data, start); err != nil {
			return err
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("line %d: the array is not closed", lineAt(data, len(data)))
	}
	if end := skip(data, decoder.InputOffset(), " \t\r\n"); end < len(data) {
		return fmt.Errorf("line %d: there is more after the array", lineAt(data, end))
	}
	return nil
}

// scanValues visits values one after another, as in JSON Lines.
func scanValues(data []byte, visit func(entry) error) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	lines := lineCounter{data: data, line: 1}
	for {
		start := skip(data, decoder.InputOffset(), " \t\r\n")
		if start == len(data) {
			return nil
		}
		line := lines.at(start)
		e := entry{where: fmt.Sprintf("line %d", line), line: line}
		if err := e.decode(decoder, data, start); err != nil {
			return err
		}
		if err := visit(e); err != nil {
			return err
		}
	}
}

// decode reads the value that begins at data[start:].
func (e *entry) decode(decoder *json.Decoder, data []byte, start int) error {
	var raw json.RawMessage
	if err := decoder.Decode(&raw); err != nil {
		// A decoder's offsets leave out what it has read as tokens; a fresh one's do not.
		var syntax *json.SyntaxError
		if again := json.NewDecoder(bytes.NewReader(data[start:])).Decode(&raw); errors.As(again, &syntax) {
			return fmt.Errorf("%s: not valid JSON on line %d: %w", e.where, lineAt(data, start+int(syntax.Offset)-1), syntax)
		} else if again != nil {
			return fmt.Errorf("%s: the record is not complete: %w", e.where, again)
		}
		return fmt.Errorf("%s: not valid JSON: %w", e.where, err)
	}
	var err error
	switch raw[0] {
	case '[':
		e.list, err = jsonValue(raw).items()
	case '{':
		e.fields, err = parseFields(raw)
	default:
		err = fmt.Errorf("a record is an object or a list, not %s", jsonValue(raw).describe())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.where, err)
	}
	return nil
}

// maxFields is how many fields a record may have. Names are looked up one after
// the other, so that more would only cost time.
const maxFields = 1000

// parseFields reads an object with its fields in order. It does not go through
// a map or a struct, for these would hide that a field occurs twice.
func parseFields(raw json.RawMessage) (record, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	fields := record{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := decoder.Decode(&v); err != nil {
			return nil, err
		}
		if string(v) == "null" {
			continue
		}
		if len(fields) == maxFields {
			return nil, fmt.Errorf("a record has more than %d fields", maxFields)
		}
		fields = append(fields, field{name.(string), jsonValue(v)})
	}
	return fields, nil
}

// scanCSV visits rows under a header; an empty cell is a field that is absent.
func scanCSV(data []byte, known []string, visit func(entry) error) error {
	rows := csv.NewReader(bytes.NewReader(data))
	rows.ReuseRecord = true
	row, err := rows.Read()
	if err != nil {
		return err
	}
	header := slices.Clone(row)
	for i := range header {
		header[i] = strings.TrimSpace(header[i])
	}
	if !slices.ContainsFunc(header, func(name string) bool { return slices.Contains(known, name) }) {
		return fmt.Errorf("line 1: this is neither JSON nor the header of a CSV file with columns %q and %q: %.80q", known[0], known[1], row)
	}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		line, _ := rows.FieldPos(0)
		e := entry{where: fmt.Sprintf("line %d", line), line: line, fields: record{}}
		for i, text := range row {
			// An absent prompt is reported as an empty one.
			if text != "" || header[i] == "positive" || header[i] == "negative" {
				e.fields = append(e.fields, field{header[i], cell(text)})
			}
		}
		if err := visit(e); err != nil {
			return err
		}
	}
}

// record is one object or row, its fields in order.
type record []field

type field struct {
	name  string
	value value
}

func (r record) find(name string) value {
	for _, f := range r {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

func (r record) names() []string {
	var names []string
	for _, f := range r {
		names = append(names, f.name)
	}
	return names
}

func (r record) hasAny(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return r.find(name) != nil })
}

// text returns a field that must be there and not be empty.
func (r record) text(name string) (string, error) {
	v := r.find(name)
	if v == nil {
		return "", fmt.Errorf("field %q is missing", name)
	}
	text, err := v.text()
	if err != nil {
		return "", fmt.Errorf("field %q: %w", name, err)
	}
	if text == "" {
		return "", fmt.Errorf("field %q is empty", name)
	}
	return text, nil
}

func (r record) texts(first, second string) (a, b string, err error) {
	if a, err = r.text(first); err == nil {
		b, err = r.text(second)
	}
	return a, b, err
}

// A value is what a field holds, in JSON or in a cell of a table.
type value interface {
	text() (string, error)
	integer() (int, error)
	integers() ([]int, error)
}

type jsonValue json.RawMessage

func (v jsonValue) text() (string, error) {
	var text string
	if v[0] != '"' {
		return "", fmt.Errorf("%s where a text is expected", v.describe())
	}
	if err := json.Unmarshal(v, &text); err != nil {
		return "", err
	}
	// Half of a surrogate pair is read as the replacement character, which would
	// change the prompt silently.
	written := bytes.Count(v, []byte("\ufffd")) + bytes.Count(bytes.ToLower(v), []byte(`\ufffd`))
	if strings.Count(text, "\ufffd") > written {
		return "", errors.New("an escape \\uD800 to \\uDFFF without its other half is no text")
	}
	return text, nil
}

func (v jsonValue) integer() (int, error) {
	var n *int
	if err := json.Unmarshal(v, &n); err != nil || n == nil {
		return 0, fmt.Errorf("%s where an integer is expected", v.describe())
	}
	return *n, nil
}

// items returns the elements of a list.
func (v jsonValue) items() ([]jsonValue, error) {
	if v[0] != '[' {
		return nil, fmt.Errorf("%s where a list is expected", v.describe())
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(v, &raw); err != nil {
		return nil, err
	}
	items := make([]jsonValue, len(raw))
	for i, item := range raw {
		items[i] = jsonValue(item)
	}
	return items, nil
}

func (v jsonValue) integers() ([]int, error) {
	items, err := v.items()
	if err != nil {
		return nil, err
	}
	numbers := make([]int, len(items))
	for i, item := range items {
		n, err := item.integer()
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
		numbers[i] = n
	}
	return numbers, nil
}

// describe names the value for an error.
func (v jsonValue) describe() string {
	switch v[0] {
	case '"':
		return "a text"
	case '[':
		return "a list"
	case '{':
		return "an object"
	}
	return fmt.Sprintf("%.40s", []byte(v))
}

// cell is a value of a CSV file.
type cell string

func (c cell) text() (string, error) { return string(c), nil }

func (c cell) integer() (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(string(c)))
	if err != nil {
		return 0, fmt.Errorf("%.40q where an integer is expected", string(c))
	}
	return n, nil
}

func (c cell) integers() ([]int, error) {
	var numbers []int
	for i, word := range strings.Fields(string(c)) {
		n, err := cell(word).integer()
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// skip returns the first offset from offset on whose byte is not in the set.
func skip(data []byte, offset int64, set string) int {
	return len(data) - len(bytes.TrimLeft(data[offset:], set))
}

// lineCounter gives the lines of growing offsets in one pass over the data.
type lineCounter struct {
	data   []byte
	offset int
	line   int
}

func (c *lineCounter) at(offset int) int {
	c.line += bytes.Count(c.data[c.offset:offset], []byte("\n"))
	c.offset = offset
	return c.line
}

func lineAt(data []byte, offset int) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), len(data))], []byte("\n"))
}

func invalidUTF8(data []byte) int {
	for offset := 0; offset < len(data); {
		r, size := utf8.DecodeRune(data[offset:])
		if r == utf8.RuneError && size == 1 {
			return offset
		}
		offset += size
	}
	return len(data)
}

// editDistance counts the letters to insert, to remove or to replace that turn a
// into b (Levenshtein), or returns 3 where the lengths alone show more than 2.
func editDistance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current := []int{i + 1}
		for j := range len(b) {
			replace := previous[j]
			if a[i] != b[j] {
				replace++
			}
			current = append(current, min(replace, previous[j+1]+1, current[j]+1))
		}
		previous = current
	}
	return previous[len(b)]
}
