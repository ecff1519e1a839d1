package wire

import (
	"strconv"
	"unicode/utf8"
)

// Names is the list of a Twalk, and Qids that of a Rwalk, as Visit shows them: where the message keeps them.
type (
	Names struct {
		N    *int
		List *[MaxWalk][]byte
	}
	Qids struct {
		N    *int
		List *[MaxWalk]Qid
	}
)

// Visit calls f for each field that m's type has in dialect d, in the order of the wire, with the field's name in the text form and a
// pointer to it: *uint8, *uint16, *uint32, *uint64, *[]byte, *Qid or *Stat; or a Names or Qids.
// Attr, SetAttr and Statfs are shown field by field.
func (m *Msg) Visit(d Dialect, f func(name string, p any)) {
	if !d.Has(m.Type) {
		return
	}
	for _, field := range layouts[m.Type].fields {
		if !field.in(d) {
			continue
		}
		switch field {
		case FWname:
			f(field.String(), Names{&m.Nwname, &m.Wname})
		case FWqid:
			f(field.String(), Qids{&m.Nwqid, &m.Wqid})
		case FAttr:
			m.Attr.visit(f)
		case FSetAttr:
			m.SetAttr.visit(f)
		case FStatfs:
			m.Statfs.visit(f)
		default:
			f(field.String(), m.ptr(field))
		}
	}
}

// ptr returns where m keeps the field f, which is no composite.
func (m *Msg) ptr(f Field) any {
	switch f {
	case FFid:
		return &m.Fid
	case FNewfid:
		return &m.Newfid
	case FAfid:
		return &m.Afid
	case FOldtag:
		return &m.Oldtag
	case FMsize:
		return &m.Msize
	case FVersion:
		return &m.Version
	case FUname:
		return &m.Uname
	case FAname:
		return &m.Aname
	case FNUname:
		return &m.NUname
	case FMode, FMode8:
		return &m.Mode
	case FPerm:
		return &m.Perm
	case FFlags:
		return &m.Flags
	case FName:
		return &m.Name
	case FNewname:
		return &m.Newname
	case FExt:
		return &m.Ext
	case FGid:
		return &m.Gid
	case FMajor:
		return &m.Major
	case FMinor:
		return &m.Minor
	case FOffset:
		return &m.Offset
	case FCount:
		return &m.Count
	case FData:
		return &m.Data
	case FQid:
		return &m.Qid
	case FIounit:
		return &m.Iounit
	case FEname:
		return &m.Ename
	case FErrno, FErrnoU:
		return &m.Errno
	case FStat:
		return &m.Stat
	case FMask:
		return &m.Mask
	case FLockType:
		return &m.LockType
	case FLockStatus:
		return &m.LockStatus
	case FStart:
		return &m.Start
	case FLength:
		return &m.Length
	case FProcID:
		return &m.ProcID
	case FDatasync:
		return &m.Datasync
	}
	panic("wire: field " + strconv.Itoa(int(f)) + " has no place of its own")
}

// Visit is Msg.Visit for a stat.
func (s *Stat) Visit(d Dialect, f func(name string, p any)) {
	f("type", &s.DevType)
	f("dev", &s.Dev)
	f("qid", &s.Qid)
	f("mode", &s.Mode)
	f("atime", &s.Atime)
	f("mtime", &s.Mtime)
	f("length", &s.Length)
	f("name", &s.Name)
	f("uid", &s.Uid)
	f("gid", &s.Gid)
	f("muid", &s.Muid)
	if d == P9u {
		f("extension", &s.Extension)
		f("n_uid", &s.NUid)
		f("n_gid", &s.NGid)
		f("n_muid", &s.NMuid)
	}
}

// Visit is Msg.Visit for an entry of Rreaddir.
func (e *Dirent) Visit(f func(name string, p any)) {
	f("qid", &e.Qid)
	f("offset", &e.Offset)
	f("type", &e.Type)
	f("name", &e.Name)
}

func (a *Attr) visit(f func(name string, p any)) {
	f("valid", &a.Valid)
	f("qid", &a.Qid)
	f("mode", &a.Mode)
	f("uid", &a.Uid)
	f("gid", &a.Gid)
	f("nlink", &a.Nlink)
	f("rdev", &a.Rdev)
	f("size", &a.Size)
	f("blksize", &a.Blksize)
	f("blocks", &a.Blocks)
	f("atime", &a.AtimeSec)
	f("atime_ns", &a.AtimeNsec)
	f("mtime", &a.MtimeSec)
	f("mtime_ns", &a.MtimeNsec)
	f("ctime", &a.CtimeSec)
	f("ctime_ns", &a.CtimeNsec)
	f("btime", &a.BtimeSec)
	f("btime_ns", &a.BtimeNsec)
	f("gen", &a.Gen)
	f("data_version", &a.DataVersion)
}

func (a *SetAttr) visit(f func(name string, p any)) {
	f("valid", &a.Valid)
	f("mode", &a.Mode)
	f("uid", &a.Uid)
	f("gid", &a.Gid)
	f("size", &a.Size)
	f("atime", &a.AtimeSec)
	f("atime_ns", &a.AtimeNsec)
	f("mtime", &a.MtimeSec)
	f("mtime_ns", &a.MtimeNsec)
}

func (s *Statfs) visit(f func(name string, p any)) {
	f("type", &s.FsType)
	f("bsize", &s.Bsize)
	f("blocks", &s.Blocks)
	f("bfree", &s.Bfree)
	f("bavail", &s.Bavail)
	f("files", &s.Files)
	f("ffree", &s.Ffree)
	f("fsid", &s.Fsid)
	f("namelen", &s.Namelen)
}

