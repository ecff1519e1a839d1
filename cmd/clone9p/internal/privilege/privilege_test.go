package privilege

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		names string
		want  string
	}{
		{"", "none"},
		{"net_admin", "net_admin"},
		{"sys_admin net_admin chown", "chown net_admin sys_admin"},
		{"checkpoint_restore", "checkpoint_restore"},
		{"all net_admin", "all"},
	} {
		s, err := Of(strings.Fields(tt.names)...)
		if err != nil || s.String() != tt.want {
			t.Errorf("%q is %v, %v, want %s", tt.names, s, err, tt.want)
		}
	}
	if s, err := Of("net_admin", "cap_net_admin"); err == nil {
		t.Errorf("cap_net_admin is taken for %v", s)
	}
	if got := (Set(1)<<12 | Set(1)<<60).String(); got != "net_admin 60" {
		t.Errorf("a capability without a name is shown as %q", got)
	}
	if !Set(1<<12).Has(12) || Set(1<<12).Has(13) {
		t.Error("Has is wrong")
	}
}

// What is held is what the kernel says of this process.
func TestHeld(t *testing.T) {
	held, err := Held()
	if runtime.GOOS != "linux" {
		if !errors.Is(err, ErrUnsupported) || Droppable() {
			t.Errorf("Held: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("CapEff:\t%016x\n", uint64(held)); !strings.Contains(string(b), want) {
		t.Errorf("held is %v (%d of them), and %s is not in\n%s", held, bits.OnesCount64(uint64(held)), want, b)
	}
	if os.Getuid() != 0 && Droppable() {
		t.Error("somebody else than root would drop capabilities")
	}
}
