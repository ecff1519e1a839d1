package script

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
)

// maxReply bounds a reply whose size nobody can mean.
const maxReply = 64 << 20

// A conn is one connection of a script.
type conn struct {
	name    string
	c       net.Conn
	dialect wire.Dialect
	greeted bool // an Rversion came: a quiet question will be answered
	shut    bool // nothing can be sent any more

	maybe []pattern // ?R lines: replies that may come before the next one that must

	// What was read and not taken yet.
	pending    *wire.Msg
	pendingErr error
}

// send writes raw bytes.
func (c *conn) send(b []byte, timeout time.Duration) error {
	if err := c.c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.c.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server took no message within %v", timeout)
	}
	return err
}

// peek returns the next reply and keeps it. After the last one the error is io.EOF.
func (c *conn) peek(timeout time.Duration) (*wire.Msg, error) {
	if c.pending == nil && c.pendingErr == nil {
		c.pending, c.pendingErr = c.read(timeout)
	}
	if err := c.pendingErr; errors.Is(err, os.ErrDeadlineExceeded) {
		c.pendingErr = nil // it may come yet
		return nil, fmt.Errorf("no reply within %v", timeout)
	}
	return c.pending, c.pendingErr
}

// take removes the reply that peek showed.
func (c *conn) take() {
	if c.pending.Type == wire.Rversion {
		if d, ok := wire.ParseVersion(string(c.pending.Version)); ok {
			c.dialect = d
			c.greeted = true
		}
	}
	c.pending = nil
}

func (c *conn) read(timeout time.Duration) (*wire.Msg, error) {
	if err := c.c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, closed(err)
	}
	head := make([]byte, 4)
	if n, err := io.ReadFull(c.c, head); err != nil {
		if n > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("the connection ended within the size of a reply")
		}
		return nil, closed(err)
	}
	size, _ := wire.Peek(head)
	if size < wire.HeaderSize || size > maxReply {
		return nil, fmt.Errorf("a reply of %d bytes", size)
	}
	b := make([]byte, size)
	copy(b, head)
	if _, err := io.ReadFull(c.c, b[4:]); err != nil {
		return nil, fmt.Errorf("within a reply of %d bytes: %w", size, err)
	}
	m := new(wire.Msg)
	if err := m.Decode(c.dialect, b); err != nil {
		return nil, fmt.Errorf("reply %x: %w", b[:min(len(b), 64)], err)
	}
	if m.Type.IsT() {
		return nil, fmt.Errorf("the server sent a request: %s", m.Text(c.dialect))
	}
	return m, nil
}

// closed makes io.EOF of all the ways in which the other side can have closed the connection.
func closed(err error) error {
	for _, e := range []error{io.EOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return io.EOF
		}
	}
	return err
}

// Socketpair returns the two ends of a Unix stream socket without a name, for a Server.Dial that hands one of them to the server. Unlike a
// net.Pipe it buffers, and either side can be shut alone.
func Socketpair() (client, server net.Conn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, e := net.FileConn(f) // duplicates the descriptor
		err = errors.Join(err, e, f.Close())
		ends[i] = c
	}
	if err != nil {
		for _, c := range ends {
			if c != nil {
				c.Close()
			}
		}
		return nil, nil, err
	}
	return ends[0], ends[1], nil
}

// text returns m for messages: data shortened, errno with its name.
func (c *conn) text(m *wire.Msg, max int) string {
	s := string(m.AppendText(nil, c.dialect, max))
	if (m.Type == wire.Rlerror || m.Type == wire.Rerror && c.dialect == wire.P9u) && m.Errno < math.MaxInt16 {
		s += " (" + errnoName(m.Errno) + ")"
	}
	return s
}
