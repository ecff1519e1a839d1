package ethfoo

import (
	"fmt"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/vishvananda/netlink"
)

// Everything goes on from there: messages, files, frames, a name that somebody there changes.
func TestNetnsMovesTheInterface(t *testing.T) {
	i, hungup := watched(t, 0)
	other := inNamespace(t)
	mustSend(t, i, "bridge mine0 create", fmt.Sprintf("netns %d", other.pid))
	if exists("ethfoo0") {
		t.Error("it is still here")
	}
	if exists("mine0") {
		t.Error("its bridge stays")
	}
	mustSend(t, i, "mtu 1400", "addr 02:00:00:12:34:56", "up", "add 10.9.0.1/24", "route 10.8.0.0/16", "noroute 10.8.0.0/16")
	wantErrorOf(t, "bridge", send(i, "bridge mine0 create"), linux.EXDEV, "ethfoo0 is in another network namespace")
	mustSend(t, i, "nobridge", "connect 0x806")
	r, w := openReader(t, i), openWriter(t, i)
	ask := append(frame(14, 0), 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1)
	ask[12], ask[13] = 8, 6
	if _, err := w.PollWrite(ask, 0, nil); err != nil {
		t.Fatal(err)
	}
	if got := readFrame(t, r); string(got[22:28]) != "\x02\x00\x00\x12\x34\x56" {
		t.Errorf("the answer to who has 10.9.0.1: %x", got)
	}
	err := other.do(func() error {
		link, err := netlink.LinkByName("ethfoo0")
		if err != nil {
			return err
		}
		return netlink.LinkSetName(link, "theirs0")
	})
	if err != nil {
		t.Fatal(err)
	}
	if name, err := i.ifnameText(); name != "theirs0\n" || err != nil {
		t.Errorf("ifname %q, %v", name, err)
	}
	select {
	case err := <-hungup:
		t.Errorf("hung up: %v", err)
	default:
	}
}

// A namespace that nobody is in any more ends, though an interface of ours is in it, and takes that along.
func TestNetnsThatEndsHangsUp(t *testing.T) {
	i, hungup := watched(t, 0)
	other := inNamespace(t)
	mustSend(t, i, fmt.Sprintf("netns %d", other.pid), "up")
	other.end()
	select {
	case <-hungup:
	case <-time.After(patience):
		t.Fatal("nobody has noticed")
	}
	waitUntil(t, "the interface's end", func() bool { _, err := i.tap.Load().ifname(); return err == errGone })
	if _, err := i.link(); err == nil {
		t.Error("it is still to be found")
	}
	select {
	case <-i.pumped:
	case <-time.After(patience):
		t.Error("the pump goes on")
	}
}

func TestDeletedElsewhereHangsUp(t *testing.T) {
	i, hungup := watched(t, 0)
	other := inNamespace(t)
	mustSend(t, i, fmt.Sprintf("netns %d", other.pid))
	err := other.do(func() error {
		link, err := netlink.LinkByName("ethfoo0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-hungup:
		wantError(t, err, linux.EIO, "interface ethfoo0 was deleted from outside")
	case <-time.After(patience):
		t.Fatal("nobody has noticed")
	}
}

func TestNetnsWithItsNameTaken(t *testing.T) {
	i, _ := watched(t, 0)
	other := inNamespace(t)
	if err := other.do(func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "ethfoo0"}})
	}); err != nil {
		t.Fatal(err)
	}
	wantErrorOf(t, "netns", send(i, fmt.Sprintf("netns %d", other.pid)), linux.EBUSY, "device or object already in use: there is an interface ethfoo0 already in")
	mustSend(t, i, "up")
}

func TestNetnsIsForTheSuperuserUnlessConfigured(t *testing.T) {
	alice := tree(t)
	ctl := alice.MustOpen("/ethfoo/clone", p9.ReadWrite)
	wantErrorOf(t, "netns", ctl.Say("netns none-such"), linux.EPERM, "permission denied: netns is for the superuser")
	ctl.Close()

	c := DefaultConfig()
	c.Netns = true
	fs, err := clonefs.New(clonefs.Config{}, newDevice(t, c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close(t.Context()) })
	ctl = clonetest.Attach(t, fs, clonetest.Alice).MustOpen("/ethfoo/clone", p9.ReadWrite)
	wantErrorOf(t, "netns", ctl.Say("netns none-such"), linux.ENOENT, "there is no such thing")
	ctl.Close()
}
