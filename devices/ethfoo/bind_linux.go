package ethfoo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/gopacket/gopacket/layers"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What an interface is bound to: nothing else than its TAP, unless it is told otherwise before it is brought up.
//
//	bind tun      a TUN takes the TAP's place: data carries IP packets
//	bind gso      a TAP that carries segments takes its place: frames of up to 64 KiB, each behind a struct virtio_net_hdr
//	bind vxlan    a bridge of its own with two ports, the TAP and a vxlan link; the host's own addresses are the bridge's:
//
//	              TAP ethfooN --- bridge br-ethfooN --- vx-ethfooN ~~ UDP ~~ the same on host REMOTE
//
// Bridge and vxlan link are counted and sealed as the bridges of "bridge BR create" are.

// What an interface is called until the one whose name it is to have is gone.
const (
	tunPattern = "tun-clone%d"
	tapPattern = "tap-clone%d"
)

// bindTUN puts a TUN in the TAP's place, under its name.
func (i *Interface) bindTUN([]string) error {
	link, err := i.unbound("tun")
	if err != nil {
		return err
	}
	return i.replace(link, tunPattern, unix.IFF_TUN, func(netlink.Link) error {
		i.frames.packets.Store(true)
		i.captures.become(0, layers.LinkTypeRaw)
		return nil
	})
}

// bindGSO puts a TAP that carries segments in the TAP's place, under its name and with its address.
func (i *Interface) bindGSO([]string) error {
	link, err := i.unbound("gso")
	if err != nil {
		return err
	}
	if i.frames.head.Load() != 0 {
		return p9ext.Errorf(linux.EBUSY, "%w: %s carries segments already", p9ext.ErrInUse, link.Name)
	}
	return i.replace(link, tapPattern, unix.IFF_TAP|unix.IFF_VNET_HDR, func(tap netlink.Link) error {
		if err := i.nl.LinkSetHardwareAddr(tap, link.HardwareAddr); err != nil {
			return err
		}
		i.frames.head.Store(vnetHeader)
		i.captures.become(vnetHeader, layers.LinkTypeEthernet)
		return nil
	})
}

// replace puts another interface in the place of ours, which is link and down. use is told of it while it has no traffic yet.
func (i *Interface) replace(link *netlink.LinkAttrs, pattern string, kind uint16, use func(netlink.Link) error) error {
	cannot := func(err error) error {
		return p9ext.Errorf(errnoOf(err), "cannot bind %s: make another interface: %w", link.Name, errnoOf(err))
	}
	t, err := openTun(i.dev.tun, pattern, kind)
	if errors.Is(err, clonefs.ErrTaken) {
		err = unix.EBUSY
	}
	if err != nil {
		return cannot(err)
	}
	fresh, err := t.ifname()
	var made netlink.Link
	if err == nil {
		made, err = i.nl.LinkByName(fresh)
	}
	if err == nil {
		err = use(made)
	}
	if err != nil {
		t.close()
		return cannot(err)
	}
	i.dev.watch.move(i, made.Attrs().Index)
	i.mtu.Store(int32(made.Attrs().MTU))
	i.tap.Swap(t).close()
	i.setName(fresh)
	if err := i.nl.LinkSetName(i.ref(), link.Name); err != nil {
		if errnoOf(err) == linux.EEXIST {
			return p9ext.Errorf(linux.EBUSY, "%w: it is bound, but somebody took the name %s in this moment: it is called %s", p9ext.ErrInUse, link.Name, fresh)
		}
		return i.refused(err, "call "+fresh+" "+link.Name)
	}
	_, err = i.link()
	return err
}

// unbound returns the link, if it may still be bound to something.
func (i *Interface) unbound(what string) (*netlink.LinkAttrs, error) {
	link, err := i.link()
	switch {
	case err != nil:
		return nil, err
	case i.away.Load():
		return nil, p9ext.Errorf(linux.EXDEV, "%s is in another network namespace: bind it before it goes there", i.lastName())
	case i.frames.packets.Load():
		return nil, p9ext.Errorf(linux.EBUSY, "%w: %s is a TUN already", p9ext.ErrInUse, link.Name)
	case link.Flags&net.FlagUp != 0:
		return nil, p9ext.Errorf(linux.EBUSY, "%w: bind %s wants %s down: send it before up", p9ext.ErrInUse, what, link.Name)
	case link.MasterIndex != 0:
		return nil, p9ext.Errorf(linux.EBUSY, "%w: %s is on a bridge: send nobridge first", p9ext.ErrInUse, link.Name)
	}
	return link, nil
}

// The bytes that vxlan puts before a frame, beside what the frame itself has before its packet (RFC 7348, section 5).
const (
	vxlanOverIPv4 = 20 + 8 + 8 + etherHeader
	vxlanOverIPv6 = 40 + 8 + 8 + etherHeader

	vxlanPort  = 4789
	maxVXLANID = 1<<24 - 1
)

