// Package pairs reads files of contrastive pairs.
package pairs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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
// [steer.ParseReading] takes; positive_response and negative_response, where the
// responses begin: a byte of the text, or with token ids a token; and with token
// ids also the texts, which then only describe. Other fields are ignored, unless they look like a slip: a name within
// two letters of a known one, or one that begins with read_, positive or negative,
// is an error, as is a field that occurs twice.
//
// The last kind is that of the contrastive activation addition (CAA) data sets. Its
// prompts are put together as CAA's code does for a model without a chat template
// (tokenize_llama_base): "Input: question\nResponse: answer", question and answer
// trimmed of white space. The answer is the sample's response. Answers such as "(A)"
// are read where CAA reads them: at the last token but one, the letter, while the
// last is the bracket, the same on both sides; other answers at their last token.
func Read(r io.Reader, name string) (File, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return File{}, fmt.Errorf("read pairs: %w", err)
	}
	file, kinds := File{}, kinds{}
	err = scan(data, fieldNames, func(e entry) error {
		sample, k, err := e.sample()
		if err == nil {
			err = kinds.add(e.where, k)
		}
		file.Samples, file.Lines = append(file.Samples, sample), append(file.Lines, e.line)
		return err
	})
	if err == nil && len(file.Samples) == 0 {
		err = errors.New("there are no pairs in it")
	}
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	if kinds.of == caaKind {
		file.readLetters()
	}
	return file, nil
}

// readLetters reads answers such as "(A)" at the last token but one, as CAA does.
// Answers without a bracket, of which model-written evaluations have some, end in
// what tells them apart.
func (f *File) readLetters() {
	isBare := func(s steer.Sample) bool {
		return !strings.HasSuffix(s.Positive, ")") || !strings.HasSuffix(s.Negative, ")")
	}
	if !slices.ContainsFunc(f.Samples, func(s steer.Sample) bool { return !isBare(s) }) {
		return
	}
	f.Read = steer.ReadAt(-2)
	f.Note = `these are CAA's questions with answers such as "(A)": the token before the last is read, the letter, as CAA does`
	for i := range f.Samples {
		if s := &f.Samples[i]; isBare(*s) && s.ReadPositive == nil && s.ReadNegative == nil {
			s.ReadPositive, s.ReadNegative = steer.ReadAt(-1), steer.ReadAt(-1)
		}
	}
}

// kinds holds all records of a file to one kind.
type kinds struct {
	of    kind
	first string // where the first record is
}

// add takes the kind of a record that stands at a place, "line 3".
func (k *kinds) add(where string, of kind) error {
	if k.of == "" {
		k.of, k.first = of, where
	} else if of != k.of {
		return fmt.Errorf("this is %s, but %s is %s; a file has one kind only", of, k.first, k.of)
	}
	return nil
}

// A kind is one of the forms of a record, named as errors name it.
type kind string

const (
	listKind kind = "a list of two prompts"
	textKind kind = "positive and negative prompts"
	idsKind  kind = "token ids"
	caaKind  kind = "a question with two answers"
)

var fieldNames = []string{
	"positive", "negative", "positive_ids", "negative_ids", "read_positive", "read_negative", "positive_response", "negative_response",
	"question", "answer_matching_behavior", "answer_not_matching_behavior",
}

// sample makes a sample of the entry and tells which kind of record it was.
func (e entry) sample() (steer.Sample, kind, error) {
	if e.fields != nil {
		return e.fields.sample()
	}
	if len(e.list) != 2 {
		return steer.Sample{}, "", fmt.Errorf("a list has two prompts, positive and negative; this one has %d items", len(e.list))
	}
	fields := record{{"positive", e.list[0]}, {"negative", e.list[1]}}
	sample, _, err := fields.sample()
	return sample, listKind, err
}

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
		err = fmt.Errorf("there is neither a pair of prompts nor of token ids among the fields %q", r.names())
	}
	if err == nil {
		s.ReadPositive, err = r.reading("read_positive")
	}
	if err == nil {
		s.ReadNegative, err = r.reading("read_negative")
	}
	if err == nil && k != caaKind {
		err = r.responses(&s)
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

// responses reads where the responses begin, which is inside of their prompts.
func (r record) responses(s *steer.Sample) error {
	for _, side := range []struct {
		name, text string
		ids        []int
		to         *int
	}{
		{"positive_response", s.Positive, s.PositiveIDs, &s.PositiveResponse},
		{"negative_response", s.Negative, s.NegativeIDs, &s.NegativeResponse},
	} {
		v := r.find(side.name)
		if v == nil {
			continue
		}
		n, err := v.integer()
		if err != nil {
			return fmt.Errorf("field %q: %w", side.name, err)
		}
		if side.ids != nil && (n <= 0 || n >= len(side.ids)) {
			return fmt.Errorf("field %q: a response that begins with token %d is not inside of %d tokens", side.name, n, len(side.ids))
		}
		if side.ids == nil && (n <= 0 || n >= len(side.text) || !utf8.RuneStart(side.text[n])) {
			return fmt.Errorf("field %q: a response that begins with byte %d is not inside of the %d bytes of the text, at a character", side.name, n, len(side.text))
		}
		*side.to = n
	}
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
