package server

import (
	"context"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// Messages that change a tree. A tree of devices refuses them all; one of p9's own kind may not.

// directory returns the fid of an unopened directory and the checked name in it, or answers m with an error.
func (c *session) directory(m *wire.Msg, id uint32, name []byte) (*fid, string) {
	f := c.lookup(m.Tag, id)
	if f == nil {
		return nil, ""
	}
	s := string(name)
	err := checkName(s)
	switch {
	case err != nil:
	case s == "..":
		err = errBadName
	case !f.isDir:
		err = errNotDir
	}
	if err != nil {
		c.fail(m.Tag, err)
		return nil, ""
	}
	return f, s
}

// change runs fn with the exclusion e on the directory f, which must still exist.
func (c *session) change(m *wire.Msg, f *fid, e exclusion, fn func(ctx context.Context) (result, error)) {
	c.do(m, f, f.prompt, func(ctx context.Context) (result, error) {
		unlock, err := c.srv.tree.lock(ctx, f.node, e)
		if err != nil {
			return result{}, err
		}
		defer unlock()
		if c.srv.tree.gone(f.node) {
			return result{}, p9ext.ErrNotExist
		}
		return fn(ctx)
	})
}

// qidReply is the result of messages that answer with the qid of what they made.
func qidReply(t wire.Type, tag uint16, q p9.QID) result {
	return result{reply: func(b []byte) []byte { return wire.AppendQidReply(b, t.Reply(), tag, wireQid(q)) }}
}

// gid is the group a new file gets: the message's, or the user's own.
func (f *fid) gid(m *wire.Msg) p9.GID {
	if m.Gid != keep32 && m.Gid != 0 {
		return p9.GID(m.Gid)
	}
	return p9.GID(f.root.user.GID)
}

// create answers Tlcreate and Tcreate: the fid becomes the new file, open.
func (c *session) create(m *wire.Msg) {
	f, name := c.directory(m, m.Fid, m.Name)
	if f == nil {
		return
	}
	flags, perm, gid := p9.OpenFlags(m.Flags), p9.FileMode(m.Mode).Permissions(), f.gid(m)
	isDir := false
	var err error
	if m.Type == wire.Tcreate {
		if flags, err = openFlags(c.dialect, m.Mode); err == nil && m.Perm&^(wire.DMDIR|0o777) != 0 {
			err = p9ext.Errorf(linux.EPERM, "only files and directories can be created")
		}
		perm, gid, isDir = p9.FileMode(m.Perm&0o777), p9.GID(f.root.user.GID), m.Perm&wire.DMDIR != 0
	}
	c.mu.Lock()
	if err == nil && f.state != walked {
		err = errOpenFid
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	typ, tag, uid := m.Type, m.Tag, p9.UID(f.root.user.UID)
	c.change(m, f, writes, func(context.Context) (result, error) {
		file, q, iounit, err := createIn(f.file, name, isDir, flags, perm, uid, gid)
		if err != nil {
			return result{}, err
		}
		_, prompt := file.(p9ext.Prompt)
		g := newFid(f.id, file, f.root, c.srv.tree.child(f.node, name, prompt), wireQid(q))
		if isDir {
			g.isDir = true
			g.qid.Type |= wire.QTDIR
		}
		c.enter(g)
		res := c.newFidResult(g, func(b []byte) []byte { return wire.AppendRopen(b, typ.Reply(), tag, g.qid, iounit) })
		c.replacing(&res, f, g, func() { g.setOpen(flags, g.qid, false) })
		return res, nil
	})
}

// createIn creates name in dir and opens it.
func createIn(dir p9.File, name string, isDir bool, flags p9.OpenFlags, perm p9.FileMode, uid p9.UID, gid p9.GID) (p9.File, p9.QID, uint32, error) {
	if !isDir {
		return dir.Create(name, flags, perm, uid, gid)
	}
	if _, err := dir.Mkdir(name, perm, uid, gid); err != nil {
		return nil, p9.QID{}, 0, err
	}
	_, file, err := dir.Walk([]string{name})
	if err != nil {
		return nil, p9.QID{}, 0, err
	}
	q, iounit, err := file.Open(p9.ReadOnly)
	if err != nil {
		file.Close()
	}
	return file, q, iounit, err
}

func (c *session) mkdir(m *wire.Msg) {
	f, name := c.directory(m, m.Fid, m.Name)
	if f == nil {
		return
	}
	tag, perm, gid := m.Tag, p9.FileMode(m.Mode).Permissions(), f.gid(m)
	c.change(m, f, writes, func(context.Context) (result, error) {
		q, err := f.file.Mkdir(name, perm, p9.UID(f.root.user.UID), gid)
		return qidReply(wire.Tmkdir, tag, q), err
	})
}

func (c *session) symlink(m *wire.Msg) {
	f, name := c.directory(m, m.Fid, m.Name)
	if f == nil {
		return
	}
	tag, target, gid := m.Tag, string(m.Newname), f.gid(m)
	c.change(m, f, writes, func(context.Context) (result, error) {
		q, err := f.file.Symlink(target, name, p9.UID(f.root.user.UID), gid)
		return qidReply(wire.Tsymlink, tag, q), err
	})
}

func (c *session) mknod(m *wire.Msg) {
	f, name := c.directory(m, m.Fid, m.Name)
	if f == nil {
		return
	}
	tag, mode, major, minor, gid := m.Tag, p9.FileMode(m.Mode), m.Major, m.Minor, f.gid(m)
	c.change(m, f, writes, func(context.Context) (result, error) {
		q, err := f.file.Mknod(name, mode, major, minor, p9.UID(f.root.user.UID), gid)
		return qidReply(wire.Tmknod, tag, q), err
	})
}

func (c *session) link(m *wire.Msg) {
	f, name := c.directory(m, m.Fid, m.Name)
	if f == nil {
		return
	}
	target := c.lookup(m.Tag, m.Newfid)
	if target == nil {
		return
	}
	c.change(m, f, writes, func(context.Context) (result, error) {
		return result{}, f.file.Link(target.file, name)
	})
}

func (c *session) unlinkat(m *wire.Msg) {
	f, name := c.directory(m, m.Fid, m.Name)
	if f == nil {
		return
	}
	flags := m.Flags
	c.change(m, f, writes, func(context.Context) (result, error) {
		err := f.file.UnlinkAt(name, flags)
		if err == nil {
			c.srv.tree.removed(f.node, name)
		}
		return result{}, err
	})
}

func (c *session) renameat(m *wire.Msg) {
	f, oldName := c.directory(m, m.Fid, m.Name)
	if f == nil {
		return
	}
	g, newName := c.directory(m, m.Newfid, m.Newname)
	if g == nil {
		return
	}
	c.change(m, f, renames, func(context.Context) (result, error) {
		return result{}, c.renameIn(f.file, f.node, oldName, g.file, g.node, newName)
	})
}

// rename answers Trename, the form of .L before Trenameat.
func (c *session) rename(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	dir, name := c.directory(m, m.Newfid, m.Name)
	if dir == nil {
		return
	}
	c.do(m, f, false, func(ctx context.Context) (result, error) { return result{}, c.renameFid(ctx, f, dir, name) })
}

// renameFid renames the file of f to name in dir, or where it is when dir is nil.
func (c *session) renameFid(ctx context.Context, f, dir *fid, name string) error {
	parent, err := c.parent(ctx, f)
	if err != nil {
		return err
	}
	defer c.closeFid(parent)
	if dir == nil {
		dir = parent
	}
	unlock, err := c.srv.tree.lock(ctx, f.node, renames)
	if err != nil {
		return err
	}
	defer unlock()
	if c.srv.tree.gone(f.node) || c.srv.tree.gone(dir.node) {
		return p9ext.ErrNotExist
	}
	return c.renameIn(parent.file, parent.node, c.srv.tree.name(f.node), dir.file, dir.node, name)
}

// renameIn renames and tells the fids that are concerned. The caller holds the global exclusion.
func (c *session) renameIn(from p9.File, fromNode *node, oldName string, to p9.File, toNode *node, newName string) error {
	if fromNode == toNode && oldName == newName {
		return nil
	}
	if err := from.RenameAt(oldName, to, newName); err != nil {
		return err
	}
	for _, f := range c.srv.tree.renamed(fromNode, oldName, toNode, newName) {
		f.renamed(func() {
			dir := to
			if f.node.parent != toNode { // deeper in a directory that moved
				names := c.srv.tree.names(f.node)
				d, err := c.srv.directoryAt(c.ctx, f.root.user, names[:len(names)-1])
				if err != nil { // removed since by somebody outside: there is no directory to tell of
					return
				}
				f.dirs = append(f.dirs, d) // p9 promises that newDir lives as long as the file
				dir = d
			}
			f.file.Renamed(dir, c.srv.tree.name(f.node))
		})
	}
	return nil
}

// directoryAt walks to names without any exclusion: the caller has all there is.
func (s *Server) directoryAt(ctx context.Context, u p9ext.User, names []string) (p9.File, error) {
	dir, err := s.attachRoot(ctx, u)
	for _, name := range names {
		if err != nil {
			return nil, err
		}
		var next p9.File
		_, next, err = dir.Walk([]string{name})
		dir.Close()
		dir = next
	}
	return dir, err
}

// parent makes a fid, in no table, of the directory that f's file is in.
func (c *session) parent(ctx context.Context, f *fid) (*fid, error) {
	names := c.srv.tree.names(f.node)
	if len(names) == 0 {
		return nil, p9ext.Errorf(linux.EBUSY, "the root cannot be renamed or removed")
	}
	return c.walkFromRoot(ctx, wire.NoFid, f.root, names[:len(names)-1])
}

// remove answers Tremove: a clunk that first tries to remove the file.
func (c *session) remove(m *wire.Msg) {
	f, isXattr := c.endFid(m)
	if f == nil {
		return
	}
	c.workers.Add(1)
	c.do(m, nil, false, func(ctx context.Context) (result, error) {
		defer c.workers.Done()
		defer c.closeFid(f)
		if isXattr {
			return result{}, errUnknownFid
		}
		return result{}, c.removeFile(ctx, f)
	})
}

func (c *session) removeFile(ctx context.Context, f *fid) error {
	parent, err := c.parent(ctx, f)
	if err != nil {
		return err
	}
	defer c.closeFid(parent)
	unlock, err := c.srv.tree.lock(ctx, parent.node, renames)
	if err != nil {
		return err
	}
	defer unlock()
	if c.srv.tree.gone(f.node) {
		return p9ext.ErrNotExist
	}
	name := c.srv.tree.name(f.node)
	if err := parent.file.UnlinkAt(name, 0); err != nil {
		return err
	}
	c.srv.tree.removed(parent.node, name)
	return nil
}

func (c *session) readlink(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	tag := m.Tag
	c.change(m, f, reads, func(context.Context) (result, error) {
		target, err := f.file.Readlink()
		return f.reply(&wire.Msg{Type: wire.Rreadlink, Tag: tag, Newname: []byte(target)}), err
	})
}

func (c *session) lock(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	tag, pid, typ, flags, start, length, id := m.Tag, int(m.ProcID), p9.LockType(m.LockType), p9.LockFlags(m.Flags), m.Start, m.Length, string(m.Newname)
	c.do(m, f, f.prompt, func(context.Context) (result, error) {
		status, err := f.file.Lock(pid, typ, flags, start, length, id)
		return f.reply(&wire.Msg{Type: wire.Rlock, Tag: tag, LockStatus: uint8(status)}), err
	})
}

// getlock answers Tgetlock: p9.File cannot tell, so nothing is in the way.
func (c *session) getlock(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	r := *m
	r.Type, r.LockType = wire.Rgetlock, wire.LockUnlock
	res := f.reply(&r)
	c.batch = res.append(c.batch, m.Type, m.Tag)
}
