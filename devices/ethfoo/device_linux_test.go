package ethfoo

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/vishvananda/netlink"
)

func newDevice(t *testing.T, c Config) *clonefs.Device[*Interface] {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	needTAP(t)
	clonetest.Run(t, func(t *testing.T) clonefs.Driver { return newDevice(t, DefaultConfig()) }, clonetest.Options{
		Limited: func(t *testing.T, convs, perUser int) clonefs.Driver {
			c := DefaultConfig()
			c.Limit, c.PerUser = convs, perUser
			return newDevice(t, c)
		},
	})
	if got := names(t); strings.Contains(got, "ethfoo") {
		t.Errorf("left behind: %s", got)
	}
}

// tree serves the device to one user, and is closed at the end.
func tree(t *testing.T) *clonetest.Client {
	t.Helper()
	needTAP(t)
	fs, err := clonefs.New(clonefs.Config{}, newDevice(t, DefaultConfig()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := fs.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return clonetest.Attach(t, fs, clonetest.Alice)
}

func mustSay(t *testing.T, ctl *clonetest.File, text string) {
	t.Helper()
	if err := ctl.Say(text); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

// The whole of it: open clone, have an interface, exchange frames with it, close, have none.
func TestInterfaceThroughTheTree(t *testing.T) {
	alice := tree(t)
	ctl := alice.MustOpen("/ethfoo/clone", p9.ReadWrite)
	number, err := ctl.Number()
	if err != nil {
		t.Fatal(err)
	}
	dir := "/ethfoo/" + number
	mustSay(t, ctl, "add 10.9.0.1/24\nconnect 0x88b5\nup\nlabel mine\n")
	ifname, err := alice.ReadFile(dir + "/ifname")
	if err != nil || ifname != "ethfoo"+number+"\n" {
		t.Errorf("ifname %q, %v", ifname, err)
	}
	rx, tx := alice.MustOpen(dir+"/rx", p9.ReadOnly), alice.MustOpen(dir+"/tx", p9.WriteOnly)
	status, err := alice.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(status, "ethfoo/"+number+" up owner ") || !strings.Contains(status, "\nlabel mine\n") ||
		!strings.Contains(status, "\nreaders 1\n") || !strings.Contains(status, "\naddress 10.9.0.1/24\n") {
		t.Errorf("status:\n%s", status)
	}

	link, err := netlink.LinkByName(strings.TrimSpace(ifname))
	if err != nil {
		t.Fatal(err)
	}
	s := openPacketSocketOn(t, link.Attrs().Index)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := range 3 {
		want := frame(60+n, byte(n))
		s.send(t, want)
		if got, err := rx.Record(ctx); err != nil || got != string(want) {
			t.Errorf("rx: %x, %v", got, err)
		}
	}
	want := frame(100, 9)
	if n, err := tx.Write(ctx, want, 0); n != len(want) || err != nil {
		t.Errorf("tx: %d, %v", n, err)
	}
	for got := s.receive(t); !bytes.Equal(got, want); got = s.receive(t) {
		t.Errorf("the packet socket saw %x", got)
	}

	for _, f := range []*clonetest.File{rx, tx, ctl} {
		if !exists("ethfoo" + number) {
			t.Error("it is gone before the last close")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if exists("ethfoo" + number) {
		t.Error("it is there after the last close")
	}
	_, err = alice.Walk(dir + "/ctl")
	clonetest.CheckError(t, "walk after the last close", err, linux.ENOENT, "file does not exist")
}

// What a client sees of an error: number and text.
func TestErrorsThroughTheTree(t *testing.T) {
	alice := tree(t)
	ctl := alice.MustOpen("/ethfoo/clone", p9.ReadWrite)
	tx := alice.MustOpen("/ethfoo/0/tx", p9.WriteOnly)
	for _, c := range []struct {
		line  string
		errno linux.Errno
		text  string
	}{
		{"fly", linux.EINVAL, "unknown control message: fly"},
		{"up now", linux.EINVAL, "bad control message: up wants no argument"},
		{"mtu", linux.EINVAL, "bad control message: mtu wants N"},
		{"promiscuous maybe", linux.EINVAL, "bad control message: promiscuous wants on|off"},
		{"mtu 1", linux.EINVAL, `bad control message: mtu wants N: "1" is no number from 68 to 65521`},
		{"name lo", linux.EBUSY, "device or object already in use: there is an interface lo already"},
		{"remove 10.9.0.1/24", linux.EADDRNOTAVAIL, "ethfoo0 has no address 10.9.0.1/24: status lists those it has"},
		{"mtu " + strings.Repeat("9", 5000), linux.EINVAL,
			`bad control message: mtu wants N: "` + strings.Repeat("9", 40) + `..." is no number from 68 to 65521`},
	} {
		clonetest.CheckError(t, c.line, ctl.Say(c.line), c.errno, c.text)
	}
	_, err := tx.Write(t.Context(), frame(60, 0), 0)
	clonetest.CheckError(t, "write while down", err, linux.EHOSTDOWN, "interface is down")
	mustSay(t, ctl, "up")
	_, err = tx.Write(t.Context(), make([]byte, 13), 0)
	clonetest.CheckError(t, "short frame", err, linux.EINVAL, "read or write too small: a frame has 14 bytes at least")
	_, err = tx.Write(t.Context(), make([]byte, 1519), 0)
	clonetest.CheckError(t, "long frame", err, linux.EMSGSIZE, "read or write too large: a frame of 1519 bytes, mtu 1500 allows 1518")
}

func TestTakenNameIsPassedOver(t *testing.T) {
	alice := tree(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "ethfoo0"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(bridge)
	ctl := alice.MustOpen("/ethfoo/clone", p9.ReadWrite)
	if n, err := ctl.Number(); n != "1" || err != nil {
		t.Errorf("number %s, %v", n, err)
	}
}

func TestDeletedInterfaceEndsItsConversation(t *testing.T) {
	alice := tree(t)
	ctl := alice.MustOpen("/ethfoo/clone", p9.ReadWrite)
	mustSay(t, ctl, "up")
	rx := alice.MustOpen("/ethfoo/0/rx", p9.ReadOnly)
	link, err := netlink.LinkByName("ethfoo0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for err == nil { // frames of before come first
		_, err = rx.Record(ctx)
	}
	clonetest.CheckError(t, "blocked read", err, linux.EIO, "i/o on hungup channel")
	clonetest.CheckError(t, "message", ctl.Say("up"), linux.EIO, "i/o on hungup channel")
	if convs := alice.Convs("ethfoo"); len(convs) != 0 {
		t.Errorf("conversations %v", convs)
	}
}

// A hundred conversations of one client that goes: their interfaces are gone within a second, as the law of teardown has it.
func TestHundredInterfacesGoTogether(t *testing.T) {
	needTAP(t)
	fs, err := clonefs.New(clonefs.Config{}, newDevice(t, DefaultConfig()))
	if err != nil {
		t.Fatal(err)
	}
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	for range 100 {
		alice.MustOpen("/ethfoo/clone", p9.ReadWrite)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := fs.Close(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("a hundred interfaces gone after %v", time.Since(start))
	if got := names(t); strings.Contains(got, "ethfoo") {
		t.Errorf("left behind: %s", got)
	}
}

func TestMissingCapabilityThroughTheTree(t *testing.T) {
	alice := tree(t)
	var err error
	lacking(t, func() { _, err = alice.Open("/ethfoo/clone", p9.ReadWrite) })
	var e *p9ext.Error
	if !errors.As(err, &e) || e.Errno != linux.EPERM || !strings.Contains(e.Text, "lacks CAP_NET_ADMIN") {
		t.Errorf("error %v", err)
	}
	if convs := alice.Convs("ethfoo"); len(convs) != 0 {
		t.Errorf("conversations %v", convs)
	}
}
