package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem"

	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/lm"
)

// kept returns what compute gave in an earlier attempt at the same work, or has it
// computed and keeps it, in the job's folder. Work is told apart by all that its result
// depends on: the program, the model's weights and numbers, the job, and what is given
// here. Where the job has no folder, it is computed.
func (j Job) kept(ctx context.Context, m *lm.Model, given any, compute func() ([]byte, error)) ([]byte, error) {
	if j.Keep == "" {
		return compute()
	}
	program, err := program()
	if err != nil {
		return nil, err
	}
	d := m.Description()
	work, err := json.Marshal([]any{program, m.Fingerprint(), d.DType, d.Instructions, j, given})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(work)
	path := strings.TrimSuffix(j.Keep, "/") + "/" + hex.EncodeToString(digest[:]) + ".part"
	data, err := fetch(ctx, path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = compute(); err != nil {
		return nil, err
	}
	if isLocal(j.Keep) {
		if err := os.MkdirAll(j.Keep, 0o777); err != nil {
			return nil, err
		}
	}
	err = publish(ctx, path, func(local string) error { return save(local, data) })
	if errors.Is(err, output.ErrBusy) { // the same work, done by somebody else at the same time
		err = nil
	}
	return data, err
}

// program is the digest of what this process runs.
var program = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	file, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "", fmt.Errorf("read %s: %w", self, err)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
})

// fetch reads a file in any file system; fs.ErrNotExist: there is none.
func fetch(ctx context.Context, path string) ([]byte, error) {
	if isLocal(path) {
		return os.ReadFile(path)
	}
	files, err := filesystem.New(ctx, path)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	// What is not there has another error in every file system, but is in no list.
	names, err := files.List(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", path, err)
	}
	if len(names) == 0 {
		return nil, fs.ErrNotExist
	}
	return filesystem.Read(ctx, files, path)
}
