package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// How patient a download is. Variables, because tests have less time.
var (
	attempts   = 6                // without progress, before giving up
	firstPause = time.Second      // before the second attempt; doubles from then on
	longPause  = 30 * time.Second // at most, whatever a server asks for
	shortWait  = 10 * time.Second // for an answer that the cache can stand in for
	stalled    = 30 * time.Second // without a byte, after which a connection counts as dead
)

// authorized adds the token to requests to the endpoint. A redirect to any
// other host goes without, because the header is never part of the request that
// the client copies.
type authorized struct {
	endpoint *url.URL
	token    string
	next     http.RoundTripper
}

func (a *authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "steer")
	if a.token != "" && r.URL.Scheme == a.endpoint.Scheme && r.URL.Host == a.endpoint.Host {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	return a.next.RoundTrip(r)
}

// refusal is an answer that is not the one asked for.
type refusal struct {
	status  int
	passing bool          // it may go away by waiting
	after   time.Duration // that the server asks to wait; 0: it does not say
	message string
}

func (r *refusal) Error() string { return r.message }

func isNotFound(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == http.StatusNotFound
}

// refuse makes an error of an answer. Nothing in it comes from the server but
// its status and codes that are known.
func (h *hub) refuse(answer *http.Response) *refusal {
	r := &refusal{status: answer.StatusCode}
	r.passing = r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout || r.status >= 500
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		r.after = time.Duration(min(seconds, 3600)) * time.Second
	}
	page := h.endpoint.JoinPath(h.id)
	code := answer.Header.Get("X-Error-Code")
	switch {
	case answer.Request.URL.Host != h.endpoint.Host:
		// A storage host refuses addresses that have expired; asking the Hub
		// again brings a new one.
		r.passing = r.passing || r.status == http.StatusForbidden
		r.message = fmt.Sprintf("%s answered with status %d", answer.Request.URL.Host, r.status)
	case r.status == 401 || r.status == 403:
		r.message = fmt.Sprintf("the repository is gated or private, or does not exist (status %d): ", r.status)
		if h.token == "" {
			r.message += fmt.Sprintf("ask for access at %s, then set HF_TOKEN to a token that may read it", page)
		} else {
			r.message += fmt.Sprintf("the token in use (HF_TOKEN, or the one of logging in) may not read it; ask for access at %s", page)
		}
	case r.status == 404 && code == "RepoNotFound":
		r.message = fmt.Sprintf("there is no repository %s", page)
	case r.status == 404 && code == "RevisionNotFound":
		r.message = fmt.Sprintf("repository %s has no revision %q", page, h.revision)
	case r.status == 404 && code == "EntryNotFound":
		r.message = fmt.Sprintf("repository %s has no such file", page)
	case r.status == 404:
		r.message = fmt.Sprintf("there is no repository %s, or it has no revision %q (status 404)", page, h.revision)
	default:
		r.message = fmt.Sprintf("%s answered with status %d", answer.Request.URL.Host, r.status)
	}
	return r
}

