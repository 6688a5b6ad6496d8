package pairs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm/tokenizer"
)

// Contrast makes pairs of a template that contrasting words fill, and of suffixes,
// beginnings of answers that are the same on both sides (the way of repeng): what
// differs at the end of a pair is what the words made of the same text.
type Contrast struct {
	Template           string   // with {persona} where the words go
	Positive, Negative []string // words, a pair at each index
	Suffixes           []string
	Whole              bool // suffixes are cut already: each is used as it is, and may be empty

	// Chat makes the filled template a user's message, and suffixes the beginning of
	// the answer. Without it a suffix follows the template after a space, or stands
	// where the template has {suffix}.
	Chat   bool
	System string // what a conversation begins with; "": nothing
}

// Build returns a pair for each suffix, each of its beginnings and each pair of
// words. The beginnings of a suffix are its first token, its first two, and so on
// up to all but the last, as repeng makes them; a suffix of one token stands whole.
// The tokenizer says where tokens end; it may be nil where suffixes are whole and
// there is no chat.
func (c Contrast) Build(ctx context.Context, t *tokenizer.Tokenizer) ([]steer.Sample, error) {
	if err := c.check(t); err != nil {
		return nil, fmt.Errorf("build pairs: %w", err)
	}
	var samples []steer.Sample
	for _, suffix := range c.Suffixes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		beginnings := []string{suffix}
		if !c.Whole {
			var err error
			if beginnings, err = beginningsOf(t, suffix); err != nil {
				return nil, fmt.Errorf("build pairs: suffix %q: %w", suffix, err)
			}
		}
		for _, beginning := range beginnings {
			for i := range c.Positive {
				samples = append(samples, c.pair(c.Positive[i], c.Negative[i], beginning))
			}
		}
	}
	if !c.Chat {
		return samples, nil
	}
	samples, _, err := steer.RenderChat(ctx, t, samples, steer.Chat{SystemPositive: c.System, SystemNegative: c.System})
	return samples, err
}

const personaSlot, suffixSlot = "{persona}", "{suffix}"

func (c Contrast) check(t *tokenizer.Tokenizer) error {
	switch {
	case !strings.Contains(c.Template, personaSlot):
		return fmt.Errorf("the template %q does not say with %s where the words go", c.Template, personaSlot)
	case c.Chat && strings.Contains(c.Template, suffixSlot):
		return fmt.Errorf("the template %q has %s, but in a conversation a suffix begins the answer", c.Template, suffixSlot)
	case len(c.Positive) == 0 || len(c.Positive) != len(c.Negative):
		return fmt.Errorf("there are %d positive and %d negative words; they come in pairs", len(c.Positive), len(c.Negative))
	case len(c.Suffixes) == 0:
		return errors.New("there are no suffixes")
	case !c.Whole && slices.Contains(c.Suffixes, ""):
		return errors.New("a suffix is empty, and has no beginnings")
	case t == nil && (c.Chat || !c.Whole):
		return errors.New("there is no tokenizer to say where tokens end")
	}
	return nil
}

// pair fills the template for both sides. The suffix is the response.
func (c Contrast) pair(positive, negative, suffix string) steer.Sample {
	var s steer.Sample
	for _, side := range []struct {
		word     string
		text     *string
		response *int
	}{{positive, &s.Positive, &s.PositiveResponse}, {negative, &s.Negative, &s.NegativeResponse}} {
		before, after, placed := strings.Cut(strings.ReplaceAll(c.Template, personaSlot, side.word), suffixSlot)
		if !placed && !c.Chat && suffix != "" {
			before = strings.TrimRight(before, " ") + " "
		}
		*side.text = before + suffix + after
		if suffix != "" {
			*side.response = len(before)
		}
	}
	return s
}

