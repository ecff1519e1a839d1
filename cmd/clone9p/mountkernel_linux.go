package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/cmd/clone9p/internal/privilege"
	"github.com/clone9p/clone9p/server/listen"
	"golang.org/x/sys/unix"
)

// mountKernel is the way by the kernel's v9fs. The kernel is given the connection, as a descriptor, and this process is needed no longer; or, where there is
// more to a connection than a socket, one end of a socketpair, and this process relays:
//
//	unix, tcp, vsock         v9fs == socket ============================ server
//	TLS, exec!, foreground   v9fs == socketpair == this process == conn == server
//
// A relay ends when the kernel lets go of its end, which is when the mount is gone, or when the server goes.
func mountKernel(ctx context.Context, r mountRequest, ready func() error) error {
	if held, err := privilege.Held(); err != nil || !held.Has(unix.CAP_SYS_ADMIN) {
		return errors.New("only root (CAP_SYS_ADMIN) can mount with the kernel's 9P; --fuse mounts for everybody")
	}
	dir, err := filepath.Abs(r.dir)
	if err != nil {
		return err
	}
	switch info, err := os.Stat(dir); {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory to mount on", r.dir)
	}
	m := kernelMount{source: r.addr, dir: dir}
	if m.flags, m.data, err = r.kernelOptions(r.kernelAccess(ctx)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(r.addr))
	defer cancel()
	conn, err := dial(ctx, r.addr)
	if err != nil {
		return err
	}
	if !r.relayed() {
		defer conn.Close() // the kernel has the socket by then, or nobody
		fd, err := duplicate(conn)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := m.mount(ctx, fd, func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR) }); err != nil {
			return err
		}
		return ready()
	}
	return r.mountRelayed(ctx, m, conn, ready)
}

// relayed reports whether the kernel is to have a relay instead of the connection.
func (r mountRequest) relayed() bool {
	addr, err := listen.Parse(r.addr)
	return err != nil || r.foreground || addr.Network != "unix" && addr.Network != "tcp" && addr.Network != "vsock"
}

// mountRelayed mounts by way of a relay, and carries it out. It owns conn. ctx is for the mounting alone.
func (r mountRequest) mountRelayed(ctx context.Context, m kernelMount, conn net.Conn, ready func() error) error {
	log, closeLog, err := r.newLog()
	if err != nil {
		conn.Close()
		return err
	}
	defer closeLog()
	theirs, ours, err := socketpair()
	if err != nil {
		conn.Close()
		return err
	}
	relay := startRelay(ours, conn)
	defer relay.end()
	signals := endSignals()
	err = m.mount(ctx, theirs, relay.end)
	unix.Close(theirs) // the kernel has it by a reference of its own
	if err != nil {
		return err
	}
	var asked atomic.Bool
	stop := untilSignalled(signals, func() {
		asked.Store(true)
		if detached, err := unmountKernel(context.Background(), m.dir); err != nil {
			log.Error().Err(err).Msg("cannot unmount")
		} else if detached {
			log.Info().Str("dir", m.dir).Msg("detached: it was in use, and what still uses it gets errors")
		}
		relay.end()
	})
	defer stop()
	if err := ready(); err != nil {
		_, _ = unmountKernel(context.Background(), m.dir) // the first error counts
		return err
	}
	if relay.wait() == serverEnded && !asked.Load() {
		log.Error().Str("dir", m.dir).Msg("the server is gone: what uses the mount gets errors until it is unmounted, by clone9p umount")
		return status(1)
	}
	return nil
}

// kernelAccess is the mount's option access. Where the server believes root whoever he says he is, each user is himself.
func (r mountRequest) kernelAccess(ctx context.Context) string {
	addr, err := listen.Parse(r.addr)
	switch {
	case r.access != "":
		return r.access
	case err == nil && addr.Network == "unix" && os.Geteuid() == 0:
		return "user"
	case err == nil && addr.Network == "tls" && tlsUser(ctx) == "root":
		return "user"
	}
	return "any"
}

