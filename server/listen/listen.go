// Package listen turns addresses into connections and tells the server who is at the other end.
//
// An address is a Plan 9 dial string, unix!PATH, tcp!HOST!PORT or tls!HOST!PORT; [Parse] has the details. [Listen] makes a
// listener whose connections have a method Peer, by which server.Server learns who attaches:
//
//	l, err := listen.Listen("unix!/run/clone9p.sock", listen.Options{})
//	...
//	err = srv.Serve(l)
//
// # Other addresses
//
//	unix!@NAME      listen, dial: a unix socket without a file, in the network namespace of the process; Linux only
//	vsock!CID:PORT  listen, dial: from a virtual machine to its host and back; CID is any (listen), host, local or a number. Linux only
//	stdio!          listen: standard input and output, one connection
//	fd!R[,W]        listen: open descriptors from 3 on, a socket that listens, or a connected one or two pipes, which are one connection
//	systemd![NAME]  listen: the sockets that systemd has passed, all or those called NAME; see [ListenAll]
//	exec!COMMAND    dial: the standard input and output of COMMAND, which /bin/sh runs
//	dev!PATH        dial: a character device that leads to a server: a port of virtio-serial, a serial line
//
// A listener of one connection hands it out and then says io.EOF when that has ended, see [Listener.Single].
//
// # Who the peer is
//
// Over a unix socket the kernel proves the peer's uid, gid and groups. Root may attach as anyone, as Linux's mount does with
// access=user; everybody else is who they are. Over TCP and vsock nothing is proven: by default everyone is nobody, and with
// [Trust] the peer is believed whatever it says, which is right only where every host that can reach the port is trusted.
//
// Over TLS, which is 1.3 and nothing older, a certificate proves it that was signed by one of those whom the server was told to
// believe: [TLSFiles].CA. It names the user by a URI clone9p:NAME among its subject's alternative names or, where there is none, by
// its subject's common name, exactly one in either case. The user's uid and groups are those of the server's machine; a name that it
// does not know is refused. As over a unix socket, root may attach as anyone, and everybody else is who they are; nobody is nobody.
// Sessions are not resumed, so that each connection shows a certificate, which is believed or not by what the server knows then.
//
// A connection that was given to this process when it was started, by pipes or a socketpair, is that of its own user: who started it can do
// all that it can. A socket with a name is what its kind says, as it would be if it had been accepted here.
//
// # Socket files
//
// A socket file that a dead server left behind is probed and replaced; one that somebody answers on is an error that names the
// server. Two servers that start at the same moment do not take the file from each other. Nobody can connect before the file
// has its mode and group. At Close the file is removed if it is still the one that was made.
//
// An abstract socket has no file, and so neither mode nor group: whoever is in the same network namespace may connect. They are proven as by any
// unix socket, and bounded by what the tree lets them do as themselves. When the server is gone anybody may take the name.
//
// # Vanished peers
//
// A TCP peer whose machine lost power is found within a minute, by keepalive and, on Linux, TCP_USER_TIMEOUT; its connection
// then fails.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// A TCPIdentity says what a TCP peer's claim to be somebody is worth.
type TCPIdentity string

// The values of TCPIdentity. The zero value means Nobody.
const (
	Nobody TCPIdentity = "nobody" // everyone is nobody
	Trust  TCPIdentity = "trust"  // everyone is who they say
)

// Options are the settings of a listener. The zero value is a good default.
type Options struct {
	InsecureTCP bool // a tcp address that other hosts reach may be listened on
	TLS         *TLS // what a tls address shows and believes; without it none is listened on
	TCPIdentity TCPIdentity
	Mode        fs.FileMode // permissions of a unix socket's file; 0 means 0660
	Group       string      // group of a unix socket's file, a name or a number; "" leaves it to the system
}

// How a vanished TCP peer is found: an idle connection is probed after keepIdle and then every keepInterval, and given up after
// keepCount probes; data that was sent is given up when userTimeout passes without an acknowledgement. Both make 45 seconds.
const (
	keepIdle     = 15 * time.Second
	keepInterval = 10 * time.Second
	keepCount    = 3
	userTimeout  = 45 * time.Second
)

// backlog is how many connections may wait to be accepted; the kernel lowers it to its own limit.
const backlog = 4096

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}

// A Listener is a net.Listener whose connections have a method Peer() server.Peer, which does not wait. Its methods are safe for
// concurrent use.
type Listener struct {
	addr  Addr
	trust bool
	tls   *TLS // for a tls address
	l     net.Listener
	file  fileID // the socket file we made; zero for tcp

	handed   atomic.Bool // Hand has closed l
	close    sync.Once
	closeErr error // written once, by close
}

// A fileID tells a file from another that has taken its name.
type fileID struct{ Dev, Ino uint64 }

