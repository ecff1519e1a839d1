package listen

import "syscall"

// A rawConner is a connection or file whose descriptor can be had.
type rawConner interface {
	SyscallConn() (syscall.RawConn, error)
}

// control calls fn with the descriptor of c, which stays open meanwhile.
func control(c rawConner, fn func(fd uintptr) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	if err := raw.Control(func(fd uintptr) { e = fn(fd) }); err != nil {
		return err
	}
	return e
}
