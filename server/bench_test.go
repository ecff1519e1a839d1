package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/fsimpl/templatefs"
	"github.com/hugelgupf/p9/p9"
)

// These are benchmarks of the session loop by itself: no kernel, no client, and where nothing waits no second goroutine. What a message costs
// with all that, and beside other servers, is what scripts/bench measures.

// The fids of the benchmarks: the root, the file as walked to, the file as opened for reading and writing.
const (
	benchRoot = iota
	benchWalked
	benchOpen
	benchNew // and those after it are free
)

// A feed is a connection whose peer sends the same batch of messages each time the session looks for more, and takes every reply. One batch
// is one iteration of the benchmark.
type feed struct {
	b       *testing.B
	setup   [][]byte // sent first, one by one
	batch   []byte
	between func()        // called when the session has taken a batch, before the next; may be nil
	in      []byte        // sent and not yet taken
	sent    int           // how much of setup
	replied chan struct{} // holds a token when there was a write
	looks   int           // at how many replies it still looks; the first error ends the session
}

// Read implements net.Conn.
func (f *feed) Read(p []byte) (int, error) {
	if len(f.in) == 0 && !f.next() {
		return 0, io.EOF
	}
	n := copy(p, f.in)
	f.in = f.in[n:]
	return n, nil
}

// next sends what is to be sent next. It reports false when the benchmark is over.
func (f *feed) next() bool {
	switch {
	case f.sent < len(f.setup):
		if f.sent > 0 {
			<-f.replied
		}
		f.in = f.setup[f.sent]
		f.sent++
		return true
	case f.sent == len(f.setup):
		<-f.replied
		f.sent++
	case f.between != nil:
		f.between()
	}
	f.in = f.batch
	return f.b.Loop()
}

// Write implements net.Conn.
func (f *feed) Write(p []byte) (int, error) {
	for b := p; f.looks > 0 && len(b) > 0; f.looks-- {
		if wire.Type(b[4]) == wire.Rlerror {
			return 0, fmt.Errorf("error %d is the answer to tag %d", binary.LittleEndian.Uint32(b[7:]), binary.LittleEndian.Uint16(b[5:]))
		}
		b = b[min(len(b), int(binary.LittleEndian.Uint32(b))):]
	}
	select {
	case f.replied <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (*feed) Close() error                     { return nil }
func (*feed) LocalAddr() net.Addr              { return nil }
func (*feed) RemoteAddr() net.Addr             { return nil }
func (*feed) SetDeadline(time.Time) error      { return nil }
func (*feed) SetReadDeadline(time.Time) error  { return nil }
func (*feed) SetWriteDeadline(time.Time) error { return nil }

// A benchFile is what the files of the benchmarks have in common. It keeps no account of anything: what is measured is the session.
type benchFile struct{ templatefs.NoopFile }

func (*benchFile) Prompt()      {}
func (*benchFile) Close() error { return nil }

func (*benchFile) Open(p9.OpenFlags) (p9.QID, uint32, error) { return p9.QID{Path: 2}, 0, nil }

func (*benchFile) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	return p9.QID{Path: 2}, p9.AttrMaskAll, p9.Attr{Mode: p9.ModeRegular | 0o666, NLink: 1}, nil
}

// A benchDir is a directory in which every path leads to the same file.
type benchDir struct {
	benchFile
	file p9.File
}

func (d *benchDir) Attach() (p9.File, error) { return d, nil }

func (d *benchDir) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	return p9.QID{Type: p9.TypeDir, Path: 1}, p9.AttrMaskAll, p9.Attr{Mode: p9.ModeDirectory | 0o777, NLink: 1}, nil
}

func (d *benchDir) Walk(names []string) ([]p9.QID, p9.File, error) {
	return make([]p9.QID, len(names)), d.file, nil
}

// content is what the files of the benchmarks hold.
var content = bytes.Repeat([]byte{'x'}, 1<<20)

// plainContent is a file that is read at once.
type plainContent struct{ benchFile }

func (*plainContent) ReadAt(p []byte, _ int64) (int, error) { return copy(p, content), nil }

// streamContent is a stream that has always something to read.
type streamContent struct{ benchFile }

func (*streamContent) PollRead(p []byte, _ int64, _ p9ext.Waiter) (int, error) {
	return copy(p, content), nil
}
func (*streamContent) Unpoll(p9ext.Waiter) {}
func (*streamContent) Unread([]byte)       {}

// A bell is a stream whose reads wait until it rings, and give one byte then. It is for one session with one read at a time.
type bell struct {
	benchFile
	waiter p9ext.Waiter
	rung   bool
}

