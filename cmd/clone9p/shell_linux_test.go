package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// A screen is a terminal with clone9p shell on it, and what has been shown there.
type screen struct {
	t           *testing.T
	master, tty *os.File
	before      *unix.Termios
	cmd         *exec.Cmd

	mu    sync.Mutex // guards shown
	shown bytes.Buffer
}

// program is this program as a process of its own.
func program(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return &exec.Cmd{Path: self, Args: append([]string{"clone9p"}, args...), SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
}

// ptyServer serves terminals at the address that it returns.
func ptyServer(t *testing.T) (addr string, server *exec.Cmd) {
	t.Helper()
	addr = "unix!" + filepath.Join(t.TempDir(), "s")
	server = program("serve", "--listen", addr, "--device", "pty", "--pty-exec", "any-local")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	for end := time.Now().Add(time.Minute); program("ls", "--addr", addr).Run() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server does not answer")
		}
	}
	return addr, server
}

// onScreen starts clone9p shell on a terminal of 30 rows and 100 columns.
func onScreen(t *testing.T, addr string, argv ...string) *screen {
	t.Helper()
	s := &screen{t: t}
	var err error
	if s.master, s.tty, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.tty.Close(); s.master.Close() })
	if err := pty.Setsize(s.master, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	s.before = s.termios()
	s.cmd = program(append([]string{"shell", addr, "--"}, argv...)...)
	s.cmd.Env = append(os.Environ(), "TERM=vt220")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.tty, s.tty, s.tty
	s.cmd.SysProcAttr.Setsid, s.cmd.SysProcAttr.Setctty = true, true
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	go func() { // ends with the terminal
		buf := make([]byte, 4096)
		for {
			n, err := s.master.Read(buf)
			s.mu.Lock()
			s.shown.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) termios() *unix.Termios {
	s.t.Helper()
	t, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// wait waits until want is shown.
func (s *screen) wait(want string) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(s.text(), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("shown is %q, want %q in it", s.text(), want)
		}
	}
}

func (s *screen) typeIn(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.master, text); err != nil {
		s.t.Fatal(err)
	}
}

// ends wants the program to end with a status, and the terminal to be as it was.
func (s *screen) ends(want int) {
	s.t.Helper()
	late := time.AfterFunc(time.Minute, func() { s.cmd.Process.Kill() })
	defer late.Stop()
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		s.t.Errorf("exit status %d, want %d; shown is %q", got, want, s.text())
	}
	if now := s.termios(); *now != *s.before {
		s.t.Errorf("the terminal is %+v, was %+v", now, s.before)
	}
}

func TestShellOnATerminal(t *testing.T) {
	addr, server := ptyServer(t)

	s := onScreen(t, addr, "sh", "-c", `echo ready $TERM; while read line; do eval "$line"; done`)
	s.wait("ready vt220")
	s.typeIn("stty size\r")
	s.wait("30 100")
	if err := pty.Setsize(s.master, &pty.Winsize{Rows: 41, Cols: 121}); err != nil {
		t.Fatal(err)
	}
	// The signal, the message to the server and the command's look at its window are three ways; nothing but the last tells of the others.
	for end := time.Now().Add(time.Minute); !strings.Contains(s.text(), "41 121"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the new size is not seen: %q", s.text())
		}
		s.typeIn("stty size\r")
	}
	s.typeIn("sleep 1000\r")
	// To the command's process group, not to us. A shell that has not started sleep yet swallows it: who is impatient types it again.
	impatient := time.NewTicker(100 * time.Millisecond)
	ended, master := make(chan struct{}), s.master
	go func() { // ends with the program
		for {
			select {
			case <-impatient.C:
				master.WriteString("\x03")
			case <-ended:
				return
			}
		}
	}()
	s.ends(128 + int(syscall.SIGINT))
	close(ended)

	s = onScreen(t, addr, "sh", "-c", "echo ready; read x; exit 3")
	s.wait("ready")
	s.typeIn("~~.\r") // one ~ of two
	s.ends(3)
	s.wait("~.")

	s = onScreen(t, addr, "sh", "-c", "echo ready; sleep 1000")
	s.wait("ready")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.ends(128 + int(syscall.SIGTERM))

	s = onScreen(t, addr, "sh", "-c", "echo ready; sleep 1000")
	s.wait("ready")
	s.typeIn("~.")
	s.ends(1)

	// The same when the server does not answer, which is being told of a new window.
	s = onScreen(t, addr, "sh", "-c", "echo ready; sleep 1000")
	s.wait("ready")
	if err := server.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(s.master, &pty.Winsize{Rows: 20, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	s.typeIn("~.")
	s.ends(1)
	if err := server.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	s = onScreen(t, addr, "sh", "-c", "echo ready; sleep 1000")
	s.wait("ready")
	server.Process.Kill()
	s.ends(1)
	s.wait("clone9p: the connection to the server is lost")
}

func TestEscape(t *testing.T) {
	for _, c := range []struct {
		typed []string
		out   string
		left  bool
	}{
		{[]string{"ls\r"}, "ls\r", false},
		{[]string{"~."}, "", true},
		{[]string{"ls\r~", "."}, "ls\r", true},
		{[]string{"~~."}, "~.", false},
		{[]string{"~", "x"}, "~x", false},
		{[]string{"a~."}, "a~.", false},
		{[]string{"~a\r~."}, "~a\r", true},
		{[]string{"~\r~."}, "~\r", true},
	} {
		var e escape
		var out []byte
		left := false
		for _, p := range c.typed {
			var o []byte
			o, left = e.filter([]byte(p))
			out = append(out, o...)
		}
		if string(out) != c.out || left != c.left {
			t.Errorf("%q: %q, left %v; want %q, %v", c.typed, out, left, c.out, c.left)
		}
	}
}

// However what is typed is cut into pieces, the same comes out, and nothing that was typed gets lost.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"ls\r~.", "~~.", "~x", "a~.\r~.", "~\r~.", "~", "~~~~", "\n~.rest"} {
		for _, cut := range []int{0, 1, 3} {
			f.Add(s, cut)
		}
	}
	f.Fuzz(func(t *testing.T, typed string, cut int) {
		filter := func(pieces ...string) (out string, left bool) {
			var e escape
			for _, p := range pieces {
				o, l := e.filter([]byte(p))
				if out += string(o); l {
					return out, true
				}
			}
			return out, false
		}
		out, left := filter(typed)
		if cut < 0 || cut > len(typed) {
			cut = len(typed) / 2
		}
		if again, l := filter(typed[:cut], typed[cut:]); again != out || l != left {
			t.Errorf("%q: %q, left %v; cut at %d: %q, left %v", typed, out, left, cut, again, l)
		}
		tildes := strings.Count(typed, "~")
		if got := strings.ReplaceAll(out, "~", ""); !left && got != strings.ReplaceAll(typed, "~", "") || strings.Count(out, "~") > tildes {
			t.Errorf("%q became %q", typed, out)
		}
	})
}

func TestExitStatus(t *testing.T) {
	for text, want := range map[string]int{
		"pty/0 running owner a opens 1\npid 7\n": -1,
		"pty/0 ended owner a opens 1\nexit 3\n":  3,
		"killed SIGKILL\n":                       137,
		"exit x\nkilled SIGNO\n":                 -1,
	} {
		if got := exitStatus(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
