package clonefs

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// maxLabel is how long a label may be, in bytes.
const maxLabel = 64

// builtins are the control messages that every device has.
var builtins = []message{
	builtin("persist", "on|off", "stay when nobody has a file open", func(c *Conv, arg []string) error {
		c.setPersist(arg[0] == "on")
		return nil
	}),
	builtin("hangup", "", "end the conversation for everybody", func(c *Conv, _ []string) error {
		c.hangup()
		return nil
	}),
	builtin("label", "TEXT", "a name for people, shown in status; quote it when it has blanks, '' takes it away", setLabel),
}

func builtin(word, args, help string, do func(*Conv, []string) error) message {
	p, err := parsePattern(args)
	if err != nil {
		panic(err)
	}
	return message{word, args, help, p, false, func(_ context.Context, c *Conv, _ *User, args []string) error { return do(c, args) }}
}

func isBuiltin(word string) bool {
	for _, m := range builtins {
		if m.word == word {
			return true
		}
	}
	return false
}

func setLabel(c *Conv, args []string) error {
	text := args[0]
	printable := utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	if len(text) > maxLabel || !printable {
		return p9ext.Errorf(linux.EINVAL, "bad control message: label wants TEXT of at most %d printable bytes", maxLabel)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.label = text
	return nil
}

// messages is what one file understands: ctl, or a file of the device itself that is like it.
type messages []message

// run carries out one line. c is nil for a file of the device itself; else the caller has the conversation to itself.
func (ms messages) run(ctx context.Context, fs *FS, c *Conv, u *User, line string) error {
	words, err := Fields(line)
	if err != nil {
		return p9ext.Errorf(linux.EINVAL, "bad control message: %w", err)
	}
	if len(words) == 0 {
		return nil
	}
	word, args := words[0], words[1:]
	known := false
	for i := range ms {
		m := &ms[i]
		if m.word != word {
			continue
		}
		known = true
		if !m.pattern.match(args) {
			continue
		}
		if m.super && !fs.isSuper(u) {
			return p9ext.Errorf(linux.EPERM, "%w: %s is for the superuser", p9ext.ErrPerm, m.word)
		}
		err := m.do(ctx, c, u, args)
		if errors.Is(err, ErrBadArg) {
			return ms.bad(word)
		}
		return err
	}
	if !known {
		return p9ext.Errorf(linux.EINVAL, "unknown control message: %s", shown(word))
	}
	return ms.bad(word)
}

// bad is the error that says what a message wants.
func (ms messages) bad(word string) error {
	var wants []string
	for _, m := range ms {
		if m.word == word {
			if m.args == "" {
				m.args = "no argument"
			}
			wants = append(wants, m.args)
		}
	}
	return p9ext.Errorf(linux.EINVAL, "bad control message: %s wants %s", word, strings.Join(wants, ", or "))
}

// write carries out what one write to ctl says, line by line, up to the first error.
func (c *Conv) write(ctx context.Context, u *User, p []byte) (int, error) {
	if len(p) > maxText {
		return 0, p9ext.ErrTooLarge
	}
	if err := c.exclusive(ctx); err != nil {
		return 0, err
	}
	defer c.finish()
	both, release := c.with(ctx)
	defer release()
	if err := c.dev.ctl.all(both, c.dev.fs, c, u, string(p)); err != nil {
		return 0, answer(ctx, c, err)
	}
	return len(p), nil
}

// all carries out line after line, up to the first error or the end of the conversation.
func (ms messages) all(ctx context.Context, fs *FS, c *Conv, u *User, text string) error {
	for line := range strings.SplitSeq(text, "\n") {
		if err := ms.run(ctx, fs, c, u, line); err != nil {
			return err
		}
		if c != nil && c.dead.Load() { // hangup
			break
		}
	}
	return nil
}

// A ctlFile is a conversation's ctl, or clone, which becomes the ctl of a new conversation when it is opened.
type ctlFile struct {
	node
	fid  opening
	open atomic.Pointer[openCtl] // nil: not open
}

// An openCtl is what an open of ctl or clone leads to.
type openCtl struct {
	conv *Conv
	mode Mode
}

var (
	_ p9ext.Prompt     = (*ctlFile)(nil)
	_ p9ext.OpenPoller = (*ctlFile)(nil)
	_ p9ext.Writer     = (*ctlFile)(nil)
	_ p9ext.Text       = (*ctlFile)(nil)
)

// IsText implements p9ext.Text.
func (*ctlFile) IsText() bool { return true }

// where is which file this is now.
func (f *ctlFile) where() place {
	if o := f.open.Load(); o != nil {
		return place{f.at.dev, o.conv, &f.at.dev.files[0]}
	}
	return f.at
}

// OpenContext implements p9ext.Opener.
func (f *ctlFile) OpenContext(ctx context.Context, flags p9.OpenFlags) (p9.QID, uint32, error) {
	ctx, err := f.fid.begin(ctx)
	if err != nil {
		return p9.QID{}, 0, err
	}
	m, err := f.check(flags)
	c := f.at.conv
	switch {
	case err == nil && c != nil:
		err = c.hold()
	case err == nil:
		if c, err = f.at.dev.clone(ctx, &f.v.user); err != nil {
			f.failed("clone", err)
		}
	case c == nil:
		f.at.dev.refused()
	}
	if err == nil {
		f.open.Store(&openCtl{c, m})
	}
	if f.fid.done(ctx, err == nil) {
		return f.where().qid(), 0, nil
	}
	if err == nil {
		f.open.Store(nil)
		if c.drop() {
			c.teardown()
		}
		err = p9ext.ErrInterrupted
	}
	return p9.QID{}, 0, err
}

// PollOpen implements p9ext.OpenPoller: all but clone opens at once.
func (f *ctlFile) PollOpen(flags p9.OpenFlags) (p9.QID, uint32, error) {
	if f.at.conv == nil {
		return p9.QID{}, 0, p9ext.ErrWait
	}
	return f.OpenContext(context.Background(), flags)
}

// PollClose implements p9ext.OpenPoller.
func (f *ctlFile) PollClose() bool {
	if !f.fid.isOpen() || !f.open.Load().conv.dropSpare() {
		return false
	}
	f.fid.close()
	return true
}

// Open implements p9.File.
func (f *ctlFile) Open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	return f.OpenContext(context.Background(), flags)
}

