package server

import (
	"net"
	"sync"

	"github.com/clone9p/clone9p/internal/wire"
)

// An outbox is the way of replies to the peer: a queue of chunks in the order in which they were pushed, written by whoever finds
// nobody writing. Nothing holds its lock while the connection is written to.
//
//	push: receiving goroutine (a batch) | runner (woken requests) | workers (requests that had a goroutine)
//	        \                              |                        /
//	         +-----------------> queue ----+-----> one writer at a time: net.Conn
type outbox struct {
	conn  net.Conn
	stats *counters

	mu      sync.Mutex // guards what follows
	room    *sync.Cond // signalled when queued shrinks or the outbox ends
	queue   []chunk
	spare   []chunk // the queue's other backing array
	bufs    net.Buffers
	left    net.Buffers // what WriteTo has not yet written of bufs
	queued  int         // bytes in queue
	writing bool        // somebody is writing
	seq     uint64      // counts writes, for the watchdog
	err     error       // the connection's end; nothing is written after it

	lookedSeq uint64 // what the watchdog saw last
	lookedN   int    // how often it saw that while writing
}

// A chunk is a run of replies. pooled chunks go back to the buffer pool after they were written; the others belong to whoever pushed them,
// who waits for the write (see write).
type chunk struct {
	b      []byte
	pooled *buffer
}

// smallReply is the size up to which a reply is copied to the end of the last chunk instead of being queued by itself.
const smallReply = 8 << 10

// maxQueued is how many bytes of replies may wait for a peer that does not read before the session stops taking its requests.
const maxQueued = 1 << 20

func (o *outbox) init(conn net.Conn, stats *counters) {
	o.conn, o.stats = conn, stats
	o.room = sync.NewCond(&o.mu)
}

// push queues a copy of the small b.
func (o *outbox) push(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.queued += len(b)
	if n := len(o.queue); n > 0 {
		if last := &o.queue[n-1]; last.pooled != nil && cap(last.b)-len(last.b) >= len(b) {
			last.b = append(last.b, b...)
			return
		}
	}
	buf := getBuffer(max(len(b), smallReply))
	o.queue = append(o.queue, chunk{append(buf.b[:0], b...), buf})
}

// pushBuffer queues b, which lies in buf, without copying it; buf belongs to the outbox from now on. It returns how many bytes are queued.
func (o *outbox) pushBuffer(b []byte, buf *buffer) (queued int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		putBuffer(buf)
		return 0
	}
	o.queued += len(b)
	o.queue = append(o.queue, chunk{b, buf})
	return o.queued
}

// pushRead completes and queues the Rread b, which lies in buf: a large one as it is, a small one as a copy, so that it does not hold on to a large buffer.
// buf belongs to the outbox from now on.
func (o *outbox) pushRead(b []byte, buf *buffer) {
	wire.EndRread(b, 0)
	if len(b) > smallReply {
		o.pushBuffer(b, buf)
		return
	}
	o.push(b)
	putBuffer(buf)
}

// flush writes what is queued, unless somebody is at it already.
func (o *outbox) flush() {
	o.mu.Lock()
	if o.writing {
		o.mu.Unlock()
		return
	}
	o.drain()
	o.mu.Unlock()
}

// write writes b after all that is queued and returns when b is no longer needed: written, copied, or in vain.
func (o *outbox) write(b []byte) {
	o.mu.Lock()
	if o.writing {
		o.mu.Unlock()
		o.push(b)
		o.flush() // the writer may have left between the two locks
		return
	}
	if o.err == nil {
		o.queued += len(b)
		o.queue = append(o.queue, chunk{b: b})
		o.drain()
	}
	o.mu.Unlock()
}

// drain writes until the queue is empty. The caller holds o.mu, which drain releases while it writes.
func (o *outbox) drain() {
	o.writing = true
	for len(o.queue) > 0 && o.err == nil {
		q, n := o.queue, o.queued
		o.queue, o.queued = o.spare[:0], 0
		o.seq++
		o.mu.Unlock()
		err := o.writeAll(q)
		o.stats.bytesOut.Add(uint64(n))
		for i := range q {
			if q[i].pooled != nil {
				putBuffer(q[i].pooled)
			}
			q[i] = chunk{}
		}
		if err != nil {
			o.conn.Close() // the receiving goroutine hears of it now, not when the peer sends again
		}
		o.mu.Lock()
		o.spare = q[:0]
		if err != nil && o.err == nil {
			o.stop(err)
		}
		o.room.Broadcast()
	}
	o.writing = false
}

func (o *outbox) writeAll(q []chunk) error {
	if len(q) == 1 {
		_, err := o.conn.Write(q[0].b)
		return err
	}
	o.bufs = o.bufs[:0]
	for _, c := range q {
		o.bufs = append(o.bufs, c.b)
	}
	o.left = o.bufs // WriteTo consumes its receiver; o.bufs keeps the array
	_, err := o.left.WriteTo(o.conn)
	o.left = nil
	clear(o.bufs)
	return err
}

// full reports whether so much is queued that whoever makes replies should wait.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued > maxQueued
}

// waitRoom waits while too much is queued for a peer that does not read. It reports whether the outbox still works.
func (o *outbox) waitRoom() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.queued > maxQueued && o.err == nil {
		o.room.Wait()
	}
	return o.err == nil
}

// end stops the outbox: nothing more is written or kept.
func (o *outbox) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stop(err)
}

// stop is end with o.mu held.
func (o *outbox) stop(err error) {
	if o.err != nil {
		return
	}
	o.err = err
	for _, c := range o.queue {
		if c.pooled != nil {
			putBuffer(c.pooled)
		}
	}
	o.queue, o.queued = nil, 0
	o.room.Broadcast()
}

// looks is the watchdog's look: it reports whether one write has been going on for n looks.
func (o *outbox) looks(n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.writing || o.seq != o.lookedSeq {
		o.lookedSeq, o.lookedN = o.seq, 0
		return false
	}
	o.lookedN++
	return o.lookedN >= n
}

// A buffer is a piece of memory from the pool of its size.
type buffer struct{ b []byte }

// Buffers come in powers of four from 8 KiB; larger ones than the last pool holds are made and forgotten.
const minBuffer = 8 << 10

var bufferPools [5]sync.Pool // 8 KiB, 32 KiB, 128 KiB+, 512 KiB+, 2 MiB

// bufferSlack is room beside a power of two for a message header, so that a read of 128 KiB fits the pool of that name.
const bufferSlack = 64

// getBuffer returns a buffer with room for n bytes.
func getBuffer(n int) *buffer {
	size := minBuffer
	for i := range bufferPools {
		if n <= size+bufferSlack {
			if b, ok := bufferPools[i].Get().(*buffer); ok {
				return b
			}
			return &buffer{make([]byte, size+bufferSlack)}
		}
		size *= 4
	}
	return &buffer{make([]byte, n)}
}

// putBuffer gives a buffer back. Nobody may use it afterwards.
func putBuffer(b *buffer) {
	size := minBuffer
	for i := range bufferPools {
		if len(b.b) == size+bufferSlack {
			bufferPools[i].Put(b)
			return
		}
		size *= 4
	}
}
