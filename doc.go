// Package steer trains steering vectors and applies them.
//
// A steering vector is a direction in a transformer's activations, learned from
// pairs of prompts that differ in one respect: the positive prompt shows it, the
// negative one does not. Added to the activations while the model writes, the
// vector makes the model show more of it; subtracted or ablated, less.
//
//	model, err := lm.Open(ctx, "Qwen/Qwen2.5-0.5B", lm.OpenOptions{})
//	...
//	samples, err := pairs.Open("pairs.jsonl")
//	...
//	vector, err := steer.Train(ctx, model, samples, steer.TrainOptions{
//	    ExtractOptions: steer.ExtractOptions{Layers: []int{8, 9, 10}},
//	})
//	...
//	edit, err := vector.Edit(steer.EditOptions{Multiplier: new(2.5), Tokens: steer.Response()})
//	...
//	text, err := model.With(edit).Generate(ctx, prompt, lm.GenerateOptions{})
//
// The parts, in the order in which a run meets them:
//
//   - [Sample] is one pair of prompts; package pairs reads files of them.
//   - An [Aggregator] turns one layer's activations into one direction: [Mean],
//     [PCA], [Logistic], or any function through [AggregatorFunc].
//   - A [Vector] holds a direction per layer and where it came from; it is saved
//     and loaded as safetensors.
//   - [Vector.Edit] makes of it an edit that a model accepts, with an [Operator]
//     ([Add], [Ablate], [AblateThenAdd] or any function) and a selection of tokens
//     ([From], [At], [Range], [Mask], [Prompt], [Response]).
//
// Layers are 0-based; negative ones count from the model's last. What a vector
// belongs to is addressed by layer and site: see [lm.Site].
package steer
