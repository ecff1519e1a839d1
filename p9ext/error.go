package p9ext

import (
	"errors"
	"fmt"

	"github.com/hugelgupf/p9/linux"
)

// An Error is an error with both faces of 9P: the number that 9P2000.L sends, the string that 9P2000 sends; 9P2000.u
// sends both. It is immutable; the values below are compared with errors.Is, which also finds the errno:
//
//	errors.Is(err, linux.ENOENT)
type Error struct {
	Errno linux.Errno // Linux's number, on every platform
	Text  string      // one clear sentence in Plan 9's manner: lower case, no period, the cause and, where there is one, the cure
	Cause error       // what went wrong below; nil when Text says it all. Text already contains it.
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Unwrap makes errors.Is and errors.As find the errno and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause != nil {
		return []error{e.Errno, e.Cause}
	}
	return []error{e.Errno}
}

// Errorf makes an Error of errno with a text formatted as by fmt.Errorf; an operand of %w becomes the cause.
func Errorf(errno linux.Errno, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Errno: errno, Text: err.Error(), Cause: errors.Unwrap(err)}
}

// The errors of the name space that several packages answer with.
var (
	ErrNotExist    = &Error{Errno: linux.ENOENT, Text: "file does not exist"}
	ErrAccess      = &Error{Errno: linux.EACCES, Text: "permission denied"} // at open and walk
	ErrPerm        = &Error{Errno: linux.EPERM, Text: "permission denied"}  // of a control message, of chmod and chown
	ErrNoDevices   = &Error{Errno: linux.ENOSPC, Text: "no free devices"}
	ErrInUse       = &Error{Errno: linux.EBUSY, Text: "device or object already in use"}
	ErrTooSmall    = &Error{Errno: linux.EINVAL, Text: "read or write too small"}
	ErrTooLarge    = &Error{Errno: linux.EMSGSIZE, Text: "read or write too large"}
	ErrHungup      = &Error{Errno: linux.EIO, Text: "i/o on hungup channel"}
	ErrInterrupted = &Error{Errno: linux.EINTR, Text: "interrupted"}
)

// Signals between a polling file and the server. They never reach a client.
var (
	ErrWait   = errors.New("p9ext: would wait")
	ErrNoPoll = errors.New("p9ext: file cannot poll")
)
