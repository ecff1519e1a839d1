//go:build linux

package programs

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/ethfoo"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// The tests run in a network namespace of their own, as those of devices/ethfoo do. This variable says which of the processes this is.
const roleVar = "PROGRAMS_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "inside":
		os.Exit(m.Run())
	case "host":
		if err := host(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	signal.Ignore(os.Interrupt) // the child has it too, and ends
	cmd := inNamespace("inside", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	case err != nil && os.Getenv("CI") == "":
		fmt.Println("no network namespace is to be had, nothing is tested:", err)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inNamespace is this program in a new network namespace.
func inNamespace(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN} // the last to enter the other host
		if role == "inside" {                                                                             // its children are in this user namespace already
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		}
	}
	return cmd
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// needTAP skips a test where no interface can be made.
func needTAP(t *testing.T) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		unix.Close(fd)
	case os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip("no interface can be made: /dev/net/tun: ", err)
	}
}

// newServer makes a server of ethfoo.
func newServer() (*server.Server, *clonefs.FS, error) {
	d, err := ethfoo.New(ethfoo.DefaultConfig())
	if err != nil {
		return nil, nil, err
	}
	fs, err := clonefs.New(clonefs.Config{}, d)
	if err != nil {
		return nil, nil, err
	}
	return server.New(fs, server.Config{}), fs, nil
}

// host is another host: a process with a server in a network namespace of its own, until standard input ends.
func host(socket string) error {
	srv, _, err := newServer()
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go srv.Serve(l) // ends with the process
	fmt.Println("serving")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// attach connects to the server at socket.
func attach(t *testing.T, socket string) p9.File {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p9.NewClient(conn, p9.WithMessageSize(128<<10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	root, err := c.Attach("/ethfoo?records=off")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func openFile(t *testing.T, root p9.File, path string, flags p9.OpenFlags) p9.File {
	t.Helper()
	_, f, err := root.Walk(strings.Split(path, "/"))
	if err == nil {
		_, _, err = f.Open(flags)
	}
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return f
}

func say(t *testing.T, f p9.File, text string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// An iface is an interface of the server at a socket.
type iface struct{ ctl, rx, tx p9.File }

// clone makes one and sends it messages. p9's client has one lock for sending: each direction has a connection of its own.
func clone(t *testing.T, socket, messages string) iface {
	t.Helper()
	ctl := openFile(t, attach(t, socket), "clone", p9.ReadWrite)
	number := make([]byte, 8)
	n, err := ctl.ReadAt(number, 0)
	if err != nil {
		t.Fatal(err)
	}
	say(t, ctl, messages)
	dir := strings.TrimSpace(string(number[:n]))
	return iface{ctl, openFile(t, attach(t, socket), dir+"/rx", p9.ReadOnly), openFile(t, attach(t, socket), dir+"/tx", p9.WriteOnly)}
}
