package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/linux"
)

// A flushed read is answered with EINTR, then comes Rflush, and the record that arrives afterwards is the next read's.
func TestFlushLosesNothing(t *testing.T) {
	for _, file := range []string{"tape", "line"} {
		t.Run(file, func(t *testing.T) {
			d := newDevice()
			c := dial(t, d, wire.P9L, "")
			c.opened(2, file, 0)
			push := d.push
			if file == "line" {
				push = d.pushLine
			}
			for i := range 200 {
				c.send(read(7, 2, 0, 100))
				if i%2 == 0 {
					c.sync()
				}
				done := make(chan bool)
				go func() { push(fmt.Sprint("record ", i)); close(done) }() // races the flush
				c.send(flush(8, 7))
				m, err := c.next()
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case m.Type == wire.Rlerror && m.Tag == 7 && linux.Errno(m.Errno) == linux.EINTR:
					c.expect(wire.Rflush, 8)
					<-done
					m = c.rpc(read(9, 2, 0, 100), wire.Rread)
				case m.Type == wire.Rread && m.Tag == 7: // the record was faster
					c.expect(wire.Rflush, 8)
				default:
					t.Fatalf("round %d: %v tag %d", i, m.Type, m.Tag)
				}
				if want := fmt.Sprint("record ", i); string(m.Data) != want {
					t.Fatalf("got %q, want %q", m.Data, want)
				}
				c.sync()
			}
		})
	}
}

// Reads of one stream are answered in the order in which they were sent, whether they waited or not.
func TestReadsInOrder(t *testing.T) {
	for _, file := range []string{"tape", "line"} {
		t.Run(file, func(t *testing.T) {
			d := newDevice()
			c := dial(t, d, wire.P9L, "?records=off")
			c.opened(2, file, 0)
			for i := range uint16(50) {
				c.send(read(100+i, 2, 0, 100))
			}
			c.sync()
			for i := range 50 {
				if file == "tape" {
					d.push(fmt.Sprint(i))
				} else {
					d.pushLine(fmt.Sprint(i))
				}
			}
			for i := range 50 {
				if m := c.expect(wire.Rread, uint16(100+i)); string(m.Data) != fmt.Sprint(i) {
					t.Fatalf("tag %d got %q", 100+i, m.Data)
				}
			}
		})
	}
}

// A clunk answers what waits on the fid, and comes after it.
func TestClunkInterrupts(t *testing.T) {
	for _, file := range []string{"tape", "line", "deaf"} {
		d := newDevice()
		t.Cleanup(func() { close(d.deaf) })
		c := dial(t, d, wire.P9L, "")
		c.opened(2, file, 0)
		c.send(read(7, 2, 0, 100))
		c.sync()
		c.send(clunk(8, 2))
		if m := c.expect(wire.Rlerror, 7); linux.Errno(m.Errno) != linux.EINTR {
			t.Errorf("%s: read got %v", file, linux.Errno(m.Errno))
		}
		c.expect(wire.Rclunk, 8)
		c.fails(read(9, 2, 0, 100), linux.EBADF)
	}
}

// While requests wait in every way there is, others are answered, and Tversion drops them all.
func TestNobodyWaitsForAStranger(t *testing.T) {
	d := newDevice()
	defer close(d.deaf)
	c := dial(t, d, wire.P9L, "")
	c.opened(2, "tape", 2)
	c.opened(3, "line", 2)
	c.opened(4, "deaf", 0)
	d.hold(true)
	c.rpc(walk(1, 0, 5, "door"), wire.Rwalk)
	c.send(read(10, 2, 0, 100), read(11, 3, 0, 100), write(12, 3, 0, "x"), write(13, 3, 0, "y"), read(14, 4, 0, 100), open(15, 5, 0))
	c.rpc(walk(20, 0, 6, "still"), wire.Rwalk)
	c.rpc(&wire.Msg{Type: wire.Tgetattr, Tag: 21, Fid: 4, Mask: wire.GetBasic}, wire.Rgetattr)
	c.rpc(&wire.Msg{Type: wire.Tsetattr, Tag: 22, Fid: 2, SetAttr: wire.SetAttr{Valid: wire.SetSize}}, wire.Rsetattr)
	c.rpc(&wire.Msg{Type: wire.Trenameat, Tag: 23, Fid: 0, Name: []byte("still"), Newfid: 0, Newname: []byte("other")}, wire.Rrenameat)
	c.rpc(write(24, 2, 0, "while reading"), wire.Rwrite)
	c.opened(7, "tape", 0)

	c.hello("") // nothing of the old tags may be answered
	d.push("late")
	d.hold(false)
	c.rpc(walk(10, 0, 2, "text"), wire.Rwalk)
}

