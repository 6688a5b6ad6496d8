package lm_test

import (
	"context"
	"fmt"
	"log"

	"github.com/steervec/steer/lm"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Sequences of a batch come and go between steps, each with options of its own.
func ExampleBatch() {
	ctx := context.Background()
	model, err := lm.Open(ctx, "demo")
	check(err)
	batch, err := model.NewBatch(lm.BatchOptions{})
	check(err)
	defer batch.Close()
	first, err := batch.Add(ctx, lm.Input{Text: "Once there was"}, lm.GenerateOptions{Stop: []string{"."}})
	check(err)
	check(batch.Step(ctx))
	second, err := batch.Add(ctx, lm.Input{Text: "Sam was a farmer. One day"}, lm.GenerateOptions{MaxTokens: 8})
	check(err)
	for batch.Open() > 0 {
		check(batch.Step(ctx))
	}
	for _, s := range []*lm.Sequence{first, second} {
		fmt.Printf("%s (%s)\n", s.Generation().Text, s.Generation().Finish)
	}
	// Output:
	// a tall squirrel named Clara who lived in the mountains (stop)
	// , Sam walked along the road to the (length)
}

// On a cached view prompts that begin alike are computed once, in whatever calls.
func ExampleModel_Cached() {
	ctx := context.Background()
	model, err := lm.Open(ctx, "demo")
	check(err)
	cached := model.Cached(4096)
	for range 2 {
		usage, err := cached.Forward(ctx, []lm.Input{{Text: "Sam was a farmer. One day", Read: []int{5}}}, lm.ForwardOptions{Logits: func(int, int, []float32) {}})
		check(err)
		fmt.Println(usage.Given, "given,", usage.Computed, "computed")
	}
	// Output:
	// 9 given, 9 computed
	// 9 given, 4 computed
}
