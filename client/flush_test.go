package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/internal/wire"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

func pipe(t testing.TB) (net.Conn, *peer) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, &peer{t, b, wire.P9}
}

// begin runs f and gives its error.
func begin(f func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// walked is a file that was walked to.
func walked(t *testing.T, root *client.File, p *peer) *client.File {
	var f *client.File
	done := begin(func() (err error) { f, err = root.Walk(t.Context(), "x"); return err })
	m := p.next(wire.Twalk)
	p.answer(&wire.Msg{Type: wire.Rwalk, Tag: m.Tag, Nwqid: 1})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return f
}

// opened is a file that was opened.
func opened(t *testing.T, root *client.File, p *peer) *client.File {
	f := walked(t, root, p)
	done := begin(func() error { return f.Open(t.Context(), p9.ReadWrite) })
	m := p.next(wire.Tlopen)
	p.answer(&wire.Msg{Type: wire.Rlopen, Tag: m.Tag})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return f
}

// The reply came before Rflush: it counts, and the tag is not used before Rflush.
func TestReplyOvertakesFlush(t *testing.T) {
	_, root, p := scripted(t, client.Options{})
	f := opened(t, root, p)
	ctx, cancel := context.WithCancel(t.Context())
	buf := make([]byte, 10)
	n := 0
	done := begin(func() (err error) { n, err = f.ReadContext(ctx, buf, 0); return err })
	read := p.next(wire.Tread)
	cancel()
	flush := p.next(wire.Tflush)
	if flush.Oldtag != read.Tag {
		t.Fatalf("flush of %d, want %d", flush.Oldtag, read.Tag)
	}
	p.answer(&wire.Msg{Type: wire.Rread, Tag: read.Tag, Data: []byte("late")})
	if err := <-done; err != nil || string(buf[:n]) != "late" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	stat := begin(func() error { _, err := root.GetAttr(t.Context()); return err })
	m := p.next(wire.Tgetattr)
	if m.Tag == read.Tag || m.Tag == flush.Tag {
		t.Errorf("tag %d was used again before Rflush", m.Tag)
	}
	p.answer(&wire.Msg{Type: wire.Rflush, Tag: flush.Tag})
	p.answer(&wire.Msg{Type: wire.Rgetattr, Tag: m.Tag})
	if err := <-stat; err != nil {
		t.Error(err)
	}
}

// Rflush came and no reply, or EINTR came first.
func TestFlushed(t *testing.T) {
	for _, first := range []bool{false, true} {
		_, root, p := scripted(t, client.Options{})
		f := opened(t, root, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := begin(func() error { _, err := f.ReadContext(ctx, make([]byte, 10), 0); return err })
		read := p.next(wire.Tread)
		cancel()
		flush := p.next(wire.Tflush)
		if first {
			p.answer(&wire.Msg{Type: wire.Rlerror, Tag: read.Tag, Errno: uint32(linux.EINTR)})
		}
		p.answer(&wire.Msg{Type: wire.Rflush, Tag: flush.Tag})
		if err := <-done; !errors.Is(err, linux.EINTR) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// The server does not confirm in time. What it still brings is undone, and dropped.
func TestLateAnswers(t *testing.T) {
	_, root, p := scripted(t, client.Options{FlushTimeout: time.Millisecond})
	abandoned := func(want wire.Type, call func(ctx context.Context) error) (*wire.Msg, *wire.Msg) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := begin(func() error { return call(ctx) })
		m := p.next(want)
		cancel()
		flush := p.next(wire.Tflush)
		if err := <-done; !errors.Is(err, linux.EINTR) {
			t.Fatalf("%v: %v", want, err)
		}
		return m, flush
	}
	clunked := func(fid uint32) {
		t.Helper()
		m := p.next(wire.Tclunk)
		if m.Fid != fid {
			t.Fatalf("clunk of fid %d, want %d", m.Fid, fid)
		}
		p.answer(&wire.Msg{Type: wire.Rclunk, Tag: m.Tag})
	}
	rflush := func(m *wire.Msg) { p.answer(&wire.Msg{Type: wire.Rflush, Tag: m.Tag}) }

	f := walked(t, root, p)
	m, flush := abandoned(wire.Tlopen, func(ctx context.Context) error { return f.Open(ctx, p9.ReadOnly) })
	p.answer(&wire.Msg{Type: wire.Rlopen, Tag: m.Tag})
	clunked(m.Fid)
	rflush(flush)
	if err := f.Close(); err != nil {
		t.Error("close after that:", err)
	}

	m, flush = abandoned(wire.Twalk, func(ctx context.Context) error { _, err := root.Walk(ctx, "x"); return err })
	p.answer(&wire.Msg{Type: wire.Rwalk, Tag: m.Tag, Nwqid: 1})
	clunked(m.Newfid)
	rflush(flush)

	// A file whose open was flushed without an answer is clunked as well.
	f = walked(t, root, p)
	m, flush = abandoned(wire.Tlopen, func(ctx context.Context) error { return f.Open(ctx, p9.ReadOnly) })
	rflush(flush)
	clunked(m.Fid)

	f = opened(t, root, p)
	buf := []byte("mine")
	m, flush = abandoned(wire.Tread, func(ctx context.Context) error { _, err := f.ReadContext(ctx, buf, 0); return err })
	p.answer(&wire.Msg{Type: wire.Rread, Tag: m.Tag, Data: []byte("late")})
	rflush(flush)
	stat := begin(func() error { _, err := root.GetAttr(t.Context()); return err })
	m = p.next(wire.Tgetattr)
	p.answer(&wire.Msg{Type: wire.Rgetattr, Tag: m.Tag})
	if err := <-stat; err != nil || string(buf) != "mine" {
		t.Errorf("%q, %v", buf, err)
	}
}

// A server that breaks the protocol ends the session, with an error that says how.
func TestBrokenServer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(tag uint16) []byte
		want   string
	}{
		{"unknown tag", func(tag uint16) []byte { return wire.AppendRclunk(nil, tag+7) }, "which no request has"},
		{"other reply", func(tag uint16) []byte { return wire.AppendRclunk(nil, tag) }, "where Rread is due"},
		{"too much data", func(tag uint16) []byte {
			b := append(wire.BeginRread(nil, tag), make([]byte, 11)...)
			wire.EndRread(b, 0)
			return b
		}, "11 bytes where 10"},
		{"too large", func(uint16) []byte { return []byte{0, 0, 1, 0} }, "65536 bytes"},
		{"too small", func(uint16) []byte { return []byte{6, 0, 0, 0} }, "6 bytes"},
		{"malformed", func(tag uint16) []byte { return []byte{8, 0, 0, 0, byte(wire.Rread), byte(tag), 0, 0} }, "ends inside a field"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, root, p := scripted(t, client.Options{})
			f := opened(t, root, p)
			done := begin(func() error { _, err := f.ReadContext(t.Context(), make([]byte, 10), 0); return err })
			if _, err := p.nc.Write(tt.answer(p.next(wire.Tread).Tag)); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			<-c.Done()
		})
	}
}

