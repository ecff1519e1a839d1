package clonefs

import (
	"context"
	"math/bits"
	"sync"

	"github.com/clone9p/clone9p/p9ext"
)

// A Queue is a bounded queue of records between a driver and one reader (or several that compete): the reading half of a [Stream].
// Push never blocks; when the queue is full the oldest record goes and is counted.
//
// One record is one read. A read shorter than its record truncates it and the rest is lost, as in tap(4); a byte queue
// (see [NewByteQueue]) has no records, and a read takes whatever lies there; with [Queue.SetBatch] it takes several records.
//
// All methods are safe for concurrent use, and none but ReadContext and PushContext waits for anything. In the steady state none allocates:
// the buffers of read records are used again. Readers that wait are served in the order in which they came:
//
//	  records   [ r0 | r1 | r2 ]          the oldest first
//	               |    |    |
//	  waiters   ( w0 , w1 ) |             woken, and not back yet: each has one record reserved, in order
//	                        +-----------> what a newcomer may take
//
//	or, when there are fewer records than waiters:
//
//	  records   [ r0 ]
//	               |
//	  waiters   ( w0 , w1 , w2 )          w0 was woken; w1 and w2 sleep
type Queue struct {
	mu sync.Mutex // guards all below; Wake is called with it held

	ring  []record // circular, its length a power of two or zero
	head  int      // index of the oldest record
	n     int      // records held
	bytes int      // bytes held

	max      int  // records
	maxBytes int  // zero: no limit
	stream   bool // bytes, not records
	batch    bool // a read takes several records, see SetBatch
	batched  bool // it was so at some time

	drops  uint64
	closed bool
	gone   bool  // Close was called: nothing is held any more
	err    error // what a reader gets once closed and empty

	spare      [][]byte // buffers to be used again, the last used last
	spareBytes int      // their capacity

	readers waitlist                   // those who wait; the woken ones come back
	sleeper *sleeper                   // one to be used again
	room    map[chan struct{}]struct{} // who waits in PushContext
}

// A record is what lies in the ring: b[off:].
type record struct {
	b     []byte
	off   int  // what a byte queue's readers have taken
	owned bool // b belongs to this queue alone and may be used again
}

const maxSpare = 64 << 10 // bytes of buffers a queue keeps for later

var (
	_ Stream           = (*Queue)(nil)
	_ p9ext.Reader     = (*Queue)(nil)
	_ p9ext.ReadPoller = (*Queue)(nil)
	_ p9ext.Unreader   = (*Queue)(nil)
)

// NewQueue returns a queue that holds at most max records, at least one.
func NewQueue(max int) *Queue { return &Queue{max: atLeast1(max)} }

// NewByteQueue returns a queue of bytes, of which it holds at most maxBytes: what a read does not take, the next one gets,
// and one read may take what several pushes brought.
func NewByteQueue(maxBytes int) *Queue {
	return &Queue{max: int(^uint(0) >> 1), maxBytes: atLeast1(maxBytes), stream: true}
}

func atLeast1(n int) int {
	if n < 1 {
		return 1
	}
	return n
}

// Push appends a copy of p. It reports false when the queue is closed. An empty p is no record and is ignored.
func (q *Queue) Push(p []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	if len(p) > 0 {
		q.makeRoom(len(p))
		q.add(record{b: append(q.buffer(len(p)), p...), owned: true})
		q.wake()
	}
	return true
}

// PushOwned appends p itself, without a copy; the caller may not change p any more. Several queues may share one p.
func (q *Queue) PushOwned(p []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	if len(p) > 0 {
		q.makeRoom(len(p))
		q.add(record{b: p})
		q.wake()
	}
	return true
}

// TryPushOwned is a PushOwned that drops p, not what is held, when the queue is full. It reports whether p is held now.
func (q *Queue) TryPushOwned(p []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed || len(p) == 0:
		return false
	case q.over(len(p)):
		q.drops++
		return false
	}
	q.add(record{b: p})
	q.wake()
	return true
}

