package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/fileio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/pairs"
)

// Evaluation says what is asked of a model under which vectors. What is not said is as
// for steer eval.
type Evaluation struct {
	Job  Job        // its reading, layers and aggregator are not used
	Uses []eval.Use // the vectors and how they act

	Multipliers []float64
	Chat        bool               // questions go through the model's chat template
	Text        string             // neutral text, on which the cost is measured; "": the data's own prompts
	TextTokens  int                // of it that are taken; 0: 512
	Random      int                // random vectors to compare with
	Instruction *pairs.Instruction // in place of vectors, to compare with; nil: the data's own, if it has one
	Seed        uint64
	Resamples   int // of the bootstrap; 0: 1000
}

// Check returns an error for what makes no sense whatever the data are.
func (e Evaluation) Check() error {
	switch {
	case len(e.Uses) == 0:
		return errors.New("there is no vector to evaluate")
	case len(e.Multipliers) == 0:
		return errors.New("there are no multipliers")
	}
	for i, use := range e.Uses {
		if err := use.Check(); err != nil {
			return fmt.Errorf("vector %d: %w", i+1, err)
		}
	}
	if _, err := json.Marshal(e); err != nil {
		return fmt.Errorf("the evaluation cannot travel to workers: %w", err)
	}
	return e.Job.Check()
}

// packed is an evaluation as JSON, as it travels to workers: Beam follows the types of
// what it takes apart itself, and conditions hold conditions.
type packed []byte

// pack packs an evaluation that Check has nothing against.
func (e Evaluation) pack() packed {
	data, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("the evaluation was not checked: %v", err))
	}
	return data
}

func (p packed) unpack() (e Evaluation, err error) {
	if err = json.Unmarshal(p, &e); err != nil {
		err = fmt.Errorf("read the evaluation: %w", err)
	}
	return e, err
}

// options are those of an evaluation of data.
func (e Evaluation) options(data []byte) (eval.Options, *pairs.Instruction, error) {
	file, err := pairs.ReadItems(bytes.NewReader(data), "data")
	if err != nil {
		return eval.Options{}, nil, err
	}
	instruction := e.Instruction
	if instruction == nil && len(file.Instructions) > 0 {
		instruction = &file.Instructions[0]
	}
	return eval.Options{
		Items: file.Items, Chat: e.Chat, Text: cmp.Or(e.Text, eval.TextOf(file.Items)), TextTokens: e.TextTokens, Seed: e.Seed, Resamples: e.Resamples,
	}, instruction, nil
}

// ReadData reads files of what is asked, in any file system that Beam knows, and
// returns their content, one element of bytes, as if the files were one, in the order of
// their names. Where there are several, they are JSON Lines.
func ReadData(s beam.Scope, glob string) beam.PCollection {
	s = s.Scope("steer.ReadData")
	files := beam.ParDo(s, readFile, fileio.ReadMatches(s, fileio.MatchFiles(s, glob)))
	return beam.ParDo(s, joinFiles, beam.Impulse(s), beam.SideInput{Input: files})
}

// dataFile is a file and what is in it.
type dataFile struct {
	Path string
	Data []byte
}

func readFile(ctx context.Context, file fileio.ReadableFile) (dataFile, error) {
	data, err := file.Read(ctx)
	return dataFile{file.Metadata.Path, data}, err
}

func joinFiles(_ []byte, files func(*dataFile) bool) ([]byte, error) {
	var all []dataFile
	for file := (dataFile{}); files(&file); {
		all = append(all, file)
	}
	if len(all) == 0 {
		return nil, errors.New("there are no files of data")
	}
	slices.SortFunc(all, func(a, b dataFile) int { return cmp.Compare(a.Path, b.Path) })
	var data []byte
	for _, file := range all {
		if len(all) > 1 {
			if err := checkLines(file.Data); err != nil {
				return nil, fmt.Errorf("%s: %w", file.Path, err)
			}
		}
		data = append(append(data, file.Data...), '\n')
	}
	return data, nil
}

// checkLines returns an error where data are not JSON Lines.
func checkLines(data []byte) error {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if line = bytes.TrimSpace(line); len(line) > 0 && !json.Valid(line) {
			return fmt.Errorf("line %d is not JSON; several files must be JSON Lines", n)
		}
	}
	return nil
}

// Measure asks a model what the data hold, and returns parts of an [eval.Measured] as
// JSON. The data are parted by their prompts, as shards of a single machine are.
func Measure(s beam.Scope, data beam.PCollection, e Evaluation) beam.PCollection {
	s = s.Scope("steer.Measure")
	shards := beam.ParDo(s, &numberFn{Of: e.Job.groups()}, beam.Impulse(s))
	return e.Job.inPools(s, shards, func(s beam.Scope, shards beam.PCollection) beam.PCollection {
		return beam.ParDo(s, &measureFn{Packed: e.pack()}, shards, beam.SideInput{Input: data})
	})
}

