package listen

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the kernel is told adds up to less than a minute for an idle connection and for one with data under way.
func TestVanishedPeerIsFoundWithinAMinute(t *testing.T) {
	c, s := meet(t, mustListen(t, "tcp!127.0.0.1!0", Options{}))
	for what, conn := range map[string]*net.TCPConn{"client": c.(*net.TCPConn), "server": s.(*tcpConn).TCPConn} {
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		get := func(level, opt int) (v int) {
			if err := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, opt) }); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if get(unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 {
			t.Errorf("%s: no keepalive", what)
		}
		idle := get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) + get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)*get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
		busy := time.Duration(get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)) * time.Millisecond
		if idle <= 0 || idle >= 60 || busy <= 0 || busy >= time.Minute {
			t.Errorf("%s: found after %d s idle, %v busy", what, idle, busy)
		}
	}
}
