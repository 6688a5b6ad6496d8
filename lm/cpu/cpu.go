// Package cpu runs a decoder that package arch describes over a packed run of
// forest nodes: tokens that each have a path of ancestors, whose keys and
// values lie in a [Cache].
//
// A loaded [Model] is immutable; any number of goroutines may run it, each with
// a cache of its own.
package cpu

import (
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

// Run is a packed run of nodes. Rows are counted from 0 in the order of Tokens.
type Run struct {
	Tokens   []int     // [nodes]
	Segments []Segment // cover the nodes in order
	Edits    []Edit    // in the order in which they act
	Taps     []Tap

	// LogitRows are the rows whose logits Logits is called with, ascending. The
	// slice given to Logits, [vocabulary], is valid during the call only.
	LogitRows []int
	Logits    func(row int, logits []float32)
}

// Segment is a chain of nodes: each is the parent of the next.
type Segment struct {
	Nodes    int
	Position int  // of the first node; the root has 0
	Path     Path // slots from the root to the segment's last node
	Length   int  // tokens of the sequences through here, for positions that depend on it
}

// Tap reads the activations of some rows, ascending, after edits have acted. The
// slice given to Read is valid during the call only; calls come in row order.
type Tap struct {
	Layer int
	Site  arch.Site
	Rows  []int
	Read  func(row int, activation []float32)
}

// Edit changes the activations of some rows, ascending. Delta writes what is to
// be added to an activation into delta, which comes zeroed; it is called by
// several goroutines.
type Edit struct {
	Layer int
	Site  arch.Site
	Rows  []int
	Delta func(delta, activation []float32)
}

// Path lists the slots of consecutive positions from a root.
type Path []kernel.Span

// Len returns the number of positions.
func (p Path) Len() int {
	n := 0
	for _, s := range p {
		n += s.Len
	}
	return n
}

// Upto returns the path of the first n positions.
func (p Path) Upto(n int) Path {
	var out Path
	for _, s := range p {
		if n <= 0 {
			break
		}
		s.Len = min(s.Len, n)
		n -= s.Len
		out = append(out, s)
	}
	return out
}

// With returns the path with the slots of a span appended.
func (p Path) With(slot, n int) Path {
	out := append(Path(nil), p...)
	if last := len(out) - 1; last >= 0 && out[last].Slot+out[last].Len == slot {
		out[last].Len += n
		return out
	}
	return append(out, kernel.Span{Slot: slot, Len: n})
}

// Cache holds the keys and values of nodes, each in a slot of its own. It grows
// as slots are reserved. One run uses it at a time.
type Cache struct {
	buffers buffers // of the runs

	shapes       []headShape
	keys, values [][][]float32 // [layers][key/value heads], laid out as package kernel says
	used         int           // slots
}

type headShape struct{ heads, size int }

// NewCache returns an empty cache for the model.
func (m *Model) NewCache() *Cache {
	c := &Cache{}
	for i := range m.blocks {
		a := &m.Decoder.Blocks[i].Attention
		c.shapes = append(c.shapes, headShape{a.KVHeads, a.HeadSize})
		c.keys = append(c.keys, make([][]float32, a.KVHeads))
		c.values = append(c.values, make([][]float32, a.KVHeads))
	}
	return c
}

// Reserve returns the first of n new neighbouring slots.
func (c *Cache) Reserve(n int) (slot int) {
	slot = c.used
	c.used += n
	tiles := (c.used + kernel.KeyTile - 1) / kernel.KeyTile
	for layer, shape := range c.shapes {
		need := tiles * kernel.KeyTile * shape.size
		for h := range shape.heads {
			c.keys[layer][h] = grow(c.keys[layer][h], need)
			c.values[layer][h] = grow(c.values[layer][h], need)
		}
	}
	return slot
}

// grow lengthens s to n elements; a little room is kept beyond, so that
// decoding token by token does not copy each time.
func grow(s []float32, n int) []float32 {
	if n <= cap(s) {
		return s[:max(n, len(s))]
	}
	larger := make([]float32, n, n+n/8)
	copy(larger, s)
	return larger
}

// Keep forgets every slot that is not on the path and returns the path's new
// slots. The keys and values on it keep their bits.
func (c *Cache) Keep(path Path) Path {
	n := path.Len()
	for layer, shape := range c.shapes {
		key := make([]float32, shape.size)
		for h := range shape.heads {
			to := 0
			for _, s := range path {
				if s.Slot == to {
					to += s.Len
					continue
				}
				for slot := s.Slot; slot < s.Slot+s.Len; slot++ {
					kernel.LoadKey(c.keys[layer][h], slot, key)
					kernel.StoreKeys(c.keys[layer][h], to, key, len(key), 1, len(key))
					copy(c.values[layer][h][to*shape.size:(to+1)*shape.size], c.values[layer][h][slot*shape.size:])
					to++
				}
			}
		}
	}
	c.used = n
	if n == 0 {
		return nil
	}
	return Path{{Slot: 0, Len: n}}
}
