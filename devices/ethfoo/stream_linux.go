package ethfoo

import (
	"context"
	"io/fs"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// What an open of data, rx or tx can do.
var (
	_ p9ext.ReadPoller  = (*reader)(nil)
	_ p9ext.Reader      = (*reader)(nil)
	_ p9ext.Unreader    = (*reader)(nil)
	_ p9ext.WritePoller = (*writer)(nil)
	_ p9ext.Writer      = (*writer)(nil)
	_ clonefs.Stream    = (*duplex)(nil)
)

// A reader is the reading half of an open: a queue that the pump fills.
type reader struct {
	*clonefs.Queue
	i *Interface
}

// Close takes the reader away; what its queue held is dropped.
func (r *reader) Close() error {
	r.i.frames.leave(r.Queue)
	return r.Queue.Close()
}

// A writer is the writing half of an open: each write is one frame, or a batch of them, straight to write(2).
type writer struct {
	i    *Interface
	self *clonefs.Queue // of the same open; it does not hear itself
}

// Close does nothing; a writer holds nothing.
func (w *writer) Close() error { return nil }

// A duplex is an open for both.
type duplex struct {
	*reader
	*writer
}

// Close closes the reading half.
func (d *duplex) Close() error { return d.reader.Close() }

// data makes the stream of one open of data, rx or tx.
func (i *Interface) data(_ context.Context, m clonefs.Mode) (clonefs.Stream, error) {
	switch {
	case m.Read && m.Write:
		r := &reader{i.frames.join(), i}
		return &duplex{r, &writer{i, r.Queue}}, nil
	case m.Read:
		return &reader{i.frames.join(), i}, nil
	}
	return &writer{i, nil}, nil
}

// errDown is the answer to a write while the link is down, as in tap(4).
var errDown = p9ext.Errorf(linux.EHOSTDOWN, "interface is down")

// PollWrite sends one frame, or a batch, at once. What wants a question to the kernel, a pause or much time is left to WriteContext.
func (w *writer) PollWrite(p []byte, _ int64, _ p9ext.Waiter) (int, error) {
	if w.i.frames.batch.Load() {
		return w.pollBatch(p)
	}
	err := w.measure(len(p))
	if err == nil {
		err = w.send(p)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// measure tells whether a frame of n bytes may be sent. ErrNoPoll: it is too large for the mtu last seen, fits finds out.
func (w *writer) measure(n int) error {
	if least := w.i.frames.least(); n < least {
		return p9ext.Errorf(linux.EINVAL, "%w: a %s has %d bytes at least", p9ext.ErrTooSmall, w.i.frames.what(), least)
	}
	if n > w.i.frames.most(w.i.mtu.Load()) {
		return p9ext.ErrNoPoll
	}
	return nil
}

// fits tells whether a frame of n bytes may be sent, by the present mtu.
func (w *writer) fits(n int) error {
	err := w.measure(n)
	if err != p9ext.ErrNoPoll {
		return err
	}
	link, err := w.i.link()
	if err == nil && n > w.i.frames.most(int32(link.MTU)) {
		err = p9ext.Errorf(linux.EMSGSIZE, "%w: a %s of %d bytes, mtu %d allows %d",
			p9ext.ErrTooLarge, w.i.frames.what(), n, link.MTU, w.i.frames.most(int32(link.MTU)))
	}
	return err
}

// send sends one frame. ErrNoPoll: the kernel has no room for the moment.
func (w *writer) send(p []byte) error {
	switch err := w.i.captures.send(w.i.tap.Load(), p); err {
	case nil:
	case unix.EAGAIN:
		return p9ext.ErrNoPoll
	case unix.EIO:
		return errDown
	case errGone:
		return w.i.deleted()
	case fs.ErrClosed:
		return p9ext.ErrHungup
	default:
		return p9ext.Errorf(errnoOf(err), "cannot send a %s of %d bytes through %s: %w", w.i.frames.what(), len(p), w.i.lastName(), errnoOf(err))
	}
	if w.i.promisc.Load() && w.i.frames.wanted(p, w.self) {
		w.echo(p)
	}
	return nil
}

// sendWaiting sends one frame, when the kernel has room.
func (w *writer) sendWaiting(ctx context.Context, p []byte) error {
	for {
		err := w.send(p)
		if err != p9ext.ErrNoPoll {
			return err
		}
		// The kernel holds 2 GiB of frames that nobody has taken up; it will not tell this descriptor when that ends.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// echo gives the other readers what was sent.
func (w *writer) echo(p []byte) {
	var record []byte
	if w.i.frames.headers.Load() {
		record = headersOf(make([]byte, headersSize), p[w.i.frames.head.Load():], milliseconds())
	} else {
		record = append(record, p...)
	}
	w.i.frames.deliver(record, w.self)
}

// UnpollWrite does nothing: PollWrite never parks.
func (w *writer) UnpollWrite(p9ext.Waiter) {}

// WriteContext sends one frame, or a batch. A frame too large for the mtu last seen is measured against the present one.
func (w *writer) WriteContext(ctx context.Context, p []byte, _ int64) (int, error) {
	if w.i.frames.batch.Load() {
		return w.writeBatch(ctx, p)
	}
	err := w.fits(len(p))
	if err == nil {
		err = w.sendWaiting(ctx, p)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}
