package ethfoo

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
)

// Each script sends its messages to a fresh interface; those that must fail say how, after =>.
func TestMessages(t *testing.T) {
	needTAP(t)
	peer := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other0"}}
	if err := netlink.LinkAdd(peer); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(peer)
	errnos := map[string]linux.Errno{"EINVAL": linux.EINVAL, "EBUSY": linux.EBUSY, "EEXIST": linux.EEXIST, "EADDRNOTAVAIL": linux.EADDRNOTAVAIL,
		"EACCES": linux.EACCES, "ENETDOWN": linux.ENETDOWN, "ENETUNREACH": linux.ENETUNREACH, "ESRCH": linux.ESRCH, "ENODEV": linux.ENODEV, "ENOENT": linux.ENOENT}
	for _, c := range []struct{ name, script, status string }{
		{"fresh", ``, `ifname ethfoo0
			mtu 1500
			type -1
			promiscuous off
			queue 256
			readers 0
			dropped 0`},
		{"up and down", `
			up
			up
			down
			down
			up`, `flags up`},
		{"addresses", `
			add 10.9.0.1/24
			add 10.9.1.1/16
			add fd00::1/64
			add 10.9.0.1/24  => EEXIST ethfoo0 has the address 10.9.0.1/24 already
			add fd00::1/64   => EEXIST ethfoo0 has the address fd00::1/64 already
			remove 10.9.1.1/16
			remove 10.9.1.1/16 => EADDRNOTAVAIL ethfoo0 has no address 10.9.1.1/16: status lists those it has
			remove 10.9.0.1/25 => EADDRNOTAVAIL ethfoo0 has no address
			remove fd00::2/64  => EADDRNOTAVAIL ethfoo0 has no address fd00::2/64
			add 10.9.0.1       => EINVAL bad control message: add wants ADDR/LEN: "10.9.0.1" has no prefix length, write it like
			add 10.9.0.300/24  => EINVAL bad control message: add wants ADDR/LEN: "10.9.0.300/24" is no IP address
			remove 10.9.0.1    => EINVAL bad control message: remove wants ADDR/LEN:
			add 224.0.0.1/24   => EINVAL bad control message: add wants ADDR/LEN:`, `address 10.9.0.1/24
			address fd00::1/64`},
		{"routes", `
			route 10.8.0.0/16 => ENETDOWN cannot route 10.8.0.0/16 through ethfoo0: it is down: send up first
			up
			add 10.9.0.1/24
			add fd00::1/64
			route 10.8.0.0/16
			route 10.8.0.0/16  => EEXIST there is a route to 10.8.0.0/16 already
			route 10.7.0.0/16 via 10.9.0.2
			route 10.6.0.0/16 via 10.3.0.2 => ENETUNREACH cannot route 10.6.0.0/16 via 10.3.0.2 through ethfoo0: no network of its
			route 0.0.0.0/0 via 10.9.0.2
			route 10.5.0.1/32
			route fd08::/64
			route fd07::/64 via fd00::2
			route ::/0 via fd00::2
			noroute 10.5.0.1/32
			noroute 10.5.0.1/32 => ESRCH there is no route to 10.5.0.1/32 through ethfoo0
			noroute 10.7.0.0/16
			noroute fd08::/64
			noroute fd08::/64   => ESRCH there is no route to fd08::/64
			noroute ::/0
			noroute 0.0.0.0/0
			route 10.8.0.1/16   => EINVAL bad control message: route wants DEST/LEN [via GW]: "10.8.0.1/16" has bits beyond its length, the network is 10.8.0.0/16
			route 10.8.0.0      => EINVAL bad control message: route wants DEST/LEN [via GW]: "10.8.0.0" has no prefix length
			route 10.8.0.0/33   => EINVAL bad control message: route wants DEST/LEN [via GW]: "10.8.0.0/33" is no network
			route ::ffff:10.8.0.0/112 => EINVAL bad control message: route wants DEST/LEN [via GW]:
			route 10.4.0.0/16 via fd00::2 => EINVAL bad control message: route wants DEST/LEN [via GW]: "fd00::2" is not of the family of 10.4.0.0/16
			route 10.4.0.0/16 via me      => EINVAL bad control message: route wants DEST/LEN [via GW]: "me" is no IP address of a router
			route fd04::/64 via fe80::1%lo => EINVAL bad control message: route wants DEST/LEN [via GW]:
			route 10.4.0.0/16 via 0.0.0.0 => EINVAL bad control message: route wants DEST/LEN [via GW]: "0.0.0.0" is no host's address
			noroute everything  => EINVAL bad control message: noroute wants DEST/LEN:`, `flags up`},
		{"bridges", `
			nobridge
			bridge other0
			bridge other0 create
			nobridge
			bridge mine0  => ENODEV there is no bridge mine0: bridge mine0 create makes it
			bridge lo     => EINVAL lo is no bridge, it is of the kind
			bridge lo create    => EINVAL lo is no bridge
			bridge a/b create   => EINVAL bad control message: bridge wants BR [create]: the name has "/" in it
			bridge much-too-long-a-name => EINVAL bad control message: bridge wants BR [create]: the name is longer than 15 bytes
			bridge mine0 create
			bridge mine0 create
			bridge mine0`, `bridge mine0`},
		{"netns", `
			netns 2147483647    => ESRCH there is no such thing as the network namespace of process 2147483647
			netns 99999999999   => ENOENT there is no such thing as the network namespace 99999999999
			netns none-such     => ENOENT there is no such thing as the network namespace none-such
			netns ..            => EINVAL bad control message: netns wants PID|NAME: the name is a directory's name
			netns ../net        => EINVAL bad control message: netns wants PID|NAME: the name has "/" in it
			netns -1            => EINVAL bad control message: netns wants PID|NAME: the name begins as
			` + "netns " + strconv.Itoa(os.Getpid()) + `
			up`, `flags up`},
		{"no IPv6 below 1280", `
			mtu 1279
			add fd00::1/64 => EINVAL`, `mtu 1279`},
		{"mtu", `
			mtu 68
			mtu 65521
			mtu 67    => EINVAL bad control message: mtu wants N: "67" is no number from 68 to 65521
			mtu 65522 => EINVAL bad control message: mtu wants N:
			mtu -1    => EINVAL bad control message: mtu wants N:
			mtu much  => EINVAL bad control message: mtu wants N: "much" is no number from 68 to 65521
			up
			mtu 9000`, `mtu 9000`},
		{"addr", `
			addr 02:00:00:12:34:56
			addr 03:00:00:12:34:56 => EINVAL bad control message: addr wants MAC: "03:00:00:12:34:56" is a multicast address
			addr 00:00:00:00:00:00 => EINVAL bad control message: addr wants MAC:
			addr 02:00:00:12:34    => EINVAL bad control message: addr wants MAC: "02:00:00:12:34" is no MAC address, write it like
			up
			addr 020000123457`, `addr 020000123457`},
		{"name", `
			name mine0
			name mine0
			name other0           => EBUSY device or object already in use: there is an interface other0 already
			name lo               => EBUSY device or object already in use
			name sixteen-bytes-16 => EINVAL bad control message: name wants IFNAME: the name is longer than 15 bytes
			name a/b              => EINVAL bad control message: name wants IFNAME: the name has "/" in it
			name mine%d           => EINVAL bad control message: name wants IFNAME: the name has "%" in it
			name -all             => EINVAL bad control message: name wants IFNAME: the name begins as an option
			name ..               => EINVAL bad control message: name wants IFNAME: the name is a directory's name
			up`, `ifname mine0`},
		{"connect", `
			connect 0x0806
			connect ip => EINVAL bad control message: connect wants TYPE: "ip" is no Ethernet type, write 0 to 65535
			connect -2 => EINVAL bad control message: connect wants TYPE:
			connect 2048`, `type 2048`},
		{"queue", `
			queue 1
			queue 4096
			queue 0    => EINVAL bad control message: queue wants N: "0" is no number from 1 to 4096
			queue 4097 => EINVAL bad control message: queue wants N:
			queue 17`, `queue 17`},
		{"promiscuous", `
			promiscuous on
			promiscuous on`, `promiscuous on`},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := makeInterface(t, 0)
			for line := range strings.Lines(c.script) {
				line, want, fails := strings.Cut(strings.TrimSpace(line), "=>")
				if line == "" {
					continue
				}
				err := send(i, line)
				switch name, text, _ := strings.Cut(strings.TrimSpace(want), " "); {
				case fails:
					wantErrorOf(t, line, err, errnos[name], text)
				case err != nil:
					t.Errorf("%s: %v", line, err)
				}
			}
			status, err := i.statusText()
			if err != nil {
				t.Fatal(err)
			}
			if i.state() == "up" {
				status += "flags up\n"
			}
			for line := range strings.Lines(c.status) {
				if line := strings.TrimSpace(line); !strings.Contains("\n"+status, "\n"+line+"\n") {
					t.Errorf("status lacks %q:\n%s", line, status)
				}
			}
		})
	}
}

