package fusemount

import (
	"context"
	"sync"
	"time"

	"github.com/clone9p/clone9p/client"
)

// What QEMU's -virtfs needs, which opens every file with O_NONBLOCK and O_NOFOLLOW and reads it for a guest.
//
// Both QEMU and the guest's kernel refill a short read: after n bytes for (off, count) QEMU asks for (off+n, count-n) before it answers the guest,
// whose kernel then asks the same, before read(2) returns. Each would wait for the next record. So that continuation is answered
// with 0 bytes, twice. Where the original count was the largest that somebody's message carries the guest's kernel caps the remainder again:
// any count from count-n up to that one matches.
//
// QEMU cannot cancel what it waits for: of a guest's reader that was killed it hears between two system calls only. So a read that waits fails
// with EINTR four times a second, after which QEMU tries it again, unless there is nobody any more.

// retry is how often a read of QEMU's is interrupted.
const retry = 250 * time.Millisecond

// refills are the continuations to expect on an open file.
type refills struct {
	largest uint32 // count that the kernel asks for

	mu       sync.Mutex // guards what follows; a leaf
	expected []refill   // oldest first
}

type refill struct {
	off         uint64
	least, most uint32 // of the count
	left        int    // how often it is still to come
}

// maxRefills bounds the list: a guest that does not ask again leaves entries behind.
const maxRefills = 64

// guestIO is what of a 9P message is no data, and guestPage what messages are multiples of: by them the largest count of a guest is known.
const (
	guestIO   = 24
	guestPage = 4096
)

// add notes that n bytes were answered to a read of count bytes at off.
func (r *refills) add(off uint64, count, n uint32) {
	e := refill{off: off + uint64(n), least: count - n, most: count - n, left: 2}
	if count >= r.largest || (count+guestIO)%guestPage == 0 {
		e.most = count
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.expected) == maxRefills {
		r.expected = append(r.expected[:0], r.expected[1:]...)
	}
	r.expected = append(r.expected, e)
}

// match reports whether a read of count bytes at off is an expected one, and counts it.
func (r *refills) match(off uint64, count uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range r.expected {
		if off != e.off || count < e.least || count > e.most {
			continue
		}
		if r.expected[i].left--; r.expected[i].left == 0 {
			r.expected = append(r.expected[:i], r.expected[i+1:]...)
		}
		return true
	}
	return false
}

// read reads for QEMU.
func (r *refills) read(ctx context.Context, f *client.File, p []byte, off int64) (int, error) {
	if r.match(uint64(off), uint32(len(p))) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, retry)
	defer cancel()
	n, err := f.ReadContext(ctx, short(p), off)
	// What is as long as a message can be is no record, but the beginning of many bytes.
	if n > 0 && n < min(len(short(p)), f.MaxIO()) {
		r.add(uint64(off), uint32(len(p)), uint32(n))
	}
	return n, err
}
