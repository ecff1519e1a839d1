package client

import (
	"context"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// NoUID stands for a user or group of which the dialect tells no number.
const NoUID = wire.NoUid

// An Attr is what the server tells of a file, or is asked to change. A dialect that does not carry a field leaves it zero, UID and GID
// at NoUID.
type Attr struct {
	QID          p9.QID
	Mode         p9.FileMode // type and permissions, in Unix's numbers
	Size         uint64
	UID, GID     uint32    // not in plain 9P2000
	User, Group  string    // not in 9P2000.L
	Name         string    // not in 9P2000.L
	ATime, MTime time.Time // whole seconds in 9P2000 and .u

	// 9P2000.L only.
	CTime, BTime      time.Time
	NLink, RDev       uint64
	BlockSize, Blocks uint64
	Gen, DataVersion  uint64
}

// A SetMask says which fields of an Attr are to be changed.
type SetMask uint32

// The fields that can be changed.
const (
	SetMode  SetMask = 1 << iota // the permissions
	SetUser                      // UID; User in plain 9P2000
	SetGroup                     // GID; Group in plain 9P2000
	SetSize
	SetATime // a zero time is the moment of the change; not in plain 9P2000
	SetMTime // the same
)

// GetAttr asks the server about the file.
func (f *File) GetAttr(ctx context.Context) (Attr, error) {
	if err := f.enter(); err != nil {
		return Attr{}, err
	}
	defer f.leave()
	var a Attr
	m := wire.Msg{Type: wire.Tgetattr, Fid: f.fid, Mask: wire.GetAll}
	if f.c.dialect != wire.P9L {
		m.Type = wire.Tstat
	}
	k := newCall(m.Type.Reply())
	k.take = func(m *wire.Msg) error {
		if m.Type == wire.Rgetattr {
			a = attrOf(&m.Attr)
		} else {
			a = statAttr(&m.Stat)
		}
		return nil
	}
	err := f.c.do(ctx, &m, k)
	if err != nil {
		a = Attr{}
	}
	k.release()
	return a, err
}

// attrOf is the Attr of a Rgetattr.
func attrOf(w *wire.Attr) Attr {
	at := func(sec, nsec uint64, bit uint64) time.Time {
		if w.Valid&bit == 0 {
			return time.Time{}
		}
		return time.Unix(int64(sec), int64(nsec))
	}
	a := Attr{
		QID: qid(w.Qid), Mode: p9.FileMode(w.Mode), Size: w.Size, UID: w.Uid, GID: w.Gid,
		ATime: at(w.AtimeSec, w.AtimeNsec, wire.GetAtime), MTime: at(w.MtimeSec, w.MtimeNsec, wire.GetMtime),
		CTime: at(w.CtimeSec, w.CtimeNsec, wire.GetCtime), BTime: at(w.BtimeSec, w.BtimeNsec, wire.GetBtime),
		NLink: w.Nlink, RDev: w.Rdev, BlockSize: w.Blksize, Blocks: w.Blocks, Gen: w.Gen, DataVersion: w.DataVersion,
	}
	if w.Valid&wire.GetUid == 0 {
		a.UID = NoUID
	}
	if w.Valid&wire.GetGid == 0 {
		a.GID = NoUID
	}
	if a.Mode.FileType() == 0 { // a server that tells permissions only
		a.Mode |= typeOf(a.QID)
	}
	return a
}

// typeOf is the file type that a qid tells.
func typeOf(q p9.QID) p9.FileMode {
	switch {
	case q.Type&p9.TypeDir != 0:
		return p9.ModeDirectory
	case q.Type&p9.TypeSymlink != 0:
		return p9.ModeSymlink
	}
	return p9.ModeRegular
}

// statAttr is the Attr of a stat.
func statAttr(s *wire.Stat) Attr {
	a := Attr{
		QID: qid(s.Qid), Mode: p9.FileMode(s.Mode & 0o777), Size: s.Length, UID: s.NUid, GID: s.NGid,
		User: string(s.Uid), Group: string(s.Gid), Name: string(s.Name),
		ATime: time.Unix(int64(s.Atime), 0), MTime: time.Unix(int64(s.Mtime), 0),
	}
	switch {
	case s.Mode&wire.DMDIR != 0:
		a.Mode |= p9.ModeDirectory
	case s.Mode&wire.DMSYMLINK != 0:
		a.Mode |= p9.ModeSymlink
	case s.Mode&wire.DMNAMEDPIPE != 0:
		a.Mode |= p9.ModeNamedPipe
	case s.Mode&wire.DMSOCKET != 0:
		a.Mode |= p9.ModeSocket
	case s.Mode&wire.DMDEVICE != 0:
		a.Mode |= p9.ModeCharacterDevice
	default:
		a.Mode |= p9.ModeRegular
	}
	return a
}

// SetAttr changes the fields of the file that mask names to what they are in a.
func (f *File) SetAttr(ctx context.Context, mask SetMask, a Attr) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.leave()
	m := wire.Msg{Type: wire.Tsetattr, Fid: f.fid}
	if f.c.dialect == wire.P9L {
		m.SetAttr = setAttr(mask, a)
	} else {
		st, err := f.setStat(mask, a)
		if err != nil {
			return err
		}
		m.Type, m.Stat = wire.Twstat, st
	}
	return f.simple(ctx, &m)
}

