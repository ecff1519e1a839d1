package server

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
)

// A request is a T-message that was not answered at once. It is a p9ext.Waiter: devices wake it.
type request struct {
	c     *session
	fid   *fid // nil when the request is about none
	tag   uint16
	typ   wire.Type
	count uint32 // Tread
	off   uint64 // Tread, Twrite
	data  []byte // Twrite: a copy of what is to be written

	// Guarded by c.mu.
	state  reqState
	woken  bool               // Wake came before the request was parked
	dead   bool               // answered or dropped by flush, clunk, version or the end: what its handler brings is given back
	index  int                // in fid.reqs
	cancel context.CancelFunc // of a request with a worker
	timer  *time.Timer        // of a read whose root has patience
	held   int                // bytes of a write, which waits with them
	last   bool               // ends its fid: Tclunk and Tremove, for which there is always room
}

type reqState uint8

const (
	polling reqState = iota // the receiving goroutine tries it
	parked                  // the device has it
	queued                  // it waits for its turn in a lane
	running                 // the runner or a worker is at it
)

// register puts r among the requests in flight. The caller holds c.mu.
func (c *session) register(r *request, s reqState) error {
	if c.work >= c.srv.conf.MaxRequests && !r.last {
		return errTooManyReqs
	}
	if r.typ == wire.Twrite && r.held == 0 {
		r.held = len(r.data)
	}
	if c.held+r.held > max(c.srv.conf.MaxHeld, int(c.srv.conf.MaxMessage)) {
		return errTooMuchHeld
	}
	c.work++
	c.held += r.held
	c.srv.stats.requests.Add(1)
	r.state = s
	c.reqs[r.tag] = r
	if r.fid != nil {
		r.index = len(r.fid.reqs)
		r.fid.reqs = append(r.fid.reqs, r)
		if r.typ == wire.Tread && r.fid.root.patience > 0 && r.fid.stream() {
			c.hurry(r, r.fid.root.patience)
		}
	}
	return nil
}

// hurry has r, a read that waits, answered with nothing when it still waits after d. The caller holds c.mu.
func (c *session) hurry(r *request, d time.Duration) {
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		c.mu.Lock()       // under which t was set, too
		if r.timer != t { // answered, or dead; perhaps another request by now
			c.mu.Unlock()
			return
		}
		delete(c.reqs, r.tag)
		r.leaveFid()
		r.kill()
		var small [wire.DataHeader]byte
		b := wire.BeginRread(small[:0], r.tag)
		wire.EndRread(b, 0)
		c.out.push(b)
		c.mu.Unlock()
		r.bury()
		c.out.flush()
	})
	r.timer = t
}

// settled takes r, which is alive, from the requests in flight: its reply is being queued under the same lock.
// The caller holds c.mu.
func (c *session) settled(r *request) {
	r.stopTimer()
	delete(c.reqs, r.tag)
	r.leaveFid()
	c.gone(r)
}

// gone counts a request that nobody holds any more. The caller holds c.mu.
func (c *session) gone(r *request) {
	c.work--
	c.held -= r.held
	c.srv.stats.requests.Add(-1)
}

func (r *request) leaveFid() {
	if r.fid == nil {
		return
	}
	reqs := r.fid.reqs
	end := len(reqs) - 1
	reqs[r.index] = reqs[end]
	reqs[r.index].index = r.index
	reqs[end] = nil
	r.fid.reqs = reqs[:end]
}

// kill makes r dead: whoever works on it gives back what it got. The caller holds c.mu and has answered or dropped
// the tag, and calls bury when it has released the lock.
func (r *request) kill() {
	if r.dead {
		return
	}
	r.dead = true
	r.stopTimer()
	if r.state == parked {
		r.c.gone(r)
	}
}

func (r *request) stopTimer() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// bury tells the device and the worker of r that it is dead.
func (r *request) bury() {
	if r.cancel != nil {
		r.cancel()
		return
	}
	r.unpoll()
}