func (f *bell) PollRead(p []byte, _ int64, w p9ext.Waiter) (int, error) {
	if !f.rung {
		f.waiter = w
		return 0, p9ext.ErrWait
	}
	f.rung = false
	return copy(p, "!"), nil
}
func (f *bell) Unpoll(p9ext.Waiter) { f.waiter = nil }
func (f *bell) Unread([]byte)       {}

func (f *bell) ring() {
	f.rung = true
	f.waiter.Wake()
}

// benchSession runs a session of file in which each iteration is the messages of batch, which get tags from 0 on.
func benchSession(b *testing.B, file p9.File, between func(f *feed), batch ...*wire.Msg) {
	b.Helper()
	f := &feed{b: b, replied: make(chan struct{}, 1)}
	if f.looks = 100; batch[len(batch)-1].Type == wire.Tflush { // the flushed read fails
		f.looks = 0
	}
	if between != nil {
		f.between = func() { between(f) }
	}
	encode := func(to []byte, m *wire.Msg) []byte {
		to, err := wire.Append(to, wire.P9L, m)
		if err != nil {
			b.Fatal(err)
		}
		return to
	}
	for _, m := range []*wire.Msg{
		{Type: wire.Tversion, Tag: wire.NoTag, Msize: 1 << 20, Version: []byte("9P2000.L")},
		{Type: wire.Tattach, Fid: benchRoot, Afid: wire.NoFid, NUname: wire.NoUid},
		walk(0, benchRoot, benchWalked, "file"),
		walk(0, benchRoot, benchOpen, "file"),
		open(0, benchOpen, 2),
	} {
		f.setup = append(f.setup, encode(nil, m))
	}
	for i, m := range batch {
		m.Tag = uint16(i)
		f.batch = encode(f.batch, m)
	}
	b.ReportAllocs()
	srv := server.New(&benchDir{file: file}, server.Config{})
	if err := srv.ServeConn(f, server.Peer{Addr: "bench", Any: true}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/msg")
}

// repeated returns n messages like m.
func repeated(n int, m wire.Msg) []*wire.Msg {
	msgs := make([]*wire.Msg, n)
	for i := range msgs {
		c := m
		msgs[i] = &c
	}
	return msgs
}

func BenchmarkGetattr(b *testing.B) {
	for _, depth := range []int{1, 32} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			file := &plainContent{}
			benchSession(b, file, nil, repeated(depth, wire.Msg{Type: wire.Tgetattr, Fid: benchWalked, Mask: wire.GetBasic})...)
		})
	}
}

func BenchmarkRead(b *testing.B) {
	kinds := []struct {
		name string
		file p9.File
	}{
		{"plain", &plainContent{}},
		{"stream", &streamContent{}},
	}
	for _, bb := range []struct{ depth, count int }{
		{1, 64}, {32, 64}, {32, 4 << 10}, {4, 128 << 10}, {1, 1<<20 - wire.IOHeader},
	} {
		for _, kind := range kinds {
			b.Run(fmt.Sprintf("%s/depth=%d/count=%d", kind.name, bb.depth, bb.count), func(b *testing.B) {
				b.SetBytes(int64(bb.depth * bb.count))
				benchSession(b, kind.file, nil, repeated(bb.depth, wire.Msg{Type: wire.Tread, Fid: benchOpen, Count: uint32(bb.count)})...)
			})
		}
	}
}

func BenchmarkWalkOpenClunk(b *testing.B) {
	for _, depth := range []int{1, 32} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			var msgs []*wire.Msg
			for i := range uint32(depth) {
				msgs = append(msgs, walk(0, benchRoot, benchNew+i, "dev", "0", "data"), open(0, benchNew+i, 0), &wire.Msg{Type: wire.Tclunk, Fid: benchNew + i})
			}
			benchSession(b, &plainContent{}, nil, msgs...)
		})
	}
}

// BenchmarkFlush is a read that waits and is flushed.
func BenchmarkFlush(b *testing.B) {
	benchSession(b, &bell{}, nil,
		read(0, benchOpen, 0, 64), &wire.Msg{Type: wire.Tflush, Oldtag: 0})
}

// BenchmarkParkedRead is a read that waits and is then answered: poll, park, wake, retry, reply. Waking is a handoff to another goroutine.
func BenchmarkParkedRead(b *testing.B) {
	file := &bell{}
	benchSession(b, file, func(f *feed) {
		for len(f.replied) > 0 {
			<-f.replied
		}
		file.ring()
		<-f.replied
	}, read(0, benchOpen, 0, 64))
}
