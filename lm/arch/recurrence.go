package arch

import (
	"errors"
	"fmt"

	"github.com/steervec/steer/internal/finite"
)

// Recurrence mixes a token with those before it through a state of a fixed size
// that every token changes, where attention looks at the keys and values of them
// all. Short convolutions, state spaces, the delta rule and linear attention are
// such:
//
//	parts  = In(x)
//	q,k,v  = activation(convolution(query, key, value))
//	y      = memory(q, k, v), or v without a memory
//	result = Output(norm(gate(y)))
//
// A state is the last inputs of the convolution, and the memory.
type Recurrence struct {
	In []Projection // each part is of one projection

	// Convolution passes over queries, keys and values, or with no memory over the
	// product of value and key; nil: none.
	Convolution *Convolution
	Activation  Activation // of queries, keys and values, past the convolution; "": none

	Memory *Memory // nil: the values are the result

	// The result is multiplied by the gate part, past its activation ("": none), and
	// normalised after that, or before. The norm runs over each of NormParts equal
	// parts of the row, 0 is 1; its weight is [width], or where parts share it
	// [width/NormParts].
	GateActivation Activation
	Norm           *Norm // nil: none
	NormParts      int
	NormShared     bool
	NormBeforeGate bool

	Width  int    // of the result, and of values and gate
	Output Linear // [hidden, width]

	// Scale multiplies what the recurrence adds beside attention; 0: 1.
	Scale float32
}

// Role is what a part of the projected input is for.
type Role uint8

const (
	Query Role = iota
	Key
	Value
	Gate
	Step     // how far a head's memory fades, and how much is written
	Strength // whose sigmoid says how much of what is written enters the memory
	Roles    // how many there are
)

// Projection is a product whose outputs are Groups times the same parts.
type Projection struct {
	Linear
	Groups int
	Parts  []Part
}

// Part is neighbouring outputs of one role in each group.
type Part struct {
	Role  Role
	Size  int     // in each group
	Scale float32 // multiplies them, bias included; 0: 1
}

// Convolution weighs each channel at a token and the Taps-1 before it.
type Convolution struct {
	Weight, Bias string // tensors [channels, 1, taps], the last tap for the token itself, and [channels]; "" in Bias: none
	Taps         int
	Order        []Role // of the channels in the tensors
}

// Memory holds for each head a matrix [key size, value size] that fades and to
// which outer products of keys and values are added; a query gathers what its keys
// have stored (Katharopoulos et al. 2020, section 3.4):
//
//	S = fade·S
//	S = S + k ⊗ strength·(v - k·S)    where Delta says so, else without k·S
//	y = Scale·q·S + Skip·v
//
// Heads share KeyHeads queries and keys, neighbours the same.
type Memory struct {
	Heads, KeyHeads    int
	KeySize, ValueSize int

	// A head fades by exp(-Slopes) with each token, or where Rates are named by
	// exp(-exp(rate)·step), the step being softplus(step part + Bias).
	Slopes      []float32 // [heads]
	Rates, Bias string    // tensors [heads]
	StepWrites  bool      // the step multiplies what is written (Dao and Gu 2024)

	Delta    bool    // what the key recalls already is taken from the value (Yang, Kautz and Hatamizadeh 2024)
	UnitKeys bool    // queries and keys are divided by their length, √(Σx² + 1e-6)
	Scale    float32 // of the queries; 0: 1
	Skip     string  // tensor [heads]; "": none
}

// Size returns how many elements a part has in all groups; 0: the recurrence lacks it.
func (r *Recurrence) Size(role Role) int {
	n := 0
	for _, in := range r.In {
		for _, p := range in.Parts {
			if p.Role == role {
				n += in.Groups * p.Size
			}
		}
	}
	return n
}

// Channels returns how many elements the convolution passes over.
func (r *Recurrence) Channels() int {
	if r.Memory == nil {
		return r.Width
	}
	return r.Size(Query) + r.Size(Key) + r.Size(Value)
}

// ConvolutionState returns how many elements of a state are the convolution's.
func (r *Recurrence) ConvolutionState() int {
	if r.Convolution == nil {
		return 0
	}
	return (r.Convolution.Taps - 1) * r.Channels()
}

// StateSize returns how many elements a state has.
func (r *Recurrence) StateSize() int {
	n := r.ConvolutionState()
	if m := r.Memory; m != nil {
		n += m.Heads * m.KeySize * m.ValueSize
	}
	return n
}

// StateWeight returns for how many tokens a state counts: the elements of the state
// for those of a token's keys and values, or for the hidden size where these are
// fewer. 0: the decoder has no state.
func (d *Decoder) StateWeight() int {
	state, token := 0, 0
	for _, b := range d.Passed() {
		token += b.Attention.Stored()
		if b.Recurrence != nil {
			state += b.Recurrence.StateSize()
		}
	}
	token = max(token, d.Hidden)
	return (state + token - 1) / token
}

