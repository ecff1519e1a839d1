//go:build !linux

package listen

import "golang.org/x/sys/unix"

// vsockSocket fails: package vsock is for Linux.
func vsockSocket() (int, error) { return -1, unix.EAFNOSUPPORT }
