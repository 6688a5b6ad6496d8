package eval

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/steervec/steer"
)

// Measured is what rows are summed up of: what a model makes of each item and passage,
// or writes after each prompt, under some arms. It depends on the item and the arm alone,
// so that the parts that several machines measured merge to what one would have measured,
// to the bit; [Summary.Rows] sums it up when all parts are there. It is written as JSON,
// in which numbers keep their bits. It belongs to one goroutine.
type Measured struct {
	Points []Point      // [arms], as rows name them
	Shards steer.Shards // which parts of the evaluation it is of

	arms     []string              // [arms]: what acts
	passages int                   // of the neutral text, whoever measures them
	written  []string              // ids of all items that are written after, in order; nil: nothing is written
	answers  map[string]asked      // by the item's id
	costs    map[int][]passageCost // by the passage's number: [arms]
	texts    map[string][]Text     // by the item's id: [arms]
}

// asked is what a model makes of an item.
type asked struct {
	Unsteered answer   `json:"unsteered"`
	Arms      []answer `json:"arms"` // [arms]
}

func newMeasured(arms []Arm, shards steer.Shards) *Measured {
	m := &Measured{Shards: shards, answers: map[string]asked{}, costs: map[int][]passageCost{}, texts: map[string][]Text{}}
	for _, arm := range arms {
		m.Points = append(m.Points, arm.Point)
		m.arms = append(m.arms, HashText(arm.Steering.ID()+"\n"+arm.Instruction))
	}
	return m
}

// Merge adds what another part has, of the same arms. An item, passage or shard that is
// in both is an error that names it. The other part keeps what it has.
func (m *Measured) Merge(other *Measured) error {
	if !reflect.DeepEqual(m.Points, other.Points) {
		return errors.New("they are of other points")
	}
	for i, arm := range m.arms {
		if arm != other.arms[i] {
			return fmt.Errorf("what acts at point %d differs: other vectors, or an instruction", i+1)
		}
	}
	if m.passages != other.passages && m.passages != 0 && other.passages != 0 {
		return fmt.Errorf("they are of neutral texts of %d and %d passages", m.passages, other.passages)
	}
	if !slices.Equal(m.written, other.written) {
		return errors.New("other items are written after")
	}
	joined, err := m.Shards.Join(other.Shards)
	if err != nil {
		return err
	}
	if err := cmp.Or(disjoint("item", m.answers, other.answers), disjoint("passage", m.costs, other.costs), disjoint("what was written after item", m.texts, other.texts)); err != nil {
		return err
	}
	maps.Copy(m.answers, other.answers)
	maps.Copy(m.costs, other.costs)
	maps.Copy(m.texts, other.texts)
	m.Shards, m.passages = joined, max(m.passages, other.passages)
	return nil
}

// disjoint returns an error that names what two parts both have.
func disjoint[K cmp.Ordered, V any](what string, a, b map[K]V) error {
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if _, there := a[key]; there {
			return fmt.Errorf("%s %v is there twice", what, key)
		}
	}
	return nil
}

// costsByArm returns the costs as [arms][passages]; nil where none are measured.
func (m *Measured) costsByArm() ([][]passageCost, error) {
	if m.passages == 0 {
		return nil, nil
	}
	out := make([][]passageCost, len(m.Points))
	for number := range m.passages {
		own, there := m.costs[number]
		if !there {
			return nil, fmt.Errorf("passage %d of the neutral text is missing", number+1)
		}
		for i, c := range own {
			out[i] = append(out[i], c)
		}
	}
	return out, nil
}

// measuredForm is a Measured as JSON.
type measuredForm struct {
	Points   []Point               `json:"points"`
	Shards   *steer.Shards         `json:"shards,omitempty"`
	Arms     []string              `json:"arms"`
	Passages int                   `json:"passages,omitempty"`
	Written  []string              `json:"written,omitempty"`
	Answers  map[string]asked      `json:"answers,omitempty"`
	Costs    map[int][]passageCost `json:"costs,omitempty"`
	Texts    map[string][]Text     `json:"texts,omitempty"`
}

// MarshalJSON writes what was measured.
func (m *Measured) MarshalJSON() ([]byte, error) {
	form := measuredForm{Points: m.Points, Arms: m.arms, Passages: m.passages, Written: m.written, Answers: m.answers, Costs: m.costs, Texts: m.texts}
	if m.Shards.Of > 0 {
		form.Shards = &m.Shards
	}
	return json.Marshal(form)
}

// UnmarshalJSON reads what MarshalJSON wrote. It is an error where an item, passage or
// text is not of all arms.
func (m *Measured) UnmarshalJSON(data []byte) error {
	var form measuredForm
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	out := newMeasured(nil, steer.Shards{})
	if form.Shards != nil {
		out.Shards = *form.Shards
	}
	if err := out.Shards.Check(); err != nil {
		return err
	}
	out.Points, out.arms, out.passages, out.written = form.Points, form.Arms, form.Passages, form.Written
	if len(out.arms) != len(out.Points) {
		return fmt.Errorf("%d points have %d arms", len(out.Points), len(out.arms))
	}
	for id, a := range form.Answers {
		if len(a.Arms) != len(out.arms) {
			return fmt.Errorf("item %s has %d answers for %d arms", id, len(a.Arms), len(out.arms))
		}
	}
	for number, c := range form.Costs {
		if number < 0 || number >= out.passages || len(c) != len(out.arms) {
			return fmt.Errorf("passage %d of %d has %d costs for %d arms", number+1, out.passages, len(c), len(out.arms))
		}
		for _, one := range c {
			if len(one.KL) == 0 || len(one.KL) != len(one.LogProb) {
				return fmt.Errorf("passage %d has %d divergences of %d tokens", number+1, len(one.KL), len(one.LogProb))
			}
		}
	}
	for id, t := range form.Texts {
		if len(t) != len(out.arms) {
			return fmt.Errorf("after item %s there are %d texts for %d arms", id, len(t), len(out.arms))
		}
	}
	maps.Copy(out.answers, form.Answers)
	maps.Copy(out.costs, form.Costs)
	maps.Copy(out.texts, form.Texts)
	*m = *out
	return nil
}