// Close implements p9.File. It waits for the driver's Close if this was the last reference.
func (f *ctlFile) Close() error {
	if f.fid.close() {
		if c := f.open.Load().conv; c.drop() {
			c.teardown()
		}
	}
	return nil
}

// ReadAt implements p9.File: the conversation's number.
func (f *ctlFile) ReadAt(p []byte, off int64) (int, error) {
	o := f.open.Load()
	switch {
	case o == nil || !o.mode.Read:
		return 0, errNotOpen
	case o.conv.dead.Load():
		return 0, p9ext.ErrHungup
	}
	var buf [24]byte
	text := append(strconv.AppendInt(buf[:0], int64(o.conv.n), 10), '\n')
	if off < 0 || off >= int64(len(text)) {
		return 0, io.EOF
	}
	return copy(p, text[off:]), nil
}

// WriteContext implements p9ext.Writer.
func (f *ctlFile) WriteContext(ctx context.Context, p []byte, _ int64) (int, error) {
	o := f.open.Load()
	if o == nil || !o.mode.Write {
		return 0, errNotOpen
	}
	n, err := o.conv.write(ctx, &f.v.user, p)
	if err != nil {
		f.v.fs.failed(f.where(), &f.v.user, "ctl", err)
	}
	return n, err
}

// WriteAt implements p9.File.
func (f *ctlFile) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteContext(context.Background(), p, off)
}

// Walk implements p9.File.
func (f *ctlFile) Walk(names []string) ([]p9.QID, p9.File, error) {
	return f.v.walk(f.where(), names)
}

// WalkGetAttr implements p9.File.
func (f *ctlFile) WalkGetAttr(names []string) ([]p9.QID, p9.File, p9.AttrMask, p9.Attr, error) {
	return walkGetAttr(f.v, f.where(), names)
}

// GetAttr implements p9.File.
func (f *ctlFile) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	return f.v.getAttr(f.where())
}

// SetAttr implements p9.File.
func (f *ctlFile) SetAttr(valid p9.SetAttrMask, attr p9.SetAttr) error {
	o := f.open.Load()
	return f.v.setAttr(f.where(), o != nil && o.mode.Write, valid, attr)
}

// FSync implements p9.File.
func (f *ctlFile) FSync() error {
	if f.where().stale() {
		return p9ext.ErrNotExist
	}
	return nil
}