// The options of mount(8) that are flags of mount(2), and those that take one back.
var (
	mountFlags = map[string]uintptr{
		"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS,
		"dirsync": unix.MS_DIRSYNC, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
		"strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME, "nosymfollow": unix.MS_NOSYMFOLLOW, "silent": unix.MS_SILENT,
	}
	mountUnflags = map[string]uintptr{
		"rw": unix.MS_RDONLY, "suid": unix.MS_NOSUID, "dev": unix.MS_NODEV, "exec": unix.MS_NOEXEC, "async": unix.MS_SYNCHRONOUS,
		"atime": unix.MS_NOATIME, "diratime": unix.MS_NODIRATIME, "norelatime": unix.MS_RELATIME, "nostrictatime": unix.MS_STRICTATIME,
		"nolazytime": unix.MS_LAZYTIME, "symfollow": unix.MS_NOSYMFOLLOW, "loud": unix.MS_SILENT, "defaults": 0,
	}
)

// kernelOptions are the flags and options of mount(2), without the descriptors. The options of the request may replace the ones of this program.
func (r mountRequest) kernelOptions(access string) (flags uintptr, data string, err error) {
	aname := r.aname
	if aname == "" {
		aname = "/"
	}
	if strings.Contains(aname, ",") {
		return 0, "", fmt.Errorf("the kernel cannot be told the name %s, for its comma: --fuse can", aname)
	}
	options := []string{"trans=fd", "version=9p2000.L", "cache=none", "access=" + access, "msize=1048576", "aname=" + aname}
	if addr, err := listen.Parse(r.addr); err == nil && (addr.Network == "tcp" || addr.Network == "vsock") {
		options = append(options, "uname=root") // where nothing proves who we are
	}
	for _, o := range r.options {
		name, _, hasValue := strings.Cut(o, "=")
		set, isFlag := mountFlags[o]
		reset, isUnflag := mountUnflags[o]
		switch {
		case isFlag:
			flags |= set
		case isUnflag:
			flags &^= reset
		case hasValue && (name == "msize" || name == "uname" || name == "dfltuid" || name == "dfltgid"):
			options = append(options, o) // a later one wins
		default:
			return 0, "", usagef("-o %s: want ro, nosuid, nodev, noexec and the like, or msize=, uname=, dfltuid= or dfltgid=", o)
		}
	}
	return flags, strings.Join(options, ","), nil
}

// A kernelMount is what mount(2) is told.
type kernelMount struct {
	source, dir string
	flags       uintptr
	data        string // the options but for the descriptor's and noxattr
}

// mount has the kernel mount over the descriptor fd, which stays the caller's. giveUp ends the connection, so that mount(2) returns when the server does not answer.
func (m kernelMount) mount(ctx context.Context, fd int, giveUp func()) error {
	data := fmt.Sprintf("%s,rfdno=%d,wfdno=%d", m.data, fd, fd)
	done := make(chan error, 1)
	go func() { // ends with the call, which ends with the connection at the latest
		// Devices have no attributes, and the kernel asks for each write. Some kernels ignore the option, one may refuse it.
		err := unix.Mount(m.source, m.dir, "9p", m.flags, data+",noxattr")
		if errors.Is(err, unix.EINVAL) {
			err = unix.Mount(m.source, m.dir, "9p", m.flags, data)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return m.explain(err)
	case <-ctx.Done():
		giveUp()
		if err := <-done; err == nil { // it was mounted at the last moment, over a connection that is no more
			_ = unix.Unmount(m.dir, unix.MNT_DETACH)
		}
		return fmt.Errorf("cannot mount on %s: the server at %s does not answer", m.dir, m.source)
	}
}

// explain says why mount(2) has failed. That the directory exists was seen before.
func (m kernelMount) explain(err error) error {
	why := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENODEV):
		why = "this kernel has no 9P: --fuse does without"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		why = "the server refuses, or the kernel, which mounts 9P for root outside of user namespaces only: --fuse does there"
	case errors.Is(err, unix.ENOENT):
		why = "the server has no such name"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EREMOTEIO):
		why = "the server does not speak 9P2000.L"
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE), errors.Is(err, unix.EIO):
		why = "the server has ended the connection"
	case errors.Is(err, unix.EINVAL):
		why = "the server refuses the name or its options, or this kernel an option"
	}
	if why != "" {
		why = " (" + why + ")"
	}
	return fmt.Errorf("cannot mount %s on %s: %w%s", m.source, m.dir, err, why)
}

