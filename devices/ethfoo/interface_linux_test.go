package ethfoo

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestInterfaceLivesFromOpenToClose(t *testing.T) {
	needTAP(t)
	before, files := names(t), openFiles(t)
	macs := map[string]bool{}
	for range 3 {
		i, err := testDevice(tunDevice).open(t.Context(), 0, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		link, err := netlink.LinkByName("ethfoo0")
		if err != nil {
			t.Fatal(err)
		}
		a := link.Attrs()
		if a.HardwareAddr[0]&3 != 2 {
			t.Errorf("address %v is not a locally administered one of one station", a.HardwareAddr)
		}
		macs[a.HardwareAddr.String()] = true
		if a.Flags&net.FlagUp != 0 || i.state() != "down" {
			t.Error("it is up from the start")
		}
		if a.MTU != 1500 {
			t.Errorf("mtu %d", a.MTU)
		}
		// NET_ADDR_SET: udev leaves such an address alone.
		if b, err := os.ReadFile("/proc/thread-self/net/dev"); err != nil || !strings.Contains(string(b), "ethfoo0") {
			t.Errorf("the kernel does not list it: %v", err)
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		if exists("ethfoo0") {
			t.Fatal("it is still there after Close")
		}
	}
	if len(macs) != 3 {
		t.Errorf("three interfaces had the addresses %v", macs)
	}
	if after := names(t); after != before {
		t.Errorf("interfaces before %q, after %q", before, after)
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d open files before, %d after", files, n)
	}
}

func TestNameInUseIsTaken(t *testing.T) {
	makeInterface(t, 4)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "ethfoo5"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(bridge)
	files := openFiles(t)
	for _, n := range []int{4, 5} {
		_, err := testDevice(tunDevice).open(t.Context(), n, func(error) {})
		if !errors.Is(err, clonefs.ErrTaken) {
			t.Errorf("ethfoo%d: %v, want ErrTaken", n, err)
		}
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d open files before, %d after", files, n)
	}
}

// Another's persistent TAP must not be taken over.
func TestPersistentTAPIsTaken(t *testing.T) {
	needTAP(t)
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "ethfoo6"}, Mode: netlink.TUNTAP_MODE_TAP,
		Owner: uint32(os.Getuid()), Group: uint32(os.Getgid())}
	if err := netlink.LinkAdd(tap); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(tap)
	if _, err := testDevice(tunDevice).open(t.Context(), 6, func(error) {}); !errors.Is(err, clonefs.ErrTaken) {
		t.Errorf("%v, want ErrTaken", err)
	}
}

