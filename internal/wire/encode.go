package wire

import (
	"errors"
	"math"
)

// The errors of [Append] beside ErrUnknownType.
var (
	ErrStringTooLong  = errors.New("wire: string longer than 65535 bytes")
	ErrMessageTooLong = errors.New("wire: message longer than its size field can say")
	ErrTooManyNames   = errors.New("wire: more than 16 names in a walk")
)

// The sizes of the composite fields.
const (
	qidSize     = 13
	attrSize    = 8 + qidSize + 3*4 + 15*8
	setAttrSize = 4*4 + 5*8
	statfsSize  = 2*4 + 6*8 + 4
	statFixed   = 2 + 4 + qidSize + 4 + 4 + 4 + 8 + 4*2 // without the leading size[2]
	statFixedU  = statFixed + 2 + 3*4
)

// Append appends m to b as a message of dialect d and returns the longer slice; when there is room in b it allocates nothing. Count is not
// looked at in messages that carry data: it is len(Data). After an error b is returned as it was.
func Append(b []byte, d Dialect, m *Msg) ([]byte, error) {
	l := &layouts[m.Type]
	if l.dialects&(1<<d) == 0 {
		return b, ErrUnknownType
	}
	start := len(b)
	var err error
	b = AppendHeader(b, m.Type, m.Tag)
	for _, f := range l.fields {
		switch f {
		case FFid:
			b = le.AppendUint32(b, m.Fid)
		case FNewfid:
			b = le.AppendUint32(b, m.Newfid)
		case FAfid:
			b = le.AppendUint32(b, m.Afid)
		case FOldtag:
			b = le.AppendUint16(b, m.Oldtag)
		case FMsize:
			b = le.AppendUint32(b, m.Msize)
		case FVersion:
			b, err = appendString(b, m.Version)
		case FUname:
			b, err = appendString(b, m.Uname)
		case FAname:
			b, err = appendString(b, m.Aname)
		case FNUname:
			if d != P9 {
				b = le.AppendUint32(b, m.NUname)
			}
		case FWname:
			if m.Nwname > MaxWalk {
				return b[:start], ErrTooManyNames
			}
			b = le.AppendUint16(b, uint16(m.Nwname))
			for i := 0; i < m.Nwname && err == nil; i++ {
				b, err = appendString(b, m.Wname[i])
			}
		case FWqid:
			if m.Nwqid > MaxWalk {
				return b[:start], ErrTooManyNames
			}
			b = appendQids(b, m.Wqid[:m.Nwqid])
		case FMode:
			b = le.AppendUint32(b, m.Mode)
		case FMode8:
			b = append(b, uint8(m.Mode))
		case FPerm:
			b = le.AppendUint32(b, m.Perm)
		case FFlags:
			b = le.AppendUint32(b, m.Flags)
		case FName:
			b, err = appendString(b, m.Name)
		case FNewname:
			b, err = appendString(b, m.Newname)
		case FExt:
			if d == P9u {
				b, err = appendString(b, m.Ext)
			}
		case FGid:
			b = le.AppendUint32(b, m.Gid)
		case FMajor:
			b = le.AppendUint32(b, m.Major)
		case FMinor:
			b = le.AppendUint32(b, m.Minor)
		case FOffset:
			b = le.AppendUint64(b, m.Offset)
		case FCount:
			b = le.AppendUint32(b, m.Count)
		case FData:
			if uint64(len(b)-start)+4+uint64(len(m.Data)) > math.MaxUint32 {
				return b[:start], ErrMessageTooLong
			}
			b = le.AppendUint32(b, uint32(len(m.Data)))
			b = append(b, m.Data...)
		case FQid:
			b = appendQid(b, m.Qid)
		case FIounit:
			b = le.AppendUint32(b, m.Iounit)
		case FEname:
			b, err = appendString(b, m.Ename)
		case FErrno:
			b = le.AppendUint32(b, m.Errno)
		case FErrnoU:
			if d == P9u {
				b = le.AppendUint32(b, m.Errno)
			}
		case FStat:
			n := StatSize(d, &m.Stat)
			if n > math.MaxUint16 {
				return b[:start], ErrStringTooLong
			}
			b = le.AppendUint16(b, uint16(n))
			b, err = AppendStat(b, d, &m.Stat)
		case FAttr:
			b = appendAttr(b, &m.Attr)
		case FSetAttr:
			b = appendSetAttr(b, &m.SetAttr)
		case FStatfs:
			b = appendStatfs(b, &m.Statfs)
		case FMask:
			b = le.AppendUint64(b, m.Mask)
		case FLockType:
			b = append(b, m.LockType)
		case FLockStatus:
			b = append(b, m.LockStatus)
		case FStart:
			b = le.AppendUint64(b, m.Start)
		case FLength:
			b = le.AppendUint64(b, m.Length)
		case FProcID:
			b = le.AppendUint32(b, m.ProcID)
		case FDatasync:
			b = le.AppendUint32(b, m.Datasync)
		}
		if err != nil {
			return b[:start], err
		}
	}
	return patchSize(b, start), nil
}

