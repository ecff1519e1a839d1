package fusemount

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// readersEnv makes the test's program a reader: see readers.
const readersEnv = "FUSEMOUNT_TEST_READERS"

func TestMain(m *testing.M) {
	if n := os.Getenv(readersEnv); n != "" {
		readers(n, os.Args[1])
		return
	}
	// Who runs the tests in the background of a script ignores SIGINT, and so would the programs that they start: a signal that somebody waits
	// for is not inherited.
	if signal.Ignored(unix.SIGINT) {
		signal.Notify(make(chan os.Signal, 1), unix.SIGINT)
	}
	goleak.VerifyTestMain(m)
}

// readers is a process with n threads that each open path and read it until that fails or ends. A line tells what happens: "open", for each record
// "read TEXT", and at last the error. SIGUSR1 interrupts a read, which is then tried again.
func readers(n, path string) {
	count, _ := strconv.Atoi(n)
	var mu sync.Mutex // guards standard output, a line at a time
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	catchUSR1()
	var wg sync.WaitGroup
	if err := os.Chdir(filepath.Dir(path)); err != nil { // fewer names to look up
		say("chdir: %v", err)
	}
	for range count {
		fd, err := unix.Open(filepath.Base(path), unix.O_RDONLY, 0)
		if err != nil {
			say("open: %v", err)
			return
		}
		say("open")
		wg.Go(func() {
			runtime.LockOSThread()
			defer unix.Close(fd)
			buf := make([]byte, 4096)
			for {
				n, err := unix.Read(fd, buf)
				switch {
				case err == unix.EINTR:
					if count == 1 {
						say("interrupted")
					}
				case err != nil:
					say("%v", err)
					return
				case n == 0:
					say("end")
					return
				default:
					say("read %s", buf[:n])
				}
			}
		})
	}
	wg.Wait()
}

// A fixture is a mounted tree with the device mem, and what is behind it.
type fixture struct {
	t    testing.TB
	dir  string
	mem  *clonetest.MemDevice
	conn *client.Conn
	srv  *server.Server
	*Mount
	log logLines
}

// logLines is what was logged.
type logLines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines are those that contain what.
func (l *logLines) lines(what string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, what) {
			found = append(found, line)
		}
	}
	return found
}

// needMount skips a test that cannot mount here; root can.
func needMount(t testing.TB) {
	t.Helper()
	why := Possible()
	if why != nil && os.Geteuid() == 0 {
		t.Fatal(why)
	}
	if why != nil {
		t.Skip(why)
	}
}

// settings are what a fixture can be made with.
type settings struct {
	dialect client.Dialect // 9P2000.L by default
	peer    server.Peer    // this process's user by default
	tree    p9.Attacher    // the device mem by default
	aname   string
	onClone func(ctx context.Context, n int) error // of mem
	options Options
}

// mounted serves a tree and mounts it.
func mounted(t testing.TB, s settings) *fixture {
	t.Helper()
	needMount(t)
	f := &fixture{t: t, dir: filepath.Join(t.TempDir(), "mnt"), mem: clonetest.Mem(clonetest.MemOptions{Queue: 4096, MaxConvs: 1000, MaxPerUser: 1000, OnClone: s.onClone})}
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if s.tree == nil {
		tree, err := clonefs.New(clonefs.Config{}, f.mem)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tree.Close(context.Background()) })
		s.tree = tree
		if s.aname == "" {
			s.aname = "/?records=off"
		}
	}
	if s.peer.Addr == "" {
		s.peer = server.Peer{Addr: "test", UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Proven: true, Any: true}
	}
	if s.dialect == 0 {
		s.dialect = client.P9L
	}
	ours, theirs, err := socketpair()
	if err != nil {
		t.Fatal(err)
	}
	f.srv = server.New(s.tree, server.Config{})
	served := make(chan error, 1)
	go func() { served <- f.srv.ServeConn(theirs, s.peer) }()
	t.Cleanup(func() {
		f.srv.Shutdown(context.Background())
		<-served
	})
	if f.conn, err = client.New(t.Context(), ours, client.Options{Dialects: []client.Dialect{s.dialect}}); err != nil {
		t.Fatal(err)
	}
	log := zerolog.New(&f.log)
	s.options.Log, s.options.Attach.Name = &log, s.aname
	if f.Mount, err = New(t.Context(), f.conn, f.dir, s.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func socketpair() (ours, theirs net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if conns[i], err = net.FileConn(f); err != nil {
			return nil, nil, err
		}
		f.Close()
	}
	return conns[0], conns[1], nil
}

// sh has a shell carry out a script in the mount, and gives its output without the last newline, and its error.
func (f *fixture) sh(script string) (string, error) {
	return f.shAs(nil, script)
}

func (f *fixture) shAs(who *syscall.Credential, script string) (string, error) {
	// The shell changes to the directory, not the child that is to become it: this program's scheduler may have to wait for that one, and with
	// it what serves the mount.
	cmd := exec.Command("sh", "-c", "cd '"+f.dir+"' && { "+script+"\n}")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// mustSh is sh for scripts that succeed.
func (f *fixture) mustSh(script string) string {
	f.t.Helper()
	out, err := f.sh(script)
	if err != nil {
		f.t.Fatalf("sh -c %q: %v\n%s", script, err, out)
	}
	return out
}

// open opens a file below the mount, to be closed at the latest when the test ends.
func (f *fixture) open(name string, flags int) int {
	f.t.Helper()
	fd, err := unix.Open(filepath.Join(f.dir, name), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		f.t.Fatalf("open %s: %v", name, err)
	}
	f.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// clone begins a conversation and gives the descriptor of its ctl and its directory in the mount.
func (f *fixture) clone() (fd int, dir string) {
	f.t.Helper()
	fd = f.open("mem/clone", unix.O_RDWR)
	return fd, "mem/" + strings.TrimSpace(f.read(fd, 100))
}

// read is one read(2) that succeeds.
func (f *fixture) read(fd, n int) string {
	f.t.Helper()
	p := make([]byte, n)
	n, err := retried(func() (int, error) { return unix.Read(fd, p) })
	if err != nil {
		f.t.Fatalf("read: %v", err)
	}
	return string(p[:n])
}

// write is one write(2) that succeeds.
func (f *fixture) write(fd int, text string) {
	f.t.Helper()
	if n, err := unix.Write(fd, []byte(text)); err != nil || n != len(text) {
		f.t.Fatalf("write %q: %d, %v", text, n, err)
	}
}

// retried repeats a call that a signal interrupts: Go's runtime sends itself some.
func retried(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// gone waits until a conversation's close has come through.
func (f *fixture) gone() {
	f.t.Helper()
	eventually(f.t, "every conversation has ended", func() bool { return f.mem.Live() == 0 })
}
