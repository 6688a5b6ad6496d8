package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	firstPause, longPause = time.Millisecond, 5*time.Millisecond
	os.Exit(m.Run())
}

// Impatient gives servers that say nothing less time until the test ends.
func Impatient(t *testing.T, time time.Duration) {
	was, wasShort := stalled, shortWait
	stalled, shortWait = time, time
	t.Cleanup(func() { stalled, shortWait = was, wasShort })
}

// LinkWithoutSymbolicLinks puts a file into a cache on a system that has none.
func LinkWithoutSymbolicLinks(cache, etag, name string, data []byte) error {
	c := newCacheFolder(cache, "org/name")
	c.symlink = func(string, string) error { return errors.New("not on this system") }
	if err := os.MkdirAll(filepath.Dir(c.blob(etag)), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(c.blob(etag), data, 0o666); err != nil {
		return err
	}
	return c.link(strings.Repeat("1", 40), name, etag)
}