// simple sends a message whose reply is empty.
func (f *File) simple(ctx context.Context, m *wire.Msg) error {
	k := newCall(m.Type.Reply())
	err := f.c.do(ctx, m, k)
	k.release()
	return err
}

func setAttr(mask SetMask, a Attr) wire.SetAttr {
	w := wire.SetAttr{Mode: uint32(a.Mode.Permissions()), Uid: a.UID, Gid: a.GID, Size: a.Size}
	for _, bit := range []struct {
		mask SetMask
		wire uint32
	}{
		{SetMode, wire.SetMode}, {SetUser, wire.SetUid}, {SetGroup, wire.SetGid}, {SetSize, wire.SetSize},
		{SetATime, wire.SetAtime}, {SetMTime, wire.SetMtime},
	} {
		if mask&bit.mask != 0 {
			w.Valid |= bit.wire
		}
	}
	if mask&SetATime != 0 && !a.ATime.IsZero() {
		w.Valid |= wire.SetAtimeSet
		w.AtimeSec, w.AtimeNsec = uint64(a.ATime.Unix()), uint64(a.ATime.Nanosecond())
	}
	if mask&SetMTime != 0 && !a.MTime.IsZero() {
		w.Valid |= wire.SetMtimeSet
		w.MtimeSec, w.MtimeNsec = uint64(a.MTime.Unix()), uint64(a.MTime.Nanosecond())
	}
	return w
}

func (f *File) setStat(mask SetMask, a Attr) (wire.Stat, error) {
	st := wire.NoStat()
	plain := f.c.dialect == wire.P9
	if mask&SetMode != 0 {
		st.Mode = uint32(a.Mode.Permissions())
		if f.IsDir() {
			st.Mode |= wire.DMDIR
		}
	}
	if mask&SetSize != 0 {
		st.Length = a.Size
	}
	seconds := func(t time.Time) uint32 {
		if t.IsZero() {
			t = time.Now()
		}
		return uint32(t.Unix())
	}
	if mask&SetMTime != 0 {
		st.Mtime = seconds(a.MTime)
	}
	if mask&SetATime != 0 {
		if plain {
			return st, f.c.unsupported("way to set the time of access")
		}
		st.Atime = seconds(a.ATime)
	}
	if plain && (mask&SetUser != 0 && a.User == "" || mask&SetGroup != 0 && a.Group == "") {
		return st, p9ext.Errorf(linux.EINVAL, "9P2000 knows users and groups by name only")
	}
	if mask&SetUser != 0 {
		if plain {
			st.Uid = []byte(a.User)
		} else {
			st.NUid = a.UID
		}
	}
	if mask&SetGroup != 0 {
		if plain {
			st.Gid = []byte(a.Group)
		} else {
			st.NGid = a.GID
		}
	}
	return st, nil
}

// Rename gives the file another name in its directory, which is dir; only 9P2000.L looks at dir.
func (f *File) Rename(ctx context.Context, dir *File, name string) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.leave()
	if f.c.dialect != wire.P9L {
		m := wire.Msg{Type: wire.Twstat, Fid: f.fid, Stat: wire.NoStat()}
		m.Stat.Name = []byte(name)
		return f.simple(ctx, &m)
	}
	if err := dir.enter(); err != nil {
		return err
	}
	defer dir.leave()
	return f.simple(ctx, &wire.Msg{Type: wire.Trename, Fid: f.fid, Newfid: dir.fid, Name: []byte(name)})
}

// Sync asks the server to store what was written.
func (f *File) Sync(ctx context.Context) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.leave()
	m := wire.Msg{Type: wire.Tfsync, Fid: f.fid}
	if f.c.dialect != wire.P9L {
		m.Type, m.Stat = wire.Twstat, wire.NoStat() // stat(5): a wstat that changes nothing
	}
	return f.simple(ctx, &m)
}

// StatFS describes the file system that f lies on, as statfs(2) does. Only 9P2000.L can.
func (f *File) StatFS(ctx context.Context) (p9.FSStat, error) {
	if err := f.enter(); err != nil {
		return p9.FSStat{}, err
	}
	defer f.leave()
	if f.c.dialect != wire.P9L {
		return p9.FSStat{}, f.c.unsupported("statfs")
	}
	var s p9.FSStat
	m := wire.Msg{Type: wire.Tstatfs, Fid: f.fid}
	k := newCall(wire.Rstatfs)
	k.take = func(m *wire.Msg) error {
		w := &m.Statfs
		s = p9.FSStat{
			Type: w.FsType, BlockSize: w.Bsize, Blocks: w.Blocks, BlocksFree: w.Bfree, BlocksAvailable: w.Bavail,
			Files: w.Files, FilesFree: w.Ffree, FSID: w.Fsid, NameLength: w.Namelen,
		}
		return nil
	}
	err := f.c.do(ctx, &m, k)
	k.release()
	return s, err
}
