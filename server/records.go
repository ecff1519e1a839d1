package server

import (
	"errors"
	"io"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
)

// What a Linux client needs to read records from a file and text from one that was written. Both cures are for v9fs, which believes in
// sizes and refills short reads; sessions of 9P2000 do without unless their attach name asks.
//
// Records: after n bytes for (off, count) v9fs sends Tread(off+n, count-n) before read(2) returns, so that a frame would be held back until the
// buffer is full. On a file of records that continuation is answered with 0 bytes, once. Where the original count was the largest that msize
// allows the kernel caps the remainder again: any count from count-n up to that largest matches.
//
// Written sizes: a write makes v9fs believe that the file is as long as what was written, for every open of that path. A read that
// ends before is ENODATA on 7.3 and an endless loop of Treads on 6.12. The end of a text file is therefore padded with newlines up to
// there; Tgetattr, which tells the client the size anew, and the path's last clunk end that.
//
// With sizes=on and records=off the kernel that believes is not the client: it is a guest's, behind QEMU and a mount of its host, which asks for attributes
// on accounts of its own. Then only the path's last clunk ends that.

// records is the list of continuations to expect on a fid, oldest first.
type records struct{ expected []continuation }

type continuation struct {
	off     uint64
	count   uint32
	largest uint32 // when not 0: up to which count it matches
}

// maxContinuations bounds the list. A client that never sends its continuations (O_NONBLOCK on 6.1) leaves entries behind.
const maxContinuations = 64

// add notes that n bytes were answered to a read of count bytes at off; largest is the largest count that msize allows.
func (r *records) add(off uint64, count, n, largest uint32) {
	e := continuation{off: off + uint64(n), count: count - n}
	if count >= largest {
		e.largest = count
	}
	if len(r.expected) == maxContinuations {
		r.expected = append(r.expected[:0], r.expected[1:]...)
	}
	r.expected = append(r.expected, e)
}

// match reports whether a read of count bytes at off is an expected continuation, and forgets that one.
func (r *records) match(off uint64, count uint32) bool {
	for i, e := range r.expected {
		if off == e.off && (count == e.count || e.largest != 0 && count > e.count && count <= e.largest) {
			r.expected = append(r.expected[:i], r.expected[i+1:]...)
			return true
		}
	}
	return false
}

// A pathState is how far the files of one path of a session were written, and how many fids the path has.
type pathState struct {
	path uint64 // of the qid as walked: opening clone does not change the client's inode
	fids int
	size uint64
}

// enterPath counts a fid of the path. The caller holds c.mu.
func (c *session) enterPath(path uint64) *pathState {
	p := c.paths[path]
	if p == nil {
		p = &pathState{path: path}
		if c.paths == nil {
			c.paths = make(map[uint64]*pathState)
		}
		c.paths[path] = p
	}
	p.fids++
	return p
}

// leavePath is the end of enterPath. The caller holds c.mu.
func (c *session) leavePath(p *pathState) {
	if p == nil {
		return
	}
	if p.fids--; p.fids == 0 {
		delete(c.paths, p.path)
	}
}

// A zeroRun counts identical reads in a row that were answered with nothing: the backstop for a client that believes in more than there is.
type zeroRun struct {
	off   uint64
	count uint32
	n     int
	since time.Time
}

const (
	endlessReads = 64
	endlessTime  = 100 * time.Millisecond
)

// seen counts a read of count bytes at off that is answered with n bytes, and reports whether that makes a run without end.
func (z *zeroRun) seen(off uint64, count uint32, n int) bool {
	switch {
	case n > 0:
		z.n = 0
		return false
	case z.n == 0 || off != z.off || count != z.count:
		*z = zeroRun{off: off, count: count, n: 1, since: time.Now()}
		return false
	}
	if z.n++; z.n < endlessReads {
		return false
	}
	z.n = 0
	return time.Since(z.since) <= endlessTime
}

// readDone makes of what a read of f into p brought what goes over the wire. The caller holds c.mu.
func (c *session) readDone(f *fid, p []byte, off uint64, n int, err error) (int, error) {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		return 0, err
	}
	count := uint32(len(p))
	if f.path != nil && n < len(p) && off+uint64(n) < f.path.size && f.isText() {
		end := int(min(uint64(len(p)), f.path.size-off))
		for i := n; i < end; i++ {
			p[i] = '\n'
		}
		n = end
	}
	if f.root.records && n > 0 && n < len(p) && f.stream() {
		f.records.add(off, count, uint32(n), f.root.msize-wire.IOHeader)
	}
	if f.root.pad && (n == 0 || f.zeros.n > 0) && count > 0 && f.zeros.seen(off, count, n) {
		return 0, errEndlessRead
	}
	return n, nil
}

// sizeTold notes that the client is told the size of f anew. The caller holds c.mu.
func (f *fid) sizeTold() {
	if f.path != nil && f.root.records {
		f.path.size = 0
	}
}

// writeDone notes how far f was written. The caller holds c.mu.
func (c *session) writeDone(f *fid, off uint64, n int) {
	f.zeros.n = 0
	if f.path != nil {
		f.path.size = max(f.path.size, off+uint64(n))
	}
}
