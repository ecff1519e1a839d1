package pty

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
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

// A reader is the reading half of an open: a queue of bytes that the pump fills.
type reader struct {
	*clonefs.Queue
	p *Pair
}

// Close takes the reader away; what its queue held is dropped.
func (r *reader) Close() error {
	p := r.p
	p.mu.Lock()
	p.queues = slices.DeleteFunc(p.queues, func(q *clonefs.Queue) bool { return q == r.Queue })
	p.mu.Unlock()
	return r.Queue.Close()
}

// A writer is the writing half of an open.
type writer struct{ p *Pair }

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
func (p *Pair) data(_ context.Context, m clonefs.Mode) (clonefs.Stream, error) {
	w := &writer{p}
	if !m.Read {
		return w, nil
	}
	r := &reader{clonefs.NewByteQueue(readerBytes), p}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, p9ext.ErrHungup
	}
	p.queues = append(slices.Clip(p.queues), r.Queue)
	close(p.joined)
	p.joined = make(chan struct{})
	if !m.Write {
		return r, nil
	}
	return &duplex{r, w}, nil
}

// PollWrite types what the line discipline has room for, at once; it may be a part of b. WriteContext does the waiting.
func (w *writer) PollWrite(b []byte, _ int64, _ p9ext.Waiter) (int, error) {
	p := w.p
	select {
	case p.writing <- struct{}{}:
		defer func() { <-p.writing }()
	default:
		return 0, p9ext.ErrNoPoll // somebody's write waits; WriteContext queues behind it
	}
	n := 0
	err := p.control(func(fd int) (err error) {
		n, err = unix.Write(fd, b)
		return err
	})
	switch {
	case err == unix.EAGAIN || err == unix.EINTR || err == nil && n == 0 && len(b) > 0:
		return 0, p9ext.ErrNoPoll
	case err != nil:
		return 0, cannotWrite(err)
	}
	return n, nil
}

// UnpollWrite does nothing: PollWrite never parks.
func (w *writer) UnpollWrite(p9ext.Waiter) {}

// writeSlice is how long a write waits for the kernel to say that there is room before it looks by itself: not every way in which a line
// discipline empties is told to who polls the master.
const writeSlice = 100 * time.Millisecond

// WriteContext types b, as the line discipline has room. When ctx ends it is a short write, if a part was typed. Writers are served one after the other.
func (w *writer) WriteContext(ctx context.Context, b []byte, _ int64) (int, error) {
	return w.p.write(ctx, b)
}

func (p *Pair) write(ctx context.Context, b []byte) (n int, err error) {
	select {
	case p.writing <- struct{}{}:
		defer func() { <-p.writing }()
	case <-ctx.Done():
		return 0, p9ext.ErrInterrupted
	case <-p.ctx.Done():
		return 0, p9ext.ErrHungup
	}
	stop := context.AfterFunc(ctx, func() { p.master.SetWriteDeadline(time.Unix(1, 0)) }) // wakes the write; harmless afterwards, as each sets its own
	defer stop()
	for n < len(b) {
		p.master.SetWriteDeadline(time.Now().Add(writeSlice))
		if ctx.Err() != nil {
			break
		}
		m, err := p.master.Write(b[n:])
		n += m
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			if n > 0 {
				return n, nil // the next write will meet the error
			}
			return 0, cannotWrite(err)
		}
	}
	if n == 0 && len(b) > 0 {
		return 0, p9ext.ErrInterrupted
	}
	return n, nil
}

// cannotWrite makes the error of a write to the master.
func cannotWrite(err error) error {
	if said, ok := errors.AsType[*p9ext.Error](err); ok {
		return said
	}
	if errors.Is(err, fs.ErrClosed) {
		return p9ext.ErrHungup
	}
	return p9ext.Errorf(errnoOf(err), "cannot type on the terminal: %w", errnoOf(err))
}