// numberFn makes the numbers of shards.
type numberFn struct{ Of int }

// ProcessElement emits the numbers, from 1, as groups of nothing.
func (f *numberFn) ProcessElement(_ []byte, emit func(int, string)) {
	for number := range f.Of {
		emit(number+1, "")
	}
}

// measureFn measures a shard.
type measureFn struct {
	Packed packed

	evaluation Evaluation
	evaluator  *eval.Evaluator // of the data; nil: there was no shard yet
	arms       []eval.Arm
}

// Setup opens the model before there is work.
func (f *measureFn) Setup() (err error) {
	if f.evaluation, err = f.Packed.unpack(); err == nil {
		_, err = f.evaluation.Job.model()
	}
	return err
}

// ProcessElement emits what is measured of the shard with a number.
func (f *measureFn) ProcessElement(ctx context.Context, number int, _ []string, data []byte, emit func([]byte)) error {
	e := f.evaluation
	m, err := e.Job.model()
	if err != nil {
		return err
	}
	if f.evaluator == nil {
		options, instruction, err := e.options(data)
		if err != nil {
			return err
		}
		baselines, err := eval.Baselines{Random: e.Random, Seed: e.Seed, Instruction: instruction}.Arms(m, e.Uses, e.Multipliers)
		if err != nil {
			return err
		}
		steered, err := eval.Arms(m, e.Uses, e.Multipliers)
		if err != nil {
			return err
		}
		if f.evaluator, err = eval.NewEvaluator(ctx, m, options); err != nil {
			return err
		}
		f.arms = append(baselines, steered...)
	}
	out, err := e.Job.kept(ctx, m, []any{e, data, number}, func() ([]byte, error) {
		before := f.evaluator.Usage()
		measured, err := f.evaluator.Measure(ctx, f.arms, steer.Shard{Number: number, Of: e.Job.groups()}, nil)
		if err != nil {
			return nil, err
		}
		after := f.evaluator.Usage()
		given.Inc(ctx, int64(after.Given-before.Given))
		computed.Inc(ctx, int64(after.Computed-before.Computed))
		return json.Marshal(measured)
	})
	if err == nil {
		emit(out)
	}
	return err
}

// WriteRows sums up what was measured of data and writes the rows to a file, in any
// file system that Beam knows: a line for each, as rows.jsonl of a sweep has them.
func WriteRows(s beam.Scope, data, measured beam.PCollection, e Evaluation, path string) {
	s = s.Scope("steer.WriteRows")
	e.Uses = nil // rows need no vectors
	beam.ParDo0(s, &writeRowsFn{Packed: e.pack(), Path: path}, data, beam.SideInput{Input: measured})
}

type writeRowsFn struct {
	Packed packed
	Path   string
}

// ProcessElement merges all parts, makes the rows and writes them.
func (f *writeRowsFn) ProcessElement(ctx context.Context, data []byte, parts func(*[]byte) bool) error {
	var whole *eval.Measured
	for text := []byte(nil); parts(&text); {
		part := new(eval.Measured)
		if err := json.Unmarshal(text, part); err != nil {
			return fmt.Errorf("read what was measured: %w", err)
		}
		if whole == nil {
			whole = part
		} else if err := whole.Merge(part); err != nil {
			return fmt.Errorf("merge what was measured: %w", err)
		}
	}
	e, err := f.Packed.unpack()
	if err != nil {
		return err
	}
	options, _, err := e.options(data)
	if err != nil {
		return err
	}
	summary, err := eval.NewSummary(options)
	if err != nil {
		return err
	}
	rows, err := summary.Rows(whole)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	if err := eval.EncodeRows(&lines, rows); err != nil {
		return err
	}
	return publish(ctx, f.Path, func(local string) error { return save(local, lines.Bytes()) })
}

func init() {
	beam.RegisterType(reflect.TypeFor[dataFile]())
	register.Function2x2(readFile)
	register.Function2x2(joinFiles)
	register.Iter1[dataFile]()
	register.Iter1[[]byte]()
	register.Emitter2[int, string]()
	register.DoFn2x0[[]byte, func(int, string)](&numberFn{})
	register.DoFn5x1[context.Context, int, []string, []byte, func([]byte), error](&measureFn{})
	register.DoFn3x1[context.Context, []byte, func(*[]byte) bool, error](&writeRowsFn{})
}
