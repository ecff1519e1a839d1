package server

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// What the session itself answers; the strings are Plan 9's where it has one.
var (
	errUnknownFid   = &p9ext.Error{Errno: linux.EBADF, Text: "unknown fid"}
	errFidInUse     = &p9ext.Error{Errno: linux.EBADF, Text: "fid already in use"}
	errOpenFid      = &p9ext.Error{Errno: linux.EBUSY, Text: "cannot walk, clone or open an open fid"}
	errNotOpen      = &p9ext.Error{Errno: linux.EBADF, Text: "fid is not open for this"}
	errNotDir       = &p9ext.Error{Errno: linux.ENOTDIR, Text: "not a directory"}
	errIsDir        = &p9ext.Error{Errno: linux.EISDIR, Text: "file is a directory"}
	errBadName      = &p9ext.Error{Errno: linux.EINVAL, Text: "bad character in file name"}
	errNameTooLong  = &p9ext.Error{Errno: linux.ENAMETOOLONG, Text: "file name too long"}
	errTooDeep      = &p9ext.Error{Errno: linux.ENAMETOOLONG, Text: "path too deep"}
	errBadOffset    = &p9ext.Error{Errno: linux.EINVAL, Text: "bad offset in directory read"}
	errNegative     = &p9ext.Error{Errno: linux.EINVAL, Text: "negative offset in a read or write"}
	errBadMode      = &p9ext.Error{Errno: linux.EINVAL, Text: "unknown open mode"}
	errNoAuth       = &p9ext.Error{Errno: linux.EOPNOTSUPP, Text: "authentication not required"}
	errUnknownMsg   = &p9ext.Error{Errno: linux.EOPNOTSUPP, Text: "unknown message"}
	errBadWstat     = &p9ext.Error{Errno: linux.EPERM, Text: "wstat cannot change that"}
	errTooManyFids  = &p9ext.Error{Errno: linux.ENFILE, Text: "too many fids in this session"}
	errTooMuchHeld  = &p9ext.Error{Errno: linux.EAGAIN, Text: "too many bytes wait to be written"}
	errTooManyReqs  = &p9ext.Error{Errno: linux.EAGAIN, Text: "too many requests in flight"}
	errTooManyRoots = &p9ext.Error{Errno: linux.ENFILE, Text: "too many attaches in this session"}
	errPanic        = &p9ext.Error{Errno: linux.EIO, Text: "internal error: the server's log has the details"}
	errEndlessRead  = &p9ext.Error{Errno: linux.EIO, Text: "the same read at end of file again and again"}
	errSmallMsize   = &p9ext.Error{Errno: linux.EINVAL, Text: "message size too small: at least 256 bytes are needed"}
)

// Why a session ends; these go to the log, not over the wire.
var (
	errTooManyOfHost = errors.New("too many connections from one host")
	errPushedOut     = errors.New("too many connections have sent no Tversion so far, of which this was the oldest")
	errSlowReader    = errors.New("the peer does not read its replies")
	errNoHello       = errors.New("the peer sent no Tversion in time")
	errTLS           = errors.New("the peer speaks TLS on a port of plain 9P")
	errNoVersion     = errors.New("a message before Tversion")
	errDupTag        = errors.New("a tag was used again while its request waits")
)

// wireError is the one place where an error gets the form that goes over the wire: the number of .L, the string of 9P2000, both in .u.
func wireError(err error) (errno uint32, text string) {
	var e *p9ext.Error
	switch {
	case errors.As(err, &e):
		return uint32(e.Errno), e.Text
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return uint32(p9ext.ErrInterrupted.Errno), p9ext.ErrInterrupted.Text
	case errors.Is(err, fs.ErrNotExist):
		return uint32(linux.ENOENT), p9ext.ErrNotExist.Text
	case errors.Is(err, fs.ErrPermission):
		return uint32(linux.ExtractErrno(err)), p9ext.ErrAccess.Text
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return uint32(linux.EIO), "unexpected end of file"
	}
	return uint32(linux.ExtractErrno(err)), err.Error()
}
