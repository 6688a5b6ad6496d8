package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem"

	"github.com/steervec/steer/internal/output"
)

// isLocal reports whether a path is of this machine's own file system.
func isLocal(path string) bool { return !strings.Contains(path, "://") }

// publish has a file written on the local disk and copies it to where it belongs.
// Where that is a local path too, the file is written there at once. Write must leave
// a whole file or none.
func publish(ctx context.Context, path string, write func(local string) error) error {
	if isLocal(path) {
		return write(path)
	}
	folder, err := os.MkdirTemp("", "steer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	local := filepath.Join(folder, "file")
	if err := write(local); err != nil {
		return err
	}
	return upload(ctx, local, path)
}

// save writes a local file whole or not at all.
func save(path string, data []byte) error {
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Commit()
}

// upload copies a local file into another file system, whose files appear when they
// are closed.
func upload(ctx context.Context, local, path string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	files, err := filesystem.New(ctx, path)
	if err != nil {
		return err
	}
	defer files.Close()
	in, err := os.Open(local)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := files.OpenWrite(ctx, path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if _, err = io.Copy(out, in); err != nil {
		cancel() // closing must not make a half-written file appear
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
