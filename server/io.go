package server

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// Linux's open flags that a mode of 9P2000 becomes.
const (
	linuxTrunc  = 0o1000
	linuxAppend = 0o2000
)

// openFlags makes p9's flags, which are Linux's, of the mode of Topen. Linux adds OAPPEND in .u.
func openFlags(d wire.Dialect, mode uint32) (p9.OpenFlags, error) {
	known := uint32(3 | wire.OTRUNC | wire.OCEXEC | wire.ORCLOSE)
	if d == wire.P9u {
		known |= wire.OAPPEND
	}
	if mode&^known != 0 {
		return 0, errBadMode
	}
	if mode&wire.ORCLOSE != 0 { // nothing here can be removed by its last close
		return 0, p9ext.ErrAccess
	}
	flags := p9.OpenFlags(mode & 3)
	if mode&3 == wire.OEXEC {
		flags = p9.ReadOnly
	}
	if mode&wire.OTRUNC != 0 {
		flags |= linuxTrunc
	}
	if mode&wire.OAPPEND != 0 {
		flags |= linuxAppend
	}
	return flags, nil
}

// open answers Topen and Tlopen. The qid that the open returns is the fid's from then on: opening clone gives the ctl of the new conversation.
func (c *session) open(m *wire.Msg) {
	flags := p9.OpenFlags(m.Flags)
	var err error
	if m.Type == wire.Topen {
		flags, err = openFlags(c.dialect, m.Mode)
	}
	c.mu.Lock()
	f := c.fids[m.Fid]
	switch {
	case err != nil:
	case f == nil:
		err = errUnknownFid
	case f.state != walked:
		err = errOpenFid
	case flags.Mode() == 3:
		err = errBadMode
	case f.isDir && (flags.Mode() != p9.ReadOnly || flags&linuxTrunc != 0):
		err = errIsDir
	default:
		f.state = opening
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	o, isOpener := f.file.(p9ext.Opener)
	if f.prompt {
		now, err := guard(c, func() (openReply, error) { return openNow(f.file, o, flags) })
		if !errors.Is(err, p9ext.ErrWait) {
			c.mu.Lock()
			if err == nil {
				f.setOpen(flags, now.qid, isOpener)
			} else {
				f.state = walked
			}
			c.mu.Unlock()
			if err != nil {
				c.fail(m.Tag, err)
				return
			}
			c.batch = wire.AppendRopen(c.batch, m.Type.Reply(), m.Tag, f.qid, now.iounit)
			return
		}
	}
	typ, tag := m.Type, m.Tag
	ok := c.do(m, f, false, func(ctx context.Context) (result, error) {
		now, err := guard(c, func() (openReply, error) { return c.openWaiting(ctx, f, o, flags) })
		if err != nil {
			c.unopened(f)
			return result{}, err
		}
		return result{
			commit: func() error { f.setOpen(flags, now.qid, isOpener); return nil },
			reply: func(b []byte) []byte {
				return wire.AppendRopen(b, typ.Reply(), tag, now.qid, now.iounit)
			},
			undo: func() { c.undoOpen(f) },
		}, nil
	})
	if !ok {
		c.unopened(f)
	}
}

// An openReply is what an open brings.
type openReply struct {
	qid    wire.Qid
	iounit uint32
}

func openFile(file p9.File, flags p9.OpenFlags) (openReply, error) {
	q, iounit, err := file.Open(flags)
	return openReply{wireQid(q), iounit}, err
}

// openNow opens a Prompt file; o is the file as an Opener, or nil. It returns ErrWait where that may wait.
func openNow(file p9.File, o p9ext.Opener, flags p9.OpenFlags) (openReply, error) {
	if o == nil {
		return openFile(file, flags)
	}
	p, ok := o.(p9ext.OpenPoller)
	if !ok {
		return openReply{}, p9ext.ErrWait
	}
	q, iounit, err := p.PollOpen(flags)
	return openReply{wireQid(q), iounit}, err
}

// openWaiting opens f's file with the context it knows to use, or with the exclusion that p9 promises.
func (c *session) openWaiting(ctx context.Context, f *fid, o p9ext.Opener, flags p9.OpenFlags) (openReply, error) {
	if o != nil {
		q, iounit, err := o.OpenContext(ctx, flags)
		return openReply{wireQid(q), iounit}, err
	}
	unlock, err := c.srv.tree.lock(ctx, f.node, reads)
	if err != nil {
		return openReply{}, err
	}
	defer unlock()
	if c.srv.tree.gone(f.node) {
		return openReply{}, p9ext.ErrNotExist
	}
	return openFile(f.file, flags)
}

// unopened is the end of an open that failed: the fid is what it was, or closed now when it was clunked meanwhile.
func (c *session) unopened(f *fid) {
	c.mu.Lock()
	f.state = walked
	late := f.late
	c.mu.Unlock()
	if late {
		c.closeFid(f)
	}
}

// undoOpen closes a file whose open succeeded after it had been flushed: what it opened must not live on, and p9.File has no other
// way back. If the fid was clunked meanwhile, its closeFid has closed the file, or will, or has left it to us.
func (c *session) undoOpen(f *fid) {
	c.mu.Lock()
	clunked, late := f.clunked, f.late
	f.state = broken
	if clunked {
		f.state = opened
	}
	c.mu.Unlock()
	switch {
	case late:
		c.closeFid(f)
	case !clunked:
		c.log.Debug().Str("file", c.srv.tree.path(f.node)).Msg("open undone: it was flushed")
		f.file.Close()
	}
}

// setOpen records an open and finds out what the file can do. The caller holds c.mu.
func (f *fid) setOpen(flags p9.OpenFlags, q wire.Qid, opener bool) {
	f.flags, f.opener, f.state = flags, opener, opened
	if f.isDir {
		q.Type |= wire.QTDIR
	}
	f.qid = q
	f.reader, _ = f.file.(p9ext.Reader)
	f.writer, _ = f.file.(p9ext.Writer)
	f.rpoll, _ = f.file.(p9ext.ReadPoller)
	f.wpoll, _ = f.file.(p9ext.WritePoller)
	f.unread, _ = f.file.(p9ext.Unreader)
}

// pollRead is f's PollRead, with a panic made an error.
func (c *session) pollRead(f *fid, p []byte, r *request) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(v)
			n, err = 0, errPanic
		}
	}()
	return f.rpoll.PollRead(p, int64(r.off), r)
}

