package jinja

import "strings"

// markup is a string that counts as HTML: what the filters safe and escape
// make. Chat templates are rendered without escaping, but a string that meets
// markup in a sum, a format or a method is escaped all the same, as markupsafe
// does it, and templates that use safe depend on that.
type markup string

// plain is the value with markup taken as the string that it is.
func plain(value any) any {
	if m, ok := value.(markup); ok {
		return string(m)
	}
	return value
}

// asText is the value as a string, where it is one.
func asText(value any) (text string, ok bool) {
	text, ok = plain(value).(string)
	return text, ok
}

// like is text as markup where the value is.
func like(value any, text string) any {
	if _, ok := value.(markup); ok {
		return markup(text)
	}
	return text
}

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", "\"", "&#34;")

// escape is the value as it is printed, with HTML's characters escaped; markup
// is left alone.
func (s *state) escape(value any) string {
	if m, ok := value.(markup); ok {
		return string(m)
	}
	text := s.str(value)
	const most = 5 // bytes that one becomes
	s.hold(len(text))
	if strings.ContainsAny(text, `&<>'"`) {
		s.hold((most - 1) * len(text))
	}
	return escapes.Replace(text)
}

// escaped is the value escaped where beside is markup, else as it is printed.
func (s *state) escaped(beside, value any) string {
	if _, ok := beside.(markup); ok {
		return s.escape(value)
	}
	return s.str(value)
}
