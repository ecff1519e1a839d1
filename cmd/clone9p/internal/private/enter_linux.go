package private

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Start starts cmd in the network namespace of the process pid; the caller goes on to call cmd.Wait. A user namespace of that process's own is
// entered first, and cmd then has the capabilities to work with the network in there: [enterCaps]. Where
// pid shares this process's network namespace, cmd is just started.
//
// Only root and the user of that process can do so.
func Start(cmd *exec.Cmd, pid int) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	netns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return cannotEnter(pid, err)
	}
	defer netns.Close()
	if same(netns, "/proc/self/ns/net") {
		return cmd.Start()
	}
	userns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return cannotEnter(pid, err)
	}
	defer userns.Close()
	if os.Geteuid() == 0 || same(userns, "/proc/self/ns/user") {
		return startIn(cmd, pid, netns)
	}
	return forkInto(cmd, pid, userns, netns)
}

// startIn starts cmd from a thread that has entered the network namespace, which the kernel allows a single thread to do.
func startIn(cmd *exec.Cmd, pid int, netns *os.File) error {
	done := make(chan error, 1)
	go func() {
		// Not unlocked: when this goroutine ends the runtime throws its thread away, which is in the wrong namespace for anything else.
		runtime.LockOSThread()
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- cannotEnter(pid, err)
			return
		}
		done <- cmd.Start()
	}()
	return <-done
}

func cannotEnter(pid int, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("cannot enter the network namespace of the server, process %d: %w (only its own user and root can)", pid, err)
}

// same reports whether two namespace files mean the same namespace.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
