// Package output writes files that appear whole or not at all.
//
// A file is written beside its place and renamed when it is complete. While it
// is being written, a lock keeps every other writer of the same file out; the
// system gives the lock up when the process dies, and the next writer of the
// file clears away what was left. For a file "vector" the two are
//
//	.vector.steer-lock   held while the file is written
//	.vector.steer-part   what is written so far
//
// A symbolic link stays: the file that it leads to is written.
package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// ErrBusy is wrapped by the error of [Create] for a file that somebody else is
// writing.
var ErrBusy = errors.New("it is being written by somebody else")

// File is a file that is being written. Its methods may be called from several
// goroutines, but for Commit and Abort.
type File struct {
	path   string // as it was given, for errors
	target string // without links
	part   *os.File
	lock   *flock.Flock // nil: the file system has no locks
	done   bool
}

// Create begins to write the file at path. What is there is replaced by Commit,
// and only if it is a regular file that may be written. Finish with Commit;
// Abort, which does nothing after Commit, is for a defer. Errors name the path.
func Create(path string) (*File, error) {
	f, err := create(path)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f, nil
}

func create(path string) (*File, error) {
	target, err := follow(path)
	if err != nil {
		return nil, err
	}
	if _, err := replaceable(target); err != nil {
		return nil, err
	}
	f := &File{path: path, target: target}
	if f.lock, err = acquire(f.beside("lock")); err != nil {
		return nil, err
	}
	part := f.beside("part")
	if f.lock == nil {
		part, err = unshared(part)
	} else if err = os.Remove(part); errors.Is(err, fs.ErrNotExist) {
		// What a killed process left is ours to remove: we have its lock.
		err = nil
	}
	if err == nil {
		// Not through a link that somebody put there.
		f.part, err = os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	}
	if err != nil {
		release(f.lock)
		return nil, err
	}
	return f, nil
}

// Write appends to the file.
func (f *File) Write(data []byte) (int, error) { return f.part.Write(data) }

// WriteAt writes bytes at an offset.
func (f *File) WriteAt(data []byte, offset int64) (int, error) { return f.part.WriteAt(data, offset) }

// Truncate changes the size of the file.
func (f *File) Truncate(size int64) error { return f.part.Truncate(size) }

// Commit makes the file durable and gives it its name and the permissions of
// the file that it replaces. After an error, path is as it was.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("write %s: already committed or aborted", f.path)
	}
	if err := f.commit(); err != nil {
		return fmt.Errorf("write %s: %w", f.path, errors.Join(err, f.Abort()))
	}
	f.done = true
	// The new name is durable once the folder is. Where a folder cannot be
	// synced, the system does without.
	if folder, err := os.Open(filepath.Dir(f.target)); err == nil {
		_ = folder.Sync()
		folder.Close()
	}
	release(f.lock)
	return nil
}

func (f *File) commit() error {
	before, err := replaceable(f.target)
	if err != nil {
		return err
	}
	if before != nil {
		// Where permissions cannot be set, the usual ones have to do.
		_ = f.part.Chmod(before.Mode().Perm())
	}
	err = f.part.Sync()
	if closing := f.part.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.part.Name(), f.target)
	}
	return err
}

// Abort removes what was written; path is as it was. After Commit it does
// nothing.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	closing := f.part.Close()
	if errors.Is(closing, fs.ErrClosed) {
		closing = nil
	}
	removing := os.Remove(f.part.Name())
	release(f.lock)
	return errors.Join(closing, removing)
}

// beside is the path of one of the two files beside the target.
func (f *File) beside(kind string) string {
	return filepath.Join(filepath.Dir(f.target), "."+filepath.Base(f.target)+".steer-"+kind)
}

// unshared is a name that nobody else has, for file systems without locks.
func unshared(part string) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(part), filepath.Base(part)+"-")
	if err != nil {
		return "", err
	}
	return file.Name(), errors.Join(file.Close(), os.Remove(file.Name()))
}

// follow returns where the links at path lead, also where nothing is there yet.
func follow(path string) (string, error) {
	const most = 40 // as Linux follows
	for range most {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", errors.New("symbolic links lead in a circle")
}

// replaceable returns what is at path, nil where nothing is, and an error where
// it must not be replaced.
func replaceable(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Mode().Perm()&0o222 == 0: // said of root as well, who may write it all the same
		return nil, errors.New("it is read-only")
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return info, file.Close()
}
