package pairs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/steervec/steer"
)

// OpenItems reads a file of evaluation data; see [ReadItems].
func OpenItems(path string) (Items, error) {
	file, err := os.Open(path)
	if err != nil {
		return Items{}, err
	}
	defer file.Close()
	return ReadItems(file, path)
}

// ReadItems reads evaluation data from r: JSON, JSON Lines or CSV, as [Read] reads
// them. The name is for errors, which also tell the line. What a record has decides
// what it is; all records of a file are of the same kind, and other fields are
// ignored:
//
//	question, answer_matching_behavior, answer_not_matching_behavior   model-written evaluations, CAA
//	prompt, correct, incorrect                                          CAA's MMLU and TruthfulQA
//	positive, negative: {prompt, response} each                         steering-bench
//	what [Read] takes as a pair of texts
//	question, mc1_targets and mc2_targets: {choices, labels}, or {choice: label}   TruthfulQA
//	input, output, output_concept, and perhaps category                 AxBench
//	text, label: positive, true or 1, or negative, false or 0
//	question or prompt alone                                            to go on from
//
// or the file is one object, a persona: instruction: [{pos, neg}], questions, and
// perhaps eval_prompt.
//
// A question with options is asked as CAA asks a model without a chat template,
// "Input: question\nResponse:", one of TruthfulQA as "Q: question\nA:". Of a pair
// of texts that does not say where its responses begin, they begin with the word
// that differs.
func ReadItems(r io.Reader, name string) (Items, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return Items{}, fmt.Errorf("read items: %w", err)
	}
	items, kinds := Items{}, kinds{}
	names := naming{given: map[string]string{}, seen: map[string]int{}}
	err = scan(data, itemFields, func(e entry) error {
		form, err := formOf(e)
		if err == nil {
			err = kinds.add(e.where, form.kind)
		}
		if err != nil {
			return err
		}
		if form.kind == personaKind && len(items.Items) > 0 {
			return errors.New("a persona is a file of its own")
		}
		read, err := form.read(e, &items)
		if err != nil {
			return err
		}
		for _, item := range read {
			item.Line = e.line
			if err := names.identify(&item, e, len(read) > 1); err != nil {
				return err
			}
			items.Items = append(items.Items, item)
		}
		return nil
	})
	if err == nil && len(items.Items) == 0 {
		err = errors.New("there are no items in it")
	}
	if err != nil {
		return Items{}, fmt.Errorf("%s: %w", name, err)
	}
	return items, nil
}

// itemFields are columns by one of which a CSV file is known.
var itemFields = []string{
	"question", "answer_matching_behavior", "positive", "negative", "input", "output", "output_concept", "text", "label", "prompt", "correct", "incorrect",
}

// A form is one of the shapes of a record of evaluation data.
type form struct {
	kind  kind
	needs []string // fields by which it is known
	read  func(e entry, to *Items) ([]Item, error)
}

const (
	choiceKind   kind = "a prompt with a correct and an incorrect answer"
	sidesKind    kind = "positive and negative prompts with responses"
	truthfulKind kind = "a question with true and false answers"
	conceptKind  kind = "an output and the concept that it shows"
	labelKind    kind = "a text with a label"
	questionKind kind = "a question"
	personaKind  kind = "a persona"
)

// formOf returns the form of a record. Those with more fields come first.
func formOf(e entry) (form, error) {
	if e.fields == nil {
		return form{listKind, nil, readPair}, nil
	}
	for i, f := range e.fields {
		if e.fields[:i].find(f.name) != nil {
			return form{}, fmt.Errorf("field %q occurs twice", f.name)
		}
	}
	var positive record
	if v, ok := e.fields.find("positive").(jsonValue); ok && v[0] == '{' {
		positive, _ = parseFields(json.RawMessage(v))
	}
	for _, form := range []form{
		{caaKind, []string{"answer_matching_behavior"}, readAB},
		{caaKind, []string{"answer_not_matching_behavior"}, readAB},
		{choiceKind, []string{"correct", "incorrect"}, readChoice},
		{truthfulKind, []string{"question", "mc1_targets"}, readTruthful},
		{truthfulKind, []string{"question", "mc2_targets"}, readTruthful},
		{personaKind, []string{"instruction", "questions"}, readPersona},
		{conceptKind, []string{"output", "output_concept"}, readConcept},
		{labelKind, []string{"text", "label"}, readLabelled},
		{sidesKind, []string{"positive", "negative"}, readSides},
		{questionKind, []string{"question"}, readQuestion},
		{questionKind, []string{"prompt"}, readQuestion},
	} {
		if slices.ContainsFunc(form.needs, func(name string) bool { return e.fields.find(name) == nil }) || form.kind == sidesKind && positive == nil {
			continue
		}
		return form, nil
	}
	if e.fields.hasAny("positive", "negative", "positive_ids", "negative_ids") {
		return form{textKind, nil, readPair}, nil
	}
	return form{}, fmt.Errorf("the fields %q are of no kind of evaluation data that is known", e.fields.names())
}

