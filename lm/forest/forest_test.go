package forest

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestEveryDistinctPrefixIsANode(t *testing.T) {
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
		{"a mark parts equal tokens", []Sequence{{Tokens: []int{1, 2}}, {Tokens: []int{1, 2}, Marks: []Mark{{}, {7}}}}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Sort(test.sequences).Nodes; got != test.nodes {
				t.Errorf("%d nodes, want %d", got, test.nodes)
			}
		})
	}
}

func randomSequence(random *rand.Rand, most int) Sequence {
	s := Sequence{Tokens: make([]int, random.IntN(most)), Marks: make([]Mark, most)}
	for i := range s.Tokens {
		s.Tokens[i] = random.IntN(3)
		s.Marks[i] = Mark{byte(random.IntN(2))}
	}
	s.Marks = s.Marks[:len(s.Tokens)]
	return s
}

// In the order that Sort gives, what a sequence shares with the one before is
// what any sequence before has of it.
func TestSortedNeighboursShareTheLongestPrefix(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var sequences []Sequence
		for range random.IntN(20) {
			sequences = append(sequences, randomSequence(random, 12))
		}
		order := Sort(sequences)
		seen := map[string]bool{}
		for i, n := range order.Sequences {
			s, shared := sequences[n], 0
			for k := range s.Tokens {
				prefix := fmt.Sprint(s.Tokens[:k+1], s.Marks[:k+1])
				if seen[prefix] {
					shared = k + 1
				}
				seen[prefix] = true
			}
			if shared != order.Shared[i] {
				t.Fatalf("a sequence shares %d with those before it, %d with the one before", shared, order.Shared[i])
			}
		}
		if order.Nodes != len(seen) {
			t.Fatalf("%d nodes, want %d", order.Nodes, len(seen))
		}
	}
}
