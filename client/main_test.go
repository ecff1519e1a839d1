package client_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/p9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var dialects = []client.Dialect{client.P9, client.P9u, client.P9L}

// An echo is a conversation in which each record that is written to data comes out of every open of data that reads.
type echo struct {
	mu      sync.Mutex // guards readers
	readers map[*echoStream]bool
}

type echoStream struct {
	*clonefs.Queue
	e *echo
}

func newEcho() *clonefs.Device[*echo] {
	return &clonefs.Device[*echo]{
		Name: "echo",
		Doc:  "says what it is told",
		Clone: func(context.Context, *clonefs.Conv) (*echo, error) {
			return &echo{readers: make(map[*echoStream]bool)}, nil
		},
		Ctl: clonefs.Messages[*echo]{
			{Word: "say", Args: "TEXT", Help: "send a record", Do: func(e *echo, _ context.Context, args []string) error { e.push([]byte(args[0])); return nil }},
		},
		Files: clonefs.Files[*echo]{{Name: "data", Mode: 0o660, Help: "records", Duplex: (*echo).open}},
	}
}

func (e *echo) Close() error { return nil }

func (e *echo) open(_ context.Context, m clonefs.Mode) (clonefs.Stream, error) {
	s := &echoStream{clonefs.NewQueue(64), e}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readers[s] = m.Read
	return s, nil
}

func (e *echo) push(p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for r, reads := range e.readers {
		if reads {
			r.Push([]byte(strings.Clone(string(p))))
		}
	}
}

func (s *echoStream) WriteContext(_ context.Context, p []byte, _ int64) (int, error) {
	s.e.push(p)
	return len(p), nil
}

func (s *echoStream) Close() error {
	s.e.mu.Lock()
	delete(s.e.readers, s)
	s.e.mu.Unlock()
	return s.Queue.Close()
}

// serve serves the device echo on loopback and returns the server and a function that connects.
func serve(t testing.TB) (*server.Server, func() net.Conn) {
	t.Helper()
	tree, err := clonefs.New(clonefs.Config{}, newEcho())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(tree, server.Config{})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Shutdown(context.Background())
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return srv, func() net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
}

// attach begins a session in dialect d.
func attach(t testing.TB, nc net.Conn, d client.Dialect) (*client.Conn, *client.File) {
	t.Helper()
	c, err := client.New(t.Context(), nc, client.Options{Dialects: []client.Dialect{d}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	root, err := c.Attach(t.Context(), client.Attach{Name: "/?records=off"})
	if err != nil {
		t.Fatal(err)
	}
	return c, root
}

func open(t testing.TB, root *client.File, path string, flags p9.OpenFlags) *client.File {
	t.Helper()
	f, err := root.OpenFile(t.Context(), path, flags)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return f
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// A peer is a server of which the test is the brain.
type peer struct {
	t  testing.TB
	nc net.Conn
	d  wire.Dialect
}

// scripted begins a session in 9P2000.L with a peer, and attaches.
func scripted(t testing.TB, o client.Options) (*client.Conn, *client.File, *peer) {
	t.Helper()
	a, b := net.Pipe()
	p := &peer{t, b, wire.P9L}
	t.Cleanup(func() { b.Close() })
	o.Dialects = []client.Dialect{client.P9L}
	var c *client.Conn
	var root *client.File
	made := make(chan error, 1)
	go func() {
		var err error
		if c, err = client.New(t.Context(), a, o); err == nil {
			root, err = c.Attach(t.Context(), client.Attach{})
		}
		made <- err
	}()
	m := p.next(wire.Tversion)
	p.answer(&wire.Msg{Type: wire.Rversion, Tag: m.Tag, Msize: 8192, Version: []byte("9P2000.L")})
	m = p.next(wire.Tattach)
	p.answer(&wire.Msg{Type: wire.Rattach, Tag: m.Tag, Qid: wire.Qid{Type: wire.QTDIR}})
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, root, p
}

// next is the client's next message, which must be of that type.
func (p *peer) next(want wire.Type) *wire.Msg {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 4)
	if _, err := io.ReadFull(p.nc, b); err != nil {
		p.t.Fatalf("want %v: %v", want, err)
	}
	size, _ := wire.Peek(b)
	b = append(b, make([]byte, size-4)...)
	if _, err := io.ReadFull(p.nc, b[4:]); err != nil {
		p.t.Fatal(err)
	}
	m := new(wire.Msg)
	if err := m.Decode(p.d, b); err != nil {
		p.t.Fatal(err)
	}
	if m.Type != want {
		p.t.Fatalf("the client sent %v, want %v", m.Type, want)
	}
	return m
}

func (p *peer) answer(m *wire.Msg) {
	p.t.Helper()
	b, err := wire.Append(nil, p.d, m)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}
