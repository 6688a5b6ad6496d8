package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hub downloads one revision of one repository.
type hub struct {
	id, revision string
	file         string // the GGUF file that is wanted alone; "": a checkpoint's files
	endpoint     *url.URL
	token        string
	offline      bool
	cache        cacheFolder
	client       *http.Client
	progress     func(Event)
}

// newHub settles what the options leave to the environment.
func newHub(id string, opts Options) (*hub, error) {
	h := &hub{id: id, revision: cmp.Or(opts.Revision, "main"), progress: opts.Progress}
	if !validRevision(h.revision) {
		return nil, fmt.Errorf("%q cannot be a branch, tag or commit", h.revision)
	}
	home, err := hubHome()
	if err != nil && opts.CacheDir == "" {
		return nil, err
	}
	cache := cmp.Or(opts.CacheDir, os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE"), filepath.Join(home, "hub"))
	h.cache = newCacheFolder(expandHome(cache), id)
	h.offline = opts.Offline || isTrue(os.Getenv("HF_HUB_OFFLINE"))

	address := cmp.Or(opts.Endpoint, os.Getenv("HF_ENDPOINT"), "https://huggingface.co")
	h.endpoint, err = url.Parse(strings.TrimRight(address, "/"))
	if err != nil || h.endpoint.Host == "" || h.endpoint.Scheme != "https" && h.endpoint.Scheme != "http" || h.endpoint.User != nil {
		return nil, errors.New("the endpoint (HF_ENDPOINT) is not an address of the form https://host")
	}
	if h.token, err = findToken(opts.Token, home); err != nil {
		return nil, err
	}
	if h.progress == nil {
		h.progress = func(Event) {}
	}
	client := http.DefaultClient
	if opts.Client != nil {
		client = opts.Client
	}
	own := *client
	own.Transport = &authorized{h.endpoint, h.token, cmp.Or(client.Transport, http.DefaultTransport)}
	h.client = &own
	return h, nil
}

// hubHome returns the folder in which the Hugging Face libraries keep what they keep.
func hubHome() (string, error) {
	if home := os.Getenv("HF_HOME"); home != "" {
		return expandHome(home), nil
	}
	if cache := os.Getenv("XDG_CACHE_HOME"); cache != "" {
		return filepath.Join(expandHome(cache), "huggingface"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no place for the cache; set HF_HOME: %w", err)
	}
	return filepath.Join(home, ".cache", "huggingface"), nil
}

// expandHome replaces a leading ~ by the user's home folder, as the Python library does.
func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

func isTrue(value string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(value))
}

// findToken returns the token that is given, in the environment, or in the file
// that logging in leaves; "" where there is none.
func findToken(given, home string) (string, error) {
	token := cmp.Or(given, os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"))
	if token == "" {
		path := cmp.Or(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home, "token"))
		// A token that cannot be read is none: most repositories need none.
		if info, err := os.Stat(expandHome(path)); err == nil && info.Size() < 1<<12 {
			data, _ := os.ReadFile(expandHome(path))
			token = string(data)
		}
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("the token (HF_TOKEN) has characters that no token has")
	}
	return token, nil
}