// lacking runs f on a thread without CAP_NET_ADMIN.
func lacking(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&hdr, &data[0])
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err == nil {
			err = unix.Capset(&hdr, &data[0])
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	needTAP(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before, files := names(t), openFiles(t)
	for _, c := range []struct {
		name, device string
		without      bool // CAP_NET_ADMIN
		errno        linux.Errno
		text         string
	}{
		{"no tun device", filepath.Join(dir, "none"), false, linux.ENXIO, "mknod"},
		{"not the tun device", plain, false, linux.ENXIO, "is not the tun device"},
		{"a directory", dir, false, linux.EISDIR, "is a directory"},
		{"no capability", tunDevice, true, linux.EPERM, "lacks CAP_NET_ADMIN here: run it as root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			try := func() { _, err = testDevice(c.device).open(context.Background(), 0, func(error) {}) }
			if c.without {
				lacking(t, try)
			} else {
				try()
			}
			wantError(t, err, c.errno, "cannot create ethfoo0: ", c.text)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := testDevice(tunDevice).open(ctx, 0, func(error) {}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("number too long for a name", func(t *testing.T) {
		_, err := testDevice(tunDevice).open(t.Context(), 1e9, func(error) {})
		wantError(t, err, linux.ENOSPC, "no free devices")
	})
	if after := names(t); after != before {
		t.Errorf("interfaces before %q, after %q", before, after)
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d open files before, %d after", files, n)
	}
}

// The cures for the open's errors that the test's machine cannot bring about.
func TestCannotOpen(t *testing.T) {
	for _, c := range []struct {
		err, want error
		text      string
	}{
		{unix.ENOENT, linux.ENXIO, "there is no /dev/net/tun: make it with mknod /dev/net/tun c 10 200, or load the module tun"},
		{unix.ENODEV, linux.ENXIO, "load the module tun"},
		{unix.EACCES, linux.EACCES, "chmod 0666"},
		{unix.EMFILE, linux.EMFILE, "raise the server's limit"},
		{unix.ENOMEM, linux.ENOMEM, "cannot allocate memory"},
	} {
		err := cannotOpen(tunDevice, "ethfoo0", c.err)
		wantError(t, err, c.want.(linux.Errno), "cannot create ethfoo0: ", c.text)
	}
}

// wantError checks an error's number and that its text begins with the first of texts and contains the others.
func wantError(t *testing.T, err error, errno linux.Errno, texts ...string) {
	t.Helper()
	var e *p9ext.Error
	if !errors.As(err, &e) {
		t.Errorf("error %v (%T), want a p9ext.Error with %v", err, err, errno)
		return
	}
	if e.Errno != errno {
		t.Errorf("error %q has number %d (%v), want %d", e, int(e.Errno), e.Errno, int(errno))
	}
	if !strings.HasPrefix(e.Text, texts[0]) {
		t.Errorf("error %q, want it to begin with %q", e, texts[0])
	}
	for _, s := range texts[1:] {
		if !strings.Contains(e.Text, s) {
			t.Errorf("error %q, want %q in it", e, s)
		}
	}
	if strings.ContainsAny(e.Text, "\n") || strings.HasSuffix(e.Text, ".") {
		t.Errorf("error %q is not one sentence without a period", e)
	}
}

// watched opens an interface whose hangup can be waited for.
func watched(t *testing.T, n int) (*Interface, <-chan error) {
	t.Helper()
	needTAP(t)
	hungup := make(chan error, 16)
	i, err := testDevice(tunDevice).open(t.Context(), n, func(err error) {
		select {
		case hungup <- err:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i, hungup
}

func TestDeletedFromOutsideHangsUp(t *testing.T) {
	for _, state := range []string{"down", "up"} {
		t.Run(state, func(t *testing.T) {
			for range 10 {
				i, hungup := watched(t, 0)
				mustSend(t, i, state)
				s, err := i.data(t.Context(), clonefs.Mode{Read: true, Write: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := netlink.LinkDel(i.ref()); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-hungup:
					wantError(t, err, linux.EIO, "interface ethfoo0 was deleted from outside")
				case <-time.After(patience):
					t.Fatal("nobody has noticed")
				}
				if _, err := s.(p9ext.WritePoller).PollWrite(frame(60, 0), 0, nil); !errors.Is(err, p9ext.ErrHungup) {
					t.Errorf("write: %v", err)
				}
				for _, line := range []string{"up", "mtu 1400", "add 10.9.0.1/24", "name other0", "promiscuous on", "addr 02:00:00:00:00:01"} {
					if err := send(i, line); !errors.Is(err, p9ext.ErrHungup) {
						t.Errorf("%s: %v", line, err)
					}
				}
				for _, f := range files {
					if f.Text == nil || f.Name == "type" {
						continue
					}
					if _, err := f.Text(i); !errors.Is(err, p9ext.ErrHungup) {
						t.Errorf("%s: %v", f.Name, err)
					}
				}
				if got := i.state(); got != "gone" {
					t.Errorf("state %s", got)
				}
				s.Close()
				if err := i.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestRenamedFromOutside(t *testing.T) {
	i := makeInterface(t, 0)
	if err := netlink.LinkSetName(i.ref(), "other0"); err != nil {
		t.Fatal(err)
	}
	if got, err := i.ifnameText(); got != "other0\n" || err != nil {
		t.Errorf("ifname %q, %v", got, err)
	}
	mustSend(t, i, "up")
	if got := i.state(); got != "up" {
		t.Errorf("state %s", got)
	}
	// Its number's name is free again, and whoever has it does not disturb.
	j := makeInterface(t, 0)
	if got, err := j.ifnameText(); got != "ethfoo0\n" || err != nil {
		t.Errorf("the second's ifname %q, %v", got, err)
	}
}

func TestKilledServerLeavesNothing(t *testing.T) {
	needTAP(t)
	cmd, name := startHolder(t)
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	updates, done := make(chan netlink.LinkUpdate, 16), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	defer func() {
		close(done)
		for range updates {
		}
	}()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	// The kernel removes it while the process dies, and Wait may return a little before.
	deadline := time.After(patience)
	for exists(name) {
		select {
		case <-updates:
		case <-deadline:
			t.Fatalf("%s (index %d) outlives its server", name, link.Attrs().Index)
		}
	}
}

func TestManyCloseAtOnce(t *testing.T) {
	needTAP(t)
	const many = 100
	var all [many]*Interface
	for n := range all {
		all[n] = makeInterface(t, n)
		mustSend(t, all[n], "up")
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, i := range all {
		wg.Go(func() {
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d interfaces gone after %v", many, time.Since(start))
	if got := names(t); strings.Contains(got, "ethfoo") {
		t.Errorf("left behind: %s", got)
	}
}

func TestCloseEndsABlockedPump(t *testing.T) {
	i, hungup := watched(t, 0)
	mustSend(t, i, "up")
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-hungup:
		t.Errorf("Close hangs up: %v", err)
	default:
	}
	if err := i.Close(); err == nil {
		t.Error("a second Close succeeds")
	}
	if _, err := (&writer{i, nil}).PollWrite(frame(60, 0), 0, nil); !errors.Is(err, p9ext.ErrHungup) {
		t.Errorf("write after Close: %v", err)
	}
}

// An interface that somebody took into another namespace is neither gone nor out of reach.
func TestMovedToAnotherNamespaceLives(t *testing.T) {
	i, hungup := watched(t, 0)
	mustSend(t, i, "connect 0x88b5")
	r := openReader(t, i)
	other := inNamespace(t)
	if err := netlink.LinkSetNsPid(i.ref(), other.pid); err != nil {
		t.Fatal(err)
	}
	mustSend(t, i, "up", "mtu 1400")
	if name, err := i.ifnameText(); name != "ethfoo0\n" || err != nil {
		t.Errorf("ifname %q, %v", name, err)
	}
	err := other.do(func() error {
		s, err := newPacketSocket(int(i.index.Load()))
		if err != nil {
			return err
		}
		defer unix.Close(s.fd)
		_, err = unix.Write(s.fd, frame(60, 1))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := readFrame(t, r); len(got) != 60 {
		t.Errorf("%d bytes", len(got))
	}
	select {
	case err := <-hungup:
		t.Errorf("hung up: %v", err)
	default:
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	err = other.do(func() error {
		if exists("ethfoo0") {
			return errors.New("it is there after Close")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A namespaceThread runs functions in a network namespace of its own.
type namespaceThread struct {
	pid   int // of the thread
	calls chan func()
	end   func() // ends the thread, and with it the namespace
}

func inNamespace(t *testing.T) *namespaceThread {
	t.Helper()
	n := &namespaceThread{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the namespace with the thread
		n.pid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.calls {
			f()
		}
	}()
	n.end = sync.OnceFunc(func() { close(n.calls) })
	t.Cleanup(n.end)
	if err := <-ready; err != nil {
		t.Skipf("no second network namespace to be had: %v", err)
	}
	return n
}

func (n *namespaceThread) do(f func() error) error {
	done := make(chan error)
	n.calls <- func() { done <- f() }
	return <-done
}
