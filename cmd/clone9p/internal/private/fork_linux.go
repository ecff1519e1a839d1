//go:build amd64 || arm64

package private

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// enterCaps are the capabilities of a command that an ordinary user runs in a private network namespace: to configure
// it, to use raw and packet sockets (ping, tcpdump), and to listen on low ports. They count in that namespace only.
var enterCaps = [...]uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}

// The steps of child, for the error of one that failed.
const (
	stepUser = iota
	stepNet
	stepCaps
	stepFile
	stepExec
)

// A plan is all that child needs, in numbers: the child of a fork in a program with threads must not allocate, take a lock or grow its stack,
// since whoever held the runtime's locks does not exist there.
type plan struct {
	userns, netns    uintptr
	files            [3]uintptr // what become standard input, output and error; each above 2, or in its place already
	caps             unix.CapUserHeader
	data             [2]unix.CapUserData
	path, argv, envv uintptr
	mask             uint64  // signals blocked in the program
	report           uintptr // the pipe on which a failure is told
	failure          [2]uint32
	action           [4]uint64 // a kernel's struct sigaction
}

// forkInto starts cmd in a user namespace and its network namespace. The kernel lets only a process of a single thread
// enter a user namespace, which no Go program is; but its child is for a moment, between fork and exec. So this forks
// by hand, with nothing but system calls in between, as package syscall does for os/exec.
func forkInto(cmd *exec.Cmd, pid int, userns, netns *os.File) error {
	path, err := syscall.BytePtrFromString(cmd.Path)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(cmd.Args)
	if err != nil {
		return err
	}
	envv, err := syscall.SlicePtrFromStrings(cmd.Environ())
	if err != nil {
		return err
	}
	p := &plan{
		userns: userns.Fd(),
		netns:  netns.Fd(),
		caps:   unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3},
		path:   uintptr(unsafe.Pointer(path)),
		argv:   uintptr(unsafe.Pointer(&argv[0])),
		envv:   uintptr(unsafe.Pointer(&envv[0])),
	}
	for _, c := range enterCaps {
		p.data[0].Effective |= 1 << c
	}
	p.data[0].Permitted, p.data[0].Inheritable = p.data[0].Effective, p.data[0].Effective
	files, closeFiles, err := stdio(cmd)
	if err != nil {
		return err
	}
	defer closeFiles()
	for i, f := range files {
		p.files[i] = f.Fd()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	p.report = w.Fd()

	child, errno := fork(p)
	w.Close()
	runtime.KeepAlive(path)
	runtime.KeepAlive(argv)
	runtime.KeepAlive(envv)
	runtime.KeepAlive(files)
	if errno != 0 {
		return fmt.Errorf("fork: %w", errno)
	}
	proc, err := os.FindProcess(child)
	if err != nil {
		return err
	}
	// Exec closes the pipe, so this ends in any case.
	var failure [8]byte
	if _, err := io.ReadFull(r, failure[:]); err == nil {
		proc.Wait()
		step, errno := binary.NativeEndian.Uint32(failure[:4]), syscall.Errno(binary.NativeEndian.Uint32(failure[4:]))
		if step == stepExec {
			return &os.PathError{Op: "exec", Path: cmd.Path, Err: errno}
		}
		return cannotEnter(pid, errno)
	}
	cmd.Process = proc // all that cmd.Wait needs
	return nil
}

// stdio returns the files that become the standard input, output and error of cmd, each a descriptor above 2 or in its place already.
func stdio(cmd *exec.Cmd) (files [3]*os.File, closeFiles func(), err error) {
	var opened []*os.File
	closeFiles = func() {
		for _, f := range opened {
			f.Close()
		}
	}
	for i, v := range [3]any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, ok := v.(*os.File)
		switch {
		case v == nil:
			if f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
				opened = append(opened, f)
			}
		case !ok:
			err = errors.New("a command in another user namespace needs files as its standard input and output")
		case f.Fd() < 3 && int(f.Fd()) != i:
			var fd int
			if fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3); err == nil {
				f = os.NewFile(uintptr(fd), f.Name())
				opened = append(opened, f)
			}
		}
		if err != nil {
			closeFiles()
			return files, nil, err
		}
		files[i] = f
	}
	return files, closeFiles, nil
}

// allSignals is the mask that blocks them.
var allSignals = ^uint64(0)

// fork forks; the child carries out p and never returns.
//
//go:norace
//go:nocheckptr
func fork(p *plan) (pid int, errno syscall.Errno) {
	// A thread's signal mask, which the child inherits: a handler of the Go runtime must not run there.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// No other goroutine is between making a descriptor and marking it to be closed at exec.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	return forkChild(p)
}

// forkChild is what of fork may run in the child.
//
//go:norace
//go:nocheckptr
//go:nosplit
//go:noinline
func forkChild(p *plan) (pid int, errno syscall.Errno) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&allSignals)), uintptr(unsafe.Pointer(&p.mask)), 8, 0, 0)
	n, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && n == 0 {
		child(p)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.mask)), 0, 8, 0, 0)
	return int(n), errno
}

// child runs between fork and exec.
//
//go:norace
//go:nocheckptr
//go:nosplit
//go:noinline
func child(p *plan) {
	const sigIgn = 1
	var errno syscall.Errno
	p.failure[0] = stepUser
	if _, _, errno = syscall.RawSyscall(unix.SYS_SETNS, p.userns, unix.CLONE_NEWUSER, 0); errno != 0 {
		goto failed
	}
	p.failure[0] = stepNet
	if _, _, errno = syscall.RawSyscall(unix.SYS_SETNS, p.netns, unix.CLONE_NEWNET, 0); errno != 0 {
		goto failed
	}
	// Whoever enters a user namespace has all capabilities in it until exec; the ambient ones outlive exec.
	p.failure[0] = stepCaps
	if _, _, errno = syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&p.caps)), uintptr(unsafe.Pointer(&p.data)), 0); errno != 0 {
		goto failed
	}
	for i := 0; i < len(enterCaps); i++ {
		if _, _, errno = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, enterCaps[i], 0, 0, 0); errno != 0 {
			goto failed
		}
	}
	p.failure[0] = stepFile
	for i := uintptr(0); i < 3; i++ {
		if p.files[i] == i {
			// In its place, and to stay open.
			_, _, errno = syscall.RawSyscall(unix.SYS_FCNTL, i, unix.F_SETFD, 0)
		} else {
			_, _, errno = syscall.RawSyscall(unix.SYS_DUP3, p.files[i], i, 0)
		}
		if errno != 0 {
			goto failed
		}
	}
	// Handlers become the default before signals are let through; what is ignored stays so.
	for s := uintptr(1); s <= 64; s++ {
		if _, _, errno = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, 0, uintptr(unsafe.Pointer(&p.action)), 8, 0, 0); errno != 0 || p.action[0] == sigIgn {
			continue
		}
		p.action[0], p.action[1], p.action[2], p.action[3] = 0, 0, 0, 0
		syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, uintptr(unsafe.Pointer(&p.action)), 0, 8, 0, 0)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.mask)), 0, 8, 0, 0)
	p.failure[0] = stepExec
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, p.path, p.argv, p.envv)

failed:
	p.failure[1] = uint32(errno)
	syscall.RawSyscall(unix.SYS_WRITE, p.report, uintptr(unsafe.Pointer(&p.failure)), unsafe.Sizeof(p.failure))
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}
