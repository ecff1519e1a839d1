package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// A listener that systemd would be: what it hears is what the server says.
func notifySocket(t *testing.T) (path string, heard func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return path, func() string {
		t.Helper()
		buf := make([]byte, 4096)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("nothing is said: %v", err)
		}
		return string(buf[:n])
	}
}

// The environment is taken, once.
func TestSupervisorOfEnvironment(t *testing.T) {
	path, heard := notifySocket(t)
	for _, tt := range []struct {
		socket, usec, pid string
		every             time.Duration
		log               string
	}{
		{socket: "", usec: "1000000"},
		{socket: path},
		{socket: path, usec: "1000000", every: time.Second},
		{socket: path, usec: "1000000", pid: "1"},
		{socket: path, usec: "soon", log: `"WATCHDOG_USEC":"soon","message":"no number of microseconds; going on without a watchdog"`},
		{socket: path, usec: "9223372036854775807", log: "going on without a watchdog"},
		{socket: path + "x", log: "cannot reach the supervisor; going on without"},
	} {
		t.Setenv(envNotify, tt.socket)
		t.Setenv(envWatchdog, tt.usec)
		t.Setenv(envWatchdogPID, tt.pid)
		var log strings.Builder
		s := newSupervisor(zerolog.New(&log))
		for _, name := range []string{envNotify, envWatchdog, envWatchdogPID} {
			if v, ok := os.LookupEnv(name); ok {
				t.Errorf("%s is still %q", name, v)
			}
		}
		if !strings.Contains(log.String(), tt.log) || tt.log == "" && log.Len() > 0 {
			t.Errorf("%+v: logs %s", tt, log.String())
		}
		if s.every != tt.every {
			t.Errorf("%+v: waits %v", tt, s.every)
		}
		s.say("X=1", "Y=2")
		if tt.socket == path {
			if got := heard(); got != "X=1\nY=2" {
				t.Errorf("heard %q", got)
			}
		}
		s.close()
	}
}