func (r *Recurrence) check() error {
	sizes := []measure{{"width of a recurrence", r.Width}}
	total := 0
	var seen [Roles]bool
	for _, in := range r.In {
		for _, p := range in.Parts {
			sizes = append(sizes, measure{"number of groups of a projection", in.Groups}, measure{"size of a part of a projection", p.Size})
			if p.Role >= Roles || seen[p.Role] {
				return errors.New("a part of a recurrence comes twice, or is for nothing")
			}
			seen[p.Role] = true
			if !finite.Is(p.Scale) {
				return fmt.Errorf("a part of a projection is scaled by %v", p.Scale)
			}
		}
	}
	if c := r.Convolution; c != nil {
		sizes = append(sizes, measure{"number of taps of a convolution", c.Taps})
	}
	if m := r.Memory; m != nil {
		sizes = append(sizes, measure{"number of heads of a memory", m.Heads}, measure{"number of keys of a memory", m.KeyHeads},
			measure{"size of a key of a memory", m.KeySize}, measure{"size of a value of a memory", m.ValueSize})
	}
	if err := checkSizes(sizes...); err != nil {
		return err
	}
	for role := range Roles {
		if total += r.Size(role); total > maxWidth || total < 0 {
			return fmt.Errorf("the parts of a recurrence have more than %d elements", maxWidth)
		}
	}
	if !finite.Is(r.Scale) {
		return fmt.Errorf("a recurrence is scaled by %v", r.Scale)
	}
	if r.Output.Weight == "" || r.Size(Value) != r.Width {
		return fmt.Errorf("a recurrence of width %d has %d values, or no output", r.Width, r.Size(Value))
	}
	if gate := r.Size(Gate); gate != 0 && gate != r.Width || gate == 0 && r.GateActivation != "" {
		return fmt.Errorf("a recurrence of width %d has a gate of %d", r.Width, gate)
	}
	if parts := max(r.NormParts, 1); r.Width%parts != 0 {
		return fmt.Errorf("a recurrence of width %d is normalised in %d parts", r.Width, parts)
	}
	if err := r.checkConvolution(); err != nil {
		return err
	}
	if r.Memory == nil {
		if r.Size(Key) != r.Width || r.Size(Query)+r.Size(Step)+r.Size(Strength) != 0 {
			return errors.New("a recurrence without a memory has other parts than key, value and gate")
		}
		return nil
	}
	return r.checkMemory()
}

func (r *Recurrence) checkConvolution() error {
	c := r.Convolution
	if c == nil {
		if r.Memory == nil {
			return errors.New("a recurrence has neither a memory nor a convolution")
		}
		return nil
	}
	channels := 0
	var seen [Roles]bool
	for _, role := range c.Order {
		if role > Value || seen[role] {
			return errors.New("a convolution passes over a part twice, or over one that is no query, key or value")
		}
		seen[role] = true
		channels += r.Size(role)
	}
	if channels != r.Channels() {
		return fmt.Errorf("a convolution has %d channels, of %d", channels, r.Channels())
	}
	if c.Taps > maxWidth/r.Channels() {
		return fmt.Errorf("a convolution of %d channels has %d taps", r.Channels(), c.Taps)
	}
	return nil
}

func (r *Recurrence) checkMemory() error {
	m := r.Memory
	switch {
	case m.Heads%m.KeyHeads != 0:
		return fmt.Errorf("%d heads of a memory cannot share %d keys evenly", m.Heads, m.KeyHeads)
	case m.KeySize > maxWidth/m.Heads || m.ValueSize > maxWidth/(m.Heads*m.KeySize):
		return fmt.Errorf("a memory of %d heads has matrices of %d×%d", m.Heads, m.KeySize, m.ValueSize)
	case r.Size(Query) != m.KeyHeads*m.KeySize || r.Size(Key) != m.KeyHeads*m.KeySize || r.Width != m.Heads*m.ValueSize:
		return errors.New("queries, keys or values do not have the size of their memory")
	case (m.Rates != "") != (r.Size(Step) != 0) || m.Rates != "" && (r.Size(Step) != m.Heads || m.Bias == ""):
		return errors.New("a memory fades by steps of which something is missing")
	case m.Rates == "" && len(m.Slopes) != m.Heads || m.Rates != "" && m.Slopes != nil:
		return fmt.Errorf("%d heads of a memory fade by %d slopes, or by steps too", m.Heads, len(m.Slopes))
	case m.StepWrites && m.Rates == "":
		return errors.New("what a memory without steps writes is multiplied by them")
	case r.Size(Strength) != 0 && r.Size(Strength) != m.Heads:
		return fmt.Errorf("%d heads of a memory have %d strengths", m.Heads, r.Size(Strength))
	case !finite.Is(m.Scale):
		return fmt.Errorf("the queries of a memory are scaled by %v", m.Scale)
	}
	for _, slope := range m.Slopes {
		if !(slope >= 0) || !finite.Is(slope) {
			return fmt.Errorf("a memory fades by a slope of %v", slope)
		}
	}
	return nil
}
