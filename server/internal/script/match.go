package script

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clone9p/clone9p/internal/wire"
)

// A pattern is a reply that a script expects.
type pattern struct {
	typ  wire.Type
	fail bool // Rfail: the type and the fields compared depend on the dialect
	f    fields
}

// parsePattern reads the words of a line that begins with R.
func parsePattern(words []value) (pattern, error) {
	var p pattern
	name := words[0].text
	if name == "Rfail" {
		p.fail = true
	} else {
		var ok bool
		if p.typ, ok = wire.ParseType(name); !ok || p.typ.IsT() {
			return p, fmt.Errorf("no message is called %s", name)
		}
	}
	var err error
	p.f, err = parseFields(words[1:])
	return p, err
}

// in makes of Rfail what an error is in dialect d.
func (p pattern) in(d wire.Dialect) pattern {
	if !p.fail {
		return p
	}
	p.fail = false
	p.typ = wire.Rerror
	drop := "errno"
	switch d {
	case wire.P9L:
		p.typ = wire.Rlerror
		drop = "ename"
	case wire.P9u:
		drop = ""
	}
	p.f.rest = true
	p.f.pairs = slices.DeleteFunc(slices.Clone(p.f.pairs), func(pr pair) bool { return pr.name == drop })
	if _, ok := p.f.get("tag"); !ok {
		p.f.pairs = append(p.f.pairs, pair{"tag", value{text: "0"}})
	}
	return p
}

// match compares m with p. On success it returns what the $NAMEs without a value found; otherwise the error says in what they differ.
// The tag is compared even when p ends in `...`.
func (p pattern) match(d wire.Dialect, m *wire.Msg, known vars) (vars, error) {
	p = p.in(d)
	if !d.Has(p.typ) {
		return nil, fmt.Errorf("%v has no %v", d, p.typ)
	}
	if m.Type != p.typ {
		return nil, fmt.Errorf("the type is %v", m.Type)
	}
	c := comparison{d: d, msg: m.Type, known: known, found: vars{}}
	got, names := places(d, m)
	want, _ := places(d, blank(m.Type))
	if p.f.rest {
		if _, ok := p.f.get("tag"); !ok && m.Tag != *want["tag"].(*uint16) {
			return nil, fmt.Errorf("tag is %d", m.Tag)
		}
	}
	if err := c.fields(p.f, got, want, names); err != nil {
		return nil, err
	}
	return c.found, nil
}

// A comparison is one attempt to match.
type comparison struct {
	d     wire.Dialect
	msg   wire.Type
	known vars
	found vars // values taken in this attempt
}

func (c *comparison) fields(f fields, got, unnamed map[string]any, names []string) error {
	for _, p := range f.pairs {
		if _, ok := got[p.name]; !ok {
			return fmt.Errorf("no field %q, there are: %s", p.name, strings.Join(names, " "))
		}
	}
	for _, name := range names {
		want, ok := f.get(name)
		if ok {
			if err := c.value(name, want, got[name]); err != nil {
				return err
			}
			continue
		}
		if !f.rest {
			if g, w := show(got[name]), show(unnamed[name]); g != w {
				return fmt.Errorf("%s is %s and was not named", name, g)
			}
		}
	}
	return nil
}

// value compares one field.
func (c *comparison) value(name string, want value, place any) error {
	if want.kind == bare && want.text == "*" {
		return nil
	}
	differ := func() error { return fmt.Errorf("%s is %s, not %s", name, show(place), want) }
	list := func(n int, item func(int) any) error {
		items := elements(want)
		if len(items) != n {
			return differ()
		}
		for i, want := range items {
			if err := c.value(fmt.Sprintf("%s %d", name, i), want, item(i)); err != nil {
				return err
			}
		}
		return nil
	}
	switch p := place.(type) {
	case *wire.Stat:
		return c.stat(name, want, p)
	case wire.Qids:
		return list(*p.N, func(i int) any { return &p.List[i] })
	case wire.Names:
		return list(*p.N, func(i int) any { return &p.List[i] })
	}
	if v, ok := free(want); ok {
		return c.bind(name, v, plain(place))
	}
	number := func(got uint64, bits int) error {
		if want.kind != bare {
			return fmt.Errorf("%s: %s is no number", name, want)
		}
		n, err := parseNumber(want.text, bits)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if n != got {
			return differ()
		}
		return nil
	}
	switch p := place.(type) {
	case *uint8:
		return number(uint64(*p), 8)
	case *uint16:
		return number(uint64(*p), 16)
	case *uint32:
		return number(uint64(*p), 32)
	case *uint64:
		return number(*p, 64)
	case *[]byte:
		switch want.kind {
		case quoted:
			if string(*p) != want.text {
				return differ()
			}
		case bare:
			if !glob(want.text, string(*p)) {
				return differ()
			}
		default:
			if name != "data" {
				return fmt.Errorf("%s is a string, %s is none", name, want)
			}
			return c.entries(elements(want), *p)
		}
		return nil
	case *wire.Qid:
		return c.qid(name, want, *p)
	}
	panic(fmt.Sprintf("script: field of type %T", place))
}

