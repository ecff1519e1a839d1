//go:build unix

package dmover

import (
	"errors"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/hugelgupf/p9/linux"
)

// openNonblock keeps an open from waiting for the other end of a FIFO.
const openNonblock = syscall.O_NONBLOCK

// idOf tells which file it is.
func idOf(info fs.FileInfo) fileID {
	st := info.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino}
}

// errnoOf finds the number in an error of the system's; EIO where there is none.
func errnoOf(err error) linux.Errno {
	if errno, ok := errors.AsType[linux.Errno](err); ok {
		return errno
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return linux.ExtractErrno(errno)
	}
	return linux.EIO
}

// quote shows a word that came from outside, in quotes and not more than the beginning of it.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.QuoteToASCII(s)
}
