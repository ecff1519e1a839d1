package script

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/internal/wire"
)

// A value is a word of a line, or a group of words.
type value struct {
	kind  kind
	text  string  // of a word, without quotes and escapes
	items []value // of a list or tuple
}

type kind uint8

const (
	bare   kind = iota
	quoted      // in single quotes: stands for itself
	list        // [ ]
	tuple       // ( )
)

// parseWords divides a line into words.
func parseWords(line string) ([]value, error) {
	p := parser{rest: line}
	words, err := p.words(0)
	if err != nil {
		return nil, err
	}
	return words, nil
}

type parser struct {
	rest  string
	depth int
}

// words reads up to the bracket end, or to the end of the line when that is 0.
func (p *parser) words(end byte) ([]value, error) {
	if p.depth++; p.depth > 4 {
		return nil, fmt.Errorf("brackets within brackets within brackets")
	}
	defer func() { p.depth-- }()
	var words []value
	for {
		p.rest = strings.TrimLeft(p.rest, " \t")
		if p.rest == "" {
			if end != 0 {
				return nil, fmt.Errorf("no %c before the end of the line", end)
			}
			return words, nil
		}
		c := p.rest[0]
		switch c {
		case '[', '(':
			p.rest = p.rest[1:]
			v := value{kind: list}
			closing := byte(']')
			if c == '(' {
				v.kind, closing = tuple, ')'
			}
			var err error
			if v.items, err = p.words(closing); err != nil {
				return nil, err
			}
			words = append(words, v)
		case ']', ')':
			if c != end {
				return nil, fmt.Errorf("%c without its opening", c)
			}
			p.rest = p.rest[1:]
			return words, nil
		case '\'':
			text, err := p.quoted()
			if err != nil {
				return nil, err
			}
			words = append(words, value{kind: quoted, text: text})
		default:
			n := strings.IndexAny(p.rest, " \t[]()'")
			if n < 0 {
				n = len(p.rest)
			}
			words = append(words, value{kind: bare, text: p.rest[:n]})
			p.rest = p.rest[n:]
		}
	}
}

// maxRepeat bounds 'x'*N: a script has no use for a longer message.
const maxRepeat = 16 << 20

// quoted reads '...' and the *N that may follow.
func (p *parser) quoted() (string, error) {
	var b []byte
	s := p.rest[1:]
	for {
		if s == "" {
			return "", fmt.Errorf("no ' before the end of the line")
		}
		if s[0] == '\'' {
			break
		}
		r, multibyte, tail, err := strconv.UnquoteChar(s, '\'')
		if err != nil {
			return "", fmt.Errorf("bad escape at %.10q", s)
		}
		if multibyte {
			b = append(b, string(r)...)
		} else {
			b = append(b, byte(r))
		}
		s = tail
	}
	p.rest = s[1:]
	if !strings.HasPrefix(p.rest, "*") {
		return string(b), nil
	}
	digits := p.rest[1:]
	if n := strings.IndexAny(digits, " \t[]()"); n >= 0 {
		digits = digits[:n]
	}
	p.rest = p.rest[1+len(digits):]
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n*max(len(b), 1) > maxRepeat {
		return "", fmt.Errorf("'...'*%s: no number, or too large", digits)
	}
	return strings.Repeat(string(b), n), nil
}

// vars are the values that $NAME stands for.
type vars map[string]string

// expand replaces $NAME in bare words. A $NAME without a value stays when unbound is true, else it is an error. A word that is nothing
// but $NAME stands for itself afterwards, whatever is in it.
func (vs vars) expand(words []value, unbound bool) ([]value, error) {
	out := slices.Clone(words)
	for i := range out {
		w := &out[i]
		var err error
		switch w.kind {
		case list, tuple:
			w.items, err = vs.expand(w.items, unbound)
		case bare:
			if name, ok := strings.CutPrefix(w.text, "$"); ok {
				if v, ok := vs[name]; ok {
					if _, err := strconv.Atoi(v); err != nil {
						w.kind = quoted
					}
					w.text = v
					continue
				}
			}
			w.text, err = vs.expandText(w.text, unbound)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (vs vars) expandText(s string, unbound bool) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		n := nameLen(after)
		name := after[:n]
		s = after[n:]
		switch v, ok := vs[name]; {
		case ok:
			b.WriteString(v)
		case unbound:
			b.WriteString("$" + name)
		default:
			return "", fmt.Errorf("$%s has no value", name)
		}
	}
}

// nameLen is how many bytes at the beginning of s can be in the name of a variable.
func nameLen(s string) int {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return i
		}
	}
	return len(s)
}

// merge adds what a match found.
func (vs vars) merge(found vars) { maps.Copy(vs, found) }

// fields are the pairs of a message or a stat.
type fields struct {
	pairs []pair
	rest  bool // `...`: the others do not matter
}

type pair struct {
	name  string
	value value
}

// parseFields reads NAME VALUE ... and `...`.
func parseFields(words []value) (fields, error) {
	var f fields
	for len(words) > 0 {
		w := words[0]
		if w.kind != bare {
			return f, fmt.Errorf("%s stands where the name of a field is due", w)
		}
		if w.text == "..." {
			if len(words) > 1 {
				return f, fmt.Errorf("... is not at the end")
			}
			f.rest = true
			break
		}
		if len(words) < 2 {
			return f, fmt.Errorf("%s has no value", w.text)
		}
		if _, ok := f.get(w.text); ok {
			return f, fmt.Errorf("%s stands there twice", w.text)
		}
		f.pairs = append(f.pairs, pair{w.text, words[1]})
		words = words[2:]
	}
	return f, nil
}

func (f fields) get(name string) (value, bool) {
	for _, p := range f.pairs {
		if p.name == name {
			return p.value, true
		}
	}
	return value{}, false
}

// String returns v about as it was written.
func (v value) String() string {
	switch v.kind {
	case quoted:
		return string(wire.AppendQuoted(nil, []byte(v.text), -1))
	case list, tuple:
		words := make([]string, len(v.items))
		for i, w := range v.items {
			words[i] = w.String()
		}
		s := strings.Join(words, " ")
		if v.kind == list {
			return "[" + s + "]"
		}
		return "(" + s + ")"
	}
	return v.text
}
