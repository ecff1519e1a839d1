package private

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// MayAdminister returns nil when this process may administer the network namespace it is in, and otherwise an error that says why not.
func MayAdminister() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("cannot read own capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return errors.New("CAP_NET_ADMIN is missing")
	}
	// The capability counts in the user namespace that owns the network namespace. The kernel refuses to show an owner above one's own.
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer ns.Close()
	owner, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	switch {
	case errors.Is(err, unix.EPERM):
		return errors.New("CAP_NET_ADMIN is held in another user namespace than the network's")
	case err != nil:
		return nil // a kernel before 4.9: the capability has to do
	}
	unix.Close(owner)
	return nil
}

// Enter makes a network namespace and runs this program again inside, with the same arguments; the second run learns of it, and gets the
// files and the note, from [Inherited]. With the privilege to do so it replaces the process and does not return. Otherwise
// it starts the second run in a user namespace of its own, passes signals on to it, and returns its exit status, as a shell counts, when
// it ends; started is then true, and the files are closed.
//
// Before it replaces the process it calls before, unless that is nil, on the thread that does so.
//
// Enter may be called once. It locks its goroutine to its thread for good: the death of that thread ends the second run.
func Enter(files []*os.File, note any, before func() error) (status int, started bool, err error) {
	runtime.LockOSThread()
	err = unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		return 0, false, replace(files, note, before)
	}
	if !errors.Is(err, unix.EPERM) {
		return 0, false, refused(err)
	}
	return runSelf(files, note)
}

// Again runs this program again in its place, where it is, after before on the same thread; otherwise it is as Enter. It returns only when that
// failed, and the thread then is as before left it.
func Again(files []*os.File, note any, before func() error) error {
	runtime.LockOSThread()
	return replace(files, note, before)
}

// replace is what Enter and Again do once they are on a thread of their own.
func replace(files []*os.File, note any, before func() error) error {
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	return execSelf(files, note)
}

// execSelf replaces the process, whose calling thread is inside already. It returns only when that failed.
func execSelf(files []*os.File, note any) error {
	var fds []int
	for _, f := range files {
		fd := int(f.Fd())
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	env, err := environ(fds, note)
	if err != nil {
		return err
	}
	self := executable()
	if err := syscall.Exec(self, os.Args, env); err != nil {
		return fmt.Errorf("cannot run %s again: %w", self, err)
	}
	return nil
}

// runSelf starts the second run as a child in new namespaces and waits for it.
func runSelf(files []*os.File, note any) (status int, started bool, err error) {
	var fds []int
	for i := range files {
		fds = append(fds, 3+i) // where os/exec puts ExtraFiles
	}
	env, err := environ(fds, note)
	if err != nil {
		return 0, false, err
	}
	uid, gid := os.Getuid(), os.Getgid()
	cmd := &exec.Cmd{
		Path: executable(), Args: os.Args, Env: env,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: files,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
			AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
			Pdeathsig:   syscall.SIGKILL,
		},
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) { // under nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return 0, false, refused(err)
	}
	// What the second run has is its own: a connection ends when it closes it.
	for _, f := range files {
		f.Close()
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() { // ends with the child
		defer close(passed)
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may be gone already
			case <-ended:
				return
			}
		}
	}()
	_ = cmd.Wait() // what it says is in the state
	close(ended)
	<-passed
	return Status(cmd.ProcessState), true, nil
}

// refused puts words and a cure to the kernel's refusal.
func refused(err error) error {
	cure := ""
	for _, s := range []struct{ path, bad, cure string }{
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
		{"/proc/sys/user/max_net_namespaces", "0", "sysctl user.max_net_namespaces=10000"},
	} {
		if b, e := os.ReadFile(s.path); e == nil && strings.TrimSpace(string(b)) == s.bad {
			cure = " (" + s.cure + " allows it)"
			break
		}
	}
	return fmt.Errorf("%w: %w%s", ErrRefused, err, cure)
}

// executable is this program's file: by its name, so that ps shows it, or as the kernel holds it when that name is gone.
func executable() string {
	const self = "/proc/self/exe"
	path, err := os.Executable()
	if err != nil {
		return self
	}
	a, err := os.Stat(path)
	if err != nil {
		return self
	}
	if b, err := os.Stat(self); err != nil || !os.SameFile(a, b) {
		return self
	}
	return path
}

// LoopbackUp brings up lo, which a new network namespace has, down.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("cannot look at lo: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("cannot bring up lo: %w", err)
	}
	return nil
}

// Hint is the command by which a person on this machine gets a shell's view of the namespace of the process pid.
func Hint(pid int) string {
	if os.Geteuid() == 0 {
		return fmt.Sprintf("nsenter -t %d -n ip link", pid)
	}
	return fmt.Sprintf("nsenter -t %d -U -n --preserve-credentials ip link", pid)
}

func closeOnExec(fd int) { unix.CloseOnExec(fd) }
