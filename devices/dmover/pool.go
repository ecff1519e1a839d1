package dmover

import (
	"errors"
	"io"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/clone9p/clone9p/devices/dmover/internal/engine"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

const (
	piece     = 1 << 20 // bytes of a session's requests that are done before another one's turn
	splitWork = 8 << 20 // bytes from which a map over memory is parted among the processors
	taskBytes = 4 << 10 // bytes that a request of fewer counts in a turn

	// A worker that has slept takes some 25 us to come. So much work is not worth it:
	smallWork = 5 * time.Microsecond
	aloneWork = 150 * time.Microsecond // where the session has nothing else outstanding, which others could do meanwhile
)

// stuckTime is how long a piece may take before others work in its place: only one that waits for a file takes so long.
const stuckTime = 100 * time.Millisecond

// maxStuck is how many pieces of one session may be stuck at a time; while they are, the session gets no turn.
const maxStuck = 2

// A pool does the work of all sessions, a piece of one session after a piece of the next. Its workers come when there is work and go when there is none.
//
//	sessions with work   [ s0 | s1 | s2 ]   a worker takes the first, gives it a turn, and puts it behind the others
//	tasks of a session   [ t0 | t1 | t2 ]   in a turn the first, when it is small also those behind it; what has more to do goes behind the others
//
// Small work is done by who brings it, where nobody waits for a turn.
//
// A piece that is stuck, as in a file system whose server does not answer, costs the others nothing: while it is, the pool has one worker more.
type pool struct {
	mu      sync.Mutex // guards all below, and tasks, queued, running, stuck and closed of every session
	ring    []*Session // that have tasks and may have a turn, each once
	workers int
	max     int // workers at most: one a processor, and one for each turn that is stuck
	tasks   int // that wait or run, of all sessions

	processors int64 // never changes

	files    []*turn // over files that are being worked on
	watching bool    // watch will look at them
}

func newPool() *pool {
	n := runtime.GOMAXPROCS(0)
	return &pool{max: n, processors: int64(n)}
}

// A task is a part of a request: bytes at to end of each operand.
type task struct {
	r       *request
	at, end int64

	in [numInputs][]byte // the inputs of the step that is done
}

// next is how many bytes its next step counts.
func (t *task) next() int64 { return max(min(t.end-t.at, t.r.pieceBytes()), taskBytes) }

// abandon ends a task of a session that has ended.
func (t *task) abandon() {
	if t.r.parts.Add(-1) == 0 {
		t.r.release()
	}
}

// A turn is what a worker does when it is a session's turn: a piece of one task, or several small tasks over memory.
type turn struct {
	s     *Session
	tasks []*task
	left  []*task    // of these, with more to do
	done  []*request // that ended with one of these
	room  scratch

	// Of files nobody knows how long it takes.
	files bool
	since time.Time
	stuck bool
}

// take takes the tasks of a turn from s. p.mu is held.
func (w *turn) take(s *Session) {
	first := s.tasks[0]
	n, bytes := 1, first.next()
	w.s, w.files, w.stuck = s, first.r.files, false
	if !w.files {
		for ; n < len(s.tasks) && !s.tasks[n].r.files; n++ {
			if bytes += s.tasks[n].next(); bytes > piece {
				break
			}
		}
	}
	w.tasks = append(w.tasks[:0], s.tasks[:n]...)
	s.tasks = slices.Delete(s.tasks, 0, n)
}

// step does the turn.
func (w *turn) step() {
	w.left, w.done = w.left[:0], w.done[:0]
	for _, t := range w.tasks {
		if t.step(&w.room) {
			w.left = append(w.left, t)
		} else if t.r.parts.Add(-1) == 0 {
			w.done = append(w.done, t.r)
		}
	}
}

// start has requests of s done. They may be done, and answered, when it returns.
func (p *pool) start(s *Session, requests []*request) {
	var work time.Duration
	files := false
	for _, r := range requests {
		if r.f.Outputs == 0 {
			r.fold = r.backend.Fold(r.imm)
		}
		work += r.work()
		files = files || r.files
	}
	atOnce := !files && (work <= smallWork || work <= aloneWork && s.credits.Used() == len(requests))
	p.mu.Lock()
	if atOnce && p.tasks == 0 && !s.closed { // nobody waits for a turn
		p.mu.Unlock()
		for _, r := range requests {
			r.whole.r, r.whole.end = r, r.n
			for r.whole.step(nil) {
			}
		}
		s.finish(requests)
		return
	}
	defer p.mu.Unlock()
	if s.closed {
		for _, r := range requests {
			r.release()
		}
		return
	}
	now := time.Now()
	for _, r := range requests {
		r.begin.Store(&now)
		parts := int64(1)
		if !r.files && r.f.Outputs == 1 && r.n >= splitWork && r.backend.Name != engine.Generic {
			parts = min(p.processors, r.n/r.pieceBytes())
		}
		r.parts.Store(int32(parts))
		p.tasks += int(parts)
		if parts == 1 {
			r.whole.r, r.whole.end = r, r.n
			s.tasks = append(s.tasks, &r.whole)
			continue
		}
		for i := range parts {
			s.tasks = append(s.tasks, &task{r: r, at: r.n * i / parts, end: r.n * (i + 1) / parts})
		}
	}
	p.enqueue(s)
	p.hire()
}

// hire starts workers, as many as have something to do. p.mu is held.
func (p *pool) hire() {
	for p.workers < min(p.max, p.tasks) && len(p.ring) > 0 {
		p.workers++
		go p.work() // ends when there is no work
	}
}

// enqueue puts s behind the others, if it has tasks, may have a turn and is not there. p.mu is held.
func (p *pool) enqueue(s *Session) {
	if !s.queued && len(s.tasks) > 0 && s.stuck < maxStuck {
		s.queued = true
		p.ring = append(p.ring, s)
	}
}

// work is a worker.
func (p *pool) work() {
	var w turn
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ring) > 0 && p.workers <= p.max {
		s := p.ring[0]
		p.ring = slices.Delete(p.ring, 0, 1)
		s.queued = false
		w.take(s)
		p.enqueue(s)
		s.running++
		if w.files {
			w.since = time.Now()
			p.files = append(p.files, &w)
			p.watchSoon()
		}
		p.mu.Unlock()

		w.step()

		p.mu.Lock()
		s.running--
		if w.files {
			p.files = slices.DeleteFunc(p.files, func(o *turn) bool { return o == &w })
			if w.stuck {
				s.stuck--
				p.max--
			}
		}
		if s.closed {
			p.tasks -= len(w.tasks)
			for _, t := range w.left {
				t.abandon()
			}
			for _, r := range w.done {
				r.release()
			}
			if s.running == 0 {
				close(s.idle)
			}
			continue
		}
		p.tasks -= len(w.tasks) - len(w.left)
		s.tasks = append(s.tasks, w.left...)
		p.enqueue(s)
		if len(w.done) > 0 {
			p.mu.Unlock()
			s.finish(w.done)
			runtime.Gosched() // who waited for the responses brings the next requests before the workers have nothing left
			p.mu.Lock()
		}
	}
	p.workers--
}

