package clonefs

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// maxText is how long one write to a text file or to ctl may be, in bytes.
const maxText = 64 << 10

// An opening is the life of a file whose open may wait while it is closed. The zero value is a file that was walked to.
//
//	fresh --begin--> busy --done(true)--> open --close--> closed
//	  ^               |  |                                  ^
//	  +--done(false)--+  +-----close (cancels the open)-----+
type opening struct {
	mu     sync.Mutex // guards all below
	state  openState
	cancel context.CancelFunc // of the open that is busy
}

type openState uint8

const (
	stateFresh openState = iota
	stateBusy
	stateOpen
	stateClosed
)

// begin begins an open, whose context also ends when the file is closed.
func (o *opening) begin(ctx context.Context) (context.Context, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != stateFresh {
		return nil, errOpen
	}
	o.state = stateBusy
	ctx, o.cancel = context.WithCancel(ctx)
	return ctx, nil
}

// done ends the open. It reports whether the file is open now: it is not if the open failed, the file was closed meanwhile, or
// ctx, which begin returned, has ended; what the open made is then to be released.
func (o *opening) done(ctx context.Context, ok bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	ok = ok && o.state == stateBusy && ctx.Err() == nil
	o.cancel()
	o.cancel = nil
	switch {
	case ok:
		o.state = stateOpen
	case o.state == stateBusy:
		o.state = stateFresh
	}
	return ok
}

// isOpen reports whether the file is open.
func (o *opening) isOpen() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == stateOpen
}

// close reports whether the file was open: the caller, who is the only one to hear so, releases it.
func (o *opening) close() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.state
	o.state = stateClosed
	if was == stateBusy {
		o.cancel()
	}
	return was == stateOpen
}

// check does what every open begins with: it finds the file stale, the flags unknown or the user without permission. A file that the table gives
// to nobody for writing, or for reading, has no such side: not for the superuser either.
func (n *node) check(flags p9.OpenFlags) (Mode, error) {
	if n.at.stale() {
		return Mode{}, p9ext.ErrNotExist
	}
	m, want, err := wants(flags)
	if e := n.at.ent; err == nil && (e.kind != kindClone && want&^(e.mode|e.mode>>3|e.mode>>6)&7 != 0 || !n.v.may(want, n.at)) {
		err = p9ext.ErrAccess
	}
	if err != nil {
		return m, n.failed("open", err)
	}
	return m, nil
}

// failed logs a failure and returns it.
func (n *node) failed(op string, err error) error { return n.v.fs.failed(n.at, &n.v.user, op, err) }

// copyText copies text from off on to p, as a read of a file with this content.
func copyText(p []byte, off int64, text string) (int, error) {
	if off < 0 || off >= int64(len(text)) {
		return 0, io.EOF
	}
	return copy(p, text[off:]), nil
}

// A staticFile is a text that is there at once: README, help, stats. A read at offset 0 renders it anew; those after it see the same one.
type staticFile struct {
	node
	open atomic.Bool
	text atomic.Pointer[string] // nil: not rendered yet
}

var (
	_ p9ext.Prompt = (*staticFile)(nil)
	_ p9ext.Text   = (*staticFile)(nil)
)

// IsText implements p9ext.Text.
func (*staticFile) IsText() bool { return true }

// Open implements p9.File.
func (f *staticFile) Open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	if _, err := f.check(flags); err != nil {
		return p9.QID{}, 0, err
	}
	f.open.Store(true)
	return f.at.qid(), 0, nil
}

// ReadAt implements p9.File.
func (f *staticFile) ReadAt(p []byte, off int64) (int, error) {
	if !f.open.Load() {
		return 0, errNotOpen
	}
	text := f.text.Load()
	if off == 0 || text == nil {
		now, err := f.at.ent.static()
		if err != nil {
			return 0, f.failed("read", answer(context.Background(), nil, err))
		}
		text = &now
		f.text.Store(text)
	}
	return copyText(p, off, *text)
}

// A textFile is text that the driver renders, and perhaps takes.
type textFile struct {
	node
	mode   atomic.Pointer[Mode] // nil: not open
	mu     sync.Mutex           // guards the snapshot; not held while the driver renders
	text   string
	loaded bool
}