// withRetries calls try until it succeeds, or fails for good, or has failed the
// given number of times in a row without progress. Its error says what failed.
func withRetries(ctx context.Context, what string, times int, try func() (progress bool, err error)) error {
	for failed := 0; ; {
		progress, err := try()
		if err == nil {
			return nil
		}
		if progress {
			failed = 0
		}
		failed++
		var r *refusal
		var final *permanent
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
			fallthrough
		case failed >= times, errors.As(err, &final), errors.As(err, &r) && !r.passing:
			return fmt.Errorf("%s: %w", what, err)
		}
		pause := min(firstPause<<(failed-1), longPause)
		pause = pause/2 + rand.N(pause/2+1) // so that many callers do not come back together
		if r != nil && r.after > 0 {
			pause = min(r.after, longPause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// permanent marks an error that trying again does not mend.
type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// do sends a request that ends when no byte has come for a while. It hands the
// answer to read; read calls alive whenever something has arrived.
func (h *hub) do(ctx context.Context, client *http.Client, method string, address *url.URL, header http.Header, read func(answer *http.Response, alive func()) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := fmt.Errorf("nothing arrived for %v", stalled)
	timer := time.AfterFunc(stalled, func() { cancel(silence) })
	defer timer.Stop()
	request, err := http.NewRequestWithContext(ctx, method, address.String(), nil)
	if err != nil {
		return &permanent{errors.New("the address cannot be asked for")}
	}
	request.Header = header
	// Sizes are checked, so nothing may be packed on the way.
	request.Header.Set("Accept-Encoding", "identity")
	answer, err := client.Do(request)
	if err == nil {
		defer answer.Body.Close()
		err = read(answer, func() { timer.Reset(stalled) })
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// The client's own error quotes the address, which behind a redirect can be
	// signed and as good as a token.
	var quoting *url.Error
	if errors.As(err, &quoting) {
		return fmt.Errorf("%s: %w", address.Host, quoting.Err)
	}
	return err
}

// lookUp asks which commit the revision stands for, and which files it has.
// Where the cache can stand in for the answer, it does not wait long.
func (h *hub) lookUp(ctx context.Context, standIn bool) (commit string, files map[string]bool, err error) {
	address := h.endpoint.JoinPath("api/models", h.id, "revision", url.PathEscape(h.revision))
	times := attempts - 2 // sooner than in the middle of a download: there may be no network at all
	if standIn {          // patience is for those who have nothing cached
		times = 2
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, shortWait)
		defer cancel()
	}
	err = withRetries(ctx, "look up revision "+h.revision, times, func() (bool, error) {
		return false, h.do(ctx, h.client, http.MethodGet, address, http.Header{}, func(answer *http.Response, _ func()) error {
			if answer.StatusCode != http.StatusOK {
				return h.refuse(answer)
			}
			data, err := io.ReadAll(io.LimitReader(answer.Body, maxJSON))
			if err != nil {
				return err
			}
			var info struct {
				SHA      string `json:"sha"`
				Siblings []struct {
					Name string `json:"rfilename"`
				} `json:"siblings"`
			}
			if err := json.Unmarshal(data, &info); err != nil {
				return &permanent{fmt.Errorf("the answer of %s: %w", h.endpoint.Host, err)}
			}
			if !validCommit(info.SHA) {
				return &permanent{fmt.Errorf("the answer of %s names no commit: %.60q", h.endpoint.Host, info.SHA)}
			}
			commit, files = info.SHA, map[string]bool{}
			for _, s := range info.Siblings {
				files[s.Name] = true
			}
			return nil
		})
	})
	return commit, files, err
}

// remoteFile is what the Hub says about a file before it is downloaded.
type remoteFile struct {
	name, etag string
	size       int64
	address    *url.URL
}

// sha256 returns the hash that the file must have, "" where it is not known:
// the etag of a file kept in large file storage is its SHA-256.
func (f remoteFile) sha256() string {
	if isSHA256(f.etag) {
		return f.etag
	}
	return ""
}

// describe asks for a file's etag and size. Redirects are followed within the
// endpoint only (a repository that was renamed); one to a storage host comes
// with the answer already.
func (h *hub) describe(ctx context.Context, commit, name string) (remoteFile, error) {
	f := remoteFile{name: name, address: h.endpoint.JoinPath(h.id, "resolve", commit, url.PathEscape(name))}
	client := *h.client
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if len(via) >= 5 || next.URL.Host != h.endpoint.Host || next.URL.Scheme != h.endpoint.Scheme {
			return http.ErrUseLastResponse
		}
		return nil
	}
	err := withRetries(ctx, name, attempts, func() (bool, error) {
		return false, h.do(ctx, &client, http.MethodHead, f.address, http.Header{}, func(answer *http.Response, _ func()) error {
			if answer.StatusCode >= 400 {
				return h.refuse(answer)
			}
			if at := answer.Header.Get("X-Repo-Commit"); at != "" && at != commit {
				return &permanent{fmt.Errorf("commit %s was asked for, and %.60q offered", commit, at)}
			}
			etag, size := answer.Header.Get("X-Linked-Etag"), answer.Header.Get("X-Linked-Size")
			if etag == "" {
				etag = answer.Header.Get("Etag")
			}
			if size == "" {
				size = answer.Header.Get("Content-Length")
			}
			f.etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
			if f.etag == "" || len(f.etag) > 128 || strings.ContainsFunc(f.etag, func(r rune) bool { return !wordRune(r) }) {
				return &permanent{fmt.Errorf("etag %.60q cannot name a file of the cache", f.etag)}
			}
			var err error
			if f.size, err = strconv.ParseInt(size, 10, 64); err != nil || f.size < 0 {
				return &permanent{fmt.Errorf("the server says no size (%.60q)", size)}
			}
			if f.size > maxJSON && !strings.HasSuffix(name, ".safetensors") {
				return &permanent{fmt.Errorf("of %d bytes; at most %d are taken", f.size, maxJSON)}
			}
			return nil
		})
	})
	return f, err
}

// fetch brings one file of a commit into the cache, if it is not there. Callers
// in this and other processes wait for one another.
func (h *hub) fetch(ctx context.Context, commit, name string) error {
	if _, err := os.Stat(filepath.Join(h.cache.snapshot(commit), name)); err == nil {
		return nil
	}
	f, err := h.describe(ctx, commit, name)
	if err != nil {
		return err
	}
	for _, folder := range []string{h.cache.locks, filepath.Dir(h.cache.blob(f.etag))} {
		if err := os.MkdirAll(folder, 0o777); err != nil {
			return err
		}
	}
	lock := flock.New(filepath.Join(h.cache.locks, f.etag+".lock"))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return fmt.Errorf("%s: wait for another download of it: %w", name, err)
	}
	defer lock.Close()
	blob := h.cache.blob(f.etag)
	if info, err := os.Stat(blob); err != nil || info.Size() != f.size {
		if err := h.fetchBlob(ctx, f, blob); err != nil {
			return err
		}
	}
	return h.cache.link(commit, name, f.etag)
}

// fetchBlob downloads a file into "<blob>.incomplete", going on where an earlier
// download ended, checks it and gives it its name.
func (h *hub) fetchBlob(ctx context.Context, f remoteFile, blob string) error {
	file, err := os.OpenFile(blob+".incomplete", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer file.Close()
	p := &partial{file: file, hash: sha256.New()}
	if err := p.resume(f.size); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	resumed := p.done > 0
	if err := h.receive(ctx, f, p); err != nil {
		return err
	}
	if p.wrong(f) != nil && resumed {
		// What lay there from before may be to blame.
		if err := p.restart(); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := h.receive(ctx, f, p); err != nil {
			return err
		}
	}
	if err := p.wrong(f); err != nil {
		file.Close()
		os.Remove(file.Name())
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), blob)
}

// receive downloads what is missing of a file, through cut connections.
func (h *hub) receive(ctx context.Context, f remoteFile, p *partial) error {
	report := func() { h.progress(Event{File: f.name, Done: p.done, Total: f.size}) }
	report()
	if p.done == f.size {
		return nil
	}
	return withRetries(ctx, f.name, attempts, func() (bool, error) {
		before := p.done
		header := http.Header{}
		if before > 0 {
			header.Set("Range", fmt.Sprintf("bytes=%d-", before))
		}
		err := h.do(ctx, h.client, http.MethodGet, f.address, header, func(answer *http.Response, alive func()) error {
			switch answer.StatusCode {
			case http.StatusOK: // from the start, whatever was asked for
				if err := p.restart(); err != nil {
					return &permanent{err}
				}
			case http.StatusPartialContent:
				want := fmt.Sprintf("bytes %d-%d/%d", before, f.size-1, f.size)
				if got := answer.Header.Get("Content-Range"); before == 0 || got != want {
					return errors.Join(fmt.Errorf("the server sent %.60q where %q was asked for", got, want), p.restart())
				}
			case http.StatusRequestedRangeNotSatisfiable:
				return errors.Join(fmt.Errorf("the server has no bytes from %d on", before), p.restart())
			default:
				return h.refuse(answer)
			}
			return p.copy(f.size, answer.Body, func() { alive(); report() })
		})
		return p.done > before, err
	})
}

// partial is a file that is being downloaded, and the hash of what is there.
type partial struct {
	file *os.File
	hash hash.Hash
	done int64 // bytes
}

// resume takes over what an earlier download left, unless that is too much.
func (p *partial) resume(size int64) error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > size {
		return p.restart()
	}
	p.done, err = io.Copy(p.hash, p.file)
	return err
}

