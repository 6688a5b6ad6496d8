package steer_test

import (
	"fmt"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
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
	delta := make([]float32, 2)
	steer.Ablate().Delta(delta, []float32{3, 4}, []float32{10, 10})
	fmt.Println(delta)
	// Output: [-3.5 -3.5]
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
