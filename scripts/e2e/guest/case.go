//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/plan"
	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
	"golang.org/x/sys/unix"
)

// soon is how long something may take that waits for nobody. An emulated machine with two busy processors is slow; what
// hangs, hangs for ever.
const soon = 10 * time.Second

// A T is one run of a case: what it works on and what it found. Its methods are for the case's own goroutine, but for Errorf and Logf.
type T struct {
	name  string
	setup talk.Setup
	host  *talk.Conn

	cleanups []func()
	mounts   int

	mu    sync.Mutex // guards what follows
	fails []string
	log   []string
}

// cases has a function for each of plan.Cases; the files cases_*.go fill it.
var cases = map[string]func(*T){}

// caseMain carries out one case: arguments are its name and its talk.Setup, descriptor 3 leads to the host, 4 takes the result.
func caseMain(args []string) {
	port, result := os.NewFile(3, "port"), os.NewFile(4, "result")
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	t := &T{name: args[0], host: talk.New(port)}
	if err := json.Unmarshal([]byte(args[1]), &t.setup); err != nil {
		panic(err)
	}
	t.run()
	res := talk.Result{Case: t.name, OK: len(t.fails) == 0, Fails: t.fails, Log: t.log}
	if err := json.NewEncoder(result).Encode(res); err != nil {
		panic(err)
	}
	result.Close() // process 1 need not wait for our end to know the result; it may not come
	os.Exit(0)
}

// run calls the case's function and then what Cleanup was given. A panic is a failure.
func (t *T) run() {
	protect := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			f()
		}()
		<-done
	}
	f := cases[t.name]
	if f == nil {
		t.Errorf("the guest knows no case of that name")
		return
	}
	protect(func() { f(t) })
	for len(t.cleanups) > 0 {
		last := t.cleanups[len(t.cleanups)-1]
		t.cleanups = t.cleanups[:len(t.cleanups)-1]
		protect(last)
	}
}

// Errorf records a failure. It may be called from any goroutine.
func (t *T) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fails = append(t.fails, fmt.Sprintf(format, args...))
}

// Fatalf records a failure and ends the case; cleanups still run.
func (t *T) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// Logf records a line that is shown when the case fails. It may be called from any goroutine.
func (t *T) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = append(t.log, fmt.Sprintf(format, args...))
}

// Cleanup has f called when the case has ended, last first.
func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

// call has the host do something; reply, unless nil, receives its answer.
func (t *T) call(name string, args, reply any) {
	if err := t.host.Send(talk.Call, name, args, ""); err != nil {
		t.Fatalf("%v", err)
	}
	m, err := t.host.Recv()
	if err != nil {
		t.Fatalf("waiting for the host's %s: %v", name, err)
	}
	if m.Err != "" {
		t.Fatalf("host: %s: %s", name, m.Err)
	}
	if reply != nil {
		if err := json.Unmarshal(m.Body, reply); err != nil {
			t.Fatalf("host: %s: %v", name, err)
		}
	}
}

// within runs f and fails the case when it is not done in time; f then goes on by itself, and the case's process may not end.
func (t *T) within(d time.Duration, what string, f func()) {
	done := make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		if took := time.Since(begin); took > d/4 {
			t.Logf("%s took %v", what, took.Round(time.Millisecond))
		}
	case <-time.After(d):
		t.Fatalf("%s: not done after %v", what, d)
	}
}

// until polls cond, for what nobody announces, and fails the case when it does not hold in time.
func (t *T) until(d time.Duration, what string, cond func() bool) {
	for end := time.Now().Add(d); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not so after %v", what, d)
		}
	}
}

// dialect reports whether the case runs in one of these dialects.
func (t *T) dialect(names ...string) bool {
	for _, n := range names {
		if n == t.setup.Dialect {
			return true
		}
	}
	return false
}

// options are the mount options under test, without trans: what the README recommends to users.
func (t *T) options(extra ...string) string {
	access, aname := "user", "/"
	if t.setup.Identity == "nobody" {
		access = "any" // all share one identity: an attach a user would be for nothing
	}
	if t.dialect(plan.Plain) {
		access, aname = "any", "/?records=on" // the dialect knows one user a mount, and the server expects no Linux behind it
	}
	opts := []string{
		"version=" + strings.Replace(t.setup.Dialect, "P", "p", 1), "cache=none", "noxattr", "access=" + access,
		fmt.Sprintf("msize=%d", t.setup.Msize), "aname=" + aname,
	}
	if t.setup.Identity == "trust" {
		opts = append(opts, "uname=root")
	}
	// A later option wins over an earlier one.
	return strings.Join(append(opts, extra...), ",")
}