// A connection's end closes every file, whatever the handlers are doing, and frees what an open was about to make.
func TestTeardown(t *testing.T) {
	d := newDevice()
	defer close(d.deaf)
	c := dial(t, d, wire.P9L, "")
	for i := range uint32(100) {
		name := []string{"tape", "line", "deaf", "door"}[i%4]
		c.rpc(walk(1, 0, 10+i, name), wire.Rwalk)
		if name == "door" {
			c.send(open(uint16(100+i), 10+i, 0))
			continue
		}
		c.rpc(open(1, 10+i, 0), wire.Rlopen)
		c.send(read(uint16(100+i), 10+i, 0, 100))
	}
	c.sync()
	before := d.closes.Load()
	c.conn.Close()
	waitFor(t, func() bool { return d.closes.Load()-before == 101 })
}

// A flushed open leaves the file unopened, to be opened again.
func TestFlushedOpen(t *testing.T) {
	d := newDevice()
	c := dial(t, d, wire.P9L, "")
	c.rpc(walk(1, 0, 5, "door"), wire.Rwalk)
	c.send(open(7, 5, 0))
	c.sync()
	c.send(flush(8, 7))
	c.expect(wire.Rlerror, 7)
	c.expect(wire.Rflush, 8)
	d.knock()
	waitFor(t, func() bool { // the worker may still be on its way out; then the fid is busy
		c.send(open(9, 5, 0))
		m, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		return m.Type == wire.Rlopen
	})
	if n := d.opens.Load(); n != 1 {
		t.Errorf("%d opens lived", n)
	}
}