// Listen listens on the address addr, see [Parse].
func Listen(addr string, o Options) (*Listener, error) {
	a, err := Parse(addr)
	if err != nil {
		return nil, err
	}
	l := &Listener{addr: a}
	switch o.TCPIdentity {
	case "", Nobody:
	case Trust:
		l.trust = true
	default:
		return nil, fmt.Errorf("identity %q: want nobody or trust", o.TCPIdentity)
	}
	switch a.Network {
	case "unix":
		if a.abstract() {
			l.l, err = listenAbstract(a.Path)
		} else {
			l.l, l.file, err = listenUnix(a.Path, o)
		}
	case "tcp", "tls":
		if a.Network == "tls" {
			if err := o.TLS.mayListen(); err != nil {
				return nil, explain("listen on", a, err)
			}
			l.tls = o.TLS
		}
		l.l, err = (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen(context.Background(), "tcp", a.dial())
		if err == nil {
			at := l.l.Addr().(*net.TCPAddr)
			l.addr.Port = at.Port
			if !at.IP.IsLoopback() && !o.InsecureTCP && l.tls == nil {
				l.l.Close()
				err = errInsecure
			}
		}
	case "vsock":
		var v *vsockListener
		if v, err = listenVsock(a); err == nil {
			l.l, l.addr = v, v.address()
		}
	case "fd":
		l, err = takeFD(a, o)
	case "stdio":
		l, err = takeStdio(0, 1, 2, o)
	case "systemd":
		err = errors.New("it may give any number of listeners: call ListenAll")
	default:
		err = errDialOnly
	}
	if err != nil {
		return nil, explain("listen on", a, err)
	}
	return l, nil
}

// errDialOnly is why a client's address is not listened on.
var errDialOnly = errors.New("it is an address for clients")

// errListenOnly is why a server's address cannot be dialled.
var errListenOnly = errors.New("it is an address for servers")

// errInsecure is why a listener that other hosts reach is refused.
var errInsecure = errors.New("other hosts can reach it, and nothing on TCP is encrypted or proven: listen on 127.0.0.1 or in TLS, or say --insecure-tcp where that is wanted")

// explain puts the address in front of an error and takes package net's own wrapping away, which would say it a second time.
func explain(what string, a Addr, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return fmt.Errorf("cannot %s %s: %w", what, a, err)
}

// Address is where the listener listens, with the port that the kernel chose where 0 was asked for.
func (l *Listener) Address() Addr { return l.addr }

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Accept waits for the next connection. Its error is that of package net; one that says Temporary or is EMFILE may go away.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.l.Accept()
	if err != nil {
		return nil, err
	}
	switch c := c.(type) {
	case *net.UnixConn:
		return &unixConn{UnixConn: c, cred: peerCred(c)}, nil
	case *net.TCPConn:
		// What fails here costs only how soon a vanished peer is found.
		_ = c.SetKeepAliveConfig(keepAlive)
		_ = setUserTimeout(c)
		if l.tls != nil {
			return l.tls.accept(c), nil
		}
		return &tcpConn{TCPConn: c, trust: l.trust}, nil
	case *vsock.Conn:
		at := c.RemoteAddr().(*vsock.Addr)
		return &vsockConn{Conn: c, from: vsockName(at.ContextID, at.Port), trust: l.trust}, nil
	}
	return c, nil
}

// Close stops listening and removes the socket file if it is still the one that Listen made. Connections go on.
func (l *Listener) Close() error {
	l.close.Do(func() {
		if err := l.l.Close(); !l.handed.Load() {
			l.closeErr = err
		}
		if l.file != (fileID{}) {
			if err := removeSocket(l.addr.Path, l.file); l.closeErr == nil {
				l.closeErr = err
			}
		}
	})
	return l.closeErr
}

// Single reports whether the listener has one connection only, which was there from the beginning. Accept then waits for its end and says
// io.EOF.
func (l *Listener) Single() bool {
	_, ok := l.l.(*single)
	return ok
}

// A Handover is what another process needs beside the descriptors to go on with a listener, in a form for encoding/json. With a tls
// address that process sets TLS, of which nothing is handed over.
type Handover struct {
	Addr     Addr
	Trust    bool
	TLS      *TLS `json:"-"`
	Dev, Ino uint64
	Single   bool
	Files    int // how many there are: 1, or 2 for a connection by two pipes
}

// Hand gives the listener away: it returns the descriptors and what [Inherit] wants to know in the process that gets them. The listener
// can accept no more, and connections wait until the heir accepts them. Close still removes the socket file, unless the heir has done so.
func (l *Listener) Hand() ([]*os.File, Handover, error) {
	h := Handover{Addr: l.addr, Trust: l.trust, TLS: l.tls, Dev: l.file.Dev, Ino: l.file.Ino}
	var files []*os.File
	var err error
	if s, ok := l.l.(*single); ok {
		h.Single = true
		files, err = s.files()
	} else {
		var f *os.File
		f, err = l.l.(interface{ File() (*os.File, error) }).File()
		files = append(files, f)
	}
	if err != nil {
		return nil, Handover{}, explain("hand over", l.addr, err)
	}
	h.Files = len(files)
	l.handed.Store(true)
	l.l.Close()
	return files, h, nil
}

