package steer_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// An operator of one's own: the vector acts only on activations that point
// against it.
func ExampleOperator() {
	correct := lm.OperatorFunc("correct", func(delta, activation, vector []float32) {
		var along float32
		for i, v := range vector {
			along += activation[i] * v
		}
		if along < 0 {
			copy(delta, vector)
		}
	})
	delta := make([]float32, 2)
	correct.Delta(delta, []float32{-6, 1}, []float32{2, 0})
	fmt.Println(delta)
	// Output: [2 0]
}

func ExampleAblate() {
	direction, err := steer.Ablate().Prepare([]float32{0, 10}, 2)
	if err != nil {
		panic(err)
	}
	delta := make([]float32, 2)
	steer.Ablate().Delta(delta, []float32{3, 4}, direction)
	fmt.Println(delta)
	// Output: [0 -4]
}

func ExampleRange() {
	everySecond := steer.Range(1, steer.End, 2)
	for position := range 6 {
		fmt.Print(everySecond.Selects(position, 4), " ")
	}
	// Output: false true false true false true
}

func ExampleParseTokens() {
	tokens, err := steer.ParseTokens("-1,7")
	if err != nil {
		panic(err)
	}
	fmt.Println(tokens.Check(5))
	// Output: token 7 is outside the prompt of 5 tokens
}

// Samples may be collected in parts, on several machines of one kind: the vector is
// that of the whole, to the bit.
func ExampleStatistics_Merge() {
	ctx := context.Background()
	model, err := lm.Open(ctx, "demo")
	check(err)
	file, err := pairs.Open("testdata/mood.jsonl")
	check(err)
	opts := steer.TrainOptions{Layers: []int{3}}
	first, err := steer.Collect(ctx, model, file.Samples[:1], opts)
	check(err)
	rest, err := steer.Collect(ctx, model, file.Samples[1:], opts)
	check(err)
	check(rest.Merge(first))
	merged, err := rest.Vector()
	check(err)

	whole, err := steer.Train(ctx, model, file.Samples, opts)
	check(err)
	fmt.Println(rest.Samples(), slices.Equal(merged.Layers[3], whole.Layers[3]))
	// Output: 4 true
}

func ExampleParseReading() {
	for _, text := range []string{"-1", "mean:1:", `mean:"happy"`, "last"} {
		fmt.Println(steer.ParseReading(text))
	}
	// Output:
	// -1 <nil>
	// mean:1: <nil>
	// mean:"happy" <nil>
	// <nil> "last" says nothing that can be read: it is a position such as -1, or mean, mean:2:-1, mean:response or mean:"some text"
}

func ExampleVector_Add() {
	calm := &steer.Vector{Layers: map[int][]float32{3: {1, 0}}}
	happy := &steer.Vector{Layers: map[int][]float32{3: {0, 2}}}
	half, err := happy.Scale(0.5)
	check(err)
	both, err := calm.Add(half)
	check(err)
	fmt.Println(both.Layers[3])
	// Output: [1 1]
}