// PushContext is a Push that waits until p fits instead of dropping. It returns the queue's error when it is closed and
// p9ext.ErrInterrupted when ctx ends before; nothing was pushed then. Who waits longest is not necessarily served first.
func (q *Queue) PushContext(ctx context.Context, p []byte) error {
	var room chan struct{}
	for {
		q.mu.Lock()
		switch {
		case q.closed:
			err := q.err
			delete(q.room, room)
			q.mu.Unlock()
			return err
		case len(p) == 0 || !q.over(len(p)):
			if len(p) > 0 {
				q.add(record{b: append(q.buffer(len(p)), p...), owned: true})
				q.wake()
			}
			delete(q.room, room)
			q.mu.Unlock()
			return nil
		}
		if room == nil {
			room = make(chan struct{}, 1)
			if q.room == nil {
				q.room = make(map[chan struct{}]struct{})
			}
			q.room[room] = struct{}{}
		}
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			q.mu.Lock()
			delete(q.room, room)
			q.mu.Unlock()
			return p9ext.ErrInterrupted
		}
	}
}

// SetMax changes how many records are held; the oldest beyond it go.
func (q *Queue) SetMax(max int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.max = atLeast1(max)
	q.trim()
}

// SetMaxBytes limits the bytes held as well; the oldest records beyond it go. Zero is no limit. One record is held however long it is.
func (q *Queue) SetMaxBytes(max int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxBytes = max
	q.trim()
}

// Drops is how many records were dropped because the queue was full.
func (q *Queue) Drops() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.drops
}

// Len is how many records are held, and how many bytes they have.
func (q *Queue) Len() (records, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n, q.bytes
}

// CloseWithError ends the queue: records still held are read first, then err is returned (io.EOF: end of file).
// Only the first end of a queue counts.
func (q *Queue) CloseWithError(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end(err)
}

// Close drops what is held and ends the queue with p9ext.ErrHungup, unless it was ended before.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ring, q.head, q.n, q.bytes = nil, 0, 0, 0
	q.spare, q.spareBytes = nil, 0
	q.gone = true
	q.end(p9ext.ErrHungup)
	return nil
}

// end closes the queue. q.mu is held.
func (q *Queue) end(err error) {
	if !q.closed {
		q.closed, q.err = true, err
	}
	q.wake()
	q.wakePushers()
}

// ReadContext takes the oldest record that is not reserved for a reader who came before, and waits for one. off means nothing.
func (q *Queue) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	if ctx.Err() != nil {
		return 0, p9ext.ErrInterrupted
	}
	q.mu.Lock()
	s := q.sleeper
	q.sleeper = nil
	q.mu.Unlock()
	if s == nil {
		s = &sleeper{make(chan struct{}, 1)}
	}
	for {
		n, err := q.PollRead(p, off, s)
		if err == p9ext.ErrWait {
			select {
			case <-s.c:
				continue
			case <-ctx.Done():
			}
			q.Unpoll(s)
			select { // no Wake comes after Unpoll; one may have come before it
			case <-s.c:
			default:
			}
			n, err = 0, p9ext.ErrInterrupted
		}
		q.mu.Lock()
		q.sleeper = s
		q.mu.Unlock()
		return n, err
	}
}

// PollRead is p9ext.ReadPoller's. off means nothing. A read of no bytes takes nothing and never waits.
func (q *Queue) PollRead(p []byte, off int64, w p9ext.Waiter) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.readers.find(w); e != nil {
		if !e.woken {
			return 0, p9ext.ErrWait
		}
		at := 0
		for f := q.readers.first; f != e && at < q.n; f = f.next {
			at++
		}
		q.readers.forget(e)
		return q.take(p, at)
	}
	if q.readers.woken < q.ready() || q.ended() {
		return q.take(p, q.readers.woken)
	}
	q.readers.park(w)
	return 0, p9ext.ErrWait
}

// Unpoll is p9ext.ReadPoller's. Wake is not called on w any more when it returns.
func (q *Queue) Unpoll(w p9ext.Waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.readers.find(w); e != nil {
		q.readers.forget(e)
		q.wake()
	}
}

// Unread puts p back as the oldest record. It is held even if the queue is full.
func (q *Queue) Unread(p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(p) == 0 || q.gone {
		return
	}
	// The queue may have changed its ways since p was read; by chance no record looks like a batch.
	if q.batched && isBatch(p) {
		q.unreadBatch(p)
	} else {
		q.unread(p)
	}
	q.wake()
}

// unread puts p before the oldest record. q.mu is held.
func (q *Queue) unread(p []byte) {
	q.grow()
	q.head = (q.head - 1) & (len(q.ring) - 1)
	q.ring[q.head] = record{b: append(q.buffer(len(p)), p...), owned: true}
	q.n++
	q.bytes += len(p)
}

// greedy reports whether a reader takes as much as it has room for. q.mu is held.
func (q *Queue) greedy() bool { return q.stream || q.batch }

