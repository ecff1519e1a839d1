package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// The kinds of descriptors that a server can be given.
type kind int

const (
	pipe       kind = iota // one way
	pair                   // an unnamed unix socket, as socketpair(2) makes them
	connection             // a connected socket of any other sort
	listening              // a socket on which connections are to be accepted
)

// An end is a descriptor that somebody else has opened for this process, and what it is called in errors.
type end struct {
	fd   int
	name string
}

func descriptor(fd int) end { return end{fd, "descriptor " + strconv.Itoa(fd)} }

// kind finds out what a descriptor is. Its error is a sentence that says why nothing can be served there.
func (e end) kind() (kind, error) {
	fail := func(text string) (kind, error) { return 0, fmt.Errorf("%s %s", e.name, text) }
	var st unix.Stat_t
	if err := unix.Fstat(e.fd, &st); err != nil {
		if errors.Is(err, unix.EBADF) {
			return fail("is not open: whoever starts the server is to open it")
		}
		return 0, fmt.Errorf("%s: %w", e.name, err)
	}
	const want = ": want a socket or pipes"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return pipe, nil
	case unix.S_IFSOCK:
		return e.socket()
	case unix.S_IFREG:
		return fail("is a regular file" + want)
	case unix.S_IFDIR:
		return fail("is a directory" + want)
	case unix.S_IFCHR:
		if term.IsTerminal(e.fd) {
			return fail("is a terminal" + want)
		}
		return fail("is a device" + want)
	}
	return fail("is neither a socket nor a pipe")
}

// socket is kind for a socket.
func (e end) socket() (kind, error) {
	fail := func(text string) (kind, error) { return 0, fmt.Errorf("%s %s", e.name, text) }
	if t, err := unix.GetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || t != unix.SOCK_STREAM {
		return fail("is a socket and none of streams: want one of type SOCK_STREAM")
	}
	here, err := unix.Getsockname(e.fd)
	if err != nil {
		return fail("is a socket of a kind that is not served: want unix, tcp or vsock")
	}
	switch here.(type) {
	case *unix.SockaddrUnix, *unix.SockaddrInet4, *unix.SockaddrInet6, *unix.SockaddrVM:
	default:
		return fail("is a socket of a kind that is not served: want unix, tcp or vsock")
	}
	if n, err := unix.GetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && n != 0 {
		return listening, nil
	}
	there, err := unix.Getpeername(e.fd)
	if err != nil {
		return fail("is a socket that neither is connected nor listens")
	}
	if a, ok := here.(*unix.SockaddrUnix); ok && a.Name == "" {
		if b, ok := there.(*unix.SockaddrUnix); ok && b.Name == "" {
			return pair, nil
		}
	}
	return connection, nil
}

