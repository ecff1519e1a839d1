package script

import (
	"fmt"
	"strings"

	"github.com/clone9p/clone9p/internal/wire"
)

// blank returns the message of type t in which no field was named.
func blank(t wire.Type) *wire.Msg {
	m := &wire.Msg{Type: t, Afid: wire.NoFid, NUname: wire.NoUid}
	switch t {
	case wire.Tversion, wire.Rversion:
		m.Tag = wire.NoTag
	case wire.Twstat:
		m.Stat = wire.NoStat()
	}
	return m
}

// places returns where m keeps its fields, tag among them, and their names in order.
func places(d wire.Dialect, m *wire.Msg) (map[string]any, []string) {
	names := []string{"tag"}
	at := map[string]any{"tag": &m.Tag}
	m.Visit(d, func(name string, p any) {
		at[name] = p
		names = append(names, name)
	})
	return at, names
}

// statPlaces does so for a stat.
func statPlaces(d wire.Dialect, s *wire.Stat) (map[string]any, []string) {
	var names []string
	at := map[string]any{}
	s.Visit(d, func(name string, p any) {
		at[name] = p
		names = append(names, name)
	})
	return at, names
}

// buildMessage makes the message of type t that has these fields.
func buildMessage(d wire.Dialect, t wire.Type, f fields) (*wire.Msg, error) {
	if !d.Has(t) {
		return nil, fmt.Errorf("%v has no %v", d, t)
	}
	if f.rest {
		return nil, fmt.Errorf("... in a message that is sent")
	}
	m := blank(t)
	at, names := places(d, m)
	return m, setFields(d, at, names, f)
}

func setFields(d wire.Dialect, at map[string]any, names []string, f fields) error {
	for _, p := range f.pairs {
		place, ok := at[p.name]
		if !ok {
			return fmt.Errorf("no field %q, there are: %s", p.name, strings.Join(names, " "))
		}
		if err := setField(d, place, p.value); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// setField puts v at place, a pointer as wire's Visit shows them.
func setField(d wire.Dialect, place any, v value) error {
	number := func(bits int) (uint64, error) {
		if v.kind != bare {
			return 0, fmt.Errorf("%s is no number", v)
		}
		return parseNumber(v.text, bits)
	}
	var n uint64
	var err error
	switch p := place.(type) {
	case *uint8:
		n, err = number(8)
		*p = uint8(n)
	case *uint16:
		n, err = number(16)
		*p = uint16(n)
	case *uint32:
		n, err = number(32)
		*p = uint32(n)
	case *uint64:
		n, err = number(64)
		*p = n
	case *[]byte:
		if v.kind != bare && v.kind != quoted {
			return fmt.Errorf("%s is no string", v)
		}
		*p = []byte(v.text)
	case *wire.Qid:
		*p, err = parseQid(v)
	case *wire.Stat:
		if v.kind != tuple {
			return fmt.Errorf("%s is no stat, which stands in parentheses", v)
		}
		f, err := parseFields(v.items)
		if err != nil {
			return err
		}
		at, names := statPlaces(d, p)
		return setFields(d, at, names, f)
	case wire.Names:
		items := elements(v)
		if len(items) > wire.MaxWalk {
			return fmt.Errorf("%d names, which only a raw message can have", len(items))
		}
		*p.N = len(items)
		for i, item := range items {
			if err := setField(d, &p.List[i], item); err != nil {
				return err
			}
		}
	case wire.Qids:
		items := elements(v)
		if len(items) > wire.MaxWalk {
			return fmt.Errorf("%d qids, which only a raw message can have", len(items))
		}
		*p.N = len(items)
		for i, item := range items {
			if err := setField(d, &p.List[i], item); err != nil {
				return err
			}
		}
	default:
		panic(fmt.Sprintf("script: field of type %T", p))
	}
	return err
}

// elements are the items of a list; what is no list is one item.
func elements(v value) []value {
	if v.kind == list {
		return v.items
	}
	return []value{v}
}

// qidParts divides PATH.VERSION[.LETTERS].
func qidParts(v value) (path, version, letters string, err error) {
	parts := strings.Split(v.text, ".")
	if v.kind != bare && v.kind != quoted || len(parts) < 2 || len(parts) > 3 {
		return "", "", "", fmt.Errorf("%s is no qid, which is PATH.VERSION or PATH.VERSION.LETTERS", v)
	}
	if len(parts) == 3 {
		letters = parts[2]
	}
	return parts[0], parts[1], letters, nil
}

func parseQid(v value) (wire.Qid, error) {
	path, version, letters, err := qidParts(v)
	if err != nil {
		return wire.Qid{}, err
	}
	var q wire.Qid
	if q.Path, err = parseNumber(path, 64); err != nil {
		return q, err
	}
	n, err := parseNumber(version, 32)
	if err != nil {
		return q, err
	}
	q.Version = uint32(n)
	var ok bool
	if q.Type, ok = wire.ParseQidType(letters); !ok {
		return q, fmt.Errorf("%q are no letters of a qid's type", letters)
	}
	return q, nil
}