// tryMount mounts the server of the case at a new directory. Options in extra override the usual ones.
func (t *T) tryMount(port int, extra ...string) (string, error) {
	t.mounts++
	dir := fmt.Sprintf("%s/%s.%d", t.base(), t.name, t.mounts)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if t.setup.FUSE {
		if err := t.mountFUSE(fmt.Sprintf("tcp!127.0.0.1!%d", port), dir, extra...); err != nil {
			os.Remove(dir)
			return "", err
		}
		return dir, nil
	}
	opts := fmt.Sprintf("trans=tcp,port=%d,%s", port, t.options(extra...))
	if err := unix.Mount("10.0.2.2", dir, "9p", 0, opts); err != nil {
		os.Remove(dir)
		return "", &os.PathError{Op: "mount -t 9p -o " + opts, Path: dir, Err: err}
	}
	return dir, nil
}

// base is the directory in which mounts are made.
func (t *T) base() string {
	if t.setup.Dir != "" {
		return t.setup.Dir
	}
	return "/n"
}

// mountFUSE mounts with the program under test. Of the kernel's options it knows those that say what is attached and as whom.
func (t *T) mountFUSE(addr, dir string, options ...string) error {
	access := "user"
	if t.setup.Identity == "nobody" {
		access = "any"
	}
	argv := []string{"mount", "--fuse"}
	for _, o := range options {
		switch name, value, _ := strings.Cut(o, "="); name {
		case "aname":
			argv = append(argv, "--aname", value)
		case "access":
			access = value
		default:
			return fmt.Errorf("no option %s for a mount by FUSE", o)
		}
	}
	cmd := exec.Command("clone9p", append(argv, "--access", access, addr, dir)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
	return nil
}

// mount mounts the server of the case at a new directory and has it unmounted at the end, which must succeed: whatever was open has been closed.
func (t *T) mount(extra ...string) string {
	var dir string
	var err error
	t.within(soon, "mount", func() { dir, err = t.tryMount(t.setup.Port, extra...) })
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { t.unmount(dir) })
	return dir
}

// unmount unmounts dir, or fails and then detaches it.
func (t *T) unmount(dir string) {
	var err error
	t.within(soon, "umount", func() {
		// Processes that were killed a moment ago may still be closing their files.
		for end := time.Now().Add(soon / 2); ; time.Sleep(10 * time.Millisecond) {
			err = unix.Unmount(dir, 0)
			if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
				return
			}
		}
	})
	if err != nil {
		t.Errorf("umount %s: %v", dir, err)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		return
	}
	os.Remove(dir)
}

// start starts a command in dir, to be killed at the latest when the case ends.
func (t *T) start(cmd *exec.Cmd) *exec.Cmd {
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			t.within(soon, fmt.Sprintf("the end of %v, killed", cmd), func() { _ = cmd.Wait() })
		}
	})
	return cmd
}

// sh runs a script of the shell in dir and returns what it printed, on both outputs, and how it ended.
func (t *T) sh(dir, script string) (string, error) {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = dir
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	t.start(cmd)
	var err error
	t.within(soon, fmt.Sprintf("sh -c %q", script), func() { err = cmd.Wait() })
	return out.String(), err
}

// mustSh is sh for scripts that must succeed; it returns their output without the last newline.
func (t *T) mustSh(dir, script string) string {
	out, err := t.sh(dir, script)
	if err != nil {
		t.Fatalf("sh -c %q: %v\n%s", script, err, out)
	}
	return strings.TrimSuffix(out, "\n")
}

// waitReading waits until n threads of the process pid wait for the file at path in read(2), pread(2) or sendfile(2).
func (t *T) waitReading(pid int, path string, n int) {
	t.until(soon, fmt.Sprintf("%d threads of process %d wait to read %s", n, pid, path), func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		reading := 0
		for _, task := range tasks {
			if readingTask(task, path) {
				reading++
			}
		}
		return reading >= n
	})
}

// readingTask reports whether a thread is reading path; task is its directory under /proc.
func readingTask(task, path string) bool {
	// proc(5): number and arguments, in hexadecimal, of the system call it is in; "running" when it is in none.
	b, _ := os.ReadFile(task + "/syscall")
	var nr int
	var arg [2]uint64
	if n, _ := fmt.Sscanf(string(b), "%d 0x%x 0x%x", &nr, &arg[0], &arg[1]); n != 3 {
		return false
	}
	fd := arg[0]
	switch nr {
	case unix.SYS_READ, unix.SYS_PREAD64:
	case unix.SYS_SENDFILE: // busybox's cat
		fd = arg[1]
	default:
		return false
	}
	got, _ := os.Readlink(fmt.Sprintf("%s/fd/%d", task, fd))
	return got == path
}
