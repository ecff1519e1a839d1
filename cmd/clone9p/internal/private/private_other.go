//go:build !linux

package private

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// MayAdminister returns ErrUnsupported.
func MayAdminister() error { return ErrUnsupported }

// Enter returns ErrUnsupported.
func Enter([]*os.File, any, func() error) (status int, started bool, err error) {
	return 0, false, ErrUnsupported
}

// Again returns ErrUnsupported.
func Again([]*os.File, any, func() error) error { return ErrUnsupported }

// LoopbackUp returns ErrUnsupported.
func LoopbackUp() error { return ErrUnsupported }

// Hint returns nothing.
func Hint(int) string { return "" }

// Start returns ErrUnsupported.
func Start(*exec.Cmd, int) error { return ErrUnsupported }

func closeOnExec(fd int) { unix.CloseOnExec(fd) }
