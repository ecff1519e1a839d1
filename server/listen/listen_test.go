package listen

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
)

// sock returns the path of a socket file to be. t.TempDir may be too long for a socket.
func sock(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "listen")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// meet connects to l and returns the two ends.
func meet(t *testing.T, l *Listener) (client, accepted net.Conn) {
	t.Helper()
	c, err := Dial(context.Background(), l.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c, s
}

func peerOf(t *testing.T, c net.Conn) server.Peer {
	t.Helper()
	p, ok := c.(interface{ Peer() server.Peer })
	if !ok {
		t.Fatalf("%T has no Peer", c)
	}
	return p.Peer()
}

func mustListen(t *testing.T, addr string, o Options) *Listener {
	t.Helper()
	l, err := Listen(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestUnixPeerIsProven(t *testing.T) {
	l := mustListen(t, "unix!"+sock(t), Options{})
	c, s := meet(t, l)
	p := peerOf(t, s)
	if p.UID != uint32(os.Getuid()) || p.GID != uint32(os.Getgid()) || !p.Proven || p.Any != (os.Getuid() == 0) {
		t.Errorf("peer is %+v", p)
	}
	if want := fmt.Sprintf("unix:pid=%d,uid=%d", os.Getpid(), os.Getuid()); p.Addr != want {
		t.Errorf("Addr is %q, want %q", p.Addr, want)
	}
	gids, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gids {
		if !slices.Contains(p.Groups, uint32(g)) && uint32(g) != p.GID {
			t.Errorf("groups %v lack %d", p.Groups, g)
		}
	}
	if pid, err := ServerPID(c); err != nil || pid != os.Getpid() {
		t.Errorf("ServerPID = %d, %v; want %d", pid, err, os.Getpid())
	}
}

func TestTCPIdentity(t *testing.T) {
	for _, tt := range []struct {
		id  TCPIdentity
		any bool
	}{{"", false}, {Nobody, false}, {Trust, true}} {
		l := mustListen(t, "tcp!127.0.0.1!0", Options{TCPIdentity: tt.id})
		c, s := meet(t, l)
		p := peerOf(t, s)
		if p.UID != p9ext.NobodyUID || p.Name != "nobody" || p.Proven || p.Any != tt.any {
			t.Errorf("identity %q: peer is %+v", tt.id, p)
		}
		if p.Addr != "tcp:"+c.LocalAddr().String() {
			t.Errorf("Addr is %q", p.Addr)
		}
		if _, err := ServerPID(c); err == nil {
			t.Error("ServerPID over tcp: no error")
		}
	}
	if _, err := Listen("tcp!127.0.0.1!0", Options{TCPIdentity: "anyone"}); err == nil || !strings.Contains(err.Error(), "nobody or trust") {
		t.Errorf("identity anyone: %v", err)
	}
}

func TestSocketFile(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, tt := range []struct {
		o    Options
		want fs.FileMode
	}{
		{Options{}, 0o660},
		{Options{Mode: 0o600}, 0o600},
		{Options{Mode: 0o666, Group: fmt.Sprint(os.Getgid())}, 0o666},
	} {
		path := sock(t)
		l := mustListen(t, "unix!"+path, tt.o)
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != tt.want || int(fi.Sys().(*syscall.Stat_t).Gid) != os.Getgid() {
			t.Errorf("%+v: mode %v, group %v", tt.o, fi.Mode(), fi.Sys().(*syscall.Stat_t).Gid)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket file is still there after Close")
		}
	}
	path := sock(t)
	if _, err := Listen("unix!"+path, Options{Group: "no-such-group"}); err == nil || !strings.Contains(err.Error(), `no group "no-such-group"`) {
		t.Errorf("unknown group: %v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a failed Listen left the socket file")
	}
}

// stale leaves a socket file that nobody answers on.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := sock(t)
	stale(t, path)
	meet(t, mustListen(t, "unix!"+path, Options{}))
}

func TestSocketInUse(t *testing.T) {
	path := sock(t)
	l := mustListen(t, "unix!"+path, Options{})
	_, err := Listen("unix!"+path, Options{})
	if want := fmt.Sprintf("cannot listen on unix!%s: in use by the server with process id %d", path, os.Getpid()); err == nil || err.Error() != want {
		t.Errorf("second Listen: %v, want %s", err, want)
	}
	if c, err := l.Accept(); err != nil { // the probe
		t.Fatal(err)
	} else {
		c.Close()
	}
	meet(t, l)
}

func TestNoSocketIsKept(t *testing.T) {
	path := sock(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix!"+path, Options{}); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("over a file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file was touched")
	}
	if _, err := Listen("unix!"+path+".d/s", Options{}); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("in no directory: %v", err)
	}
}

// A server that ends does not take away the file that another has put in its place.
func TestCloseKeepsAnothersSocket(t *testing.T) {
	path := sock(t)
	l := mustListen(t, "unix!"+path, Options{})
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	other := mustListen(t, "unix!"+path, Options{})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	meet(t, other)
}

// Of many that start at once over a stale socket one gets it, and it keeps it.
func TestSimultaneousStart(t *testing.T) {
	path := sock(t)
	stale(t, path)
	ls := make([]*Listener, 8)
	errs := make([]error, len(ls))
	var wg sync.WaitGroup
	for i := range ls {
		wg.Go(func() { ls[i], errs[i] = Listen("unix!"+path, Options{}) })
	}
	wg.Wait()
	var won *Listener
	for i, l := range ls {
		switch {
		case l != nil && won != nil:
			t.Error("two got the socket")
			l.Close()
		case l != nil:
			won = l
		case !strings.Contains(errs[i].Error(), "in use by the server"):
			t.Errorf("error %v", errs[i])
		}
	}
	if won == nil {
		t.Fatal("nobody got the socket")
	}
	defer won.Close()
	c, err := Dial(context.Background(), "unix!"+path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestHandover(t *testing.T) {
	path := sock(t)
	for _, addr := range []string{"unix!" + path, "tcp!127.0.0.1!0"} {
		l := mustListen(t, addr, Options{TCPIdentity: Trust})
		files, h, err := l.Hand()
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		var h2 Handover
		if err := json.Unmarshal(b, &h2); err != nil {
			t.Fatal(err)
		}
		l2, err := Inherit(files, h2)
		if err != nil {
			t.Fatal(err)
		}
		if l2.Address() != l.Address() {
			t.Errorf("address %v became %v", l.Address(), l2.Address())
		}
		_, s := meet(t, l2)
		if p := peerOf(t, s); !p.Any && (l.Address().Network == "tcp" || os.Getuid() == 0) {
			t.Errorf("%s: peer is %+v", addr, p)
		}
		if err := l2.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the heir left the socket file")
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close after Hand: %v", err)
		}
	}
}

// Whoever gave a listener away still removes the file of an heir that was killed.
func TestCloseAfterHandRemovesTheFile(t *testing.T) {
	path := sock(t)
	l := mustListen(t, "unix!"+path, Options{})
	files, _, err := l.Hand()
	if err != nil {
		t.Fatal(err)
	}
	files[0].Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket file is still there")
	}
}

func TestDialErrors(t *testing.T) {
	path := sock(t)
	for _, tt := range []struct{ addr, want string }{
		{"unix!" + path, "cannot connect to unix!" + path + ": no such file or directory"},
		{"nonsense", "want unix!PATH"},
	} {
		if _, err := Dial(context.Background(), tt.addr); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Dial(%q) = %v, want %q", tt.addr, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := mustListen(t, "tcp!127.0.0.1!0", Options{})
	if _, err := Dial(ctx, l.Address().String()); err == nil {
		t.Error("Dial with a cancelled context: no error")
	}
}

// An address that other hosts reach is listened on only where that is asked for.
func TestInsecureTCP(t *testing.T) {
	for _, addr := range []string{"tcp!*!0", "tcp!0.0.0.0!0"} {
		if l, err := Listen(addr, Options{}); err == nil {
			l.Close()
			t.Errorf("%s is listened on", addr)
		} else if !strings.Contains(err.Error(), "say --insecure-tcp") {
			t.Errorf("%s: %v", addr, err)
		}
		mustListen(t, addr, Options{InsecureTCP: true})
	}
	mustListen(t, "tcp!localhost!0", Options{})
}
