package clonefs

import (
	"encoding/binary"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// BatchHeader is what stands before each record of a batch: its length in 4 bytes, little-endian. A batch is such records, one
// behind the other, and nothing else.
const BatchHeader = 4

// AppendBatch appends record to the batch b.
func AppendBatch(b, record []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(record)))
	return append(b, record...)
}

// CutBatch divides the batch b into its first record and the rest; both are parts of b. ok is false when b does not begin with a whole
// record of one byte at least.
func CutBatch(b []byte) (record, rest []byte, ok bool) {
	if len(b) <= BatchHeader {
		return nil, b, false
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n == 0 || n > uint64(len(b)-BatchHeader) {
		return nil, b, false
	}
	return b[BatchHeader : BatchHeader+n : BatchHeader+n], b[BatchHeader+n:], true
}

// isBatch reports whether b is a batch of one record at least.
func isBatch(b []byte) bool {
	for {
		_, rest, ok := CutBatch(b)
		if !ok || len(rest) == 0 {
			return ok
		}
		b = rest
	}
}

// SetBatch changes what a read takes: when on, as many whole records as it has room for, as a batch (see [BatchHeader]); a read without room for
// the first fails with p9ext.ErrTooSmall and takes nothing. It holds at once, for readers that wait as well. A byte queue has no records
// and stays as it is.
//
// Readers that wait are then woken one by one, each when the one before it has taken what it could.
func (q *Queue) SetBatch(on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stream {
		return
	}
	q.batch = on
	q.batched = q.batched || on
	q.wake() // of one record a read there may be enough for several
}

// PushAllOwned does what PushOwned does for each of records, and wakes readers only then.
func (q *Queue) PushAllOwned(records [][]byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	for _, p := range records {
		if len(p) > 0 {
			q.makeRoom(len(p))
			q.add(record{b: p})
		}
	}
	q.wake()
	return true
}

// takeBatch moves records to p, from position at on, but leaves each woken waiter one. There is one at that position. q.mu is held.
func (q *Queue) takeBatch(p []byte, at int) (int, error) {
	n := 0
	for at < q.n && (n == 0 || q.n > q.readers.woken) {
		b := q.ring[(q.head+at)&(len(q.ring)-1)].b
		if len(p)-n < BatchHeader+len(b) {
			break
		}
		binary.LittleEndian.PutUint32(p[n:], uint32(len(b)))
		n += BatchHeader + copy(p[n+BatchHeader:], b)
		q.bytes -= len(b)
		q.remove(at)
	}
	q.wake()
	q.wakePushers()
	if n == 0 {
		return 0, p9ext.Errorf(linux.EINVAL, "%w: the next record has %d bytes and %d before them",
			p9ext.ErrTooSmall, len(q.ring[(q.head+at)&(len(q.ring)-1)].b), BatchHeader)
	}
	return n, nil
}

// unreadBatch puts the records of the batch p back, in their order. q.mu is held.
func (q *Queue) unreadBatch(p []byte) {
	record, rest, ok := CutBatch(p)
	for held := [][]byte(nil); ; record, rest, ok = CutBatch(rest) {
		if ok {
			held = append(held, record)
			continue
		}
		for i := len(held) - 1; i >= 0; i-- {
			q.unread(held[i])
		}
		return
	}
}
