package server_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// A raw is a client that sends messages one by one and hides nothing.
type raw struct {
	t    testing.TB
	conn net.Conn
	d    wire.Dialect
}

// patience is how long a test waits for what must come: far more than it takes.
const patience = 20 * time.Second

// dial serves a to a new client that has sent Tversion and attached as fid 0.
func dial(t testing.TB, a p9.Attacher, d wire.Dialect, aname string) *raw {
	t.Helper()
	c := &raw{t: t, conn: serve(t, a, server.Config{}, server.Peer{Addr: "test", Any: true}), d: d}
	c.hello(aname)
	return c
}

func (c *raw) hello(aname string) {
	c.t.Helper()
	c.rpc(&wire.Msg{Type: wire.Tversion, Tag: wire.NoTag, Msize: 8192, Version: []byte(c.d.String())}, wire.Rversion)
	c.rpc(&wire.Msg{Type: wire.Tattach, Tag: 1, Fid: 0, Afid: wire.NoFid, Aname: []byte(aname), NUname: wire.NoUid}, wire.Rattach)
}

func (c *raw) send(msgs ...*wire.Msg) {
	c.t.Helper()
	var b []byte
	for _, m := range msgs {
		var err error
		if b, err = wire.Append(b, c.d, m); err != nil {
			c.t.Fatal(err)
		}
	}
	c.sendBytes(b)
}

func (c *raw) sendBytes(b []byte) {
	c.t.Helper()
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next reply, or the error that ended the connection.
func (c *raw) next() (*wire.Msg, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.LittleEndian.Uint32(size[:]))
	copy(b, size[:])
	if _, err := io.ReadFull(c.conn, b[4:]); err != nil {
		return nil, err
	}
	m := new(wire.Msg)
	return m, m.Decode(c.d, b)
}

// expect returns the next reply, which must be of type typ and for tag.
func (c *raw) expect(typ wire.Type, tag uint16) *wire.Msg {
	c.t.Helper()
	m, err := c.next()
	if err != nil {
		c.t.Fatalf("waiting for %v tag %d: %v", typ, tag, err)
	}
	if m.Type != typ || m.Tag != tag {
		c.t.Fatalf("got %v tag %d (errno %v, %q), want %v tag %d", m.Type, m.Tag, linux.Errno(m.Errno), m.Ename, typ, tag)
	}
	return m
}

// rpc sends m and returns its reply, which must be of type typ.
func (c *raw) rpc(m *wire.Msg, typ wire.Type) *wire.Msg {
	c.t.Helper()
	c.send(m)
	return c.expect(typ, m.Tag)
}

// fails sends m and requires the error errno.
func (c *raw) fails(m *wire.Msg, errno linux.Errno) {
	c.t.Helper()
	r := c.rpc(m, wire.Rlerror)
	if linux.Errno(r.Errno) != errno {
		c.t.Fatalf("%v: got %v, want %v", m.Type, linux.Errno(r.Errno), errno)
	}
}

func walk(tag uint16, fid, newfid uint32, names ...string) *wire.Msg {
	m := &wire.Msg{Type: wire.Twalk, Tag: tag, Fid: fid, Newfid: newfid, Nwname: len(names)}
	for i, n := range names {
		m.Wname[i] = []byte(n)
	}
	return m
}

func open(tag uint16, fid uint32, flags uint32) *wire.Msg {
	return &wire.Msg{Type: wire.Tlopen, Tag: tag, Fid: fid, Flags: flags}
}

func read(tag uint16, fid uint32, off uint64, count uint32) *wire.Msg {
	return &wire.Msg{Type: wire.Tread, Tag: tag, Fid: fid, Offset: off, Count: count}
}

func write(tag uint16, fid uint32, off uint64, data string) *wire.Msg {
	return &wire.Msg{Type: wire.Twrite, Tag: tag, Fid: fid, Offset: off, Count: uint32(len(data)), Data: []byte(data)}
}

func flush(tag, old uint16) *wire.Msg { return &wire.Msg{Type: wire.Tflush, Tag: tag, Oldtag: old} }

func clunk(tag uint16, fid uint32) *wire.Msg { return &wire.Msg{Type: wire.Tclunk, Tag: tag, Fid: fid} }

// opened walks to name as fid and opens it.
func (c *raw) opened(fid uint32, name string, flags uint32) {
	c.t.Helper()
	c.rpc(walk(1, 0, fid, name), wire.Rwalk)
	c.rpc(open(1, fid, flags), wire.Rlopen)
}

// sync returns when the server has handled everything sent so far.
func (c *raw) sync() {
	c.t.Helper()
	c.rpc(flush(0xfff0, 0xfff1), wire.Rflush)
}
