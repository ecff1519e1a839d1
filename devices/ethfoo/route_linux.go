package ethfoo

import (
	"net"
	"net/netip"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
)

// addRoute has the kernel send what is for DEST/LEN through the interface: to the host itself, or to the router GW behind the link. The route
// goes when the link goes down, or away.
func (i *Interface) addRoute(argv []string) error {
	dest, err := parseNetwork(argv[0])
	if err != nil {
		return &badArgument{err}
	}
	route, what := routeTo(dest), dest.String()
	if len(argv) > 1 {
		gw, err := parseRouter(argv[2], dest)
		if err != nil {
			return &badArgument{err}
		}
		route.Gw = gw.AsSlice()
		what += " via " + gw.String()
	} else if dest.Addr().Is4() {
		route.Scope = netlink.SCOPE_LINK // the hosts there are to be asked for by ARP
	}
	err = i.askHost(func(h *netlink.Handle, l netlink.Link) error {
		route.LinkIndex = l.Attrs().Index
		return h.RouteAdd(route)
	})
	if err == nil {
		return nil
	}
	switch errno := errnoOf(err); {
	case errno == linux.EEXIST:
		return p9ext.Errorf(errno, "there is a route to %v already", dest)
	case errno == linux.ENETDOWN:
		return p9ext.Errorf(errno, "cannot route %s through %s: it is down: send up first", what, i.lastName())
	case route.Gw != nil && (errno == linux.ENETUNREACH || errno == linux.EHOSTUNREACH):
		return p9ext.Errorf(errno, "cannot route %s through %s: no network of its has that router: add an address beside it first", what, i.lastName())
	case errno == linux.EACCES && dest.Addr().Is6():
		return p9ext.Errorf(errno, "cannot route %s through %s: IPv6 is disabled there", what, i.lastName())
	}
	return i.refused(err, "route "+what+" through "+i.lastName())
}

// removeRoute removes the route to DEST/LEN through the interface, whoever made it.
func (i *Interface) removeRoute(argv []string) error {
	dest, err := parseNetwork(argv[0])
	if err != nil {
		return &badArgument{err}
	}
	route := routeTo(dest)
	route.Scope = netlink.SCOPE_NOWHERE // of any scope
	err = i.askHost(func(h *netlink.Handle, l netlink.Link) error {
		route.LinkIndex = l.Attrs().Index
		return h.RouteDel(route)
	})
	switch {
	case err == nil:
		return nil
	case errnoOf(err) == linux.ESRCH:
		return p9ext.Errorf(linux.ESRCH, "there is no route to %v through %s", dest, i.lastName())
	}
	return i.refused(err, "remove the route to "+dest.String()+" through "+i.lastName())
}

// routeTo is a route to dest as netlink wants it, through no link yet.
func routeTo(dest netip.Prefix) *netlink.Route {
	return &netlink.Route{
		Dst: &net.IPNet{IP: dest.Addr().AsSlice(), Mask: net.CIDRMask(dest.Bits(), dest.Addr().BitLen())},
	}
}
