package checkpoint

import (
	"io/fs"
	"path/filepath"
	"strings"
)

// validID reports whether id has the form of a Hub repository: one or two
// names of letters, digits, '-', '_' and '.', as the Hub allows them.
func validID(id string) bool {
	parts := strings.Split(id, "/")
	if len(parts) > 2 || len(id) > 192 {
		return false
	}
	for _, p := range parts {
		if strings.Trim(p, "-.") != p || p == "" || strings.Contains(p, "..") || strings.Contains(p, "--") {
			return false
		}
		if strings.ContainsFunc(p, func(r rune) bool { return !wordRune(r) && r != '.' }) {
			return false
		}
	}
	return true
}

// wordRune reports whether r is a letter, a digit, '-' or '_'.
func wordRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// validRevision reports whether a branch or tag can be a path below refs.
func validRevision(revision string) bool {
	return fs.ValidPath(revision) && revision != "." && filepath.IsLocal(filepath.FromSlash(revision)) &&
		!strings.ContainsAny(revision, "\\:?*[~^ \x00") && !strings.ContainsFunc(revision, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// validCommit reports whether s is a full commit hash.
func validCommit(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}