func (r *request) unpoll() {
	switch f := r.fid; {
	case f == nil:
	case r.typ == wire.Tread && f.rpoll != nil:
		f.rpoll.Unpoll(r)
	case r.typ == wire.Twrite && f.wpoll != nil:
		f.wpoll.UnpollWrite(r)
	}
}

// flush answers Tflush, on the receiving goroutine and at once. A request that is still in flight is answered with EINTR, and then
// Rflush: no reply of it can follow, because replies are queued under the same lock that takes the tag away.
func (c *session) flush(m *wire.Msg) {
	c.mu.Lock()
	r := c.reqs[m.Oldtag]
	if r != nil {
		delete(c.reqs, m.Oldtag)
		r.leaveFid()
		r.kill()
	}
	c.mu.Unlock()
	if r != nil {
		c.srv.stats.flushes.Add(1)
		if r.typ == wire.Tclunk { // the fid is gone already, and its Close goes on
			c.batch = wire.AppendRclunk(c.batch, m.Oldtag)
		} else {
			c.fail(m.Oldtag, p9ext.ErrInterrupted)
			r.bury()
		}
	}
	c.batch = wire.AppendRflush(c.batch, m.Tag)
}

// Wake implements p9ext.Waiter.
func (r *request) Wake() {
	c := r.c
	c.readyMu.Lock()
	c.ready = append(c.ready, r)
	start := !c.running
	c.running = true
	c.readyMu.Unlock()
	if start {
		go c.run() // ends when nothing is ready
	}
}

// run is the runner: it retries what was woken, in that order, and writes the replies of a round together.
func (c *session) run() {
	for {
		c.readyMu.Lock()
		q := c.ready
		if len(q) == 0 {
			c.running = false
			c.readyMu.Unlock()
			return
		}
		c.ready, c.spare = c.spare[:0], nil
		c.readyMu.Unlock()
		for i, r := range q {
			c.retry(r)
			q[i] = nil
			if c.out.full() { // by a peer that does not read: what else was woken waits in its device
				c.out.flush()
				c.out.waitRoom()
			}
		}
		c.out.flush()
		c.readyMu.Lock()
		c.spare = q[:0]
		c.readyMu.Unlock()
	}
}

// retry polls a woken request again.
func (c *session) retry(r *request) {
	c.mu.Lock()
	switch {
	case r.dead:
		c.mu.Unlock()
		return
	case r.state == polling:
		r.woken = true
		c.mu.Unlock()
		return
	}
	r.state = running
	f := r.fid
	c.mu.Unlock()

	var buf *buffer
	var b []byte
	var n int
	var err error
	if r.typ == wire.Tread {
		buf = getBuffer(wire.DataHeader + int(r.count))
		b = wire.BeginRread(buf.b[:0], r.tag)
		n, err = c.pollRead(f, b[wire.DataHeader:wire.DataHeader+int(r.count)], r)
	} else {
		n, err = c.pollWrite(f, r)
	}

	c.mu.Lock()
	dead := r.dead
	switch {
	case dead:
		c.gone(r)
	case errors.Is(err, p9ext.ErrWait):
		r.state = parked
	case errors.Is(err, p9ext.ErrNoPoll) && r.lane() != nil: // the file changed its mind while the request was parked
		c.line(r.lane(), r)
	case r.typ == wire.Tread:
		n, err = c.readDone(f, b[wire.DataHeader:wire.DataHeader+int(r.count)], r.off, n, err)
		c.settled(r)
		if err != nil {
			c.out.push(c.appendError(nil, r.tag, err))
			break
		}
		c.out.pushRead(b[:wire.DataHeader+n], buf)
		buf = nil
		c.recycle(r)
	default:
		c.settled(r)
		var small [32]byte
		if err != nil {
			c.out.push(c.appendError(nil, r.tag, err))
			break
		}
		c.writeDone(f, r.off, n)
		c.out.push(wire.AppendRwrite(small[:0], r.tag, uint32(n)))
		c.recycle(r)
	}
	c.mu.Unlock()
	if dead {
		switch {
		case errors.Is(err, p9ext.ErrWait):
			r.unpoll()
		case err == nil && r.typ == wire.Tread:
			f.giveBack(b[wire.DataHeader : wire.DataHeader+n])
		}
	}
	if buf != nil {
		putBuffer(buf)
	}
}

