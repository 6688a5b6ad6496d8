package pairs

// Items are what a file of evaluation data holds: what a steered model is asked.
type Items struct {
	Items []Item

	// Instructions are pairs of system prompts that ask for the behaviour and for its
	// opposite, where the file has them, as persona files do.
	Instructions []Instruction

	// JudgePrompt is what a judge is to be asked about an answer, where the file has
	// it; {question} and {answer} stand for the two.
	JudgePrompt string

	Note string // what the reader should know of the file, a sentence; "": nothing
}

// Item is one question of an evaluation, one text, or one prompt to go on from.
type Item struct {
	// ID tells the item from the others of its file, whatever their order: the
	// record's own, or a digest of its content.
	ID      string   `json:"id"`
	Kind    ItemKind `json:"kind"`
	Line    int      `json:"line,omitempty"`    // of the file, from 1
	Concept string   `json:"concept,omitempty"` // what a labelled text shows, what a prompt is about

	// Options are what may follow, those that show the behaviour first. A text has
	// one, and a question one without an answer.
	Options []Option `json:"options"`

	// Swapped are the options in the same order, asked for with their letters
	// exchanged in the question, so that a liking for a letter cancels out. Nil where
	// the data do not allow it.
	Swapped []Option `json:"swapped,omitempty"`
}

// Option is a prompt and an answer to it.
type Option struct {
	Prompt string `json:"prompt"` // complete, as plain text; "" where there is nothing but the answer

	// Question is what the user's turn of a conversation holds, where that is not the
	// prompt.
	Question string `json:"question,omitempty"`

	Answer  string `json:"answer,omitempty"` // what follows the prompt, with the space that parts it from there
	Matches bool   `json:"matches"`          // whether it shows the behaviour, or is true
}

// ItemKind is how an item is evaluated.
type ItemKind string

const (
	// ABItem has two options whose answers are letters, the matching one first.
	ABItem ItemKind = "ab"
	// PairItem has two options, the matching one first, whose prompts may differ.
	PairItem ItemKind = "pair"
	// MC1Item has several options, of which the first is the only one that matches.
	MC1Item ItemKind = "mc1"
	// MC2Item has several options, of which some match.
	MC2Item ItemKind = "mc2"
	// TextItem is a text that shows a concept or not.
	TextItem ItemKind = "text"
	// QuestionItem is a prompt whose answer is to be written.
	QuestionItem ItemKind = "question"
)

// Instruction is a pair of system prompts.
type Instruction struct{ Positive, Negative string }
