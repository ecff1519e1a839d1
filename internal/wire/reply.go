package wire

import (
	"math"
	"unicode/utf8"
)

// The functions below append a whole reply to b, for the replies that make up nearly all traffic: they need no Msg. All allocate only when b has
// no room. A reply without fields (Rsetattr, Rremove, ...) is AppendHeader alone.

// AppendRversion appends Rversion. version is `9P2000.L` or the like, or `unknown`.
func AppendRversion(b []byte, tag uint16, msize uint32, version string) []byte {
	start := len(b)
	b = AppendHeader(b, Rversion, tag)
	b = le.AppendUint32(b, msize)
	return patchSize(appendShort(b, version), start)
}

// AppendRlerror appends .L's error.
func AppendRlerror(b []byte, tag uint16, errno uint32) []byte {
	b = append(b, HeaderSize+4, 0, 0, 0, byte(Rlerror), byte(tag), byte(tag>>8))
	return le.AppendUint32(b, errno)
}

// AppendRerror appends the error of 9P2000, which has the text, or of .u, which has both. The text is cut at MaxEname bytes, between runes.
// In .L it appends Rlerror.
func AppendRerror(b []byte, d Dialect, tag uint16, ename string, errno uint32) []byte {
	if d == P9L {
		return AppendRlerror(b, tag, errno)
	}
	if len(ename) > MaxEname {
		n := MaxEname
		for n > MaxEname-utf8.UTFMax && !utf8.RuneStart(ename[n]) {
			n--
		}
		ename = ename[:n]
	}
	start := len(b)
	b = appendShort(AppendHeader(b, Rerror, tag), ename)
	if d == P9u {
		b = le.AppendUint32(b, errno)
	}
	return patchSize(b, start)
}

// AppendRattach appends Rattach.
func AppendRattach(b []byte, tag uint16, q Qid) []byte { return AppendQidReply(b, Rattach, tag, q) }

// AppendQidReply appends a reply that is a qid and nothing else: Rattach, Rauth, Rmkdir, Rmknod or Rsymlink.
func AppendQidReply(b []byte, t Type, tag uint16, q Qid) []byte {
	b = append(b, HeaderSize+qidSize, 0, 0, 0, byte(t), byte(tag), byte(tag>>8))
	return appendQid(b, q)
}

// AppendRflush appends Rflush.
func AppendRflush(b []byte, tag uint16) []byte { return AppendHeader(b, Rflush, tag) }

// AppendRclunk appends Rclunk.
func AppendRclunk(b []byte, tag uint16) []byte { return AppendHeader(b, Rclunk, tag) }

// AppendRwalk appends Rwalk. There are at most MaxWalk qids.
func AppendRwalk(b []byte, tag uint16, qids []Qid) []byte {
	start := len(b)
	return patchSize(appendQids(AppendHeader(b, Rwalk, tag), qids), start)
}

// AppendRopen appends a reply of type t, one of Ropen, Rcreate, Rlopen and Rlcreate.
func AppendRopen(b []byte, t Type, tag uint16, q Qid, iounit uint32) []byte {
	b = append(b, HeaderSize+qidSize+4, 0, 0, 0, byte(t), byte(tag), byte(tag>>8))
	return le.AppendUint32(appendQid(b, q), iounit)
}

// AppendRwrite appends Rwrite.
func AppendRwrite(b []byte, tag uint16, count uint32) []byte {
	b = append(b, HeaderSize+4, 0, 0, 0, byte(Rwrite), byte(tag), byte(tag>>8))
	return le.AppendUint32(b, count)
}

// AppendRgetattr appends Rgetattr.
func AppendRgetattr(b []byte, tag uint16, a *Attr) []byte {
	b = append(b, HeaderSize+attrSize, 0, 0, 0, byte(Rgetattr), byte(tag), byte(tag>>8))
	return appendAttr(b, a)
}

// DataHeader is how many bytes stand before the data in Rread and Rreaddir.
const DataHeader = HeaderSize + 4

// BeginRread appends a Rread without its data. The caller appends the data, or reads it into the room behind b, and
// then calls EndRread with the length that b had before BeginRread:
//
//	start := len(b)
//	b = wire.BeginRread(slices.Grow(b, wire.DataHeader+count), tag)
//	n, err := f.ReadAt(b[len(b):len(b)+count], off)
//	b = b[:len(b)+n]
//	wire.EndRread(b, start)
func BeginRread(b []byte, tag uint16) []byte { return beginData(b, Rread, tag) }

// BeginRreaddir is BeginRread for Rreaddir, whose data is made with AppendDirent.
func BeginRreaddir(b []byte, tag uint16) []byte { return beginData(b, Rreaddir, tag) }

func beginData(b []byte, t Type, tag uint16) []byte {
	return append(b, DataHeader, 0, 0, 0, byte(t), byte(tag), byte(tag>>8), 0, 0, 0, 0)
}

// EndRread completes the Rread or Rreaddir that begins at start and whose data ends with b.
func EndRread(b []byte, start int) {
	le.PutUint32(b[start:], uint32(len(b)-start))
	le.PutUint32(b[start+HeaderSize:], uint32(len(b)-start-DataHeader))
}

// DirentSize is how many bytes AppendDirent appends for an entry of that name.
func DirentSize(name string) int { return qidSize + 8 + 1 + 2 + len(name) }

// AppendDirent appends one entry to the data of a Rreaddir. offset is what a Treaddir asks for to go on after this entry;
// typ is DT_DIR and so on. name is at most 65535 bytes. A reply may hold whole entries only.
func AppendDirent(b []byte, q Qid, offset uint64, typ uint8, name string) []byte {
	b = appendQid(b, q)
	b = le.AppendUint64(b, offset)
	b = append(b, typ)
	return appendShort(b, name)
}

// appendShort appends a string that the caller knows to be short; one that is not is cut.
func appendShort(b []byte, s string) []byte {
	if len(s) > math.MaxUint16 {
		s = s[:math.MaxUint16]
	}
	b = le.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}
