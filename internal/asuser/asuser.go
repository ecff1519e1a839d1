// Package asuser lets a server that runs as root touch files with the rights of one of its users, and not with its own.
//
//	err := asuser.Do(asuser.Of(owner), func() error {
//		f, err = root.OpenFile(path, os.O_RDONLY, 0)
//		return err
//	})
//
// What f does is judged by the kernel as if that user did it: permissions of files and directories, quotas, blocks that a file
// system reserves for root. The server's other threads notice nothing. It is setfsuid(2) rather than seteuid: the user gains no right over
// the server's process, neither to send it signals nor to trace it.
//
// # Threads
//
// Identity belongs to a thread of the kernel's, and Go moves goroutines from one to another. So f runs on a goroutine that is locked to a
// thread for good: it is never the process' main thread, which Go cannot end, and it dies with its goroutine and is never given back to the
// scheduler. Between two functions it has the server's own identity again, checked by asking the kernel; where that fails it ends.
// Go starts new threads from such a one only through a clean helper of its own (see LockOSThread), so nothing inherits the identity.
//
//	           Do                     f returns
//	started -------> acts as a user ------------> server's own identity --- Do ---> ...
//	                                                      |
//	                                                      +--- idle for a while, or the identity did not come back ---> gone
//
// One thread serves one call at a time; as many exist as calls run, which callers bound.
package asuser

import (
	"slices"

	"github.com/clone9p/clone9p/p9ext"
)

// An Identity is what the kernel judges access to files by.
type Identity struct {
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary groups
}

// Of is the identity of u. Where the transport did not tell u's groups it has the primary one alone.
func Of(u p9ext.User) Identity { return Identity{u.UID, u.GID, u.Groups} }

// Equal reports whether both are the same, groups in the same order.
func (id Identity) Equal(o Identity) bool {
	return id.UID == o.UID && id.GID == o.GID && slices.Equal(id.Groups, o.Groups)
}

// Do runs f with the identity id and returns its error. f runs on another goroutine unless id is the user who runs the server, in which case
// nothing is changed. What f begins on other goroutines does not have the identity.
//
// An error with EPERM says that the server cannot act for that user, as it is not root; f has not run then.
func Do(id Identity, f func() error) error { return do(id, f) }

// Can returns the error that Do would return for id without running anything, or nil.
func Can(id Identity) error { return do(id, func() error { return nil }) }
