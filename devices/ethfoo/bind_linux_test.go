package ethfoo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/gopacket/gopacket/layers"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel pings through a TUN, and the test answers.
func TestBindTUNCarriesPackets(t *testing.T) {
	before, files := names(t), openFiles(t)
	i := makeInterface(t, 0)
	early := openCapture(t, i)
	mustSend(t, i, "bind tun", "add 10.9.0.1/24", "connect 0x800", "up")
	if link, err := netlink.LinkByName("ethfoo0"); err != nil || link.(*netlink.Tuntap).Mode != netlink.TUNTAP_MODE_TUN {
		t.Fatalf("ethfoo0 is %+v, %v; want a TUN", link, err)
	}
	if n, err := early.ReadContext(t.Context(), make([]byte, 1<<16), 0); n == 0 { // the headers of a section of Ethernet, then the end
		t.Errorf("the capture of before begins with %d bytes, %v", n, err)
	}
	if n, err := early.ReadContext(t.Context(), make([]byte, 1<<16), 0); n != 0 || err == nil {
		t.Errorf("the capture of before goes on: %d bytes, %v", n, err)
	}
	early.Close()
	late := openCapture(t, i)

	d := openData(t, i, clonefs.Mode{Read: true, Write: true}).(*duplex)
	ping := exec.Command("ping", "-c", "1", "-W", "10", "10.9.0.2")
	var said bytes.Buffer
	ping.Stdout, ping.Stderr = &said, &said
	if err := ping.Start(); err != nil {
		t.Fatal(err)
	}
	p := readFrame(t, d)
	if p[0]>>4 != 4 || p[9] != unix.IPPROTO_ICMP || !bytes.Equal(p[16:20], []byte{10, 9, 0, 2}) {
		t.Fatalf("read %x, want an echo request in IPv4", p)
	}
	answer := bytes.Clone(p)
	copy(answer[12:], p[16:20])
	copy(answer[16:], p[12:16])
	answer[20] = 0 // echo reply: 8 less, so the checksum is 8 << 8 more
	sum := uint32(binary.BigEndian.Uint16(p[22:])) + 8<<8
	binary.BigEndian.PutUint16(answer[22:], uint16(sum+sum>>16))
	if n, err := d.PollWrite(answer, 0, nil); n != len(answer) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if err := ping.Wait(); err != nil {
		t.Errorf("ping: %v\n%s", err, &said)
	}
	ps, about := packets(t, late, 1)
	seen := 0
	for _, c := range ps {
		if bytes.Equal(c.data, p) || bytes.Equal(c.data, answer) {
			seen++
		}
	}
	if about.LinkType != layers.LinkTypeRaw || seen != 2 {
		t.Errorf("captured %d of 2 packets of link type %v", seen, about.LinkType)
	}
	late.Close()

	// Sizes are those of packets.
	for _, n := range []int{0, 19, 1501, 65536} {
		if _, err := openWriter(t, i).WriteContext(t.Context(), make([]byte, n), 0); err == nil {
			t.Errorf("a packet of %d bytes was taken", n)
		}
	}
	wantErrorOf(t, "bridge", send(i, "bridge mine0 create"), linux.EINVAL, "ethfoo0 is a TUN")
	wantErrorOf(t, "bind", send(i, "bind tun"), linux.EBUSY, "device or object already in use: ethfoo0 is a TUN already")
	if text, err := i.addrText(); err != nil || text != "\n" {
		t.Errorf("addr of a TUN is %q, %v", text, err)
	}
	d.Close()
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

// Two interfaces that carry segments, joined frame by frame: what TCP sends over them arrives whole, and was not cut.
func TestBindGSOCarriesSegments(t *testing.T) {
	i, j := makeInterface(t, 0), makeInterface(t, 1)
	mac, err := i.addrText()
	if err != nil {
		t.Fatal(err)
	}
	other := inNamespace(t)
	mustSend(t, i, "bind gso", "add 10.9.0.1/24", "batch on", "up")
	mustSend(t, j, "bind gso", fmt.Sprintf("netns %d", other.pid), "add 10.9.0.2/24", "up")
	wantErrorOf(t, "bind", send(i, "bind gso"), linux.EBUSY, "device or object already in use: bind gso wants ethfoo0 down")
	if after, err := i.addrText(); after != mac || err != nil {
		t.Errorf("its address was %q, is %q, %v", mac, after, err)
	}
	capture := openCapture(t, j)
	a, b := openData(t, i, clonefs.Mode{Read: true, Write: true}).(*duplex), openData(t, j, clonefs.Mode{Read: true, Write: true}).(*duplex)
	ctx, cancel := context.WithCancel(t.Context())
	var longest atomic.Int64
	var relays sync.WaitGroup
	relays.Go(func() { // from i, in batches
		p := make([]byte, 1<<20)
		for {
			n, err := a.ReadContext(ctx, p, 0)
			if err != nil {
				return
			}
			for rest := p[:n]; len(rest) > 0; {
				frame, after, ok := clonefs.CutBatch(rest)
				if !ok {
					t.Errorf("a read brought no batch")
					return
				}
				longest.Store(max(longest.Load(), int64(len(frame))))
				if _, err := b.WriteContext(ctx, frame, 0); err != nil && ctx.Err() == nil {
					t.Errorf("write a frame of %d bytes: %v", len(frame), err)
				}
				rest = after
			}
		}
	})
	relays.Go(func() {
		p := make([]byte, 1<<17)
		for {
			n, err := b.ReadContext(ctx, p, 0)
			if err != nil {
				return
			}
			if _, err := a.WriteContext(ctx, clonefs.AppendBatch(nil, p[:n]), 0); err != nil && ctx.Err() == nil {
				t.Errorf("write a batch of %d bytes: %v", n, err)
			}
		}
	})
	defer func() {
		cancel()
		relays.Wait()
	}()

	var l net.Listener
	if err := other.do(func() (err error) {
		l, err = net.Listen("tcp", "10.9.0.2:9")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 10<<20)
	rand.Read(sent)
	got := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			got <- nil
			return
		}
		p, _ := io.ReadAll(c)
		c.Close()
		got <- p
	}()
	c, err := net.DialTimeout("tcp", "10.9.0.2:9", patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if !bytes.Equal(<-got, sent) {
		t.Error("something else arrived")
	}
	l.Close()
	if longest.Load() < 3000 {
		t.Errorf("the longest frame had %d bytes: they were cut", longest.Load())
	}
	ps, about := packets(t, capture, 1<<20)
	if about.LinkType != layers.LinkTypeEthernet || len(ps) == 0 || ps[0].data[12] != 8 && ps[0].data[12] != 0x86 {
		t.Errorf("captured %d frames of link type %v", len(ps), about.LinkType)
	}
	wantErrorOf(t, "a frame without a header", func() error { _, err := b.WriteContext(ctx, make([]byte, 23), 0); return err }(), linux.EINVAL, "read or write too small")
}

// What was deleted and renamed from outside is heard of a TUN as well.
func TestBoundTUNIsWatched(t *testing.T) {
	i, hungup := watched(t, 0)
	mustSend(t, i, "bind tun")
	link, err := netlink.LinkByName("ethfoo0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetName(link, "other0"); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "its new name", func() bool { return i.lastName() == "other0" })
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	<-hungup
}

func TestBindRefuses(t *testing.T) {
	i := makeInterface(t, 0)
	for _, c := range []struct {
		line  string
		errno linux.Errno
		text  string
	}{
		{"bind vxlan 0 10.0.0.1", linux.EINVAL, "bad control message: bind wants vxlan ID REMOTE [DEV]: the ID \"0\" is no number from 1 to 16777215"},
		{"bind vxlan 16777216 10.0.0.1", linux.EINVAL, "bad control message: bind wants vxlan ID REMOTE [DEV]: the ID \"16777216\" is no number from 1 to 16777215"},
		{"bind vxlan x 10.0.0.1", linux.EINVAL, "bad control message: bind wants vxlan ID REMOTE [DEV]: the ID \"x\" is no number"},
		{"bind vxlan 1 somewhere", linux.EINVAL, "bad control message: bind wants vxlan ID REMOTE [DEV]: \"somewhere\" is no IP address"},
		{"bind vxlan 1 0.0.0.0", linux.EINVAL, "bad control message: bind wants vxlan ID REMOTE [DEV]: \"0.0.0.0\" is no host's address"},
		{"bind vxlan 1 239.1.1.1", linux.EINVAL, "bad control message: bind wants vxlan ID REMOTE [DEV]: a group of hosts such as 239.1.1.1 is to be found by a link: name it as DEV"},
		{"bind vxlan 1 10.0.0.1 nothere", linux.ENODEV, "there is no interface \"nothere\""},
		{"bind vxlan 1 203.0.113.1", linux.ENETUNREACH, "cannot bind ethfoo0: the server's host has no route to 203.0.113.1"},
	} {
		wantErrorOf(t, c.line, send(i, c.line), c.errno, c.text)
	}
	mustSend(t, i, "up")
	wantErrorOf(t, "bind", send(i, "bind tun"), linux.EBUSY, "device or object already in use: bind tun wants ethfoo0 down")
	mustSend(t, i, "down", "bridge mine0 create")
	wantErrorOf(t, "bind", send(i, "bind vxlan 1 127.0.0.1"), linux.EBUSY, "device or object already in use: ethfoo0 is on a bridge")
}

// pair joins this network namespace and another by a veth, and gives each an address.
func pair(t *testing.T, other *namespaceThread) {
	t.Helper()
	up := func(name, addr string) error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			a, _ := netlink.ParseAddr(addr)
			err = netlink.AddrAdd(link, a)
		}
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "here0"}, PeerName: "there0", PeerNamespace: netlink.NsPid(other.pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(veth) })
	if err := up("here0", "192.0.2.1/24"); err != nil {
		t.Fatal(err)
	}
	if err := other.do(func() error { return up("there0", "192.0.2.2/24") }); err != nil {
		t.Fatal(err)
	}
}

