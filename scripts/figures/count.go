package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	allocsDoc   = "allocations a Tgetattr and a Tread of 4 KiB, 32 deep"
	syscallsDoc = "system calls of the server a Tgetattr, one at a time (needs perf and the right to use it)"
)

// allocs counts the allocations of our server, which runs in this process for that; the load allocates nothing.
func (b *bench) allocs() error {
	socket := filepath.Join(b.dir, "allocs.sock")
	srv, l, err := newOurs(socket)
	if err != nil {
		return err
	}
	go srv.Serve(l) // ends with Shutdown
	defer srv.Shutdown(context.Background())
	for _, m := range []struct {
		name string
		load load
	}{{"Tgetattr", stat(32)}, {"Tread", read(32, 4096)}} {
		c, err := dial(socket, "", dataPath, m.load)
		if err != nil {
			return err
		}
		if _, err := c.run(b.time / 5); err != nil {
			return err
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ops, err := c.run(b.time)
		runtime.ReadMemStats(&after)
		c.conn.Close()
		if err != nil {
			return err
		}
		// The runtime and the server's watchdog allocate a little now and then; what a message costs shows in whole numbers.
		a := float64(after.Mallocs-before.Mallocs) / float64(ops)
		b.count("allocs "+m.name, a, 0, 0.01)
	}
	return nil
}

// maxSyscalls is the aim: a read and a write, and now and then a look for what else there is to do.
const maxSyscalls = 2.2

// syscalls counts the system calls of our server and of the echo with perf.
func (b *bench) syscalls() error {
	perf, err := exec.LookPath("perf")
	if err != nil {
		fmt.Fprintln(b.out, "perf is NOT INSTALLED: syscalls is SKIPPED")
		return nil
	}
	f := &figures[0]
	for _, name := range []string{ours, "echo"} {
		t, err := b.team(f, name)
		if err != nil {
			return err
		}
		defer t.stop()
		var errs bytes.Buffer
		cmd := exec.Command(perf, "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", strconv.Itoa(t.server.cmd.Process.Pid),
			"--", "sleep", strconv.FormatFloat((b.time/2).Seconds(), 'f', 3, 64))
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			return err
		}
		counted := make(chan error, 1)
		go func() { counted <- cmd.Wait() }() // ends with perf
		// The load goes on in short runs while perf looks on; the rate tells how many messages fell into its time.
		ops, begin := 0, time.Now()
		for done := false; !done; {
			n, err := t.clients[0].run(10 * time.Millisecond)
			if err != nil {
				return err
			}
			ops += n
			select {
			case err = <-counted:
				done = true
			default:
			}
			if err != nil {
				fmt.Fprintf(b.out, "perf CANNOT COUNT (%s): syscalls is SKIPPED\n", strings.TrimSpace(errs.String()))
				return nil
			}
		}
		calls, took, err := parsePerf(errs.String())
		if err != nil {
			return err
		}
		rate := float64(ops) / time.Since(begin).Seconds()
		bound := 0.0
		if name == ours {
			bound = maxSyscalls
		}
		b.count("syscalls "+name, calls/(rate*took.Seconds()), bound, bound)
	}
	return nil
}

// parsePerf reads the line of `perf stat -x,`: count, unit, event, nanoseconds that it counted, and more.
func parsePerf(s string) (count float64, took time.Duration, err error) {
	for line := range strings.SplitSeq(s, "\n") {
		f := strings.Split(line, ",")
		if len(f) < 4 || !strings.Contains(line, "sys_enter") {
			continue
		}
		if count, err = strconv.ParseFloat(f[0], 64); err != nil {
			return 0, 0, err
		}
		ns, err := strconv.ParseInt(f[3], 10, 64)
		return count, time.Duration(ns), err
	}
	return 0, 0, fmt.Errorf("perf counted nothing: %q", s)
}

// count prints a line of something that is counted for a message. aim is what is printed as such, bound what is still taken for it.
func (b *bench) count(name string, n, aim, bound float64) {
	verdict := "met"
	if n > bound {
		verdict = "MISSED"
		b.missed++
	}
	want := fmt.Sprintf("<= %.1f", aim)
	if name == "syscalls echo" {
		want, verdict = "-", ""
	}
	fmt.Fprintf(b.out, "%-21s %12.2f  %-5s %12s  %7s  %-8s %s\n", name, n, "-", "-", "-", want, verdict)
}