func wantErrorOf(t *testing.T, line string, err error, errno linux.Errno, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %v %q", line, errno, text)
		return
	}
	wantError(t, err, errno, text)
}

func TestMessagesWithoutTheCapability(t *testing.T) {
	i := makeInterface(t, 0)
	for _, line := range []string{"up", "down", "mtu 1400", "add 10.9.0.1/24", "addr 02:00:00:00:00:01", "name mine0", "promiscuous on",
		"route 10.8.0.0/16", "noroute 10.8.0.0/16",
		"bridge mine0 create"} {
		lacking(t, func() { wantErrorOf(t, line, send(i, line), linux.EPERM, "cannot ") })
	}
}

func TestNameTakenIsErrInUse(t *testing.T) {
	i := makeInterface(t, 0)
	if err := send(i, "name lo"); !errors.Is(err, p9ext.ErrInUse) {
		t.Errorf("%v", err)
	}
}

func TestEveryMessageIsDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range messages {
		if seen[m.Word+m.Args] {
			t.Errorf("%s is there twice", m.Word)
		}
		seen[m.Word+m.Args] = true
		if m.Help == "" || strings.HasSuffix(m.Help, ".") || m.Do == nil {
			t.Errorf("%s: help %q", m.Word, m.Help)
		}
	}
	for _, f := range files {
		if f.Help == "" || strings.HasSuffix(f.Help, ".") {
			t.Errorf("file %s: help %q", f.Name, f.Help)
		}
	}
}

