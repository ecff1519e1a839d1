package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var le = binary.LittleEndian

// ErrUnknownType is returned for a message whose type the dialect lacks. Its type and tag are known then, and a session can answer it with
// an error instead of ending.
var ErrUnknownType = errors.New("wire: unknown message type")

// ErrMalformed is returned for a message whose bytes are not what its type says. What is wrong is in the text of the error that wraps it.
var ErrMalformed = errors.New("wire: malformed message")

// The malformations. They are made once so that a hostile client costs no allocation.
var (
	errHeader   = fmt.Errorf("%w: shorter than its header", ErrMalformed)
	errSize     = fmt.Errorf("%w: size differs from its length", ErrMalformed)
	errShort    = fmt.Errorf("%w: ends inside a field", ErrMalformed)
	errTrailing = fmt.Errorf("%w: bytes after the last field", ErrMalformed)
	errNames    = fmt.Errorf("%w: more than 16 names in a walk", ErrMalformed)
	errStat     = fmt.Errorf("%w: the sizes of a stat disagree", ErrMalformed)
)

// Peek returns the size that the message at the beginning of b claims for itself, counting its size field. ok is false while b has
// fewer than four bytes. Nothing is checked: a size below HeaderSize or above msize ends a session.
func Peek(b []byte) (size uint32, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	return le.Uint32(b), true
}

// Decode reads the message b, whole and with nothing after it, in dialect d. It sets Type, Tag and the fields of m that the type uses and leaves
// the others as they were. Byte slices of m point into b.
//
// The errors are ErrUnknownType and ErrMalformed, wrapped. Type and Tag are valid after either, unless b is shorter than a header: they are
// then 0 and NoTag. Other fields mean nothing after an error.
//
// One laxness: Tfsync without datasync, as old clients send it, is read as datasync 0.
func (m *Msg) Decode(d Dialect, b []byte) error {
	if len(b) < HeaderSize {
		m.Type, m.Tag = 0, NoTag
		return errHeader
	}
	m.Type = Type(b[4])
	m.Tag = le.Uint16(b[5:])
	if uint64(le.Uint32(b)) != uint64(len(b)) {
		return errSize
	}
	l := &layouts[m.Type]
	if l.dialects&(1<<d) == 0 {
		return ErrUnknownType
	}
	r := reader{p: b[HeaderSize:]}
	for _, f := range l.fields {
		switch f {
		case FFid:
			m.Fid = r.u32()
		case FNewfid:
			m.Newfid = r.u32()
		case FAfid:
			m.Afid = r.u32()
		case FOldtag:
			m.Oldtag = r.u16()
		case FMsize:
			m.Msize = r.u32()
		case FVersion:
			m.Version = r.str()
		case FUname:
			m.Uname = r.str()
		case FAname:
			m.Aname = r.str()
		case FNUname:
			m.NUname = NoUid
			if d != P9 {
				m.NUname = r.u32()
			}
		case FWname:
			n := int(r.u16())
			if n > MaxWalk {
				return errNames
			}
			m.Nwname = n
			for i := range n {
				m.Wname[i] = r.str()
			}
		case FWqid:
			n := int(r.u16())
			if n > MaxWalk {
				return errNames
			}
			m.Nwqid = n
			for i := range n {
				m.Wqid[i] = r.qid()
			}
		case FMode:
			m.Mode = r.u32()
		case FMode8:
			m.Mode = uint32(r.u8())
		case FPerm:
			m.Perm = r.u32()
		case FFlags:
			m.Flags = r.u32()
		case FName:
			m.Name = r.str()
		case FNewname:
			m.Newname = r.str()
		case FExt:
			m.Ext = nil
			if d == P9u {
				m.Ext = r.str()
			}
		case FGid:
			m.Gid = r.u32()
		case FMajor:
			m.Major = r.u32()
		case FMinor:
			m.Minor = r.u32()
		case FOffset:
			m.Offset = r.u64()
		case FCount:
			m.Count = r.u32()
		case FData:
			m.Count = r.u32()
			m.Data = r.bytes(uint64(m.Count))
		case FQid:
			m.Qid = r.qid()
		case FIounit:
			m.Iounit = r.u32()
		case FEname:
			m.Ename = r.str()
		case FErrno:
			m.Errno = r.u32()
		case FErrnoU:
			m.Errno = 0
			if d == P9u {
				m.Errno = r.u32()
			}
		case FStat:
			n := int(r.u16())
			if !r.bad && n != len(r.p) {
				return errStat
			}
			if err := r.stat(d, &m.Stat); err != nil {
				return err
			}
		case FAttr:
			r.attr(&m.Attr)
		case FSetAttr:
			r.setAttr(&m.SetAttr)
		case FStatfs:
			r.statfs(&m.Statfs)
		case FMask:
			m.Mask = r.u64()
		case FLockType:
			m.LockType = r.u8()
		case FLockStatus:
			m.LockStatus = r.u8()
		case FStart:
			m.Start = r.u64()
		case FLength:
			m.Length = r.u64()
		case FProcID:
			m.ProcID = r.u32()
		case FDatasync:
			m.Datasync = 0
			if len(r.p) != 0 {
				m.Datasync = r.u32()
			}
		}
	}
	if r.bad {
		return errShort
	}
	if len(r.p) != 0 {
		return errTrailing
	}
	return nil
}

