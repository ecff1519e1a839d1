package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/internal/wire"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// A hook is a context that has things happen at the moments when a call looks at it: begins before anything is sent, waits when
// the message is on its way. After waits it has ended.
type hook struct {
	context.Context
	begins, waits func()
}

func (h *hook) Err() error {
	if f := h.begins; f != nil {
		h.begins = nil
		f()
	}
	return nil
}

func (h *hook) Done() <-chan struct{} {
	if f := h.waits; f != nil {
		h.waits = nil
		f()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx.Done()
}

// statted has the root's attributes asked for and told.
func statted(t *testing.T, root *client.File, p *peer, first ...*wire.Msg) {
	t.Helper()
	done := begin(func() error { _, err := root.GetAttr(t.Context()); return err })
	m := p.next(wire.Tgetattr)
	for _, m := range first {
		p.answer(m)
	}
	p.answer(&wire.Msg{Type: wire.Rgetattr, Tag: m.Tag})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// refusing is a context that ends when the server has answered a call of type want with EACCES.
func refusing(t *testing.T, root *client.File, p *peer, want wire.Type) *hook {
	return &hook{Context: t.Context(), waits: func() {
		m := p.next(want)
		statted(t, root, p, &wire.Msg{Type: wire.Rlerror, Tag: m.Tag, Errno: uint32(linux.EACCES)}) // in this order
	}}
}

// tries is how often a call is made that chooses by chance between an answer and the end of its context.
const tries = 64

// A walk that is refused at the moment when its context ends leaves one fid free, once.
func TestRefusedAsTheContextEnds(t *testing.T) {
	_, root, p := scripted(t, client.Options{})
	for range tries {
		if _, err := root.Walk(refusing(t, root, p, wire.Twalk), "x"); !errors.Is(err, linux.EACCES) {
			t.Fatal(err)
		}
	}
	fids := make(map[uint32]bool)
	for range 3 {
		done := begin(func() error { _, err := root.Walk(t.Context(), "x"); return err })
		m := p.next(wire.Twalk)
		p.answer(&wire.Msg{Type: wire.Rwalk, Tag: m.Tag, Nwqid: 1})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if fids[m.Newfid] {
			t.Errorf("fid %d is two files", m.Newfid)
		}
		fids[m.Newfid] = true
	}

	// And an open that is refused leaves the file as it is.
	f := walked(t, root, p)
	for range tries {
		if err := f.Open(refusing(t, root, p, wire.Tlopen), p9.ReadOnly); !errors.Is(err, linux.EACCES) {
			t.Fatal(err)
		}
	}
	statted(t, f, p)
}

// A call that has begun on a file that is closed meanwhile does not reach another file with the same fid.
func TestFidOfACallIsKept(t *testing.T) {
	_, root, p := scripted(t, client.Options{})
	f := opened(t, root, p)
	var other uint32
	ctx := &hook{Context: t.Context(), begins: func() {
		done := begin(f.Close)
		m := p.next(wire.Tclunk)
		p.answer(&wire.Msg{Type: wire.Rclunk, Tag: m.Tag})
		if err := <-done; err != nil {
			t.Error(err)
		}
		done = begin(func() error { _, err := root.Walk(t.Context(), "y"); return err })
		m = p.next(wire.Twalk)
		other = m.Newfid
		p.answer(&wire.Msg{Type: wire.Rwalk, Tag: m.Tag, Nwqid: 1})
		if err := <-done; err != nil {
			t.Error(err)
		}
	}, waits: func() {
		m := p.next(wire.Tread)
		if m.Fid == other {
			t.Errorf("a read of the closed file reads the other")
		}
		statted(t, root, p, &wire.Msg{Type: wire.Rlerror, Tag: m.Tag, Errno: uint32(linux.EBADF)})
	}}
	if _, err := f.ReadContext(ctx, make([]byte, 10), 0); !errors.Is(err, linux.EBADF) {
		t.Error(err)
	}
	// Then it is free again.
	done := begin(func() error { _, err := root.Walk(t.Context(), "z"); return err })
	m := p.next(wire.Twalk)
	if m.Newfid >= other {
		t.Errorf("fid %d: that of the closed file is lost", m.Newfid)
	}
	p.answer(&wire.Msg{Type: wire.Rwalk, Tag: m.Tag, Nwqid: 1})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What does not fit the agreed message size is not sent: the server would end the session.
func TestLongNames(t *testing.T) {
	_, root, p := scripted(t, client.Options{})
	name := strings.Repeat("n", 3000)
	if _, err := root.Walk(t.Context(), strings.Repeat(name, 3)); !errors.Is(err, linux.ENAMETOOLONG) {
		t.Errorf("a name of 9000 bytes in messages of 8192: %v", err)
	}
	if _, err := root.Walk(t.Context(), strings.Repeat(name, 30)); !errors.Is(err, linux.ENAMETOOLONG) {
		t.Errorf("a name of 90000 bytes: %v", err)
	}
	done := begin(func() error {
		_, err := root.Walk(t.Context(), strings.Join([]string{name, name, name}, "/"))
		return err
	})
	var clunks int
	for _, want := range []int{2, 1} {
		m := p.next(wire.Twalk)
		if m.Nwname != want {
			t.Errorf("a walk of %d names, want %d", m.Nwname, want)
		}
		p.answer(&wire.Msg{Type: wire.Rwalk, Tag: m.Tag, Nwqid: m.Nwname})
		clunks++
	}
	m := p.next(wire.Tclunk)
	p.answer(&wire.Msg{Type: wire.Rclunk, Tag: m.Tag})
	if err := <-done; err != nil || clunks != 2 {
		t.Error(err, clunks)
	}
}

// A server that knows no Tflush says so, and answers the call itself when it is done.
func TestFlushIsRefused(t *testing.T) {
	_, root, p := scripted(t, client.Options{})
	f := opened(t, root, p)
	ctx, cancel := context.WithCancel(t.Context())
	buf := make([]byte, 10)
	n := 0
	done := begin(func() (err error) { n, err = f.ReadContext(ctx, buf, 0); return err })
	read := p.next(wire.Tread)
	cancel()
	flush := p.next(wire.Tflush)
	p.answer(&wire.Msg{Type: wire.Rlerror, Tag: flush.Tag, Errno: uint32(linux.EOPNOTSUPP)})
	p.answer(&wire.Msg{Type: wire.Rread, Tag: read.Tag, Data: []byte("record")})
	if err := <-done; err != nil || string(buf[:n]) != "record" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	statted(t, root, p)
}

// A directory whose last entry leads to itself has no end.
func TestDirectoryGoesRound(t *testing.T) {
	_, root, p := scripted(t, client.Options{})
	f := opened(t, root, p)
	done := begin(func() error { _, err := f.ReadDir(t.Context()); return err })
	for _, next := range []uint64{7, 7} {
		m := p.next(wire.Treaddir)
		p.answer(&wire.Msg{Type: wire.Rreaddir, Tag: m.Tag, Data: wire.AppendDirent(nil, wire.Qid{}, next, 0, "x")})
	}
	if err := <-done; !errors.Is(err, linux.EPROTO) {
		t.Error(err)
	}
}

// A slowClose is a connection whose Close takes its time, as that of TLS may.
type slowClose struct {
	net.Conn
	begun, end chan struct{}
	once       sync.Once
}

func (s *slowClose) Close() error {
	s.once.Do(func() { close(s.begun) })
	<-s.end
	return s.Conn.Close()
}

// Nobody waits for the connection's Close but Close.
func TestSlowClose(t *testing.T) {
	a, p := pipe(t)
	conn := &slowClose{Conn: a, begun: make(chan struct{}), end: make(chan struct{})}
	go func() {
		p.next(wire.Tversion)
		p.answer(&wire.Msg{Type: wire.Rversion, Tag: wire.NoTag, Msize: 8192, Version: []byte("9P2000")})
	}()
	c, err := client.New(t.Context(), conn, client.Options{Dialects: []client.Dialect{client.P9}})
	if err != nil {
		t.Fatal(err)
	}
	p.nc.Close()
	<-conn.begun
	if err := c.Err(); !errors.Is(err, client.ErrLost) {
		t.Error(err)
	}
	close(conn.end)
	c.Close()
}

// A walk that fails names the name at which it did, in each dialect and by whatever number of messages.
func TestWalkError(t *testing.T) {
	_, dial := serve(t)
	each(t, func(t *testing.T, d client.Dialect) {
		_, root := attach(t, dial(), d)
		deep := strings.Repeat("echo/../", 20)
		for _, tt := range []struct {
			path, want string
			errno      linux.Errno
		}{
			{"nothing", "nothing", linux.ENOENT},
			{"/nothing/at/all", "nothing", linux.ENOENT},
			{"echo/nothing/below", "echo/nothing", linux.ENOENT},
			{"echo/../echo/0/ctl", "echo/../echo/0", linux.ENOENT},
			{"echo/clone/ctl", "echo/clone/ctl", linux.ENOTDIR},
			{deep + "echo/7/data", deep + "echo/7", linux.ENOENT},
		} {
			_, err := root.Walk(t.Context(), tt.path)
			var w *client.WalkError
			if !errors.As(err, &w) || w.Path != tt.want || !errors.Is(err, tt.errno) {
				t.Errorf("walk to %s: %v, want one of %s (%v)", tt.path, err, tt.want, tt.errno)
			}
		}
	})
}

// A server that tells how far a walk came is asked for the rest, for its words, and once more for what may have come meanwhile.
func TestPartialWalk(t *testing.T) {
	_, root, p := scripted(t, client.Options{})
	for _, there := range []bool{false, true} {
		var f *client.File
		done := begin(func() (err error) { f, err = root.Walk(t.Context(), "a/b/c"); return err })
		walk := func(names string, qids int) *wire.Msg {
			t.Helper()
			m := p.next(wire.Twalk)
			var got []string
			for _, n := range m.Wname[:m.Nwname] {
				got = append(got, string(n))
			}
			if strings.Join(got, "/") != names {
				t.Fatalf("a walk of %q, want %s", got, names)
			}
			if qids > 0 {
				p.answer(&wire.Msg{Type: wire.Rwalk, Tag: m.Tag, Nwqid: qids})
			}
			return m
		}
		walk("a/b/c", 2)
		between := walk("a/b", 2)
		last := walk("c", 0)
		if last.Fid != between.Newfid {
			t.Errorf("the last name is walked from fid %d, want %d", last.Fid, between.Newfid)
		}
		if there {
			p.answer(&wire.Msg{Type: wire.Rwalk, Tag: last.Tag, Nwqid: 1})
		} else {
			p.answer(&wire.Msg{Type: wire.Rlerror, Tag: last.Tag, Errno: uint32(linux.EACCES)})
		}
		m := p.next(wire.Tclunk)
		if m.Fid != between.Newfid {
			t.Errorf("fid %d is clunked, want %d", m.Fid, between.Newfid)
		}
		p.answer(&wire.Msg{Type: wire.Rclunk, Tag: m.Tag})
		err := <-done
		var w *client.WalkError
		switch {
		case there:
			if err != nil || f == nil {
				t.Error(err)
			}
		case !errors.As(err, &w) || w.Path != "a/b/c" || !errors.Is(err, linux.EACCES):
			t.Errorf("the walk: %v", err)
		}
	}
}
