package output

import (
	"errors"
	"os"
	"syscall"

	"github.com/gofrs/flock"
)

// acquire locks the file at path, which is made for it. The result is nil where
// the file system has no locks.
func acquire(path string) (*flock.Flock, error) {
	for {
		lock := flock.New(path, flock.SetPermissions(0o666)) // others may have to clear it away
		locked, err := lock.TryLock()
		switch {
		case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.ENOLCK):
			lock.Close()
			_ = os.Remove(path)
			return nil, nil
		case err != nil:
			lock.Close()
			return nil, err
		case !locked:
			lock.Close()
			return nil, ErrBusy
		}
		// The holder before removed the file when it was done; one that was
		// opened before and locked after that locks nobody out.
		ours, err := lock.Stat()
		if err == nil {
			if there, err := os.Stat(path); err == nil && os.SameFile(ours, there) {
				return lock, nil
			}
		}
		lock.Close()
		if err != nil {
			return nil, err
		}
	}
}

// release removes a lock's file and gives the lock up; nil is none.
func release(lock *flock.Flock) {
	if lock == nil {
		return
	}
	removing := os.Remove(lock.Path())
	lock.Close()
	if removing != nil {
		// Windows removes no open file. There, one that another has opened by
		// now stays as well.
		_ = os.Remove(lock.Path())
	}
}
