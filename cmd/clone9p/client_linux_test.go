package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"9fans.net/go/plan9"
	"9fans.net/go/plan9/srv9p"
	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/p9"
)

// boxServer serves boxes in this process.
func boxServer(t *testing.T) (addr string, srv *server.Server) {
	t.Helper()
	addr = "unix!" + filepath.Join(t.TempDir(), "s")
	tree, err := clonefs.New(clonefs.Config{}, boxes())
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Listen(addr, listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv = server.New(tree, server.Config{})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx := context.Background()
		if err := errors.Join(srv.Shutdown(ctx), tree.Close(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return addr, srv
}

// until waits for cond.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// stopped sends cmd a signal, by which it must end, with a shell's status for it.
func stopped(t *testing.T, cmd *exec.Cmd, sig syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	cmd.Wait()
	if st := cmd.ProcessState.ExitCode(); st != 128+int(sig) {
		t.Errorf("exit status %d after %v", st, sig)
	}
}

// A command that is interrupted takes its request back, and loses nobody's record.
func TestInterrupt(t *testing.T) {
	addr, srv := boxServer(t)
	s, err := connect(t.Context(), target{&addr, new(string)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	clone, err := s.open(t.Context(), "box/clone", p9.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer clone.Close()
	data, err := s.open(t.Context(), "box/0/data", p9.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	record := func() string {
		p := make([]byte, 100)
		n, err := data.ReadContext(t.Context(), p, 0)
		if err != nil {
			t.Error(err)
		}
		return string(p[:n])
	}

	for i, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := program("read", "--addr", addr, "/box/0/data")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := data.Write([]byte("one")); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 3)
		if _, err := io.ReadFull(stdout, p); err != nil || string(p) != "one" {
			t.Fatalf("it read %q, %v", p, err)
		}
		until(t, "it reads on", func() bool { return srv.Stats().Requests == 1 })
		stopped(t, cmd, sig)
		if n := srv.Stats().Flushes; n != uint64(i+1) {
			t.Errorf("%d requests were flushed, want %d", n, i+1)
		}
		if stderr.Len() != 0 {
			t.Errorf("it said %q", &stderr)
		}
	}
	if _, err := data.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	if r := record(); r != "kept" {
		t.Errorf("the record is %q", r)
	}

	// It may be waiting for its standard input instead.
	cmd := program("write", "--addr", addr, "/box/0/data")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "first"); err != nil {
		t.Fatal(err)
	}
	if r := record(); r != "first" {
		t.Errorf("the record is %q", r)
	}
	stopped(t, cmd, syscall.SIGINT)
}

// The same in each dialect. Those that carry the server's words show them.
func TestDialects(t *testing.T) {
	addr, _ := boxServer(t)
	for _, tt := range []struct{ dialect, bogus, burn string }{
		{"9P2000.L", "invalid argument (clone9p read /box/help lists its messages)", "host is down"},
		{"9P2000.u", "unknown control message: bogus", "the box is on fire"},
		{"9P2000", "unknown control message: bogus", "the box is on fire"},
	} {
		t.Run(tt.dialect, func(t *testing.T) {
			s, err := connect(t.Context(), target{&addr, &tt.dialect})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if d := s.conn.Dialect().String(); d != tt.dialect {
				t.Fatalf("it is %s", d)
			}
			clone, err := s.open(t.Context(), "box/clone", p9.ReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			defer clone.Close()
			n, err := readLine(t.Context(), clone)
			if err != nil {
				t.Fatal(err)
			}
			said := func(want string, st int, args ...string) {
				t.Helper()
				var stdout, stderr bytes.Buffer
				args = slices.Insert(args, 1, "--addr", addr, "--dialect", tt.dialect)
				if got := run(args, strings.NewReader(""), &stdout, &stderr); got != st {
					t.Errorf("%v: exit status %d, want %d", args, got, st)
				}
				out := stdout.String() + strings.TrimPrefix(stderr.String(), "clone9p: ")
				if want == "" && out != "" || !strings.Contains("\n"+out, "\n"+want+"\n") && want != "" {
					t.Errorf("%v: printed %q, want %q", args, out, want)
				}
			}
			dir := "/box/" + n
			said(n, 0, "ls", "box")
			said(n, 0, "read", dir+"/ctl")
			said("", 0, "write", dir+"/ctl", "put x y")
			said("box-x y", 0, "read", dir+"/ifname")
			said(dir+"/ctl: "+tt.bogus, 1, "write", dir+"/ctl", "bogus")
			said(dir+"/ctl: "+tt.burn, 1, "write", dir+"/ctl", "burn")
			said("the server has no device none; clone9p ls shows which it has", 1, "with", "none", "--", "true")
			var stdout bytes.Buffer
			if st := run([]string{"ls", "-l", dir, "--addr", addr, "--dialect", tt.dialect}, nil, &stdout, os.Stderr); st != 0 {
				t.Errorf("ls -l: exit status %d", st)
			}
			mode, _, _ := strings.Cut(stdout.String(), " ")
			if mode != "-rw-rw----" || strings.Contains(stdout.String(), fmt.Sprint(client.NoUID)) {
				t.Errorf("ls -l printed %q", &stdout)
			}
		})
	}
	var stderr bytes.Buffer
	if st := run([]string{"ls", "--addr", addr, "--dialect", "9P1999"}, nil, io.Discard, &stderr); st != 2 || !strings.Contains(stderr.String(), `unknown dialect "9P1999"`) {
		t.Errorf("exit status %d, %q", st, &stderr)
	}
}

// A server that is not ours: it speaks 9P2000 alone and has no tree of the name that ours has.
func TestForeignServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	tree := srv9p.NewTree("glenda", "glenda", plan9.DMDIR|0o755, nil)
	if _, err := tree.Root.Create("motd", "glenda", 0o644, nil); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan bool, 1)
	reads := make(chan bool, 1)
	conf := &srv9p.Server{
		Tree: tree,
		Attach: func(_ context.Context, fid, _ *srv9p.Fid, user, aname string) (plan9.Qid, error) {
			if aname != "" || user == "" {
				return plan9.Qid{}, errors.New("bad attach specifier")
			}
			return fid.Qid(), nil
		},
		Open: func(context.Context, *srv9p.Fid, uint8) error { return nil },
		Read: func(ctx context.Context, fid *srv9p.Fid, p []byte, off int64) (int, error) {
			if off > 0 {
				reads <- true
				<-ctx.Done()
				flushed <- true
				return 0, errors.New("interrupted")
			}
			return copy(p, "welcome\n"), nil
		},
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { conf.Serve(c, c); c.Close() })
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })

	run1 := func(want string, st int, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = slices.Insert(args, 1, "--addr", "unix!"+path)
		if got := run(args, strings.NewReader(""), &stdout, &stderr); got != st || stdout.String()+stderr.String() != want {
			t.Errorf("%v: exit status %d, %q%q; want %d, %q", args, got, &stdout, &stderr, st, want)
		}
	}
	run1("motd\n", 0, "ls")
	run1("welcome", 0, "read", "-n", "7", "motd")
	run1("clone9p: /none: file not found\n", 1, "ls", "/none/at/all")
	run1("clone9p: motd: permission denied\n", 1, "write", "motd", "text")
	run1("clone9p: the server has no device motd2; clone9p ls shows which it has\n", 1, "with", "motd2", "--", "true")
	run1("clone9p: cannot attach to the server at unix!"+path+`: the server does not speak [9P2000.L]: it answered "9P2000"`+"\n", 1, "ls", "--dialect", "9P2000.L")

	cmd := program("read", "--addr", "unix!"+path, "motd")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reads
	stopped(t, cmd, syscall.SIGINT)
	<-flushed
}
