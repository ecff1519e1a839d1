package ethfoo

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// The kernel's table has what was asked for, and nothing of it when the interface is gone.
func TestRoutesAreTheKernels(t *testing.T) {
	needTAP(t)
	routes := func() string {
		t.Helper()
		var b strings.Builder
		list, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			b.WriteString(r.Dst.String())
			if r.Gw != nil {
				b.WriteString(" via " + r.Gw.String())
			}
			b.WriteString("\n")
		}
		return b.String()
	}
	before := routes()
	i, err := testDevice(tunDevice).open(t.Context(), 0, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	mustSend(t, i, "up", "add 10.9.0.1/24", "route 10.8.0.0/16", "route 10.7.0.0/16 via 10.9.0.2", "route 10.6.0.0/16", "noroute 10.6.0.0/16")
	got := routes()
	for _, want := range []string{"10.9.0.0/24\n", "10.8.0.0/16\n", "10.7.0.0/16 via 10.9.0.2\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no route %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "10.6.0.0") {
		t.Errorf("a removed route is in\n%s", got)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if after := routes(); after != before {
		t.Errorf("routes before\n%safter\n%s", before, after)
	}
}
