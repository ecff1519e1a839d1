package listen

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// activatedRole is set for this program when it plays a server that systemd has started: its value is the addresses.
const activatedRole = "CLONE9P_LISTEN_TEST_ADDRS"

func TestMain(m *testing.M) {
	if addrs, ok := os.LookupEnv(activatedRole); ok {
		playActivated(strings.Fields(addrs))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// playActivated listens and says what came of it, then accepts one connection of each listener, to which it says where.
func playActivated(addrs []string) {
	ls, err := ListenAll(addrs, Options{})
	fmt.Println(err)
	for _, name := range []string{envFDs, envPID, envNames} {
		if v, ok := os.LookupEnv(name); ok {
			fmt.Printf("%s is still %q\n", name, v)
		}
	}
	for _, l := range ls {
		fmt.Println(l.Address(), l.Single())
		c, err := l.Accept()
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Fprintf(c, "%v", c.(peerConn).Peer().Proven)
		c.Close()
		l.Close()
	}
}

// activate runs this program as systemd would, with these descriptors, environment and addresses, and returns what it says.
func activate(t *testing.T, files []*os.File, env, addrs string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", env+` exec "$0"`, self)
	cmd.Env = append(os.Environ(), activatedRole+"="+addrs)
	cmd.ExtraFiles = files
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, b)
	}
	return string(b)
}

// The sockets that systemd passes are listened on, by name or all, and their files stay.
func TestActivation(t *testing.T) {
	path := sock(t)
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	uf, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	defer uf.Close()
	tf, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tf.Close()
	fd, other := pairFDs(t, 1)
	pf := os.NewFile(uintptr(fd), "pair")
	defer pf.Close()
	port := tcp.Addr().(*net.TCPAddr).Port
	regular, err := os.Create(path + ".file")
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()

	const both = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=u:t"
	for _, tt := range []struct {
		name       string
		files      []*os.File
		env, addrs string
		want       string
	}{
		{"all", []*os.File{uf, tf}, both, "systemd!", fmt.Sprintf("<nil>\nunix!%s false\ntcp!127.0.0.1!%d false\n", path, port)},
		{"by name", []*os.File{uf, tf}, both, "systemd!t systemd:u", fmt.Sprintf("<nil>\ntcp!127.0.0.1!%d false\nunix!%s false\n", port, path)},
		{"one and the rest", []*os.File{uf, tf}, both, "systemd!t systemd!", fmt.Sprintf("<nil>\ntcp!127.0.0.1!%d false\nunix!%s false\n", port, path)},
		{"a connection", []*os.File{pf}, "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=connection", "systemd!", "<nil>\nsystemd!connection true\n"},
		{"no name", []*os.File{uf}, "LISTEN_PID=$$ LISTEN_FDS=1", "systemd!", fmt.Sprintf("<nil>\nunix!%s false\n", path)},

		{"not all are taken", []*os.File{uf, tf}, both, "systemd!u", `systemd has passed a socket called "t", which no address takes: systemd! takes all` + "\n"},
		{"no such name", []*os.File{uf, tf}, both, "systemd!x", `cannot listen on systemd!x: systemd has passed no other socket called "x"` + "\n"},
		{"twice", []*os.File{uf, tf}, both, "systemd! systemd!", "cannot listen on systemd!: no socket of systemd is left for it\n"},
		{"nothing", nil, "", "systemd!", "cannot listen on systemd!: systemd has passed no socket: start the server by a .socket unit (LISTEN_FDS is not set)\n"},
		{"too many", nil, "LISTEN_PID=$$ LISTEN_FDS=1000000000", "systemd!", `cannot listen on systemd!: systemd has passed no number of sockets but LISTEN_FDS="1000000000": want 1 to 1024` + "\n"},
		{"no socket", []*os.File{regular}, "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=f", "systemd!", `cannot listen on systemd!: the socket called "f", descriptor 3, is a regular file: want a socket or pipes` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Connections wait until the other process accepts them.
			var said []net.Conn
			for line := range strings.Lines(tt.want) {
				switch {
				case strings.HasPrefix(line, "unix!"):
					c, err := net.Dial("unix", path)
					if err != nil {
						t.Fatal(err)
					}
					said = append(said, c)
				case strings.HasPrefix(line, "tcp!"):
					c, err := net.Dial("tcp", tcp.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					said = append(said, c)
				case strings.HasPrefix(line, "systemd!"):
					said = append(said, other)
				}
			}
			if got := activate(t, tt.files, tt.env, tt.addrs); got != tt.want {
				t.Errorf("said\n%swant\n%s", got, tt.want)
			}
			for _, c := range said {
				want := fmt.Sprint(c.RemoteAddr().Network() == "unix")
				p := make([]byte, len(want))
				if _, err := c.Read(p); err != nil || string(p) != want {
					t.Errorf("%v: proven is %q, %v", c.RemoteAddr(), p, err)
				}
				c.Close()
			}
		})
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket file is gone: %v", err)
	}
	got := activate(t, []*os.File{uf}, "LISTEN_PID=1 LISTEN_FDS=1", "systemd!")
	if !strings.HasPrefix(got, `cannot listen on systemd!: systemd has passed its sockets to another process: LISTEN_PID is "1", and this is `) {
		t.Errorf("for another process: %s", got)
	}
}
