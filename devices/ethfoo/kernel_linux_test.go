package ethfoo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/vishvananda/netlink"
)

// A list that changes while the kernel sends it is asked for again, and not for ever.
func TestInterruptedDumpsAreRepeated(t *testing.T) {
	interrupted := fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
	for _, c := range []struct {
		name  string
		fails int // tries that are interrupted before one is not
		err   error
		asked int
	}{
		{"at once", 0, nil, 1},
		{"the third time", 2, nil, 3},
		{"never whole", 100, nil, dumpTries},
		{"another error", 1, linux.EPERM, 2},
	} {
		asked := 0
		list, err := dump(func() ([]int, error) {
			asked++
			if asked <= c.fails {
				return []int{asked}, interrupted
			}
			return []int{asked}, c.err
		})
		if asked != c.asked || !errors.Is(err, c.err) || len(list) != 1 || list[0] != asked {
			t.Errorf("%s: asked %d times, got %v, %v; want %d times, %v", c.name, asked, list, err, c.asked, c.err)
		}
	}
}

// ifstats says what ip(8) says.
func TestIfstatsAgreesWithIP(t *testing.T) {
	i := makeInterface(t, 7)
	mustSend(t, i, "connect 0x88b5", "add 10.9.0.1/24", "up")
	r, w, s := openReader(t, i), openWriter(t, i), openPacketSocket(t, i)
	for n := range 20 {
		s.send(t, frame(100+n, byte(n)))
		readFrame(t, r)
		if _, err := w.PollWrite(frame(60+n, 1), 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	mustSend(t, i, "down") // nothing is counted while we compare
	out, err := exec.Command("ip", "-s", "-s", "-j", "link", "show", "dev", i.lastName()).Output()
	if err != nil {
		t.Fatal(err)
	}
	var links []struct {
		Stats map[string]map[string]uint64 `json:"stats64"`
	}
	if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	text, err := i.ifstatsText()
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]uint64{}
	for line := range strings.Lines(text) {
		var name string
		var n uint64
		if _, err := fmt.Sscanf(line, "%s %d\n", &name, &n); err != nil || !strings.HasSuffix(name, ":") {
			t.Fatalf("line %q: %v", line, err)
		}
		ours[strings.TrimSuffix(name, ":")] = n
	}
	// ip's names without rx and tx, and where they are called otherwise.
	called := map[string]string{
		"rx_multicast": "multicast", "tx_collisions": "collisions", "tx_carrier_errors": "tx_carrier_errors",
		"rx_length_errors": "rx_length_errors", "tx_carrier_changes": "", "rx_nohandler": "",
	}
	compared := 0
	for dir, stats := range links[0].Stats {
		for name, theirs := range stats {
			name = dir + "_" + name
			if other, ok := called[name]; ok {
				name = other
			}
			if name == "" {
				continue // no field of rtnl_link_stats64 that ifstats promises
			}
			mine, ok := ours[name]
			if !ok {
				t.Errorf("ip has %s (%d), ifstats has not", name, theirs)
			}
			if mine != theirs {
				t.Errorf("%s is %d, ip says %d", name, mine, theirs)
			}
			compared++
		}
	}
	if compared < 12 || ours["rx_packets"] != 20 || ours["tx_packets"] < 20 {
		t.Errorf("compared %d counters:\n%s\n%s", compared, text, out)
	}
}

// Every control message, with nothing behind it, with too much and with garbage: one sentence each, and the conversation goes on.
func TestEveryMessageRefusesGarbage(t *testing.T) {
	alice := tree(t)
	info, err := clonefs.Describe(newDevice(t, DefaultConfig()))
	if err != nil {
		t.Fatal(err)
	}
	ctl := alice.MustOpen("/ethfoo/clone", p9.ReadWrite)
	number, err := ctl.Number()
	if err != nil {
		t.Fatal(err)
	}
	garbage := []string{"-1", "0", "4294967296", "9223372036854775808", "\xff\xfe", "'a b'", strings.Repeat("x", 70000), "/", "..", "%d", "''"}
	variadic := map[string]bool{"label": true}
	for _, m := range info.Messages {
		if m.Word == "hangup" {
			continue
		}
		required := m.Args != "" && !strings.HasPrefix(m.Args, "[")
		refused := func(line string) {
			t.Helper()
			err := ctl.Say(line)
			if err == nil {
				t.Errorf("%.60q is taken", line)
				return
			}
			if !strings.HasPrefix(err.Error(), "bad control message: "+m.Word+" wants ") || strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Errorf("%.60q: %v", line, err)
			}
			if !errors.Is(err, linux.EINVAL) {
				t.Errorf("%.60q: %v is not EINVAL", line, err)
			}
		}
		if required && !variadic[m.Word] {
			refused(m.Word)
		}
		if !variadic[m.Word] {
			refused(m.Word + " a b c d e f")
		}
		for _, g := range garbage {
			if err := ctl.Say(m.Word + " " + g); err != nil && (strings.Contains(err.Error(), "\n") || err.Error() == "") {
				t.Errorf("%s %.20q: %q", m.Word, g, err)
			}
		}
		if status, err := alice.ReadFile("/ethfoo/" + number + "/status"); err != nil {
			t.Fatalf("after %s: %v\n%s", m.Word, err, status)
		}
	}
	mustSay(t, ctl, "up")
}
