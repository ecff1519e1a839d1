package client

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// Flags of an open beside p9.ReadOnly, p9.WriteOnly and p9.ReadWrite. The numbers are Linux's, which 9P2000.L sends as they are;
// of other flags the other dialects know none.
const (
	Truncate p9.OpenFlags = 0o1000
	Append   p9.OpenFlags = 0o2000 // not in plain 9P2000
)

// An Attach says who wants to see which tree.
type Attach struct {
	Name string  // of the tree (aname); clone9p has /subtree?option=value there
	User string  // who attaches (uname); "" leaves it to what the connection proves
	UID  *uint32 // the same as a number (n_uname), not in plain 9P2000; nil sends none
}

// A File is a fid: a file of the server that was attached or walked to, and perhaps opened. Its methods are safe for concurrent use.
// Whoever got a File closes it.
type File struct {
	c   *Conn
	fid uint32

	offset atomic.Int64 // of Read and Write

	mu        sync.Mutex // guards what follows; a leaf
	qid       p9.QID
	iounit    uint32
	open      bool
	closed    bool
	users     int  // calls under way that name the fid, or are about to
	forgotten bool // the server knows the fid no more: it can be used again when there are no users
}

// Attach returns the root of a tree.
func (c *Conn) Attach(ctx context.Context, a Attach) (*File, error) {
	f := &File{c: c, fid: c.newFid()}
	m := wire.Msg{Type: wire.Tattach, Fid: f.fid, Afid: wire.NoFid, Uname: []byte(a.User), Aname: []byte(a.Name), NUname: wire.NoUid}
	if a.UID != nil {
		m.NUname = *a.UID
	}
	k := newCall(wire.Rattach)
	k.take = func(m *wire.Msg) error { f.qid = qid(m.Qid); return nil }
	k.late = f.lateFid
	err := f.making(ctx, &m, k)
	k.release()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// lateFid is the end of an abandoned call that was to make f.fid.
func (f *File) lateFid(m *wire.Msg) {
	if m == nil {
		f.forget()
	} else {
		f.c.clunk(f)
	}
}

// making is do for a call that makes f.fid: one that failed leaves it free.
func (f *File) making(ctx context.Context, m *wire.Msg, k *call) error {
	err := f.c.do(ctx, m, k)
	if err != nil && !k.abandoned { // otherwise late sees to it
		f.forget()
	}
	return err
}

// enter begins a call on f, which keeps the fid from being used for another file until leave. It fails if f is closed.
func (f *File) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errFileClosed
	}
	f.users++
	return nil
}

// leave ends what enter or enterOpen began.
func (f *File) leave() {
	f.mu.Lock()
	f.users--
	free := f.forgotten && f.users == 0
	f.mu.Unlock()
	if free {
		f.c.freeFid(f.fid)
	}
}

// forget notes that the server knows f no more.
func (f *File) forget() {
	f.mu.Lock()
	f.forgotten = true
	free := f.users == 0
	f.mu.Unlock()
	if free {
		f.c.freeFid(f.fid)
	}
}

// QID is the server's identification of the file. Opening a file may change it: a clone file becomes the control file of a
// new conversation.
func (f *File) QID() p9.QID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.qid
}

// IsDir reports whether the file is a directory.
func (f *File) IsDir() bool { return f.QID().Type&p9.TypeDir != 0 }

// Conn is the session that the file belongs to.
func (f *File) Conn() *Conn { return f.c }

// MaxIO is how many bytes one read or write of this file carries at most: the server's iounit, or what fits a message.
func (f *File) MaxIO() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := int64(f.iounit); n > 0 && n < int64(f.c.MaxIO()) {
		return int(n)
	}
	return f.c.MaxIO()
}

// split divides a path into the names to walk.
func split(path string) []string {
	var names []string
	for n := range strings.SplitSeq(path, "/") {
		if n != "" && n != "." {
			names = append(names, n)
		}
	}
	return names
}

// A WalkError says at which name a walk stopped.
type WalkError struct {
	Path string // the names that were walked, and the one that could not be: "ethfoo/7"
	Err  error  // what the server says of it, a *p9ext.Error
}

func (e *WalkError) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *WalkError) Unwrap() error { return e.Err }

// Walk returns the file at a slash-separated path below the directory f, or f once more if path is empty. It is not opened. Dot-dot
// leads up, and no further than the root. Where the server refuses a name the error is a *WalkError, in every dialect.
func (f *File) Walk(ctx context.Context, path string) (*File, error) {
	names := split(path)
	at, done := f, 0
	for {
		n := f.c.leg(names[done:])
		to, bad, err := at.walk(ctx, names[done:done+n])
		if at != f {
			at.Drop()
		}
		switch {
		case err != nil && bad >= 0:
			return nil, &WalkError{strings.Join(names[:done+bad+1], "/"), err}
		case err != nil:
			return nil, err
		}
		at, done = to, done+n
		if done == len(names) {
			return at, nil
		}
	}
}

// leg is how many of the names one message carries.
func (c *Conn) leg(names []string) int {
	room := int(c.msize) - wire.MinSize(c.dialect, wire.Twalk)
	n := 0
	for ; n < len(names) && n < wire.MaxWalk; n++ {
		if room -= 2 + len(names[n]); room < 0 && n > 0 {
			break
		}
	}
	return n
}

