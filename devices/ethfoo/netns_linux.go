package ethfoo

import (
	"errors"
	"io/fs"
	"strconv"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netns opens the network namespace in which the interface is now; the caller closes it. While it is open it keeps that namespace alive, so
// it is never kept. errGone means that the interface was deleted, unix.EINVAL that its namespace is about to end, and it with that.
func (t *tap) netns() (fd int, err error) {
	if closed := t.control(func(tap uintptr) { fd, err = unix.IoctlRetInt(int(tap), unix.TUNGETDEVNETNS) }); closed != nil {
		return -1, fs.ErrClosed
	}
	if err == unix.EBADFD {
		err = errGone
	}
	return fd, err
}

// control runs f on the descriptor, unless that is closed.
func (t *tap) control(f func(fd uintptr)) error { return t.raw.Control(f) }

// ask runs f with the way to the kernel and the link there, in whatever network namespace the interface is: every request about the interface goes
// through it. f may run twice, and should return the kernel's errors as they are; refused makes of ask's what the client gets.
func (i *Interface) ask(f func(*netlink.Handle, netlink.Link) error) error {
	if !i.away.Load() {
		err := f(i.nl, i.ref())
		if errnoOf(err) != linux.ENODEV && !notFound(err) {
			return err
		}
		if _, gone := i.tap.Load().ifname(); gone != nil {
			return err
		}
		i.away.Store(true) // for good: what follows finds it here as well, should it come back
	}
	return i.askThere(f)
}

// askThere does as ask does for an interface that has left the server's network namespace. There it may have another index.
func (i *Interface) askThere(f func(*netlink.Handle, netlink.Link) error) error {
	cannot := func(err error) error {
		switch {
		case errors.Is(err, errGone):
			return unix.ENODEV
		case errors.Is(err, fs.ErrClosed):
			return p9ext.ErrHungup
		}
		return p9ext.Errorf(errnoOf(err), "%s was moved into another network namespace, out of the server's reach: %w", i.lastName(), errnoOf(err))
	}
	ns, err := i.tap.Load().netns()
	if err != nil {
		return cannot(err)
	}
	defer unix.Close(ns)
	h, err := netlink.NewHandleAt(netns.NsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return cannot(err)
	}
	defer h.Close()
	name, err := i.tap.Load().ifname()
	if err != nil {
		return cannot(err)
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return f(h, link)
}

// lookAway sees after an interface that has left the server's network namespace, when something happened elsewhere: it may have another
// name, or be gone, alone or with its namespace.
func (i *Interface) lookAway() {
	name, err := i.tap.Load().ifname()
	var ns int
	if err == nil {
		i.setName(name)
		ns, err = i.tap.Load().netns()
	}
	switch {
	case err == nil:
		unix.Close(ns)
	case errors.Is(err, errGone):
		i.deleted()
	case errors.Is(err, unix.EINVAL):
		i.hangup(p9ext.Errorf(linux.EIO, "the network namespace of interface %s has ended", i.lastName()))
	}
}

// moveTo moves the interface into the network namespace of process PID, or into the one that ip-netns(8) calls NAME. It arrives down, without
// addresses or routes, and on no bridge.
func (i *Interface) moveTo(argv []string) error {
	if !mayFollow() {
		return p9ext.Errorf(linux.EPERM, "cannot move %s into another network namespace, where the server could not follow it for want of CAP_SYS_ADMIN: "+
			"start it as root with --ethfoo-netns or --keep-privileges", i.lastName())
	}
	ns, what, err := openNetns(argv[0])
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	err = i.ask(func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetNsFd(l, ns) })
	switch {
	case err == nil:
		i.dev.links.leave(i)
		_, err = i.link()
		return err
	case errnoOf(err) == linux.EEXIST:
		return p9ext.Errorf(linux.EBUSY, "%w: there is an interface %s already in %s", p9ext.ErrInUse, i.lastName(), what)
	case errnoOf(err) == linux.EINVAL:
		return p9ext.Errorf(linux.EINVAL, "cannot move %s into %s: it is no network namespace", i.lastName(), what)
	}
	return i.refused(err, "move "+i.lastName()+" into "+what)
}

// mayFollow reports whether this process may enter other network namespaces, to see after an interface there.
func mayFollow() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// openNetns opens the network namespace of a process or of that name, and says which it is.
func openNetns(s string) (fd int, what string, err error) {
	var path string
	missing := linux.ENOENT
	if pid, err := strconv.ParseUint(s, 10, 31); err == nil && pid > 0 {
		path, missing = "/proc/"+strconv.FormatUint(pid, 10)+"/ns/net", linux.ESRCH
		what = "the network namespace of process " + s
	} else {
		if reason := badNetns(s); reason != "" {
			return -1, "", &badArgument{errors.New("the name " + reason)}
		}
		path, what = "/run/netns/"+s, "the network namespace "+s
	}
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case err == nil:
		return fd, what, nil
	case err == unix.ENOENT || err == unix.ESRCH:
		return -1, "", p9ext.Errorf(missing, "there is no such thing as %s", what)
	}
	return -1, "", p9ext.Errorf(errnoOf(err), "cannot open %s: %w", what, errnoOf(err))
}

// badNetns says in what way s cannot be the name of a network namespace, "" when it can.
func badNetns(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > 255:
		return "is longer than 255 bytes"
	case s == "." || s == "..":
		return "is a directory's name"
	case s[0] == '-':
		return "begins as a number below zero or an option does"
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '/' {
			return "has " + strconv.QuoteToASCII(string(rune(c))) + " in it"
		}
	}
	return ""
}