// pollWrite is the same for PollWrite.
func (c *session) pollWrite(f *fid, r *request) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(v)
			n, err = 0, errPanic
		}
	}()
	return f.wpoll.PollWrite(r.data, int64(r.off), r)
}

// canRead and canWrite tell whether f was opened for it. The caller holds c.mu.
func (f *fid) canRead() bool  { return f.state == opened && f.flags.Mode() != p9.WriteOnly }
func (f *fid) canWrite() bool { return f.state == opened && f.flags.Mode() != p9.ReadOnly }

// attribute returns the attribute that f reads or writes, as state says, or nil. The caller holds c.mu.
func (f *fid) attribute(state fidState) *xattr {
	if f == nil || f.state != state {
		return nil
	}
	return f.xattr
}

// failIO answers a read or write that the fid or the offset does not allow.
func (c *session) failIO(m *wire.Msg, f *fid) {
	switch {
	case f == nil:
		c.fail(m.Tag, errUnknownFid)
	case m.Offset > math.MaxInt64:
		c.fail(m.Tag, errNegative)
	default:
		c.fail(m.Tag, errNotOpen)
	}
}

// read answers Tread: at once where that is possible.
func (c *session) read(m *wire.Msg) {
	count := min(m.Count, c.msize-wire.DataHeader)
	c.mu.Lock()
	f := c.fids[m.Fid]
	if f == nil || !f.canRead() || m.Offset > math.MaxInt64 {
		x := f.attribute(xattrRead)
		c.mu.Unlock()
		if x != nil {
			c.readXattr(m, x)
		} else {
			c.failIO(m, f)
		}
		return
	}
	// A read of nothing takes nothing: a file of records would lose one.
	if count == 0 && !f.isDir || f.records.expected != nil && f.records.match(m.Offset, count) {
		c.mu.Unlock()
		c.batch = wire.BeginRread(c.batch, m.Tag)
		wire.EndRread(c.batch, len(c.batch)-wire.DataHeader)
		return
	}
	waits := f.rpoll != nil
	var r *request
	if waits {
		r = c.newRequest()
	}
	c.mu.Unlock()
	if f.isDir {
		if c.dialect == wire.P9L {
			c.fail(m.Tag, errIsDir)
			return
		}
		c.readDir(m, f, count)
		return
	}
	if waits {
		r.fid, r.tag, r.typ, r.off, r.count, r.state, r.woken = f, m.Tag, wire.Tread, m.Offset, count, polling, false
		err := c.readNow(m, f, count, func(p []byte) (int, error) { return c.pollRead(f, p, r) })
		switch {
		case errors.Is(err, p9ext.ErrWait):
			c.park(r)
			return
		case !errors.Is(err, p9ext.ErrNoPoll):
			c.mu.Lock()
			c.recycle(r)
			c.mu.Unlock()
			return
		}
	}
	switch {
	case f.reader != nil:
		c.enqueue(&f.reads, &request{c: c, fid: f, tag: m.Tag, typ: wire.Tread, off: m.Offset, count: count})
	case f.prompt:
		off := int64(m.Offset)
		c.readNow(m, f, count, func(p []byte) (int, error) { return f.file.ReadAt(p, off) })
	default:
		c.readForeign(m, f, count)
	}
}