// Inherit makes a listener from descriptors that another process has handed over. It closes the files, having duplicated them. Peers of a unix
// socket see the inheriting process as the server from then on.
func Inherit(files []*os.File, h Handover) (*Listener, error) {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if len(files) != h.Files || h.Files < 1 {
		return nil, fmt.Errorf("cannot inherit %s: %d files came instead of %d", h.Addr, len(files), h.Files)
	}
	l := &Listener{addr: h.Addr, trust: h.Trust, file: fileID{h.Dev, h.Ino}}
	if h.Addr.Network == "tls" {
		if err := h.TLS.mayListen(); err != nil {
			return nil, explain("inherit", h.Addr, err)
		}
		l.tls = h.TLS
	}
	var err error
	if h.Single {
		l.l, err = inheritSingle(files, h)
	} else {
		l.l, err = inheritListener(files[0], h)
	}
	if err != nil {
		return nil, explain("inherit", h.Addr, err)
	}
	return l, nil
}

func inheritListener(f *os.File, h Handover) (net.Listener, error) {
	if h.Addr.Network == "unix" {
		// The kernel notes who listens when listen is called, and calling it again notes it anew.
		if err := unix.Listen(int(f.Fd()), backlog); err != nil {
			return nil, err
		}
	}
	if h.Addr.Network == "vsock" {
		return fileVsock(f)
	}
	return net.FileListener(f)
}

// Dial connects to the server at addr, see [Parse]. The context limits the attempt, not the connection. For a tls address see [DialTLS].
func Dial(ctx context.Context, addr string) (net.Conn, error) { return DialTLS(ctx, addr, nil) }

// DialTLS is Dial with what a tls address needs. The server's certificate must be for the host of the address.
func DialTLS(ctx context.Context, addr string, t *TLS) (net.Conn, error) {
	a, err := Parse(addr)
	if err != nil {
		return nil, err
	}
	if a.Network == "tls" && t == nil {
		return nil, explain("connect to", a, errNoCert)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return nil, explain("connect to", a, err)
	}
	if a.Network == "tls" {
		return t.dial(ctx, a, c)
	}
	return c, nil
}

// connect is Dial without words around its errors, and without what goes over the connection in TLS.
func (a Addr) connect(ctx context.Context) (net.Conn, error) {
	switch a.Network {
	case "unix", "tcp", "tls":
		network := a.Network
		if network == "tls" {
			network = "tcp"
		}
		d := net.Dialer{KeepAliveConfig: keepAlive}
		c, err := d.DialContext(ctx, network, a.dial())
		if t, ok := c.(*net.TCPConn); ok {
			_ = setUserTimeout(t)
		}
		return c, err
	case "vsock":
		return dialVsock(ctx, a)
	case "exec":
		c, err := dialCommand(ctx, a)
		if err != nil {
			return nil, err
		}
		return c, nil
	case "dev":
		c, err := dialDevice(ctx, a)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return nil, errListenOnly
}

// A tcpConn is an accepted TCP connection.
type tcpConn struct {
	*net.TCPConn
	trust bool
}

// Peer tells the server what is known of the other side: nothing, or that it is to be believed.
func (c *tcpConn) Peer() server.Peer {
	p := server.Nobody("tcp:" + c.RemoteAddr().String())
	p.Any = c.trust
	return p
}

// A cred is what the kernel says of the process at the other end of a unix socket.
type cred struct {
	pid      int // 0 where the kernel does not tell
	uid, gid uint32
	groups   []uint32
	ok       bool // false when the kernel was asked and did not answer: the peer is nobody then
}

// A unixConn is an accepted connection of a unix socket.
type unixConn struct {
	*net.UnixConn
	cred cred
}

// Peer tells the server who the other side is, as the kernel has proven it.
func (c *unixConn) Peer() server.Peer {
	if !c.cred.ok {
		return server.Nobody("unix:")
	}
	addr := fmt.Sprintf("unix:pid=%d,uid=%d", c.cred.pid, c.cred.uid)
	// The overflow uid is what the kernel shows of a user whom the server's user namespace does not know.
	if c.cred.uid == p9ext.NobodyUID {
		return server.Nobody(addr)
	}
	return server.Peer{
		Addr: addr,
		UID:  c.cred.uid, GID: c.cred.gid, Groups: c.cred.groups,
		Any:    c.cred.uid == 0,
		Proven: true,
	}
}

// ServerPID returns the process at the other end of a client's connection over a unix socket: the one that listens there.
// It fails over any other transport.
func ServerPID(c net.Conn) (int, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("the server's process is known over a unix socket only, not over %s", c.RemoteAddr().Network())
	}
	cr := peerCred(u)
	if !cr.ok || cr.pid <= 0 {
		return 0, errors.New("the kernel does not tell the server's process")
	}
	return cr.pid, nil
}

// parseGroup returns the number of a group given by name or number.
func parseGroup(s string) (int, error) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(s)
	if err != nil {
		return 0, fmt.Errorf("no group %q on this machine", s)
	}
	return strconv.Atoi(g.Gid)
}
