package steer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/forest"
	"github.com/steervec/steer/lm/tokenizer"
)

// Shard is one of the parts into which a set of samples or questions is split, so that
// several machines share the work: number 1 to Of. The zero value is the whole.
//
// The set is sorted by its tokens and cut where about the same number of tokens is to
// be computed, so that neighbours, which share the longest prefixes, stay together: a
// cut costs at most the beginnings of one pair, which two parts then compute.
// Every machine that has the same set and tokenizer finds the same parts.
type Shard struct {
	Number int `json:"number"`
	Of     int `json:"of"`
}

// maxShards bounds shards: no list of machines is as long.
const maxShards = 1 << 16

var shardForm = regexp.MustCompile(`^([0-9]{1,6})/([0-9]{1,6})$`)

// ParseShard reads a shard as it is written, such as 3/8.
func ParseShard(text string) (Shard, error) {
	parts := shardForm.FindStringSubmatch(text)
	if parts == nil {
		return Shard{}, errors.New("it is not like 3/8, the third of eight")
	}
	s := Shard{}
	s.Number, _ = strconv.Atoi(parts[1]) // digits, and few
	s.Of, _ = strconv.Atoi(parts[2])
	return s, s.check()
}

// String writes the shard as [ParseShard] reads it; "" for the whole.
func (s Shard) String() string {
	if s == (Shard{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Number, s.Of)
}

func (s Shard) check() error {
	if s != (Shard{}) && !(1 <= s.Number && s.Number <= s.Of && s.Of <= maxShards) {
		return fmt.Errorf("shard %d of %d: shards are counted from 1, and at most %d", s.Number, s.Of, maxShards)
	}
	return nil
}

// Members returns which units are in the shard, as their numbers, ascending. A unit is
// what must stay together, such as the two prompts of a sample or a question with all of
// its answers, given as the tokens of its prompts: [units][prompts][tokens]. It is an
// error where there are fewer units than shards.
func (s Shard) Members(units [][][]int) ([]int, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := enough(units, s.Of); err != nil {
		return nil, err
	}
	if s == (Shard{}) {
		s = Shard{1, 1}
	}
	return sortUnits(units).members(s), nil
}

func enough(units [][][]int, shards int) error {
	if len(units) < shards {
		return fmt.Errorf("%d cannot be split into %d shards", len(units), shards)
	}
	return nil
}

// PlanShards returns what each shard of samples is given and computes, in tokens, for
// several numbers of shards: [of][shards]. It needs no weights. What it counts are whole
// prompts; where something before a prompt's end is read, less is computed.
func PlanShards(t *tokenizer.Tokenizer, samples []Sample, of ...int) ([][]lm.Usage, error) {
	units := make([][][]int, len(samples))
	for i, s := range samples {
		for side, prompt := range []struct {
			text string
			ids  []int
		}{{s.Positive, s.PositiveIDs}, {s.Negative, s.NegativeIDs}} {
			if prompt.ids == nil {
				e, err := t.Encode(prompt.text, tokenizer.EncodeOptions{})
				if err != nil {
					return nil, &SampleError{i, [2]string{"positive", "negative"}[side], err}
				}
				prompt.ids = e.IDs
			}
			units[i] = append(units[i], prompt.ids)
		}
	}
	sorted := sortUnits(units)
	plans := make([][]lm.Usage, len(of))
	for k, shards := range of {
		if err := (Shard{1, shards}).check(); err != nil {
			return nil, err
		}
		if err := enough(units, shards); err != nil {
			return nil, fmt.Errorf("samples: %w", err)
		}
		for number := 1; number <= shards; number++ {
			var prompts []forest.Sequence
			usage := lm.Usage{}
			for _, i := range sorted.members(Shard{number, shards}) {
				for _, tokens := range units[i] {
					prompts = append(prompts, forest.Sequence{Tokens: tokens})
					usage.Given += len(tokens)
				}
			}
			usage.Computed = forest.Sort(prompts).Nodes
			plans[k] = append(plans[k], usage)
		}
	}
	return plans, nil
}

// sortedUnits are units in the order of their first prompts.
type sortedUnits struct {
	order []int

	// upto[k] is what the first k units in order cost: the tokens that neither the unit
	// before has in the same place nor the unit itself in an earlier one.
	upto []int
}

func sortUnits(units [][][]int) sortedUnits {
	firsts := make([]forest.Sequence, len(units))
	for i, unit := range units {
		if len(unit) > 0 {
			firsts[i].Tokens = unit[0]
		}
	}
	s := sortedUnits{forest.Sort(firsts).Sequences, make([]int, len(units)+1)}
	for k, i := range s.order {
		s.upto[k+1] = s.upto[k]
		for p, prompt := range units[i] {
			shared := 0
			if k > 0 && p < len(units[s.order[k-1]]) {
				shared = sharedPrefix(prompt, units[s.order[k-1]][p])
			}
			for _, earlier := range units[i][:p] {
				shared = max(shared, sharedPrefix(prompt, earlier))
			}
			s.upto[k+1] += len(prompt) - shared
		}
	}
	return s
}

func sharedPrefix(a, b []int) int {
	return forest.SharedPrefix(forest.Sequence{Tokens: a}, forest.Sequence{Tokens: b})
}

// members returns which units are in a shard, as their numbers, ascending.
func (s sortedUnits) members(shard Shard) []int {
	from, to := 0, 0
	for n := 1; n <= shard.Number; n++ {
		from, to = to, cutAt(s.upto, n, shard.Of, to)
	}
	members := slices.Clone(s.order[from:to])
	slices.Sort(members)
	return members
}

// cutAt returns how many units lie before the n-th of the cuts into parts, by what they
// cost; each part has a unit.
func cutAt(upto []int, n, parts, before int) int {
	units := len(upto) - 1
	wanted := int(int64(upto[units]) * int64(n) / int64(parts))
	at, _ := slices.BinarySearch(upto, wanted)
	return min(max(at, before+1), units-(parts-n))
}

// Shards say which parts of a set something holds; the zero value says that it was not
// split.
type Shards struct {
	Of      int    `json:"of"`
	Numbers []int  `json:"numbers"` // ascending
	Whole   string `json:"whole"`   // digest of the set
}

// Alone returns the shards that hold this one, of the set with a digest.
func (s Shard) Alone(whole string) Shards {
	if s == (Shard{}) {
		return Shards{}
	}
	return Shards{s.Of, []int{s.Number}, whole}
}

// Join returns the parts of both. It is an error where they are of other sets, or have
// a part in common, which it names.
func (s Shards) Join(other Shards) (Shards, error) {
	switch {
	case s.Of == 0 && other.Of == 0:
		return s, nil
	case s.Of == 0 || other.Of == 0:
		part := s
		if s.Of == 0 {
			part = other
		}
		return s, fmt.Errorf("one is %s, the other a whole", part)
	case s.Of != other.Of:
		return s, fmt.Errorf("%s and %s are of other splits", s, other)
	case s.Whole != other.Whole:
		return s, fmt.Errorf("%s and %s are of other samples", s, other)
	}
	for _, n := range other.Numbers {
		if slices.Contains(s.Numbers, n) {
			return s, fmt.Errorf("shard %d of %d is there twice", n, s.Of)
		}
	}
	s.Numbers = slices.Sorted(slices.Values(slices.Concat(s.Numbers, other.Numbers)))
	return s, nil
}

// String names the parts.
func (s Shards) String() string {
	return fmt.Sprintf("shard %s of %d", numbers(s.Numbers), s.Of)
}

// Complete returns an error that names the parts that are missing.
func (s Shards) Complete() error {
	var missing []int
	for n := 1; n <= s.Of; n++ {
		if _, ok := slices.BinarySearch(s.Numbers, n); !ok {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("of %d shards these are missing: %s", s.Of, numbers(missing))
	}
	return nil
}

// Check refuses what no split has, as a file may say it.
func (s Shards) Check() error {
	ok := s.Of >= 0 && s.Of <= maxShards && (s.Of == 0) == (len(s.Numbers) == 0)
	for i, n := range s.Numbers {
		ok = ok && 1 <= n && n <= s.Of && (i == 0 || n > s.Numbers[i-1])
	}
	if !ok {
		return fmt.Errorf("the shards %v of %d are none", s.Numbers, s.Of)
	}
	return nil
}

func numbers(list []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(list)), ", "), "[]")
}
