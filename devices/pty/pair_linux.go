package pty

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

const (
	ptmx      = "/dev/ptmx"
	slaveMode = 0o620 // the owner's, and the group tty's to write(1) on

	// readerBytes bounds what one reader that is behind costs.
	readerBytes = 64 << 10
	pumpBytes   = 32 << 10
)

// A Pair is one conversation: a pseudo-terminal's master, and the goroutine that reads it. clonefs makes it through the Clone function
// of [New]'s table and calls its Close. Its methods may be called concurrently.
//
//	open --> held by us --- exec: only the command has the slave --> the last one closes it: readers' end --> held by us again
//	  |                                                                                                             |
//	  +--------------------------------------- Close: the master goes, SIGHUP, SIGKILL <----------------------------+
type Pair struct {
	config Config
	owner  clonefs.User
	path   string   // of the slave
	master *os.File // nonblocking
	raw    syscall.RawConn

	writing chan struct{}      // holds a token while somebody writes
	ctx     context.Context    // ends with the conversation
	cancel  context.CancelFunc // ends ctx
	pumped  chan struct{}      // closed when the pump has ended

	mu      sync.Mutex       // guards all below
	queues  []*clonefs.Queue // of the readers
	joined  chan struct{}    // closed, and replaced, when a reader comes
	held    *os.File         // our descriptor of the slave; nil while only others have it
	command *command         // the last that exec started
	left    []*command       // those before it of whose sessions something may still run
	started int              // commands so far
	closed  bool
}

// open makes a pair whose slave belongs to owner.
func open(c Config, owner clonefs.User) (*Pair, error) {
	fd, err := unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, cannotOpen(err)
	}
	p := &Pair{
		config:  c,
		owner:   owner,
		master:  os.NewFile(uintptr(fd), ptmx),
		writing: make(chan struct{}, 1),
		pumped:  make(chan struct{}),
		joined:  make(chan struct{}),
	}
	if p.raw, err = p.master.SyscallConn(); err == nil {
		err = p.grant()
	}
	if err != nil {
		if p.held != nil {
			p.held.Close()
		}
		p.master.Close()
		if said, ok := errors.AsType[*p9ext.Error](err); ok {
			return nil, said
		}
		return nil, p9ext.Errorf(errnoOf(err), "cannot make a terminal: %w", errnoOf(err))
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.pump()
	return p, nil
}

// cannotOpen says why there is no master and what would help.
func cannotOpen(err error) error {
	switch errno := errnoOf(err); errno {
	case linux.ENOENT, linux.ENXIO, linux.ENODEV:
		return p9ext.Errorf(linux.ENXIO, "cannot make a terminal: there is no %s: mount devpts at /dev/pts", ptmx)
	case linux.ENOSPC, linux.EIO:
		return p9ext.Errorf(linux.ENOSPC, "%w: the kernel has no terminal left: raise kernel.pty.max", p9ext.ErrNoDevices)
	case linux.EMFILE, linux.ENFILE:
		return p9ext.Errorf(errno, "cannot make a terminal: %w: raise the server's limit (ulimit -n)", errno)
	default:
		return p9ext.Errorf(errno, "cannot make a terminal: open %s: %w", ptmx, errno)
	}
}

// grant gives the slave to the owner. Until then it is the server's own user's, with whatever mode devpts was mounted with: nobody else could open it.
func (p *Pair) grant() error {
	n, err := p.ioctlInt(unix.TIOCGPTN)
	if err != nil {
		return err
	}
	p.path = "/dev/pts/" + strconv.Itoa(n)
	if err := p.control(func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0) }); err != nil {
		return err
	}
	if p.held, err = p.openSlave(); err != nil {
		return err
	}
	uid, gid := int(p.owner.UID), -1
	if tty, err := user.LookupGroup("tty"); err == nil {
		if n, err := strconv.Atoi(tty.Gid); err == nil {
			gid = n
		}
	}
	if os.Geteuid() != 0 {
		gid = -1
	}
	if err := p.held.Chown(uid, gid); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return p9ext.Errorf(linux.EPERM, "cannot give the terminal %s to %s: the server is not root and serves its own user only", p.path, p.owner.Name)
		}
		return err
	}
	return p.held.Chmod(slaveMode)
}

