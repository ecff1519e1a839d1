package clonefs

import (
	"context"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// User is the identity of whoever opens, reads and writes.
type User = p9ext.User

// A Device is a table: what one kind of device is called, how a conversation with it begins, which files a conversation
// has and which control messages it understands. T is the driver's own type for one conversation; control
// messages and files are its methods. A driver's New builds one and hands it to [New]; after that it must not change.
//
// T's Close ends the conversation: clonefs calls it exactly once, after the last reference is gone or
// the conversation was hung up, after every stream of it was closed, and after every method of T that was running has returned (one that
// ignores the end of its context for five seconds is not waited for any longer). The number N is free again when Close returns.
type Device[T Closer] struct {
	Name string // directory in the root, and in messages: "ethfoo"
	Doc  string // one line: "a virtual Ethernet interface an open"

	// Clone makes the driver's half of a new conversation. The permission and the limits were checked before. It may take its time:
	// nobody else waits for it. When ctx ends it must give up, release what it made and return an error. [ErrTaken] means
	// that the name that belongs to c.N is in use outside; clonefs then tries the next N.
	Clone func(ctx context.Context, c *Conv) (T, error)

	// State is the word STATE in the first line of status; nil means "open". Status gives the driver's own
	// lines below it, each ending in a newline; nil means none. Both may wait.
	State  func(T) string
	Status func(T) (string, error)

	// Begin, where there is one, is called once by [New], before anything else, with the logger for what concerns no conversation.
	Begin func(log zerolog.Logger)

	// Close ends what the device has beside its conversations; nil means nothing. [FS.Close] calls it once, after the driver's last
	// Close, or when there is no time left for that.
	Close func() error

	Ctl    Messages[T]  // in the order in which help lists them
	Files  Files[T]     // of a conversation, beside ctl and status which every device has
	Shared []SharedFile // of the device itself, beside clone, help and stats

	// Limits of the device; zero means the default of [Config].
	MaxConvs   int // conversations at once
	MaxPerUser int // conversations at once of one user

	// Who may clone: the mode, owner and group of DEV/clone. A zero mode means 0666; the zero owner and group are the server's own.
	Mode  p9.FileMode
	Owner *p9.UID
	Group *p9.GID
}

// A Closer is the driver's half of a conversation.
type Closer interface{ Close() error }

// Messages is the table of a device's control messages, see [Message].
type Messages[T any] []Message[T]

// A Message is one control message: a line written to ctl. From this one entry come parsing, the error texts, the device's help
// file, the manual page and the fuzzing dictionary.
//
// Args describes the arguments as a person writes them: words divided by blanks, each one argument. A word in brackets is
// optional ("[via GW]" is two optional words that come together, "[OFF [LEN]]" one or two), words in small letters are literal
// and "a|b" is a choice of them, a last word with "..." behind it takes all that follow, if any. "on|off" is checked, "ADDR/LEN" is anything.
// The number of arguments and the literal words are checked before Do runs; what Do gets fits Args.
//
// Several messages may have the same Word with different Args ("bind tun", "bind vxlan ID"): the first that fits runs.
// Every device also has `persist on|off`, `hangup` and `label TEXT`, which a table can't have.
type Message[T any] struct {
	Word string
	Args string
	Help string // one line, no period

	// Do carries the message out. One message at a time runs on a conversation, SetText included. It may take its time, until the
	// context ends. An error that is no *p9ext.Error is answered with
	// its own errno, or EIO. ErrBadArg answers `bad control message: WORD wants ARGS` (EINVAL).
	Do func(T, context.Context, []string) error

	// Super marks a message only the superuser may send.
	Super bool
}

// Files is the table of a conversation's files, see [File].
type Files[T any] []File[T]

// A File is one file of a conversation. Exactly one of Text, Open and Duplex is set; SetText goes with Text.
type File[T any] struct {
	Name string
	Mode p9.FileMode // permission bits, masked by the conversation's mode; zero: what the functions below can do, 0444, 0660 or for Open 0440
	Help string      // one line, no period

	// Text renders a text file; it is called when a reader reads at offset 0, and the reader sees that text to its end.
	// It may ask the kernel but not wait for an event (a file that does that has Open). SetText takes one write, whole, blanks at its ends cut off.
	Text    func(T) (string, error)
	SetText func(T, context.Context, string) error

	// Open makes a stream for one open of the file. Duplex does so too, and has clonefs offer the
	// file's two halves beside it: rx (read only) and tx (write only); use it for the file called data.
	Open   func(T, context.Context, Mode) (Stream, error)
	Duplex func(T, context.Context, Mode) (Stream, error)

	// Prompt says that neither Open (or Duplex) nor the stream's Close waits for anybody: the server then spends no goroutine on them.
	Prompt bool

	// Holds makes an open of this file hold a reference to the conversation, as ctl and Duplex files always do.
	Holds bool
}

// A Mode tells a driver for what a stream is being opened. At least one field is true.
type Mode struct{ Read, Write bool }

// A Stream is one open of a file that may wait. What it can do is found by assertion: p9ext.Reader, p9ext.Writer, and where
// that pays p9ext.ReadPoller, p9ext.WritePoller and p9ext.Unreader (a stream without the last gets a push-back
// buffer from clonefs). [Queue] implements the reading half of all that. A stream that cannot be read or written lacks the interface.
//
// When the conversation ends, contexts are cancelled and Close is called while reads and writes may still run;
// what they return then reaches the client as `i/o on hungup channel`. Close is called exactly once, and wakes every parked request;
// none is parked after it.
//
// A stream that polls reads must also take them back: without p9ext.Unreader its PollRead is not used.
type Stream interface{ Close() error }

// A SharedFile is a file of the device itself, such as dmover/functions or audio/volume: like [File], for the user who opens it.
// Owner and group are the server's.
// A zero Mode is 0444 for Text alone, 0660 with SetText or Ctl, 0666 for Open.
type SharedFile struct {
	Name    string
	Mode    p9.FileMode
	Help    string
	Text    func() (string, error)
	SetText func(ctx context.Context, u User, text string) error

	// Ctl, in place of SetText, has each write be messages, one a line, as in a conversation's ctl. What they act on is the user who writes.
	Ctl Messages[User]

	Open func(ctx context.Context, u User, m Mode) (Stream, error)

	// Counts makes an open of this file count as a conversation in the limits of the device and the user, though it is not listed.
	// It goes with Open.
	Counts bool
}

// An Option is one server option of a device: data from which the command line makes a flag, a configuration key and their
// documentation. Value points to the setting, whose present value is the default: *string, *int, *bool, *time.Duration or *[]string.
type Option struct {
	Name  string // "limit"; the flag is then --ethfoo-limit
	Arg   string // what the value is called in help: "N"
	Help  string // one line, no period
	Value any
}
