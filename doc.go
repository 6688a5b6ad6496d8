// Package steer trains steering vectors and applies them.
//
// A steering vector is a direction in a transformer's activations, learned from
// pairs of prompts that differ in one respect: the positive prompt shows it, the
// negative one does not. Added to the activations while the model writes, the
// vector makes the model show more of it; subtracted or ablated, less. The package
// example goes all the way.
//
// The parts, in the order in which a run meets them:
//
//   - [Sample] is one pair of prompts; package pairs reads files of them, and
//     [RenderChat] makes conversations of them.
//   - A [Reading] says what is read of a prompt: [ReadAt] a position, by default the
//     last, or the mean over tokens or a text.
//   - An [Aggregator] turns one layer's activations into one direction: [Mean],
//     [PCA], [Logistic], more in package aggregators, or any function through
//     [AggregatorFunc]. [SelectDirection] finds the layer and the position.
//   - [Train] does it all; or [Collect] gives [Statistics], which are kept, merged
//     and made into a vector, or [Extract] the activations themselves.
//   - A [Vector] holds a direction per layer and where it came from. It can be
//     scaled, added and cut, is saved and loaded as safetensors.
//   - [Vector.Edit] makes of it, times a multiplier, an edit that a model accepts,
//     with an [Operator] ([Add], [Ablate], [AblateThenAdd], more in package operators,
//     or any function through [lm.OperatorFunc]) and a selection of tokens ([From], [At], [Range], [Mask],
//     [Prompt], [Response]). [Vector.Check] says what may surprise about it.
//
// Layers are 0-based everywhere; negative ones count from the model's last. What a
// vector belongs to is addressed by layer and site: see [lm.Site]. Package
// lm/modules finds a site by the paths of a model's modules.
package steer
