package fusemount

import (
	"context"
	"errors"
	"io"
	"math"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// status is the answer to the kernel about err.
func status(err error) fuse.Status {
	var errno linux.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, client.ErrLost), errors.Is(err, client.ErrClosed):
		return fuse.Status(syscall.ENOTCONN)
	case errors.Is(err, linux.ENOSYS):
		return fuse.Status(syscall.EOPNOTSUPP) // ENOSYS would say that this mount never heard of the request, and it is not made again
	case errors.As(err, &errno) && errno > 0 && errno < 512: // beyond, the kernel has numbers for itself
		return fuse.Status(hostErrno(errno))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fuse.EINTR
	}
	return fuse.EIO
}

// grace is how long a call that was interrupted may take to end by itself. See the package comment.
const grace = time.Second

// graceful is the context of a request that the kernel cancels by closing cancel. It is to be ended with the request.
func graceful(cancel <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancel(context.Background())
	go func() { // ends with the request
		select {
		case <-ctx.Done():
			return
		case <-cancel:
		}
		late := time.NewTimer(grace)
		defer late.Stop()
		select {
		case <-ctx.Done():
		case <-late.C:
			end()
		}
	}()
	return ctx, end
}

// with calls f with a fid of the node that the request names, of the user who calls.
func (m *Mount) with(cancel <-chan struct{}, h *fuse.InHeader, f func(context.Context, *node, *client.File) error) fuse.Status {
	ctx, end := graceful(cancel)
	defer end()
	n, file, err := m.file(ctx, h.NodeId, m.user(&h.Caller))
	if err != nil {
		return status(err)
	}
	return status(f(ctx, n, file))
}

// Inode numbers are qid paths, past 0 which means no file to many a program, and 1 which means bad blocks. v9fs does the same.
func ino(q p9.QID) uint64 { return q.Path + 2 }

// fill tells the kernel of attributes.
func (m *Mount) fill(a *client.Attr, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: ino(a.QID), Size: a.Size, Blocks: a.Blocks, Mode: uint32(a.Mode), Nlink: uint32(max(a.NLink, 1)), Rdev: uint32(a.RDev),
		Blksize: uint32(min(a.BlockSize, math.MaxUint32)),
		Owner:   fuse.Owner{Uid: a.UID, Gid: a.GID},
	}
	if a.UID == client.NoUID {
		out.Uid = m.uid
	}
	if a.GID == client.NoUID {
		out.Gid = m.gid
	}
	if out.Blksize == 0 {
		out.Blksize = 4096
	}
	stamp := func(t time.Time) *time.Time {
		if t.IsZero() {
			t = time.Unix(0, 0)
		}
		return &t
	}
	if a.CTime.IsZero() {
		a.CTime = a.MTime
	}
	out.SetTimes(stamp(a.ATime), stamp(a.MTime), stamp(a.CTime))
}

// found answers with a file that was walked to by name from parent. f is the node's then.
func (m *Mount) found(ctx context.Context, parent *node, name string, user uint32, f *client.File, out *fuse.EntryOut) error {
	a, err := f.GetAttr(ctx)
	if err != nil {
		f.Drop()
		return err
	}
	n, err := m.enter(parent, name, user, f)
	if err != nil {
		return err
	}
	out.NodeId, out.Generation = n.id, 1
	m.fill(&a, &out.Attr)
	return nil
}

// Lookup implements fuse.RawFileSystem.
func (m *Mount) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return m.with(cancel, h, func(ctx context.Context, n *node, dir *client.File) error {
		f, err := dir.Walk(ctx, name)
		if err != nil {
			return err
		}
		return m.found(ctx, n, name, m.user(&h.Caller), f, out)
	})
}

// GetAttr implements fuse.RawFileSystem. It tells of the file that was looked up, also to who has it open: an open clone is still clone.
func (m *Mount) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return m.with(cancel, &in.InHeader, func(ctx context.Context, _ *node, f *client.File) error {
		a, err := f.GetAttr(ctx)
		if err == nil {
			m.fill(&a, &out.Attr)
		}
		return err
	})
}

