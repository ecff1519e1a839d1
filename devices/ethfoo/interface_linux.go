package ethfoo

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An Interface is one conversation: a TAP interface, and the goroutine that reads the frames the kernel sends out of it. clonefs
// makes it through the Clone function of [New]'s table and calls its Close. Its methods may be called concurrently.
//
//	open -> pump goroutine runs -> Close, or the interface is deleted: hangup, then Close
type Interface struct {
	dev    *device
	hangup func(cause error) // ends the conversation; may be called from anywhere, returns at once

	tap    atomic.Pointer[tap] // replaced by bind tun, which is a control message: those run one at a time
	nl     *netlink.Handle     // a socket for each request, so no conversation waits for another's
	index  atomic.Int32        // of the link, which keeps it through every renaming
	frames *fanout
	pumped chan struct{} // closed when the pump has ended

	captures captures // the opens of pcap

	mtu     atomic.Int32  // as last seen; the kernel's may be another one when somebody changed it from outside
	away    atomic.Bool   // it has left the server's network namespace, where index was its
	promisc atomic.Bool   // readers see what is written as well
	cut     atomic.Uint64 // frames that were longer than mtu said, and lost

	bridge, vxlan int // indexes of the bridge we joined and of the vxlan link we made, 0 for none; dev.links.mu guards them

	mu   sync.Mutex // guards name
	name string     // of the link, as last seen
}

// A device is what the conversations of one server share.
type device struct {
	settings Config
	tun      string // path of the tun device
	watch    watcher
	links    links
}

// open makes the interface of number n, down and without addresses. hangup is called when the interface is deleted from outside,
// once at least; Close must be called all the same.
func (d *device) open(ctx context.Context, n int, hangup func(error)) (*Interface, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name := d.settings.Prefix + strconv.Itoa(n)
	if len(name) > 15 {
		return nil, p9ext.Errorf(linux.ENOSPC, "no free devices: %s is longer than the kernel's 15 bytes", name)
	}
	t, err := openTun(d.tun, name, unix.IFF_TAP)
	if err != nil {
		return nil, err
	}
	i := &Interface{
		dev:    d,
		hangup: hangup,
		nl:     &netlink.Handle{},
		frames: newFanout(d.settings.Queue),
		pumped: make(chan struct{}),
		name:   name,
	}
	i.tap.Store(t)
	d.links.clean(i.nl)
	if err = i.adopt(); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = d.watch.add(i)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	go i.pump()
	return i, nil
}

// adopt finds the link of the fresh TAP and gives it its address. The kernel has given it a random one already, but marked as
// such, and udev replaces those by addresses of its own making at some later moment: one that was set stays.
func (i *Interface) adopt() error {
	cannot := func(what string, err error) error {
		return p9ext.Errorf(errnoOf(err), "cannot create %s: %s: %w", i.name, what, errnoOf(err))
	}
	link, err := i.nl.LinkByName(i.name)
	if notFound(err) { // renamed meanwhile, as udev's rules may have it
		if i.name, err = i.tap.Load().ifname(); err == nil {
			link, err = i.nl.LinkByName(i.name)
		}
	}
	if err != nil {
		return cannot("find it", err)
	}
	i.index.Store(int32(link.Attrs().Index))
	i.mtu.Store(int32(link.Attrs().MTU))
	if err := i.nl.LinkSetHardwareAddr(i.ref(), randomMAC()); err != nil {
		return cannot("set its address", err)
	}
	return nil
}

// notFound reports whether err says that there is no such link.
func notFound(err error) bool {
	_, ok := errors.AsType[netlink.LinkNotFoundError](err)
	return ok
}

// randomMAC returns a locally administered address of one station (IEEE 802, clause 8.4).
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // never fails
	mac[0] = mac[0]&^1 | 2
	return mac
}