// DecodeStat reads the first stat of the contents of a 9P2000 or .u directory and returns what follows it. Byte slices of s point into p.
func DecodeStat(d Dialect, p []byte, s *Stat) (rest []byte, err error) {
	r := reader{p: p}
	if err := r.stat(d, s); err != nil {
		return nil, err
	}
	return r.p, nil
}

// A Dirent is one entry of a Rreaddir.
type Dirent struct {
	Qid    Qid
	Offset uint64 // what a Treaddir asks for to go on after this entry
	Type   uint8  // DT_DIR and so on, see readdir(3)
	Name   []byte
}

// DecodeDirent reads the first entry of the data of a Rreaddir and returns what follows it. Name points into p.
func DecodeDirent(p []byte, e *Dirent) (rest []byte, err error) {
	r := reader{p: p}
	e.Qid = r.qid()
	e.Offset = r.u64()
	e.Type = r.u8()
	e.Name = r.str()
	if r.bad {
		return nil, errShort
	}
	return r.p, nil
}

// A reader takes fields off the front of p. Once p was too short, bad is true and every field is zero.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) fail() {
	r.p, r.bad = nil, true
}

func (r *reader) u8() uint8 {
	if len(r.p) < 1 {
		r.fail()
		return 0
	}
	v := r.p[0]
	r.p = r.p[1:]
	return v
}

func (r *reader) u16() uint16 {
	if len(r.p) < 2 {
		r.fail()
		return 0
	}
	v := le.Uint16(r.p)
	r.p = r.p[2:]
	return v
}

func (r *reader) u32() uint32 {
	if len(r.p) < 4 {
		r.fail()
		return 0
	}
	v := le.Uint32(r.p)
	r.p = r.p[4:]
	return v
}

func (r *reader) u64() uint64 {
	if len(r.p) < 8 {
		r.fail()
		return 0
	}
	v := le.Uint64(r.p)
	r.p = r.p[8:]
	return v
}

// bytes returns the next n bytes, with no capacity beyond them: appending to a field must not write into the next.
func (r *reader) bytes(n uint64) []byte {
	if uint64(len(r.p)) < n {
		r.fail()
		return nil
	}
	v := r.p[:n:n]
	r.p = r.p[n:]
	return v
}

func (r *reader) str() []byte { return r.bytes(uint64(r.u16())) }

func (r *reader) qid() Qid {
	if len(r.p) < 13 {
		r.fail()
		return Qid{}
	}
	q := Qid{Type: r.p[0], Version: le.Uint32(r.p[1:]), Path: le.Uint64(r.p[5:])}
	r.p = r.p[13:]
	return q
}

// stat reads a stat, its own size first. What the size says and what the fields take must agree.
func (r *reader) stat(d Dialect, s *Stat) error {
	n := r.u16()
	in := reader{p: r.bytes(uint64(n))}
	if r.bad {
		return errShort
	}
	s.DevType = in.u16()
	s.Dev = in.u32()
	s.Qid = in.qid()
	s.Mode = in.u32()
	s.Atime = in.u32()
	s.Mtime = in.u32()
	s.Length = in.u64()
	s.Name = in.str()
	s.Uid = in.str()
	s.Gid = in.str()
	s.Muid = in.str()
	s.Extension, s.NUid, s.NGid, s.NMuid = nil, NoUid, NoUid, NoUid
	if d == P9u {
		s.Extension = in.str()
		s.NUid = in.u32()
		s.NGid = in.u32()
		s.NMuid = in.u32()
	}
	if in.bad || len(in.p) != 0 {
		return errStat
	}
	return nil
}

func (r *reader) attr(a *Attr) {
	a.Valid = r.u64()
	a.Qid = r.qid()
	a.Mode = r.u32()
	a.Uid = r.u32()
	a.Gid = r.u32()
	a.Nlink = r.u64()
	a.Rdev = r.u64()
	a.Size = r.u64()
	a.Blksize = r.u64()
	a.Blocks = r.u64()
	a.AtimeSec, a.AtimeNsec = r.u64(), r.u64()
	a.MtimeSec, a.MtimeNsec = r.u64(), r.u64()
	a.CtimeSec, a.CtimeNsec = r.u64(), r.u64()
	a.BtimeSec, a.BtimeNsec = r.u64(), r.u64()
	a.Gen = r.u64()
	a.DataVersion = r.u64()
}

func (r *reader) setAttr(a *SetAttr) {
	a.Valid = r.u32()
	a.Mode = r.u32()
	a.Uid = r.u32()
	a.Gid = r.u32()
	a.Size = r.u64()
	a.AtimeSec, a.AtimeNsec = r.u64(), r.u64()
	a.MtimeSec, a.MtimeNsec = r.u64(), r.u64()
}

func (r *reader) statfs(s *Statfs) {
	s.FsType = r.u32()
	s.Bsize = r.u32()
	s.Blocks = r.u64()
	s.Bfree = r.u64()
	s.Bavail = r.u64()
	s.Files = r.u64()
	s.Ffree = r.u64()
	s.Fsid = r.u64()
	s.Namelen = r.u32()
}