// SetAttr implements fuse.RawFileSystem.
func (m *Mount) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return m.with(cancel, &in.InHeader, func(ctx context.Context, _ *node, f *client.File) error {
		var mask client.SetMask
		var a client.Attr
		if mode, ok := in.GetMode(); ok {
			mask, a.Mode = mask|client.SetMode, p9.FileMode(mode)
		}
		if uid, ok := in.GetUID(); ok {
			mask, a.UID = mask|client.SetUser, uid
		}
		if gid, ok := in.GetGID(); ok {
			mask, a.GID = mask|client.SetGroup, gid
		}
		if size, ok := in.GetSize(); ok {
			mask, a.Size = mask|client.SetSize, size
		}
		if t, ok := in.GetATime(); ok {
			if mask |= client.SetATime; in.Valid&fuse.FATTR_ATIME_NOW == 0 {
				a.ATime = t
			}
		}
		if t, ok := in.GetMTime(); ok {
			if mask |= client.SetMTime; in.Valid&fuse.FATTR_MTIME_NOW == 0 {
				a.MTime = t
			}
		}
		on := f
		if id, ok := in.GetFh(); ok && mask == client.SetSize {
			h, err := m.handle(id)
			if err != nil {
				return err
			}
			on = h.file // ftruncate(2) is about what was opened
		}
		if mask != 0 {
			if err := on.SetAttr(ctx, mask, a); err != nil {
				return err
			}
		}
		now, err := f.GetAttr(ctx)
		if err == nil {
			m.fill(&now, &out.Attr)
		}
		return err
	})
}

// Access implements fuse.RawFileSystem. It is asked where the kernel does not check modes itself. 9P has no such question but to open the file, which
// would make a conversation of clone; so it is answered by the mode, and what is left to know is seen at the open.
func (m *Mount) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	return m.with(cancel, &in.InHeader, func(ctx context.Context, _ *node, f *client.File) error {
		a, err := f.GetAttr(ctx)
		if err != nil {
			return err
		}
		if !mayAccess(&a, &in.Caller, in.Mask) {
			return p9ext.ErrAccess
		}
		return nil
	})
}

// mayAccess says what the mode says of who calls. Where nothing is known of his groups but the first, he may what the group or all others may.
func mayAccess(a *client.Attr, c *fuse.Caller, mask uint32) bool {
	mode := uint32(a.Mode.Permissions())
	if c.Uid == 0 {
		return mask&fuse.X_OK == 0 || mode&0o111 != 0
	}
	if c.Uid == a.UID {
		mode >>= 6
	} else if in, known := inGroup(c, a.GID); in {
		mode >>= 3
	} else if !known {
		mode |= mode >> 3
	}
	return mask&^mode&7 == 0
}

// Create implements fuse.RawFileSystem.
func (m *Mount) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return m.with(cancel, &in.InHeader, func(ctx context.Context, n *node, dir *client.File) error {
		f, err := dir.Walk(ctx, "")
		if err != nil {
			return err
		}
		flags := m.openFlags(in.Flags)
		if err := f.Create(ctx, name, flags, p9.FileMode(in.Mode)); err != nil {
			f.Drop()
			return err
		}
		walked, err := dir.Walk(ctx, name)
		if err == nil {
			err = m.found(ctx, n, name, m.user(&in.Caller), walked, &out.EntryOut)
		}
		if err != nil {
			f.Drop()
			return err
		}
		m.opened(f, in.Flags, name, &out.OpenOut)
		return nil
	})
}

// Mknod implements fuse.RawFileSystem: plain files only.
func (m *Mount) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return fuse.EPERM
	}
	return m.with(cancel, &in.InHeader, func(ctx context.Context, n *node, dir *client.File) error {
		f, err := dir.Walk(ctx, "")
		if err != nil {
			return err
		}
		defer f.Drop()
		if err := f.Create(ctx, name, p9.WriteOnly, p9.FileMode(in.Mode)); err != nil {
			return err
		}
		walked, err := dir.Walk(ctx, name)
		if err != nil {
			return err
		}
		return m.found(ctx, n, name, m.user(&in.Caller), walked, out)
	})
}

// Mkdir implements fuse.RawFileSystem.
func (m *Mount) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return m.with(cancel, &in.InHeader, func(ctx context.Context, n *node, dir *client.File) error {
		if err := dir.Mkdir(ctx, name, p9.FileMode(in.Mode)); err != nil {
			return err
		}
		f, err := dir.Walk(ctx, name)
		if err != nil {
			return err
		}
		return m.found(ctx, n, name, m.user(&in.Caller), f, out)
	})
}

// Unlink implements fuse.RawFileSystem.
func (m *Mount) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return m.with(cancel, h, func(ctx context.Context, _ *node, dir *client.File) error {
		f, err := dir.Walk(ctx, name)
		if err != nil {
			return err
		}
		return f.Remove(ctx)
	})
}

// Rmdir implements fuse.RawFileSystem. The kernel has seen that it is a directory.
func (m *Mount) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return m.Unlink(cancel, h, name)
}

