package ethfoo

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// tunDevice makes TAP interfaces: Linux, Documentation/networking/tuntap.rst.
const tunDevice = "/dev/net/tun"

// A tap is the descriptor of a TAP interface, or of a TUN. While it is open the interface exists; close removes both.
//
//	openTun -> reads (one goroutine at a time, parked in the runtime's poller), writes (any number) -> close
type tap struct {
	file *os.File        // owns the descriptor
	raw  syscall.RawConn // of file, for reading

	// mu is held for reading around a write(2), which never waits, and for writing by close: so no write can hit a
	// descriptor of that number that somebody else opened meanwhile.
	mu sync.RWMutex
	fd int // -1 when closed
}

// openTun makes the interface called name through the tun device, of the kind IFF_TAP or IFF_TUN, with IFF_VNET_HDR one that carries segments to be cut
// later. The kernel puts the lowest free number where name has %d. A name that is in use gives clonefs.ErrTaken. When it fails nothing is left behind.
func openTun(device, name string, kind uint16) (*tap, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, cannotOpen(device, name, err)
	}
	// Without IFF_TUN_EXCL a persistent TAP of somebody else's making would be taken over without a word.
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(kind | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil && kind&unix.IFF_VNET_HDR != 0 {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	}
	if err == nil {
		// The tun device can be polled only once it has an interface, and os.NewFile looks at O_NONBLOCK: the order counts.
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, cannotCreate(device, name, err)
	}
	t := &tap{file: os.NewFile(uintptr(fd), name), fd: fd}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, cannotCreate(device, name, err)
	}
	return t, nil
}

// cannotOpen says why the tun device could not be opened and what would help. A missing one is ENXIO, as in tap(4): ENOENT would
// read as if ethfoo/clone were missing.
func cannotOpen(device, name string, err error) error {
	errno := errnoOf(err)
	switch errno {
	case linux.ENOENT:
		return p9ext.Errorf(linux.ENXIO, "cannot create %s: there is no %s: make it with mknod %s c 10 200, or load the module tun", name, device, device)
	case linux.ENXIO, linux.ENODEV:
		return p9ext.Errorf(linux.ENXIO, "cannot create %s: no driver behind %s: load the module tun", name, device)
	case linux.EACCES, linux.EPERM:
		return p9ext.Errorf(errno, "cannot create %s: the server may not open %s: chmod 0666 it, or run the server as root", name, device)
	case linux.EMFILE, linux.ENFILE:
		return p9ext.Errorf(errno, "cannot create %s: %w: raise the server's limit (ulimit -n)", name, errno)
	}
	return p9ext.Errorf(errno, "cannot create %s: open %s: %w", name, device, errno)
}

// cannotCreate says why the tun device made no interface.
func cannotCreate(device, name string, err error) error {
	errno := errnoOf(err)
	switch errno {
	case linux.EBUSY, linux.EEXIST:
		return clonefs.ErrTaken
	case linux.EPERM:
		return p9ext.Errorf(errno, "cannot create %s: the server lacks CAP_NET_ADMIN here: run it as root, or in a network namespace of its own", name)
	case linux.ENOTTY:
		return p9ext.Errorf(linux.ENXIO, "cannot create %s: %s is not the tun device: make it with mknod %s c 10 200", name, device, device)
	}
	return p9ext.Errorf(errno, "cannot create %s: %w", name, errno)
}

// errnoOf finds the number in an error of the system's. The numbers of linux.Errno are the kernel's own.
func errnoOf(err error) linux.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return linux.Errno(errno)
	}
	return linux.EIO
}

// errGone is what a tap's methods give when the interface was deleted, though the tap is open.
var errGone = errors.New("interface is gone")

// ifname asks the descriptor what its interface is called now, in whatever network namespace it is. It waits for the kernel's
// lock of all links, so never on the way of a frame.
func (t *tap) ifname() (string, error) {
	req, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	if closed := t.raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, req) }); closed != nil {
		return "", fs.ErrClosed
	}
	if err == unix.EBADFD {
		return "", errGone
	}
	return req.Name(), err
}

// readFrames reads frames with r until there is none at hand, or r.burst were read; then it waits for the next one, or returns. It returns nil
// to be called again, errGone when the interface was deleted, fs.ErrClosed when the tap was closed. One goroutine at a time may call it.
func (t *tap) readFrames(r *frameReader) error {
	r.err = nil
	if err := t.raw.Read(r.read); err != nil {
		return fs.ErrClosed
	}
	return r.err
}

// A frameReader reads bursts of frames from a TAP.
type frameReader struct {
	room  func() []byte                 // space for the next frame; asked again for every frame
	taken func(frame []byte, full bool) // gets the frame, the beginning of what room returned; full: it filled that, and may have been longer
	ended func()                        // called when there is no frame at hand, and after a burst
	burst int                           // frames read before the caller gets a chance to see that the TAP was closed
	err   error
}

// read is what syscall.RawConn.Read wants: it reports false when there is nothing to read, to be called again when there is.
func (r *frameReader) read(fd uintptr) bool {
	defer r.ended()
	for range r.burst {
		p := r.room()
		n, err := unix.Read(int(fd), p)
		switch err {
		case nil:
			r.taken(p[:n], n == len(p))
		case unix.EAGAIN:
			return false
		case unix.EINTR:
		default:
			// EBADFD is the deleted interface's. No other error is known; to read on after one could be a loop without end.
			r.err = errGone
			if err != unix.EBADFD {
				r.err = err
			}
			return true
		}
	}
	return true
}

// write gives one frame to the interface, at once. EIO means that the link is down, errGone that the interface was
// deleted, fs.ErrClosed that the tap was closed, EAGAIN that the kernel has no room for the moment.
func (t *tap) write(frame []byte) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.fd < 0 {
		return fs.ErrClosed
	}
	for {
		_, err := unix.Write(t.fd, frame)
		switch err {
		case unix.EINTR:
		case unix.EBADFD:
			return errGone
		default:
			return err
		}
	}
}

// close removes the interface, which takes the kernel 15 to 30 ms, and waits for that. A reader that waits gets fs.ErrClosed.
func (t *tap) close() error {
	t.mu.Lock()
	closed := t.fd < 0
	t.fd = -1
	t.mu.Unlock()
	if closed {
		return fs.ErrClosed
	}
	return t.file.Close()
}
