package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// A Dialect is one of the three forms of 9P.
type Dialect uint8

// The dialects.
const (
	P9  = Dialect(wire.P9)  // 9P2000: Plan 9's, errors are sentences
	P9u = Dialect(wire.P9u) // 9P2000.u: numbers for users and errors as well
	P9L = Dialect(wire.P9L) // 9P2000.L: Linux's calls, errors are numbers
)

// String returns the dialect's version string.
func (d Dialect) String() string { return wire.Dialect(d).String() }

// ParseDialect returns the dialect of that version string.
func ParseDialect(s string) (Dialect, error) {
	for _, d := range []Dialect{P9, P9u, P9L} {
		if s == d.String() {
			return d, nil
		}
	}
	return 0, fmt.Errorf("unknown dialect %q: want 9P2000.L, 9P2000.u or 9P2000", s)
}

// Options are the settings of a connection. The zero value of a field means its default.
type Options struct {
	Dialects []Dialect // to ask for in this order; default 9P2000.u, 9P2000.L, 9P2000

	// MaxMessage is the message size (msize) to ask for, in bytes; default 1 MiB. The server may lower it. Buffers grow with the messages
	// that really come, not with this.
	MaxMessage uint32

	// FlushTimeout is how long a cancelled call waits for the server to confirm; default 5 s. See the package comment.
	FlushTimeout time.Duration
}

// The defaults of [Options].
const (
	DefaultMaxMessage   = 1 << 20
	DefaultFlushTimeout = 5 * time.Second
)

// The errors of a connection that is no more: each call fails with a *p9ext.Error that is one of them.
var (
	ErrLost   = errors.New("the connection to the server is lost") // ECONNRESET
	ErrClosed = errors.New("the connection was closed")            // by Close; EBADF
)

// A Conn is a session with a server. Its methods are safe for concurrent use.
type Conn struct {
	conn         io.ReadWriteCloser
	dialect      wire.Dialect
	msize        uint32
	flushTimeout time.Duration

	out  outbox
	done chan struct{}  // closed when the connection is no more
	wg   sync.WaitGroup // the writing and the reading goroutine

	mu      sync.Mutex    // guards what follows and the fields of call that say so; a leaf but for out.mu, never held across I/O
	err     error         // why the connection is no more; nil while it is
	calls   []*call       // by tag; nil where the tag is free. As long as the highest tag that was ever needed.
	tags    []uint16      // free tags below len(calls)
	errands []errand      // to be sent as soon as there are tags
	waiting []chan uint16 // calls that wait for a tag, the first first; each has room for one
	fids    []uint32      // free fids below nextFid
	nextFid uint32
}

// New begins a session over conn, which it owns from then on: it is closed when New fails or the session ends. Closing conn must end
// its reads and writes, as it does for a net.Conn. ctx bounds New only.
func New(ctx context.Context, conn io.ReadWriteCloser, o Options) (*Conn, error) {
	if len(o.Dialects) == 0 {
		o.Dialects = []Dialect{P9u, P9L, P9}
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	o.MaxMessage = max(o.MaxMessage, wire.MinMsize)
	if o.FlushTimeout == 0 {
		o.FlushTimeout = DefaultFlushTimeout
	}
	c := &Conn{conn: conn, flushTimeout: o.FlushTimeout, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := c.version(o)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.out.init()
	c.wg.Add(2)
	go c.send()
	go c.receive()
	return c, nil
}

// version agrees with the server on dialect and message size.
func (c *Conn) version(o Options) error {
	var answers []string
	for _, d := range o.Dialects {
		m := wire.Msg{Type: wire.Tversion, Tag: wire.NoTag, Msize: o.MaxMessage, Version: []byte(d.String())}
		b, err := wire.Append(nil, wire.P9, &m)
		if err != nil {
			return err
		}
		if _, err := c.conn.Write(b); err != nil {
			return lost(err)
		}
		if b, err = readMessage(c.conn); err != nil {
			return lost(err)
		}
		// An old server may answer with an error, in the form of whatever dialect it has.
		switch wire.Type(b[4]) {
		case wire.Rerror, wire.Rlerror:
			answers = append(answers, "an error")
			continue
		}
		if err := m.Decode(wire.P9, b); err != nil || m.Type != wire.Rversion {
			return lost(fmt.Errorf("the answer to Tversion is no Rversion: is there a 9P server at the other end?"))
		}
		i := slices.IndexFunc(o.Dialects, func(d Dialect) bool { return d.String() == string(m.Version) })
		if i < 0 {
			answers = append(answers, fmt.Sprintf("%q", m.Version))
			continue
		}
		if m.Msize < wire.MinMsize || m.Msize > o.MaxMessage {
			return p9ext.Errorf(linux.EPROTO, "the server wants messages of at most %d bytes: %d to %d are possible", m.Msize, wire.MinMsize, o.MaxMessage)
		}
		c.dialect, c.msize = wire.Dialect(o.Dialects[i]), m.Msize
		return nil
	}
	return p9ext.Errorf(linux.EPROTONOSUPPORT, "the server does not speak %v: it answered %s", o.Dialects, strings.Join(answers, ", "))
}

// readMessage reads one message of the size of a Rversion.
func readMessage(r io.Reader) ([]byte, error) {
	b := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	size, _ := wire.Peek(b)
	if size < wire.HeaderSize || size > 1<<10 {
		return nil, fmt.Errorf("the answer to Tversion has %d bytes: is there a 9P server at the other end?", size)
	}
	b = append(b, make([]byte, size-wire.HeaderSize)...)
	_, err := io.ReadFull(r, b[wire.HeaderSize:])
	return b, err
}

// Dialect is the dialect that was agreed on.
func (c *Conn) Dialect() Dialect { return Dialect(c.dialect) }

// MaxIO is how many bytes one read or write carries at most.
func (c *Conn) MaxIO() int { return int(c.msize) - wire.IOHeader }

// Done is closed when the connection is no more.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection is no more: an error that is ErrLost or ErrClosed. It is nil before Done is closed.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the session: calls that wait fail with ErrClosed, and the server clunks what is still open. It returns when the
// connection's goroutines have ended.
func (c *Conn) Close() error {
	c.fail(&p9ext.Error{Errno: linux.EBADF, Text: ErrClosed.Error(), Cause: ErrClosed})
	c.wg.Wait()
	return nil
}

// lost is ErrLost because of err.
func lost(err error) error {
	if err == io.EOF {
		err = errors.New("the server closed it")
	}
	cause := fmt.Errorf("%w: %w", ErrLost, err)
	return &p9ext.Error{Errno: linux.ECONNRESET, Text: cause.Error(), Cause: cause}
}

// fail ends the connection because of err, unless it has ended already.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	for _, k := range c.calls {
		if k == nil || k.answered {
			continue
		}
		k.answered, k.err = true, err
		if !k.abandoned {
			k.done <- struct{}{}
		}
	}
	c.calls, c.tags, c.errands, c.waiting = nil, nil, nil, nil
	close(c.done)
	c.mu.Unlock()
	c.conn.Close()
}