// walk walks names that one message carries. Of an error that is the server's, bad is the index of the name that it is about; else it is -1.
func (f *File) walk(ctx context.Context, names []string) (to *File, bad int, err error) {
	to, bad, err = f.walkOnce(ctx, names)
	if err == nil || bad < 0 || len(names) == 1 || bad == 0 && f.c.dialect != wire.P9L {
		return to, bad, err
	}
	// 9P tells how far a walk came and not what stopped it, and .L's servers not even how far. One name after the other tells both.
	at, done := f, 0
	for done < len(names) {
		n := max(1, bad-done)
		next, stop, err := at.walkOnce(ctx, names[done:done+n])
		if at != f {
			at.Drop()
		}
		if err != nil {
			if stop >= 0 {
				stop += done
			}
			return nil, stop, err
		}
		at, done = next, done+n
	}
	return at, -1, nil // it has come meanwhile
}

// walkOnce is walk by one message; bad is how far that is known to have come.
func (f *File) walkOnce(ctx context.Context, names []string) (_ *File, bad int, _ error) {
	if err := f.enter(); err != nil {
		return nil, -1, err
	}
	defer f.leave()
	to := &File{c: f.c, fid: f.c.newFid(), qid: f.QID()}
	m := wire.Msg{Type: wire.Twalk, Fid: f.fid, Newfid: to.fid, Nwname: len(names)}
	for i, n := range names {
		m.Wname[i] = []byte(n)
	}
	k := newCall(wire.Rwalk)
	came := -1
	k.take = func(m *wire.Msg) error {
		switch {
		case m.Nwqid < len(names): // no fid was made
			came = m.Nwqid
			return p9ext.ErrNotExist
		case m.Nwqid > len(names):
			return p9ext.Errorf(errProtocol, "the server walked %d names where %d were asked for", m.Nwqid, len(names))
		case m.Nwqid > 0:
			to.qid = qid(m.Wqid[m.Nwqid-1])
		}
		return nil
	}
	k.late = func(m *wire.Msg) {
		if m != nil && m.Nwqid < len(names) {
			m = nil
		}
		to.lateFid(m)
	}
	err := to.making(ctx, &m, k)
	if err != nil && k.refused && !k.flushing && len(names) > 0 {
		came = 0
	}
	k.release()
	if err != nil {
		return nil, came, err
	}
	return to, -1, nil
}

// Open opens the file. If it fails because ctx ended the file is closed, whatever the server made of it.
func (f *File) Open(ctx context.Context, flags p9.OpenFlags) error {
	m := wire.Msg{Type: wire.Tlopen, Fid: f.fid, Flags: uint32(flags)}
	if f.c.dialect != wire.P9L {
		mode, err := f.c.mode(flags)
		if err != nil {
			return err
		}
		m.Type, m.Mode = wire.Topen, mode
	}
	return f.opening(ctx, &m)
}

// mode is the mode of Topen for these flags.
func (c *Conn) mode(flags p9.OpenFlags) (uint32, error) {
	mode := uint32(flags & 3)
	if flags&Truncate != 0 {
		mode |= wire.OTRUNC
	}
	if flags&Append != 0 {
		if c.dialect != wire.P9u {
			return 0, c.unsupported("open for appending")
		}
		mode |= wire.OAPPEND
	}
	return mode, nil
}

// Create makes the file name in the directory f and opens it; f then is that file.
func (f *File) Create(ctx context.Context, name string, flags p9.OpenFlags, perm p9.FileMode) error {
	m := wire.Msg{Type: wire.Tlcreate, Fid: f.fid, Name: []byte(name), Flags: uint32(flags), Mode: uint32(perm.Permissions()), Gid: wire.NoUid}
	if f.c.dialect != wire.P9L {
		mode, err := f.c.mode(flags)
		if err != nil {
			return err
		}
		m = wire.Msg{Type: wire.Tcreate, Fid: f.fid, Name: []byte(name), Mode: mode, Perm: uint32(perm.Permissions())}
	}
	return f.opening(ctx, &m)
}

// opening sends a message after which f is open.
func (f *File) opening(ctx context.Context, m *wire.Msg) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.leave()
	k := newCall(m.Type.Reply())
	k.take = func(m *wire.Msg) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.qid, f.iounit, f.open = qid(m.Qid), m.Iounit, true
		return nil
	}
	k.late = func(*wire.Msg) { f.Drop() }
	err := f.c.do(ctx, m, k)
	if err != nil && k.flushing && !k.abandoned && errors.Is(err, linux.EINTR) {
		f.Drop()
	}
	k.release()
	return err
}

// OpenFile walks to the file at path and opens it.
func (f *File) OpenFile(ctx context.Context, path string, flags p9.OpenFlags) (*File, error) {
	to, err := f.Walk(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := to.Open(ctx, flags); err != nil {
		to.Drop()
		return nil, err
	}
	return to, nil
}

// shut marks f closed and reports whether it was not.
func (f *File) shut() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.closed
	f.closed = true
	return !was
}

// Drop closes f without waiting: what waits on it fails, and of how the server takes it nothing is heard. Closing again does nothing.
func (f *File) Drop() {
	if f.shut() {
		f.c.clunk(f)
	}
}

// Close closes the file; what waits on it fails. It returns when the server has closed it, which for a device may take what the
// device takes. Closing again does nothing.
func (f *File) Close() error {
	if !f.shut() {
		return nil
	}
	return f.end(wire.Tclunk)
}

// Remove removes the file from the server and closes it, which happens also if the server refuses to remove it.
func (f *File) Remove(ctx context.Context) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if !f.shut() {
		return errFileClosed
	}
	return f.end(wire.Tremove)
}

// end sends the last message about f, which is shut. It is not cancelled: half a clunk helps nobody.
func (f *File) end(t wire.Type) error {
	k := newCall(t.Reply())
	m := wire.Msg{Type: t, Fid: f.fid}
	err := f.c.do(context.Background(), &m, k)
	k.release()
	f.forget()
	return err
}

func qid(q wire.Qid) p9.QID {
	return p9.QID{Type: p9.QIDType(q.Type), Version: q.Version, Path: q.Path}
}
