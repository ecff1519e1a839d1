// Package clonefs is a tree of files that are devices which clone, to be served over 9P by package server (or, as far as nothing waits, by
// any p9 server). It holds what all such devices have in common; a driver adds a table.
//
// # What a user sees
//
// Opening DEV/clone makes a new conversation with the device, and the descriptor that comes back is its control file: it already is
// DEV/N/ctl. Reading it gives the number N of the new directory:
//
//	DEV/clone     open it, and a conversation begins
//	DEV/help      the files and the control messages, made from the driver's table
//	DEV/stats     counters
//	DEV/N/ctl     reading gives N; writing sends control messages, one a line
//	DEV/N/status  one line of state, owner and opens; then the driver's
//	DEV/N/data    records, or whatever the driver serves; rx and tx are its two halves
//
// The conversation lives as long as somebody holds a working file of it open (ctl, data, rx, tx and what a driver marks with Holds), unless
// `persist on` was written to ctl, or `hangup`. The idea is that of Plan 9's ether(3) and ip(3), and of NetBSD's cloning devices.
//
// # What a driver is
//
// A driver is a value of type [Device], which is a table: the function that begins a conversation, the control messages, the files. It is
// generic in T, the driver's own type for one conversation, so that each message and each file is a method of T. The package example is a
// whole driver in fifty lines. [New] builds a tree from drivers; package clonetest has the suite that each must pass.
//
// A driver never sees a fid, a tag or a dialect of 9P. It need not count, check permissions, parse or quote. What it promises:
//
//   - Clone takes its time if it must, and gives up when its context ends. Nobody waits for it but the opener.
//   - Control messages and SetText of one conversation run one at a time, each with a context; Text and Status must not wait for events.
//     All others may run at the same time: a conversation guards its own state.
//   - Close ends everything that Clone and Open began: goroutines, descriptors, what the kernel made. It is called once, when nothing else runs.
//   - Open makes a [Stream] for each open of a file that may wait. A stream implements p9ext.Reader, p9ext.Writer, or both. [Queue] is
//     the reading half of one: the driver pushes records, and readers wait without a goroutine each. [Credits] is the writing half.
//
// # Who may use a device
//
// The operator's settings (DeviceConfig) say who may clone, in an order that is told there; who may not is kept out of the whole device. Within it
// the modes of the files decide. A conversation belongs to whoever opened clone, and the group of clone. Whoever is unknown is nobody, who is the
// owner and of the group of nothing but what he himself, or the operator, made his: also where the server runs as nobody.
//
// # Lifetimes
//
//	open of clone --> Clone --> listed --> last reference dropped, hangup,      --> contexts end, --> Close --> N is free
//	                                       Conv.Hangup, or the end of the tree      streams are
//	                                       (not listed from here on)                closed
//
// What was open or blocked when a conversation ended answers `i/o on hungup channel` (EIO); what was walked to and not opened,
// `file does not exist`. The next conversation with the same number has new qids: nothing old ever refers to it.
//
// # Errors
//
// A driver returns a *p9ext.Error where it knows what to tell a person, or any error that holds an errno; the rest becomes EIO. [ErrBadArg] is
// answered with what the message wants, [ErrTaken] has the next number tried. Each failure is one line in the log.
//
// # Locks
//
// A device's lock is taken before a conversation's; neither is held while a driver's function runs, nor while anything is waited for.
package clonefs
