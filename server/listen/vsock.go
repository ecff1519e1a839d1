package listen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/server"
	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// The context identifiers that have names; see vsock(7).
const (
	cidAny   = math.MaxUint32 // listen: all of this machine's
	cidLocal = vsock.Local    // this machine, by the module vsock_loopback
	cidHost  = vsock.Host     // of a guest, its host
)

// parseVsock reads CID:PORT or CID!PORT.
func parseVsock(rest string) (Addr, error) {
	i := strings.LastIndexAny(rest, "!:")
	if i < 0 {
		return Addr{}, errors.New("no port: want vsock!CID:PORT")
	}
	a := Addr{Network: "vsock", Host: rest[:i]}
	switch n, err := strconv.ParseUint(a.Host, 10, 32); {
	case err == nil:
		a.Host = nameCID(uint32(n))
	case a.Host != "any" && a.Host != "host" && a.Host != "local":
		return Addr{}, fmt.Errorf("bad context identifier %q: want any, host, local or a number", a.Host)
	}
	n, err := strconv.ParseUint(rest[i+1:], 10, 32)
	if err != nil || n == math.MaxUint32 {
		return Addr{}, fmt.Errorf("bad port %q: want 0 to %d", rest[i+1:], uint32(math.MaxUint32-1))
	}
	a.Port = int(n)
	return a, nil
}

// nameCID is the canonical form of a context identifier.
func nameCID(cid uint32) string {
	switch cid {
	case cidAny:
		return "any"
	case cidLocal:
		return "local"
	case cidHost:
		return "host"
	}
	return strconv.FormatUint(uint64(cid), 10)
}

// cid is the context identifier of a vsock address.
func (a Addr) cid() uint32 {
	switch a.Host {
	case "any":
		return cidAny
	case "local":
		return cidLocal
	case "host":
		return cidHost
	}
	n, _ := strconv.ParseUint(a.Host, 10, 32) // parseVsock has seen to it
	return uint32(n)
}

// noVsock puts words to errors that are Linux's way to say that something is missing.
func noVsock(err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: this kernel has no vsock sockets: modprobe vsock, where it has that module", unix.EAFNOSUPPORT)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: the context identifier is none of this machine's: vsock!any:PORT listens on all", unix.EADDRNOTAVAIL)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: nothing carries vsock there: vhost_vsock on a host, the hypervisor's device in a guest, vsock_loopback for local", unix.ENODEV)
	case errors.Is(err, unix.ETIMEDOUT):
		return fmt.Errorf("%w: no machine with that context identifier answers, or nothing carries vsock to it: vhost_vsock on a host, vsock_loopback for local", unix.ETIMEDOUT)
	}
	return err
}

// A vsockListener is a listener of package vsock and the descriptor below it, which that keeps to itself.
type vsockListener struct {
	*vsock.Listener
	f *os.File // another descriptor of the same socket
}

// listenVsock listens on a vsock address.
func listenVsock(a Addr) (*vsockListener, error) {
	fd, err := vsockSocket()
	if err != nil {
		return nil, noVsock(err)
	}
	f := os.NewFile(uintptr(fd), a.String())
	defer f.Close()
	port := uint32(a.Port)
	if port == 0 {
		port = math.MaxUint32 // VMADDR_PORT_ANY
	}
	if err = unix.Bind(fd, &unix.SockaddrVM{CID: a.cid(), Port: port}); err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return nil, noVsock(err)
	}
	return fileVsock(f)
}

// fileVsock makes a listener of a socket that listens, by duplicates of its descriptor.
func fileVsock(f *os.File) (*vsockListener, error) {
	own, err := duplicate(f)
	if err != nil {
		return nil, err
	}
	l, err := vsock.FileListener(f)
	if err != nil {
		own.Close()
		return nil, err
	}
	return &vsockListener{l, own}, nil
}

// duplicate returns another descriptor of the same file.
func duplicate(f *os.File) (*os.File, error) {
	var own *os.File
	err := control(f, func(fd uintptr) error {
		n, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, firstHigh)
		if err == nil {
			own = os.NewFile(uintptr(n), f.Name())
		}
		return err
	})
	return own, err
}

// Close stops listening.
func (l *vsockListener) Close() error {
	l.f.Close()
	return l.Listener.Close()
}

// File returns a descriptor of the socket.
func (l *vsockListener) File() (*os.File, error) { return duplicate(l.f) }

// address is where it listens.
func (l *vsockListener) address() Addr {
	at := l.Addr().(*vsock.Addr)
	return Addr{Network: "vsock", Host: nameCID(at.ContextID), Port: int(at.Port)}
}

// isVsock reports whether f is a vsock socket, and who is at the other end if anybody is.
func isVsock(f *os.File) (peer string, ok bool) {
	_ = control(f, func(fd uintptr) error { // what cannot be asked is none
		here, err := unix.Getsockname(int(fd))
		if err != nil {
			return err
		}
		if _, ok = here.(*unix.SockaddrVM); !ok {
			return nil
		}
		there, err := unix.Getpeername(int(fd))
		if vm, is := there.(*unix.SockaddrVM); err == nil && is {
			peer = vsockName(vm.CID, vm.Port)
		}
		return err
	})
	return peer, ok
}

// vsockName is what the log calls a peer.
func vsockName(cid, port uint32) string { return fmt.Sprintf("vsock:%s:%d", nameCID(cid), port) }

// dialVsock connects to a vsock address.
func dialVsock(ctx context.Context, a Addr) (net.Conn, error) {
	if a.Host == "any" {
		return nil, errors.New("any is for listening: want the context identifier of a guest, or host")
	}
	c, err := vsock.DialContext(ctx, a.cid(), uint32(a.Port), nil)
	if err != nil {
		return nil, noVsock(err)
	}
	return c, nil
}

// A vsockConn is an accepted connection from another machine, or from this one.
type vsockConn struct {
	net.Conn
	from  string
	trust bool
}

// Peer tells the server what is known of the other side: which machine it is, and no user.
func (c *vsockConn) Peer() server.Peer {
	p := server.Nobody(c.from)
	p.Any = c.trust
	return p
}