var (
	_ p9ext.Prompt = (*textFile)(nil)
	_ p9ext.Text   = (*textFile)(nil)
	_ p9ext.Reader = (*textFile)(nil)
	_ p9ext.Writer = (*textFile)(nil)
)

// IsText implements p9ext.Text.
func (*textFile) IsText() bool { return true }

// Open implements p9.File.
func (f *textFile) Open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	m, err := f.check(flags)
	if err != nil {
		return p9.QID{}, 0, err
	}
	if m.Write && !f.at.ent.writable() {
		return p9.QID{}, 0, f.failed("open", p9ext.ErrAccess)
	}
	f.mode.Store(&m)
	return f.at.qid(), 0, nil
}

// SetAttr implements p9.File.
func (f *textFile) SetAttr(valid p9.SetAttrMask, attr p9.SetAttr) error {
	m := f.mode.Load()
	return f.v.setAttr(f.at, m != nil && m.Write, valid, attr)
}

// ReadContext implements p9ext.Reader. A read at offset 0 renders the text anew; those after it see the same one.
func (f *textFile) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	if m := f.mode.Load(); m == nil || !m.Read {
		return 0, errNotOpen
	}
	c := f.at.conv
	if c != nil {
		if err := c.enter(); err != nil {
			return 0, err
		}
		defer c.leave()
	}
	f.mu.Lock()
	text, loaded := f.text, f.loaded
	f.mu.Unlock()
	if off == 0 || !loaded {
		var err error
		if text, err = f.at.ent.text(c); err != nil {
			return 0, f.failed("read", answer(ctx, c, err))
		}
		f.mu.Lock()
		f.text, f.loaded = text, true
		f.mu.Unlock()
	}
	return copyText(p, off, text)
}

// WriteContext implements p9ext.Writer. One write is one text, wherever it is written to.
func (f *textFile) WriteContext(ctx context.Context, p []byte, _ int64) (int, error) {
	if m := f.mode.Load(); m == nil || !m.Write {
		return 0, errNotOpen
	}
	if len(p) > maxText {
		return 0, p9ext.ErrTooLarge
	}
	c := f.at.conv
	text := strings.Trim(string(p), " \t\r\n")
	if c != nil {
		if err := c.exclusive(ctx); err != nil {
			return 0, err
		}
		defer c.finish()
		both, release := c.with(ctx)
		defer release()
		ctx = both
	}
	var err error
	if ms := f.at.ent.msgs; ms != nil {
		err = ms.all(ctx, f.v.fs, c, &f.v.user, text)
	} else {
		err = f.at.ent.setText(ctx, c, f.v.user, text)
	}
	if err != nil {
		return 0, f.failed("write", answer(ctx, c, err))
	}
	return len(p), nil
}

// ReadAt implements p9.File.
func (f *textFile) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadContext(context.Background(), p, off)
}

// WriteAt implements p9.File.
func (f *textFile) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteContext(context.Background(), p, off)
}

// A heldFile is a text file whose open is a reference to its conversation.
type heldFile struct {
	textFile
	fid opening
}

var _ p9ext.Opener = (*heldFile)(nil)

// OpenContext implements p9ext.Opener. It does not wait; but Close may.
func (f *heldFile) OpenContext(ctx context.Context, flags p9.OpenFlags) (p9.QID, uint32, error) {
	ctx, err := f.fid.begin(ctx)
	if err != nil {
		return p9.QID{}, 0, err
	}
	q, iounit, err := f.open(flags)
	if f.fid.done(ctx, err == nil) {
		return q, iounit, nil
	}
	if err == nil {
		if f.at.conv.drop() {
			f.at.conv.teardown()
		}
		err = p9ext.ErrInterrupted
	}
	return p9.QID{}, 0, err
}

// open opens the file with a reference.
func (f *heldFile) open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	q, iounit, err := f.textFile.Open(flags)
	if err == nil {
		err = f.at.conv.hold()
	}
	return q, iounit, err
}

// Open implements p9.File.
func (f *heldFile) Open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	return f.OpenContext(context.Background(), flags)
}

// Close implements p9.File.
func (f *heldFile) Close() error {
	if f.fid.close() && f.at.conv.drop() {
		f.at.conv.teardown()
	}
	return nil
}
