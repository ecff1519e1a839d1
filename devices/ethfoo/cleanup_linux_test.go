package ethfoo

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// makeBridgeOf makes a bridge with that alias, none when it is empty.
func makeBridgeOf(t *testing.T, name, alias string) {
	t.Helper()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(bridge) })
	if alias == "" {
		return
	}
	if err := netlink.LinkSetAlias(bridge, alias); err != nil {
		t.Fatal(err)
	}
}

// deadSeal is the seal of a server that never was.
func deadSeal() string { return sealPrefix + rand.Text()[:sealRandom] }

// goneSoon waits for the kernel to remove what a process that was killed had: an interface and a seal.
func goneSoon(t *testing.T, name, text string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if !exists(name) {
			if s, err := takeSeal(text); err == nil {
				s.close()
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s or its server's seal stays", name)
		}
	}
}

// What a killed server left goes with the first open of the next one; all that is another's stays.
func TestFirstOpenCleansUpAfterAKilledServer(t *testing.T) {
	needTAP(t)
	before, files := names(t), openFiles(t)
	cmd, name := startHolder(t, "bridge dead0 create", "bridge dead1 create", "bridge dead0 create")
	makeBridgeOf(t, "plain0", "")
	makeBridgeOf(t, "alias0", "the uplink")
	makeBridgeOf(t, "port0", deadSeal())
	foreignPort(t, "other0", "port0")
	alive := openOn(t, testDevice(tunDevice), 1)
	mustSend(t, alive, "bridge alive0 create")
	if !exists("dead0") {
		t.Fatal("the bridge went while its owner lives")
	}
	owner, err := newSeal() // of a server that has made its bridge and not joined it yet
	if err != nil {
		t.Fatal(err)
	}
	defer owner.close()
	files++
	makeBridgeOf(t, "alive1", owner.text)
	dead, err := netlink.LinkByName("dead0")
	if err != nil {
		t.Fatal(err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	goneSoon(t, name, dead.Attrs().Alias)
	if !exists("dead0") {
		t.Fatal("the bridge went with its server: there is nothing to test")
	}
	makeBridgeOf(t, "dead2", dead.Attrs().Alias) // two bridges of one server: the seal speaks for both

	i := openOn(t, testDevice(tunDevice), 2)
	for _, name := range []string{"dead0", "dead2"} {
		if exists(name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range []string{"plain0", "alias0", "port0", "alive0", "alive1", "other0", alive.lastName()} {
		if !exists(name) {
			t.Errorf("%s is gone", name)
		}
	}

	i.Close()
	alive.Close()
	for _, name := range []string{"plain0", "alias0", "port0", "alive1", "other0"} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := names(t); after != before {
		t.Errorf("interfaces before %q, after %q", before, after)
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d open files before, %d after", files, n)
	}
}

// A bridge with ports is looked at again by later opens until it is gone, though not by each of many, and then nothing is any more.
func TestCleansUpUntilNothingRemains(t *testing.T) {
	needTAP(t)
	d := testDevice(tunDevice)
	makeBridgeOf(t, "dead0", deadSeal())
	port := foreignPort(t, "other0", "dead0")
	openOn(t, d, 0)
	if !exists("dead0") {
		t.Fatal("it went though somebody has a port on it")
	}
	if d.links.cleaned.Load() {
		t.Error("nobody will look again")
	}
	if err := netlink.LinkDel(port); err != nil {
		t.Fatal(err)
	}
	d.links.looked = time.Now()
	openOn(t, d, 1)
	if !exists("dead0") {
		t.Error("the next open looked at once")
	}
	d.links.looked = time.Time{}
	openOn(t, d, 3)
	if exists("dead0") {
		t.Error("it stays though nobody is on it")
	}
	if !d.links.cleaned.Load() {
		t.Error("the next open will look again")
	}
	makeBridgeOf(t, "dead1", deadSeal())
	openOn(t, d, 2)
	if !exists("dead1") {
		t.Error("an open looked though nothing remained")
	}
}