// Text returns m as a line for people: its type, its tag and each field that the type has in dialect d, name and value. Numbers are decimal, modes
// octal, sets of bits hexadecimal; strings and data stand in single quotes with Go's escapes; a qid is PATH.VERSION and
// after another dot its type letters (`0x12.0.d`); a list stands in brackets, a stat in parentheses.
// server/internal/script reads this form back.
func (m *Msg) Text(d Dialect) string { return string(m.AppendText(nil, d, -1)) }

// AppendText appends what Text returns, for a log: of strings and data it shows at most max bytes and then how many
// there were, `'hel'...11`. A negative max shows all.
func (m *Msg) AppendText(b []byte, d Dialect, max int) []byte {
	b = append(b, m.Type.String()...)
	b = append(b, " tag "...)
	b = appendNumber(b, "tag", uint64(m.Tag), 16)
	m.Visit(d, func(name string, p any) { b = appendField(b, d, name, p, max) })
	return b
}

// AppendText appends the text form of a stat, without parentheses, as Msg.AppendText does.
func (s *Stat) AppendText(b []byte, d Dialect, max int) []byte {
	start := len(b)
	s.Visit(d, func(name string, p any) { b = appendField(b, d, name, p, max) })
	return append(b[:start], b[start+1:]...) // without the blank before the first field
}

// AppendText appends the text form of an entry, without parentheses, as Msg.AppendText does.
func (e *Dirent) AppendText(b []byte, max int) []byte {
	start := len(b)
	e.Visit(func(name string, p any) { b = appendField(b, P9L, name, p, max) })
	return append(b[:start], b[start+1:]...)
}

func appendField(b []byte, d Dialect, name string, p any, max int) []byte {
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, ' ')
	switch p := p.(type) {
	case *uint8:
		b = appendNumber(b, name, uint64(*p), 8)
	case *uint16:
		b = appendNumber(b, name, uint64(*p), 16)
	case *uint32:
		b = appendNumber(b, name, uint64(*p), 32)
	case *uint64:
		b = appendNumber(b, name, *p, 64)
	case *[]byte:
		b = AppendQuoted(b, *p, max)
	case *Qid:
		b = p.AppendText(b)
	case *Stat:
		b = append(b, '(')
		b = p.AppendText(b, d, max)
		b = append(b, ')')
	case Names:
		b = append(b, '[')
		for i, s := range p.List[:*p.N] {
			if i > 0 {
				b = append(b, ' ')
			}
			b = AppendQuoted(b, s, max)
		}
		b = append(b, ']')
	case Qids:
		b = append(b, '[')
		for i, q := range p.List[:*p.N] {
			if i > 0 {
				b = append(b, ' ')
			}
			b = q.AppendText(b)
		}
		b = append(b, ']')
	}
	return b
}

// appendNumber appends v in the form that suits the field called name. All ones, which mean "none" or "leave it", are ~0.
func appendNumber(b []byte, name string, v uint64, bits int) []byte {
	if bits > 8 && v == 1<<bits-1 {
		return append(b, "~0"...)
	}
	switch name {
	case "mode", "perm":
		b = append(b, '0')
		if v == 0 {
			return b
		}
		return strconv.AppendUint(b, v, 8)
	case "flags", "mask", "valid":
		b = append(b, "0x"...)
		return strconv.AppendUint(b, v, 16)
	}
	return strconv.AppendUint(b, v, 10)
}

// qidLetters name the bits of Qid.Type, from the highest.
const qidLetters = "daxmAtsl"

// AppendText appends q as PATH.VERSION, and after another dot a letter for each bit of its type: d directory, a append only,
// x exclusive, m mounted, A authentication, t temporary, s symbolic link, l link.
func (q Qid) AppendText(b []byte) []byte {
	b = append(b, "0x"...)
	b = strconv.AppendUint(b, q.Path, 16)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(q.Version), 10)
	if q.Type != 0 {
		b = append(b, '.')
	}
	for i := range len(qidLetters) {
		if q.Type&(0x80>>i) != 0 {
			b = append(b, qidLetters[i])
		}
	}
	return b
}

// String returns the qid's text form.
func (q Qid) String() string { return string(q.AppendText(nil)) }

// ParseQidType is the inverse of the letters of Qid.AppendText.
func ParseQidType(letters string) (uint8, bool) {
	var t uint8
next:
	for _, c := range letters {
		for i, l := range qidLetters {
			if c == l {
				t |= 0x80 >> i
				continue next
			}
		}
		return 0, false
	}
	return t, true
}

// AppendQuoted appends s in single quotes: what is printable as it is, the rest escaped as in Go. Of a string longer than max, unless that is
// negative, it shows the beginning and the length.
func AppendQuoted(b, s []byte, max int) []byte {
	rest := 0
	if max >= 0 && len(s) > max {
		s, rest = s[:max], len(s)
	}
	b = append(b, '\'')
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		switch {
		case r == '\'' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == utf8.RuneError && n == 1, !strconv.IsPrint(r):
			for _, c := range s[:n] {
				const hex = "0123456789abcdef"
				b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
			}
		default:
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	b = append(b, '\'')
	if rest > 0 {
		b = append(b, "..."...)
		b = strconv.AppendInt(b, int64(rest), 10)
	}
	return b
}
