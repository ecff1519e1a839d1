//go:build e2e && linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/scripts/e2e/internal/plan"
	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
	"golang.org/x/sys/unix"
)

// TestFUSE carries out the cases on this machine, over clone9p mount --fuse, in namespaces of mounts and processes of their own: what holds for the
// kernel's own client holds there too. Cases that are about that client alone say so in the plan.
//
// Two things differ, and the cases allow for them where Setup.FUSE says so. An interface goes, and its number becomes free, a moment after the close that
// ends it has returned: FUSE tells of a close then. And any signal interrupts a read, also those of Go's scheduler: the read fails
// with EINTR, has lost nothing and is made again.
func TestFUSE(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatalf("FUSE cannot be used: %v", err)
	}
	dir, err := os.MkdirTemp("", "e2e-fuse-") // sockets want short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // users of cases come by
		t.Fatal(err)
	}
	m := machineOf(t, func() (*guest, error) { return startHere(dir) })
	for _, c := range plan.Cases {
		if c.Recipe || c.Kernel != "" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			setup := setupOf(c, plan.Linux)
			setup.FUSE, setup.Dir = true, filepath.Join(dir, "n")
			m.run(t, c.Name, setup)
		})
	}
}

// startHere starts the guests' program on this machine, with the program under test in its path, below dir.
func startHere(dir string) (_ *guest, err error) {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	// A guest's editor is busybox's.
	for name, program := range map[string]string{"clone9p": built.server, "vi": built.busybox} {
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil && !os.IsExist(err) {
			return nil, err
		}
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "port"), os.NewFile(uintptr(fds[1]), "port")
	defer ours.Close()
	defer theirs.Close()
	g := &guest{console: newTail("here"), exited: make(chan struct{})}
	if g.port, err = net.FileConn(ours); err != nil {
		return nil, err
	}
	g.cmd = exec.Command(built.guest, "here")
	g.cmd.Dir = dir
	g.cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	g.cmd.ExtraFiles = []*os.File{theirs}
	g.cmd.Stdout, g.cmd.Stderr = g.console, g.console
	// What the cases leave running ends with the first process, and what they leave mounted with it.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	if err := startChild(g.cmd); err != nil {
		g.port.Close()
		return nil, err
	}
	go func() { // ends with the process
		_ = g.cmd.Wait()
		close(g.exited)
	}()
	_ = g.port.SetDeadline(time.Now().Add(bootTime))
	g.conn = talk.New(g.port)
	m, err := g.conn.Recv()
	if err == nil && m.Kind != talk.Ready {
		err = fmt.Errorf("says %q, want that it is ready", m.Kind)
	}
	if err != nil {
		g.kill()
		return nil, fmt.Errorf("%v: %w\n%s", g.cmd, err, g.console.since(0, 40))
	}
	g.release = m.Name
	return g, nil
}
