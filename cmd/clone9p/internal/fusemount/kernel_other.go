//go:build !linux

package fusemount

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
)

// hostErrno is this system's number of an error that 9P2000.L has by Linux's. Those up to ERANGE are the same on every Unix, but for EAGAIN.
func hostErrno(e linux.Errno) syscall.Errno {
	if own, ok := hostErrnos[e]; ok {
		return own
	}
	if e <= linux.ERANGE {
		return syscall.Errno(e)
	}
	return syscall.EIO
}

var hostErrnos = map[linux.Errno]syscall.Errno{
	linux.EAGAIN:          syscall.EAGAIN,
	linux.EDEADLK:         syscall.EDEADLK,
	linux.ENAMETOOLONG:    syscall.ENAMETOOLONG,
	linux.ENOLCK:          syscall.ENOLCK,
	linux.ENOSYS:          syscall.ENOSYS,
	linux.ENOTEMPTY:       syscall.ENOTEMPTY,
	linux.ELOOP:           syscall.ELOOP,
	linux.EOVERFLOW:       syscall.EOVERFLOW,
	linux.EPROTO:          syscall.EPROTO,
	linux.EUSERS:          syscall.EUSERS,
	linux.EMSGSIZE:        syscall.EMSGSIZE,
	linux.EPROTONOSUPPORT: syscall.EPROTONOSUPPORT,
	linux.EOPNOTSUPP:      syscall.EOPNOTSUPP,
	linux.EADDRINUSE:      syscall.EADDRINUSE,
	linux.EADDRNOTAVAIL:   syscall.EADDRNOTAVAIL,
	linux.ENETDOWN:        syscall.ENETDOWN,
	linux.ENETUNREACH:     syscall.ENETUNREACH,
	linux.ECONNABORTED:    syscall.ECONNABORTED,
	linux.ECONNRESET:      syscall.ECONNRESET,
	linux.ENOBUFS:         syscall.ENOBUFS,
	linux.ENOTCONN:        syscall.ENOTCONN,
	linux.ETIMEDOUT:       syscall.ETIMEDOUT,
	linux.ECONNREFUSED:    syscall.ECONNREFUSED,
	linux.EHOSTDOWN:       syscall.EHOSTDOWN,
	linux.EHOSTUNREACH:    syscall.EHOSTUNREACH,
	linux.EALREADY:        syscall.EALREADY,
	linux.ESTALE:          syscall.ESTALE,
	linux.EDQUOT:          syscall.EDQUOT,
	linux.ECANCELED:       syscall.ECANCELED,
}

// inGroup reports whether who calls is in a group, and whether that can be known: the kernel tells of the first group only.
func inGroup(c *fuse.Caller, gid uint32) (in, known bool) { return c.Gid == gid, c.Gid == gid }
