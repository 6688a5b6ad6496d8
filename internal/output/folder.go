package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// Folder is a folder that is being written, and that appears under its name when it
// is complete.
type Folder struct {
	path, part string
	lock       *flock.Flock // nil: the file system has no locks
	done       bool
}

// CreateFolder begins to write a folder at path, where nothing or an empty folder may
// be. What goes into it is written below [Folder.Dir]. Finish with Commit; Abort, which
// does nothing after Commit, is for a defer. Errors name the path.
func CreateFolder(path string) (*Folder, error) {
	f, err := createFolder(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f, nil
}

func createFolder(path string) (*Folder, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	beside := func(kind string) string {
		return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".steer-"+kind)
	}
	f := &Folder{path: path, part: beside("part")}
	var err error
	if f.lock, err = acquire(beside("lock")); err != nil {
		return nil, err
	}
	if f.lock == nil {
		f.part, err = os.MkdirTemp(filepath.Dir(path), filepath.Base(f.part)+"-")
	} else if err = os.RemoveAll(f.part); err == nil { // what a killed process left, whose lock we have
		err = os.Mkdir(f.part, 0o777)
	}
	if err != nil {
		release(f.lock)
		return nil, err
	}
	return f, nil
}

// vacant returns an error where something is at path that a folder must not replace.
func vacant(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return errors.New("it is there and is not empty")
	}
	return nil
}

// Dir is where the folder lies while it is written.
func (f *Folder) Dir() string { return f.part }

// Commit gives the folder its name. After an error, path is as it was.
func (f *Folder) Commit() error {
	if f.done {
		return fmt.Errorf("write %s: already committed or aborted", f.path)
	}
	err := vacant(f.path)
	if err == nil {
		if err = os.Remove(f.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(f.part, f.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, errors.Join(err, f.Abort()))
	}
	f.done = true
	release(f.lock)
	return nil
}

// Abort removes what was written; path is as it was. After Commit it does nothing.
func (f *Folder) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	err := os.RemoveAll(f.part)
	release(f.lock)
	return err
}
