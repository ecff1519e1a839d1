package script

import (
	"fmt"
	"strings"

	"github.com/clone9p/clone9p/internal/wire"
)

// shorthand does version, attach, walk, open and clunk: a request, and the reply of success.
func (r *runner) shorthand(c *conn, verb string, args []value) error {
	m, err := r.shorthandMessage(c, verb, args)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if err := r.send(c, m); err != nil {
		return err
	}
	got, err := r.next(c)
	if err != nil {
		return err
	}
	switch {
	case got.Type != m.Type.Reply() || got.Tag != m.Tag:
		return fmt.Errorf("got %s", c.text(got, 1000))
	case got.Type == wire.Rversion && string(got.Version) != string(m.Version):
		return fmt.Errorf("got version %s", got.Version)
	case got.Type == wire.Rwalk && got.Nwqid != m.Nwname:
		return fmt.Errorf("got %d qids for %d names", got.Nwqid, m.Nwname)
	}
	r.accept(c, got, nil)
	return nil
}

func (r *runner) shorthandMessage(c *conn, verb string, args []value) (*wire.Msg, error) {
	word := func(i int) value {
		if i < len(args) {
			return args[i]
		}
		return value{}
	}
	var m *wire.Msg
	var f fields
	var err error
	switch verb {
	case "version":
		m = blank(wire.Tversion)
		m.Msize = 8192
		m.Version = []byte(r.dialect.String())
		if len(args)%2 == 1 {
			d, err := parseDialect(args[0].text)
			if err != nil {
				return nil, err
			}
			m.Version = []byte(d.String())
			args = args[1:]
		}
		if f, err = parseFields(args); err != nil {
			return nil, err
		}
	case "attach":
		m = blank(wire.Tattach)
		if len(args) == 0 {
			return nil, fmt.Errorf("wants a fid")
		}
		if f, err = parseFields(args[1:]); err != nil {
			return nil, err
		}
		f.pairs = append(f.pairs, pair{"fid", args[0]})
	case "walk":
		if len(args) != 2 && len(args) != 3 {
			return nil, fmt.Errorf("wants FID NEWFID and may have PATH")
		}
		m = blank(wire.Twalk)
		names := value{kind: list}
		for name := range strings.SplitSeq(word(2).text, "/") {
			if name != "" {
				names.items = append(names.items, value{kind: quoted, text: name})
			}
		}
		f.pairs = []pair{{"fid", args[0]}, {"newfid", args[1]}, {"wname", names}}
	case "open":
		if len(args) < 2 {
			return nil, fmt.Errorf("wants FID and r, w or rw")
		}
		m = blank(wire.Topen)
		if c.dialect == wire.P9L {
			m = blank(wire.Tlopen)
		}
		for i, w := range args[1:] {
			bits, ok := openWords[w.text]
			if !ok || (i == 0) != bits.access || c.dialect != wire.P9L && bits.old < 0 {
				return nil, fmt.Errorf("%s cannot stand there", w)
			}
			m.Mode |= uint32(max(bits.old, 0))
			m.Flags |= bits.linux
		}
		f.pairs = []pair{{"fid", args[0]}}
	case "clunk":
		if len(args) != 1 {
			return nil, fmt.Errorf("wants a fid")
		}
		m = blank(wire.Tclunk)
		f.pairs = []pair{{"fid", args[0]}}
	}
	if m.Type != wire.Tversion {
		m.Tag = helperTag
	}
	at, names := places(c.dialect, m)
	return m, setFields(c.dialect, at, names, f)
}

// openWords are what an open line may say: in Topen, where -1 means that there is no such thing, and in Tlopen.
var openWords = map[string]struct {
	access bool // comes first
	old    int
	linux  uint32
}{
	"r":        {true, wire.OREAD, 0},
	"w":        {true, wire.OWRITE, 1},
	"rw":       {true, wire.ORDWR, 2},
	"trunc":    {false, wire.OTRUNC, 0o1000},
	"create":   {false, -1, 0o100},
	"append":   {false, -1, 0o2000},
	"nonblock": {false, -1, 0o4000},
}
