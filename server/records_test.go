package server

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/clone9p/clone9p/internal/wire"
)

// A v9fsRead is one read(2) as Linux carries it out: it refills short reads until its buffer is full or an answer is empty.
type v9fsRead struct {
	off   uint64
	room  int // left in the buffer
	most  int // what one Tread carries
	got   []string
	total int
}

// next is the count of the next Tread.
func (r *v9fsRead) next() uint32 { return uint32(min(r.room, r.most)) }

// answer takes an answer of n bytes of record rec and reports whether read(2) returns now.
func (r *v9fsRead) answer(rec string, n int) bool {
	if n > 0 {
		r.got = append(r.got, rec)
	}
	r.off += uint64(n)
	r.room -= n
	r.total += n
	return n == 0 || r.room == 0
}

// Every read(2) returns exactly one record, whatever the sizes of records, buffers and messages, and with any number of threads that pread
// one descriptor and whose messages come in any order.
//
// One thing no rule can tell apart: a new read that asks what another's continuation would have asked. The threads read at offsets of their own.
func TestRecordsAgainstLinux(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		largest := []int{256, 4096, 8192, 131072}[rnd.IntN(4)] - wire.IOHeader
		threads := 1 + rnd.IntN(4)
		var rec records
		reads := make([]*v9fsRead, threads)
		for i, n := 0, 0; n < 200; {
			// Whose turn it is: a continuation goes out when the client gets to it.
			i = rnd.IntN(threads)
			r := reads[i]
			if r == nil {
				size := 1 + rnd.IntN(2*largest)
				if rnd.IntN(4) == 0 {
					size = largest
				}
				r = &v9fsRead{off: uint64(i) << 32, room: size, most: largest}
				reads[i] = r
			}
			count := r.next()
			var got int
			name := ""
			if !rec.match(r.off, count) {
				n++
				name = fmt.Sprint("record ", n)
				got = min(1+rnd.IntN(largest), int(count))
				if got < int(count) {
					rec.add(r.off, count, uint32(got), uint32(largest))
				}
			}
			// A record as large as msize allows fills its Tread: the kernel goes on with the rest of a larger buffer, and nothing tells it not to.
			// Such a read ends here.
			full := got == int(count) && r.room > got
			if r.answer(name, got) || full {
				if len(r.got) != 1 {
					t.Fatalf("seed %d: a read of %d returned %q", seed, r.total+r.room, r.got)
				}
				reads[i] = nil
			}
		}
		for i, r := range reads { // what is under way gets its end
			if r != nil && len(r.got) > 0 && !rec.match(r.off, r.next()) {
				t.Fatalf("seed %d: the last read of thread %d has no end", seed, i)
			}
		}
		if len(rec.expected) != 0 {
			t.Fatalf("seed %d: %v are still expected", seed, rec.expected)
		}
	}
}

// A client that sends no continuations leaves a bounded list, of the newest.
func TestRecordsAreBounded(t *testing.T) {
	var rec records
	for i := range uint64(10 * maxContinuations) {
		rec.add(i*1000, 100, 10, 8168)
	}
	if len(rec.expected) != maxContinuations || cap(rec.expected) > 4*maxContinuations {
		t.Errorf("%d expected, room for %d", len(rec.expected), cap(rec.expected))
	}
	if rec.match(10, 90) {
		t.Error("the oldest is still expected")
	}
	if last := uint64(10*maxContinuations - 1); !rec.match(last*1000+10, 90) || rec.match(last*1000+10, 90) {
		t.Error("the newest is not expected once")
	}
}
