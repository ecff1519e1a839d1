package server_test

import (
	"net"
	"testing"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// Why we have a session loop of our own: each fault of the pinned p9.Server that ARCHITECTURE.md names, shown, and ours without it.
// If one of these fails for p9.Server, the reason has gone and the loop can be looked at again.

// p9serve serves a with p9.Server. ended is closed when its Handle returned.
func p9serve(t *testing.T, a p9.Attacher) (conn net.Conn, ended chan struct{}) {
	t.Helper()
	ours, theirs := socketpair(t)
	ended = make(chan struct{})
	go func() {
		p9.NewServer(a).Handle(theirs, theirs)
		close(ended)
	}()
	return ours, ended
}

// moment is how long a test looks at something that must not happen.
const moment = 100 * time.Millisecond

// silent requires that no message comes for a moment.
func (c *raw) silent() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(moment))
	var b [1]byte
	if n, err := c.conn.Read(b[:]); n != 0 || err == nil {
		c.t.Fatalf("an answer came")
	}
}

// blocked is a client of p9.Server with a read of fid 2 that waits.
func blocked(t *testing.T) (d *device, c *raw, ended chan struct{}) {
	d = newDevice()
	conn, ended := p9serve(t, d)
	c = &raw{t: t, conn: conn, d: wire.P9L}
	c.hello("")
	c.opened(2, "deaf", 0)
	c.send(read(7, 2, 0, 100))
	waitFor(t, func() bool { return d.deafReads.Load() == 1 })
	c.rpc(walk(1, 0, 3), wire.Rwalk)
	return d, c, ended
}

// Fault 1: Tflush waits for the very request it should cancel.
func TestFaultFlush(t *testing.T) {
	d, c, _ := blocked(t)
	c.send(flush(8, 7))
	c.silent()
	close(d.deaf)
	c.expect(wire.Rread, 7)
	c.expect(wire.Rflush, 8)

	d = newDevice()
	defer close(d.deaf)
	c = dial(t, d, wire.P9L, "")
	c.opened(2, "deaf", 0)
	c.send(read(7, 2, 0, 100), flush(8, 7))
	c.expect(wire.Rlerror, 7)
	c.expect(wire.Rflush, 8)
}

// Fault 2: a client that disconnects leaves the handler waiting for ever, and Close is never called.
func TestFaultDisconnect(t *testing.T) {
	d, c, ended := blocked(t)
	c.conn.Close()
	select {
	case <-ended:
		t.Error("p9.Server's handler ended")
	case <-time.After(moment):
	}
	if n := d.closes.Load(); n != 0 {
		t.Errorf("p9.Server closed %d files", n)
	}
	close(d.deaf)
	<-ended

	d = newDevice()
	defer close(d.deaf)
	c = dial(t, d, wire.P9L, "")
	c.opened(2, "deaf", 0)
	c.send(read(7, 2, 0, 100))
	c.sync()
	before := d.closes.Load()
	c.conn.Close()
	waitFor(t, func() bool { return d.closes.Load() == before+2 })
}

// Fault 3: ReadAt runs under the server-wide rename lock, so that one rename freezes every client, and one setattr that file.
func TestFaultRename(t *testing.T) {
	rename := &wire.Msg{Type: wire.Trenameat, Tag: 10, Fid: 0, Name: []byte("still"), Newfid: 0, Newname: []byte("other")}
	getattr := func(tag uint16, fid uint32) *wire.Msg {
		return &wire.Msg{Type: wire.Tgetattr, Tag: tag, Fid: fid, Mask: wire.GetBasic}
	}
	d, c, _ := blocked(t)
	c.send(rename)
	c.silent()
	c.send(getattr(11, 3))
	c.silent()
	close(d.deaf)

	d, c, _ = blocked(t)
	c.rpc(walk(1, 0, 4, "deaf"), wire.Rwalk)
	c.send(&wire.Msg{Type: wire.Tsetattr, Tag: 10, Fid: 4, SetAttr: wire.SetAttr{Valid: wire.SetSize}})
	c.silent()
	c.send(getattr(11, 4))
	c.silent()
	close(d.deaf)

	// Ours: with a file that knows how to wait nobody waits at all; with one that does not, who asks for exclusion waits, and only he.
	d = newDevice()
	defer close(d.deaf)
	c = dial(t, d, wire.P9L, "")
	c.opened(2, "deaf", 0)
	c.opened(3, "line", 0)
	c.opened(4, "still", 0)
	c.send(read(6, 3, 0, 100))
	c.rpc(rename, wire.Rrenameat)
	c.rpc(&wire.Msg{Type: wire.Tsetattr, Tag: 10, Fid: 3, SetAttr: wire.SetAttr{Valid: wire.SetSize}}, wire.Rsetattr)
	c.send(read(7, 2, 0, 100))
	waitFor(t, func() bool { return d.deafReads.Load() == 1 })
	c.send(&wire.Msg{Type: wire.Tsetattr, Tag: 12, Fid: 2, SetAttr: wire.SetAttr{Valid: wire.SetSize}})
	for range 20 {
		c.rpc(getattr(11, 2), wire.Rgetattr)
		c.rpc(read(11, 4, 0, 10), wire.Rread)
		c.rpc(walk(11, 0, 20, "still"), wire.Rwalk)
		c.rpc(clunk(11, 20), wire.Rclunk)
	}
	c.send(flush(13, 12))
	c.expect(wire.Rlerror, 12)
	c.expect(wire.Rflush, 13)
}

