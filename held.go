package steer

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
)

// held keeps the activations of prompts whose sample is not complete. So that
// memory does not grow with the number of samples, those beyond a limit wait in
// a temporary file.
type held struct {
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

// heldBytes is how much memory activations may wait in.
const heldBytes = 64 << 20

func newHeld(values int) *held {
	return &held{values: values, limit: max(2, heldBytes/(4*max(values, 1))), sides: map[int][]float32{}, stored: map[int]int64{}}
}

// open returns the memory for a prompt's activations, which is the same until
// the prompt is put away.
func (h *held) open(side int) []float32 {
	if values, ok := h.sides[side]; ok {
		return values
	}
	var values []float32
	if last := len(h.spare) - 1; last >= 0 {
		values, h.spare = h.spare[last], h.spare[:last]
	} else {
		values = make([]float32, h.values)
	}
	h.sides[side] = values
	return values
}

// put says that a complete prompt waits for the other one of its sample.
func (h *held) put(side int) error {
	if len(h.sides) <= h.limit {
		return nil
	}
	if h.file == nil {
		file, err := os.CreateTemp("", "steer-activations-*")
		if err != nil {
			return fmt.Errorf("keep activations: %w", err)
		}
		h.file = file
		os.Remove(file.Name()) // goes with the process where the system allows it, else in close
	}
	at := h.end
	if last := len(h.free) - 1; last >= 0 {
		at, h.free = h.free[last], h.free[:last]
	} else {
		h.end += int64(4 * h.values)
	}
	h.record = h.record[:0]
	for _, v := range h.sides[side] {
		h.record = binary.LittleEndian.AppendUint32(h.record, math.Float32bits(v))
	}
	if _, err := h.file.WriteAt(h.record, at); err != nil {
		return fmt.Errorf("keep activations: %w", err)
	}
	h.stored[side] = at
	h.forget(side)
	return nil
}

// take returns a prompt's activations.
func (h *held) take(side int) ([]float32, error) {
	at, stored := h.stored[side]
	values := h.open(side)
	if !stored {
		return values, nil
	}
	h.record = append(h.record[:0], make([]byte, 4*h.values)...)
	if _, err := h.file.ReadAt(h.record, at); err != nil {
		return nil, fmt.Errorf("read kept activations: %w", err)
	}
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(h.record[4*i:]))
	}
	delete(h.stored, side)
	h.free = append(h.free, at)
	return values, nil
}

// forget says that a prompt's activations are not needed any more.
func (h *held) forget(side int) {
	h.spare = append(h.spare, h.sides[side])
	delete(h.sides, side)
}

func (h *held) close() {
	if h.file != nil {
		h.file.Close()
		os.Remove(h.file.Name())
	}
}