// readAB reads a question of which one answer shows the behaviour.
func readAB(e entry, _ *Items) ([]Item, error) {
	question, err := e.fields.text("question")
	if err != nil {
		return nil, err
	}
	yes, no, err := e.fields.texts("answer_matching_behavior", "answer_not_matching_behavior")
	if err != nil {
		return nil, err
	}
	return twoAnswers(question, yes, no)
}

// readChoice reads a question of which one answer is correct.
func readChoice(e entry, _ *Items) ([]Item, error) {
	question, err := e.fields.text("prompt")
	if err != nil {
		return nil, err
	}
	yes, no, err := e.fields.texts("correct", "incorrect")
	if err != nil {
		return nil, err
	}
	return twoAnswers(question, yes, no)
}

func twoAnswers(question, yes, no string) ([]Item, error) {
	question, yes, no = strings.TrimSpace(question), strings.TrimSpace(yes), strings.TrimSpace(no)
	if yes == no || yes == "" || no == "" {
		return nil, fmt.Errorf("the answers are %q and %q, which must differ and not be empty", yes, no)
	}
	options := func(question, yes, no string) []Option {
		prompt := "Input: " + question + "\nResponse:"
		return []Option{{prompt, question, " " + yes, true}, {prompt, question, " " + no, false}}
	}
	item := Item{Kind: PairItem, Options: options(question, yes, no)}
	if letter.MatchString(yes) && letter.MatchString(no) {
		item.Kind = ABItem
		if swapped, ok := exchange(question, yes, no); ok {
			item.Swapped = options(swapped, no, yes)
		}
	}
	return []Item{item}, nil
}

var (
	letter     = regexp.MustCompile(`^\([A-Z]\)$`)
	optionLine = regexp.MustCompile(`(?m)^[ \t]*\([A-Z]\)`)
)

// exchange returns the question with the texts of its two options exchanged, so
// that what was (A) is (B). It is not possible where there are other options or
// more text behind them.
func exchange(question, yes, no string) (string, bool) {
	marks := optionLine.FindAllStringIndex(question, -1)
	if len(marks) != 2 {
		return "", false
	}
	name := func(i int) string { return strings.TrimLeft(question[marks[i][0]:marks[i][1]], " \t") }
	if a, b := name(0), name(1); !(a == yes && b == no || a == no && b == yes) {
		return "", false
	}
	first, second := question[marks[0][1]:marks[1][0]], question[marks[1][1]:]
	text := strings.TrimRight(first, " \t\n")
	if strings.Contains(text, "\n") || strings.Contains(second, "\n") {
		return "", false
	}
	return question[:marks[0][1]] + second + first[len(text):] + question[marks[1][0]:marks[1][1]] + text, true
}

// readSides reads an item of steering-bench.
func readSides(e entry, _ *Items) ([]Item, error) {
	item := Item{Kind: PairItem}
	for _, side := range []string{"positive", "negative"} {
		v, ok := e.fields.find(side).(jsonValue)
		if !ok || v[0] != '{' {
			return nil, fmt.Errorf("field %q is no object with prompt and response", side)
		}
		fields, err := parseFields(json.RawMessage(v))
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", side, err)
		}
		prompt, response, err := fields.texts("prompt", "response")
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", side, err)
		}
		option := Option{Question: prompt, Matches: side == "positive"}
		option.Prompt, option.Answer = apart(prompt, response)
		item.Options = append(item.Options, option)
	}
	return []Item{item}, nil
}

// readPair reads a pair of texts.
func readPair(e entry, _ *Items) ([]Item, error) {
	s, k, err := e.sample()
	if err != nil {
		return nil, err
	}
	if k == idsKind {
		return nil, errors.New("a pair of token ids cannot be evaluated: give the texts")
	}
	if (s.PositiveResponse == 0) != (s.NegativeResponse == 0) {
		return nil, errors.New("one of the prompts says where its response begins and the other does not")
	}
	if s.PositiveResponse == 0 {
		s.PositiveResponse = differing(s.Positive, s.Negative)
		s.NegativeResponse = s.PositiveResponse
	}
	if s.Positive[s.PositiveResponse:] == s.Negative[s.NegativeResponse:] && s.Positive[:s.PositiveResponse] == s.Negative[:s.NegativeResponse] {
		return nil, errors.New("the two texts are the same")
	}
	item := Item{Kind: PairItem, Options: make([]Option, 2)}
	for i, side := range []steer.Sample{{Positive: s.Positive, PositiveResponse: s.PositiveResponse}, {Positive: s.Negative, PositiveResponse: s.NegativeResponse}} {
		o := &item.Options[i]
		o.Prompt, o.Answer = apart(side.Positive[:side.PositiveResponse], side.Positive[side.PositiveResponse:])
		if question := steer.QuestionOf(o.Prompt + " "); question != o.Prompt {
			o.Question = question
		}
		o.Matches = i == 0
	}
	return []Item{item}, nil
}

