package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// vsockSocket makes a vsock socket that children do not inherit.
func vsockSocket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}