// Fault 4: 9P2000 and 9P2000.u are unknown.
func TestFaultDialects(t *testing.T) {
	for _, version := range []string{"9P2000", "9P2000.u"} {
		ask := &wire.Msg{Type: wire.Tversion, Tag: wire.NoTag, Msize: 8192, Version: []byte(version)}
		conn, _ := p9serve(t, newDevice())
		c := &raw{t: t, conn: conn, d: wire.P9L}
		if m := c.rpc(ask, wire.Rversion); string(m.Version) != "unknown" {
			t.Errorf("p9.Server answers %q with %q", version, m.Version)
		}
		c.conn.Close()
		c = &raw{t: t, conn: serve(t, newDevice(), server.Config{}, server.Peer{}), d: wire.P9L}
		if m := c.rpc(ask, wire.Rversion); string(m.Version) != version {
			t.Errorf("we answer %q with %q", version, m.Version)
		}
	}
}

// Fault 5: Attach is not told who attaches.
func TestFaultAttach(t *testing.T) {
	attach := &wire.Msg{Type: wire.Tattach, Tag: 1, Fid: 9, Afid: wire.NoFid, NUname: 4242}
	d, c, _ := blocked(t)
	c.rpc(attach, wire.Rattach)
	if u := d.lastUser(); u.UID != 0 {
		t.Errorf("p9.Server told of %v", u)
	}
	close(d.deaf)

	d = newDevice()
	c = dial(t, d, wire.P9L, "")
	c.rpc(attach, wire.Rattach)
	if u := d.lastUser(); u.UID != 4242 {
		t.Errorf("we told of %v", u)
	}
}

// Who may attach as whom.
func TestAttachIdentity(t *testing.T) {
	const none = wire.NoUid
	root := server.Peer{UID: 0, Name: "root", Any: true, Proven: true}
	alice := server.Peer{UID: 4242, GID: 4242, Name: "alice", Proven: true, Groups: []uint32{7}}
	nobody := server.Nobody("tcp")
	trusted := nobody
	trusted.Any = true
	for _, tt := range []struct {
		peer   server.Peer
		uname  string
		nuname uint32
		want   uint32 // none: refused
	}{
		{root, "nobody", none, 0}, {root, "", none, 0}, {root, "", 4242, 4242}, {root, "root", none, 0}, {root, "no such user", none, none},
		{alice, "nobody", none, 4242}, {alice, "", none, 4242}, {alice, "alice", none, 4242}, {alice, "", 4242, 4242}, {alice, "x", 4242, 4242},
		{alice, "", 0, none}, {alice, "root", none, none}, {alice, "", 4243, none},
		{nobody, "root", none, p9ext.NobodyUID}, {nobody, "", 0, p9ext.NobodyUID}, {nobody, "", none, p9ext.NobodyUID},
		{trusted, "", 4242, 4242}, {trusted, "root", none, 0}, {trusted, "nobody", none, p9ext.NobodyUID},
	} {
		d := newDevice()
		c := &raw{t: t, conn: serve(t, d, server.Config{}, tt.peer), d: wire.P9L}
		c.rpc(&wire.Msg{Type: wire.Tversion, Tag: wire.NoTag, Msize: 8192, Version: []byte("9P2000.L")}, wire.Rversion)
		c.send(&wire.Msg{Type: wire.Tattach, Tag: 1, Fid: 0, Afid: wire.NoFid, Uname: []byte(tt.uname), NUname: tt.nuname})
		m, err := c.next()
		switch {
		case err != nil:
			t.Fatal(err)
		case m.Type == wire.Rlerror && tt.want == none && linux.Errno(m.Errno) == linux.EACCES:
		case m.Type != wire.Rattach || tt.want == none:
			t.Errorf("%s attaching as (%q, %d): %v %v", tt.peer.Name, tt.uname, int32(tt.nuname), m.Type, linux.Errno(m.Errno))
		case d.lastUser().UID != tt.want:
			t.Errorf("%s attaching as (%q, %d) became %v", tt.peer.Name, tt.uname, int32(tt.nuname), d.lastUser())
		}
	}
}
