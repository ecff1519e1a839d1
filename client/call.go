package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// A call is one request, from its tag to its answer.
//
//	           reply                      settle, done
//	waiting --------------> answered ------------------> the caller returns
//	  |   context ends                         ^
//	  |   (Tflush)     reply, or Rflush        |
//	  +-> flushing ----------------------------+
//	         |                 reply, or Rflush
//	         +-> abandoned ----------------------------> late
//	      FlushTimeout
//
// A tag is free again when its reply has come and no Tflush names it; after a Tflush, when Rflush has come.
type call struct {
	want wire.Type               // the reply that means success
	buf  []byte                  // where the data of Rread or Rreaddir goes
	take func(m *wire.Msg) error // what else to do with the reply; m is valid during the call only
	late func(m *wire.Msg)       // what to do when an abandoned call is over: m is the reply if it succeeded, else nil

	done    chan struct{} // gets one token when n, err and refused are set
	n       int           // bytes read or written
	err     error
	refused bool // err is what the server said

	tag uint16
	old *call // of a Tflush: the call that it cancels

	// Guarded by Conn.mu.
	answered bool // the reply, Rflush or the end of the connection has come
	kept     bool // a Tflush names it, or will: its tag stays taken until Rflush

	// Set by the caller alone, who may read them without the lock; guarded by Conn.mu for all others.
	flushing  bool // it was cancelled
	abandoned bool // nobody waits for it
}

// An errand is a message that nobody waits for: a Tflush of old, or else a Tclunk of file.
type errand struct {
	old  *call
	file *File
}

// maxTags is how many tags there are: all numbers but NoTag.
const maxTags = wire.NoTag

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newCall(want wire.Type) *call {
	k := calls.Get().(*call)
	k.want = want
	return k
}

// release gives a call back that is over. One that was flushed may still be named by the Tflush and is left to the garbage collector.
func (k *call) release() {
	if !k.flushing {
		*k = call{done: k.done}
		calls.Put(k)
	}
}

// errFlushed is the result of a call whose Rflush came without a reply before it.
var errFlushed = errors.New("client: flushed")

// interrupted is what a cancelled call returns.
func interrupted(ctx context.Context) error {
	return &p9ext.Error{Errno: linux.EINTR, Text: p9ext.ErrInterrupted.Text, Cause: context.Cause(ctx)}
}

// do sends m as the request of k and waits for the answer or for ctx, as the package comment says. What the answer was
// is in k; the caller releases it.
func (c *Conn) do(ctx context.Context, m *wire.Msg, k *call) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err := c.register(ctx, k); err != nil {
		return err
	}
	m.Tag = k.tag
	if err := c.put(ctx, m); err != nil {
		return c.unsent(k, err)
	}
	select {
	case <-k.done:
		return k.err
	case <-ctx.Done():
		return c.cancel(ctx, k)
	}
}

// cancel flushes a call whose context has ended.
func (c *Conn) cancel(ctx context.Context, k *call) error {
	c.mu.Lock()
	if !k.answered {
		k.flushing, k.kept = true, true
		c.errands = append(c.errands, errand{old: k})
		c.pump()
	}
	c.mu.Unlock()
	timeout := time.NewTimer(c.flushTimeout)
	defer timeout.Stop()
	select {
	case <-k.done:
	case <-timeout.C:
		c.mu.Lock()
		if !k.answered {
			k.abandoned = true
			c.mu.Unlock()
			return interrupted(ctx)
		}
		c.mu.Unlock()
		<-k.done
	}
	err := k.err
	if err == errFlushed || errors.Is(err, linux.EINTR) {
		err = interrupted(ctx)
	}
	return err
}

