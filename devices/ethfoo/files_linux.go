package ethfoo

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/vishvananda/netlink"
)

// files is the table of a conversation's files.
var files = clonefs.Files[*Interface]{
	{Name: "data", Mode: 0o660, Prompt: true, Help: "one Ethernet frame a read, one a write, of 14 to mtu+18 bytes; or batches, see batch", Duplex: (*Interface).data},
	{Name: "addr", Mode: 0o444, Help: "the Ethernet address, 12 hex digits", Text: (*Interface).addrText},
	{Name: "ifname", Mode: 0o444, Help: "the interface's name in the kernel", Text: (*Interface).ifnameText},
	{Name: "stats", Mode: 0o444, Help: "counters as in ether(3): in is what can be read here, out what was written", Text: (*Interface).statsText},
	{Name: "ifstats", Mode: 0o444, Help: "the kernel's counters of the link, rx and tx as the kernel sees them", Text: (*Interface).ifstatsText},
	{Name: "type", Mode: 0o444, Help: "the Ethernet type selected by connect, -1 for all", Text: (*Interface).typeText},
	{Name: "pcap", Mode: 0o440, Help: "all frames of both directions from now on, as pcapng: in is what can be read here, out what was written", Open: (*Interface).pcap},
}

func (i *Interface) addrText() (string, error) {
	link, err := i.link()
	if err != nil {
		return "", err
	}
	return formatMAC(link.HardwareAddr) + "\n", nil
}

func (i *Interface) ifnameText() (string, error) {
	link, err := i.link()
	if err != nil {
		return "", err
	}
	return link.Name + "\n", nil
}

func (i *Interface) typeText() (string, error) {
	return strconv.Itoa(int(i.frames.selected.Load())) + "\n", nil
}

// speed in megabits a second: a TAP has none, this is what the kernel's tun driver tells ethtool (tun_default_link_ksettings); old ones say 10.
const speed = 10000

// statsText writes the lines of ether(3), for the program at this end: in is what the kernel sends out of the interface.
func (i *Interface) statsText() (string, error) {
	link, err := i.link()
	if err != nil {
		return "", err
	}
	s := link.Statistics
	if s == nil { // a kernel that sends none
		s = new(netlink.LinkStatistics)
	}
	_, _, drops := i.frames.counts()
	var b strings.Builder
	for _, line := range []struct {
		name  string
		value any
	}{
		{"in", s.TxPackets},
		{"link", digit(link.Flags&net.FlagUp != 0)},
		{"out", s.RxPackets},
		{"crc errs", s.RxCrcErrors},
		{"overflows", s.TxDropped}, // the kernel's own queue before the TAP was full
		{"soft overflows", drops},  // a reader's queue was
		{"framing errs", s.RxFrameErrors},
		{"buffer errs", i.cut.Load()},
		{"output errs", s.RxErrors + s.RxDropped},
		{"prom", digit(i.promisc.Load())},
		{"mbps", speed},
		{"addr", formatMAC(link.HardwareAddr)},
	} {
		fmt.Fprintf(&b, "%s: %v\n", line.name, line.value)
	}
	return b.String(), nil
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ifstatsText writes struct rtnl_link_stats64 (linux/if_link.h), by the names it has there.
func (i *Interface) ifstatsText() (string, error) {
	link, err := i.link()
	if err != nil {
		return "", err
	}
	s := link.Statistics
	if s == nil {
		s = new(netlink.LinkStatistics)
	}
	var b strings.Builder
	for _, line := range []struct {
		name  string
		value uint64
	}{
		{"rx_packets", s.RxPackets},
		{"tx_packets", s.TxPackets},
		{"rx_bytes", s.RxBytes},
		{"tx_bytes", s.TxBytes},
		{"rx_errors", s.RxErrors},
		{"tx_errors", s.TxErrors},
		{"rx_dropped", s.RxDropped},
		{"tx_dropped", s.TxDropped},
		{"multicast", s.Multicast},
		{"collisions", s.Collisions},
		{"rx_length_errors", s.RxLengthErrors},
		{"rx_over_errors", s.RxOverErrors},
		{"rx_crc_errors", s.RxCrcErrors},
		{"rx_frame_errors", s.RxFrameErrors},
		{"rx_fifo_errors", s.RxFifoErrors},
		{"rx_missed_errors", s.RxMissedErrors},
		{"tx_aborted_errors", s.TxAbortedErrors},
		{"tx_carrier_errors", s.TxCarrierErrors},
		{"tx_fifo_errors", s.TxFifoErrors},
		{"tx_heartbeat_errors", s.TxHeartbeatErrors},
		{"tx_window_errors", s.TxWindowErrors},
		{"rx_compressed", s.RxCompressed},
		{"tx_compressed", s.TxCompressed},
	} {
		fmt.Fprintf(&b, "%s: %d\n", line.name, line.value)
	}
	return b.String(), nil
}

// state is the word in the first line of status.
func (i *Interface) state() string {
	link, err := i.link()
	switch {
	case err != nil:
		return "gone"
	case link.Flags&net.FlagUp != 0:
		return "up"
	}
	return "down"
}

// statusText is the rest of status, `name value` a line.
func (i *Interface) statusText() (string, error) {
	link, err := i.link()
	if err != nil {
		return "", err
	}
	addresses, err := i.addresses()
	if err != nil {
		return "", i.refused(err, "list the addresses of "+link.Name)
	}
	readers, length, drops := i.frames.counts()
	var b strings.Builder
	fmt.Fprintf(&b, "ifname %s\naddr %s\nmtu %d\ntype %d\npromiscuous %s\nheadersonly %s\nbatch %s\nqueue %d\nreaders %d\ndropped %d\n",
		link.Name, formatMAC(link.HardwareAddr), link.MTU, i.frames.selected.Load(), onOff(i.promisc.Load()), onOff(i.frames.headers.Load()),
		onOff(i.frames.batch.Load()),
		length, readers, drops)
	if link.MasterIndex != 0 {
		i.ask(func(h *netlink.Handle, _ netlink.Link) error {
			bridge, err := h.LinkByIndex(link.MasterIndex)
			if err == nil { // else it went this moment
				fmt.Fprintf(&b, "bridge %s\n", bridge.Attrs().Name)
			}
			return nil
		})
	}
	for _, a := range addresses {
		fmt.Fprintf(&b, "address %s\n", a)
	}
	return b.String(), nil
}

// addresses lists the link's addresses with their prefix lengths, IPv4 first.
func (i *Interface) addresses() ([]string, error) {
	list, err := dump(func() (list []netlink.Addr, err error) {
		err = i.askHost(func(h *netlink.Handle, l netlink.Link) error {
			list, err = h.AddrList(l, netlink.FAMILY_ALL)
			return err
		})
		return list, err
	})
	if err != nil {
		return nil, err
	}
	addresses := make([]string, len(list))
	for n, a := range list {
		addresses[n] = a.IPNet.String()
	}
	return addresses, nil
}