// newRequest takes a request from those that were answered, or makes one. The caller holds c.mu.
func (c *session) newRequest() *request {
	if n := len(c.free); n > 0 {
		r := c.free[n-1]
		c.free = c.free[:n-1]
		return r
	}
	return &request{c: c}
}

// maxFree bounds the requests kept for use again.
const maxFree = 256

// recycle keeps a request that its device has woken and forgotten for use again. The caller holds c.mu.
func (c *session) recycle(r *request) {
	if len(c.free) < maxFree {
		*r = request{c: c}
		c.free = append(c.free, r)
	}
}

// park leaves a request, whose poll said ErrWait, to its device.
func (c *session) park(r *request) {
	c.mu.Lock()
	if err := c.register(r, parked); err != nil {
		c.mu.Unlock()
		r.unpoll()
		c.fail(r.tag, err)
		return
	}
	woken := r.woken
	r.woken = false
	c.mu.Unlock()
	if woken {
		r.Wake()
	}
}

// A lane is the queue of requests of one fid and one direction whose file wants one at a time, in order. Guarded by c.mu.
type lane struct {
	queue []*request
	busy  bool // a worker serves the lane
}

// lane returns where r waits when its file cannot poll; nil when it cannot wait either.
func (r *request) lane() *lane {
	switch f := r.fid; {
	case r.typ == wire.Tread && f.reader != nil:
		return &f.reads
	case r.typ == wire.Twrite && f.writer != nil:
		return &f.writes
	}
	return nil
}

// enqueue has a worker serve r after those before it in its lane.
func (c *session) enqueue(l *lane, r *request) {
	c.mu.Lock()
	if err := c.register(r, queued); err != nil {
		c.mu.Unlock()
		c.fail(r.tag, err)
		return
	}
	c.line(l, r)
	c.mu.Unlock()
}

// line puts r, which is registered, at the end of a lane. The caller holds c.mu.
func (c *session) line(l *lane, r *request) {
	r.state = queued
	l.queue = append(l.queue, r)
	if !l.busy {
		l.busy = true
		go c.serveLane(l) // ends with the lane's last request; the end of the session cancels that
	}
}

func (c *session) serveLane(l *lane) {
	for {
		c.mu.Lock()
		var r *request
		for r == nil && len(l.queue) > 0 {
			r = l.queue[0]
			l.queue[0] = nil
			l.queue = l.queue[1:]
			if r.dead {
				c.gone(r)
				r = nil
			}
		}
		if r == nil {
			l.busy, l.queue = false, nil
			c.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancel(c.ctx)
		r.state, r.cancel = running, cancel
		c.mu.Unlock()
		if r.typ == wire.Tread {
			c.workRead(ctx, r)
		} else {
			c.workWrite(ctx, r)
		}
		cancel()
	}
}

// workRead reads for r with a file that may wait.
func (c *session) workRead(ctx context.Context, r *request) {
	f := r.fid
	buf := getBuffer(wire.DataHeader + int(r.count))
	b := wire.BeginRread(buf.b[:0], r.tag)
	p := b[wire.DataHeader : wire.DataHeader+int(r.count)]
	n, err := guard(c, func() (int, error) { return f.reader.ReadContext(ctx, p, int64(r.off)) })
	c.mu.Lock()
	if r.dead {
		c.gone(r)
		c.mu.Unlock()
		if err == nil {
			f.giveBack(p[:n])
		}
		putBuffer(buf)
		return
	}
	n, err = c.readDone(f, p, r.off, n, err)
	c.settled(r)
	if err != nil {
		c.out.push(c.appendError(nil, r.tag, err))
		putBuffer(buf)
	} else {
		c.out.pushRead(b[:wire.DataHeader+n], buf)
	}
	c.mu.Unlock()
	c.flushWith()
}

// workWrite writes for r with a file that may wait.
func (c *session) workWrite(ctx context.Context, r *request) {
	f := r.fid
	n, err := guard(c, func() (int, error) { return f.writer.WriteContext(ctx, r.data, int64(r.off)) })
	c.mu.Lock()
	if r.dead {
		c.gone(r)
		c.mu.Unlock()
		return
	}
	c.settled(r)
	if err != nil {
		c.out.push(c.appendError(nil, r.tag, err))
	} else {
		c.writeDone(f, r.off, n)
		var small [32]byte
		c.out.push(wire.AppendRwrite(small[:0], r.tag, uint32(n)))
	}
	c.mu.Unlock()
	c.flushWith()
}

// flushWith writes what is queued together with what other workers, who are ready to run, have to add: where the messages of one receive
// all need workers, their replies still go out with few system calls.
func (c *session) flushWith() {
	runtime.Gosched()
	c.out.flush()
}

// guard calls a file's method and makes a panic of it an error.
func guard[T any](c *session, fn func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
			err = errPanic
		}
	}()
	return fn()
}