// Two servers on two hosts, and one Ethernet: the hosts ping each other, and a frame written on one is read on the other.
func TestBindVXLANJoinsTwoHosts(t *testing.T) {
	needTAP(t)
	before, files := names(t), openFiles(t)
	other := inNamespace(t)
	pair(t, other)
	var far *exec.Cmd
	var name string
	if err := other.do(func() error {
		far, name = startHolder(t, "bind vxlan 42 192.0.2.1", "add 10.77.0.2/24", "up")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		far.Process.Kill()
		far.Wait()
	}()
	i := makeInterface(t, 5)
	mustSend(t, i, "bind vxlan 42 192.0.2.2", "add 10.77.0.1/24", "up")
	if out, err := exec.Command("ping", "-c", "1", "-W", "10", "-s", "1400", "10.77.0.2").CombinedOutput(); err != nil {
		t.Errorf("ping: %v\n%s", err, out)
	}
	if status, err := i.statusText(); err != nil || !strings.Contains(status, "\nbridge br-ethfoo5\n") ||
		!strings.Contains(status, "\naddress 10.77.0.1/24\n") || !strings.Contains(status, "\nmtu 1450\n") {
		t.Errorf("status, %v:\n%s", err, status)
	}
	// The program here asks who has the far host's address, and hears it.
	mustSend(t, i, "connect 0x806")
	d := openData(t, i, clonefs.Mode{Read: true, Write: true}).(*duplex)
	ask := append(frame(14, 0), 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 77, 0, 9, 0, 0, 0, 0, 0, 0, 10, 77, 0, 2)
	ask[12], ask[13] = 8, 6
	if _, err := d.PollWrite(ask, 0, nil); err != nil {
		t.Fatal(err)
	}
	for {
		if p := readFrame(t, d); bytes.Equal(p[28:32], []byte{10, 77, 0, 2}) && p[21] == 2 {
			break // a reply of the far host's
		}
	}
	wantErrorOf(t, "bind", send(i, "bind vxlan 43 192.0.2.2"), linux.EBUSY, "device or object already in use: bind vxlan wants ethfoo5 down")
	d.Close()
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"ethfoo5", "br-ethfoo5", "vx-ethfoo5"} {
		if exists(gone) {
			t.Errorf("%s is left", gone)
		}
	}
	// The far server is killed: the next one there removes what it left.
	far.Process.Kill()
	far.Wait()
	seal := ""
	if err := other.do(func() error {
		link, err := netlink.LinkByName("vx-" + name)
		if err == nil {
			seal = link.Attrs().Alias
		}
		return err
	}); err != nil || !isSeal(seal) {
		t.Fatalf("the killed server's vxlan link: %v, sealed %q", err, seal)
	}
	next := exec.Command("true")
	if err := other.do(func() error {
		goneSoon(t, name, seal)
		next, _ = startHolder(t, "up")
		for _, gone := range []string{"br-" + name, "vx-" + name} {
			if exists(gone) {
				return fmt.Errorf("%s is left", gone)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	next.Process.Kill()
	next.Wait()
	if link, err := netlink.LinkByName("here0"); err != nil || netlink.LinkDel(link) != nil {
		t.Errorf("here0: %v", err)
	}
	if after := names(t); after != before {
		t.Errorf("interfaces before %q, after %q", before, after)
	}
	other.end()
	if n := openFiles(t); n > files {
		t.Errorf("%d open files before, %d after", files, n)
	}
}

// An overlay is left for a bridge of the user's: then the vxlan link and its bridge go.
func TestLeavingTheOverlay(t *testing.T) {
	i := makeInterface(t, 0)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	mustSend(t, i, "bind vxlan 7 127.0.0.1")
	if link, err := netlink.LinkByName("vx-ethfoo0"); err != nil || link.(*netlink.Vxlan).VxlanId != 7 || link.(*netlink.Vxlan).Port != 4789 ||
		!link.(*netlink.Vxlan).Group.Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("the vxlan link is %+v, %v", link, err)
	}
	mustSend(t, i, "bridge mine0 create")
	for _, gone := range []string{"br-ethfoo0", "vx-ethfoo0"} {
		if exists(gone) {
			t.Errorf("%s is left", gone)
		}
	}
	mustSend(t, i, "nobridge", "bind vxlan 7 127.0.0.1", "nobridge")
	if exists("br-ethfoo0") || exists("vx-ethfoo0") || exists("mine0") {
		t.Errorf("left: %s", names(t))
	}
}
