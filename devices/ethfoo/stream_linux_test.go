package ethfoo

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
)

// openData opens a conversation's data file.
func openData(t testing.TB, i *Interface, m clonefs.Mode) clonefs.Stream {
	t.Helper()
	s, err := i.data(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openReader(t testing.TB, i *Interface) *reader {
	t.Helper()
	return openData(t, i, clonefs.Mode{Read: true}).(*reader)
}

func openWriter(t testing.TB, i *Interface) *writer {
	t.Helper()
	return openData(t, i, clonefs.Mode{Write: true}).(*writer)
}

func TestStreamHasTheHalvesItWasOpenedFor(t *testing.T) {
	i := makeInterface(t, 0)
	for _, m := range []clonefs.Mode{{Read: true}, {Write: true}, {Read: true, Write: true}} {
		s := openData(t, i, m)
		if _, ok := s.(p9ext.ReadPoller); ok != m.Read {
			t.Errorf("%+v: can poll for reading: %v", m, ok)
		}
		if _, ok := s.(p9ext.Reader); ok != m.Read {
			t.Errorf("%+v: can read: %v", m, ok)
		}
		if _, ok := s.(p9ext.Unreader); ok != m.Read {
			t.Errorf("%+v: can unread: %v", m, ok)
		}
		if _, ok := s.(p9ext.WritePoller); ok != m.Write {
			t.Errorf("%+v: can poll for writing: %v", m, ok)
		}
		if _, ok := s.(p9ext.Writer); ok != m.Write {
			t.Errorf("%+v: can write: %v", m, ok)
		}
	}
}

func TestOneFrameARead(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	r, s := openReader(t, i), openPacketSocket(t, i)
	sizes := []int{60, 64, 1514, 15, 590, 14 + 1500}
	for n, size := range sizes {
		s.send(t, frame(size, byte(n)))
	}
	for n, size := range sizes {
		if got, want := readFrame(t, r), frame(size, byte(n)); !bytes.Equal(got, want) {
			t.Errorf("frame %d: got %d bytes %x, want %d", n, len(got), got[:min(len(got), 20)], size)
		}
	}
}

// What a ping of an unknown neighbour does: the kernel's own ARP request comes out.
func TestKernelsARPComesOutAndIsAnswered(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x806", "add 10.9.0.1/24", "up")
	r, w := openReader(t, i), openWriter(t, i)
	const port = 9
	conn, err := net.Dial("udp4", fmt.Sprintf("10.9.0.2:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	request := readFrame(t, r)
	link, err := i.link()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(request[6:12], link.HardwareAddr) || !bytes.Equal(request[38:42], []byte{10, 9, 0, 2}) {
		t.Fatalf("no ARP request for 10.9.0.2: %x", request)
	}
	// Answer it: then the datagram comes out, to the address that was told.
	station := []byte{2, 0, 0, 0, 0, 2}
	answer := append([]byte(nil), request...)
	copy(answer, request[6:12])
	copy(answer[6:], station)
	answer[21] = 2 // reply
	copy(answer[22:], station)
	copy(answer[28:], request[38:42])
	copy(answer[32:], request[22:32])
	mustSend(t, i, "connect 0x800")
	if _, err := w.PollWrite(answer, 0, nil); err != nil {
		t.Fatal(err)
	}
	datagram := readFrame(t, r)
	if !bytes.Equal(datagram[:6], station) || !strings.HasSuffix(string(datagram), "hello") {
		t.Errorf("no datagram to the station: %x", datagram)
	}
}

func TestWrittenFrameArrives(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "up")
	s, w := openPacketSocket(t, i), openWriter(t, i)
	for _, size := range []int{14, 15, 60, 1514, 1518} {
		want := frame(size, byte(size))
		if n, err := w.PollWrite(want, 0, nil); n != size || err != nil {
			t.Fatalf("%d bytes: %d, %v", size, n, err)
		}
		if got := s.receive(t); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: the packet socket saw %d: %x", size, len(got), got[:min(len(got), 20)])
		}
	}
}

func TestFramesThatDoNotFit(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "up")
	w := openWriter(t, i)
	for _, c := range []struct {
		mtu   string
		size  int
		errno linux.Errno
		text  string
	}{
		{"1500", 0, linux.EINVAL, "read or write too small"},
		{"1500", 13, linux.EINVAL, "read or write too small"},
		{"1500", 1519, linux.EMSGSIZE, "read or write too large: a frame of 1519 bytes, mtu 1500 allows 1518"},
		{"1500", 1 << 20, linux.EMSGSIZE, "read or write too large"},
		{"68", 87, linux.EMSGSIZE, "read or write too large"},
		{"9000", 9019, linux.EMSGSIZE, "read or write too large"},
		{"65521", 65540, linux.EMSGSIZE, "read or write too large"},
	} {
		mustSend(t, i, "mtu "+c.mtu)
		p := make([]byte, c.size)
		_, err := w.PollWrite(p, 0, nil)
		if err == p9ext.ErrNoPoll {
			_, err = w.WriteContext(t.Context(), p, 0)
		}
		wantError(t, err, c.errno, c.text)
	}
	for _, c := range []struct {
		mtu  string
		size int
	}{{"68", 86}, {"9000", 9018}, {"65521", 65535}} {
		mustSend(t, i, "mtu "+c.mtu)
		if n, err := w.WriteContext(t.Context(), frame(c.size, 0), 0); n != c.size || err != nil {
			t.Errorf("mtu %s, %d bytes: %d, %v", c.mtu, c.size, n, err)
		}
	}
}

func TestWriteWhileDown(t *testing.T) {
	i := makeInterface(t, 0)
	w := openWriter(t, i)
	_, err := w.PollWrite(frame(60, 0), 0, nil)
	wantError(t, err, linux.EHOSTDOWN, "interface is down")
	mustSend(t, i, "up")
	if _, err := w.PollWrite(frame(60, 0), 0, nil); err != nil {
		t.Error(err)
	}
	mustSend(t, i, "down")
	_, err = w.WriteContext(t.Context(), frame(60, 0), 0)
	wantError(t, err, linux.EHOSTDOWN, "interface is down")
}

// wakeCounter is a waiter that tells of its first Wake.
type wakeCounter chan struct{}

func (w wakeCounter) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

func TestReadWhileDownWaits(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5")
	r := openReader(t, i)
	woken := make(wakeCounter, 1)
	p := make([]byte, 2000)
	if _, err := r.PollRead(p, 0, woken); err != p9ext.ErrWait {
		t.Fatalf("read while down: %v", err)
	}
	mustSend(t, i, "up")
	if _, err := r.PollRead(p, 0, woken); err != p9ext.ErrWait {
		t.Fatalf("read of nothing: %v", err)
	}
	openPacketSocket(t, i).send(t, frame(60, 1))
	<-woken
	if n, err := r.PollRead(p, 0, woken); n != 60 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestShortReadTruncates(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	r := openReader(t, i)
	openPacketSocket(t, i).send(t, frame(100, 1), frame(60, 2))
	p := make([]byte, 20)
	if n, err := r.ReadContext(t.Context(), p, 0); n != 20 || err != nil || !bytes.Equal(p, frame(100, 1)[:20]) {
		t.Errorf("%d, %v: %x", n, err, p)
	}
	if got := readFrame(t, r); !bytes.Equal(got, frame(60, 2)) {
		t.Errorf("then %d bytes: %x", len(got), got)
	}
}

func TestEveryReaderGetsEveryFrameFromItsOpen(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	s := openPacketSocket(t, i)
	first := openReader(t, i)
	s.send(t, frame(60, 1))
	if got := readFrame(t, first); !bytes.Equal(got, frame(60, 1)) {
		t.Errorf("first: %x", got)
	}
	second := openReader(t, i)
	s.send(t, frame(60, 2))
	for name, r := range map[string]*reader{"first": first, "second": second} {
		if got := readFrame(t, r); !bytes.Equal(got, frame(60, 2)) {
			t.Errorf("%s: %x", name, got)
		}
	}
	second.Close()
	s.send(t, frame(60, 3))
	if got := readFrame(t, first); !bytes.Equal(got, frame(60, 3)) {
		t.Errorf("after the second's close: %x", got)
	}
	if _, err := second.ReadContext(t.Context(), make([]byte, 100), 0); !errors.Is(err, p9ext.ErrHungup) {
		t.Errorf("read of a closed stream: %v", err)
	}
}

// With nobody there frames count as sent and are not kept for whoever comes.
func TestNoReader(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	s := openPacketSocket(t, i)
	before, err := i.link()
	if err != nil {
		t.Fatal(err)
	}
	const many = 20
	for range many {
		s.send(t, frame(60, 1))
	}
	waitUntil(t, "frames sent", func() bool {
		after, err := i.link()
		if err != nil {
			t.Fatal(err)
		}
		return after.Statistics.TxPackets >= before.Statistics.TxPackets+many
	})
	r := openReader(t, i)
	s.send(t, frame(60, 2))
	if got := readFrame(t, r); !bytes.Equal(got, frame(60, 2)) {
		t.Errorf("the first reader gets %x", got)
	}
	if _, _, drops := i.frames.counts(); drops != 0 {
		t.Errorf("%d soft overflows", drops)
	}
}

// waitUntil asks until ok says so.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); runtime.Gosched() {
		if time.Since(start) > patience {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func TestSlowReaderLosesTheOldest(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "queue 4", "connect 0x88b5", "up")
	s, slow, quick := openPacketSocket(t, i), openReader(t, i), openReader(t, i)
	const many = 10
	for n := range many {
		s.send(t, frame(60, byte(n)))
		if got := readFrame(t, quick); got[etherHeader] != byte(n) {
			t.Fatalf("the quick reader gets frame %d, want %d", got[etherHeader], n)
		}
	}
	if _, _, drops := i.frames.counts(); drops != many-4 {
		t.Errorf("%d dropped, want %d", drops, many-4)
	}
	for n := many - 4; n < many; n++ {
		if got := readFrame(t, slow); got[etherHeader] != byte(n) {
			t.Errorf("the slow reader gets frame %d, want %d", got[etherHeader], n)
		}
	}
	slow.Close()
	slow.Close()
	if _, _, drops := i.frames.counts(); drops != many-4 {
		t.Errorf("%d dropped after the reader has gone, want %d", drops, many-4)
	}
	if got, _ := i.statsText(); !strings.Contains(got, fmt.Sprintf("\nsoft overflows: %d\n", many-4)) {
		t.Errorf("stats:\n%s", got)
	}
}

func TestConnectSelects(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b7", "up") // not the kernel's own, which may come before the first connect below
	s, r := openPacketSocket(t, i), openReader(t, i)
	other := frame(60, 1)
	other[12], other[13] = 0x88, 0xb6
	for _, c := range []struct {
		line string
		want byte
	}{{"connect 0x88b5", 0xb5}, {"connect 34998", 0xb6}, {"connect 0x88B5", 0xb5}} {
		mustSend(t, i, c.line)
		s.send(t, other, frame(60, 1), other, frame(60, 1))
		for range 2 {
			if got := readFrame(t, r); got[13] != c.want {
				t.Errorf("%s: a frame of type %#x", c.line, newFanout(1).typeOf(got))
			}
		}
		// The last of the four may still be on its way: a mark that comes out shows that it is not.
		mustSend(t, i, "connect 0x88b7")
		mark := frame(60, 1)
		mark[12], mark[13] = 0x88, 0xb7
		s.send(t, mark)
		if got := readFrame(t, r); newFanout(1).typeOf(got) != 0x88b7 {
			t.Errorf("%s: then a frame of type %#x", c.line, newFanout(1).typeOf(got))
		}
	}
}

func TestPromiscuousReadersSeeWhatOthersWrite(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	r, w := openReader(t, i), openWriter(t, i)
	both := openData(t, i, clonefs.Mode{Read: true, Write: true}).(*duplex)
	write := func(w p9ext.WritePoller, mark byte) {
		t.Helper()
		p := frame(60, mark)
		if _, err := w.PollWrite(p, 0, nil); err != nil {
			t.Fatal(err)
		}
		clear(p) // it is the caller's
	}
	write(w, 1) // seen by none
	mustSend(t, i, "promiscuous on")
	write(w, 2)    // seen by both
	write(both, 3) // seen by r: an open does not hear itself
	write(w, 4)
	for _, want := range []byte{2, 3, 4} {
		if got := readFrame(t, r); !bytes.Equal(got, frame(60, want)) {
			t.Errorf("rx: got %x, want mark %d", got, want)
		}
	}
	for _, want := range []byte{2, 4} {
		if got := readFrame(t, both); !bytes.Equal(got, frame(60, want)) {
			t.Errorf("data: got %x, want mark %d", got, want)
		}
	}
	link, err := i.link()
	if err != nil || link.Promisc != 1 {
		t.Errorf("the link's promiscuity is %d, %v", link.Promisc, err)
	}
	mustSend(t, i, "promiscuous off", "promiscuous off")
	write(w, 5)
	openPacketSocket(t, i).send(t, frame(60, 6))
	if got := readFrame(t, r); !bytes.Equal(got, frame(60, 6)) {
		t.Errorf("after off: %x", got)
	}
}

// Somebody raises the mtu from outside, and the watcher has not told yet: the first longer frame is lost and counted, the next ones
// come through; larger writes do at once.
func TestMTUChangedUnheard(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	i.dev.watch.remove(i)
	r, w, s := openReader(t, i), openWriter(t, i), openPacketSocket(t, i)
	if err := netlink.LinkSetMTU(i.ref(), 4000); err != nil {
		t.Fatal(err)
	}
	s.send(t, frame(4014, 1), frame(4014, 2))
	if got := readFrame(t, r); !bytes.Equal(got, frame(4014, 2)) {
		t.Errorf("%d bytes: %x", len(got), got[:20])
	}
	if i.cut.Load() != 1 {
		t.Errorf("%d frames were cut", i.cut.Load())
	}
	if err := netlink.LinkSetMTU(i.ref(), 6000); err != nil {
		t.Fatal(err)
	}
	p := frame(6018, 1)
	if _, err := w.PollWrite(p, 0, nil); err != p9ext.ErrNoPoll {
		t.Errorf("a frame larger than the mtu last seen: %v", err)
	}
	if n, err := w.WriteContext(t.Context(), p, 0); n != len(p) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// The watcher tells of changes from outside without a question.
func TestChangesFromOutsideAreHeard(t *testing.T) {
	i := makeInterface(t, 0)
	if err := netlink.LinkSetMTU(i.ref(), 4000); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetName(i.ref(), "other0"); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the watcher", func() bool { return i.mtu.Load() == 4000 && i.lastName() == "other0" })
}

// However long the queue, what a reader holds is bounded in bytes.
func TestQueueIsBoundedInBytes(t *testing.T) {
	f := newFanout(defaultMaxQueue)
	q := f.join()
	const size = 65535
	for range 2 * maxQueueBytes / size {
		f.deliver(make([]byte, size), nil)
	}
	if records, bytes := q.Len(); bytes > maxQueueBytes || records < defaultQueue-1 {
		t.Errorf("%d frames, %d bytes", records, bytes)
	}
	if _, _, drops := f.counts(); drops == 0 {
		t.Error("nothing counts as dropped")
	}
}
