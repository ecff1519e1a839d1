package ethfoo

import (
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/clonefs"
	"golang.org/x/sys/unix"
)

const (
	ipHeader    = 20 // of IPv4, the shorter one
	etherHeader = 14 // destination, source, type
	vlanTag     = 4  // a frame may carry one beyond the mtu
	frameSlack  = etherHeader + vlanTag

	vnetHeader = 10        // struct virtio_net_hdr, linux/virtio_net.h
	maxSegment = 1<<16 - 1 // the longest IP packet

	allTypes = -1 // no Ethernet type, but all of them

	// maxQueueBytes bounds what a reader that does not read costs, however large the frames: the default queue of the largest fits.
	// Readers of one conversation that are equally far behind hold the same memory.
	maxQueueBytes = 16 << 20
)

// A fanout gives frames to readers: each has a queue, and gets every frame that the conversation selects.
// The zero value selects the frames of type 0; see newFanout.
type fanout struct {
	selected atomic.Int32                     // Ethernet type or allTypes
	headers  atomic.Bool                      // readers get headersOf each frame
	head     atomic.Int32                     // bytes before the frame itself: of a struct virtio_net_hdr, where the interface carries segments
	packets  atomic.Bool                      // the interface is a TUN: what is called a frame here is an IP packet
	batch    atomic.Bool                      // a read and a write carry several frames; changed with mu held
	queues   atomic.Pointer[[]*clonefs.Queue] // of the readers; the slice is replaced, never changed, so that deliver takes no lock

	mu     sync.Mutex // guards the fields below, and what queues points to against two changes at once
	length int        // frames that a queue holds
	gone   uint64     // drops of the queues that are gone
}

func newFanout(length int) *fanout {
	f := &fanout{length: length}
	f.selected.Store(allTypes)
	f.queues.Store(new([]*clonefs.Queue))
	return f
}

// typeOf is the type of an Ethernet frame, or below 1536 the length that IEEE 802.3 has in its place; of an IP packet the type it would have.
func (f *fanout) typeOf(frame []byte) int32 {
	if !f.packets.Load() {
		frame = frame[f.head.Load():]
		return int32(frame[12])<<8 | int32(frame[13])
	}
	if frame[0]>>4 == 6 {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

// least is how many bytes a frame has at least.
func (f *fanout) least() int {
	if f.packets.Load() {
		return ipHeader
	}
	return int(f.head.Load()) + etherHeader
}

// most is how many bytes a frame may have.
func (f *fanout) most(mtu int32) int {
	switch head := int(f.head.Load()); {
	case f.packets.Load():
		return int(mtu)
	case head != 0:
		return head + frameSlack + maxSegment
	}
	return int(mtu) + frameSlack
}

// what a frame is called.
func (f *fanout) what() string {
	if f.packets.Load() {
		return "packet"
	}
	return "frame"
}

// deliver gives frame, an Ethernet frame, to every reader but except, and reports whether there was one. Then the frame belongs
// to the queues, and may not be changed any more.
func (f *fanout) deliver(frame []byte, except *clonefs.Queue) bool {
	if t := f.selected.Load(); t != allTypes && t != f.typeOf(frame) {
		return false
	}
	taken := false
	for _, q := range *f.queues.Load() {
		if q != except && q.PushOwned(frame) {
			taken = true
		}
	}
	return taken
}

// deliverAll gives records, made of frames that are wanted, to every reader. Then they belong to the queues; the slice does not.
func (f *fanout) deliverAll(records [][]byte) {
	for _, q := range *f.queues.Load() {
		q.PushAllOwned(records)
	}
}

// wanted reports whether deliver would give frame to anybody.
func (f *fanout) wanted(frame []byte, except *clonefs.Queue) bool {
	if t := f.selected.Load(); t != allTypes && t != f.typeOf(frame) {
		return false
	}
	queues := *f.queues.Load()
	return len(queues) > 1 || len(queues) == 1 && queues[0] != except
}

// join adds a reader and returns its queue.
func (f *fanout) join() *clonefs.Queue {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := clonefs.NewQueue(f.length)
	q.SetMaxBytes(maxQueueBytes)
	q.SetBatch(f.batch.Load())
	old := *f.queues.Load()
	queues := append(old[:len(old):len(old)], q)
	f.queues.Store(&queues)
	return q
}

// leave takes a reader away. Its drops stay in the count.
func (f *fanout) leave(q *clonefs.Queue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := *f.queues.Load()
	queues := make([]*clonefs.Queue, 0, len(old))
	for _, o := range old {
		if o != q {
			queues = append(queues, o)
		}
	}
	if len(queues) < len(old) {
		f.gone += q.Drops()
	}
	f.queues.Store(&queues)
}

// setLength changes how many frames a queue holds, of those that are and those to come.
func (f *fanout) setLength(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.length = n
	for _, q := range *f.queues.Load() {
		q.SetMax(n)
	}
}

// setBatch has reads carry several frames, of the readers that are and those to come.
func (f *fanout) setBatch(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batch.Store(on)
	for _, q := range *f.queues.Load() {
		q.SetBatch(on)
	}
}

// counts returns how many readers there are, how many frames a queue holds, and how many frames were dropped because a reader was slow.
func (f *fanout) counts() (readers, length int, drops uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	queues := *f.queues.Load()
	drops = f.gone
	for _, q := range queues {
		drops += q.Drops()
	}
	return len(queues), f.length, drops
}

// A slab hands out the memory that frames are read into, cut from larger pieces, so that a frame costs no allocation of its own.
// A frame that nobody took costs no memory either. The pieces begin small and grow, so an interface that is hardly used stays cheap.
// A piece is freed when the last frame in it is: a queue of n frames holds at most those and the two pieces they begin and end in.
// One goroutine owns it.
type slab struct {
	free []byte // of the present piece
	size int    // of the next piece
}

const (
	slabMin = 4 << 10
	slabMax = 64 << 10
)

// room returns n bytes at least, and no more than the piece has.
func (s *slab) room(n int) []byte {
	if len(s.free) < n {
		s.size = min(max(2*s.size, slabMin), slabMax)
		s.free = make([]byte, max(s.size, 2*n))
	}
	return s.free[:n:n]
}

// take cuts the first n bytes off what room returned; they are the caller's now.
func (s *slab) take(n int) []byte {
	p := s.free[:n:n]
	s.free = s.free[n:]
	return p
}
