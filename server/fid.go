package server

import (
	"context"
	"sync"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// A fid is one file in one session. What it can do beyond p9.File is found out once: prompt and text when it is made, the rest when it is opened.
type fid struct {
	id     uint32
	file   p9.File
	root   *root // through which attach it was reached
	node   *node // where it is
	prompt bool  // answered on the receiving goroutine
	isDir  bool  // by the qid that the walk brought; an open does not change that
	attach bool  // made by Tattach, counted in session.attaches
	text   p9ext.Text

	// Set by the open, before state becomes open; constant then.
	flags  p9.OpenFlags
	opener bool // opened through p9ext.Opener: Close may wait
	reader p9ext.Reader
	writer p9ext.Writer
	rpoll  p9ext.ReadPoller
	wpoll  p9ext.WritePoller
	unread p9ext.Unreader

	// Guarded by session.mu.
	qid     wire.Qid
	state   fidState
	clunked bool       // no longer in the session's table
	late    bool       // clunked while a file of p9's own kind was being opened: the open's end closes it
	reqs    []*request // in flight
	reads   lane
	writes  lane
	path    *pathState // of a text file: how far it was written; nil in sessions that do not pad
	records records    // of a blocking file: reads that are not to be answered with the next record
	zeros   zeroRun
	dir     dirPos
	xattr   *xattr // the pointer; what it points to is the receiving goroutine's

	closeMu sync.Mutex // keeps a rename and the Close of one p9.File apart; guards what follows
	closed  bool
	dirs    []p9.File // directories that Renamed was told of: they go with the file

}

type fidState uint8

const (
	walked  fidState = iota
	opening          // an open is under way
	opened
	xattrRead  // what Txattrwalk makes
	xattrWrite // what Txattrcreate makes
	broken     // an open succeeded after its request had been flushed: the file is closed, nothing but clunk works
)

// A root is one attach: what the attach name asked for and who attached.
type root struct {
	user    p9ext.User
	node    *node        // ".." does not lead above it
	dialect wire.Dialect // of the session when it attached; workers may outlive that in a session that Tversion began anew
	msize   uint32       // the same
	records bool         // law of record reads
	pad     bool         // law of written sizes: the client is a Linux kernel's

	patience time.Duration // how long a read of a file of records may wait before it is answered with nothing; 0: for ever
}

// mayWaitInClose tells whether the fid's Close needs a goroutine.
func (f *fid) mayWaitInClose() bool { return !f.prompt || f.opener }

// giveBack returns what was read for a request that died meanwhile.
func (f *fid) giveBack(p []byte) {
	if f.unread != nil && len(p) > 0 {
		f.unread.Unread(p)
	}
}

// stream tells whether the file is one of records that may wait, see records.go.
func (f *fid) stream() bool { return (f.rpoll != nil || f.reader != nil) && !f.isText() }

// isText asks the file, which may be a stranger's, with c.mu held: a panic there must not leave the session locked.
func (f *fid) isText() (is bool) {
	if f.text == nil {
		return false
	}
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	return f.text.IsText()
}

// newFid makes a fid of file, which was reached through n; it is not in the table yet.
func newFid(id uint32, file p9.File, r *root, n *node, q wire.Qid) *fid {
	f := &fid{id: id, file: file, root: r, node: n, qid: q, isDir: q.Type&wire.QTDIR != 0}
	_, f.prompt = file.(p9ext.Prompt)
	f.text, _ = file.(p9ext.Text)
	return f
}

// insert puts f into the table. The number was free when the request came; another that was under way beside it may have taken it since.
// The caller holds c.mu.
func (c *session) insert(f *fid) error {
	if err := c.checkNew(f.id); err != nil {
		return err
	}
	c.fids[f.id] = f
	c.srv.stats.fids.Add(1)
	if f.text != nil && f.root.pad {
		f.path = c.enterPath(f.qid.Path)
	}
	return nil
}

// checkNew tells whether a fid of that number may be made. The caller holds c.mu.
func (c *session) checkNew(id uint32) error {
	switch {
	case id == wire.NoFid:
		return errUnknownFid
	case c.fids[id] != nil:
		return errFidInUse
	case len(c.fids) >= c.srv.conf.MaxFids:
		return errTooManyFids
	}
	return nil
}

// take removes f from the table and kills what is in flight on it; the caller buries that when it has released c.mu, which it holds.
func (c *session) take(f *fid) (dead []*request) {
	if f.clunked {
		return nil
	}
	f.clunked = true
	delete(c.fids, f.id)
	c.srv.stats.fids.Add(-1)
	if f.attach {
		c.attaches--
	}
	c.leavePath(f.path)
	f.path = nil
	dead = f.reqs
	f.reqs = nil
	for _, r := range dead {
		delete(c.reqs, r.tag)
		r.kill()
	}
	return dead
}

// closeFid ends f, which is in no table any more. It may wait for the driver.
func (c *session) closeFid(f *fid) {
	c.mu.Lock()
	if f.xattr != nil && f.xattr.of != f { // the file belongs to another fid
		c.mu.Unlock()
		return
	}
	if _, ok := f.file.(p9ext.Opener); f.state == opening && !ok {
		// p9.File does not say what an Open may find when it has been closed meanwhile: a descriptor would be left.
		f.late = true
		c.mu.Unlock()
		return
	}
	done := f.state == broken
	c.mu.Unlock()
	f.closeMu.Lock()
	f.closed = true
	dirs := f.dirs
	f.dirs = nil
	f.closeMu.Unlock()
	for _, d := range dirs {
		d.Close()
	}
	var err error
	if !done {
		_, err = guard(c, func() (struct{}, error) { return struct{}{}, f.file.Close() })
	}
	if err != nil {
		c.log.Debug().Err(err).Str("file", c.srv.tree.path(f.node)).Msg("close failed")
	}
	if f.node.shared != nil {
		c.srv.tree.leave(f)
	}
}

// renamed calls fn, which tells f's file of a rename, unless the file is closed.
func (f *fid) renamed(fn func()) {
	f.closeMu.Lock()
	defer f.closeMu.Unlock()
	if !f.closed {
		fn()
	}
}

// closeNow closes the file of f, which is in no table any more, if that needs no waiting. closeFid does the rest.
func (c *session) closeNow(f *fid) bool {
	p, ok := f.file.(p9ext.OpenPoller)
	if !ok || !f.prompt {
		return false
	}
	closed, _ := guard(c, func() (bool, error) { return p.PollClose(), nil })
	if closed {
		c.mu.Lock()
		f.state = broken
		c.mu.Unlock()
	}
	return closed
}

// clunk ends a fid. What waits on it is answered with EINTR; Rclunk follows the file's Close.
func (c *session) clunk(m *wire.Msg) {
	f, isXattr := c.endFid(m)
	if f == nil {
		return
	}
	if isXattr {
		c.clunkXattr(m, f)
		return
	}
	if !f.mayWaitInClose() || c.closeNow(f) {
		c.closeFid(f)
		c.batch = wire.AppendRclunk(c.batch, m.Tag)
		return
	}
	c.workers.Add(1)
	c.do(m, nil, false, func(context.Context) (result, error) {
		defer c.workers.Done()
		c.closeFid(f)
		return result{}, nil
	})
}

// endFid takes the fid of Tclunk or Tremove from the table, answers what waits on it, and tells whether it stands for an attribute.
// It returns nil when it has answered m with an error.
func (c *session) endFid(m *wire.Msg) (f *fid, isXattr bool) {
	c.mu.Lock()
	f = c.fids[m.Fid]
	if f == nil {
		c.mu.Unlock()
		c.fail(m.Tag, errUnknownFid)
		return nil, false
	}
	dead := c.take(f)
	isXattr = f.xattr != nil
	c.mu.Unlock()
	c.interrupt(dead)
	return f, isXattr
}

// interrupt answers requests that take killed. The answers overtake the batch, so that a worker's Rclunk comes after them.
func (c *session) interrupt(dead []*request) {
	for _, r := range dead {
		c.out.push(c.appendError(nil, r.tag, p9ext.ErrInterrupted))
		r.bury()
	}
}