// ready is how many readers may take something now, woken ones included. q.mu is held.
func (q *Queue) ready() int {
	if q.greedy() && q.n > 0 {
		return 1 // who comes first may take all there is
	}
	return q.n
}

// wake wakes the waiters for whom something lies there, and all when nothing will come any more. q.mu is held.
func (q *Queue) wake() {
	ready := q.ready()
	if q.ended() {
		ready = q.readers.n
	}
	for q.readers.asleep != nil && q.readers.woken < ready {
		q.readers.wake()
	}
}

// ended reports whether nobody needs to wait any more: each reader finds its record, or the end. (Greedy readers
// go on one by one while there is something: how much the first will take is not known.) q.mu is held.
func (q *Queue) ended() bool { return q.closed && (q.n == 0 || !q.greedy()) }

// take copies the record at position at to p and removes it; beyond the records the queue's error stands. q.mu is held.
func (q *Queue) take(p []byte, at int) (int, error) {
	if q.stream {
		at = 0
	}
	if at >= q.n {
		return 0, q.err
	}
	if q.batch {
		return q.takeBatch(p, at)
	}
	if q.stream {
		n := 0
		for n < len(p) && q.n > 0 {
			r := &q.ring[q.head]
			m := copy(p[n:], r.b[r.off:])
			n += m
			r.off += m
			q.bytes -= m
			if r.off == len(r.b) {
				q.remove(0)
			}
		}
		q.wake()
		q.wakePushers()
		return n, nil
	}
	r := &q.ring[(q.head+at)&(len(q.ring)-1)]
	n := copy(p, r.b)
	q.bytes -= len(r.b)
	q.remove(at)
	q.wakePushers()
	return n, nil
}

// remove takes the record at position at out of the ring and keeps its buffer. q.bytes is the caller's. q.mu is held.
func (q *Queue) remove(at int) {
	mask := len(q.ring) - 1
	r := q.ring[(q.head+at)&mask]
	for ; at > 0; at-- {
		q.ring[(q.head+at)&mask] = q.ring[(q.head+at-1)&mask]
	}
	q.ring[q.head] = record{}
	q.head = (q.head + 1) & mask
	q.n--
	if r.owned && q.spareBytes+cap(r.b) <= maxSpare {
		q.spare = append(q.spare, r.b[:0])
		q.spareBytes += cap(r.b)
	}
}

// add appends r. q.mu is held.
func (q *Queue) add(r record) {
	q.grow()
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = r
	q.n++
	q.bytes += len(r.b)
}

// grow makes sure that the ring has a free place. q.mu is held.
func (q *Queue) grow() {
	if q.n < len(q.ring) {
		return
	}
	ring := make([]record, max(4, 2*len(q.ring)))
	for i := range q.n {
		ring[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
	}
	q.ring, q.head = ring, 0
}

// buffer returns an empty buffer for n bytes. q.mu is held.
func (q *Queue) buffer(n int) []byte {
	if i := len(q.spare) - 1; i >= 0 {
		b := q.spare[i]
		q.spare[i] = nil
		q.spare = q.spare[:i]
		q.spareBytes -= cap(b)
		if cap(b) >= n {
			return b
		}
	}
	// Rounded up, so that in mixed traffic one buffer soon fits all; the large ones, which are rare, exactly.
	if n <= 2048 {
		return make([]byte, 0, max(64, 1<<bits.Len(uint(n-1))))
	}
	return make([]byte, 0, n)
}

// over reports whether n bytes more would be too much. q.mu is held.
func (q *Queue) over(n int) bool {
	return q.n > 0 && (q.n >= q.max || q.maxBytes > 0 && q.bytes+n > q.maxBytes)
}

// makeRoom drops the oldest records until n bytes more fit, but leaves every woken waiter something to find. q.mu is held.
func (q *Queue) makeRoom(n int) {
	for q.over(n) && q.n >= q.readers.woken {
		q.drop()
	}
}

// trim drops the oldest records beyond the limits; what is reserved stays. q.mu is held.
func (q *Queue) trim() {
	for q.n > q.readers.woken && (q.n > q.max || q.maxBytes > 0 && q.n > 1 && q.bytes > q.maxBytes) {
		q.drop()
	}
	q.wakePushers()
}

// drop drops the oldest record. q.mu is held.
func (q *Queue) drop() {
	r := &q.ring[q.head]
	q.bytes -= len(r.b) - r.off
	q.remove(0)
	q.drops++
}

// wakePushers has those who wait in PushContext look again. q.mu is held.
func (q *Queue) wakePushers() {
	for c := range q.room {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
