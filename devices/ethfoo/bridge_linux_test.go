package ethfoo

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
)

// openOn opens interface n of a device for a test.
func openOn(t *testing.T, d *device, n int) *Interface {
	t.Helper()
	needTAP(t)
	i, err := d.open(t.Context(), n, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

// foreignPort puts a link of somebody else's on a bridge.
func foreignPort(t *testing.T, name, bridge string) netlink.Link {
	t.Helper()
	port := &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(port) })
	on, err := netlink.LinkByName(bridge)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMaster(port, on); err != nil {
		t.Fatal(err)
	}
	return port
}

func TestBridgeGoesWithItsLastMember(t *testing.T) {
	needTAP(t)
	before, files := names(t), openFiles(t)
	d := testDevice(tunDevice)
	i, j := openOn(t, d, 0), openOn(t, d, 1)
	mustSend(t, i, "bridge mine0 create")
	mustSend(t, j, "bridge mine0")
	bridge, err := netlink.LinkByName("mine0")
	if err != nil {
		t.Fatal(err)
	}
	if a := bridge.Attrs(); a.Flags&net.FlagUp == 0 || !isSeal(a.Alias) {
		t.Errorf("the bridge is %v, alias %q", a.Flags, a.Alias)
	}
	mustSend(t, i, "nobridge")
	if !exists("mine0") {
		t.Fatal("it went with its first member")
	}
	mustSend(t, i, "bridge mine0", "bridge mine1 create")
	if !exists("mine0") || !exists("mine1") {
		t.Fatal("one went though there is a member on each")
	}
	mustSend(t, i, "bridge mine0")
	if exists("mine1") {
		t.Error("it stays after its last member went to another")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if !exists("mine0") {
		t.Error("it went with a close though there is a member")
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if after := names(t); after != before {
		t.Errorf("interfaces before %q, after %q", before, after)
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d open files before, %d after", files, n)
	}
}

func TestBridgeStaysForOthers(t *testing.T) {
	d := testDevice(tunDevice)
	i := openOn(t, d, 0)
	mustSend(t, i, "bridge mine0 create")
	port := foreignPort(t, "other0", "mine0")
	mustSend(t, i, "nobridge")
	if !exists("mine0") {
		t.Fatal("it went though somebody else has a port on it")
	}
	if err := netlink.LinkDel(port); err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	// Whatever of ours ends next takes it along.
	j := openOn(t, d, 0)
	mustSend(t, j, "nobridge")
	if exists("mine0") {
		t.Error("it stays though nobody is on it")
	}
}

// Who changes the seal has taken the bridge over; one that nobody of us made was never ours.
func TestBridgesOfOthersStay(t *testing.T) {
	d := testDevice(tunDevice)
	i := openOn(t, d, 0)
	other := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other0"}}
	if err := netlink.LinkAdd(other); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(other)
	mustSend(t, i, "bridge other0 create", "nobridge", "bridge mine0 create")
	mine, err := netlink.LinkByName("mine0")
	if err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(mine)
	if err := netlink.LinkSetAlias(mine, "the uplink"); err != nil {
		t.Fatal(err)
	}
	mustSend(t, i, "nobridge")
	if !exists("other0") || !exists("mine0") {
		t.Errorf("one of them is gone: %s", names(t))
	}
	if d.links.seal != nil {
		t.Error("a seal is kept for nothing")
	}
}

func TestBridgeDeletedFromOutside(t *testing.T) {
	d := testDevice(tunDevice)
	i := openOn(t, d, 0)
	mustSend(t, i, "bridge mine0 create")
	mine, err := netlink.LinkByName("mine0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(mine); err != nil {
		t.Fatal(err)
	}
	mustSend(t, i, "bridge mine0 create")
	if !exists("mine0") {
		t.Error("it was not made anew")
	}
	mustSend(t, i, "nobridge")
	if exists("mine0") || d.links.seal != nil {
		t.Errorf("left behind: %s", names(t))
	}
}

// Many come and go at once; what remains is nothing.
func TestBridgeUnderACrowd(t *testing.T) {
	needTAP(t)
	before := names(t)
	d := testDevice(tunDevice)
	var wg sync.WaitGroup
	for n := range 8 {
		i := openOn(t, d, n)
		wg.Go(func() {
			for k := range 4 {
				if err := send(i, fmt.Sprintf("bridge mine%d create", (n+k)%2)); err != nil {
					t.Error(err)
				}
			}
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if after := names(t); after != before {
		t.Errorf("interfaces before %q, after %q", before, after)
	}
}

// Frames go over the bridge from one interface to the other.
func TestBridgeCarriesFrames(t *testing.T) {
	d := testDevice(tunDevice)
	i, j := openOn(t, d, 0), openOn(t, d, 1)
	mustSend(t, i, "bridge mine0 create", "connect 0x88b5", "up")
	mustSend(t, j, "bridge mine0 create", "connect 0x88b5", "up")
	r, w := openReader(t, j), openWriter(t, i)
	want := frame(100, 7)
	if _, err := w.PollWrite(want, 0, nil); err != nil {
		t.Fatal(err)
	}
	if got := readFrame(t, r); string(got) != string(want) {
		t.Errorf("got %x", got)
	}
}
