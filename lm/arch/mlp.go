package arch

import "math"

// MLP is the feed-forward part of a block: down(activation(up(x))), or with a
// gate down(activation(gate(x)) * up(x)), or a mixture of such experts.
type MLP struct {
	Activation Activation
	Inner      int // width of the hidden layer

	Gate, Up, Down Linear
	GateUp         Linear // the gate's rows, then those of up, in one tensor; replaces both
	Alternating    bool   // in GateUp, rows of the gate and of up alternate

	// Sparsity is the share of the gates that would be closed if those of a row were
	// distributed normally: each loses their mean, and so many of their deviations as
	// leave this share below; what is below zero becomes zero, before the activation
	// (Gemma 3n's release); 0: none.
	Sparsity float32

	GateLimit float32 // bounds the gate from above and up to ±GateLimit, before the activation; 0: not
	UpOffset  float32 // added to up before it meets the gate
	GateScale float32 // multiplies the gate before the activation; 0: 1
	Scale     float32 // multiplies what down gives, bias included; 0: 1
	XIELU     *XIELU  // the constants of that activation

	Experts *Experts // nil: dense
}

// Cutoff returns how many deviations from their mean gates are cut at: the quantile
// of the normal distribution at Sparsity.
func (m *MLP) Cutoff() float64 { return math.Sqrt2 * math.Erfinv(2*float64(m.Sparsity)-1) }

// Experts is a mixture of MLPs of which each token uses a few
// (Shazeer et al. 2017). The fields of the enclosing MLP describe one expert;
// {expert} in its tensor names stands for the expert's number. A name without it
// is a tensor that holds all experts: [experts, out, in] or the same rows in two
// dimensions, with Transposed [experts, in, out], and biases [experts, out].
type Experts struct {
	Router   Linear // [experts+Idle, hidden]
	Count    int
	Idle     int // more that can be chosen, which have no weights and give what they read
	PerToken int

	Scoring Scoring

	// Correction is the tensor [experts+Idle], or [1, …] of the same, that is added to the
	// scores when experts are chosen, but not to their weights (Wang et al. 2024);
	// "": none.
	Correction string

	// The experts form Groups of neighbours, and in all but the GroupsPerToken best
	// groups the corrected scores count as 0 when experts are chosen; Groups 0: none
	// do. A group is as good as its best expert (DeepSeek-AI 2024, section 2.1.2), or
	// as its two best together.
	Groups, GroupsPerToken int
	GroupByTwo             bool

	Normalize  bool    // the chosen experts' weights are made to sum to 1
	Scale      float32 // multiplies the weights then; 0: 1
	WeighInput bool    // the weight multiplies what the expert reads, not what it gives

	Bias       string // tensor [hidden], added to what the experts give together; "": none
	Shared     *MLP   // an expert that every token uses; nil: none
	SharedGate Linear // [1, hidden], whose sigmoid weighs the shared expert; no weight: 1
}

// Choices returns among how many experts a router chooses.
func (e *Experts) Choices() int { return e.Count + e.Idle }

// Scoring turns the router's outputs into experts' scores, which are their weights.
type Scoring uint8

const (
	Softmax Scoring = iota
	Sigmoid
	// SparseMixer chooses one expert after the other. Its weight is the softmax over
	// those left whose outputs fall short of the best by at most 2 % of their own
	// size, or of the best output if that is larger (Liu et al. 2023).
	SparseMixer
)

// Activation is the function between an MLP's layers.
type Activation string

const (
	SiLU     Activation = "silu"
	GELU     Activation = "gelu"
	GELUTanh Activation = "gelu_tanh"
	ReLU     Activation = "relu"
	// ReLU2 is ReLU, squared.
	ReLU2 Activation = "relu2"
	// QuickGELU is x·sigmoid(1.702·x).
	QuickGELU Activation = "quick_gelu"
	// Logistic is the sigmoid itself, of gates alone.
	Logistic Activation = "sigmoid"
	// LearnedIELU is the activation of [XIELU], with constants of its own on each layer.
	LearnedIELU Activation = "xielu"
)

// XIELU names the tensors that hold an activation's constants, each of one
// element: it is softplus(Positive)·x² + Beta·x above zero and else
// (Beta + softplus(Negative))·(exp(min(x, Epsilon)) - 1 - x) + Beta·x
// (Huang and Schlag 2025).
type XIELU struct{ Positive, Negative, Beta, Epsilon string }