// openSlave opens the slave by the master's descriptor: no path is looked up, so it is the right one in every mount namespace.
func (p *Pair) openSlave() (*os.File, error) {
	var slave uintptr
	err := p.control(func(fd int) error {
		var errno syscall.Errno
		slave, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(slave, p.path), nil
}

// control runs f on the master's descriptor, unless it is closed.
func (p *Pair) control(f func(fd int) error) error {
	var err error
	if p.raw.Control(func(fd uintptr) { err = f(int(fd)) }) != nil {
		return p9ext.ErrHungup
	}
	return err
}

func (p *Pair) ioctlInt(req uint) (n int, err error) {
	err = p.control(func(fd int) error {
		n, err = unix.IoctlGetInt(fd, req)
		return err
	})
	return n, err
}

// errnoOf finds the number in an error of the system's. The numbers of linux.Errno are the kernel's own.
func errnoOf(err error) linux.Errno {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return linux.Errno(errno)
	}
	return linux.EIO
}

// Close ends the pair and what runs on it.
func (p *Pair) Close() error {
	p.mu.Lock()
	p.closed = true
	held, queues, commands := p.held, p.queues, p.left
	if p.command != nil {
		commands = append(commands, p.command)
	}
	p.held, p.queues = nil, nil
	p.mu.Unlock()
	p.cancel()
	err := p.master.Close() // and with it the terminal: the kernel sends SIGHUP
	for _, q := range queues {
		q.Close()
	}
	if held != nil {
		held.Close()
	}
	<-p.pumped
	killAll(commands, p.owner)
	return err
}

// pump is the goroutine that reads the master, while there is somebody to read for. Close ends it.
func (p *Pair) pump() {
	defer close(p.pumped)
	buf := make([]byte, pumpBytes)
	for {
		started, ok := p.awaitReader()
		if !ok {
			return
		}
		n, err := p.take(buf)
		if n > 0 && !p.deliver(buf[:n]) {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.EIO):
			p.ended(started)
		default: // closed; no other error is known
			return
		}
	}
}

// take waits for output and takes all that lies there, as far as it fits: the kernel gives 4 KiB at a time, and readers are better woken once.
func (p *Pair) take(buf []byte) (n int, err error) {
	closed := p.raw.Read(func(fd uintptr) bool {
		for n < len(buf) {
			var m int
			m, err = unix.Read(int(fd), buf[n:])
			if err == unix.EINTR {
				continue
			}
			if err != nil || m <= 0 {
				break
			}
			n += m
		}
		return n > 0 || err != unix.EAGAIN
	})
	switch {
	case n > 0: // what came behind it will be met again
		return n, nil
	case closed != nil:
		return 0, closed
	case err == nil:
		return 0, io.EOF // is not known to happen
	}
	return 0, err
}

// awaitReader waits until somebody has rx or data open, and returns how many commands were started until then. It reports false when the
// conversation has ended before.
func (p *Pair) awaitReader() (started int, ok bool) {
	for {
		p.mu.Lock()
		readers, joined, started := len(p.queues), p.joined, p.started
		p.mu.Unlock()
		if p.ctx.Err() != nil {
			return 0, false
		}
		if readers > 0 {
			return started, true
		}
		select {
		case <-joined:
		case <-p.ctx.Done():
		}
	}
}

// deliver gives b to every reader and waits until each has room for it. When the last one has left meanwhile the next that comes gets it. It
// reports false when the conversation has ended before.
func (p *Pair) deliver(b []byte) bool {
	for {
		if _, ok := p.awaitReader(); !ok {
			return false
		}
		p.mu.Lock()
		queues := slices.Clone(p.queues)
		p.mu.Unlock()
		given := false
		for _, q := range queues {
			if q.PushContext(p.ctx, b) == nil { // else that reader has left
				given = true
			}
		}
		if given {
			return true
		}
	}
}

// ended ends the readers: nobody has the slave any more, and we do not hold it, so a command has run. Then it is held for the next one. started is
// how many commands there were before that was seen: where one more has been started meanwhile, the slave is that one's, and so is the end.
func (p *Pair) ended(started int) {
	slave, err := p.openSlave()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started != started {
		if err == nil {
			slave.Close()
		}
		return
	}
	for _, q := range p.queues {
		q.CloseWithError(io.EOF)
	}
	p.queues = nil
	if err != nil {
		return // the master is closed
	}
	if p.closed || p.held != nil {
		slave.Close()
		return
	}
	p.held = slave
}
