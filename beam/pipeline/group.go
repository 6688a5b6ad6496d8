package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"

	"github.com/steervec/steer/pairs"
)

// Groups are ranges of the sorted prompts, as shards of a single machine are: where
// the ranges begin is estimated from all prompts by quantiles. Which group a pair is in
// changes what is computed twice, never a result.

const (
	groups  = 64  // where the job does not say
	sketch  = 200 // size of the quantile sketch: an error of about one in a hundred
	keyLeft = 256 // bytes of a prompt that choose its group
)

// perGroup puts lines into groups and has the groups computed. Compute is given a
// collection of group and lines.
func (j Job) perGroup(s beam.Scope, lines beam.PCollection, compute func(beam.Scope, beam.PCollection) beam.PCollection) beam.PCollection {
	lines = beam.ParDo(s, notBlank, lines)
	keyed := beam.ParDo(s, withKey, lines)
	bounds := stats.ApproximateQuantiles(s, beam.DropValue(s, keyed), before, stats.Opts{K: sketch, NumQuantiles: j.groups()})
	return j.inPools(s, beam.ParDo(s, assign, keyed, beam.SideInput{Input: bounds}), compute)
}

func (j Job) groups() int { return cmp.Or(j.Groups, groups) }

// inPools gathers what is keyed by group and has it computed, in as many pools as the job
// says, which are known by the names of their scopes.
func (j Job) inPools(s beam.Scope, keyed beam.PCollection, compute func(beam.Scope, beam.PCollection) beam.PCollection) beam.PCollection {
	grouped := beam.ParDo(s, gather, beam.GroupByKey(s, keyed))
	pools := cmp.Or(j.Pools, 1)
	if pools == 1 {
		return compute(s, grouped)
	}
	var computed []beam.PCollection
	for pool := range pools {
		mine := beam.ParDo(s, &ofPoolFn{Pool: pool, Pools: pools}, grouped)
		computed = append(computed, compute(s.Scope(fmt.Sprint(PoolScope, pool)), mine))
	}
	return beam.Flatten(s, computed...)
}

// PoolScope begins the name of the scope of what a pool computes; the pool's number
// follows.
const PoolScope = "steer.pool-"

// notBlank passes on what is not a blank line, without the end that Windows gives it.
func notBlank(line string, emit func(string)) {
	if line = strings.TrimSpace(line); line != "" {
		emit(line)
	}
}

// withKey returns a line behind the beginning of its positive prompt, by which pairs are
// sorted.
func withKey(line string) (key, _ string, err error) {
	file, err := readLines([]string{line})
	if err != nil {
		return "", "", err
	}
	sample := file.Samples[0]
	text := sample.Positive
	if sample.PositiveIDs != nil {
		text = fmt.Sprint(sample.PositiveIDs)
	}
	return text[:min(len(text), keyLeft)], line, nil
}

func before(a, b string) bool { return a < b }

// assign returns the group of a line: how many bounds do not lie after its key.
func assign(key, line string, bounds []string) (int, string) {
	return sort.Search(len(bounds), func(i int) bool { return bounds[i] > key }), line
}

// gather returns the lines of a group, sorted, so that they are the same in every
// attempt.
func gather(group int, lines func(*string) bool) (int, []string) {
	var all []string
	for line := ""; lines(&line); {
		all = append(all, line)
	}
	slices.Sort(all)
	return group, all
}

// ofPoolFn keeps the groups of one of several pools.
type ofPoolFn struct{ Pool, Pools int }

// ProcessElement passes on a group of the pool.
func (f *ofPoolFn) ProcessElement(group int, lines []string, emit func(int, []string)) {
	if group%f.Pools == f.Pool {
		emit(group, lines)
	}
}

// readLines reads pairs that each have a line.
func readLines(lines []string) (pairs.File, error) {
	file, err := pairs.Read(strings.NewReader(strings.Join(lines, "\n")), "pairs")
	if err == nil && len(file.Samples) != len(lines) {
		err = fmt.Errorf("%d lines hold %d pairs; each line must hold one", len(lines), len(file.Samples))
	}
	return file, err
}

func init() {
	register.Function2x0(notBlank)
	register.Function1x3(withKey)
	register.Function2x1(before)
	register.Function3x2(assign)
	register.Emitter2[int, []string]()
	register.Iter1[string]()
	register.Function2x2(gather)
	register.DoFn3x0[int, []string, func(int, []string)](&ofPoolFn{})
}
