package ethfoo

import (
	"encoding/binary"
	"os"
	"sync"

	"github.com/clone9p/clone9p/p9ext"
	"golang.org/x/sys/unix"
)

// A watcher hears from the kernel what others do to the interfaces of one device: rtnetlink(7), group RTNLGRP_LINK.
//
// A deleted TAP is not always to be noticed at its descriptor: tun_detach_all wakes the readers before it takes the device away, so one
// that polls in between finds nothing to read and no error, and is not woken again.
//
// There is a socket, and a goroutine that reads it, while there is an interface to watch:
//
//	add (first) -> run ... -> remove (last): closes the socket, waits for run
type watcher struct {
	mu      sync.Mutex         // guards all below
	watched map[int]*Interface // by index
	sock    *os.File           // nil while nothing is watched
	ended   chan struct{}      // closed when the goroutine that reads sock has ended
}

// add has i.changed and i.lost called from now on.
func (w *watcher) add(i *Interface) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sock == nil {
		sock, err := subscribe()
		if err != nil {
			return p9ext.Errorf(errnoOf(err), "cannot watch the links of the system: %w", errnoOf(err))
		}
		w.watched = make(map[int]*Interface)
		w.sock, w.ended = sock, make(chan struct{})
		go w.run(w.sock, w.ended)
	}
	w.watched[int(i.index.Load())] = i
	return nil
}

// move watches i at another index, which it then has.
func (w *watcher) move(i *Interface, index int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watched, int(i.index.Load()))
	i.index.Store(int32(index))
	w.watched[index] = i
}

// remove ends what add began. A call under way may still finish after it.
func (w *watcher) remove(i *Interface) {
	w.mu.Lock()
	delete(w.watched, int(i.index.Load()))
	if w.sock == nil || len(w.watched) > 0 {
		w.mu.Unlock()
		return
	}
	sock, ended := w.sock, w.ended
	w.sock, w.ended = nil, nil
	w.mu.Unlock()
	sock.Close()
	<-ended
}

// subscribe opens a netlink socket that hears of the links of this process's network namespace, and of the end of others.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// Of the links in other network namespaces as well, where the kernel grants that (CAP_NET_BROADCAST). Nothing is held in any of them.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1)
	const groups = unix.RTMGRP_LINK | 1<<(unix.RTNLGRP_NSID-1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// run reads sock until it is closed.
func (w *watcher) run(sock *os.File, ended chan struct{}) {
	defer close(ended)
	raw, err := sock.SyscallConn()
	if err != nil {
		return // closed already
	}
	oob := make([]byte, 256)
	buf := make([]byte, 16<<10) // the kernel's messages about one link have 2 KiB at most, 4 or more with many virtual functions
	for {
		var n, control int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, control, _, _, failed = unix.Recvmsg(int(fd), buf, oob, 0)
			return failed != unix.EAGAIN && failed != unix.EINTR
		})
		switch {
		case err != nil:
			return
		case failed == unix.ENOBUFS:
			w.all() // too much happened at once, and some of it was not told
		case failed != nil:
			return // no such error is known; the pumps and every request to the kernel still notice a loss
		case control > 0: // it names the other network namespace in which this happened
			w.elsewhere()
		default:
			w.hear(buf[:n])
		}
	}
}

// hear takes messages of the kernel's (netlink(7), rtnetlink(7)). It does not take the standard library's parsers, which panic when the
// last part is cut short.
func (w *watcher) hear(b []byte) {
	for len(b) >= unix.SizeofNlMsghdr {
		length := binary.NativeEndian.Uint32(b)
		if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(b)) {
			w.all()
			return
		}
		w.link(binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:length])
		b = b[min(align(int(length)), len(b)):]
	}
}

// link takes one message about a link: struct ifinfomsg, then attributes.
func (w *watcher) link(kind uint16, b []byte) {
	if kind == unix.RTM_DELNSID { // sent while the links in that network namespace still are; their owners are woken only sometimes
		w.elsewhere()
		return
	}
	// A bridge tells of its ports in the same words, with a family of its own: a port that leaves is no link deleted.
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return
	}
	i := w.find(int(int32(binary.NativeEndian.Uint32(b[4:]))))
	if i == nil || i.away.Load() {
		return
	}
	if kind == unix.RTM_DELLINK {
		i.lost()
	}
	if kind != unix.RTM_NEWLINK {
		return
	}
	for b = b[unix.SizeofIfInfomsg:]; len(b) >= unix.SizeofRtAttr; {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return
		}
		value := b[unix.SizeofRtAttr:length]
		switch binary.NativeEndian.Uint16(b[2:]) {
		case unix.IFLA_IFNAME:
			i.setName(unix.ByteSliceToString(value))
		case unix.IFLA_MTU:
			if len(value) == 4 {
				i.mtu.Store(int32(binary.NativeEndian.Uint32(value)))
			}
		}
		b = b[min(align(length), len(b)):]
	}
}

// align rounds up to what the parts of a netlink message are aligned to.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

func (w *watcher) find(index int) *Interface {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watched[index]
}

// all looks after every interface.
func (w *watcher) all() {
	for _, i := range w.list() {
		i.link()
	}
	w.elsewhere()
}

// elsewhere looks after the interfaces in other network namespaces.
func (w *watcher) elsewhere() {
	for _, i := range w.list() {
		if i.away.Load() {
			i.lookAway()
		}
	}
}

func (w *watcher) list() []*Interface {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]*Interface, 0, len(w.watched))
	for _, i := range w.watched {
		list = append(list, i)
	}
	return list
}
