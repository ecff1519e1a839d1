package clonefs

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/rs/zerolog"
)

// ErrTaken is what a Clone function returns when the name that belongs to its number is in use outside the server.
var ErrTaken = errors.New("clonefs: name is taken")

// ErrBadArg is what a control message returns when an argument is not what Args says.
var ErrBadArg = errors.New("clonefs: bad argument")

var (
	errNotOpen   = &p9ext.Error{Errno: linux.EBADF, Text: "file is not open for that"}
	errOpen      = &p9ext.Error{Errno: linux.EBADF, Text: "file is open already"}
	errIsDir     = &p9ext.Error{Errno: linux.EISDIR, Text: "file is a directory"}
	errNotDir    = &p9ext.Error{Errno: linux.ENOTDIR, Text: "not a directory"}
	errBadMode   = &p9ext.Error{Errno: linux.EINVAL, Text: "unknown open mode"}
	errBadOffset = &p9ext.Error{Errno: linux.EINVAL, Text: "bad offset in a directory"}
	errNoXattr   = &p9ext.Error{Errno: linux.EOPNOTSUPP, Text: "no extended attributes here"}
	errNoLock    = &p9ext.Error{Errno: linux.ENOLCK, Text: "no locks here"}
	errNoLink    = &p9ext.Error{Errno: linux.EINVAL, Text: "not a symbolic link"}
)

// answer turns what a driver returned into what the client gets. c is nil outside a conversation.
func answer(ctx context.Context, c *Conv, err error) error {
	switch {
	case err == nil || err == io.EOF || err == p9ext.ErrWait || err == p9ext.ErrNoPoll:
		return err
	case c != nil && c.dead.Load():
		return p9ext.ErrHungup
	case ctx.Err() != nil:
		return p9ext.ErrInterrupted
	}
	if e, ok := err.(*p9ext.Error); ok {
		return e
	}
	return p9ext.Errorf(errnoOf(err), "%w", err)
}

// errnoOf finds the errno in err.
func errnoOf(err error) linux.Errno {
	var l linux.Errno
	if errors.As(err, &l) {
		return l
	}
	// ExtractErrno makes EACCES of EPERM, for both are os.ErrPermission.
	var s syscall.Errno
	if runtime.GOOS == "linux" && errors.As(err, &s) {
		return linux.Errno(s)
	}
	return linux.ExtractErrno(err)
}

// failures writes each failure as one line of log, so many a second and not more: a client in a loop must not fill the disk.
type failures struct {
	mu         sync.Mutex // guards all below
	begin      time.Time  // of the present second
	lines      int        // in it
	suppressed int        // since the last line
}

const maxFailureLines = 50 // a second

// allow reports whether a line may be written, and how many were not since the last one.
func (f *failures) allow(now time.Time) (ok bool, suppressed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.begin) >= time.Second {
		f.begin, f.lines = now, 0
	}
	if f.lines == maxFailureLines {
		f.suppressed++
		return false, 0
	}
	f.lines++
	suppressed, f.suppressed = f.suppressed, 0
	return true, suppressed
}

// failed logs that op of u on a file failed, and returns err. What clients do wrong every day is worth a line at level debug only.
func (fs *FS) failed(at place, u *User, op string, err error) error {
	level := zerolog.InfoLevel
	switch err {
	case nil, io.EOF, p9ext.ErrWait, p9ext.ErrNoPoll:
		return err
	case p9ext.ErrNotExist, p9ext.ErrAccess, p9ext.ErrPerm, p9ext.ErrInterrupted, p9ext.ErrHungup:
		level = zerolog.DebugLevel
	}
	if fs.log.GetLevel() > level {
		return err
	}
	ok, suppressed := fs.failures.allow(time.Now())
	if !ok {
		return err
	}
	line := fs.log.WithLevel(level)
	if suppressed > 0 {
		line = line.Int("suppressed", suppressed)
	}
	line.Str("file", at.String()).Str("user", u.Name).Str("peer", u.Addr).Str("op", op).Err(err).Msg("failed")
	return err
}
