package client

import (
	"context"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// A Dirent is an entry of a directory.
type Dirent struct {
	Name string
	QID  p9.QID

	// Offset is where a ReadDirAt goes on after this entry. In 9P2000 and .u that holds for the last entry of an answer only.
	Offset uint64

	// Attr is what 9P2000 and .u tell of each file with its entry; nil in 9P2000.L.
	Attr *Attr
}

// ReadDir reads an open directory from its beginning to its end, without dot and dot-dot.
func (f *File) ReadDir(ctx context.Context) ([]Dirent, error) {
	var all []Dirent
	for off := uint64(0); ; {
		some, err := f.ReadDirAt(ctx, off)
		if err != nil || len(some) == 0 {
			return all, err
		}
		for _, e := range some {
			if e.Name != "." && e.Name != ".." {
				all = append(all, e)
			}
		}
		next := some[len(some)-1].Offset
		if next == off {
			return nil, p9ext.Errorf(errProtocol, "the server sent a directory that goes round: its entry %q leads to itself", some[len(some)-1].Name)
		}
		off = next
	}
}

// dirCount is how much of a directory is asked for with one message.
const dirCount = 64 << 10

// ReadDirAt reads some entries of an open directory: the first ones at off 0, and then those after an entry's Offset. None is the
// directory's end. Some servers list dot and dot-dot.
func (f *File) ReadDirAt(ctx context.Context, off uint64) ([]Dirent, error) {
	if err := f.enterOpen(0); err != nil {
		return nil, err
	}
	defer f.leave()
	buf := make([]byte, min(dirCount, f.c.MaxIO()))
	m := wire.Msg{Type: wire.Treaddir, Fid: f.fid, Offset: off, Count: uint32(len(buf))}
	if f.c.dialect != wire.P9L {
		m.Type = wire.Tread
	}
	k := newCall(m.Type.Reply())
	k.buf = buf
	err := f.c.do(ctx, &m, k)
	buf = buf[:k.n]
	k.release()
	if err != nil {
		return nil, err
	}
	all, err := dirents(f.c.dialect, buf, off)
	if err != nil {
		return nil, &p9ext.Error{Errno: errProtocol, Text: "the server sent a directory that cannot be read: " + err.Error(), Cause: err}
	}
	return all, nil
}

// dirents are the entries in the data of a Rreaddir or of a Rread of a directory at off.
func dirents(d wire.Dialect, data []byte, off uint64) ([]Dirent, error) {
	var all []Dirent
	whole := len(data)
	for len(data) > 0 {
		var err error
		if d == wire.P9L {
			var e wire.Dirent
			if data, err = wire.DecodeDirent(data, &e); err != nil {
				return nil, err
			}
			all = append(all, Dirent{Name: string(e.Name), QID: qid(e.Qid), Offset: e.Offset})
			continue
		}
		var s wire.Stat
		if data, err = wire.DecodeStat(d, data, &s); err != nil {
			return nil, err
		}
		a := statAttr(&s)
		all = append(all, Dirent{Name: a.Name, QID: a.QID, Offset: off + uint64(whole-len(data)), Attr: &a})
	}
	return all, nil
}

// Mkdir makes a directory in the directory f.
func (f *File) Mkdir(ctx context.Context, name string, perm p9.FileMode) error {
	if f.c.dialect == wire.P9L {
		if err := f.enter(); err != nil {
			return err
		}
		defer f.leave()
		return f.simple(ctx, &wire.Msg{Type: wire.Tmkdir, Fid: f.fid, Name: []byte(name), Mode: uint32(perm.Permissions()), Gid: wire.NoUid})
	}
	d, err := f.Walk(ctx, "")
	if err != nil {
		return err
	}
	defer d.Drop()
	return d.opening(ctx, &wire.Msg{Type: wire.Tcreate, Fid: d.fid, Name: []byte(name), Perm: wire.DMDIR | uint32(perm.Permissions())})
}