func TestTextFiles(t *testing.T) {
	i := makeInterface(t, 7)
	mustSend(t, i, "addr 02:00:00:12:34:56", "connect 0x88b5", "up")
	r, w, s := openReader(t, i), openWriter(t, i), openPacketSocket(t, i)
	for n := range 3 {
		s.send(t, frame(100, byte(n)))
		readFrame(t, r)
	}
	for range 2 {
		if _, err := w.PollWrite(frame(60, 1), 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	text := map[string]string{}
	for _, f := range files {
		if f.Text == nil {
			continue
		}
		s, err := f.Text(i)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if !strings.HasSuffix(s, "\n") {
			t.Errorf("%s does not end its last line: %q", f.Name, s)
		}
		text[f.Name] = s
	}
	for name, want := range map[string]string{"addr": "020000123456\n", "ifname": "ethfoo7\n", "type": "34997\n"} {
		if text[name] != want {
			t.Errorf("%s is %q, want %q", name, text[name], want)
		}
	}

	// ether(3)'s lines in their order. IPv6 says a word of its own when a link comes up, so in is 3 at least.
	var got []string
	values := map[string]string{}
	for line := range strings.Lines(text["stats"]) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		got, values[name] = append(got, name), value
	}
	const order = "in,link,out,crc errs,overflows,soft overflows,framing errs,buffer errs,output errs,prom,mbps,addr"
	if strings.Join(got, ",") != order {
		t.Errorf("stats has the lines %v", got)
	}
	var in int
	if fmt.Sscan(values["in"], &in); in < 3 {
		t.Errorf("in: %s", values["in"])
	}
	if values["out"] != "2" || values["link"] != "1" || values["addr"] != "020000123456" || values["prom"] != "0" {
		t.Errorf("stats:\n%s", text["stats"])
	}
	// The kernel's own figures for the other direction.
	if !strings.HasPrefix(text["ifstats"], "rx_packets: 2\ntx_packets: ") || !strings.Contains(text["ifstats"], "\nrx_bytes: 120\n") {
		t.Errorf("ifstats:\n%s", text["ifstats"])
	}
	if sys, err := os.ReadFile("/sys/class/net/ethfoo7/address"); err == nil && string(sys) != "02:00:00:12:34:56\n" {
		t.Errorf("sysfs says %q", sys)
	}
}
