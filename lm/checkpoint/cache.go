package checkpoint

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// cacheFolder is the part of the standard cache that belongs to one repository:
//
//	models--org--name/refs/main                        the commit that main names
//	models--org--name/snapshots/<commit>/config.json   a link into blobs
//	models--org--name/blobs/<etag>                     a file's bytes
//	models--org--name/.no_exist/<commit>/<file>        the commit has no such file
//	.locks/models--org--name/<etag>.lock               held while a blob is written
type cacheFolder struct {
	root, locks string
	file        string // the GGUF file that is wanted alone; "": a checkpoint's files
	weights     bool   // are wanted, or what is beside them alone
	symlink     func(target, link string) error
}

func newCacheFolder(cache, id string) cacheFolder {
	name := "models--" + strings.ReplaceAll(id, "/", "--")
	return cacheFolder{root: filepath.Join(cache, name), locks: filepath.Join(cache, ".locks", name), symlink: os.Symlink}
}

func (c cacheFolder) snapshot(commit string) string {
	return filepath.Join(c.root, "snapshots", commit)
}

func (c cacheFolder) blob(etag string) string { return filepath.Join(c.root, "blobs", etag) }

func (c cacheFolder) ref(revision string) string {
	return filepath.Join(c.root, "refs", filepath.FromSlash(revision))
}

func (c cacheFolder) absent(commit, name string) string {
	return filepath.Join(c.root, ".no_exist", commit, name)
}

// resolve returns the commit that a revision stood for when last looked up.
func (c cacheFolder) resolve(revision string) (commit string, err error) {
	if validCommit(revision) {
		return revision, nil
	}
	data, err := os.ReadFile(c.ref(revision))
	if err != nil {
		return "", err
	}
	commit = strings.TrimSpace(string(data))
	if !validCommit(commit) {
		return "", fmt.Errorf("%s holds %.60q, not a commit", c.ref(revision), commit)
	}
	return commit, nil
}

// complete returns an error that names a file that is wanted of the commit and
// not cached.
func (c cacheFolder) complete(commit string) error {
	if c.file != "" {
		_, err := os.Stat(filepath.Join(c.snapshot(commit), c.file))
		return err
	}
	if _, err := os.Stat(filepath.Join(c.snapshot(commit), configFile)); err != nil || !c.weights {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.snapshot(commit), singleFile)); err == nil {
		return nil
	}
	shards, err := c.shards(commit)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		if _, err := os.Stat(filepath.Join(c.snapshot(commit), shard)); err != nil {
			return err
		}
	}
	return nil
}

// settled reports whether each optional file of the commit is cached or known
// not to exist, so that there is nothing left to ask.
func (c cacheFolder) settled(commit string) bool {
	if c.file != "" {
		return true
	}
	for _, name := range optionalFiles {
		_, err := os.Stat(filepath.Join(c.snapshot(commit), name))
		_, absent := os.Stat(c.absent(commit, name))
		if err != nil && absent != nil {
			return false
		}
	}
	return true
}

// shards returns the shards that the cached index of a commit lists.
func (c cacheFolder) shards(commit string) ([]string, error) {
	data, err := readJSON(os.DirFS(c.snapshot(commit)), indexFile)
	if err != nil {
		return nil, err
	}
	shards, _, err := parseIndex(data)
	return shards, err
}

// name records that a revision stands for a commit.
func (c cacheFolder) name(revision, commit string) error {
	if known, err := c.resolve(revision); err == nil && known == commit {
		return nil // so that a cache that cannot be written serves as well
	}
	return writeWhole(c.ref(revision), []byte(commit))
}

// markAbsent records that a commit has no file of that name. A cache that
// cannot be written only means that the Hub is asked again.
func (c cacheFolder) markAbsent(commit, name string) {
	path := c.absent(commit, name)
	if _, err := os.Stat(path); err != nil {
		_ = writeWhole(path, nil)
	}
}

// link makes a blob appear as a file of a commit: by a symbolic link, or where
// the system does not allow that (Windows) by a hard one, or else as a copy.
func (c cacheFolder) link(commit, name, etag string) error {
	path := filepath.Join(c.snapshot(commit), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	beside := path + ".link." + rand.Text()
	err := c.symlink(filepath.Join("..", "..", "blobs", etag), beside)
	if err != nil {
		err = os.Link(c.blob(etag), beside)
	}
	if err != nil {
		err = copyFile(c.blob(etag), beside)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(beside, path); err != nil {
		os.Remove(beside)
		return err
	}
	return nil
}

// writeWhole writes a small file so that no one sees half of it.
func writeWhole(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	beside := path + "." + rand.Text() + ".tmp"
	err := os.WriteFile(beside, data, 0o666)
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		os.Remove(beside)
	}
	return err
}

// copyFile copies a file to a path where there is none.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closing := out.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(to)
	}
	return err
}
