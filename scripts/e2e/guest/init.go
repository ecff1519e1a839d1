//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
	"golang.org/x/sys/unix"
)

// initMain is process 1: it never returns, since a kernel without a process 1 panics. A panic is how it gives up: the
// kernel is told to reboot on one, QEMU to exit on a reboot, and the console has the reason.
func initMain() {
	if err := prepare(); err != nil {
		fatal(err)
	}
	port, err := openPort("/dev/ttyS1")
	if err != nil {
		fatal(err)
	}
	fatal(attend(port))
}

// hereMain carries out cases on the host, as the first process of namespaces of processes and mounts of its own. Descriptor 3 leads to the test.
func hereMain() {
	port := os.NewFile(3, "port")
	unix.CloseOnExec(3)
	err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", 0, "")
	}
	if err == nil {
		err = attend(port)
	}
	if err != io.EOF { // the test has no more cases
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// attend carries out the cases that the host asks for at port.
func attend(port *os.File) error {
	conn := talk.New(port)
	if err := conn.Send(talk.Ready, release(), nil, ""); err != nil {
		return err
	}
	for {
		m, err := conn.Recv()
		if err != nil {
			return err
		}
		if m.Kind != talk.Run {
			return fmt.Errorf("host sent %q, want a case to run", m.Kind)
		}
		var setup talk.Setup
		if err := json.Unmarshal(m.Body, &setup); err != nil {
			return err
		}
		fmt.Printf("guest: === %s %s msize %d\n", m.Name, setup.Dialect, setup.Msize)
		begin := time.Now()
		res := runCase(m.Name, m.Body, setup, port)
		res.Ms = time.Since(begin).Milliseconds()
		brief := res
		brief.Log = nil                // the host shows it
		line, _ := json.Marshal(brief) // strings and numbers only
		fmt.Printf("%s\n", line)
		_ = unix.IoctlSetInt(1, unix.TCSBRK, 1) // tcdrain(3): the console is ahead of the port, for who shows its tail
		if err := conn.Send(talk.Done, m.Name, res, ""); err != nil {
			return err
		}
	}
}

// fatal says why on the console and brings the machine down.
func fatal(err error) {
	fmt.Printf("guest: giving up: %v\n", err)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	os.Exit(1)
}

// prepare makes the machine fit for cases: file systems, modules, network, the shell's commands.
func prepare() error {
	for _, m := range []struct{ fs, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"devpts", "/dev/pts"}, {"tmpfs", "/tmp"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	_ = os.Chmod("/tmp", 0o1777)
	if err := os.Symlink("/proc/self/fd", "/dev/fd"); err != nil {
		return err
	}
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		if err := loadModule(filepath.Join("/modules", name)); err != nil {
			return err
		}
	}
	// 10.0.2.15 is the address that QEMU's user network expects its guest at.
	for _, line := range []string{
		"--install -s /bin",
		"ip link set lo up",
		"ip addr add 10.0.2.15/24 dev eth0",
		"ip link set eth0 up",
	} {
		cmd := exec.Command("/bin/busybox", strings.Fields(line)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("busybox %s: %w: %s", line, err, out)
		}
	}
	return os.Setenv("PATH", "/bin")
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// openPort opens a serial port as a plain channel of bytes.
func openPort(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	// 115200 is the port's fastest; QEMU does not slow down to it, but derives the pause after which a few bytes count as all there are.
	tio := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200, Ispeed: unix.B115200, Ospeed: unix.B115200}
	tio.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &tio); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// runCase carries out one case in a process of its own and waits for its end, or its time to be over. The process
// talks to the host through port, as descriptor 3, and writes its result to descriptor 4.
func runCase(name string, body []byte, setup talk.Setup, port *os.File) talk.Result {
	broken := func(format string, args ...any) talk.Result {
		return talk.Result{Case: name, Fails: []string{fmt.Sprintf(format, args...)}}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return broken("pipe: %v", err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", "case", name, string(body))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{port, w}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return broken("start: %v", err)
	}
	pid := cmd.Process.Pid
	// Whatever the case left running goes with it.
	defer func() { _ = unix.Kill(-pid, unix.SIGKILL) }()

	result := make(chan []byte, 1)
	go func() { // ends when the process has no more to say, or with the pipe's reading end
		b, _ := io.ReadAll(r)
		result <- b
	}()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // ends when the process does; one that cannot be killed spoils the guest, which the host then ends

	var res talk.Result
	hung := func(what string) talk.Result {
		res.OK, res.Hung = false, true
		res.Fails = append(res.Fails, what)
		where := stacks(pid)
		res.Log = append(res.Log, where...)
		fmt.Printf("guest: %s: %s\n%s\n", name, what, strings.Join(where, "\n"))
		// What the tasks that cannot be woken wait for, in the kernel's own words.
		if !setup.FUSE {
			_ = os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0)
		}
		_ = unix.Kill(-pid, unix.SIGKILL)
		select {
		case <-exited:
		case <-time.After(2 * time.Second):
			res.Fails = append(res.Fails, "a process of the case cannot be killed")
		}
		return res
	}
	select {
	case b := <-result:
		if json.Unmarshal(b, &res) != nil {
			res = broken("the case's process ended without a result")
		}
	case <-time.After(setup.Timeout):
		res = broken("not done")
		return hung(fmt.Sprintf("time is over: %v", setup.Timeout))
	}
	select {
	case err := <-exited:
		if err != nil {
			res.OK = false
			res.Fails = append(res.Fails, fmt.Sprintf("the case's process: %v", err))
		}
	case <-time.After(5 * time.Second):
		return hung("the case is done, but its process does not end")
	}
	return res
}

// stacks says where each thread of the process group of leader is, in the kernel.
func stacks(leader int) []string {
	var out []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	sort.Strings(procs)
	for _, proc := range procs {
		var pid int
		fmt.Sscanf(filepath.Base(proc), "%d", &pid)
		if group, err := unix.Getpgid(pid); err != nil || group != leader {
			continue
		}
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		tasks, _ := filepath.Glob(proc + "/task/*")
		for _, task := range tasks {
			stack, _ := os.ReadFile(task + "/stack")
			if bytes.Contains(stack, []byte("futex")) || len(stack) == 0 {
				continue // idle threads of Go's scheduler
			}
			calls := strings.Fields(strings.ReplaceAll(string(stack), "[<0>]", ""))
			program := strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")
			out = append(out, fmt.Sprintf("%s (%s): %s", task, program, strings.Join(calls, " < ")))
		}
	}
	return out
}
