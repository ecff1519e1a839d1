package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
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

// maxSyscalls is the aim: a read and a write, and now and then a look for what else there is to do. A server that waits in the runtime's poller, as one for many
// thousand connections has to, misses it: it reads once more in vain and then polls.
const maxSyscalls = 2.2

// syscalls counts the system calls of our server and of the echo with perf.
func (b *bench) syscalls() error {
	if _, err := exec.LookPath("perf"); err != nil {
		fmt.Fprintln(b.out, "perf is NOT INSTALLED: syscalls is SKIPPED")
		return nil
	}
	for _, name := range []string{ours, "echo"} {
		n, err := b.syscallsOf(name)
		if err != nil {
			fmt.Fprintf(b.out, "perf CANNOT COUNT (%v): syscalls is SKIPPED\n", err)
			return nil
		}
		bound := maxSyscalls
		if name != ours {
			bound = 0
		}
		b.count("syscalls "+name, n, bound, bound)
	}
	return nil
}

// syscallsOf returns how many system calls the server called name makes for a Tgetattr.
func (b *bench) syscallsOf(name string) (float64, error) {
	t, err := b.team(&figures[0], name)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	p, err := startPerf(t.server.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	ops := 0
	err = p.tell("enable")
	if err == nil {
		ops, err = t.clients[0].run(b.time)
	}
	if err == nil {
		err = p.tell("disable")
	}
	calls, perr := p.stop()
	return calls / float64(ops), errors.Join(err, perr)
}

// A perfStat is a perf that counts the system calls of a process, when it is told to.
type perfStat struct {
	cmd      *exec.Cmd
	errs     bytes.Buffer
	ctl, ack *os.File
}

// startPerf starts perf for the process pid.
func startPerf(pid int) (*perfStat, error) {
	theirCtl, ctl, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirCtl.Close()
	ack, theirAck, err := os.Pipe()
	if err != nil {
		ctl.Close()
		return nil, err
	}
	defer theirAck.Close()
	p := &perfStat{ctl: ctl, ack: ack}
	p.cmd = exec.Command("perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-D", "-1", "--control", "fd:3,4", "-p", strconv.Itoa(pid))
	p.cmd.ExtraFiles = []*os.File{theirCtl, theirAck} // from 3 on
	p.cmd.Stderr = &p.errs
	if err := p.cmd.Start(); err != nil {
		ctl.Close()
		ack.Close()
		return nil, err
	}
	return p, nil
}

// tell gives perf a command and waits until it has carried that out.
func (p *perfStat) tell(command string) error {
	if _, err := fmt.Fprintln(p.ctl, command); err != nil {
		return err
	}
	var b [16]byte
	_, err := p.ack.Read(b[:])
	return err
}

// stop ends perf and returns what it counted.
func (p *perfStat) stop() (float64, error) {
	p.cmd.Process.Signal(os.Interrupt) // perf prints and dies of it
	p.cmd.Wait()
	p.ctl.Close()
	p.ack.Close()
	return parsePerf(p.errs.String())
}

// parsePerf reads what `perf stat -x,` prints: a line of the count, its unit, the event and more.
func parsePerf(s string) (float64, error) {
	for line := range strings.SplitSeq(s, "\n") {
		if f := strings.Split(line, ","); len(f) > 2 && strings.HasPrefix(f[2], "raw_syscalls:sys_enter") {
			return strconv.ParseFloat(f[0], 64)
		}
	}
	return 0, fmt.Errorf("perf counted nothing: %q", s)
}

// count prints a line of something that is counted for a message. aim is what is printed as such, bound what is still taken for it; a bound of 0 is none.
func (b *bench) count(name string, n, aim, bound float64) {
	want, verdict := "-", ""
	if bound > 0 {
		want, verdict = fmt.Sprintf("<= %.1f", aim), "met"
		if n > bound {
			verdict = "MISSED"
			b.missed++
		}
	}
	fmt.Fprintf(b.out, "%-21s %12.2f  %-5s %12s  %7s  %-8s %s\n", name, n, "-", "-", "-", want, verdict)
}
