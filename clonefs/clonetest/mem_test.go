package clonetest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
)

func TestMem(t *testing.T) {
	var devices []*MemDevice
	Run(t, func(*testing.T) clonefs.Driver {
		m := Mem(MemOptions{})
		devices = append(devices, m)
		return m
	}, Options{Convs: 64})
	for _, m := range devices {
		if m.Live() != 0 || m.Clones() != m.Closes() {
			t.Errorf("%d conversations are live; %d were made, %d closed", m.Live(), m.Clones(), m.Closes())
		}
	}
}

// faultVar names the fault that TestFault has, in a process of its own.
const faultVar = "CLONETEST_FAULT"

// faults are drivers with one fault each, and the check that finds it.
var faults = map[string]struct {
	check, says string
	make        func() clonefs.Driver
}{
	"no help": {"tables", "help of message busy", func() clonefs.Driver {
		m := Mem(MemOptions{})
		for i := range m.Ctl {
			if m.Ctl[i].Word == "busy" {
				m.Ctl[i].Help = ""
			}
		}
		return m
	}},
	"leaks a goroutine": {"drop once", "found unexpected goroutines", func() clonefs.Driver {
		return Mem(MemOptions{OnClone: func(context.Context, int) error { go func() { select {} }(); return nil }})
	}},
	"leaks a descriptor": {"drop once", "descriptors are open", func() clonefs.Driver {
		return Mem(MemOptions{OnClone: func(context.Context, int) error { leaked, _ = os.Open(os.DevNull); return nil }})
	}},
	"never closes": {"persist", "drivers have not closed", func() clonefs.Driver {
		first := true
		return Mem(MemOptions{OnClose: func(int) error {
			if !first {
				select {}
			}
			first = false
			return nil
		}})
	}},
	"wakes nobody at the end": {"hangup", "a blocked read of rx", func() clonefs.Driver {
		m := Mem(MemOptions{})
		for i := range m.Files {
			if m.Files[i].Name == "data" {
				m.Files[i].Duplex = func(*MemConv, context.Context, clonefs.Mode) (clonefs.Stream, error) {
					return deaf{clonefs.NewQueue(1)}, nil
				}
			}
		}
		return m
	}},
	"shouts": {"junk messages", "want an errno and a text", func() clonefs.Driver {
		m := Mem(MemOptions{})
		for i := range m.Ctl {
			if m.Ctl[i].Word == "busy" {
				m.Ctl[i].Do = func(*MemConv, context.Context, []string) error { return new(silent) }
			}
		}
		return m
	}},
}

var leaked *os.File

// A deaf stream's Close does nothing.
type deaf struct{ *clonefs.Queue }

func (deaf) Close() error { return nil }

// A silent error has no text.
type silent struct{}

func (*silent) Error() string { return "" }

// TestRunFindsFaults runs the suite over faulty drivers, each in a process of its own, and wants it to fail.
func TestRunFindsFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFault$/^"+strings.ReplaceAll(fault.check, " ", "_")+"$")
			cmd.Env = append(os.Environ(), faultVar+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), fault.says) {
				t.Errorf("the suite says %v, want it to find %q:\n%s", err, fault.says, out)
			}
		})
	}
}

// TestFault is run by TestRunFindsFaults.
func TestFault(t *testing.T) {
	fault, ok := faults[os.Getenv(faultVar)]
	if !ok {
		t.Skip("run by TestRunFindsFaults")
	}
	patience /= 30
	Run(t, func(*testing.T) clonefs.Driver { return fault.make() }, Options{})
}