func (p *partial) restart() error {
	p.hash.Reset()
	p.done = 0
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// copy appends a body to the file, calling arrived after each piece. A body
// longer than the file should be is an error, a shorter one too.
func (p *partial) copy(size int64, body io.Reader, arrived func()) error {
	buffer := make([]byte, 1<<20)
	for {
		n, err := body.Read(buffer)
		if int64(n) > size-p.done {
			return &permanent{fmt.Errorf("the server sends more than its %d bytes", size)}
		}
		if n > 0 {
			if _, err := p.file.Write(buffer[:n]); err != nil {
				return &permanent{err}
			}
			p.hash.Write(buffer[:n])
			p.done += int64(n)
			arrived()
		}
		if err == io.EOF && p.done == size {
			return nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("the connection ended after %d of %d bytes: %w", p.done, size, err)
		}
	}
}

// wrong returns an error when the file is not the one that was asked for.
func (p *partial) wrong(f remoteFile) error {
	if p.done != f.size {
		return fmt.Errorf("%s: has %d bytes; the Hub says %d", f.name, p.done, f.size)
	}
	if got, want := hex.EncodeToString(p.hash.Sum(nil)), f.sha256(); want != "" && got != want {
		return fmt.Errorf("%s: the download has sha256 %s; the Hub says %s", f.name, got, want)
	}
	return nil
}