// watchSoon has watch look at the pieces of files after a while. p.mu is held.
func (p *pool) watchSoon() {
	if !p.watching {
		p.watching = true
		time.AfterFunc(stuckTime, p.watch)
	}
}

// watch finds the pieces that are stuck.
func (p *pool) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watching = false
	for _, t := range p.files {
		if time.Since(t.since) >= stuckTime {
			p.bypass(t)
		}
	}
	if slices.ContainsFunc(p.files, func(t *turn) bool { return !t.stuck }) {
		p.watchSoon()
	}
}

// bypass lets another worker work in the place of the one that does t, and, when it is one too many, gives its session no more turns. p.mu is held.
func (p *pool) bypass(t *turn) {
	if t.stuck {
		return
	}
	t.stuck = true
	t.s.stuck++
	p.max++
	if t.s.stuck >= maxStuck && t.s.queued {
		p.unqueue(t.s)
	}
	p.hire()
}

// unqueue takes s out of the ring. p.mu is held.
func (p *pool) unqueue(s *Session) {
	p.ring = slices.DeleteFunc(p.ring, func(o *Session) bool { return o == s })
	s.queued = false
}

// drop takes the tasks of a session away and lets no more in. The channel is closed when no piece of it is being worked on.
func (p *pool) drop(s *Session) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.closed = true
	p.tasks -= len(s.tasks)
	for _, t := range s.tasks {
		t.abandon()
	}
	s.tasks = nil
	if s.queued {
		p.unqueue(s)
	}
	if s.running == 0 {
		close(s.idle)
	}
	return s.idle
}

// A scratch is the memory through which the bytes of files pass.
type scratch struct{ bufs [numInputs + 1][]byte }

func (s *scratch) room(i, n int) []byte {
	if cap(s.bufs[i]) < n {
		s.bufs[i] = make([]byte, n)
	}
	return s.bufs[i][:n]
}

// step does a piece of the task and reports whether there is more to do. room may be nil where no file takes part and the task is small.
func (t *task) step(room *scratch) (more bool) {
	r := t.r
	if t.at == t.end && r.n > 0 || r.failure() != nil {
		return false
	}
	n, done, err := t.piece(room)
	t.at += n
	r.done.Add(n)
	if err != nil {
		r.fail(err)
		return false
	}
	return !done && t.at < t.end
}

