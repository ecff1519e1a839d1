package clonefs

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

var (
	errNoRead  = &p9ext.Error{Errno: linux.EINVAL, Text: "file can't be read"}
	errNoWrite = &p9ext.Error{Errno: linux.EINVAL, Text: "file can't be written"}
)

// A streamFile is a file that may wait: data, rx, tx and what else a driver makes of Streams. Each open has a Stream of its own.
type streamFile struct {
	node
	fid  opening
	open atomic.Pointer[openStream] // nil: never opened; it stays when the file is closed
}

// An openStream is one open of a streamFile: the driver's stream, and what of p9ext it implements.
type openStream struct {
	stream Stream
	mode   Mode
	conv   *Conv // nil: a file of the device itself
	once   sync.Once
	after  func() // what to do when the stream was closed; may be nil

	reader   p9ext.Reader
	writer   p9ext.Writer
	rpoller  p9ext.ReadPoller
	wpoller  p9ext.WritePoller
	unreader p9ext.Unreader

	// For a stream without Unread: what was put back, the first to be read first, and what interrupts the read that waits.
	mu        sync.Mutex // guards both
	pushed    [][]byte
	interrupt context.CancelFunc
}

var (
	_ p9ext.Prompt      = (*streamFile)(nil)
	_ p9ext.OpenPoller  = (*streamFile)(nil)
	_ p9ext.Reader      = (*streamFile)(nil)
	_ p9ext.Writer      = (*streamFile)(nil)
	_ p9ext.ReadPoller  = (*streamFile)(nil)
	_ p9ext.WritePoller = (*streamFile)(nil)
	_ p9ext.Unreader    = (*streamFile)(nil)
)

// OpenContext implements p9ext.Opener.
func (f *streamFile) OpenContext(ctx context.Context, flags p9.OpenFlags) (p9.QID, uint32, error) {
	ctx, err := f.fid.begin(ctx)
	if err != nil {
		return p9.QID{}, 0, err
	}
	o, err := f.make(ctx, flags)
	if err == nil {
		f.open.Store(o)
	}
	if f.fid.done(ctx, err == nil) {
		return f.at.qid(), 0, nil
	}
	if err == nil {
		f.open.Store(nil)
		f.release(o)
		err = p9ext.ErrInterrupted
	}
	return p9.QID{}, 0, err
}

// PollOpen implements p9ext.OpenPoller.
func (f *streamFile) PollOpen(flags p9.OpenFlags) (p9.QID, uint32, error) {
	if !f.at.ent.prompt {
		return p9.QID{}, 0, p9ext.ErrWait
	}
	return f.OpenContext(context.Background(), flags)
}

// PollClose implements p9ext.OpenPoller.
func (f *streamFile) PollClose() bool {
	e, c := f.at.ent, f.at.conv
	if !e.prompt || c == nil || !f.fid.isOpen() || e.holds && !c.dropSpare() {
		return false
	}
	f.fid.close()
	o := f.open.Load()
	o.shut()
	c.removeStream(o)
	return true
}

// make has the driver make a stream, registers it and takes the reference.
func (f *streamFile) make(ctx context.Context, flags p9.OpenFlags) (*openStream, error) {
	m, err := f.check(flags)
	if err != nil {
		return nil, err
	}
	e, c := f.at.ent, f.at.conv
	if c == nil {
		return f.makeShared(ctx, m)
	}
	if e.holds {
		if err := c.hold(); err != nil {
			return nil, err
		}
	}
	o, err := f.call(ctx, m)
	if err != nil {
		if e.holds && c.drop() {
			go c.teardown() // for which nobody waits who could not open the file
		}
		return nil, f.failed("open", err)
	}
	return o, nil
}

// call calls the driver's Open.
func (f *streamFile) call(ctx context.Context, m Mode) (*openStream, error) {
	c := f.at.conv
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	both, release := c.with(ctx)
	defer release()
	s, err := f.at.ent.open(both, c, f.v.user, m)
	if err != nil {
		return nil, answer(ctx, c, err)
	}
	o := newStream(s, m, c)
	if !c.addStream(o) {
		o.shut()
		return nil, p9ext.ErrHungup
	}
	return o, nil
}

