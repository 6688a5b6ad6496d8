package steer_test

import (
	"testing"

	"github.com/steervec/steer/lm"
)

// with returns a steered view of the model.
func with(t *testing.T, m *lm.Model, edits ...lm.Edit) *lm.Model {
	t.Helper()
	view, err := m.With(edits...)
	if err != nil {
		t.Fatal(err)
	}
	return view
}
