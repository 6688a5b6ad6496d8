package forest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEveryDistinctPrefixIsComputedOnce(t *testing.T) {
	for _, test := range []struct {
		name      string
		sequences []Sequence
		nodes     int
	}{
		{"nothing", nil, 0},
		{"one", []Sequence{{Tokens: []int{1, 2, 3}}}, 3},
		{"twice the same", []Sequence{{Tokens: []int{1, 2}}, {Tokens: []int{1, 2}}}, 2},
		{"shared template, other ending", []Sequence{{Tokens: []int{1, 2, 3}}, {Tokens: []int{1, 2, 4}}}, 4},
		{"truncations", []Sequence{{Tokens: []int{1, 2, 3}}, {Tokens: []int{1}}, {Tokens: []int{1, 2}}}, 3},
		{"a mark parts equal tokens", []Sequence{{Tokens: []int{1, 2}}, {Tokens: []int{1, 2}, Marks: []uint32{0, 7}}}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := New(test.sequences).Nodes(); got != test.nodes {
				t.Errorf("%d nodes, want %d", got, test.nodes)
			}
		})
	}
}

// Following the schedule with nothing but what it says must rebuild every
// sequence, whatever the limit of a run.
func TestRunsRebuildTheSequences(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for trial := range 200 {
		var sequences []Sequence
		for range random.IntN(20) {
			s := Sequence{Tokens: make([]int, random.IntN(12)), Marks: make([]uint32, 12)}
			for i := range s.Tokens {
				s.Tokens[i] = random.IntN(3)
				s.Marks[i] = uint32(random.IntN(2))
			}
			s.Marks = s.Marks[:len(s.Tokens)]
			sequences = append(sequences, s)
		}
		f := New(sequences)
		limit := 1 + random.IntN(9)
		t.Run(fmt.Sprint(trial), func(t *testing.T) {
			var path []string
			done, nodes := 0, 0
			for run := range f.Runs(limit) {
				inRun := 0
				for _, segment := range run.Segments {
					s := sequences[segment.Sequence]
					path = path[:segment.From]
					for i := segment.From; i < segment.To; i++ {
						path = append(path, fmt.Sprint(s.Tokens[i], s.Marks[i]))
					}
					inRun += segment.To - segment.From
					if segment.Done {
						done++
						var want []string
						for i := range s.Tokens {
							want = append(want, fmt.Sprint(s.Tokens[i], s.Marks[i]))
						}
						if !slices.Equal(path, want) {
							t.Fatalf("sequence %d is %v, computed as %v", segment.Sequence, want, path)
						}
					}
				}
				if inRun > limit {
					t.Fatalf("%d nodes in a run of at most %d", inRun, limit)
				}
				nodes += inRun
				path = path[:run.Keep]
			}
			if done != len(sequences) || nodes != f.Nodes() {
				t.Fatalf("%d of %d sequences done, %d of %d nodes", done, len(sequences), nodes, f.Nodes())
			}
		})
	}
}