// beginningsOf cuts a text after each of its tokens but the last. Tokens that
// share a character are not parted.
func beginningsOf(t *tokenizer.Tokenizer, text string) ([]string, error) {
	e, err := t.Encode(text, tokenizer.EncodeOptions{NoSpecialTokens: true})
	if err != nil {
		return nil, err
	}
	var beginnings []string
	last := 0
	for _, offset := range e.Offsets {
		if end := offset[1]; end > last && end < len(text) {
			beginnings, last = append(beginnings, text[:end]), end
		}
	}
	if len(beginnings) == 0 {
		return []string{text}, nil
	}
	return beginnings, nil
}

// Persona is a trait as pairs of instructions, to show it and not to, and
// questions that are asked under both.
type Persona struct {
	Instructions []Instruction
	Questions    []string

	// InUser puts the instruction before the question in the user's message, for
	// templates that know no system message.
	InUser bool
}

// Build returns a pair for each question and each pair of instructions: the
// conversation up to where the answer begins, rendered with the tokenizer's chat
// template.
func (p Persona) Build(ctx context.Context, t *tokenizer.Tokenizer) ([]steer.Sample, error) {
	if len(p.Instructions) == 0 || len(p.Questions) == 0 {
		return nil, fmt.Errorf("build pairs: a persona needs instructions and questions; there are %d and %d", len(p.Instructions), len(p.Questions))
	}
	var samples []steer.Sample
	for _, question := range p.Questions {
		for _, instruction := range p.Instructions {
			var s steer.Sample
			for _, side := range []struct {
				instruction string
				text        *string
				ids         *[]int
			}{{instruction.Positive, &s.Positive, &s.PositiveIDs}, {instruction.Negative, &s.Negative, &s.NegativeIDs}} {
				messages := []tokenizer.Message{{Role: "system", Content: side.instruction}, {Role: "user", Content: question}}
				if p.InUser {
					messages = []tokenizer.Message{{Role: "user", Content: side.instruction + "\n\n" + question}}
				}
				text, e, err := t.EncodeChat(ctx, messages, tokenizer.ChatOptions{AddGenerationPrompt: true})
				if *side.text, *side.ids = text, e.IDs; errors.Is(err, tokenizer.ErrTemplateRefuses) && !p.InUser {
					err = fmt.Errorf("%w: the template may know no system message; the instruction can stand in the user's message", err)
				}
				if err != nil {
					return nil, fmt.Errorf("build pairs: question %q: %w", question, err)
				}
			}
			samples = append(samples, s)
		}
	}
	return samples, nil
}

// Text is a text with a label, perhaps after a prompt.
type Text struct{ Prompt, Text, Label string }

// Labelled pairs texts that have a label with texts that have another one, in an
// order that the seed draws. Every text is used: those of the smaller side come
// again, equally often or once more. The text after its prompt is the response.
func Labelled(texts []Text, label string, seed uint64) ([]steer.Sample, error) {
	var sides [2][]Text // positive, negative
	for _, text := range texts {
		side := 1
		if text.Label == label {
			side = 0
		}
		sides[side] = append(sides[side], text)
	}
	if len(sides[0]) == 0 || len(sides[1]) == 0 {
		return nil, fmt.Errorf("build pairs: %d texts have the label %q and %d have another; both are needed", len(sides[0]), label, len(sides[1]))
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for _, side := range sides {
		random.Shuffle(len(side), func(i, j int) { side[i], side[j] = side[j], side[i] })
	}
	samples := make([]steer.Sample, max(len(sides[0]), len(sides[1])))
	for i := range samples {
		s := &samples[i]
		s.Positive, s.PositiveResponse = sides[0][i%len(sides[0])].joined()
		s.Negative, s.NegativeResponse = sides[1][i%len(sides[1])].joined()
	}
	return samples, nil
}

// joined returns the text after its prompt, and where it begins; 0: there is no
// prompt.
func (t Text) joined() (text string, response int) {
	if t.Prompt == "" {
		return t.Text, 0
	}
	prompt := t.Prompt
	if !strings.HasSuffix(prompt, " ") && !strings.HasSuffix(prompt, "\n") && !strings.HasPrefix(t.Text, " ") {
		prompt += " "
	}
	return prompt + t.Text, len(prompt)
}
