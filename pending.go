package steer

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
)

// pending keeps the activations of prompts whose sample is not complete. So that
// memory does not grow with the number of samples, those beyond a limit wait in
// a temporary file.
type pending struct {
	values int // of one prompt
	limit  int // prompts in memory
	sides  map[int][]float32
	spare  [][]float32

	file   *os.File
	stored map[int]int64 // side -> record of the file
	free   []int64       // records that may be written again
	end    int64
	record []byte
}

// pendingBytes is how much memory activations may wait in.
const pendingBytes = 64 << 20

func newPending(values int) *pending {
	return &pending{values: values, limit: max(2, pendingBytes/(4*max(values, 1))), sides: map[int][]float32{}, stored: map[int]int64{}}
}

// open returns the memory for a prompt's activations, which is the same until
// the prompt is put away.
func (p *pending) open(side int) []float32 {
	if values, ok := p.sides[side]; ok {
		return values
	}
	var values []float32
	if last := len(p.spare) - 1; last >= 0 {
		values, p.spare = p.spare[last], p.spare[:last]
	} else {
		values = make([]float32, p.values)
	}
	p.sides[side] = values
	return values
}

// put says that a complete prompt waits for the other one of its sample.
func (p *pending) put(side int) error {
	if len(p.sides) <= p.limit {
		return nil
	}
	if p.file == nil {
		file, err := os.CreateTemp("", "steer-activations-*")
		if err != nil {
			return fmt.Errorf("keep activations: %w", err)
		}
		p.file = file
		os.Remove(file.Name()) // goes with the process where the system allows it, else in close
	}
	at := p.end
	if last := len(p.free) - 1; last >= 0 {
		at, p.free = p.free[last], p.free[:last]
	} else {
		p.end += int64(4 * p.values)
	}
	p.record = p.record[:0]
	for _, v := range p.sides[side] {
		p.record = binary.LittleEndian.AppendUint32(p.record, math.Float32bits(v))
	}
	if _, err := p.file.WriteAt(p.record, at); err != nil {
		return fmt.Errorf("keep activations: %w", err)
	}
	p.stored[side] = at
	p.forget(side)
	return nil
}

// take returns a prompt's activations.
func (p *pending) take(side int) ([]float32, error) {
	at, stored := p.stored[side]
	values := p.open(side)
	if !stored {
		return values, nil
	}
	p.record = append(p.record[:0], make([]byte, 4*p.values)...)
	if _, err := p.file.ReadAt(p.record, at); err != nil {
		return nil, fmt.Errorf("read kept activations: %w", err)
	}
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(p.record[4*i:]))
	}
	delete(p.stored, side)
	p.free = append(p.free, at)
	return values, nil
}

// forget says that a prompt's activations are not needed any more.
func (p *pending) forget(side int) {
	p.spare = append(p.spare, p.sides[side])
	delete(p.sides, side)
}

func (p *pending) close() {
	if p.file != nil {
		p.file.Close()
		os.Remove(p.file.Name())
	}
}