// duplicate returns a second descriptor of a connection's socket, which is the caller's.
func duplicate(conn net.Conn) (int, error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("a connection of type %T has no descriptor", conn)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(n uintptr) { fd, dupErr = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 3) })
	if err := errors.Join(err, dupErr); err != nil {
		return -1, fmt.Errorf("cannot duplicate a descriptor: %w", err)
	}
	return fd, nil
}

// socketpair makes a connection whose one end is a descriptor. The kernel's client does not wait in its reads and writes, so that does not block.
func socketpair() (theirs int, ours net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("cannot make a socketpair: %w", err)
	}
	f := os.NewFile(uintptr(fds[1]), "socketpair")
	defer f.Close()
	ours, err = net.FileConn(f) // it duplicates
	if err != nil {
		unix.Close(fds[0])
		return -1, nil, err
	}
	return fds[0], ours, nil
}

// A mountRelay copies both ways between the kernel and the server, until one of them goes. Its methods are safe for concurrent use.
type mountRelay struct {
	kernel, server net.Conn
	first          chan relayEnd // who went, twice
	copies         sync.WaitGroup
	end            func() // ends both connections; who it was is then said to be any of the two
}

// A relayEnd says who has gone.
type relayEnd bool

const (
	kernelEnded relayEnd = false
	serverEnded relayEnd = true
)

// startRelay begins to relay. It owns both connections, and is to be ended, or waited for.
func startRelay(kernel, server net.Conn) *mountRelay {
	l := &mountRelay{kernel: kernel, server: server, first: make(chan relayEnd, 2)}
	l.end = sync.OnceFunc(func() {
		kernel.Close()
		server.Close() // a command may take a second
	})
	l.copies.Go(func() { // both end with the connections
		defer l.end()
		l.first <- relayEnd(copyAll(server, kernel) == toWrite)
	})
	l.copies.Go(func() {
		defer l.end()
		l.first <- relayEnd(copyAll(kernel, server) == toRead)
	})
	return l
}

// wait waits for the end of both connections, and says who went first.
func (l *mountRelay) wait() relayEnd {
	l.copies.Wait()
	return <-l.first
}

// What a copy could not do any more.
const (
	toRead = iota
	toWrite
)

// copyAll copies until one side fails, or the input ends, and says which side that was.
func copyAll(dst io.Writer, src io.Reader) (failed int) {
	buf := make([]byte, 128<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return toWrite
			}
		}
		if err != nil {
			return toRead
		}
	}
}

// umountPatience is how long a mount may be in use until it is detached.
const umountPatience = time.Second

// unmountKernel unmounts what the kernel has mounted. A mount that some still use after a while it detaches.
func unmountKernel(_ context.Context, dir string) (detached bool, err error) {
	for end := time.Now().Add(umountPatience); ; time.Sleep(10 * time.Millisecond) { // nobody announces when a mount is free
		err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EPERM):
			return false, fmt.Errorf("%w: only root (CAP_SYS_ADMIN) can unmount what the kernel has mounted", err)
		case !errors.Is(err, unix.EBUSY):
			return false, err
		case time.Now().After(end):
			return true, unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
	}
}
