package listen

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// An abstract socket proves its peers, is found by name, and is handed over; there is no file.
func TestAbstract(t *testing.T) {
	addr := fmt.Sprintf("unix!@clone9p-test-%d", os.Getpid())
	l := mustListen(t, addr, Options{Mode: 0o600})
	if l.Address().String() != addr {
		t.Errorf("listens on %v", l.Address())
	}
	_, err := Listen(addr, Options{})
	if want := fmt.Sprintf("cannot listen on %s: in use by the server with process id %d", addr, os.Getpid()); err == nil || err.Error() != want {
		t.Errorf("a second one: %v, want %s", err, want)
	}
	probe, err := l.Accept() // what the second one has asked
	if err != nil {
		t.Fatal(err)
	}
	probe.Close()
	c, s := meet(t, l)
	p := peerOf(t, s)
	if p.UID != uint32(os.Getuid()) || !p.Proven || p.Any != (os.Getuid() == 0) {
		t.Errorf("peer is %+v", p)
	}
	if pid, err := ServerPID(c); err != nil || pid != os.Getpid() {
		t.Errorf("ServerPID = %d, %v", pid, err)
	}
	talk(t, c, s)

	files, h, err := l.Hand()
	if err != nil {
		t.Fatal(err)
	}
	heir, err := Inherit(files, h)
	if err != nil {
		t.Fatal(err)
	}
	c, s = meet(t, heir)
	talk(t, c, s)
	if err := heir.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(context.Background(), addr); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Dial after Close: %v", err)
	}
}
