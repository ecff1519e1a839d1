package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test program play the servers that the load starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// The echo must answer as many bytes as a real server does: else it would be no yardstick.
func TestEchoAnswersAsMuch(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		load load
		size int
	}{
		{"stat", stat(1), headerSize + attrSize},
		{"read", read(1, 4096), dataHeader + 4096},
		{"large read", read(1, largest), dataHeader + largest},
		{"open", open(1, dataPath), 0},
	} {
		for _, server := range []string{"echo", "p9", ours, "diod"} {
			t.Run(tt.name+" of "+server, func(t *testing.T) {
				if server == "diod" && tt.size > 64<<10 {
					t.Skip("diod agrees on smaller messages only")
				}
				p, err := start(server, dir)
				if errors.Is(err, errNotInstalled) {
					t.Skip(server, err)
				}
				if err != nil {
					t.Fatal(err)
				}
				defer p.stop()
				c, err := dial(p.socket, p.aname, dataPath, tt.load)
				if err != nil {
					t.Fatal(err)
				}
				defer c.conn.Close()
				c.exact = tt.size
				ops, err := c.run(time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				if ops == 0 {
					t.Error("nothing was done")
				}
			})
		}
	}
}

func TestBenchPrintsALineForEachAim(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("CPU times are read from /proc")
	}
	var out, errs bytes.Buffer
	if code := run([]string{"-rounds", "1", "-time", "5ms", "stat-32", "allocs"}, &out, &errs); code != 0 {
		t.Fatalf("exit %d\n%s", code, &errs)
	}
	f := &figures[1]
	for _, a := range f.aims {
		if !strings.Contains(out.String(), a.other+" is NOT INSTALLED") && !strings.Contains(out.String(), a.other+" ") {
			t.Errorf("no line for %s", a.other)
		}
	}
	if strings.Count(out.String(), "allocs ") != 2 {
		t.Errorf("no lines for allocations:\n%s", &out)
	}
}

func TestBenchRefusesUnknownFigures(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"nonsense"}, &out, &errs); code != 2 || !strings.Contains(errs.String(), "stat-32x4") {
		t.Errorf("exit %d\n%s", code, &errs)
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		v    []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
	} {
		if got := median(tt.v); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.v, got, tt.want)
		}
	}
}

func TestParsePerf(t *testing.T) {
	n, err := parsePerf("Events disabled\n4082,,raw_syscalls:sys_enter,250000000,100.00,,\n")
	if n != 4082 || err != nil {
		t.Errorf("%v calls, %v", n, err)
	}
	for _, s := range []string{"nothing", "<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"} {
		if _, err := parsePerf(s); err == nil {
			t.Errorf("no error for %q", s)
		}
	}
}

// A server that does not start says why.
func TestStartTellsWhatTheServerSaid(t *testing.T) {
	_, err := start(ours, filepath.Join(t.TempDir(), "missing"))
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("start: %v", err)
	}
}