// pieceBytes is how much of each operand is done at a time: less where several pass through memory on their way from or to files.
func (r *request) pieceBytes() int64 {
	if r.files {
		return max(piece/int64(len(r.in)+r.f.Outputs), piece/4)
	}
	if n := int64(r.backend.Piece); r.n >= n {
		return max(piece, n)
	}
	return piece
}

// piece does the next bytes; done says that the rest cannot matter.
func (t *task) piece(room *scratch) (n int64, done bool, err error) {
	r := t.r
	left := t.end - t.at
	if r.kernel && left > 0 {
		n, err, ok := r.kernelPiece(t.at, left)
		if ok {
			return n, false, r.stopped(t.at+n, err)
		}
		r.kernel = false // the file system will not; the only task of the request knows
	}
	size := int(min(left, r.pieceBytes()))
	in := t.in[:len(r.in)]
	for k, o := range r.in {
		if o.file == nil {
			continue
		}
		p := room.room(k, size)
		if m, err := o.file.readAt(p, o.off+t.at); m < size {
			if err == nil || err == io.EOF {
				return 0, false, p9ext.Errorf(linux.EIO, "%s ended after %d bytes: the file was made shorter", o.buffer.name(), t.at+int64(m))
			}
			return 0, false, r.stopped(t.at, p9ext.Errorf(errnoOf(err), "cannot read %s: %w", o.buffer.name(), errnoOf(err)))
		}
		in[k] = p
	}
	var out []byte
	if r.f.Outputs == 1 && r.out.file != nil || r.f.Outputs == 2 {
		if room == nil {
			room = new(scratch)
		}
		out = room.room(numInputs, r.f.Outputs*size)
	}
	done, err = t.compute(in, out, size)
	if err == nil && r.out.file != nil {
		err = r.write(out, t.at, size)
	}
	if err != nil {
		return 0, false, err
	}
	return int64(size), done, nil
}

// lock keeps the buffers whose memory takes part as they are: in the order of their numbers, as who waits for one may hold others.
func (r *request) lock() {
	for set := r.memory; set != 0; set &= set - 1 {
		r.s.buffers[bits.TrailingZeros(set)].mu.RLock()
	}
}

func (r *request) unlock() {
	for set := r.memory; set != 0; set &= set - 1 {
		r.s.buffers[bits.TrailingZeros(set)].mu.RUnlock()
	}
}

// compute does size bytes. in has those of files, and gets those of memory; out is nil where the output is memory and can be made in place.
func (t *task) compute(in [][]byte, out []byte, size int) (done bool, err error) {
	r := t.r
	r.lock()
	defer r.unlock()
	for k, o := range r.in {
		if o.file == nil {
			if in[k], err = o.memory(t.at, size); err != nil {
				return false, err
			}
		}
	}
	if !r.f.IsMap() {
		return r.fold.Add(in), nil
	}
	if out != nil {
		r.backend.Map(out, in, r.imm)
		if r.out.file == nil {
			return false, r.store(out, t.at, size)
		}
		return false, nil
	}
	if out, err = r.out.memory(t.at, size); err != nil {
		return false, err
	}
	r.backend.Map(out, in, r.imm)
	return false, nil
}

// memory is size bytes of the operand from at on. The buffer is locked.
func (o *operand) memory(at int64, size int) ([]byte, error) {
	b := o.buffer
	begin := o.off + at
	if b.file != nil || begin+int64(size) > int64(len(b.mem)) {
		return nil, p9ext.Errorf(linux.EIO, "%s was changed while the request ran", b.name())
	}
	return b.mem[begin : begin+int64(size)], nil
}

// store puts the pieces of the outputs where they belong in memory. The buffer is locked.
func (r *request) store(out []byte, at int64, size int) error {
	for k := range r.f.Outputs {
		p, err := r.out.memory(at+int64(k)*r.n, size)
		if err != nil {
			return err
		}
		copy(p, out[k*size:])
	}
	return nil
}

// write puts the pieces of the outputs where they belong in the file.
func (r *request) write(out []byte, at int64, size int) error {
	for k := range r.f.Outputs {
		m, err := r.out.file.writeAt(out[k*size:(k+1)*size], r.out.off+at+int64(k)*r.n)
		if err != nil {
			return r.stopped(at+int64(m), p9ext.Errorf(errnoOf(err), "%w", errnoOf(err)))
		}
	}
	return nil
}

// stopped says how far a request came. Nothing that was written is taken back.
func (r *request) stopped(at int64, err error) error {
	if err == nil || r.out.file == nil {
		return err
	}
	if said, ok := errors.AsType[*p9ext.Error](err); ok && said.Cause == nil {
		return err
	}
	return p9ext.Errorf(errnoOf(err), "%w, after %d of %d bytes", err, at, r.n)
}
