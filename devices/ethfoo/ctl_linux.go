package ethfoo

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
)

// messages is the table of control messages, in the order of help.
var messages = clonefs.Messages[*Interface]{
	message("up", "", "let the link carry frames", (*Interface).up),
	message("down", "", "let it carry none: a read waits, a write fails", (*Interface).down),
	message("add", "ADDR/LEN", "add an IPv4 or IPv6 address", (*Interface).addAddress),
	message("remove", "ADDR/LEN", "remove it", (*Interface).removeAddress),
	message("route", "DEST/LEN [via GW]", "send what is for DEST/LEN through the interface, to a router behind it", (*Interface).addRoute),
	message("noroute", "DEST/LEN", "remove that route", (*Interface).removeRoute),
	message("bridge", "BR [create]", "make it a port of bridge BR; with create one that is missing is made, and goes with our last port", (*Interface).joinBridge),
	message("nobridge", "", "take it off its bridge", (*Interface).leaveBridge),
	message("bind", "tun", "become a TUN, before up: data carries IP packets, of 20 to mtu bytes, and what was set before is forgotten", (*Interface).bindTUN),
	message("bind", "gso", "carry segments, before up: frames of up to 64 KiB, each behind the 10 bytes of a struct virtio_net_hdr", (*Interface).bindGSO),
	message("bind", "vxlan ID REMOTE [DEV]", "put it on a bridge of its own with a vxlan link to host REMOTE, before up; its mtu becomes what fits, addresses are the bridge's",
		func(i *Interface, argv []string) error { return i.bindVXLAN(argv[1:]) }),
	super(message("netns", "PID|NAME", "move it into the network namespace of a process or of that name, where it arrives down and bare", (*Interface).moveTo)),
	message("mtu", "N", "carry packets of N bytes at most, 68 to 65521", (*Interface).setMTU),
	message("addr", "MAC", "change the Ethernet address", (*Interface).setMAC),
	message("name", "IFNAME", "call the interface IFNAME", (*Interface).rename),
	message("connect", "TYPE", "readers get frames of this Ethernet type only (decimal or 0x), -1 for all", (*Interface).connect),
	message("queue", "N", "hold N frames for a reader that is behind, then drop the oldest", (*Interface).setQueue),
	message("promiscuous", "on|off", "readers get what others write to the interface as well", (*Interface).promiscuous),
	message("headersonly", "on|off", "readers get 64 bytes a frame: 58 of its beginning, length and milliseconds big-endian in the last 6", (*Interface).headersOnly),
	message("batch", "on|off", "a read and a write carry as many frames as fit, each behind its length in 4 bytes, little-endian", (*Interface).setBatch),
}

// message makes one entry of the table. do may return an error that is a *badArgument; what the client sees then names the word and
// what it wants, which only the table knows.
func message(word, args, help string, do func(*Interface, []string) error) clonefs.Message[*Interface] {
	return clonefs.Message[*Interface]{
		Word: word, Args: args, Help: help,
		Do: func(i *Interface, _ context.Context, argv []string) error {
			err := do(i, argv)
			if bad, ok := errors.AsType[*badArgument](err); ok {
				return p9ext.Errorf(linux.EINVAL, "bad control message: %s wants %s: %w", word, args, bad.reason)
			}
			return err
		},
	}
}

// super makes a message one of the superuser's.
func super(m clonefs.Message[*Interface]) clonefs.Message[*Interface] {
	m.Super = true
	return m
}

// messagesFor is the table with c's settings.
func messagesFor(c Config) clonefs.Messages[*Interface] {
	table := slices.Clone(messages)
	for n := range table {
		if table[n].Word == "netns" && c.Netns {
			table[n].Super = false
		}
	}
	return table
}

// A badArgument is the error of a message whose argument will not do; reason says why.
type badArgument struct{ reason error }

func (b *badArgument) Error() string { return b.reason.Error() }

// refused makes the error of a request that the kernel refused, from what was tried. Where there is no link any more it does as lost does.
func (i *Interface) refused(err error, what string) error {
	if said, ok := errors.AsType[*p9ext.Error](err); ok {
		return said
	}
	errno := errnoOf(err)
	switch {
	case errno == linux.ENODEV || notFound(err):
		return i.lost()
	case errno == linux.EPERM:
		return p9ext.Errorf(errno, "cannot %s: the server lacks CAP_NET_ADMIN here", what)
	}
	return p9ext.Errorf(errno, "cannot %s: %w", what, errno)
}