// readNow reads on the receiving goroutine, straight into the batch of replies where there is room. It answers m unless the error that it returns is one of p9ext's signals.
func (c *session) readNow(m *wire.Msg, f *fid, count uint32, read func([]byte) (int, error)) error {
	need := wire.DataHeader + int(count)
	start := len(c.batch)
	var buf *buffer
	b := c.batch
	if cap(b)-start < need {
		if need <= maxBatch && start == 0 {
			c.batch = slices.Grow(c.batch, max(need, minBuffer)) // for good: most reads of a stream wait, and the room is the next one's
			b = c.batch
		} else {
			buf = getBuffer(need)
			b, start = buf.b[:0], 0
		}
	}
	b = wire.BeginRread(b, m.Tag)
	at := len(b)
	p := b[at : at+int(count)]
	n, err := read(p)
	if errors.Is(err, p9ext.ErrWait) || errors.Is(err, p9ext.ErrNoPoll) {
		if buf != nil {
			putBuffer(buf)
		}
		return err
	}
	c.mu.Lock()
	n, err = c.readDone(f, p, m.Offset, n, err)
	c.mu.Unlock()
	switch {
	case err != nil:
		c.fail(m.Tag, err)
	case buf == nil:
		c.batch = b[:at+n]
		wire.EndRread(c.batch, start)
		return nil
	default:
		b = b[:at+n]
		wire.EndRread(b, 0)
		if len(b) > smallReply {
			c.bulk(b, buf)
			return nil
		}
		c.batch = append(c.batch, b...)
	}
	if buf != nil {
		putBuffer(buf)
	}
	return nil
}

// maxBulk is how many bytes of large replies are collected before they are written even though more messages wait.
const maxBulk = 512 << 10