// AppendHeader appends the header of a message that has nothing else, such as Rclunk, Rflush or Rsetattr; a message with more goes on
// by appending to it and ends with its size being patched.
func AppendHeader(b []byte, t Type, tag uint16) []byte {
	return append(b, HeaderSize, 0, 0, 0, byte(t), byte(tag), byte(tag>>8))
}

// patchSize writes the size of the message that begins at start and ends with b.
func patchSize(b []byte, start int) []byte {
	le.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func appendString(b, s []byte) ([]byte, error) {
	if len(s) > math.MaxUint16 {
		return b, ErrStringTooLong
	}
	b = le.AppendUint16(b, uint16(len(s)))
	return append(b, s...), nil
}

func appendQid(b []byte, q Qid) []byte {
	b = append(b, q.Type)
	b = le.AppendUint32(b, q.Version)
	return le.AppendUint64(b, q.Path)
}

func appendQids(b []byte, qs []Qid) []byte {
	b = le.AppendUint16(b, uint16(len(qs)))
	for _, q := range qs {
		b = appendQid(b, q)
	}
	return b
}

// StatSize is how many bytes AppendStat appends for s: its leading size[2] included.
func StatSize(d Dialect, s *Stat) int {
	n := 2 + statFixed + len(s.Name) + len(s.Uid) + len(s.Gid) + len(s.Muid)
	if d == P9u {
		n += statFixedU - statFixed + len(s.Extension)
	}
	return n
}

// AppendStat appends s with its size first: one entry of the contents of a directory in 9P2000 and .u. A reply may hold whole
// entries only; StatSize says beforehand whether one fits. After ErrStringTooLong b is returned as it was.
func AppendStat(b []byte, d Dialect, s *Stat) ([]byte, error) {
	n := StatSize(d, s) - 2
	if n > math.MaxUint16 {
		return b, ErrStringTooLong
	}
	b = le.AppendUint16(b, uint16(n))
	b = le.AppendUint16(b, s.DevType)
	b = le.AppendUint32(b, s.Dev)
	b = appendQid(b, s.Qid)
	b = le.AppendUint32(b, s.Mode)
	b = le.AppendUint32(b, s.Atime)
	b = le.AppendUint32(b, s.Mtime)
	b = le.AppendUint64(b, s.Length)
	// None of these can be too long: together they are not.
	b, _ = appendString(b, s.Name)
	b, _ = appendString(b, s.Uid)
	b, _ = appendString(b, s.Gid)
	b, _ = appendString(b, s.Muid)
	if d == P9u {
		b, _ = appendString(b, s.Extension)
		b = le.AppendUint32(b, s.NUid)
		b = le.AppendUint32(b, s.NGid)
		b = le.AppendUint32(b, s.NMuid)
	}
	return b, nil
}

func appendAttr(b []byte, a *Attr) []byte {
	b = le.AppendUint64(b, a.Valid)
	b = appendQid(b, a.Qid)
	b = le.AppendUint32(b, a.Mode)
	b = le.AppendUint32(b, a.Uid)
	b = le.AppendUint32(b, a.Gid)
	for _, v := range [...]uint64{
		a.Nlink, a.Rdev, a.Size, a.Blksize, a.Blocks,
		a.AtimeSec, a.AtimeNsec, a.MtimeSec, a.MtimeNsec, a.CtimeSec, a.CtimeNsec, a.BtimeSec, a.BtimeNsec,
		a.Gen, a.DataVersion,
	} {
		b = le.AppendUint64(b, v)
	}
	return b
}

func appendSetAttr(b []byte, a *SetAttr) []byte {
	b = le.AppendUint32(b, a.Valid)
	b = le.AppendUint32(b, a.Mode)
	b = le.AppendUint32(b, a.Uid)
	b = le.AppendUint32(b, a.Gid)
	b = le.AppendUint64(b, a.Size)
	b = le.AppendUint64(b, a.AtimeSec)
	b = le.AppendUint64(b, a.AtimeNsec)
	b = le.AppendUint64(b, a.MtimeSec)
	return le.AppendUint64(b, a.MtimeNsec)
}

func appendStatfs(b []byte, s *Statfs) []byte {
	b = le.AppendUint32(b, s.FsType)
	b = le.AppendUint32(b, s.Bsize)
	b = le.AppendUint64(b, s.Blocks)
	b = le.AppendUint64(b, s.Bfree)
	b = le.AppendUint64(b, s.Bavail)
	b = le.AppendUint64(b, s.Files)
	b = le.AppendUint64(b, s.Ffree)
	b = le.AppendUint64(b, s.Fsid)
	return le.AppendUint32(b, s.Namelen)
}