// differing returns where the word begins in which two texts differ first: at the
// space before it, or 0.
func differing(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && (n == len(a) || n == len(b) || a[n] != ' ' || b[n] != ' ') {
		n--
	}
	return n
}

// apart puts the space between a prompt and its answer before the answer, where
// a tokenizer expects it, and one where there is none.
func apart(prompt, answer string) (string, string) {
	if bare := strings.TrimSuffix(prompt, " "); bare != prompt && bare != "" {
		return bare, " " + answer
	}
	if prompt == "" || strings.ContainsAny(prompt[len(prompt)-1:], " \n\t") || strings.ContainsAny(answer[:1], " \n\t") {
		return prompt, answer
	}
	return prompt, " " + answer
}

// readTruthful reads a question of TruthfulQA: an item for each of its tasks.
func readTruthful(e entry, _ *Items) ([]Item, error) {
	question, err := e.fields.text("question")
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, task := range []struct {
		name string
		kind ItemKind
	}{{"mc1_targets", MC1Item}, {"mc2_targets", MC2Item}} {
		v, ok := e.fields.find(task.name).(jsonValue)
		if !ok {
			continue
		}
		choices, isTrue, err := v.targets()
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", task.name, err)
		}
		item, matching := Item{Kind: task.kind}, 0
		for _, wanted := range []bool{true, false} {
			for i, choice := range choices {
				if isTrue[i] == wanted {
					item.Options = append(item.Options, Option{"Q: " + question + "\nA:", question, " " + choice, wanted})
					if wanted {
						matching++
					}
				}
			}
		}
		if matching == 0 || matching == len(choices) || task.kind == MC1Item && matching != 1 {
			return nil, fmt.Errorf("field %q: %d of %d answers are true", task.name, matching, len(choices))
		}
		items = append(items, item)
	}
	return items, nil
}

// targets reads {"choices": […], "labels": [1, 0, …]} or {"choice": 1, …}.
func (v jsonValue) targets() (choices []string, isTrue []bool, err error) {
	if v[0] != '{' {
		return nil, nil, fmt.Errorf("%s where choices and labels are expected", v.describe())
	}
	fields, err := parseFields(json.RawMessage(v))
	if err != nil {
		return nil, nil, err
	}
	given, isList := fields.find("choices").(jsonValue)
	labels, labelled := fields.find("labels").(jsonValue)
	var truths []value
	if isList && labelled && given[0] == '[' {
		texts, err := given.items()
		if err != nil {
			return nil, nil, err
		}
		numbers, err := labels.items()
		if err != nil {
			return nil, nil, err
		}
		if len(texts) != len(numbers) {
			return nil, nil, fmt.Errorf("there are %d choices and %d labels", len(texts), len(numbers))
		}
		for i, text := range texts {
			choice, err := text.text()
			if err != nil {
				return nil, nil, fmt.Errorf("choice %d: %w", i, err)
			}
			choices, truths = append(choices, choice), append(truths, numbers[i])
		}
	} else {
		for _, f := range fields {
			choices, truths = append(choices, f.name), append(truths, f.value)
		}
	}
	for i, truth := range truths {
		n, err := truth.integer()
		if err != nil || n != 0 && n != 1 {
			return nil, nil, fmt.Errorf("the label of choice %d is neither 0 nor 1", i)
		}
		if strings.TrimSpace(choices[i]) == "" {
			return nil, nil, fmt.Errorf("choice %d is empty", i)
		}
		isTrue = append(isTrue, n == 1)
	}
	return choices, isTrue, nil
}

// readConcept reads a row as AxBench has them.
func readConcept(e entry, _ *Items) ([]Item, error) {
	text, err := conceptText(e.fields)
	if err != nil {
		return nil, err
	}
	matches := text.Label != noConcept
	if v := e.fields.find("category"); v != nil {
		category, err := v.text()
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", "category", err)
		}
		matches = category == "positive"
	}
	option := Option{Answer: text.Text, Question: text.Prompt, Matches: matches}
	if text.Prompt != "" {
		option.Prompt, option.Answer = apart(text.Prompt, text.Text)
	}
	return []Item{{Kind: TextItem, Concept: text.Label, Options: []Option{option}}}, nil
}

