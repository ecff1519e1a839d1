package script

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/clone9p/clone9p/internal/wire"
)

// A fake is as little of a server as the harness needs to be tried on: a root directory that holds the file `line`. Its reads wait for `do
// push TEXT`. Each connection has one goroutine, which ends with the connection.
type fake struct {
	faulty string // what to do wrong, from the serve line

	mu      sync.Mutex // guards what follows, and is held while a reply is written, so that pushes and requests do not mix
	lines   []string   // pushed and not read
	waiting []*waiting // reads, oldest first
	conns   sync.WaitGroup
}

type waiting struct {
	c   *fakeConn
	tag uint16
}

type fakeConn struct {
	f    *fake
	c    net.Conn
	d    wire.Dialect
	tell string // a conn line's option
}

func serveFake(t testing.TB, tree string, options []string) Server {
	if tree != "fake" {
		t.Fatalf("no tree %q", tree)
	}
	f := &fake{faulty: strings.Join(options, " ")}
	return Server{
		Dial: func(options []string) (net.Conn, error) {
			client, server, err := Socketpair()
			if err != nil {
				return nil, err
			}
			c := &fakeConn{f: f, c: server, tell: strings.Join(options, " ")}
			f.conns.Go(c.serve)
			return client, nil
		},
		Do: map[string]func([]string) error{
			"push": func(args []string) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.lines = append(f.lines, strings.Join(args, " "))
				f.deliver()
				return nil
			},
			"waiting": func(args []string) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				if got := fmt.Sprint(len(f.waiting)); got != args[0] {
					return fmt.Errorf("%s reads are waiting, not %s", got, args[0])
				}
				return nil
			},
		},
		Close: func() error {
			f.conns.Wait()
			if n := len(f.waiting); n > 0 {
				return fmt.Errorf("%d reads are left", n)
			}
			return nil
		},
	}
}

// deliver gives pushed lines to waiting reads. The lock is held.
func (f *fake) deliver() {
	for len(f.lines) > 0 && len(f.waiting) > 0 {
		w := f.waiting[0]
		w.c.reply(&wire.Msg{Type: wire.Rread, Tag: w.tag, Data: []byte(f.lines[0])})
		f.lines, f.waiting = f.lines[1:], f.waiting[1:]
	}
}

func (c *fakeConn) serve() {
	defer func() {
		c.c.Close()
		c.f.mu.Lock()
		defer c.f.mu.Unlock()
		c.f.waiting = slices.DeleteFunc(c.f.waiting, func(w *waiting) bool { return w.c == c })
	}()
	for {
		head := make([]byte, 4)
		if _, err := io.ReadFull(c.c, head); err != nil {
			return
		}
		size, _ := wire.Peek(head)
		if size < wire.HeaderSize || size > 1<<16 {
			return
		}
		b := make([]byte, size)
		copy(b, head)
		if _, err := io.ReadFull(c.c, b[4:]); err != nil {
			return
		}
		var m wire.Msg
		if err := m.Decode(c.d, b); err != nil {
			return
		}
		c.f.mu.Lock()
		c.answer(&m)
		c.f.mu.Unlock()
	}
}

var fakeDir = wire.Qid{Type: wire.QTDIR, Path: 1}

// answer answers m. The lock is held.
func (c *fakeConn) answer(m *wire.Msg) {
	r := &wire.Msg{Type: m.Type.Reply(), Tag: m.Tag}
	switch m.Type {
	case wire.Tversion:
		d, _ := wire.ParseVersion(string(m.Version))
		c.d = d
		r.Msize, r.Version = min(m.Msize, 4096), []byte(d.String())
	case wire.Tattach:
		r.Qid = fakeDir
		if string(m.Aname) == "none" {
			r.Type, r.Ename, r.Errno = wire.Rerror, []byte("file does not exist"), 2
			if c.d == wire.P9L {
				r.Type = wire.Rlerror
			}
		}
	case wire.Twalk:
		r.Nwqid = m.Nwname
		for i := range m.Nwname {
			r.Wqid[i] = wire.Qid{Version: 7, Path: 0x100 + uint64(m.Newfid)}
		}
	case wire.Tread:
		switch m.Fid {
		case 1: // the root directory
			s := wire.Stat{Name: []byte("line"), Mode: 0o444, Qid: wire.Qid{Path: 0x102}, Uid: []byte("glenda"), Gid: []byte("bell labs")}
			r.Data, _ = wire.AppendStat(nil, c.d, &s)
		case 9: // who is there
			r.Data = []byte(c.tell)
		default:
			c.f.waiting = append(c.f.waiting, &waiting{c, m.Tag})
			c.f.deliver()
			return
		}
	case wire.Treaddir:
		r.Data = wire.AppendDirent(nil, wire.Qid{Path: 0x102}, 1, 8, "line")
	case wire.Tflush:
		c.f.waiting = slices.DeleteFunc(c.f.waiting, func(w *waiting) bool {
			found := w.c == c && w.tag == m.Oldtag
			if found {
				c.reply(&wire.Msg{Type: wire.Rlerror, Tag: w.tag, Errno: 4})
			}
			return found
		})
	case wire.Tstat:
		r.Stat = wire.Stat{Name: []byte("line"), Mode: 0o444, Qid: wire.Qid{Path: 0x102}, Length: 5, Uid: []byte("glenda")}
	case wire.Tgetattr:
		r.Attr = wire.Attr{Valid: m.Mask, Mode: 0o100444, Size: 5, Nlink: 1}
	case wire.Tclunk:
		switch c.f.faulty {
		case "hangs up":
			c.c.Close()
			return
		case "hangs up within":
			_, _ = c.c.Write([]byte{11, 0, 0, 0, byte(wire.Rclunk)})
			c.c.Close()
			return
		case "asks":
			r.Type = wire.Tclunk
		case "answers twice":
			c.reply(r)
		case "says nothing":
			return
		case "says nonsense":
			_, _ = c.c.Write([]byte{1, 0, 0, 0})
			return
		}
	}
	c.reply(r)
}

func (c *fakeConn) reply(m *wire.Msg) {
	if m.Type == wire.Rlerror && c.d != wire.P9L {
		m.Type, m.Ename = wire.Rerror, []byte("interrupted")
	}
	b, err := wire.Append(nil, c.d, m)
	if err != nil {
		panic(err)
	}
	// A client that is gone does not get its reply; the goroutine that reads from it will notice.
	_, _ = c.c.Write(b)
}
