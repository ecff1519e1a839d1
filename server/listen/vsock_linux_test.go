package listen

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/p9ext"
	"golang.org/x/sys/unix"
)

// noVsockHere are the sentences for what a machine may lack: the family, or what carries it.
var noVsockHere = []string{"this kernel has no vsock sockets: modprobe vsock", "nothing carries vsock there", "no machine with that context identifier answers", "the context identifier is none of this machine's"}

// Over vsock there is nobody to prove, and what a kernel lacks is said. Where it carries vsock to itself, a connection talks, also one that was handed
// over; elsewhere the sentence is what is tested.
func TestVsock(t *testing.T) {
	expected := func(what string, err error) bool {
		for _, s := range noVsockHere {
			if strings.Contains(err.Error(), s) {
				return true
			}
		}
		t.Errorf("%s: %v", what, err)
		return false
	}
	l, err := Listen("vsock!any:0", Options{})
	if err != nil {
		expected("listen", err)
		return
	}
	defer l.Close()
	if a := l.Address(); a.Host != "any" || a.Port == 0 {
		t.Errorf("listens on %v", a)
	}
	if _, err := Listen(l.Address().String(), Options{}); err == nil || !strings.HasSuffix(err.Error(), "address already in use") {
		t.Errorf("a second one: %v", err)
	}
	files, h, err := l.Hand()
	if err != nil {
		t.Fatal(err)
	}
	heir, err := Inherit(files, h)
	if err != nil {
		t.Fatal(err)
	}
	defer heir.Close()
	if heir.Address() != l.Address() {
		t.Errorf("%v became %v", l.Address(), heir.Address())
	}
	c, err := Dial(context.Background(), fmt.Sprintf("vsock!local:%d", heir.Address().Port))
	if err != nil {
		expected("dial", err)
		return
	}
	defer c.Close()
	s, err := heir.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p := peerOf(t, s); p.UID != p9ext.NobodyUID || p.Proven || p.Any || !strings.HasPrefix(p.Addr, "vsock:local:") {
		t.Errorf("peer is %+v", p)
	}
	talk(t, c, s)
	talk(t, s, c)
}

// A socket that systemd has made listens as well as our own.
func TestVsockDescriptor(t *testing.T) {
	fd, err := vsockSocket()
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrVM{CID: cidAny, Port: unix.VMADDR_PORT_ANY})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		if err := noVsock(err); !strings.Contains(err.Error(), "this kernel has no vsock sockets") {
			t.Error(err)
		}
		return
	}
	l, err := Listen(fmt.Sprintf("fd!%d", fd), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a := l.Address(); a.Network != "vsock" || a.Host != "any" || a.Port == 0 {
		t.Errorf("listens on %v", a)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestVsockErrors(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"vsock!any:5640", "cannot connect to vsock!any:5640: any is for listening: want the context identifier of a guest, or host"},
	} {
		if _, err := Dial(context.Background(), tt.addr); err == nil || err.Error() != tt.want {
			t.Errorf("Dial(%q) = %v, want %s", tt.addr, err, tt.want)
		}
	}
	for err, want := range map[error]string{
		unix.EAFNOSUPPORT:  "address family not supported by protocol: this kernel has no vsock sockets: modprobe vsock, where it has that module",
		unix.EADDRNOTAVAIL: "cannot assign requested address: the context identifier is none of this machine's: vsock!any:PORT listens on all",
		unix.ENODEV:        "no such device: nothing carries vsock there: vhost_vsock on a host, the hypervisor's device in a guest, vsock_loopback for local",
		unix.ETIMEDOUT:     "connection timed out: no machine with that context identifier answers, or nothing carries vsock to it: vhost_vsock on a host, vsock_loopback for local",
		unix.ECONNRESET:    "connection reset by peer",
	} {
		if got := noVsock(err); got.Error() != want {
			t.Errorf("%v: %v, want %s", err, got, want)
		}
	}
}