// register gives k a tag, for which it waits where there is none.
func (c *Conn) register(ctx context.Context, k *call) error {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	if c.takeTag(k, len(c.waiting) > 0) {
		c.mu.Unlock()
		return nil
	}
	turn := make(chan uint16, 1)
	c.waiting = append(c.waiting, turn)
	c.mu.Unlock()
	select {
	case k.tag = <-turn:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil {
			return c.err
		}
		c.calls[k.tag] = k
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, w := range c.waiting {
		if w == turn {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			return interrupted(ctx)
		}
	}
	if c.err == nil {
		c.freeTag(<-turn)
	}
	return interrupted(ctx)
}

// spare is how many tags are free.
func (c *Conn) spare() int { return len(c.tags) + maxTags - len(c.calls) }

// nextTag takes a free tag; the caller holds c.mu and knows that there is one.
func (c *Conn) nextTag() uint16 {
	if n := len(c.tags); n > 0 {
		tag := c.tags[n-1]
		c.tags = c.tags[:n-1]
		return tag
	}
	c.calls = append(c.calls, nil)
	return uint16(len(c.calls) - 1)
}

// takeTag gives k a tag if one is free beside the one that is kept for errands, and nobody is before it. The caller holds c.mu.
func (c *Conn) takeTag(k *call, queue bool) bool {
	if queue || c.spare() <= 1 {
		return false
	}
	k.tag = c.nextTag()
	c.calls[k.tag] = k
	return true
}

// freeTag makes a tag free. The caller holds c.mu and calls pump.
func (c *Conn) freeTag(tag uint16) {
	c.calls[tag] = nil
	c.tags = append(c.tags, tag)
	c.pump()
}

// pump sends the errands for which there are tags, and then hands tags to calls that wait. The caller holds c.mu.
func (c *Conn) pump() {
	for len(c.errands) > 0 && c.spare() > 0 {
		e := c.errands[0]
		c.errands = c.errands[1:]
		var m wire.Msg
		var k *call
		switch {
		case e.old == nil:
			m = wire.Msg{Type: wire.Tclunk, Fid: e.file.fid}
			k = &call{want: wire.Rclunk, abandoned: true, late: func(*wire.Msg) { e.file.forget() }}
		case e.old.answered:
			// It was answered while the Tflush waited for a tag; its own was kept.
			c.calls[e.old.tag] = nil
			c.tags = append(c.tags, e.old.tag)
			continue
		default:
			m = wire.Msg{Type: wire.Tflush, Oldtag: e.old.tag}
			k = &call{want: wire.Rflush, abandoned: true, old: e.old}
		}
		k.tag = c.nextTag()
		c.calls[k.tag] = k
		m.Tag = k.tag
		c.out.errand(c.dialect, &m)
	}
	for len(c.waiting) > 0 && c.spare() > 1 {
		c.waiting[0] <- c.nextTag()
		c.waiting = c.waiting[1:]
	}
}

// unsent takes back a call whose message was not sent because of err.
func (c *Conn) unsent(k *call, err error) error {
	c.mu.Lock()
	if k.answered { // by the end of the connection, or by a server that answers what it was not asked
		if c.err != nil {
			err = c.err
		}
		c.mu.Unlock()
		<-k.done
		return err
	}
	c.freeTag(k.tag)
	c.mu.Unlock()
	return err
}

// clunk lets the server forget a file that nobody wants. It does not wait.
func (c *Conn) clunk(f *File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.errands = append(c.errands, errand{file: f})
		c.pump()
	}
}

// newFid takes a fid that is free.
func (c *Conn) newFid() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.fids); n > 0 {
		fid := c.fids[n-1]
		c.fids = c.fids[:n-1]
		return fid
	}
	c.nextFid++
	return c.nextFid - 1
}

// freeFid makes a fid free that the server has forgotten.
func (c *Conn) freeFid(fid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fids = append(c.fids, fid)
}

// reply takes what the server sent. An error is one of the server, which breaks the protocol.
func (c *Conn) reply(m *wire.Msg) error {
	c.mu.Lock()
	var k *call
	if int(m.Tag) < len(c.calls) {
		k = c.calls[m.Tag]
	}
	failed := m.Type == wire.Rerror || m.Type == wire.Rlerror
	switch {
	case k == nil || k.answered:
		c.mu.Unlock()
		return fmt.Errorf("the server sent %v with tag %d, which no request has", m.Type, m.Tag)
	case m.Type != k.want && !failed:
		c.mu.Unlock()
		return fmt.Errorf("the server sent %v where %v is due", m.Type, k.want)
	}
	k.answered = true
	flushed := k.old
	switch {
	case flushed == nil:
	case failed && !flushed.answered:
		// A server that knows no Tflush: the old call's reply is still to come.
		flushed.kept = false
		flushed = nil
	default:
		// Nothing will come for the old call. Where its reply came first it is over already.
		c.calls[flushed.tag] = nil
		c.tags = append(c.tags, flushed.tag)
		if flushed.answered {
			flushed = nil
		} else {
			flushed.answered = true
		}
	}
	if !k.kept {
		c.freeTag(k.tag)
	}
	abandoned, flushedAbandoned := k.abandoned, flushed != nil && flushed.abandoned
	c.mu.Unlock()

	if flushed != nil {
		if flushedAbandoned {
			if flushed.late != nil {
				flushed.late(nil)
			}
		} else {
			flushed.err = errFlushed
			flushed.done <- struct{}{}
		}
	}
	switch {
	case !abandoned:
		err := k.settle(c, m, failed)
		k.done <- struct{}{}
		return err
	case k.late != nil && failed:
		k.late(nil)
	case k.late != nil:
		k.late(m)
	}
	return nil
}

// settle puts what m says into k.
func (k *call) settle(c *Conn, m *wire.Msg, failed bool) error {
	switch {
	case failed:
		k.err, k.refused = replyError(c.dialect, m), true
	case m.Type == wire.Rread || m.Type == wire.Rreaddir:
		if len(m.Data) > len(k.buf) {
			err := fmt.Errorf("the server sent %d bytes where %d were asked for", len(m.Data), len(k.buf))
			k.err = lost(err)
			return err
		}
		k.n = copy(k.buf, m.Data)
	case m.Type == wire.Rwrite:
		k.n = int(min(m.Count, math.MaxInt32))
	case k.take != nil:
		k.err = k.take(m)
	}
	return nil
}