// A result is what a handler brings: how to answer, what to change in the session when the answer is queued, and how to undo
// what was done when the request died meanwhile. Each may be nil.
type result struct {
	reply  func(b []byte) []byte // appends the R-message; nil means one without fields
	commit func() error          // under c.mu; an error of it is the answer, and then undo is called
	after  func()                // when c.mu has been released
	undo   func()
}

// do runs a handler: at once, on the receiving goroutine, when now is true; on a worker otherwise.
// What the handler needs of the message it must have copied. It reports false, and has answered, when too many requests are under way for
// the handler to be called.
func (c *session) do(m *wire.Msg, f *fid, now bool, fn func(ctx context.Context) (result, error)) bool {
	typ, tag := m.Type, m.Tag
	if now {
		res, err := fn(c.ctx)
		if err == nil && res.commit != nil {
			c.mu.Lock()
			err = res.commit()
			c.mu.Unlock()
			if err != nil && res.undo != nil {
				res.undo()
			}
		}
		if err != nil {
			c.fail(tag, err)
			return true
		}
		if res.after != nil {
			res.after()
		}
		c.batch = res.append(c.batch, typ, tag)
		return true
	}
	c.mu.Lock()
	r := &request{c: c, fid: f, tag: tag, typ: typ, held: len(m.Data), last: typ == wire.Tclunk || typ == wire.Tremove}
	if err := c.register(r, running); err != nil {
		c.mu.Unlock()
		c.fail(tag, err)
		return false
	}
	ctx, cancel := context.WithCancel(c.ctx)
	r.cancel = cancel
	c.mu.Unlock()
	go func() { // ends when fn returns, which the end of the session or a flush asks it to
		defer cancel()
		res, err := guard(c, func() (result, error) { return fn(ctx) })
		c.finish(r, res, err)
	}()
	return true
}

func (res *result) append(b []byte, typ wire.Type, tag uint16) []byte {
	if res.reply != nil {
		return res.reply(b)
	}
	return wire.AppendHeader(b, typ.Reply(), tag)
}

// finish answers r with what its worker brought, or undoes that when r is dead.
func (c *session) finish(r *request, res result, err error) {
	c.mu.Lock()
	if r.dead {
		c.gone(r)
		c.mu.Unlock()
		if err == nil && res.undo != nil {
			res.undo()
		}
		return
	}
	c.settled(r)
	done := err == nil
	if done && res.commit != nil {
		err = res.commit()
	}
	if err != nil {
		c.out.push(c.appendError(nil, r.tag, err))
	} else {
		var small [64]byte
		c.out.push(res.append(small[:0], r.typ, r.tag))
	}
	c.mu.Unlock()
	c.flushWith()
	switch {
	case err == nil && res.after != nil:
		res.after()
	case err != nil && done && res.undo != nil:
		res.undo()
	}
}
