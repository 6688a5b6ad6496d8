// Package stories makes the texts that the demonstration model learns from:
// little English stories whose mood, characters, places and things vary, and
// questions with two answers. Everything follows from a seed.
package stories

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Moods are the moods that a story may have.
func Moods() []string { return []string{"happy", "sad", "angry", "afraid", "calm"} }

// Words returns the words that show a mood, in lower case.
func Words(mood string) []string {
	return slices.Concat(mapped(grammar()[mood+" words"], strings.Fields)...)
}

func mapped[A, B any](list []A, f func(A) B) []B {
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = f(a)
	}
	return out
}

// Story is one story in parts.
type Story struct {
	Mood      string
	Beginning string   // who, where and what, without any mood
	Statement string   // of the mood, in every other story; else ""
	Rest      []string // sentences that show the mood: what happened, feelings, the ending
}

// String returns the whole text.
func (s Story) String() string {
	parts := append([]string{s.Beginning}, s.Rest...)
	if s.Statement != "" {
		parts = slices.Insert(parts, 1, s.Statement)
	}
	return strings.Join(parts, " ")
}

// Writer makes one text after the other. It belongs to one goroutine.
type Writer struct {
	random *rand.Rand
	bound  map[string]string // what is the same all through the text

	beginning string // of the last story
}

// NewWriter returns a writer whose texts follow from the seed.
func NewWriter(seed uint64) *Writer {
	return &Writer{random: rand.New(rand.NewPCG(seed, 0x5709))}
}

// Story writes a story in the mood; "" chooses one.
func (w *Writer) Story(mood string) Story {
	if mood == "" {
		mood = w.pick(Moods())
	}
	w.meet()
	w.beginning = w.say("opening") + " " + w.say("second")
	return w.Again(mood)
}

// Again writes the last story once more, from its beginning on in another mood.
func (w *Writer) Again(mood string) Story {
	s := Story{Mood: mood, Beginning: w.beginning}
	w.bound["mood"] = mood
	if w.random.IntN(2) == 0 {
		s.Statement = w.say("statement")
	}
	s.Rest = append(s.Rest, w.say(mood+" event"), w.say(mood+" feeling"))
	if w.random.IntN(3) == 0 {
		s.Rest = append(s.Rest, w.say(mood+" feeling"))
	}
	s.Rest = append(s.Rest, w.say(mood+" ending"))
	return s
}

// meet chooses who and what a story is about.
func (w *Writer) meet() {
	g := grammar()
	boy := w.random.IntN(2) == 0
	w.bound = map[string]string{"he": "she", "him": "her", "his": "her", "name": w.pick(g["girls"])}
	if boy {
		w.bound = map[string]string{"he": "he", "him": "him", "his": "his", "name": w.pick(g["boys"])}
	}
	for w.bound["friend"] == "" || w.bound["friend"] == w.bound["name"] {
		w.bound["friend"] = w.pick(append(slices.Clone(g["girls"]), g["boys"]...))
	}
	for {
		w.bound["animal"] = w.pick(g["animals"])
		if boy && w.bound["animal"] != "girl" || !boy && w.bound["animal"] != "boy" {
			break
		}
	}
	w.bound["place"], w.bound["thing"], w.bound["color"] = w.pick(g["places"]), w.pick(g["things"]), w.pick(g["colors"])
}

// A Question has two answers, of which one is right.
type Question struct {
	Text    string // what is asked, up to "Answer: ("
	Right   string // "A" or "B"
	Answers [2]string
}

// String returns the question with its answer.
func (q Question) String() string { return q.Text + q.Right + ")" }

// Question writes a question about a feeling or a fact.
func (w *Writer) Question() Question {
	w.meet()
	g := grammar()
	var told, asked, right, wrong string
	switch w.random.IntN(3) {
	case 0:
		mood := w.pick(Moods())
		told = w.say("opening") + " " + w.say(mood+" event") + " " + w.say(mood+" feeling")
		asked, right, wrong = "How did {name} feel?", mood, w.other(Moods(), mood)
	case 1:
		told = w.fill("{name} the {animal} had a {color} {thing}.")
		asked, right, wrong = "What color was the {thing}?", w.bound["color"], w.other(g["colors"], w.bound["color"])
	default:
		told = w.say("opening")
		if !strings.Contains(told, " "+w.bound["animal"]) {
			told = w.fill("{name} was a {animal}.")
		}
		asked, right, wrong = "What was {name}?", "a "+w.bound["animal"], "a "+w.other(g["animals"], w.bound["animal"])
	}
	q := Question{Right: "A", Answers: [2]string{right, wrong}}
	if w.random.IntN(2) == 0 {
		q.Right, q.Answers = "B", [2]string{wrong, right}
	}
	article := func(s string) string {
		if strings.HasPrefix(s, "a owl") {
			return "an owl"
		}
		return s
	}
	q.Text = fmt.Sprintf("%s Question: %s (A) %s (B) %s Answer: (", told, w.fill(asked), article(q.Answers[0]), article(q.Answers[1]))
	return q
}

func (w *Writer) other(list []string, than string) string {
	for {
		if choice := w.pick(list); choice != than {
			return choice
		}
	}
}

func (w *Writer) pick(list []string) string { return list[w.random.IntN(len(list))] }

// say chooses a line under a heading and fills it in, as a sentence.
func (w *Writer) say(heading string) string {
	return w.fill(w.pick(grammar()[heading]))
}

var slot = regexp.MustCompile(`\{\w+\}`)

// fill replaces the slots of a line; sentences begin with a capital letter.
func (w *Writer) fill(line string) string {
	for slot.MatchString(line) {
		line = slot.ReplaceAllStringFunc(line, func(s string) string {
			name := s[1 : len(s)-1]
			if word, ok := w.bound[name]; ok {
				return word
			}
			return w.pick(grammar()[name])
		})
	}
	line = strings.ReplaceAll(line, " a owl", " an owl")
	for _, vowel := range "aeiou" {
		line = strings.ReplaceAll(line, " a "+string(vowel), " an "+string(vowel))
		line = strings.ReplaceAll(line, "A "+string(vowel), "An "+string(vowel))
	}
	sentences := strings.Split(line, ". ")
	for i, s := range sentences {
		sentences[i] = strings.ToUpper(s[:1]) + s[1:]
	}
	return strings.Join(sentences, ". ")
}

//go:embed grammar.txt
var text string

// grammar returns the lines under each heading.
var grammar = sync.OnceValue(func() map[string][]string {
	lines := map[string][]string{}
	heading := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			heading = strings.Trim(line, "[]")
		default:
			lines[heading] = append(lines[heading], line)
		}
	}
	lines["color"] = lines["colors"]
	return lines
})