// may finds out whether a pipe can be read or written at all: access is O_RDONLY or O_WRONLY.
func (e end) may(access int) error {
	flags, err := unix.FcntlInt(uintptr(e.fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	switch mode := flags & unix.O_ACCMODE; {
	case access == unix.O_RDONLY && mode == unix.O_WRONLY:
		return fmt.Errorf("%s can only be written: messages are to be read from it", e.name)
	case access == unix.O_WRONLY && mode == unix.O_RDONLY:
		return fmt.Errorf("%s can only be read: replies are to be written to it", e.name)
	}
	return nil
}

// same reports whether two descriptors are of one file.
func same(a, b end) bool {
	var x, y unix.Stat_t
	return a.fd == b.fd || unix.Fstat(a.fd, &x) == nil && unix.Fstat(b.fd, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// ends finds out what is served on two descriptors, which may be one. one is true when they are: then in alone is to be used.
func ends(in, out end) (k kind, one bool, err error) {
	k, err = in.kind()
	if err != nil {
		return 0, false, err
	}
	if same(in, out) {
		if k == pipe {
			return 0, false, fmt.Errorf("%s is a pipe, which goes one way: want a socket, or a second pipe for the replies", in.name)
		}
		return k, true, nil
	}
	back, err := out.kind()
	if err != nil {
		return 0, false, err
	}
	if k != pipe && k != pair || back != pipe && back != pair {
		return 0, false, fmt.Errorf("%s and %s are different sockets: want one, or two pipes", in.name, out.name)
	}
	if err := in.may(unix.O_RDONLY); err != nil {
		return 0, false, err
	}
	if err := out.may(unix.O_WRONLY); err != nil {
		return 0, false, err
	}
	return k, false, nil
}

// firstHigh is where descriptors are moved that should be in nobody's way.
const firstHigh = 10

// takeFD makes a listener of the descriptors that the address a names. They are closed when they are not needed any more.
func takeFD(a Addr, o Options) (*Listener, error) {
	in, out := descriptor(a.In), descriptor(a.Out)
	k, one, err := ends(in, out)
	if err != nil {
		return nil, err
	}
	files := []*os.File{newFile(a.In)}
	if !one {
		files = append(files, newFile(a.Out))
	}
	return adopt(a, k, files, o)
}

// newFile makes a file of a descriptor that this process has inherited and its children are not to.
func newFile(fd int) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(fd))
}

// takeStdio makes a listener of standard input and output, which are numbers in and out. They are moved away: in becomes /dev/null, and out the
// same file as number errs, which is standard error, so that nothing else in this process can put a word into the conversation. Where standard error
// is the conversation itself, as inetd has it, all three become /dev/null.
func takeStdio(in, out, errs int, o Options) (*Listener, error) {
	k, one, err := ends(end{in, "standard input"}, end{out, "standard output"})
	if err != nil {
		return nil, err
	}
	var files []*os.File
	fail := func(err error) (*Listener, error) {
		for _, f := range files {
			f.Close()
		}
		return nil, err
	}
	for _, fd := range []int{in, out} {
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstHigh)
		if err != nil {
			return fail(fmt.Errorf("cannot duplicate descriptor %d: %w", fd, err))
		}
		files = append(files, newFile(high))
	}
	shared := same(end{fd: errs}, end{fd: in}) || same(end{fd: errs}, end{fd: out})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer null.Close()
	if err := unix.Dup2(int(null.Fd()), in); err != nil {
		return fail(err)
	}
	if shared {
		if err := unix.Dup2(int(null.Fd()), errs); err != nil {
			return fail(err)
		}
	}
	if err := unix.Dup2(errs, out); err != nil { // there is no standard error
		if err := unix.Dup2(int(null.Fd()), out); err != nil {
			return fail(err)
		}
	}
	if one {
		files[1].Close()
		files = files[:1]
	}
	return adopt(Addr{Network: "stdio"}, k, files, o)
}

// adopt makes a listener of files of kind k, found at the address a: one file, or two for the two directions. The files are its own from then
// on; when it fails they are closed.
func adopt(a Addr, k kind, files []*os.File, o Options) (*Listener, error) {
	l := &Listener{addr: a, trust: o.TCPIdentity == Trust}
	var err error
	if k == listening {
		err = l.adoptListener(files[0])
	} else {
		var c peerConn
		if c, err = adoptConn(a, k, files, l.trust); err == nil {
			l.l = newSingle(c)
		}
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, err
	}
	if at, ok := l.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() && !o.InsecureTCP {
		l.l.Close()
		return nil, errInsecure
	}
	return l, nil
}

// adoptListener makes a listener of a socket that listens already, and closes f when that succeeds.
func (l *Listener) adoptListener(f *os.File) error {
	if _, ok := isVsock(f); ok {
		v, err := fileVsock(f)
		if err != nil {
			return err
		}
		l.l, l.addr = v, v.address()
		f.Close()
		return nil
	}
	nl, err := net.FileListener(f)
	if err != nil {
		return err
	}
	switch at := nl.Addr().(type) {
	case *net.UnixAddr:
		// The kernel notes who listens when listen is called, and clients find the server by that; see Inherit.
		if err := unix.Listen(int(f.Fd()), backlog); err != nil {
			nl.Close()
			return err
		}
		l.addr = Addr{Network: "unix", Path: at.Name}
	case *net.TCPAddr:
		l.addr = Addr{Network: "tcp", Host: at.IP.String(), Port: at.Port}
	}
	l.l = nl
	f.Close()
	return nil
}

// adoptConn makes a connection of files of kind k, and closes them, or owns them, when that succeeds.
func adoptConn(a Addr, k kind, files []*os.File, trust bool) (peerConn, error) {
	if len(files) == 2 {
		c, err := newPipes(a, files[0], files[1])
		if err != nil {
			return nil, err
		}
		return &ownConn{c, a}, nil
	}
	if peer, ok := isVsock(files[0]); ok {
		c, err := newPipes(a, files[0], files[0])
		if err != nil {
			return nil, err
		}
		return &vsockConn{Conn: c, from: peer, trust: trust}, nil
	}
	c, err := net.FileConn(files[0])
	if err != nil {
		return nil, err
	}
	if c.RemoteAddr() == nil {
		c.Close()
		return nil, errors.New("the peer is gone already")
	}
	files[0].Close()
	switch c := c.(type) {
	case *net.UnixConn:
		if k == connection {
			return &unixConn{UnixConn: c, cred: peerCred(c)}, nil
		}
	case *net.TCPConn:
		_ = c.SetKeepAliveConfig(keepAlive)
		_ = setUserTimeout(c)
		return &tcpConn{TCPConn: c, trust: trust}, nil
	}
	return &ownConn{c, a}, nil
}

// inheritSingle makes a listener of a connection that was handed over.
func inheritSingle(files []*os.File, h Handover) (net.Listener, error) {
	var own []*os.File
	in := descriptor(int(files[0].Fd()))
	k, err := in.kind()
	for _, f := range files {
		if err == nil {
			var fd int
			if fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, firstHigh); err == nil {
				own = append(own, newFile(fd))
			}
		}
	}
	if err == nil {
		var c peerConn
		if c, err = adoptConn(h.Addr, k, own, h.Trust); err == nil {
			return newSingle(c), nil
		}
	}
	for _, f := range own {
		f.Close()
	}
	return nil, err
}

// An ownConn is a connection by descriptors that only whoever started this process can have given it.
type ownConn struct {
	net.Conn
	at Addr
}

// Peer says that the other side is the user of this process: who starts it can do all that it can.
func (c *ownConn) Peer() server.Peer {
	p := server.Peer{
		Addr: c.at.Network + ":",
		UID:  uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Any:    os.Getuid() == 0,
		Proven: true,
	}
	groups, _ := os.Getgroups() // without them it has the rights of its other groups only
	for _, g := range groups {
		if g != p9ext.NobodyGID { // what a user namespace shows of a group that it does not know
			p.Groups = append(p.Groups, uint32(g))
		}
	}
	return p
}

// SetWriteBuffer is for the server, which widens the buffers of unix sockets.
func (c *ownConn) SetWriteBuffer(n int) error { return setWriteBuffer(c.Conn, n) }

func setWriteBuffer(c net.Conn, n int) error {
	if b, ok := c.(interface{ SetWriteBuffer(int) error }); ok {
		return b.SetWriteBuffer(n)
	}
	return errors.ErrUnsupported
}
