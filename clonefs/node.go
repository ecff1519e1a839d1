package clonefs

import (
	"strconv"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// A view is the tree as one user sees it: what all files that come from one attach share.
type view struct {
	fs   *FS
	user User
}

// A place is a position in the tree. It is a value; the root is the zero place.
type place struct {
	dev  *device // nil: the root or a file of it
	conv *Conv   // nil: not in a conversation
	ent  *entry  // nil: the directory itself
}

func (at place) String() string {
	s := "/"
	if at.conv != nil {
		s = "/" + at.conv.Name()
	} else if at.dev != nil {
		s = "/" + at.dev.name
	}
	if at.ent == nil {
		return s
	}
	if s != "/" {
		s += "/"
	}
	return s + at.ent.name
}

// isDir reports whether at is a directory.
func (at place) isDir() bool { return at.ent == nil }

// qid is the file's identity. A conversation has a new one with each incarnation of its number.
func (at place) qid() p9.QID {
	q := p9.QID{Type: p9.TypeRegular}
	switch {
	case at.conv != nil:
		q.Path = at.conv.path
		if at.ent != nil {
			q.Path += at.ent.path
		}
	case at.ent != nil:
		q.Path = at.ent.path
	case at.dev != nil:
		q.Path = at.dev.path
	default:
		q.Path = rootPath
	}
	if at.isDir() {
		q.Type = p9.TypeDir
	}
	return q
}

// stale reports whether the file is gone for good.
func (at place) stale() bool { return at.conv != nil && at.conv.dead.Load() }

// perm returns permission bits, owner and group.
func (at place) perm(fs *FS) perms {
	p := perms{mode: 0o555, uid: p9.UID(fs.self.UID), gid: p9.GID(fs.self.GID)}
	switch {
	case at.conv != nil:
		c := at.conv
		c.mu.Lock()
		defer c.mu.Unlock()
		if at.ent != nil {
			p.mode = at.ent.mode
		}
		if c.chmod {
			p.mode = masked(p.mode, c.mode, at.ent == nil)
		}
		p.uid, p.gid, p.nobodyOwns = c.uid, c.gid, true
	case at.ent == nil:
	case at.ent.kind == kindClone:
		return at.dev.policy.Load().perms
	default:
		p.mode = at.ent.mode
	}
	return p
}

// masked returns the permissions of a conversation's file that by itself has mode, when the conversation was given mask: to each class
// the mask gives what the file has for its owner. The directory is open to every class that may do anything, and always to the owner.
func masked(mode, mask p9.FileMode, dir bool) p9.FileMode {
	if dir {
		all := p9.FileMode(0o500)
		for shift := 0; shift <= 6; shift += 3 {
			if mask>>shift&7 != 0 {
				all |= 5 << shift
			}
		}
		return all
	}
	own := mode >> 6 & 7
	return (own<<6 | own<<3 | own) & mask
}

// may reports whether the view's user may do what want says with the file.
func (v *view) may(want p9.FileMode, at place) bool {
	return v.admitted(at) && v.fs.allows(&v.user, want, at.perm(v.fs))
}

// admitted reports whether the view's user may get at the file: a device that he may not use shows him its listing, and what its help and stats say.
func (v *view) admitted(at place) bool {
	open := at.dev == nil || at.conv == nil && (at.ent == nil || at.ent.kind == kindStatic)
	return open || at.dev.admits(&v.user)
}

// step walks from at to name.
func (v *view) step(at place, name string) (place, error) {
	if !at.isDir() {
		return at, errNotDir
	}
	if at.stale() {
		return at, p9ext.ErrNotExist
	}
	if at.conv != nil && !v.may(1, at) {
		return at, p9ext.ErrAccess
	}
	switch {
	case name == ".":
		return at, nil
	case name == "..":
		if at.conv != nil {
			return place{dev: at.dev}, nil
		}
		return place{}, nil
	case at.conv != nil:
		if e := lookup(at.dev.files, name); e != nil {
			return place{at.dev, at.conv, e}, nil
		}
	case at.dev != nil:
		to := place{dev: at.dev}
		if n, ok := parseNumber(name); !ok {
			to.ent = lookup(at.dev.entries, name)
		} else if c := at.dev.conv(n); c != nil && !c.dead.Load() {
			to.conv = c
		}
		switch {
		case to.ent == nil && to.conv == nil:
		case !v.admitted(to) && !(to.ent != nil && to.ent.kind == kindClone):
			return at, p9ext.ErrAccess
		default:
			return to, nil
		}
	default:
		if d := v.fs.byName[name]; d != nil {
			return place{dev: d}, nil
		}
		if e := lookup(v.fs.entries, name); e != nil {
			return place{ent: e}, nil
		}
	}
	return at, p9ext.ErrNotExist
}

func lookup(list []entry, name string) *entry {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// walk is p9.File.Walk from at.
func (v *view) walk(at place, names []string) ([]p9.QID, p9.File, error) {
	if len(names) == 0 {
		if at.stale() {
			return nil, nil, p9ext.ErrNotExist
		}
		return nil, v.file(at), nil
	}
	qids := make([]p9.QID, len(names))
	for i, name := range names {
		to, err := v.step(at, name)
		if err != nil {
			return nil, nil, v.fs.failed(at, &v.user, "walk", err)
		}
		at = to
		qids[i] = at.qid()
	}
	return qids, v.file(at), nil
}

// file makes the p9.File that stands for a place.
func (v *view) file(at place) p9.File {
	n := node{v, at}
	if at.isDir() {
		return &dirFile{n}
	}
	switch at.ent.kind {
	case kindClone, kindCtl:
		return &ctlFile{node: n}
	case kindText:
		if at.ent.holds {
			return &heldFile{textFile: textFile{node: n}}
		}
		return &textFile{node: n}
	case kindStream:
		return &streamFile{node: n}
	}
	return &staticFile{node: n}
}

// attrMask is what getattr tells.
var attrMask = p9.AttrMask{
	Mode: true, NLink: true, UID: true, GID: true, RDev: true, ATime: true, MTime: true, CTime: true,
	INo: true, Size: true, Blocks: true,
}

// getAttr is p9.File.GetAttr of at: a plain file, always empty, as old as the server.
func (v *view) getAttr(at place) (p9.QID, p9.AttrMask, p9.Attr, error) {
	if at.stale() {
		return p9.QID{}, p9.AttrMask{}, p9.Attr{}, p9ext.ErrNotExist
	}
	p := at.perm(v.fs)
	mode := p.mode
	if at.isDir() {
		mode |= p9.ModeDirectory
	} else {
		mode |= p9.ModeRegular
	}
	sec, nsec := v.fs.sec, v.fs.nsec
	return at.qid(), attrMask, p9.Attr{
		Mode: mode, UID: p.uid, GID: p.gid, NLink: 1, BlockSize: 4096,
		ATimeSeconds: sec, ATimeNanoSeconds: nsec,
		MTimeSeconds: sec, MTimeNanoSeconds: nsec,
		CTimeSeconds: sec, CTimeNanoSeconds: nsec,
	}, nil
}

// setAttr is p9.File.SetAttr of at. Mode, owner and group are those of the whole conversation, and may be set by its owner and the superuser;
// a size of zero and times are accepted, and mean nothing, where the user may write (opened says that he has opened it for that).
func (v *view) setAttr(at place, opened bool, valid p9.SetAttrMask, attr p9.SetAttr) error {
	if at.stale() {
		return p9ext.ErrNotExist
	}
	if err := v.checkSetAttr(at, opened, valid, attr); err != nil {
		return v.fs.failed(at, &v.user, "setattr", err)
	}
	c := at.conv
	if c == nil || !valid.Permissions && !valid.UID && !valid.GID {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if valid.Permissions {
		c.chmod, c.mode = true, attr.Permissions&0o777
	}
	if valid.UID {
		c.uid = attr.UID
		c.owner = strconv.FormatUint(uint64(attr.UID), 10)
		if attr.UID == p9.UID(c.user.UID) {
			c.owner = c.user.Name
		}
	}
	if valid.GID {
		c.gid = attr.GID
	}
	return nil
}

// checkSetAttr reports whether setAttr may change what valid says.
func (v *view) checkSetAttr(at place, opened bool, valid p9.SetAttrMask, attr p9.SetAttr) error {
	owner := v.fs.isSuper(&v.user) || uint32(at.perm(v.fs).uid) == v.user.UID && v.admitted(at)
	if (valid.Permissions || valid.UID || valid.GID) && (at.conv == nil || !owner) {
		return p9ext.ErrPerm
	}
	if valid.UID && !attr.UID.Ok() || valid.GID && !attr.GID.Ok() {
		return p9ext.ErrPerm
	}
	writes := opened || !at.isDir() && v.may(2, at)
	if valid.Size && (attr.Size != 0 || !writes) {
		return p9ext.ErrPerm
	}
	if (valid.ATime || valid.MTime) && !writes && !owner {
		return p9ext.ErrPerm
	}
	return nil
}

// A node is what all types of files have in common: where they are, and what nobody can do with them.
type node struct {
	v  *view
	at place
}

func (*node) Prompt() {}

func (n *node) Walk(names []string) ([]p9.QID, p9.File, error) { return n.v.walk(n.at, names) }

func (n *node) WalkGetAttr(names []string) ([]p9.QID, p9.File, p9.AttrMask, p9.Attr, error) {
	return walkGetAttr(n.v, n.at, names)
}

// walkGetAttr is p9.File.WalkGetAttr from at.
func walkGetAttr(v *view, at place, names []string) ([]p9.QID, p9.File, p9.AttrMask, p9.Attr, error) {
	qids, f, err := v.walk(at, names)
	if err != nil {
		return nil, nil, p9.AttrMask{}, p9.Attr{}, err
	}
	_, mask, attr, err := f.GetAttr(attrMask)
	if err != nil {
		return nil, nil, p9.AttrMask{}, p9.Attr{}, err
	}
	return qids, f, mask, attr, nil
}

func (n *node) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) { return n.v.getAttr(n.at) }

func (n *node) SetAttr(valid p9.SetAttrMask, attr p9.SetAttr) error {
	return n.v.setAttr(n.at, false, valid, attr)
}

// StatFS is about the tree: v9fs's magic number, and nothing that could be full.
func (n *node) StatFS() (p9.FSStat, error) {
	return p9.FSStat{Type: 0x01021997, BlockSize: 4096, NameLength: 255}, nil
}

// FSync has nothing to do.
func (n *node) FSync() error {
	if n.at.stale() {
		return p9ext.ErrNotExist
	}
	return nil
}

func (*node) Close() error { return nil }

func (*node) ReadAt([]byte, int64) (int, error)  { return 0, errNotOpen }
func (*node) WriteAt([]byte, int64) (int, error) { return 0, errNotOpen }

func (*node) Readdir(uint64, uint32) (p9.Dirents, error) { return nil, errNotDir }
func (*node) Readlink() (string, error)                  { return "", errNoLink }

func (*node) GetXattr(string) ([]byte, error)              { return nil, errNoXattr }
func (*node) SetXattr(string, []byte, p9.XattrFlags) error { return errNoXattr }
func (*node) ListXattrs() ([]string, error)                { return nil, errNoXattr }
func (*node) RemoveXattr(string) error                     { return errNoXattr }
func (*node) Renamed(p9.File, string)                      {}
func (*node) Rename(p9.File, string) error                 { return p9ext.ErrPerm }
func (*node) RenameAt(string, p9.File, string) error       { return p9ext.ErrPerm }
func (*node) UnlinkAt(string, uint32) error                { return p9ext.ErrPerm }
func (*node) Link(p9.File, string) error                   { return p9ext.ErrPerm }

func (*node) Lock(int, p9.LockType, p9.LockFlags, uint64, uint64, string) (p9.LockStatus, error) {
	return p9.LockStatusError, errNoLock
}

func (*node) Create(string, p9.OpenFlags, p9.FileMode, p9.UID, p9.GID) (p9.File, p9.QID, uint32, error) {
	return nil, p9.QID{}, 0, p9ext.ErrPerm
}

func (*node) Mkdir(string, p9.FileMode, p9.UID, p9.GID) (p9.QID, error) {
	return p9.QID{}, p9ext.ErrPerm
}

func (*node) Symlink(string, string, p9.UID, p9.GID) (p9.QID, error) {
	return p9.QID{}, p9ext.ErrPerm
}

func (*node) Mknod(string, p9.FileMode, uint32, uint32, p9.UID, p9.GID) (p9.QID, error) {
	return p9.QID{}, p9ext.ErrPerm
}

// A dirFile is a directory.
type dirFile struct{ node }

var _ p9ext.Prompt = (*dirFile)(nil)

// Open implements p9.File.
func (d *dirFile) Open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	if d.at.stale() {
		return p9.QID{}, 0, p9ext.ErrNotExist
	}
	if flags.Mode() != p9.ReadOnly {
		return p9.QID{}, 0, errIsDir
	}
	if !d.v.may(4, d.at) {
		return p9.QID{}, 0, d.v.fs.failed(d.at, &d.v.user, "open", p9ext.ErrAccess)
	}
	return d.at.qid(), 0, nil
}

// maxDirents is how many entries one Readdir returns, whatever is asked for.
const maxDirents = 1024

// Readdir implements p9.File. An entry's offset is its place among the directory's files; a conversation's depends on
// its number alone, so that a listing goes on rightly whatever comes and goes meanwhile. count is the number of entries; for servers that
// pass a number of bytes instead, as p9's does, and cut off what does not fit, it has a bound.
func (d *dirFile) Readdir(offset uint64, count uint32) (p9.Dirents, error) {
	if d.at.stale() {
		return nil, p9ext.ErrNotExist
	}
	most := int(min(max(count, 1), maxDirents))
	var list p9.Dirents
	add := func(next uint64, name string, at place) bool {
		q := at.qid()
		list = append(list, p9.Dirent{QID: q, Type: q.Type, Offset: next, Name: name})
		return len(list) < most
	}
	files := d.v.fs.entries
	if d.at.conv != nil {
		files = d.at.dev.files
	} else if d.at.dev != nil {
		files = d.at.dev.entries
	}
	for i := offset; i < uint64(len(files)); i++ {
		if !add(i+1, files[i].name, place{d.at.dev, d.at.conv, &files[i]}) {
			return list, nil
		}
	}
	beyond := uint64(len(files))
	from := max(offset, beyond) - beyond
	switch {
	case d.at.conv != nil:
	case d.at.dev != nil:
		if from > 1<<31 {
			return nil, errBadOffset
		}
		d.at.dev.listing(int(from), func(c *Conv) bool {
			return add(beyond+uint64(c.n)+1, strconv.Itoa(c.n), place{dev: d.at.dev, conv: c})
		})
	default:
		for i := from; i < uint64(len(d.v.fs.devices)); i++ {
			dev := d.v.fs.devices[i]
			if !add(beyond+i+1, dev.name, place{dev: dev}) {
				break
			}
		}
	}
	return list, nil
}

// WriteAt and ReadAt tell what is wrong with reading a directory so.
func (*dirFile) ReadAt([]byte, int64) (int, error)  { return 0, errIsDir }
func (*dirFile) WriteAt([]byte, int64) (int, error) { return 0, errIsDir }