// noConcept is what AxBench writes for an output that shows none.
const noConcept = "EEEEE"

func conceptText(r record) (Text, error) {
	output, concept, err := r.texts("output", "output_concept")
	if err != nil {
		return Text{}, err
	}
	text := Text{Text: output, Label: concept}
	if r.hasAny("input") {
		text.Prompt, err = r.find("input").text()
	}
	return text, err
}

func readLabelled(e entry, _ *Items) ([]Item, error) {
	text, label, err := e.fields.textAndLabel()
	if err != nil {
		return nil, err
	}
	matches := slices.Contains([]string{"positive", "true", "1"}, label)
	if !matches && !slices.Contains([]string{"negative", "false", "0"}, label) {
		return nil, fmt.Errorf("the label %q does not say whether the text shows the concept: it is positive, true, 1, negative, false or 0", label)
	}
	return []Item{{Kind: TextItem, Options: []Option{{Answer: text, Matches: matches}}}}, nil
}

// textAndLabel returns a text and its label, which may be a number or a truth.
func (r record) textAndLabel() (text, label string, err error) {
	if text, err = r.text("text"); err != nil {
		return "", "", err
	}
	if v, ok := r.find("label").(jsonValue); ok && v[0] != '"' && v[0] != '[' && v[0] != '{' {
		return text, string(v), nil
	}
	label, err = r.text("label")
	return text, label, err
}

func readQuestion(e entry, _ *Items) ([]Item, error) {
	name := "question"
	if e.fields.find(name) == nil {
		name = "prompt"
	}
	question, err := e.fields.text(name)
	if err != nil {
		return nil, err
	}
	return []Item{{Kind: QuestionItem, Options: []Option{{Prompt: question}}}}, nil
}

// readPersona reads a trait as persona vectors are made of.
func readPersona(e entry, to *Items) ([]Item, error) {
	instructions, ok := e.fields.find("instruction").(jsonValue)
	questions, okQuestions := e.fields.find("questions").(jsonValue)
	if !ok || !okQuestions {
		return nil, errors.New("a persona is JSON")
	}
	list, err := instructions.items()
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", "instruction", err)
	}
	for i, v := range list {
		var fields record
		if v[0] == '{' {
			fields, err = parseFields(json.RawMessage(v))
		}
		var instruction Instruction
		if err == nil {
			instruction.Positive, instruction.Negative, err = fields.texts("pos", "neg")
		}
		if err != nil {
			return nil, fmt.Errorf("instruction %d: %w", i, err)
		}
		to.Instructions = append(to.Instructions, instruction)
	}
	if e.fields.hasAny("eval_prompt") {
		if to.JudgePrompt, err = e.fields.text("eval_prompt"); err != nil {
			return nil, err
		}
	}
	if list, err = questions.items(); err != nil {
		return nil, fmt.Errorf("field %q: %w", "questions", err)
	}
	var items []Item
	for i, v := range list {
		question, err := v.text()
		if err == nil && question == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("question %d: %w", i, err)
		}
		items = append(items, Item{Kind: QuestionItem, Options: []Option{{Prompt: question}}})
	}
	if len(to.Instructions) == 0 || len(items) == 0 {
		return nil, fmt.Errorf("a persona needs instructions and questions; there are %d and %d", len(to.Instructions), len(items))
	}
	return items, nil
}

// naming gives items their ids.
type naming struct {
	given map[string]string // id of a record -> where
	seen  map[string]int    // digest -> how often
}

// identify gives an item the id of its record, with the kind where the record has
// several items, or else a digest of its content, and where that occurs again the
// number of its occurrence.
func (n naming) identify(item *Item, e entry, several bool) error {
	v := e.fields.find("id")
	if v == nil {
		content, err := json.Marshal(Item{Kind: item.Kind, Concept: item.Concept, Options: item.Options})
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		item.ID = hex.EncodeToString(sum[:8])
		if n.seen[item.ID]++; n.seen[item.ID] > 1 {
			item.ID += fmt.Sprintf("-%d", n.seen[item.ID])
		}
		return nil
	}
	id, err := v.text()
	if number, whole := v.integer(); err != nil && whole == nil {
		id, err = fmt.Sprint(number), nil
	}
	if err != nil || id == "" {
		return errors.New(`field "id" is neither a text nor a whole number`)
	}
	if several {
		id += "/" + string(item.Kind)
	}
	if before, taken := n.given[id]; taken {
		return fmt.Errorf("the id %q is that of %s as well", id, before)
	}
	item.ID, n.given[id] = id, e.where
	return nil
}
