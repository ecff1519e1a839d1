// Package p9ext holds the few words that github.com/hugelgupf/p9 lacks and that a 9P server and a tree of blocking files
// must share: who attaches, which files may wait, which are text, and one error with both of 9P's faces.
//
// A tree written for p9 needs nothing from here; server serves any p9.Attacher. A file that may wait for a device says so
// by implementing one of the interfaces below beside p9.File, in the manner of io/fs: the server finds them by assertion,
// and an implementation proves itself with
//
//	var _ p9ext.Reader = (*console)(nil)
//
// What each interface buys:
//
//   - [Attacher]: the tree is told who attaches.
//   - [Prompt]: the server answers on its receiving goroutine, with no locks and no handoff.
//   - [Opener], [Reader], [Writer]: the request carries a context that ends with Tflush, Tclunk or the connection.
//   - [ReadPoller], [WritePoller]: a request that must wait is parked instead of holding a goroutine; a hundred thousand
//     blocked reads are then a hundred thousand small structs.
//   - [Unreader]: a record taken for a read that was cancelled meanwhile goes back to the head of its queue.
//   - [Text]: the end of the file may be padded with newlines (see [Text] for the reason, which is Linux).
//
// Nothing in this package does anything: it is the border between server and the trees it serves.
package p9ext

import (
	"context"

	"github.com/hugelgupf/p9/p9"
)

// A User is the identity under which a session attached, as far as the server believes it.
// It is a value; whoever holds one may keep it. Groups is shared and must not be changed.
type User struct {
	UID    uint32   // p9's nobody is [NobodyUID]
	GID    uint32   // primary group
	Groups []uint32 // supplementary groups, nil when the transport does not tell them
	Name   string   // login name, or the decimal uid where the machine knows none
	Addr   string   // where the peer is, for logs: "unix:pid=812", "tcp:10.0.2.15:1022"

	// Proven is true when the transport proved the identity (peer credentials, a client certificate) and false when the
	// peer merely asserted it. What only the machine's own users may do asks for it.
	Proven bool
}

// NobodyUID and NobodyGID are the identity of a peer of whom nothing is known.
const (
	NobodyUID = 65534
	NobodyGID = 65534
)

// IsNobody reports whether u is the identity of an unknown peer.
func (u User) IsNobody() bool { return u.UID == NobodyUID }

// InGroup reports whether gid is u's primary group or one of its supplementary groups.
func (u User) InGroup(gid uint32) bool {
	if u.GID == gid {
		return true
	}
	for _, g := range u.Groups {
		if g == gid {
			return true
		}
	}
	return false
}

// An Attacher is a p9.Attacher that wants to know who attaches. The server calls AttachUser instead of Attach.
// The returned file is the root as this user sees it; every file walked to from there acts for the same user.
type Attacher interface {
	AttachUser(ctx context.Context, u User) (p9.File, error)
}

// Prompt marks a p9.File whose methods return without waiting for anybody and need no exclusion from the server:
// Walk, GetAttr, SetAttr, StatFS, Readdir, FSync, Close of a file that was not opened, and, where the file does not
// also implement the interface that carries a context, Open, ReadAt and WriteAt. The server calls them on its receiving goroutine.
//
// A file opened through [Opener] may wait in Close all the same: the server calls that Close on a goroutine of its own.
type Prompt interface {
	p9.File
	Prompt()
}

// An Opener is a file whose open may wait. OpenContext is p9.File.Open with a context that ends when the request is flushed,
// the fid is clunked or the connection is lost. When ctx ended before OpenContext returns it must leave the file
// unopened and return an error; what it allocated it must release. Close may be called while OpenContext runs: it
// then must make OpenContext fail and release.
type Opener interface {
	OpenContext(ctx context.Context, flags p9.OpenFlags) (p9.QID, uint32, error)
}

// An OpenPoller is an Opener that need not wait most of the time: it saves the server, and the client, a goroutine for each open and each close.
//
// PollOpen opens like OpenContext when that is possible at once. When it is not, it returns [ErrWait], having done nothing, and the server
// calls OpenContext. PollClose closes like Close when there is nothing to wait for and reports true; when there is, it
// reports false, having done nothing, and the server calls Close. The server calls both on its receiving goroutine; only a [Prompt] file is asked.
type OpenPoller interface {
	Opener
	PollOpen(flags p9.OpenFlags) (p9.QID, uint32, error)
	PollClose() bool
}

// A Reader is a file whose reads may wait. At most one ReadContext runs at a time on one open file, in the order in which the
// requests came. When ctx ends it returns an error (any; the server answers EINTR) and has taken nothing.
//
// The server treats a file that implements Reader or [ReadPoller] and not [Text] as a stream of records, see server's "records".
type Reader interface {
	ReadContext(ctx context.Context, p []byte, off int64) (int, error)
}

// A Writer is a file whose writes may wait: the mirror image of [Reader]. When ctx ends before anything was
// written it returns 0 and an error. p is valid during the call only.
type Writer interface {
	WriteContext(ctx context.Context, p []byte, off int64) (int, error)
}

// A Waiter is a request that is parked until it is worth trying again. The server implements it.
// Wake may be called from any goroutine, with locks held; it neither blocks nor calls back.
// A waiter is identified by its interface value.
type Waiter interface {
	Wake()
}

// A ReadPoller is a file whose reads may wait without a goroutine.
//
// PollRead reads like ReadAt when that is possible at once. When it is not, it returns [ErrWait] and has remembered w, whose Wake it
// calls once when a read would succeed (or fail for good); the server then calls PollRead again with the same w. Between Wake
// and that call, what woke w stays reserved for it: requests are served in the order in which they came.
// A file that cannot poll in its present state returns [ErrNoPoll] and the server falls back to [Reader].
//
// Unpoll forgets w, which will not try again: what was reserved for it goes to the next. Unpoll of an unknown waiter does nothing.
// Both never block, and may be called concurrently.
type ReadPoller interface {
	PollRead(p []byte, off int64, w Waiter) (int, error)
	Unpoll(w Waiter)
}

// A WritePoller is the mirror image of [ReadPoller]: PollWrite accepts p whole, or returns [ErrWait] having taken nothing, or fails.
// p is valid during the call only. UnpollWrite forgets w.
type WritePoller interface {
	PollWrite(p []byte, off int64, w Waiter) (int, error)
	UnpollWrite(w Waiter)
}

// An Unreader takes back what a read returned and nobody received: the request was flushed, or its connection lost, after
// ReadContext or PollRead had taken p. The next read, of whoever reads next, returns it first. p is valid during the call only.
type Unreader interface {
	Unread(p []byte)
}

// Text marks a file whose content is lines of text and whose end may be padded with newlines: after a write a Linux client believes that the file
// is as long as what was written, and from kernel 6.12 on a read that ends earlier is an endless loop or ENODATA. The
// server pads such a file up to the size the client believes in. IsText may depend on the state of the file; it is asked at each read,
// with the session locked, and must answer at once.
type Text interface {
	IsText() bool
}
