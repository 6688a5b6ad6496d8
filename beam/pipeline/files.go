package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem"
)

// isLocal reports whether a path is of this machine's own file system.
func isLocal(path string) bool { return !strings.Contains(path, "://") }

// upload copies a local file into another file system, whose files appear when they
// are closed.
func upload(ctx context.Context, local, path string) (err error) {
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
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
