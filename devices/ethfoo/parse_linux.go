package ethfoo

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The limits of a TAP: ETH_MIN_MTU, and what is left of 65535 bytes beside the Ethernet header (tun_net_initialize).
const (
	minMTU = 68
	maxMTU = 65535 - etherHeader
)

// The parsers of the arguments of control messages. Their errors are the half sentence that follows
// `bad control message: WORD wants ARGS:`, so they name the culprit and what would do.

// quote shows a word that came from outside, in quotes and not more than the beginning of it.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// parseMAC reads the address of one station in any of the usual spellings: 12 hex digits as file addr gives them, or
// groups divided by colons, dashes or dots.
func parseMAC(s string) (net.HardwareAddr, error) {
	mac, err := hex.DecodeString(s)
	if err != nil || len(mac) != 6 {
		mac, err = net.ParseMAC(s)
	}
	switch {
	case err != nil || len(mac) != 6:
		return nil, fmt.Errorf("%s is no MAC address, write it like 02:00:00:12:34:56", quote(s))
	case mac[0]&1 != 0:
		return nil, fmt.Errorf("%s is a multicast address, the lowest bit of its first byte must be 0", quote(s))
	case mac[0]|mac[1]|mac[2]|mac[3]|mac[4]|mac[5] == 0:
		return nil, fmt.Errorf("%s is nobody's address, one of its bytes must not be 0", quote(s))
	}
	return mac, nil
}

// formatMAC writes an address as file addr does.
func formatMAC(mac net.HardwareAddr) string { return hex.EncodeToString(mac) }

// parsePrefix reads an IPv4 or IPv6 address of a host with the length of its network's prefix.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	a := p.Addr()
	switch {
	case err != nil && !strings.Contains(s, "/"):
		return p, fmt.Errorf("%s has no prefix length, write it like 10.9.0.1/24 or fd00::1/64", quote(s))
	case err != nil:
		return p, fmt.Errorf("%s is no IP address with a prefix length, write it like 10.9.0.1/24 or fd00::1/64", quote(s))
	case a.Is4In6():
		return p, fmt.Errorf("%s is an IPv4 address in IPv6, write %v with a length of its own", quote(s), a.Unmap())
	case a.IsMulticast():
		return p, fmt.Errorf("%s is a multicast address, an interface wants one of its own", quote(s))
	case a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return p, fmt.Errorf("%s is no host's address", quote(s))
	}
	return p, nil
}

// parseNetwork reads the address of a network, or of one host, with the length of its prefix.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil && !strings.Contains(s, "/"):
		return p, fmt.Errorf("%s has no prefix length, write it like 10.9.0.0/24, fd00::/64, or 0.0.0.0/0 for everything", quote(s))
	case err != nil:
		return p, fmt.Errorf("%s is no network, write it like 10.9.0.0/24, fd00::/64, or 0.0.0.0/0 for everything", quote(s))
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%s is an IPv4 address in IPv6, write %v with a length of its own", quote(s), p.Addr().Unmap())
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits beyond its length, the network is %v", quote(s), p.Masked())
	}
	return p, nil
}

// parseRouter reads the address of a router on the way to dest.
func parseRouter(s string, dest netip.Prefix) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "":
		return a, fmt.Errorf("%s is no IP address of a router", quote(s))
	case a.Is4() != dest.Addr().Is4() || a.Is4In6():
		return a, fmt.Errorf("%s is not of the family of %v", quote(s), dest)
	case a.IsMulticast() || a.IsUnspecified():
		return a, fmt.Errorf("%s is no host's address", quote(s))
	}
	return a, nil
}

// parseType reads an Ethernet type, decimal or 0x; -1 means all.
func parseType(s string) (int32, error) {
	digits, base := s, 10
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		digits, base = s[2:], 16
	}
	t, err := strconv.ParseUint(digits, base, 16)
	switch {
	case s == "-1":
		return allTypes, nil
	case err != nil:
		return 0, fmt.Errorf("%s is no Ethernet type, write 0 to 65535, 0x800 for IPv4, or -1 for all", quote(s))
	}
	return int32(t), nil
}

// parseNumber reads a decimal number from min to max.
func parseNumber(s string, min, max int) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || int(n) < min || int(n) > max {
		return 0, fmt.Errorf("%s is no number from %d to %d", quote(s), min, max)
	}
	return int(n), nil
}
