package ethfoo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The tests run in a network namespace of their own: TestMain starts the test binary a second time, inside. Without root it adds a user
// namespace, in which the capability is to be had. This variable says which of the processes this is.
const roleVar = "ETHFOO_TEST_ROLE"

// ctlVar has the control messages, a line each, that a holder sends.
const ctlVar = "ETHFOO_TEST_CTL"

// outside says why the tests are not in a namespace of their own, if so.
var outside string

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVar); {
	case role == "holder":
		hold()
	case role == "inside":
		goleak.VerifyTestMain(m)
	case strings.HasPrefix(role, "outside"):
		outside = role
		os.Exit(m.Run())
	}
	os.Exit(enter())
}

// enter runs the test binary inside and returns its exit status.
func enter() int {
	run := func(role string, attr *syscall.SysProcAttr) error {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), roleVar+"="+role)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = attr
		return cmd.Run()
	}
	signal.Ignore(os.Interrupt) // the child has it too, and ends
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}
	}
	err := run("inside", attr)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		err = run("outside: no network namespace to be had: "+err.Error(), nil)
	}
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// needTAP skips a test where no interface can be made, and says what is missing. In CI, which runs as root, that is a failure.
func needTAP(t testing.TB) {
	t.Helper()
	reason := outside
	if reason == "" {
		fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			return
		}
		reason = "cannot open " + tunDevice + ": " + err.Error()
	}
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// hold is a process that holds an interface until it is killed: it sends the messages of ctlVar and prints its name.
func hold() {
	i, err := testDevice(tunDevice).open(context.Background(), 0, func(error) {})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for line := range strings.Lines(os.Getenv(ctlVar)) {
		if err := send(i, line); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	fmt.Println(i.lastName())
	select {}
}

// startHolder starts hold and returns when its interface exists and has been sent those messages.
func startHolder(t *testing.T, ctl ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"=holder", ctlVar+"="+strings.Join(ctl, "\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		t.Fatalf("holder says %q, %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// testDevice is a device of its own.
func testDevice(tun string) *device { return &device{settings: DefaultConfig(), tun: tun} }

// makeInterface opens interface n for a test and closes it at the end.
func makeInterface(t testing.TB, n int) *Interface {
	t.Helper()
	needTAP(t)
	i, err := testDevice(tunDevice).open(t.Context(), n, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

// send sends a control message by way of the table.
func send(i *Interface, line string) error {
	words := strings.Fields(line)
	for _, m := range messages {
		if m.Word == words[0] && (m.Word != "bind" || len(words) > 1 && strings.HasPrefix(m.Args, words[1])) {
			return m.Do(i, context.Background(), words[1:])
		}
	}
	return errors.New("unknown control message: " + words[0])
}

func mustSend(t testing.TB, i *Interface, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := send(i, line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// exists reports whether there is an interface of that name.
func exists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// names lists all interfaces.
func names(t testing.TB) string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range links {
		all = append(all, l.Attrs().Name)
	}
	return strings.Join(all, " ")
}

// openFiles counts the descriptors of this process, but for those of the runtime that come and go by themselves.
func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// readFrame reads one frame.
func readFrame(t testing.TB, r p9ext.Reader) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := make([]byte, 1<<16)
	n, err := r.ReadContext(ctx, p, 0)
	if err != nil {
		t.Fatalf("no frame: %v", err)
	}
	return p[:n]
}

// frame makes a broadcast frame of n bytes, the first of its payload being mark. Its type is one that IEEE 802 set aside for local
// experiments: the kernel neither sends such frames nor answers them.
func frame(n int, mark byte) []byte {
	p := make([]byte, n)
	copy(p, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5")
	for i := etherHeader; i < n; i++ {
		p[i] = mark + byte(i-etherHeader)
	}
	return p
}

// A packetSocket is the other end: it sends frames out of an interface and sees what comes in on it.
type packetSocket struct{ fd int }

func openPacketSocket(t testing.TB, i *Interface) *packetSocket {
	t.Helper()
	return openPacketSocketOn(t, int(i.index.Load()))
}

func openPacketSocketOn(t testing.TB, index int) *packetSocket {
	t.Helper()
	s, err := newPacketSocket(index)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func newPacketSocket(index int) (*packetSocket, error) {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(patience.Nanoseconds())
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &packetSocket{fd}, nil
}

func (s *packetSocket) send(t testing.TB, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		if _, err := unix.Write(s.fd, f); err != nil {
			t.Fatalf("send %d bytes: %v", len(f), err)
		}
	}
}

// receive returns the next frame that came in on the interface.
func (s *packetSocket) receive(t testing.TB) []byte {
	t.Helper()
	p := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(s.fd, p, 0)
		if err != nil {
			t.Fatalf("nothing came in: %v", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			return p[:n]
		}
	}
}