// makeShared does the same for a file of the device itself.
func (f *streamFile) makeShared(ctx context.Context, m Mode) (*openStream, error) {
	d, e, u := f.at.dev, f.at.ent, &f.v.user
	if e.counts {
		if err := d.reserve(u); err != nil {
			return nil, f.failed("open", err)
		}
	}
	both, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.fs.ctx, cancel)
	s, err := e.open(both, nil, *u, m)
	stop()
	cancel()
	if err != nil {
		if e.counts {
			d.release(u)
		}
		return nil, f.failed("open", answer(ctx, nil, err))
	}
	o := newStream(s, m, nil)
	if e.counts {
		o.after = func() { d.release(u) }
	}
	if !d.addStream(o) {
		o.shut()
		return nil, f.failed("open", p9ext.ErrHungup)
	}
	return o, nil
}

func newStream(s Stream, m Mode, c *Conv) *openStream {
	o := &openStream{stream: s, mode: m, conv: c}
	if m.Read {
		o.reader, _ = s.(p9ext.Reader)
		o.unreader, _ = s.(p9ext.Unreader)
		if o.unreader != nil {
			o.rpoller, _ = s.(p9ext.ReadPoller)
		}
	}
	if m.Write {
		o.writer, _ = s.(p9ext.Writer)
		o.wpoller, _ = s.(p9ext.WritePoller)
	}
	return o
}

// shut closes the driver's stream, once; it returns when that has been done.
func (o *openStream) shut() {
	o.once.Do(func() {
		if err := o.stream.Close(); err != nil && o.conv != nil {
			o.conv.Log().Debug().Err(err).Msg("closing a stream failed")
		}
		if o.after != nil {
			o.after()
		}
	})
}

// dead reports whether the stream's conversation has ended.
func (o *openStream) dead() bool { return o.conv != nil && o.conv.dead.Load() }

// release undoes make.
func (f *streamFile) release(o *openStream) {
	e, c := f.at.ent, f.at.conv
	if c == nil {
		o.shut()
		f.at.dev.removeStream(o)
		return
	}
	last := e.holds && c.drop() // leaving the listing comes first
	o.shut()
	c.removeStream(o)
	if last {
		c.teardown()
	}
}

// Open implements p9.File.
func (f *streamFile) Open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	return f.OpenContext(context.Background(), flags)
}

// Close implements p9.File. It waits for the driver's Close if this was the last reference.
func (f *streamFile) Close() error {
	if f.fid.close() {
		f.release(f.open.Load())
	}
	return nil
}

// SetAttr implements p9.File.
func (f *streamFile) SetAttr(valid p9.SetAttrMask, attr p9.SetAttr) error {
	o := f.open.Load()
	return f.v.setAttr(f.at, o != nil && o.mode.Write, valid, attr)
}

// result turns what the driver's stream answered into what the client gets.
func (f *streamFile) result(ctx context.Context, o *openStream, op string, n int, err error) (int, error) {
	switch {
	case err == nil || err == p9ext.ErrWait || err == p9ext.ErrNoPoll || err == io.EOF && !o.dead():
		return n, err
	case n > 0 && op == "read": // a record, and then its end
		return n, nil
	case err == io.EOF && o.dead():
		return n, p9ext.ErrHungup
	}
	return n, f.failed(op, answer(ctx, o.conv, err))
}

// ReadContext implements p9ext.Reader.
func (f *streamFile) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	o := f.open.Load()
	switch {
	case o == nil || !o.mode.Read:
		return 0, errNotOpen
	case o.dead():
		return 0, p9ext.ErrHungup
	case o.reader == nil:
		return 0, errNoRead
	}
	both := ctx
	if o.conv != nil {
		var release func()
		both, release = o.conv.with(ctx)
		defer release()
	}
	var n int
	var err error
	if o.unreader != nil {
		n, err = o.reader.ReadContext(both, p, off)
	} else {
		n, err = o.readPushed(both, p, off)
	}
	return f.result(ctx, o, "read", n, err)
}

