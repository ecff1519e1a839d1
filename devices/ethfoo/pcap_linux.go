package ethfoo

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// maxCaptureBytes is how much is held for a reader of pcap that is behind.
const maxCaptureBytes = 4 << 20

// Captures are the opens of pcap: each gets every frame of both directions, whatever connect and headersonly select for others. The zero
// value has none, and costs the frames nothing.
//
//	pump, writers -> render, once -> a queue of bytes for each open -> its reads
type captures struct {
	list atomic.Pointer[[]*capture] // replaced, never changed; nil or empty: nobody looks

	// mu guards the fields below, what list points to against two changes at once, and the order of the frames: it is held around the
	// write(2) of one, which never waits, so that it stands before what the kernel answers to it.
	mu  sync.Mutex
	buf bytes.Buffer     // what w wrote
	w   *pcapgo.NgWriter // nil before the first open

	kind layers.LinkType // of the interface; 0 is Ethernet
	head int             // bytes of each frame that stand before what is captured
}

// A capture is one open of pcap: a queue of blocks (draft-ietf-opsawg-pcapng). It holds no reference to the conversation.
type capture struct {
	*clonefs.Queue
	all  *captures
	seen uint64        // frames since the open; guarded by all.mu
	told atomic.Uint64 // drops that the last statistics block told of; changed with all.mu held
}

var (
	_ clonefs.Stream   = (*capture)(nil)
	_ p9ext.ReadPoller = (*capture)(nil)
	_ p9ext.Reader     = (*capture)(nil)
	_ p9ext.Unreader   = (*capture)(nil)
)

// pcap makes the stream of one open of the file.
func (i *Interface) pcap(context.Context, clonefs.Mode) (clonefs.Stream, error) {
	return i.captures.join(i.lastName())
}

// join adds a capture, which begins with the headers of a section and of the interface called name.
func (c *captures) join(name string) (*capture, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Reset()
	kind := c.kind
	if kind == 0 {
		kind = layers.LinkTypeEthernet
	}
	w, err := pcapgo.NewNgWriterInterface(&c.buf,
		pcapgo.NgInterface{Name: name, LinkType: kind, OS: runtime.GOOS},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "clone9p"}})
	if err != nil {
		return nil, err
	}
	c.w = w // whichever it is: it knows no more than that there is one interface
	n := &capture{Queue: clonefs.NewByteQueue(maxCaptureBytes), all: c}
	n.TryPushOwned(c.taken())
	var old []*capture
	if p := c.list.Load(); p != nil {
		old = *p
	}
	list := append(old[:len(old):len(old)], n)
	c.list.Store(&list)
	return n, nil
}

// become has the captures to come be of another kind. Those there are, whose headers told of the one before, come to their end.
func (c *captures) become(head int, kind layers.LinkType) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head, c.kind = head, kind
	if list := c.list.Swap(new([]*capture)); list != nil {
		for _, n := range *list {
			n.CloseWithError(io.EOF)
		}
	}
}

// Close takes the capture away; what its queue held is dropped.
func (n *capture) Close() error {
	c := n.all
	c.mu.Lock()
	list := make([]*capture, 0, len(*c.list.Load()))
	for _, o := range *c.list.Load() {
		if o != n {
			list = append(list, o)
		}
	}
	c.list.Store(&list)
	c.mu.Unlock()
	return n.Queue.Close()
}

// active reports whether anybody looks.
func (c *captures) active() bool {
	list := c.list.Load()
	return list != nil && len(*list) > 0
}

// received records a frame that can be read.
func (c *captures) received(frame []byte) {
	if c.active() {
		c.mu.Lock()
		c.record(time.Now(), frame, pcapgo.NgEpbFlagDirectionInbound)
		c.mu.Unlock()
	}
}

// send writes frame to t, and records it if t took it.
func (c *captures) send(t *tap, frame []byte) error {
	if !c.active() {
		return t.write(frame)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	err := t.write(frame)
	if err == nil {
		c.record(now, frame, pcapgo.NgEpbFlagDirectionOutbound)
	}
	return err
}

// record gives a frame to every capture that has room for it. c.mu is held.
func (c *captures) record(now time.Time, frame []byte, direction pcapgo.NgEpbFlag) {
	c.buf.Reset()
	frame = frame[min(c.head, len(frame)):]
	// A bytes.Buffer takes everything, and the lengths agree.
	c.w.WritePacketWithOptions(gopacket.CaptureInfo{Timestamp: now, CaptureLength: len(frame), Length: len(frame)}, frame,
		pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: direction}})
	block := c.taken()
	for _, n := range *c.list.Load() {
		n.seen++
		drops := n.Drops()
		if drops == n.told.Load() {
			n.TryPushOwned(block)
			continue
		}
		// What was lost is told where the gap is: with the first block behind it.
		if both := append(n.statistics(now, drops), block...); n.TryPushOwned(both) {
			n.told.Store(drops)
		}
	}
}

// taken returns a copy of what was rendered. c.mu is held.
func (c *captures) taken() []byte {
	c.w.Flush() // into a bytes.Buffer
	return bytes.Clone(c.buf.Bytes())
}

// statistics renders an interface statistics block. n.all.mu is held.
func (n *capture) statistics(now time.Time, drops uint64) []byte {
	n.all.buf.Reset()
	n.all.w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{LastUpdate: now, PacketsReceived: n.seen, PacketsDropped: drops})
	return n.all.taken()
}

// tell has a statistics block say what was lost, when the reader has read all there is and no frame has come to tell it.
func (n *capture) tell() {
	if n.Drops() == n.told.Load() {
		return
	}
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	drops := n.Drops()
	if held, _ := n.Len(); held == 0 && drops != n.told.Load() && n.TryPushOwned(n.statistics(time.Now(), drops)) {
		n.told.Store(drops)
	}
}

// PollRead is p9ext.ReadPoller's.
func (n *capture) PollRead(p []byte, off int64, w p9ext.Waiter) (int, error) {
	m, err := n.Queue.PollRead(p, off, w)
	n.tell()
	return m, err
}

// ReadContext is p9ext.Reader's.
func (n *capture) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	m, err := n.Queue.ReadContext(ctx, p, off)
	n.tell()
	return m, err
}
