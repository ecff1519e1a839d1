package server_test

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/p9"
)

// serve serves a on one end of a connection and returns the other; the test's end shuts the server down and waits for it.
func serve(t testing.TB, a p9.Attacher, conf server.Config, peer server.Peer) net.Conn {
	t.Helper()
	srv := server.New(a, conf)
	ours, theirs := socketpair(t)
	go srv.ServeConn(theirs, peer)
	t.Cleanup(func() {
		ours.Close()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return ours
}

// socketpair returns the two ends of a unix socket: buffered and written to by writev like those of real clients.
func socketpair(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if conns[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return conns[0], conns[1]
}

func TestClientOfP9(t *testing.T) {
	d := newDevice()
	conn := serve(t, d, server.Config{}, server.Peer{Addr: "test", Any: true})
	c, err := p9.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	root, err := c.Attach("/?records=off")
	if err != nil {
		t.Fatal(err)
	}
	ents, err := root.Readdir(0, 1000)
	if err == nil && len(ents) != 0 {
		t.Errorf("reading an unopened directory: %v", ents)
	}
	for _, name := range []string{"text", "tape", "line", "still", "dir"} {
		qids, f, err := root.Walk([]string{name})
		if err != nil {
			t.Fatal(name, err)
		}
		if len(qids) != 1 {
			t.Errorf("walk %s: %d qids", name, len(qids))
		}
		mode := p9.ReadWrite
		if name == "dir" {
			mode = p9.ReadOnly
		}
		if _, _, err := f.Open(mode); err != nil {
			t.Fatal(name, err)
		}
		if _, _, _, err := f.GetAttr(p9.AttrMaskAll); err != nil {
			t.Fatal(name, err)
		}
		buf := make([]byte, 100)
		d.push("record")
		d.pushLine("line")
		if name != "dir" {
			n, err := f.ReadAt(buf, 0)
			t.Logf("%s: %q %v", name, buf[:n], err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := root.Walk([]string{"nothing"}); err == nil {
		t.Error("walk to nothing succeeded")
	}
}
