package mapped

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What is released comes back from the file, and memory that is not the file's
// keeps what is in it.
func TestReleaseLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("steer"), 20000)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	own := bytes.Clone(content)
	b.Release(b.Data[100:60000])
	b.Release(own)
	if !bytes.Equal(b.Data, content) {
		t.Error("the file's bytes changed")
	}
	if !bytes.Equal(own, content) {
		t.Error("memory beside the file's was lost")
	}
}
