package steer

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkError expects an error that contains want, or none where want is empty.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case want != "" && err == nil:
		t.Errorf("no error, want one with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one with %q", err, want)
	}
}

// sharedFolder returns the folder with the goldens and data sets that are not
// part of the repository, and skips the test where there is none.
func sharedFolder(t *testing.T) string {
	t.Helper()
	folder := cmp.Or(os.Getenv("STEER_SHARED"), filepath.Join("..", "shared"))
	if _, err := os.Stat(folder); err != nil {
		t.Skip("no folder with shared goldens and data: ", err)
	}
	return folder
}
