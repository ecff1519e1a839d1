package ethfoo

import (
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestParseMAC(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"02:00:00:12:34:56", "020000123456"},
		{"02-00-00-12-34-56", "020000123456"},
		{"0200.0012.3456", "020000123456"},
		{"020000123456", "020000123456"},
		{"AABBccddeeff", "aabbccddeeff"},
		{"03:00:00:12:34:56", "error: multicast"},
		{"ff:ff:ff:ff:ff:ff", "error: multicast"},
		{"00:00:00:00:00:00", "error: nobody's"},
		{"02:00:00:12:34", "error: no MAC"},
		{"02:00:00:12:34:56:78:9a", "error: no MAC"},
		{"0200001234567", "error: no MAC"},
		{"eth0", "error: no MAC"},
		{"", "error: no MAC"},
	} {
		mac, err := parseMAC(c.in)
		check(t, c.in, formatMAC(mac), c.want, err)
	}
}

func TestParsePrefix(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"10.9.0.1/24", "10.9.0.1/24"},
		{"10.9.0.1/32", "10.9.0.1/32"},
		{"fd00::1/64", "fd00::1/64"},
		{"FD00:0::1/128", "fd00::1/128"},
		{"10.9.0.1", "error: no prefix length"},
		{"fd00::1", "error: no prefix length"},
		{"10.9.0.1/33", "error: no IP address"},
		{"10.9.0.1/-1", "error: no IP address"},
		{"10.9.0.1/024", "error: no IP address"},
		{"10.9.0/24", "error: no IP address"},
		{"fe80::1%eth0/64", "error: no IP address"},
		{"::ffff:10.9.0.1/120", "error: write 10.9.0.1"},
		{"224.0.0.1/24", "error: multicast"},
		{"ff02::1/64", "error: multicast"},
		{"0.0.0.0/0", "error: no host's"},
		{"::/0", "error: no host's"},
		{"255.255.255.255/32", "error: no host's"},
		{"/24", "error: no IP address"},
		{"", "error: no prefix length"},
	} {
		p, err := parsePrefix(c.in)
		check(t, c.in, p.String(), c.want, err)
	}
}

func TestParseType(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"-1", "-1"},
		{"0", "0"},
		{"2048", "2048"},
		{"0x800", "2048"},
		{"0X86DD", "34525"},
		{"0800", "800"},
		{"65535", "65535"},
		{"65536", "error: no Ethernet type"},
		{"0x10000", "error: no Ethernet type"},
		{"-2", "error: no Ethernet type"},
		{"0x", "error: no Ethernet type"},
		{"0x-1", "error: no Ethernet type"},
		{"1_0", "error: no Ethernet type"},
		{"ip", "error: no Ethernet type"},
		{"", "error: no Ethernet type"},
	} {
		n, err := parseType(c.in)
		check(t, c.in, strconv.Itoa(int(n)), c.want, err)
	}
}

func TestParseNumber(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"68", "68"},
		{"1500", "1500"},
		{"01500", "1500"},
		{"65521", "65521"},
		{"67", "error: no number from 68 to 65521"},
		{"65522", "error: no number"},
		{"4294967364", "error: no number"},
		{"-1500", "error: no number"},
		{"+1500", "error: no number"},
		{"0x5dc", "error: no number"},
		{"big", "error: no number"},
		{"", "error: no number"},
	} {
		n, err := parseNumber(c.in, minMTU, maxMTU)
		check(t, c.in, strconv.Itoa(n), c.want, err)
	}
}

// check compares what a parser gave for in with want: a value, or "error: " and a part of the text.
func check(t *testing.T, in, got, want string, err error) {
	t.Helper()
	text, fails := strings.CutPrefix(want, "error: ")
	switch {
	case fails && err == nil:
		t.Errorf("%q: %s, want an error with %q", in, got, text)
	case fails && !strings.Contains(err.Error(), text):
		t.Errorf("%q: error %q, want it to contain %q", in, err, text)
	case fails && !strings.Contains(err.Error(), strconv.Quote(in)):
		t.Errorf("%q: error %q does not show the culprit", in, err)
	case !fails && err != nil:
		t.Errorf("%q: error %v, want %s", in, err, want)
	case !fails && got != want:
		t.Errorf("%q: %s, want %s", in, got, want)
	}
}

func FuzzParseMAC(f *testing.F) {
	for _, s := range []string{"02:00:00:12:34:56", "020000123456", "0200.0012.3456", "ff:ff:ff:ff:ff:ff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mac, err := parseMAC(s)
		if err != nil {
			return
		}
		if len(mac) != 6 || mac[0]&1 != 0 {
			t.Fatalf("%q: %v is no station's address", s, mac)
		}
		again, err := parseMAC(formatMAC(mac))
		if err != nil || again.String() != mac.String() {
			t.Fatalf("%q: %v is read back as %v, %v", s, mac, again, err)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"10.9.0.1/24", "fd00::1/64", "::ffff:1.2.3.4/99", "fe80::1%1/3", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePrefix(s)
		if err != nil {
			return
		}
		again, err := parsePrefix(p.String())
		if err != nil || again != p {
			t.Fatalf("%q: %v is read back as %v, %v", s, p, again, err)
		}
		// net reads the same, so what netlink is given is what was written.
		ip, network, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatalf("%q: %v here, net says %v", s, p, err)
		}
		if a := address(p); !a.IP.Equal(ip) || a.Mask.String() != network.Mask.String() {
			t.Fatalf("%q: %v, net says %v %v", s, a, ip, network)
		}
	})
}

func FuzzParseRoute(f *testing.F) {
	for _, s := range [][2]string{{"10.9.0.0/24", "10.9.0.1"}, {"fd00::/64", "fe80::1%eth0"}, {"0.0.0.0/0", "::ffff:10.9.0.1"}, {"::/0", "ff02::1"}, {"/", "0.0.0.0"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, network, router string) {
		dest, err := parseNetwork(network)
		if err != nil {
			return
		}
		if dest != dest.Masked() || dest.Addr().Is4In6() || dest.Addr().Zone() != "" {
			t.Fatalf("%q: %v is no network", network, dest)
		}
		if again, err := parseNetwork(dest.String()); err != nil || again != dest {
			t.Fatalf("%q: %v is read back as %v, %v", network, dest, again, err)
		}
		gw, err := parseRouter(router, dest)
		if err != nil {
			return
		}
		if gw.Is4() != dest.Addr().Is4() || gw.Is4In6() || gw.Zone() != "" || gw.IsMulticast() || gw.IsUnspecified() {
			t.Fatalf("%q: %v is no router on the way to %v", router, gw, dest)
		}
		if again, err := parseRouter(gw.String(), dest); err != nil || again != gw {
			t.Fatalf("%q: %v is read back as %v, %v", router, gw, again, err)
		}
	})
}

func FuzzParseType(f *testing.F) {
	for _, s := range []string{"-1", "0", "0x800", "65535", "0X86dd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseType(s)
		if err != nil {
			return
		}
		if n < -1 || n > 0xffff {
			t.Fatalf("%q: %d", s, n)
		}
		if again, err := parseType(strconv.Itoa(int(n))); err != nil || again != n {
			t.Fatalf("%q: %d is read back as %d, %v", s, n, again, err)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"eth0", "a%d", "a b", "..", "", "sixteen-bytes-16"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if badName(s) != "" {
			return
		}
		if len(s) == 0 || len(s) > 15 || strings.ContainsAny(s, "/: %\t\n\v\f\r\x00") || s[0] == '-' {
			t.Fatalf("%q is no name", s)
		}
	})
}
