package listen

import (
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups bounds the groups of a peer. The kernel allows 65536; a user in more than this many loses the rights of the others.
const maxGroups = 1024

// peerCred asks the kernel who is at the other end: who called connect or, seen from a client, listen.
func peerCred(c *net.UnixConn) (cr cred) {
	raw, err := c.SyscallConn()
	if err != nil {
		return cred{}
	}
	_ = raw.Control(func(fd uintptr) {
		u, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		cr = cred{pid: int(u.Pid), uid: u.Uid, gid: u.Gid, groups: peerGroups(fd), ok: true}
	})
	return cr
}

// peerGroups returns the supplementary groups that the peer really has, which may differ from those that the user database
// gives its user; see SO_PEERGROUPS in the kernel's net/core/sock.c. It returns nil where they cannot be had.
func peerGroups(fd uintptr) []uint32 {
	groups := make([]uint32, maxGroups)
	size := uint32(len(groups) * 4)
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
		uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 || size == 0 {
		return nil
	}
	return append([]uint32(nil), groups[:size/4]...)
}

// setUserTimeout bounds how long sent data may go without an acknowledgement.
func setUserTimeout(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	if err := raw.Control(func(fd uintptr) {
		e = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	}); err != nil {
		return err
	}
	return e
}