// bulk queues a large reply, which lies in buf, after the batch. It is written when the messages at hand are answered, so that several go out with one
// system call and the peer wakes once, or when enough has come together.
func (c *session) bulk(b []byte, buf *buffer) {
	if len(c.batch) > 0 {
		c.out.push(c.batch)
		c.batch = c.batch[:0]
	}
	if c.out.pushBuffer(b, buf) >= maxBulk {
		c.out.flush()
		c.out.waitRoom()
	}
}

// readForeign reads a file of p9's own kind, which may take its time, on a worker.
func (c *session) readForeign(m *wire.Msg, f *fid, count uint32) {
	tag, off := m.Tag, m.Offset
	c.do(m, f, false, func(ctx context.Context) (result, error) {
		if err := c.memory.Acquire(ctx, int64(count)); err != nil {
			return result{}, err
		}
		defer c.memory.Release(int64(count))
		p := make([]byte, count)
		unlock, err := c.srv.tree.lock(ctx, f.node, reads)
		if err != nil {
			return result{}, err
		}
		n, err := f.file.ReadAt(p, int64(off))
		unlock()
		c.mu.Lock()
		n, err = c.readDone(f, p, off, n, err)
		c.mu.Unlock()
		if err != nil {
			return result{}, err
		}
		return result{reply: func(b []byte) []byte {
			start := len(b)
			b = append(wire.BeginRread(b, tag), p[:n]...)
			wire.EndRread(b, start)
			return b
		}}, nil
	})
}

// write answers Twrite: at once where that is possible. Data that has to wait is copied.
func (c *session) write(m *wire.Msg) {
	c.mu.Lock()
	f := c.fids[m.Fid]
	if f == nil || !f.canWrite() || m.Offset > math.MaxInt64 {
		x := f.attribute(xattrWrite)
		c.mu.Unlock()
		if x != nil {
			c.writeXattr(m, x)
		} else {
			c.failIO(m, f)
		}
		return
	}
	waits := f.wpoll != nil
	var r *request
	if waits {
		r = c.newRequest()
	}
	c.mu.Unlock()
	if waits {
		r.fid, r.tag, r.typ, r.off, r.data, r.state, r.woken = f, m.Tag, wire.Twrite, m.Offset, m.Data, polling, false
		n, err := c.pollWrite(f, r)
		switch {
		case errors.Is(err, p9ext.ErrWait):
			// Wake may have come already, but nobody touches r while it is polling.
			r.data = slices.Clone(m.Data)
			c.park(r)
			return
		case !errors.Is(err, p9ext.ErrNoPoll):
			c.wrote(m, f, n, err)
			c.mu.Lock()
			c.recycle(r)
			c.mu.Unlock()
			return
		}
	}
	switch {
	case f.writer != nil:
		c.enqueue(&f.writes, &request{c: c, fid: f, tag: m.Tag, typ: wire.Twrite, off: m.Offset, data: slices.Clone(m.Data)})
	case f.prompt:
		n, err := f.file.WriteAt(m.Data, int64(m.Offset))
		c.wrote(m, f, n, err)
	default:
		data, tag, off := slices.Clone(m.Data), m.Tag, m.Offset
		c.do(m, f, false, func(ctx context.Context) (result, error) {
			unlock, err := c.srv.tree.lock(ctx, f.node, reads)
			if err != nil {
				return result{}, err
			}
			n, err := f.file.WriteAt(data, int64(off))
			unlock()
			if err != nil {
				return result{}, err
			}
			return result{
				commit: func() error { c.writeDone(f, off, n); return nil },
				reply:  func(b []byte) []byte { return wire.AppendRwrite(b, tag, uint32(n)) },
			}, nil
		})
	}
}

// wrote answers a write that was done on the receiving goroutine.
func (c *session) wrote(m *wire.Msg, f *fid, n int, err error) {
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	if f.path != nil || f.zeros.n > 0 {
		c.mu.Lock()
		c.writeDone(f, m.Offset, n)
		c.mu.Unlock()
	}
	c.batch = wire.AppendRwrite(c.batch, m.Tag, uint32(n))
}
