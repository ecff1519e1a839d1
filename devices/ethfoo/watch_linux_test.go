package ethfoo

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel tells what it could not tell (ENOBUFS) by nothing but that; then everything is looked after.
func TestWhatWasNotHeardIsLookedFor(t *testing.T) {
	i, hungup := watched(t, 0)
	i.dev.watch.remove(i)
	j, _ := watched(t, 1)
	deaf := watcher{watched: map[int]*Interface{int(i.index.Load()): i, int(j.index.Load()): j}}
	if err := netlink.LinkSetName(j.ref(), "other0"); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(i.ref()); err != nil {
		t.Fatal(err)
	}
	deaf.all()
	select {
	case err := <-hungup:
		wantError(t, err, linux.EIO, "interface ethfoo0 was deleted from outside")
	case <-time.After(patience):
		t.Fatal("nobody has noticed")
	}
	if j.lastName() != "other0" {
		t.Errorf("name %s", j.lastName())
	}
}

// A port that leaves a bridge is no link deleted, though the message is.
func TestLeavingABridgeIsNoEnd(t *testing.T) {
	i, hungup := watched(t, 0)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other0"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(bridge)
	if err := netlink.LinkSetMaster(i.ref(), bridge); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNoMaster(i.ref()); err != nil {
		t.Fatal(err)
	}
	// What comes after it has been heard, so it has been heard too.
	if err := netlink.LinkSetMTU(i.ref(), 4000); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the watcher", func() bool { return i.mtu.Load() == 4000 })
	select {
	case err := <-hungup:
		t.Errorf("hung up: %v", err)
	default:
	}
}

// Wherever the descriptors run out, the open says so and leaves nothing behind.
func TestOutOfDescriptors(t *testing.T) {
	needTAP(t)
	before, files := names(t), openFiles(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0) // the number that the next descriptor would have
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	d := testDevice(tunDevice)
	failed := 0
	for room := range 4 {
		few := unix.Rlimit{Cur: uint64(next + room), Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		i, err := d.open(t.Context(), 0, func(error) {})
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			i.Close()
			continue
		}
		failed++
		wantError(t, err, linux.EMFILE, "cannot create ethfoo0: ", "too many open files")
	}
	if failed == 0 || failed == 4 {
		t.Errorf("%d of 4 opens failed", failed)
	}
	if after := names(t); after != before {
		t.Errorf("interfaces before %q, after %q", before, after)
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d open files before, %d after", files, n)
	}
}

func TestWatcherEndsWithTheLastInterface(t *testing.T) {
	needTAP(t)
	d := testDevice(tunDevice)
	for range 3 {
		i, err := d.open(t.Context(), 0, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		j, err := d.open(t.Context(), 1, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		ended := d.watch.ended
		if err := errors.Join(i.Close(), j.Close()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		default:
			t.Fatal("the watcher goes on with nothing to watch")
		}
	}
}

func FuzzHear(f *testing.F) {
	message := func(kind, length uint16, family byte, attr ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(length))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, make([]byte, 10)...)
		b = append(b, family, 0, 0, 0)
		b = binary.NativeEndian.AppendUint32(b, 7)
		return append(append(b, make([]byte, 8)...), attr...)
	}
	f.Add(message(unix.RTM_NEWLINK, 32, unix.AF_UNSPEC))
	f.Add(message(unix.RTM_NEWLINK, 40, unix.AF_UNSPEC, 8, 0, unix.IFLA_MTU, 0, 0, 6, 0, 0))
	f.Add(message(unix.RTM_NEWLINK, 40, unix.AF_UNSPEC, 8, 0, unix.IFLA_IFNAME, 0, 'a', 0, 0, 0))
	f.Add(message(unix.RTM_NEWLINK, 40, unix.AF_BRIDGE, 200, 0, unix.IFLA_MTU, 0))
	f.Add(message(unix.RTM_DELLINK, 32, unix.AF_UNSPEC))
	f.Add(message(unix.RTM_DELLINK, 32, unix.AF_BRIDGE))
	// An interface whose TAP was closed, so that a message of its end has no consequence.
	file, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		f.Fatal(err)
	}
	file.Close()
	i := &Interface{nl: &netlink.Handle{}}
	i.index.Store(7)
	i.tap.Store(&tap{raw: raw, fd: -1})
	w := watcher{watched: map[int]*Interface{7: i}}
	f.Fuzz(func(_ *testing.T, b []byte) { w.hear(b) })
}