func (i *Interface) up([]string) error {
	if err := i.ask((*netlink.Handle).LinkSetUp); err != nil {
		return i.refused(err, "bring "+i.lastName()+" up")
	}
	return nil
}

func (i *Interface) down([]string) error {
	if err := i.ask((*netlink.Handle).LinkSetDown); err != nil {
		return i.refused(err, "bring "+i.lastName()+" down")
	}
	return nil
}

func (i *Interface) addAddress(argv []string) error {
	p, err := parsePrefix(argv[0])
	if err != nil {
		return &badArgument{err}
	}
	err = i.askHost(func(h *netlink.Handle, l netlink.Link) error { return h.AddrAdd(l, address(p)) })
	switch {
	case err == nil:
		return nil
	case errnoOf(err) == linux.EEXIST:
		return p9ext.Errorf(linux.EEXIST, "%s has the address %v already", i.lastName(), p)
	case errnoOf(err) == linux.EACCES && p.Addr().Is6():
		return p9ext.Errorf(linux.EACCES, "cannot add %v to %s: IPv6 is disabled there: write 0 to net.ipv6.conf.%s.disable_ipv6 or raise the mtu to 1280",
			p, i.lastName(), i.lastName())
	}
	return i.refused(err, "add "+p.String()+" to "+i.lastName())
}

func (i *Interface) removeAddress(argv []string) error {
	p, err := parsePrefix(argv[0])
	if err != nil {
		return &badArgument{err}
	}
	err = i.askHost(func(h *netlink.Handle, l netlink.Link) error { return h.AddrDel(l, address(p)) })
	switch {
	case err == nil:
		return nil
	case errnoOf(err) == linux.EADDRNOTAVAIL:
		return p9ext.Errorf(linux.EADDRNOTAVAIL, "%s has no address %v: status lists those it has", i.lastName(), p)
	}
	return i.refused(err, "remove "+p.String()+" from "+i.lastName())
}

// address is p as netlink wants it.
func address(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

func (i *Interface) setMTU(argv []string) error {
	mtu, err := parseNumber(argv[0], minMTU, maxMTU)
	if err != nil {
		return &badArgument{err}
	}
	if err := i.ask(func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, mtu) }); err != nil {
		return i.refused(err, "set the mtu of "+i.lastName()+" to "+argv[0])
	}
	_, err = i.link() // not mtu: somebody else may have set it since
	return err
}

func (i *Interface) setMAC(argv []string) error {
	mac, err := parseMAC(argv[0])
	if err != nil {
		return &badArgument{err}
	}
	if err := i.ask(func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetHardwareAddr(l, mac) }); err != nil {
		return i.refused(err, "set the address of "+i.lastName()+" to "+mac.String())
	}
	return nil
}

func (i *Interface) rename(argv []string) error {
	name := argv[0]
	if reason := badName(name); reason != "" {
		return &badArgument{errors.New("the name " + reason)}
	}
	err := i.ask(func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetName(l, name) })
	switch {
	case err == nil:
		_, err = i.link()
		return err
	case errnoOf(err) == linux.EEXIST:
		return p9ext.Errorf(linux.EBUSY, "%w: there is an interface %s already", p9ext.ErrInUse, name)
	case errnoOf(err) == linux.EBUSY:
		return p9ext.Errorf(linux.EBUSY, "%w: this kernel renames no link that is up: send down first", p9ext.ErrInUse)
	}
	return i.refused(err, "call "+i.lastName()+" "+name)
}

func (i *Interface) connect(argv []string) error {
	t, err := parseType(argv[0])
	if err != nil {
		return &badArgument{err}
	}
	i.frames.selected.Store(t)
	return nil
}

func (i *Interface) setQueue(argv []string) error {
	n, err := parseNumber(argv[0], 1, i.dev.settings.MaxQueue)
	if err != nil {
		return &badArgument{err}
	}
	i.frames.setLength(n)
	return nil
}

// promiscuous does what it does in ether(3): there a program in promiscuous mode sees the frames that others on its machine send, and the
// link takes frames for any station.
func (i *Interface) promiscuous(argv []string) error {
	on, set := argv[0] == "on", (*netlink.Handle).SetPromiscOff
	if on {
		set = (*netlink.Handle).SetPromiscOn
	}
	if err := i.ask(set); err != nil {
		return i.refused(err, "make "+i.lastName()+" promiscuous: "+argv[0])
	}
	i.promisc.Store(on)
	return nil
}