// Close removes the interface from the kernel and returns when it is gone and nothing of the conversation runs any more.
func (i *Interface) Close() error {
	i.dev.watch.remove(i)
	err := i.tap.Load().close()
	<-i.pumped
	i.dev.links.leave(i)
	return err
}

// pumpBurst is how many frames are read before the pump looks up.
const pumpBurst = 64

// pump is the goroutine that takes what the kernel sends out of the interface and gives it to the readers. It reads when there
// are none as well, so that the frames of before are not there for the first who comes. Close, or the end of the interface, ends it.
func (i *Interface) pump() {
	defer close(i.pumped)
	var mem slab
	var records [][]byte // what is to be delivered at the end of the burst: readers are woken once for it
	r := &frameReader{
		burst: pumpBurst,
		// One byte more than a frame may have shows a frame that is longer, because the mtu was raised from outside.
		room: func() []byte { return mem.room(i.frames.most(i.mtu.Load()) + 1) },
		taken: func(frame []byte, full bool) {
			if !full {
				i.captures.received(frame)
			}
			switch {
			case full:
				i.cut.Add(1)
				i.link() // learns the new mtu, should the watcher not have told it yet
			case len(frame) >= i.frames.least() && i.frames.wanted(frame, nil):
				if i.frames.headers.Load() {
					frame = headersOf(frame[:cap(frame)], frame[i.frames.head.Load():], milliseconds())
				}
				records = append(records, mem.take(len(frame))) // one that is not wanted leaves its room to the next
			}
		},
		ended: func() {
			if len(records) > 0 {
				i.frames.deliverAll(records)
				clear(records) // they are the readers' now, and go with them
				records = records[:0]
			}
		},
	}
	for {
		t := i.tap.Load()
		err := t.readFrames(r)
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrClosed):
			if t == i.tap.Load() { // else another one has taken its place
				return
			}
		case errors.Is(err, errGone):
			i.deleted()
			return
		default:
			i.hangup(p9ext.Errorf(errnoOf(err), "cannot read from %s: %w", i.lastName(), errnoOf(err)))
			return
		}
	}
}

// deleted hangs the conversation up because its interface is gone, and returns what whoever noticed it answers.
func (i *Interface) deleted() error {
	i.hangup(p9ext.Errorf(linux.EIO, "interface %s was deleted from outside", i.lastName()))
	return p9ext.ErrHungup
}

// lost finds out why the kernel knows no link of i's any more, and returns what whoever noticed it answers.
func (i *Interface) lost() error {
	_, err := i.tap.Load().ifname()
	switch {
	case err == nil: // frames go on
		i.away.Store(true)
		return p9ext.Errorf(linux.ENODEV, "%s is being moved into another network namespace", i.lastName())
	case errors.Is(err, errGone):
		return i.deleted()
	case errors.Is(err, fs.ErrClosed):
		return p9ext.ErrHungup
	}
	return p9ext.Errorf(errnoOf(err), "cannot find %s: %w", i.lastName(), errnoOf(err))
}

// ref is the link as netlink's functions want it, in the server's network namespace.
func (i *Interface) ref() netlink.Link {
	return &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Index: int(i.index.Load())}}
}

// link asks the kernel for the link as it is now. It remembers name and mtu. When there is none any more it does as lost does.
func (i *Interface) link() (*netlink.LinkAttrs, error) {
	var a *netlink.LinkAttrs
	err := i.ask(func(h *netlink.Handle, l netlink.Link) error {
		link, err := h.LinkByIndex(l.Attrs().Index)
		if err == nil {
			a = link.Attrs()
		}
		return err
	})
	if err != nil {
		return nil, i.refused(err, "ask the kernel for "+i.lastName())
	}
	i.mtu.Store(int32(a.MTU))
	i.setName(a.Name)
	return a, nil
}

func (i *Interface) setName(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.name = name
}

// lastName is what the interface was called when last heard of: for messages, it costs nothing.
func (i *Interface) lastName() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.name
}
