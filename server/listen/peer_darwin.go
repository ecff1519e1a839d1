package listen

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerCred asks the kernel who is at the other end: LOCAL_PEERCRED of unix(4).
func peerCred(c *net.UnixConn) (cr cred) {
	raw, err := c.SyscallConn()
	if err != nil {
		return cred{}
	}
	_ = raw.Control(func(fd uintptr) {
		x, err := unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil || x.Ngroups < 1 || int(x.Ngroups) > len(x.Groups) {
			return
		}
		// The first of the groups is the effective one.
		cr = cred{uid: x.Uid, gid: x.Groups[0], groups: append([]uint32(nil), x.Groups[1:x.Ngroups]...), ok: true}
		if pid, err := unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID); err == nil {
			cr.pid = pid
		}
	})
	return cr
}

// setUserTimeout does nothing: macOS has no TCP_USER_TIMEOUT, keepalive alone finds a vanished peer.
func setUserTimeout(*net.TCPConn) error { return nil }
