// Package pairs reads files of contrastive pairs.
package pairs

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/steervec/steer"
)

// File is what a file of pairs holds.
type File struct {
	Samples []steer.Sample
	Lines   []int         // of the file, from 1, on which each sample begins
	Read    steer.Reading // what files of this kind are read at; nil: the last token
	Note    string        // what the reader should know about that, a sentence; "": nothing
}

// Open reads a file; see [Read].
func Open(path string) (File, error) {
	file, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	return Read(file, path)
}

// Read reads samples from r. The name is for errors, which also tell the line, and
// in a JSON array the element, counted from 1.
//
// What the content looks like decides how it is read: as a JSON array, as JSON
// values one after another (JSON Lines), or as CSV with a header, in UTF-8 with or
// without a byte order mark. A record is one of
//
//	["positive prompt", "negative prompt"]                           not in CSV
//	{"positive": "…", "negative": "…"}
//	{"positive_ids": [1, 15, 7], "negative_ids": [1, 15, 9]}         in CSV: 1 15 7
//	{"question": "…", "answer_matching_behavior": "…", "answer_not_matching_behavior": "…"}
//
// and all records of a file are of the same kind. An object may also have
// read_positive and read_negative, what is read of the prompts: a position, or what
// [steer.ParseReading] takes; and with token ids also the texts, which then only
// describe. Other fields are ignored, unless they look like a slip: a name within
// two letters of a known one, or one that begins with read_, positive or negative,
// is an error, as is a field that occurs twice.
//
// The last kind is that of the contrastive activation addition (CAA) data sets. Its
// prompts are put together as CAA's code does for a model without a chat template
// (tokenize_llama_base): "Input: question\nResponse: answer", question and answer
// trimmed of white space. The answer is the sample's response, and the file is read
// where CAA reads it: at the last token but one, which of an answer "(A)" is the
// letter, while the last is the bracket, the same on both sides.
func Read(r io.Reader, name string) (File, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return File{}, fmt.Errorf("read pairs: %w", err)
	}
	records, err := parse(bytes.TrimPrefix(data, []byte("\ufeff")))
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	file := File{Samples: records.samples, Lines: records.lines}
	if records.kind == caaKind {
		file.Read = steer.ReadAt(-2)
		file.Note = `these are CAA's questions with answers such as "(A)": the token before the last is read, the letter, as CAA does`
	}
	return file, nil
}

func parse(data []byte) (*records, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("line %d: the text is not valid UTF-8", lineAt(data, invalidUTF8(data)))
	}
	p := &records{}
	var err error
	switch first, second := leadingBytes(data); {
	case first == '[' && second != '"':
		err = p.readArray(data)
	case first == '[' || first == '{':
		err = p.readValues(data)
	case first != 0:
		err = p.readCSV(data)
	}
	if err == nil && len(p.samples) == 0 {
		err = errors.New("there are no pairs in it")
	}
	return p, err
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

// records collects the records of a file.
type records struct {
	samples []steer.Sample
	lines   []int  // on which they begin
	kind    kind   // of all records
	first   string // where the first record is
}

// A kind is one of the forms of a record, named as errors name it.
type kind string

const (
	listKind kind = "a list of two prompts"
	textKind kind = "positive and negative prompts"
	idsKind  kind = "token ids"
	caaKind  kind = "a question with two answers"
)

// add appends the sample that was found at a place, "line 3".
func (p *records) add(where string, line int, s steer.Sample, k kind) error {
	if len(p.samples) == 0 {
		p.kind, p.first = k, where
	} else if k != p.kind {
		return fmt.Errorf("%s: this is %s, but %s is %s; a file has one kind only", where, k, p.first, p.kind)
	}
	p.samples, p.lines = append(p.samples, s), append(p.lines, line)
	return nil
}

