package server

import (
	"context"
	"errors"
	"os/user"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// lookup returns the fid of that number, or answers tag with an error.
func (c *session) lookup(tag uint16, id uint32) *fid {
	c.mu.Lock()
	f := c.fids[id]
	ok := f.usable()
	c.mu.Unlock()
	if !ok {
		c.fail(tag, errUnknownFid)
		return nil
	}
	return f
}

// usable tells whether f stands for a file whose methods may be called. The caller holds c.mu.
func (f *fid) usable() bool { return f != nil && f.xattr == nil && f.state != broken }

// getattr answers Tgetattr, which also tells a Linux client anew how long the file is.
func (c *session) getattr(m *wire.Msg) {
	c.mu.Lock()
	f := c.fids[m.Fid]
	ok := f.usable()
	if ok {
		f.sizeTold()
	}
	c.mu.Unlock()
	if !ok {
		c.fail(m.Tag, errUnknownFid)
		return
	}
	if f.prompt {
		q, valid, attr, err := f.file.GetAttr(p9.AttrMaskAll)
		if err != nil {
			c.fail(m.Tag, err)
			return
		}
		putAttr(&m.Attr, q, valid, &attr)
		c.batch = wire.AppendRgetattr(c.batch, m.Tag, &m.Attr)
		return
	}
	tag := m.Tag
	c.do(m, f, false, func(ctx context.Context) (result, error) {
		q, valid, attr, err := c.getAttrFile(ctx, f)
		if err != nil {
			return result{}, err
		}
		var a wire.Attr
		putAttr(&a, q, valid, &attr)
		return result{reply: func(b []byte) []byte { return wire.AppendRgetattr(b, tag, &a) }}, nil
	})
}

// getAttrFile is GetAttr with the exclusion that p9 promises.
func (c *session) getAttrFile(ctx context.Context, f *fid) (p9.QID, p9.AttrMask, p9.Attr, error) {
	unlock, err := c.srv.tree.lock(ctx, f.node, reads)
	if err != nil {
		return p9.QID{}, p9.AttrMask{}, p9.Attr{}, err
	}
	defer unlock()
	return f.file.GetAttr(p9.AttrMaskAll)
}

// putAttr puts p9's attributes into the form of Rgetattr. It fills w in place: Tgetattr is what clients send most, and these structs are large.
func putAttr(w *wire.Attr, q p9.QID, v p9.AttrMask, a *p9.Attr) {
	w.Valid = bit(v.Mode, wire.GetMode) | bit(v.NLink, wire.GetNlink) | bit(v.UID, wire.GetUid) | bit(v.GID, wire.GetGid) |
		bit(v.RDev, wire.GetRdev) | bit(v.ATime, wire.GetAtime) | bit(v.MTime, wire.GetMtime) | bit(v.CTime, wire.GetCtime) |
		bit(v.INo, wire.GetIno) | bit(v.Size, wire.GetSize) | bit(v.Blocks, wire.GetBlocks) | bit(v.BTime, wire.GetBtime) |
		bit(v.Gen, wire.GetGen) | bit(v.DataVersion, wire.GetDataVersion)
	w.Qid = wireQid(q)
	w.Mode, w.Uid, w.Gid = uint32(a.Mode), uint32(a.UID), uint32(a.GID)
	w.Nlink, w.Rdev = uint64(a.NLink), uint64(a.RDev)
	w.Size, w.Blksize, w.Blocks = a.Size, a.BlockSize, a.Blocks
	w.AtimeSec, w.AtimeNsec = a.ATimeSeconds, a.ATimeNanoSeconds
	w.MtimeSec, w.MtimeNsec = a.MTimeSeconds, a.MTimeNanoSeconds
	w.CtimeSec, w.CtimeNsec = a.CTimeSeconds, a.CTimeNanoSeconds
	w.BtimeSec, w.BtimeNsec = a.BTimeSeconds, a.BTimeNanoSeconds
	w.Gen, w.DataVersion = a.Gen, a.DataVersion
}

// bit returns b where set is true, and 0 otherwise.
func bit(set bool, b uint64) uint64 {
	if set {
		return b
	}
	return 0
}

// setattr answers Tsetattr.
func (c *session) setattr(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	v, s := m.SetAttr.Valid, &m.SetAttr
	valid := p9.SetAttrMask{
		Permissions: v&wire.SetMode != 0, UID: v&wire.SetUid != 0, GID: v&wire.SetGid != 0, Size: v&wire.SetSize != 0,
		ATime: v&wire.SetAtime != 0, MTime: v&wire.SetMtime != 0, CTime: v&wire.SetCtime != 0,
		ATimeNotSystemTime: v&wire.SetAtimeSet != 0, MTimeNotSystemTime: v&wire.SetMtimeSet != 0,
	}
	attr := p9.SetAttr{
		Permissions: p9.FileMode(s.Mode), UID: p9.UID(s.Uid), GID: p9.GID(s.Gid), Size: s.Size,
		ATimeSeconds: s.AtimeSec, ATimeNanoSeconds: s.AtimeNsec, MTimeSeconds: s.MtimeSec, MTimeNanoSeconds: s.MtimeNsec,
	}
	c.do(m, f, f.prompt, func(ctx context.Context) (result, error) {
		return result{}, c.setAttrFile(ctx, f, valid, attr)
	})
}

// setAttrFile is SetAttr with the exclusion that p9 promises.
func (c *session) setAttrFile(ctx context.Context, f *fid, valid p9.SetAttrMask, attr p9.SetAttr) error {
	unlock, err := c.srv.tree.lock(ctx, f.node, writes)
	if err != nil {
		return err
	}
	defer unlock()
	return f.file.SetAttr(valid, attr)
}

// statfs answers Tstatfs.
func (c *session) statfs(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	tag := m.Tag
	c.do(m, f, f.prompt, func(context.Context) (result, error) {
		s, err := f.file.StatFS()
		if err != nil {
			return result{}, err
		}
		r := wire.Msg{Type: wire.Rstatfs, Tag: tag, Statfs: wire.Statfs{
			FsType: s.Type, Bsize: s.BlockSize, Blocks: s.Blocks, Bfree: s.BlocksFree, Bavail: s.BlocksAvailable,
			Files: s.Files, Ffree: s.FilesFree, Fsid: s.FSID, Namelen: s.NameLength,
		}}
		return f.reply(&r), nil
	})
}

// reply is the result that answers with r, for messages that are not worth an appender of their own.
func (f *fid) reply(r *wire.Msg) result {
	d := f.root.dialect
	return result{reply: func(b []byte) []byte {
		out, err := wire.Append(b, d, r)
		if err != nil { // a name too long for the wire
			errno, text := wireError(p9ext.Errorf(linux.EIO, "the answer does not fit into a message: %w", err))
			return wire.AppendRerror(b, d, r.Tag, text, errno)
		}
		return out
	}}
}

// fsync answers Tfsync.
func (c *session) fsync(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	c.do(m, f, f.prompt, func(ctx context.Context) (result, error) { return result{}, c.fsyncFile(ctx, f) })
}

func (c *session) fsyncFile(ctx context.Context, f *fid) error {
	unlock, err := c.srv.tree.lock(ctx, f.node, reads)
	if err != nil {
		return err
	}
	defer unlock()
	return f.file.FSync()
}

// stat answers Tstat.
func (c *session) stat(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	c.mu.Lock()
	f.sizeTold()
	c.mu.Unlock()
	tag := m.Tag
	c.do(m, f, f.prompt, func(ctx context.Context) (result, error) {
		q, _, attr, err := c.getAttrFile(ctx, f)
		if err != nil {
			return result{}, err
		}
		r := wire.Msg{Type: wire.Rstat, Tag: tag, Stat: c.srv.makeStat(f.root.dialect, c.srv.tree.name(f.node), wireQid(q), attr)}
		return f.reply(&r), nil
	})
}

// makeStat makes the directory entry of 9P2000 and .u, which has names where p9.Attr has numbers.
func (s *Server) makeStat(d wire.Dialect, name string, q wire.Qid, a p9.Attr) wire.Stat {
	mode := uint32(a.Mode.Permissions()) & 0o777
	switch {
	case a.Mode.IsDir():
		mode |= wire.DMDIR
		q.Type |= wire.QTDIR
	case d != wire.P9u:
	case a.Mode.FileType() == p9.ModeSymlink:
		mode |= wire.DMSYMLINK
	case a.Mode.IsNamedPipe():
		mode |= wire.DMNAMEDPIPE
	case a.Mode.IsSocket():
		mode |= wire.DMSOCKET
	case a.Mode.IsCharacterDevice(), a.Mode.IsBlockDevice():
		mode |= wire.DMDEVICE
	}
	uid := []byte(s.names.user(uint32(a.UID)))
	st := wire.Stat{
		Qid: q, Mode: mode, Atime: uint32(a.ATimeSeconds), Mtime: uint32(a.MTimeSeconds), Length: a.Size,
		Name: []byte(name), Uid: uid, Gid: []byte(s.names.group(uint32(a.GID))), Muid: uid,
		NUid: uint32(a.UID), NGid: uint32(a.GID), NMuid: uint32(a.UID),
	}
	if a.Mode.IsDir() {
		st.Length = 0 // stat(5): directories have length 0
	}
	return st
}

// What a field of Twstat holds that is to stay as it is.
const (
	keep16 = 1<<16 - 1
	keep32 = 1<<32 - 1
	keep64 = 1<<64 - 1
)

// wstat answers Twstat: what changes is a SetAttr or a rename; what changes nothing is a sync.
func (c *session) wstat(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	s := &m.Stat
	if s.DevType != keep16 || s.Dev != keep32 || s.Qid.Type != 0xff || s.Qid.Version != keep32 || s.Qid.Path != keep64 || len(s.Muid) > 0 {
		// Clients that wstat what they have just read send these as they are; they cannot be changed, and a server can only guess.
		if s.DevType != keep16 && s.DevType != 0 || s.Dev != keep32 && s.Dev != 0 {
			c.fail(m.Tag, errBadWstat)
			return
		}
	}
	valid, attr, err := c.wstatAttr(f, s)
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	name := string(s.Name)
	if name == c.srv.tree.name(f.node) {
		name = ""
	}
	if name != "" {
		if err := checkName(name); err != nil || name == ".." {
			c.fail(m.Tag, errBadName)
			return
		}
	}
	now := f.prompt && name == ""
	c.do(m, f, now, func(ctx context.Context) (result, error) {
		if valid.Empty() && name == "" {
			err := c.fsyncFile(ctx, f)
			if errors.Is(err, linux.EROFS) || errors.Is(err, linux.ENOSYS) {
				err = nil // a tree that cannot be written is in sync
			}
			return result{}, err
		}
		if !valid.Empty() {
			if err := c.setAttrFile(ctx, f, valid, attr); err != nil {
				return result{}, err
			}
		}
		if name != "" {
			return result{}, c.renameFid(ctx, f, nil, name)
		}
		return result{}, nil
	})
}

// wstatAttr is what s changes, in p9's words.
func (c *session) wstatAttr(f *fid, s *wire.Stat) (valid p9.SetAttrMask, attr p9.SetAttr, err error) {
	isDir := f.isDir
	if s.Mode != keep32 {
		if s.Mode&wire.DMDIR != 0 && !isDir {
			return valid, attr, errBadWstat
		}
		valid.Permissions, attr.Permissions = true, p9.FileMode(s.Mode&0o777)
	}
	if s.Mtime != keep32 {
		valid.MTime, valid.MTimeNotSystemTime, attr.MTimeSeconds = true, true, uint64(s.Mtime)
	}
	if s.Atime != keep32 && c.dialect == wire.P9u {
		valid.ATime, valid.ATimeNotSystemTime, attr.ATimeSeconds = true, true, uint64(s.Atime)
	}
	if s.Length != keep64 && !isDir {
		valid.Size, attr.Size = true, s.Length
	}
	if c.dialect == wire.P9u && s.NUid != keep32 {
		valid.UID, attr.UID = true, p9.UID(s.NUid)
	} else if len(s.Uid) > 0 {
		u, err := user.Lookup(string(s.Uid))
		if err != nil {
			return valid, attr, p9ext.Errorf(linux.EINVAL, "no user %q on this machine", s.Uid)
		}
		valid.UID, attr.UID = true, p9.UID(atou32(u.Uid))
	}
	if c.dialect == wire.P9u && s.NGid != keep32 {
		valid.GID, attr.GID = true, p9.GID(s.NGid)
	} else if len(s.Gid) > 0 {
		g, err := user.LookupGroup(string(s.Gid))
		if err != nil {
			return valid, attr, p9ext.Errorf(linux.EINVAL, "no group %q on this machine", s.Gid)
		}
		valid.GID, attr.GID = true, p9.GID(atou32(g.Gid))
	}
	return valid, attr, nil
}
