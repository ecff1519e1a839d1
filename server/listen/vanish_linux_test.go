//go:build e2e

package listen

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A client whose machine loses power sends nothing more, not even an end of the connection. Two network namespaces stand for the two
// machines, and a wire that is cut for the loss: idle, or with an answer under way, the server knows within a minute.
func TestPowerLoss(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("root is needed to make network namespaces")
		}
		t.Skip("root is needed to make network namespaces")
	}
	t.Parallel()

	for _, tt := range []struct {
		name string
		busy bool
	}{{"idle", false}, {"with an answer under way", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, client, cut := twoMachines(t)
			defer l.Close()
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			cut()
			start := time.Now()
			server.SetReadDeadline(start.Add(time.Minute + 30*time.Second))
			if tt.busy {
				if _, err := server.Write([]byte("an answer nobody takes")); err != nil {
					t.Fatal(err)
				}
			}
			_, err = server.Read(make([]byte, 1))
			took := time.Since(start)
			if err == nil || took > time.Minute {
				t.Errorf("found after %v: %v", took.Round(time.Second), err)
			}
		})
	}
}

// twoMachines returns a listener in one new network namespace, a connection to it from another, and what cuts the wire between them.
func twoMachines(t *testing.T) (l *Listener, client net.Conn, cut func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() { // its thread is in strange namespaces: it is not unlocked, and ends with the goroutine
		defer close(done)
		runtime.LockOSThread()
		here, err := netns.New()
		must(err)
		defer here.Close()
		there, err := netns.New()
		must(err)
		up := func(name, addr string) {
			link, err := netlink.LinkByName(name)
			must(err)
			a, err := netlink.ParseAddr(addr)
			must(err)
			must(netlink.AddrAdd(link, a))
			must(netlink.LinkSetUp(link))
		}
		must(netns.Set(here))
		must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wire0"}, PeerName: "wire1", PeerNamespace: netlink.NsFd(there)}))
		up("wire0", "10.9.0.1/24")
		must(netns.Set(there))
		up("wire1", "10.9.0.2/24")
		must(netns.Set(here))
		l, err = Listen("tcp!10.9.0.1!5640", Options{InsecureTCP: true})
		must(err)
		must(netns.Set(there))
		client, err = net.Dial("tcp4", "10.9.0.1:5640")
		must(err)
		cut = func() {
			h, err := netlink.NewHandleAt(there)
			must(err)
			defer h.Close()
			wire, err := h.LinkByName("wire1")
			must(err)
			must(h.LinkSetDown(wire))
			there.Close()
		}
	}()
	<-done
	if cut == nil {
		t.FailNow()
	}
	return l, client, cut
}