// readPushed reads a stream without Unread: what was put back comes first, also when it is put back while the driver waits.
func (o *openStream) readPushed(ctx context.Context, p []byte, off int64) (int, error) {
	for {
		both, cancel := context.WithCancel(ctx)
		o.mu.Lock()
		if len(o.pushed) > 0 {
			n := o.takePushed(p)
			o.mu.Unlock()
			cancel()
			return n, nil
		}
		o.interrupt = cancel
		o.mu.Unlock()

		n, err := o.reader.ReadContext(both, p, off)

		o.mu.Lock()
		o.interrupt = nil
		again := len(o.pushed) > 0
		if again && n > 0 { // the driver was faster than the interrupt
			o.pushed = append(o.pushed, append([]byte(nil), p[:n]...))
		}
		o.mu.Unlock()
		cancel()
		if !again || err != nil && n == 0 && ctx.Err() != nil {
			return n, err
		}
	}
}

// takePushed moves the first of what was put back to p; what does not fit stays. o.mu is held.
func (o *openStream) takePushed(p []byte) int {
	n := copy(p, o.pushed[0])
	if n < len(o.pushed[0]) {
		o.pushed[0] = o.pushed[0][n:]
	} else {
		o.pushed = append(o.pushed[:0], o.pushed[1:]...)
	}
	return n
}

// Unread implements p9ext.Unreader. It works on a closed file too: others may read from the same queue.
func (f *streamFile) Unread(p []byte) {
	o := f.open.Load()
	if o == nil || len(p) == 0 {
		return
	}
	if o.unreader != nil {
		o.unreader.Unread(p)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushed = append([][]byte{append([]byte(nil), p...)}, o.pushed...)
	if o.interrupt != nil {
		o.interrupt()
	}
}

// PollRead implements p9ext.ReadPoller.
func (f *streamFile) PollRead(p []byte, off int64, w p9ext.Waiter) (int, error) {
	o := f.open.Load()
	switch {
	case o == nil || !o.mode.Read:
		return 0, errNotOpen
	case o.dead():
		return 0, p9ext.ErrHungup
	case o.rpoller == nil:
		return 0, p9ext.ErrNoPoll
	}
	n, err := o.rpoller.PollRead(p, off, w)
	if err == nil {
		return n, nil
	}
	return f.result(context.Background(), o, "read", n, err)
}

// Unpoll implements p9ext.ReadPoller.
func (f *streamFile) Unpoll(w p9ext.Waiter) {
	if o := f.open.Load(); o != nil && o.rpoller != nil {
		o.rpoller.Unpoll(w)
	}
}

// WriteContext implements p9ext.Writer.
func (f *streamFile) WriteContext(ctx context.Context, p []byte, off int64) (int, error) {
	o := f.open.Load()
	switch {
	case o == nil || !o.mode.Write:
		return 0, errNotOpen
	case o.dead():
		return 0, p9ext.ErrHungup
	case o.writer == nil:
		return 0, errNoWrite
	}
	both := ctx
	if o.conv != nil {
		var release func()
		both, release = o.conv.with(ctx)
		defer release()
	}
	n, err := o.writer.WriteContext(both, p, off)
	return f.result(ctx, o, "write", n, err)
}

// PollWrite implements p9ext.WritePoller.
func (f *streamFile) PollWrite(p []byte, off int64, w p9ext.Waiter) (int, error) {
	o := f.open.Load()
	switch {
	case o == nil || !o.mode.Write:
		return 0, errNotOpen
	case o.dead():
		return 0, p9ext.ErrHungup
	case o.wpoller == nil:
		return 0, p9ext.ErrNoPoll
	}
	n, err := o.wpoller.PollWrite(p, off, w)
	if err == nil {
		return n, nil
	}
	return f.result(context.Background(), o, "write", n, err)
}

// UnpollWrite implements p9ext.WritePoller.
func (f *streamFile) UnpollWrite(w p9ext.Waiter) {
	if o := f.open.Load(); o != nil && o.wpoller != nil {
		o.wpoller.UnpollWrite(w)
	}
}

// ReadAt implements p9.File, for servers that know no contexts.
func (f *streamFile) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadContext(context.Background(), p, off)
}

// WriteAt implements p9.File, for servers that know no contexts.
func (f *streamFile) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteContext(context.Background(), p, off)
}
