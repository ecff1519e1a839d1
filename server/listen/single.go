package listen

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/clone9p/clone9p/server"
	"golang.org/x/sys/unix"
)

// A peerConn is a connection that knows its peer.
type peerConn interface {
	net.Conn
	Peer() server.Peer
}

// A single is a net.Listener of one connection, which is there from the beginning. Its second Accept waits for that connection's end and
// returns io.EOF: nothing more will come. Its methods are safe for concurrent use.
type single struct {
	conn   peerConn
	closed chan struct{} // closed by Close
	ended  chan struct{} // closed with the connection

	mu       sync.Mutex // guards what follows
	accepted bool
	stopped  bool // closed is closed
}

func newSingle(c peerConn) *single {
	return &single{conn: c, closed: make(chan struct{}), ended: make(chan struct{})}
}

// Accept implements net.Listener.
func (s *single) Accept() (net.Conn, error) {
	s.mu.Lock()
	first := !s.accepted && !s.stopped
	s.accepted = true
	s.mu.Unlock()
	if first {
		return &singleConn{peerConn: s.conn, ended: s.ended}, nil
	}
	select {
	case <-s.ended:
		return nil, io.EOF
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. A connection that nobody has accepted is closed too.
func (s *single) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return net.ErrClosed
	}
	s.stopped = true
	close(s.closed)
	if !s.accepted {
		return s.conn.Close()
	}
	return nil
}

// Addr implements net.Listener.
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }

// A singleConn is the connection of a single.
type singleConn struct {
	peerConn
	once  sync.Once
	ended chan struct{}
}

// Close closes the connection.
func (c *singleConn) Close() error {
	err := c.peerConn.Close()
	c.once.Do(func() { close(c.ended) })
	return err
}

// SetWriteBuffer is for the server, which widens the buffers of unix sockets.
func (c *singleConn) SetWriteBuffer(n int) error { return setWriteBuffer(c.peerConn, n) }

// files returns the descriptors of the connection, duplicated where it has one.
func (s *single) files() ([]*os.File, error) {
	c := net.Conn(s.conn)
	switch own := c.(type) {
	case *ownConn:
		c = own.Conn
	case *vsockConn:
		c = own.Conn
	}
	var files []*os.File
	dup := func(fd uintptr) error {
		n, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, firstHigh)
		if err == nil {
			files = append(files, os.NewFile(uintptr(n), "handed over"))
		}
		return err
	}
	if p, ok := c.(*pipes); ok {
		for _, f := range p.both() {
			if err := control(f, dup); err != nil {
				return nil, err
			}
		}
		return files, nil
	}
	err := control(c.(rawConner), dup)
	return files, err
}

// A pipes is a connection over two pipes, or over one descriptor of which package net knows nothing. Its methods are safe for concurrent use.
type pipes struct {
	at   Addr
	r, w *os.File // the same, for one descriptor

	lent     [2]*os.File // what r and w are duplicates of; nil where nothing has to be put back
	close    sync.Once
	closeErr error // written once, by close
}

// newPipes makes a connection that reads r and writes w, which are its own when it succeeds.
//
// Only a descriptor that does not block can be given up while somebody reads it, and that is a property of the open file, which other processes
// may use when we are done. So the mode is put back, by the descriptor that we were given, when no read or write is under way any more.
func newPipes(at Addr, r, w *os.File) (*pipes, error) {
	p := &pipes{at: at}
	var err error
	if p.r, p.lent[0], err = unblocked(r); err != nil {
		return nil, err
	}
	if r == w {
		p.w = p.r
		return p, nil
	}
	if p.w, p.lent[1], err = unblocked(w); err != nil {
		p.r.Close()
		return nil, err
	}
	return p, nil
}

// unblocked returns f in a form whose reads and writes can be ended. lent is f if it has to be put back.
func unblocked(f *os.File) (polled, lent *os.File, err error) {
	err = control(f, func(fd uintptr) error {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		n, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, firstHigh)
		if err != nil {
			return err
		}
		if err := unix.SetNonblock(n, true); err != nil {
			unix.Close(n)
			return err
		}
		polled = os.NewFile(uintptr(n), f.Name())
		if flags&unix.O_NONBLOCK == 0 {
			lent = f
		}
		return nil
	})
	if err == nil && lent == nil {
		f.Close()
	}
	return polled, lent, err
}

// both returns the one or two files.
func (p *pipes) both() []*os.File {
	if p.r == p.w {
		return []*os.File{p.r}
	}
	return []*os.File{p.r, p.w}
}

func (p *pipes) Read(b []byte) (int, error)  { return p.r.Read(b) }
func (p *pipes) Write(b []byte) (int, error) { return p.w.Write(b) }

// CloseWrite tells the other side that no more will come.
func (p *pipes) CloseWrite() error {
	if p.r == p.w {
		return control(p.w, func(fd uintptr) error { return unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
	return p.closeOne(1)
}

// Close ends reads and writes that wait.
func (p *pipes) Close() error {
	p.close.Do(func() {
		p.closeErr = p.closeOne(0)
		if p.r != p.w {
			_ = p.closeOne(1) // CloseWrite may have done so
		}
	})
	return p.closeErr
}

// closeOne closes r, or w, and leaves the open file as it was found.
func (p *pipes) closeOne(i int) error {
	err := []*os.File{p.r, p.w}[i].Close()
	if f := p.lent[i]; f != nil {
		_ = control(f, func(fd uintptr) error { return unix.SetNonblock(int(fd), false) }) // fails when it was closed before
		f.Close()
	}
	return err
}

func (p *pipes) LocalAddr() net.Addr  { return pipesAddr{p.at} }
func (p *pipes) RemoteAddr() net.Addr { return pipesAddr{p.at} }

func (p *pipes) SetDeadline(t time.Time) error {
	if err := p.r.SetDeadline(t); err != nil || p.r == p.w {
		return err
	}
	return p.w.SetDeadline(t)
}

func (p *pipes) SetReadDeadline(t time.Time) error  { return p.r.SetReadDeadline(t) }
func (p *pipes) SetWriteDeadline(t time.Time) error { return p.w.SetWriteDeadline(t) }

// A pipesAddr is the net.Addr of a connection that has no ends with names.
type pipesAddr struct{ at Addr }

func (a pipesAddr) Network() string { return a.at.Network }
func (a pipesAddr) String() string  { return a.at.String() }