// Rename implements fuse.RawFileSystem.
func (m *Mount) Rename(cancel <-chan struct{}, in *fuse.RenameIn, old, name string) fuse.Status {
	if in.Flags != 0 { // to exchange two, not to replace one
		return fuse.EINVAL
	}
	return m.with(cancel, &in.InHeader, func(ctx context.Context, from *node, dir *client.File) error {
		to, newdir, err := m.file(ctx, in.Newdir, m.user(&in.Caller))
		if err != nil {
			return err
		}
		if to != from && m.conn.Dialect() != client.P9L {
			return p9ext.Errorf(linux.EXDEV, "%v renames within a directory only", m.conn.Dialect())
		}
		f, err := dir.Walk(ctx, old)
		if err != nil {
			return err
		}
		defer f.Drop()
		if err := f.Rename(ctx, newdir, name); err != nil {
			return err
		}
		m.nodes.Lock()
		defer m.nodes.Unlock()
		if n := m.nodes.byKey[keyOf(f.QID())]; n != nil {
			m.place(n, to, name)
		}
		return nil
	})
}

// Open implements fuse.RawFileSystem.
func (m *Mount) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return m.with(cancel, &in.InHeader, func(ctx context.Context, n *node, walked *client.File) error {
		f, err := open(ctx, walked, m.openFlags(in.Flags))
		if err != nil {
			return err
		}
		m.nodes.Lock()
		name := n.name
		m.nodes.Unlock()
		m.opened(f, in.Flags, name, out)
		return nil
	})
}

// OpenDir implements fuse.RawFileSystem.
func (m *Mount) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return m.with(cancel, &in.InHeader, func(ctx context.Context, _ *node, walked *client.File) error {
		f, err := open(ctx, walked, p9.ReadOnly)
		if err != nil {
			return err
		}
		out.Fh = m.hold(&handle{file: f})
		return nil
	})
}

// open opens a file anew.
func open(ctx context.Context, walked *client.File, flags p9.OpenFlags) (*client.File, error) {
	f, err := walked.Walk(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := f.Open(ctx, flags); err != nil {
		f.Drop()
		return nil, err
	}
	return f, nil
}

// openFlags are 9P's flags for those of open(2). The kernel truncates by SetAttr, and knows where to append where the dialect has no word for it.
func (m *Mount) openFlags(flags uint32) p9.OpenFlags {
	f := p9.OpenFlags(flags & syscall.O_ACCMODE)
	if flags&syscall.O_APPEND != 0 && m.conn.Dialect() != client.P9 {
		f |= client.Append
	}
	return f
}

// Read implements fuse.RawFileSystem.
func (m *Mount) Read(cancel <-chan struct{}, in *fuse.ReadIn, p []byte) (fuse.ReadResult, fuse.Status) {
	h, err := m.handle(in.Fh)
	if err != nil {
		return nil, status(err)
	}
	ctx := context.Context(&fuse.Context{Caller: in.Caller, Cancel: cancel})
	n, err := h.read(ctx, p, int64(in.Offset))
	if err != nil && err != io.EOF {
		return nil, status(err)
	}
	return fuse.ReadResultData(p[:n]), fuse.OK
}

// Write implements fuse.RawFileSystem.
func (m *Mount) Write(cancel <-chan struct{}, in *fuse.WriteIn, p []byte) (uint32, fuse.Status) {
	h, err := m.handle(in.Fh)
	if err != nil {
		return 0, status(err)
	}
	ctx, end := graceful(cancel)
	defer end()
	n, err := h.write(ctx, p, int64(in.Offset))
	if n > 0 { // the rest is for the next write to fail with
		return uint32(n), fuse.OK
	}
	return 0, status(err)
}

// Fsync implements fuse.RawFileSystem.
func (m *Mount) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h, err := m.handle(in.Fh)
	if err != nil {
		return status(err)
	}
	ctx, end := graceful(cancel)
	defer end()
	return status(h.file.Sync(ctx))
}

// FsyncDir implements fuse.RawFileSystem.
func (m *Mount) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return m.Fsync(cancel, in)
}

// Release implements fuse.RawFileSystem.
func (m *Mount) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { m.release(in.Fh) }

// ReleaseDir implements fuse.RawFileSystem.
func (m *Mount) ReleaseDir(in *fuse.ReleaseIn) { m.release(in.Fh) }

// StatFs implements fuse.RawFileSystem. A dialect that cannot tell describes a file system of no size.
func (m *Mount) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return m.with(cancel, in, func(ctx context.Context, _ *node, f *client.File) error {
		if m.conn.Dialect() != client.P9L {
			*out = fuse.StatfsOut{Bsize: 4096, Frsize: 4096, NameLen: 255}
			return nil
		}
		s, err := f.StatFS(ctx)
		if err != nil {
			return err
		}
		*out = fuse.StatfsOut{
			Blocks: s.Blocks, Bfree: s.BlocksFree, Bavail: s.BlocksAvailable, Files: s.Files, Ffree: s.FilesFree,
			Bsize: s.BlockSize, Frsize: s.BlockSize, NameLen: s.NameLength,
		}
		return nil
	})
}

// String names the file system.
func (m *Mount) String() string { return "clone9p" }