// What an open changes of a fid does not race with what other requests look at: the race detector is the judge.
func TestOpenBesideOthers(t *testing.T) {
	d := newDevice()
	c := dial(t, d, wire.P9L, "")
	for range 200 {
		c.rpc(walk(1, 0, 5, "door"), wire.Rwalk)
		c.send(open(7, 5, 0))
		c.sync()
		go d.knock()
		c.send(walk(8, 5, 6), read(9, 5, 0, 0), &wire.Msg{Type: wire.Tmkdir, Tag: 10, Fid: 5, Name: []byte("x")})
		for range 4 {
			if m, err := c.next(); err != nil || m.Tag < 7 || m.Tag > 10 {
				t.Fatal(m, err)
			}
		}
		c.send(clunk(1, 5), clunk(2, 6))
		for range 2 {
			if _, err := c.next(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// An open that succeeds in spite of its flush is undone: the file is closed, once.
func TestStubbornOpenIsUndone(t *testing.T) {
	d := newDevice()
	d.stubborn = true
	c := dial(t, d, wire.P9L, "")
	c.rpc(walk(1, 0, 5, "door"), wire.Rwalk)
	before := d.closes.Load()
	c.send(open(7, 5, 0))
	c.sync()
	c.send(flush(8, 7))
	c.expect(wire.Rlerror, 7)
	c.expect(wire.Rflush, 8)
	d.knock()
	waitFor(t, func() bool { return d.closes.Load() == before+1 })
	c.fails(read(1, 5, 0, 10), linux.EBADF)
	c.rpc(clunk(1, 5), wire.Rclunk)
	if n := d.closes.Load() - before; n != 1 {
		t.Errorf("closed %d times", n)
	}
}

// waitFor waits until cond holds.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain")
		}
	}
}

// The rules of records.go on the wire: one record a read(2) of a client that refills short reads.
func TestRecords(t *testing.T) {
	d := newDevice()
	c := dial(t, d, wire.P9L, "")
	c.opened(2, "tape", 0)
	for i, size := range []uint32{100, 4096, 8192 - wire.IOHeader} {
		d.push("frame")
		m := c.rpc(read(1, 2, 50, size), wire.Rread)
		if string(m.Data) != "frame" {
			t.Fatalf("%d: got %q", i, m.Data)
		}
		if m = c.rpc(read(1, 2, 55, size-5), wire.Rread); len(m.Data) != 0 {
			t.Errorf("%d: the continuation got %q", i, m.Data)
		}
	}
	// A buffer larger than msize allows: the kernel caps the remainder again.
	d.push("frame")
	c.rpc(read(1, 2, 0, 8192-wire.IOHeader), wire.Rread)
	if m := c.rpc(read(1, 2, 5, 8192-wire.IOHeader-2), wire.Rread); len(m.Data) != 0 {
		t.Errorf("the capped continuation got %q", m.Data)
	}
	// Each is answered so once only.
	d.push("frame")
	c.rpc(read(1, 2, 0, 100), wire.Rread)
	c.rpc(read(1, 2, 5, 95), wire.Rread)
	d.push("next")
	if m := c.rpc(read(1, 2, 5, 95), wire.Rread); string(m.Data) != "next" {
		t.Errorf("the same read again got %q", m.Data)
	}
}

// Plain 9P2000 has no such rule unless the attach name asks for it.
func TestRecordsOption(t *testing.T) {
	for aname, want := range map[string]string{"": "second", "/?records=off": "second", "/?records=on": ""} {
		d := newDevice()
		c := dial(t, d, wire.P9, aname)
		c.rpc(walk(1, 0, 2, "tape"), wire.Rwalk)
		c.rpc(&wire.Msg{Type: wire.Topen, Tag: 1, Fid: 2}, wire.Ropen)
		d.push("first")
		c.rpc(read(1, 2, 0, 100), wire.Rread)
		d.push("second")
		if m := c.rpc(read(1, 2, 5, 95), wire.Rread); string(m.Data) != want {
			t.Errorf("aname %q: got %q, want %q", aname, m.Data, want)
		}
	}
}

// The end of a text file is padded up to what any fid of the path has written, until Tgetattr or the last clunk.
func TestWrittenSizes(t *testing.T) {
	d := newDevice()
	c := dial(t, d, wire.P9L, "")
	c.opened(2, "text", 2)
	c.opened(3, "text", 0)
	c.rpc(write(1, 2, 0, "0123456789"), wire.Rwrite)
	if m := c.rpc(read(1, 3, 0, 4096), wire.Rread); string(m.Data) != "hello\n\n\n\n\n" {
		t.Errorf("got %q", m.Data)
	}
	if m := c.rpc(read(1, 3, 8, 4096), wire.Rread); string(m.Data) != "\n\n" {
		t.Errorf("got %q", m.Data)
	}
	if m := c.rpc(read(1, 3, 10, 4096), wire.Rread); len(m.Data) != 0 {
		t.Errorf("got %q", m.Data)
	}
	c.rpc(&wire.Msg{Type: wire.Tgetattr, Tag: 1, Fid: 3, Mask: wire.GetBasic}, wire.Rgetattr)
	if m := c.rpc(read(1, 3, 0, 4096), wire.Rread); string(m.Data) != "hello\n" {
		t.Errorf("after Tgetattr: %q", m.Data)
	}
	c.rpc(write(1, 2, 0, "0123456789"), wire.Rwrite)
	c.rpc(clunk(1, 2), wire.Rclunk)
	if m := c.rpc(read(1, 3, 0, 4096), wire.Rread); len(m.Data) != 10 {
		t.Errorf("with a fid left: %q", m.Data)
	}
	c.rpc(clunk(1, 3), wire.Rclunk)
	c.opened(3, "text", 0)
	if m := c.rpc(read(1, 3, 0, 4096), wire.Rread); string(m.Data) != "hello\n" {
		t.Errorf("after the last clunk: %q", m.Data)
	}
}

// A client that repeats a read at end of file for ever gets an error; one that repeats it once does not.
func TestEndlessReadIsEnded(t *testing.T) {
	d := newDevice()
	c := dial(t, d, wire.P9L, "")
	c.opened(2, "text", 0)
	var errs int
	for range 500 {
		c.send(read(1, 2, 6, 100))
		m, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == wire.Rlerror {
			errs++
		}
	}
	if errs == 0 {
		t.Error("500 reads of nothing, no error")
	}
	c.rpc(read(1, 2, 0, 100), wire.Rread)
	c.rpc(read(1, 2, 6, 100), wire.Rread)
	c.rpc(read(1, 2, 6, 100), wire.Rread)
}

// Limits are the session's own.
func TestLimits(t *testing.T) {
	d := newDevice()
	srv := server.New(d, server.Config{MaxFids: 10, MaxRequests: 3, MaxAttaches: 2, MaxConns: 1})
	ours, theirs := socketpair(t)
	go srv.ServeConn(theirs, server.Peer{Any: true})
	defer srv.Shutdown(context.Background())
	c := &raw{t: t, conn: ours, d: wire.P9L}
	c.hello("")
	for i := range uint32(8) {
		c.rpc(walk(1, 0, 10+i), wire.Rwalk)
	}
	c.opened(2, "tape", 0)
	c.fails(walk(1, 0, 30), linux.ENFILE)
	c.rpc(clunk(1, 10), wire.Rclunk)
	c.rpc(&wire.Msg{Type: wire.Tattach, Tag: 1, Fid: 40, Afid: wire.NoFid, NUname: wire.NoUid}, wire.Rattach)
	c.rpc(clunk(1, 11), wire.Rclunk)
	c.fails(&wire.Msg{Type: wire.Tattach, Tag: 1, Fid: 41, Afid: wire.NoFid, NUname: wire.NoUid}, linux.ENFILE)
	c.send(read(10, 2, 0, 1), read(11, 2, 0, 1), read(12, 2, 0, 1))
	c.fails(read(13, 2, 0, 1), linux.EAGAIN)

	_, other := socketpair(t)
	if err := srv.ServeConn(other, server.Peer{}); err == nil {
		t.Error("a connection beyond the limit was served")
	}
}

// Writes that wait are bounded in bytes as well. What was answered makes room again.
func TestWaitingWritesAreBounded(t *testing.T) {
	d := newDevice()
	c := dial(t, d, wire.P9L, "")
	c.opened(2, "line", 1)
	d.hold(true)
	data := strings.Repeat("x", 8000)
	const room = server.DefaultMaxHeld / 8000
	for i := range uint16(room) {
		c.send(write(100+i, 2, 0, data))
	}
	c.fails(write(99, 2, 0, data), linux.EAGAIN)
	c.send(flush(98, 100))
	for range 2 { // of the write and of the flush
		if m, err := c.next(); err != nil || m.Tag != 100 && m.Tag != 98 {
			t.Fatal(m, err)
		}
	}
	d.hold(false)
	for range room - 1 {
		if m, err := c.next(); err != nil || m.Type != wire.Rwrite {
			t.Fatal(m, err)
		}
	}
	c.rpc(write(99, 2, 0, data), wire.Rwrite)
}

// A peer that never reads its replies is ended; one that says nothing too.
func TestSilentPeersAreEnded(t *testing.T) {
	d := newDevice()
	srv := server.New(d, server.Config{WriteTimeout: 50 * time.Millisecond, HelloTimeout: 50 * time.Millisecond})
	defer srv.Shutdown(context.Background())

	_, theirs := socketpair(t)
	if err := srv.ServeConn(theirs, server.Peer{}); err == nil {
		t.Error("a silent peer was served to its end")
	}
	ours, theirs := socketpair(t)
	var ended atomic.Bool
	go func() { srv.ServeConn(theirs, server.Peer{Any: true}); ended.Store(true) }()
	c := &raw{t: t, conn: ours, d: wire.P9L}
	c.hello("")
	go func() {
		for {
			if _, err := ours.Write([]byte{7 + 2, 0, 0, 0, byte(wire.Tflush), 1, 0, 2, 0}); err != nil {
				return
			}
		}
	}()
	waitFor(t, ended.Load)
}

// What is not 9P ends the session, and only that one.
func TestGarbage(t *testing.T) {
	for name, b := range map[string][]byte{
		"size below a header": {6, 0, 0, 0, 100, 0},
		"size beyond msize":   {0xff, 0xff, 0xff, 0x7f, 100, 0, 0},
		"http":                []byte("GET / HTTP/1.1\r\n\r\n"),
		"before Tversion":     {7 + 4, 0, 0, 0, byte(wire.Tclunk), 0, 0, 0, 0, 0, 0},
		"short Tversion":      {8, 0, 0, 0, byte(wire.Tversion), 0xff, 0xff, 0},
	} {
		c := &raw{t: t, conn: serve(t, newDevice(), server.Config{}, server.Peer{}), d: wire.P9L}
		go c.conn.Write(b)
		if m, err := c.next(); err == nil {
			t.Errorf("%s: answered with %v", name, m.Type)
		}
	}
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]string{
		"9P2000.L": "9P2000.L", "9P2000.L.Google.7": "9P2000.L", "9P2000.u": "9P2000.u", "9P2000.uu": "9P2000.u", "9P2000": "9P2000",
		"9P2000.e": "9P2000", "9P": "unknown", "": "unknown", "http": "unknown",
	} {
		c := &raw{t: t, conn: serve(t, newDevice(), server.Config{}, server.Peer{}), d: wire.P9L}
		m := c.rpc(&wire.Msg{Type: wire.Tversion, Tag: wire.NoTag, Msize: 1 << 30, Version: []byte(version)}, wire.Rversion)
		if string(m.Version) != want {
			t.Errorf("%q: got %q, want %q", version, m.Version, want)
		}
		if want != "unknown" && m.Msize != server.DefaultMaxMessage {
			t.Errorf("%q: msize %d", version, m.Msize)
		}
	}
}
