package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// write writes text to path through this package.
func write(path, text string) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write([]byte(text)); err != nil {
		return err
	}
	return f.Commit()
}

// holds fails the test unless the file has the text and nothing lies beside what
// is listed.
func holds(t *testing.T, path, text string, names ...string) {
	t.Helper()
	if data, err := os.ReadFile(path); err != nil || string(data) != text {
		t.Errorf("%s holds %q, %v; want %q", path, data, err, text)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, e := range entries {
		there = append(there, e.Name())
	}
	if fmt.Sprint(there) != fmt.Sprint(names) {
		t.Errorf("the folder holds %v; want %v", there, names)
	}
}

func TestAFileAppearsWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(4); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("data"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the file is there before Commit:", err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "data", "w")
	if err := f.Commit(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("committed twice: %v", err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	f, err = Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	holds(t, path, "data", "w")
}

func TestWhatMustNotBeReplacedStays(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a folder":         {func(path string) error { return os.Mkdir(path, 0o777) }, "it is a folder"},
		"a link to one":    {func(path string) error { return os.Symlink(filepath.Dir(path), path) }, "it is a folder"},
		"a read-only file": {func(path string) error { return os.WriteFile(path, []byte("old"), 0o444) }, "it is read-only"},
		"a circle":         {func(path string) error { return os.Symlink(path, path) }, "circle"},
		"no folder":        {func(path string) error { return os.Symlink(filepath.Join(path+"-none", "w"), path) }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "w")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			err = write(path, "new")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "write "+path+": ") {
				t.Errorf("error %v; want one with %q and the path", err, c.want)
			}
			after, err := os.Lstat(path)
			if err != nil || after.Mode() != before.Mode() || !os.SameFile(before, after) {
				t.Errorf("%v became %v, %v", before, after, err)
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// A folder that appears while a file is being written is not replaced either.
func TestWhatAppearsMeanwhileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("old"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("error %v", err)
	}
	holds(t, path, "old", "w")
}

func TestLinksStay(t *testing.T) {
	dir := t.TempDir()
	for name, to := range map[string]string{"relative": "files/a", "absolute": filepath.Join(dir, "files", "b"), "twice": "relative"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} { // a link to nothing, then to a file
		for _, name := range []string{"relative", "absolute", "twice"} {
			if err := write(filepath.Join(dir, name), name+text); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("%s is a link no more: %v", name, err)
			}
		}
		holds(t, filepath.Join(dir, "files", "a"), "twice"+text, "a", "b")
		holds(t, filepath.Join(dir, "files", "b"), "absolute"+text, "a", "b")
	}
	holds(t, filepath.Join(dir, "twice"), "twicesecond", "absolute", "files", "relative", "twice")
}

func TestPermissionsStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(path, "secret"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("permissions %v, %v", info.Mode(), err)
	}
}

// One of two writers gets an error, also where they come by different names.
func TestTwoWritersDoNotMix(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "w"), filepath.Join(dir, "link")
	if err := os.Symlink("w", link); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{path, link} {
		if _, err := Create(other); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), other) {
			t.Errorf("a second writer of %s: %v", other, err)
		}
	}
	if _, err := f.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := write(link, "second"); err != nil {
		t.Errorf("after the first was done: %v", err)
	}
	holds(t, path, "second", "link", "w")
}

// Whatever many writers do at once, the file is that of one of them.
func TestManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			text := strings.Repeat(string(rune('a'+i)), 1000)
			for range 50 {
				if err := write(path, text); err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	data, err := os.ReadFile(path)
	if err != nil || len(data) != 1000 || strings.Trim(string(data), string(data[:1])) != "" {
		t.Errorf("%.20q of %d bytes, %v", data, len(data), err)
	}
	holds(t, path, string(data), "w")
}

// What a killed process leaves is in nobody's way, and goes with the next write.
func TestAKilledWriterLeavesNothingForEver(t *testing.T) {
	const name = "STEER_OUTPUT_KILLED"
	if path := os.Getenv(name); path != "" {
		f, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
		this, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = this.Kill()
		}
		t.Fatal("still here: ", err)
	}
	path := filepath.Join(t.TempDir(), "w")
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), name+"="+path)
	if out, err := child.CombinedOutput(); err == nil {
		t.Fatalf("the process was not killed: %s", out)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 2 {
		t.Fatalf("a killed process left %v; the test expects its lock and its part", left)
	}
	if err := write(path, "whole"); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "whole", "w")
}