// bindVXLAN makes a bridge with the TAP and a vxlan link to host REMOTE on it; DEV is the link by which REMOTE is to be reached, where the
// routes are not to decide that. The TAP's mtu becomes what fits.
func (i *Interface) bindVXLAN(argv []string) error {
	id, err := parseNumber(argv[0], 1, maxVXLANID)
	if err != nil {
		return &badArgument{fmt.Errorf("the ID %w", err)}
	}
	remote, err := netip.ParseAddr(argv[1])
	switch {
	case err != nil || remote.Zone() != "":
		return &badArgument{fmt.Errorf("%s is no IP address", quote(argv[1]))}
	case remote.Is4In6() || remote.IsUnspecified():
		return &badArgument{fmt.Errorf("%s is no host's address", quote(argv[1]))}
	case remote.IsMulticast() && len(argv) < 3:
		return &badArgument{fmt.Errorf("a group of hosts such as %v is to be found by a link: name it as DEV", remote)}
	}
	link, err := i.unbound("vxlan")
	if err != nil {
		return err
	}
	vxName, brName := "vx-"+link.Name, "br-"+link.Name
	if reason := badName(vxName); reason != "" {
		return p9ext.Errorf(linux.EINVAL, "cannot bind %s: the name %s %s: give the interface a shorter one", link.Name, vxName, reason)
	}
	under, err := i.under(remote, argv[2:])
	if err != nil {
		return err
	}
	vxlan := &netlink.Vxlan{LinkAttrs: netlink.NewLinkAttrs(), VxlanId: id, Group: remote.AsSlice(), Port: vxlanPort, Learning: true}
	vxlan.Name = vxName
	vxlan.MTU = under.MTU - vxlanOverIPv4
	if remote.Is6() {
		vxlan.MTU = under.MTU - vxlanOverIPv6
	}
	if len(argv) > 2 {
		vxlan.VtepDevIndex = under.Index
	}
	if vxlan.MTU < minMTU {
		return p9ext.Errorf(linux.EINVAL, "cannot bind %s: the mtu of %s, %d, leaves no room in vxlan's packets", link.Name, under.Name, under.MTU)
	}
	vxlan.MTU = min(vxlan.MTU, maxMTU)

	l := &i.dev.links
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.tidy(i.nl) // what was made, when not all can be
	if err := l.makeLink(i.nl, vxlan); err != nil {
		return i.cannotVXLAN(err, vxName, id, remote)
	}
	bridge, err := l.makeBridge(i.nl, brName)
	if errnoOf(err) == linux.EEXIST {
		return p9ext.Errorf(linux.EBUSY, "%w: there is an interface %s already", p9ext.ErrInUse, brName)
	}
	if err == nil {
		err = i.nl.LinkSetMaster(vxlan, bridge)
	}
	if err == nil {
		err = i.nl.LinkSetMTU(i.ref(), vxlan.MTU)
	}
	if err == nil {
		err = i.nl.LinkSetMaster(i.ref(), bridge)
	}
	if err != nil {
		return i.refused(err, "bind "+link.Name+" by the bridge "+brName)
	}
	l.move(i, bridge.Attrs().Index, vxlan.Index)
	_, err = i.link()
	return err
}

// askHost does as ask does, for the link whose addresses and routes are the host's: the bridge that bind vxlan has put the TAP on, else the interface.
// A port of a bridge could have addresses, but nobody would be heard there.
func (i *Interface) askHost(f func(*netlink.Handle, netlink.Link) error) error {
	l := &i.dev.links
	l.mu.Lock()
	bridge := i.bridge
	if i.vxlan == 0 {
		bridge = 0
	}
	l.mu.Unlock()
	if bridge == 0 {
		return i.ask(f)
	}
	return f(i.nl, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Index: bridge}})
}

// under returns the link by which remote is reached: the one called dev[0], or what the routes say.
func (i *Interface) under(remote netip.Addr, dev []string) (*netlink.LinkAttrs, error) {
	if len(dev) > 0 {
		link, err := i.nl.LinkByName(dev[0])
		if notFound(err) {
			return nil, p9ext.Errorf(linux.ENODEV, "there is no interface %s to reach %v by", quote(dev[0]), remote)
		}
		if err != nil {
			return nil, i.refused(err, "ask the kernel for "+dev[0])
		}
		return link.Attrs(), nil
	}
	routes, err := i.nl.RouteGet(remote.AsSlice())
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return nil, p9ext.Errorf(errnoOf(err), "cannot bind %s: the server's host has no route to %v: %w", i.lastName(), remote, errnoOf(err))
	}
	link, err := i.nl.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return nil, i.refused(err, "ask the kernel for the link to "+remote.String())
	}
	return link.Attrs(), nil
}

// cannotVXLAN says why the kernel made no vxlan link.
func (i *Interface) cannotVXLAN(err error, name string, id int, remote netip.Addr) error {
	switch errno := errnoOf(err); errno {
	case linux.EEXIST:
		return p9ext.Errorf(linux.EBUSY, "%w: there is an interface %s, or a vxlan link with the id %d to %v, already", p9ext.ErrInUse, name, id, remote)
	case linux.EOPNOTSUPP:
		return p9ext.Errorf(errno, "cannot bind %s: the kernel has no vxlan: load the module vxlan", i.lastName())
	}
	return i.refused(err, "make the vxlan link "+name+" with the id "+strconv.Itoa(id)+" to "+remote.String())
}