// free reports whether want is a $NAME that has no value yet.
func free(want value) (string, bool) {
	name, ok := strings.CutPrefix(want.text, "$")
	return name, ok && want.kind == bare && nameLen(name) == len(name)
}

// bind gives $name the value that was found, or compares it when it has one from earlier in the same message.
func (c *comparison) bind(field, name, got string) error {
	if old, ok := c.found[name]; ok && old != got {
		return fmt.Errorf("%s is %s, but $%s is %s", field, got, name, old)
	}
	c.found[name] = got
	return nil
}

func (c *comparison) qid(name string, want value, got wire.Qid) error {
	path, version, letters, err := qidParts(want)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	same := func(want string, got uint64, bits int) (bool, error) {
		if want == "*" {
			return true, nil
		}
		if v, ok := strings.CutPrefix(want, "$"); ok {
			return true, c.bind(name, v, fmt.Sprintf("%#x", got))
		}
		n, err := parseNumber(want, bits)
		return n == got, err
	}
	okPath, err := same(path, got.Path, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	okVersion, err := same(version, uint64(got.Version), 32)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	typ, ok := wire.ParseQidType(letters)
	if letters != "*" && !ok {
		return fmt.Errorf("%s: %q are no letters of a qid's type", name, letters)
	}
	if !okPath || !okVersion || letters != "*" && typ != got.Type {
		return fmt.Errorf("%s is %v, not %s", name, got, want)
	}
	return nil
}

func (c *comparison) stat(name string, want value, got *wire.Stat) error {
	if want.kind != tuple {
		return fmt.Errorf("%s: %s is no stat, which stands in parentheses", name, want)
	}
	f, err := parseFields(want.items)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	at, names := statPlaces(c.d, got)
	unnamed, _ := statPlaces(c.d, new(wire.Stat))
	if err := c.fields(f, at, unnamed, names); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// entries compares the contents of a directory: stats in Rread, entries of their own kind in Rreaddir.
func (c *comparison) entries(want []value, data []byte) error {
	n := 0
	for ; len(data) > 0; n++ {
		name := fmt.Sprintf("entry %d", n)
		var err error
		var text string
		var s wire.Stat
		var e wire.Dirent
		if c.msg == wire.Rreaddir {
			if data, err = wire.DecodeDirent(data, &e); err == nil {
				text = string(e.AppendText(nil, -1))
			}
		} else if data, err = wire.DecodeStat(c.d, data, &s); err == nil {
			text = string(s.AppendText(nil, c.d, -1))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if n >= len(want) {
			return fmt.Errorf("%s more than expected: (%s)", name, text)
		}
		if c.msg != wire.Rreaddir {
			err = c.stat(name, want[n], &s)
		} else {
			err = c.dirent(name, want[n], &e)
		}
		if err != nil {
			return err
		}
	}
	if n != len(want) {
		return fmt.Errorf("%d entries, not %d", n, len(want))
	}
	return nil
}

func (c *comparison) dirent(name string, want value, got *wire.Dirent) error {
	if want.kind != tuple {
		return fmt.Errorf("%s: %s is no entry, which stands in parentheses", name, want)
	}
	f, err := parseFields(want.items)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	at, unnamed := map[string]any{}, map[string]any{}
	var names []string
	got.Visit(func(name string, p any) {
		at[name] = p
		names = append(names, name)
	})
	new(wire.Dirent).Visit(func(name string, p any) { unnamed[name] = p })
	if err := c.fields(f, at, unnamed, names); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// plain returns the value at place as it would be written where it is wanted again.
func plain(place any) string {
	if p, ok := place.(*[]byte); ok {
		return string(*p)
	}
	return show(place)
}

// show returns the value at place for a message.
func show(place any) string {
	switch p := place.(type) {
	case *uint8:
		return fmt.Sprint(*p)
	case *uint16:
		return fmt.Sprint(*p)
	case *uint32:
		return fmt.Sprint(*p)
	case *uint64:
		return fmt.Sprint(*p)
	case *[]byte:
		return string(wire.AppendQuoted(nil, *p, 200))
	case *wire.Qid:
		return p.String()
	case *wire.Stat:
		return "(" + string(p.AppendText(nil, wire.P9u, -1)) + ")"
	case wire.Qids:
		var words []string
		for _, q := range p.List[:*p.N] {
			words = append(words, q.String())
		}
		return "[" + strings.Join(words, " ") + "]"
	case wire.Names:
		var words []string
		for _, n := range p.List[:*p.N] {
			words = append(words, show(&n))
		}
		return "[" + strings.Join(words, " ") + "]"
	}
	panic(fmt.Sprintf("script: field of type %T", place))
}

// glob reports whether s is what pattern says, in which each * stands for anything.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(s, part)
		if !ok {
			return false
		}
		s = after
	}
	return true
}