// readArray reads a JSON array of records.
func (p *records) readArray(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	lines := lineCounter{data: data, line: 1}
	for decoder.More() {
		start := skip(data, decoder.InputOffset(), " \t\r\n,")
		line := lines.at(start)
		where := fmt.Sprintf("element %d (line %d)", len(p.samples)+1, line)
		if err := p.readValue(decoder, data, start, line, where); err != nil {
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

// readValues reads records one after another, as in JSON Lines.
func (p *records) readValues(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	lines := lineCounter{data: data, line: 1}
	for {
		start := skip(data, decoder.InputOffset(), " \t\r\n")
		if start == len(data) {
			return nil
		}
		line := lines.at(start)
		if err := p.readValue(decoder, data, start, line, fmt.Sprintf("line %d", line)); err != nil {
			return err
		}
	}
}

// readValue reads the record that begins at data[start:].
func (p *records) readValue(decoder *json.Decoder, data []byte, start, line int, where string) error {
	var raw json.RawMessage
	if err := decoder.Decode(&raw); err != nil {
		// A decoder's offsets leave out what it has read as tokens; a fresh one's do not.
		var syntax *json.SyntaxError
		if again := json.NewDecoder(bytes.NewReader(data[start:])).Decode(&raw); errors.As(again, &syntax) {
			return fmt.Errorf("%s: not valid JSON on line %d: %w", where, lineAt(data, start+int(syntax.Offset)-1), syntax)
		} else if again != nil {
			return fmt.Errorf("%s: the record is not complete: %w", where, again)
		}
		return fmt.Errorf("%s: not valid JSON: %w", where, err)
	}
	sample, k, err := parseRecord(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return p.add(where, line, sample, k)
}

func parseRecord(raw json.RawMessage) (steer.Sample, kind, error) {
	switch raw[0] {
	case '[':
		sample, err := parseList(raw)
		return sample, listKind, err
	case '{':
		fields, err := parseFields(raw)
		if err != nil {
			return steer.Sample{}, "", err
		}
		return fields.sample()
	}
	return steer.Sample{}, "", fmt.Errorf("a record is an object or a list of two prompts, not %s", jsonValue(raw).describe())
}

func parseList(raw json.RawMessage) (steer.Sample, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return steer.Sample{}, err
	}
	if len(items) != 2 {
		return steer.Sample{}, fmt.Errorf("a list has two prompts, positive and negative; this one has %d items", len(items))
	}
	fields := record{
		{"positive", jsonValue(items[0])},
		{"negative", jsonValue(items[1])},
	}
	sample, _, err := fields.sample()
	return sample, err
}

// parseFields reads an object with its fields in order. It does not go through
// a map or a struct, for these would hide that a field occurs twice.
func parseFields(raw json.RawMessage) (record, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	var fields record
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
		fields = append(fields, field{name.(string), jsonValue(v)})
	}
	return fields, nil
}

// readCSV reads rows under a header; an empty cell is a field that is absent.
func (p *records) readCSV(data []byte) error {
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
	if !slices.ContainsFunc(header, func(name string) bool { return slices.Contains(fieldNames, name) }) {
		return fmt.Errorf("line 1: this is neither JSON nor the header of a CSV file with columns %q and %q: %.80q", "positive", "negative", row)
	}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		line, _ := rows.FieldPos(0)
		where := fmt.Sprintf("line %d", line)
		var fields record
		for i, text := range row {
			// An absent prompt is reported as an empty one.
			if text != "" || header[i] == "positive" || header[i] == "negative" {
				fields = append(fields, field{header[i], cell(text)})
			}
		}
		sample, k, err := fields.sample()
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if err := p.add(where, line, sample, k); err != nil {
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

var fieldNames = []string{
	"positive", "negative", "positive_ids", "negative_ids", "read_positive", "read_negative",
	"question", "answer_matching_behavior", "answer_not_matching_behavior",
}

// sample makes a sample of the record and tells which kind of record it was.
func (r record) sample() (steer.Sample, kind, error) {
	if err := r.checkNames(); err != nil {
		return steer.Sample{}, "", err
	}
	var s steer.Sample
	var err error
	var k kind
	isText, isIDs := r.hasAny("positive", "negative"), r.hasAny("positive_ids", "negative_ids")
	isCAA := r.hasAny("answer_matching_behavior", "answer_not_matching_behavior")
	switch {
	case isCAA && (isText || isIDs):
		return s, "", errors.New("prompts and answers to a question are mixed in one record")
	case isCAA:
		k = caaKind
		err = r.caaPrompts(&s)
	case isIDs:
		k = idsKind
		if s.PositiveIDs, err = r.ids("positive_ids"); err == nil {
			s.NegativeIDs, err = r.ids("negative_ids")
		}
		if isText && err == nil {
			s.Positive, s.Negative, err = r.texts("positive", "negative")
		}
	case isText:
		k = textKind
		s.Positive, s.Negative, err = r.texts("positive", "negative")
	default:
		var names []string
		for _, f := range r {
			names = append(names, f.name)
		}
		err = fmt.Errorf("there is neither a pair of prompts nor of token ids among the fields %q", names)
	}
	if err == nil {
		s.ReadPositive, err = r.reading("read_positive")
	}
	if err == nil {
		s.ReadNegative, err = r.reading("read_negative")
	}
	return s, k, err
}

// checkNames refuses names that occur twice and unknown ones that look as if a
// known one was meant.
func (r record) checkNames() error {
	for i, f := range r {
		if r[:i].find(f.name) != nil {
			return fmt.Errorf("field %q occurs twice", f.name)
		}
		if slices.Contains(fieldNames, f.name) {
			continue
		}
		meant := strings.ToLower(strings.TrimSpace(f.name))
		for _, known := range fieldNames {
			if editDistance(meant, known) <= 2 {
				return fmt.Errorf("unknown field %q: is %q meant?", f.name, known)
			}
		}
		for _, prefix := range []string{"read_", "positive", "negative"} {
			if strings.HasPrefix(meant, prefix) {
				return fmt.Errorf("unknown field %q: names that begin with %q are %q", f.name, prefix, namesWith(prefix))
			}
		}
	}
	return nil
}

func namesWith(prefix string) []string {
	return slices.DeleteFunc(slices.Clone(fieldNames), func(name string) bool { return !strings.HasPrefix(name, prefix) })
}

func (r record) find(name string) value {
	for _, f := range r {
		if f.name == name {
			return f.value
		}
	}
	return nil
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

func (r record) caaPrompts(s *steer.Sample) error {
	question, err := r.text("question")
	if err != nil {
		return err
	}
	yes, no, err := r.texts("answer_matching_behavior", "answer_not_matching_behavior")
	if err != nil {
		return err
	}
	prompt := "Input: " + strings.TrimSpace(question) + "\nResponse: "
	s.Positive, s.Negative = prompt+strings.TrimSpace(yes), prompt+strings.TrimSpace(no)
	s.PositiveResponse, s.NegativeResponse = len(prompt), len(prompt)
	return nil
}

func (r record) ids(name string) ([]int, error) {
	v := r.find(name)
	if v == nil {
		return nil, fmt.Errorf("field %q is missing", name)
	}
	ids, err := v.integers()
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", name, err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("field %q is empty", name)
	}
	for i, id := range ids {
		if id < 0 {
			return nil, fmt.Errorf("field %q: token %d has the id %d, which is negative", name, i, id)
		}
	}
	return ids, nil
}

// reading returns nil where the field is absent.
func (r record) reading(name string) (steer.Reading, error) {
	v := r.find(name)
	if v == nil {
		return nil, nil
	}
	if n, err := v.integer(); err == nil {
		return steer.ReadAt(n), nil
	}
	text, err := v.text()
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", name, err)
	}
	reading, err := steer.ParseReading(text)
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", name, err)
	}
	return reading, nil
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

func (v jsonValue) integers() ([]int, error) {
	var items []json.RawMessage
	if v[0] != '[' {
		return nil, fmt.Errorf("%s where a list of integers is expected", v.describe())
	}
	if err := json.Unmarshal(v, &items); err != nil {
		return nil, err
	}
	numbers := make([]int, len(items))
	for i, item := range items {
		n, err := jsonValue(item).integer()
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
