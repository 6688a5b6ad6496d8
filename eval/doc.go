// Package eval measures whether and how well a vector steers: metrics of what a
// model prefers and writes, what steering costs, baselines beside every result,
// sweeps over layers, methods and strengths, and calibration.
//
// Everything that it returns is plain rows ([Row]), which are also lines of JSON.
// What it asks a model comes from files that package pairs reads ([pairs.Item]).
// docs/evaluating.md has the formulas and their sources.
package eval