// What the second run says arrives, directly or by way of the first run where that is another process.
func TestSupervisorIsHandedOver(t *testing.T) {
	path, heard := notifySocket(t)
	t.Setenv(envNotify, path)
	t.Setenv(envWatchdog, "2000000")
	first := newSupervisor(zerolog.Nop())
	for _, pid := range []int{os.Getpid(), os.Getpid() + 1} {
		files, n, stop, err := first.hand()
		if err != nil {
			t.Fatal(err)
		}
		n.PID = pid
		second, err := inheritSupervisor(files, n, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if second.every != 2*time.Second {
			t.Errorf("waits %v", second.every)
		}
		second.ready("as process " + map[bool]string{true: "one", false: "two"}[pid == os.Getpid()])
		if got, want := heard(), "READY=1\nSTATUS=as process "; !strings.HasPrefix(got, want) {
			t.Errorf("heard %q", got)
		}
		second.close()
		stop()
	}
	first.close()
	if _, err := inheritSupervisor(nil, supervision{PID: 1}, zerolog.Nop()); err == nil {
		t.Error("without files: no error")
	}
	if s, err := inheritSupervisor(nil, supervision{}, zerolog.Nop()); err != nil || s.conn != nil {
		t.Errorf("without a supervisor: %+v, %v", s, err)
	}
}

// Signs of life come twice in the time that the supervisor waits, as long as the check goes well; one that hangs has no other beside it.
func TestWatch(t *testing.T) {
	path, heard := notifySocket(t)
	t.Setenv(envNotify, path)
	s := newSupervisor(zerolog.Nop())
	defer s.close()
	// A write to a socket is no wait that the bubble knows, so what is said is counted outside of it.
	synctest.Test(t, func(t *testing.T) {
		s.every = 20 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		checks := 0
		hang := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.watch(ctx, func(ctx context.Context) error {
				switch checks++; checks {
				case 1, 2:
					return nil
				case 3:
					return errors.New("no")
				case 4:
					<-ctx.Done() // a check is over when its time is
					return ctx.Err()
				case 5:
					<-hang
					return errors.New("hung")
				}
				return nil
			})
		}()
		time.Sleep(99 * time.Second) // a check each 10: the fifth hangs
		synctest.Wait()
		if checks != 5 {
			t.Errorf("%d checks beside one that hangs", checks)
		}
		close(hang)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if checks != 6 {
			t.Errorf("%d checks after it", checks)
		}
		cancel()
		<-ended
	})
	s.say("END")
	for _, want := range []string{"WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "END"} {
		if got := heard(); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
}

// hung is a tree whose root waits for ever when it is looked at.
type hung struct {
	p9.DefaultWalkGetAttr
	p9.File
	wait chan struct{}
}

func (h *hung) Attach() (p9.File, error) {
	<-h.wait
	return nil, p9ext.Errorf(5, "it is over")
}

// A server that serves answers itself, one that is full too; one that hangs does not.
func TestAnswers(t *testing.T) {
	tree, err := clonefs.New(clonefs.Config{}, boxes())
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(tree, server.Config{MaxConns: 1})
	t.Cleanup(func() { srv.Shutdown(context.Background()) })
	if err := answers(t.Context(), srv, []string{"box"}); err != nil {
		t.Errorf("a server: %v", err)
	}
	if err := answers(t.Context(), srv, []string{"none"}); err == nil {
		t.Error("a device that is not there: no error")
	}
	if n := srv.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- srv.ServeConn(there, server.Nobody("test:")) }()
	if _, err := p9.NewClient(here); err != nil { // from here on it is full
		t.Fatal(err)
	}
	if err := answers(t.Context(), srv, []string{"box"}); err != nil {
		t.Errorf("a full server: %v", err)
	}
	here.Close()
	<-ended

	h := &hung{wait: make(chan struct{})}
	srv = server.New(h, server.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := answers(ctx, srv, nil); err == nil {
		t.Error("a server that hangs: no error")
	}
	close(h.wait)
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// The whole of it: sockets that were opened before the server, which says how it is to the end, as the process that was started.
func TestSystemd(t *testing.T) {
	for _, mode := range []string{"host", "private"} {
		if mode == "private" && runtime.GOOS != "linux" {
			continue
		}
		t.Run(mode, func(t *testing.T) { testSystemd(t, mode) })
	}
}

func testSystemd(t *testing.T, mode string) {
	path, heard := notifySocket(t)
	dir := filepath.Dir(path)
	sock := filepath.Join(dir, "s")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: sock, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	var files []*os.File
	for _, l := range []interface{ File() (*os.File, error) }{u, tcp.(*net.TCPListener)} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	conf := filepath.Join(dir, "conf")
	device := map[string]string{"host": "pty", "private": "ethfoo"}[mode]
	if err := os.WriteFile(conf, []byte("device = [\""+device+"\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec clone9p serve --listen systemd! --log-format json "$@"`, "sh",
		"--net", mode, "--config", conf)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=clone9p.socket:clone9p.socket", envNotify+"="+path, envWatchdog+"=4000000", "GORACE="+noSleep)
	cmd.ExtraFiles = files
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	logged := make(chan string, 1)
	go func() { // ends with the server
		var b strings.Builder
		for s := bufio.NewScanner(r); s.Scan(); {
			b.WriteString(s.Text() + "\n")
		}
		logged <- b.String()
	}()
	ended := false
	defer func() {
		if !ended {
			cmd.Process.Kill()
			cmd.Wait()
			t.Log(<-logged)
		}
	}()
	await := func(want string) {
		t.Helper()
		for {
			got := heard()
			if strings.HasPrefix(got, want) {
				return
			}
			if got != "WATCHDOG=1" {
				t.Fatalf("heard %q, want %q", got, want)
			}
		}
	}
	if got := heard(); !strings.HasPrefix(got, "READY=1\nSTATUS=serving on unix!"+sock+", tcp!127.0.0.1!") {
		t.Errorf("heard %q first", got)
	}
	await("WATCHDOG=1")
	for _, addr := range []string{"unix!" + sock, "tcp!" + strings.Replace(tcp.Addr().String(), ":", "!", 1)} {
		var out, errs strings.Builder
		if st := run([]string{"ls", "--addr", addr}, strings.NewReader(""), &out, &errs); st != 0 || !strings.Contains(out.String(), device+"\n") {
			t.Errorf("ls at %s: %d, %q, %q", addr, st, out.String(), errs.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await("RELOADING=1\nMONOTONIC_USEC=")
	await("READY=1\nSTATUS=the rules of the configuration hold from now on")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await("STOPPING=1")
	err = cmd.Wait()
	ended = true
	if log := <-logged; err != nil {
		t.Errorf("it ended with %v: %s", err, log)
	}
	if _, err := os.Lstat(sock); err != nil {
		t.Errorf("the socket's file is systemd's: %v", err)
	}
}