// All tags are taken: a call can still be cancelled, and gives its tag to one that waits.
func TestAllTags(t *testing.T) {
	const tags = 65534
	_, root, p := scripted(t, client.Options{})
	f := opened(t, root, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one, cancelOne := context.WithCancel(ctx)
	ended := make(chan error, tags+1)
	read := func(ctx context.Context) {
		_, err := f.ReadContext(ctx, make([]byte, 1), 0)
		ended <- err
	}
	go read(one)
	first := p.next(wire.Tread)
	for range tags - 1 {
		go read(ctx)
	}
	for range tags - 1 {
		p.next(wire.Tread)
	}
	more := begin(func() error { _, err := root.GetAttr(t.Context()); return err })
	cancelOne()
	flush := p.next(wire.Tflush)
	if flush.Oldtag != first.Tag {
		t.Fatalf("flush of %d, want %d", flush.Oldtag, first.Tag)
	}
	p.answer(&wire.Msg{Type: wire.Rflush, Tag: flush.Tag})
	if err := <-ended; !errors.Is(err, linux.EINTR) {
		t.Error(err)
	}
	m := p.next(wire.Tgetattr)
	p.answer(&wire.Msg{Type: wire.Rgetattr, Tag: m.Tag})
	if err := <-more; err != nil {
		t.Error(err)
	}
	p.nc.Close()
	for range tags - 1 {
		if err := <-ended; !errors.Is(err, client.ErrLost) {
			t.Fatal(err)
		}
	}
}
