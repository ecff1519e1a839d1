package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/cmd/clone9p/internal/fusemount"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/linux"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// Who runs the tests under nohup ignores SIGHUP, and so would the servers that they start: a signal that somebody waits for is not inherited.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	testscript.Main(m, map[string]func(){"clone9p": main, helperAny: main, helperFUSE: main})
}

// A script is run with CLONE9P_ADDR set to a server in this process, whose one device is box. It may start the real one:
//
//	serve [FLAGS]        clone9p serve --listen unix!$WORK/s, until it says that it serves; CLONE9P_ADDR is its address,
//	                     TCP and TLS the last ones over these, PID its process
//	logged PATTERN       waits until that server's log matches
//	end SIGNAL STATUS    sends the signal, waits for the end, which must have that exit status; its log is $WORK/log then
//	status N COMMAND     runs the command, which must exit with N
//	ca NAME, cert ...    make certificates, see tls_test.go
//
// Conditions: root, tun (TAP interfaces can be made in a private network), mount (FUSE can be used), 9p (the kernel knows it), linux.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":  cmdServe,
			"end":    cmdEnd,
			"logged": cmdLogged,
			"status": cmdStatus,
			"ca":     cmdCA,
			"cert":   cmdCert,
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Getuid() == 0, nil
			case "tun":
				ok, _ := checkTun(tunDevice)
				return ok, nil
			case "9p":
				return kernelHas9P(), nil
			case "mount":
				why := fusemount.Possible()
				if why != nil && os.Geteuid() == 0 {
					return false, why // root is to test it
				}
				return why == nil, nil
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
	})
}

// noSleep is the setting of GORACE under which a program with the race detector does not sleep a second before it exits.
const noSleep = "atexit_sleep_ms=0"

// setup starts the server in this process.
func setup(e *testscript.Env) error {
	tree, err := clonefs.New(clonefs.Config{}, boxes())
	if err != nil {
		return err
	}
	l, err := listen.Listen("unix!"+filepath.Join(e.WorkDir, "box"), listen.Options{})
	if err != nil {
		return err
	}
	s := server.New(tree, server.Config{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	e.Defer(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), tree.Close(ctx), <-served); err != nil {
			e.T().Log(err)
			e.T().FailNow()
		}
	})
	e.Setenv("CLONE9P_ADDR", "unix!"+filepath.Join(e.WorkDir, "box"))
	e.Setenv("XDG_RUNTIME_DIR", e.WorkDir)
	e.Setenv("GORACE", noSleep)
	e.Values["serve"] = new(process)
	return nil
}

// A box is a conversation that keeps what is put into it.
type box struct {
	mu  sync.Mutex // guards what
	was string
	q   *clonefs.Queue
}

// boxes is a device without hardware: a text, and a file of records that gives back what is written.
func boxes() clonefs.Driver {
	return &clonefs.Device[*box]{
		Name:  "box",
		Doc:   "a box an open",
		Clone: func(context.Context, *clonefs.Conv) (*box, error) { return &box{q: clonefs.NewQueue(16)}, nil },
		Ctl: clonefs.Messages[*box]{
			{Word: "put", Args: "WORD...", Help: "put words into the box", Do: func(b *box, _ context.Context, words []string) error {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.was = strings.Join(words, " ")
				return nil
			}},
			{Word: "burn", Help: "fail", Do: func(*box, context.Context, []string) error {
				return p9ext.Errorf(linux.EHOSTDOWN, "the box is on fire")
			}},
		},
		Files: clonefs.Files[*box]{
			{Name: "ifname", Mode: 0o444, Help: "its name", Text: func(b *box) (string, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				return "box-" + b.was + "\n", nil
			}},
			{Name: "data", Mode: 0o660, Help: "its records", Duplex: func(b *box, _ context.Context, m clonefs.Mode) (clonefs.Stream, error) {
				return &boxStream{Queue: b.q}, nil
			}},
		},
	}
}

func (b *box) Close() error { return nil }

// A boxStream is one open of data: what is written can be read.
type boxStream struct{ *clonefs.Queue }

func (s *boxStream) WriteContext(_ context.Context, p []byte, _ int64) (int, error) {
	s.Push(p)
	return len(p), nil
}

// Close leaves the queue to the box.
func (s *boxStream) Close() error { return nil }

// A process is the server that a script started.
type process struct {
	cmd    *exec.Cmd     // nil when there is none
	logged chan struct{} // closed when its log has ended: no process that could write it is left
}

// cmdServe is the command serve.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value("serve").(*process)
	if neg || p.cmd != nil {
		ts.Fatalf("usage: serve [FLAGS], once at a time")
	}
	self, err := exec.LookPath("clone9p") // the scripts' own PATH has it first
	if dir, _, ok := strings.Cut(ts.Getenv("PATH"), string(os.PathListSeparator)); ok {
		self, err = filepath.Join(dir, "clone9p"), nil
	}
	ts.Check(err)
	path := ts.MkAbs("s")
	cmd := exec.Command(self, append([]string{"serve", "--listen", "unix!" + path, "--log-format", "json", "--log-level", "debug"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+ts.Getenv("WORK"), "GORACE="+noSleep)
	cmd.Dir = ts.MkAbs(".")
	r, w, err := os.Pipe()
	ts.Check(err)
	cmd.Stderr = w
	log, err := os.Create(ts.MkAbs("log"))
	ts.Check(err)
	ts.Check(cmd.Start())
	w.Close()
	logged := make(chan struct{})
	p.cmd, p.logged = cmd, logged
	type serves struct {
		pid  int
		addr []string
	}
	serving := make(chan serves, 1)
	go func() { // ends with the last process that writes the log
		defer close(logged)
		defer r.Close()
		defer log.Close()
		for b := bufio.NewScanner(r); b.Scan(); {
			fmt.Fprintln(log, b.Text())
			var line struct {
				Message string
				PID     int
				Addr    []string
			}
			if json.Unmarshal(b.Bytes(), &line) == nil && line.Message == "serving" {
				serving <- serves{line.PID, line.Addr}
			}
		}
		close(serving)
	}()
	ts.Defer(func() {
		if p.cmd == cmd {
			cmd.Process.Kill()
			cmd.Wait()
		}
		<-logged
	})
	now, ok := <-serving
	if !ok {
		b, _ := os.ReadFile(ts.MkAbs("log"))
		ts.Fatalf("the server ended: %s", b)
	}
	ts.Setenv("PID", fmt.Sprint(now.pid))
	for _, addr := range now.addr {
		if network, _, _ := strings.Cut(addr, "!"); network == "tcp" || network == "tls" {
			ts.Setenv(strings.ToUpper(network), addr)
		}
	}
	ts.Setenv("CLONE9P_ADDR", "unix!"+path)
}

// cmdEnd is the command end.
func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value("serve").(*process)
	sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}
	if neg || len(args) != 2 || sig[args[0]] == 0 || p.cmd == nil {
		ts.Fatalf("usage: end TERM|INT|HUP|KILL STATUS, after serve")
	}
	begin := time.Now()
	ts.Check(p.cmd.Process.Signal(sig[args[0]]))
	late := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	p.cmd.Wait()
	late.Stop()
	if d := time.Since(begin); d > 2*time.Second {
		ts.Fatalf("it took %v to end", d)
	}
	if st := fmt.Sprint(p.cmd.ProcessState.ExitCode()); st != args[1] {
		ts.Fatalf("exit status %s, want %s", st, args[1])
	}
	<-p.logged
	p.cmd = nil
}

// cmdLogged is the command logged.
func cmdLogged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: logged PATTERN")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs("log"))
		ts.Check(err)
		if re.Match(b) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the log does not say %q:\n%s", args[0], b)
		}
	}
}

// cmdStatus is the command status.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND [ARGS]")
	}
	err := ts.Exec(args[1], args[2:]...)
	st := "0"
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		st = fmt.Sprint(exit.ExitCode())
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if st != args[0] {
		ts.Fatalf("exit status %s, want %s", st, args[0])
	}
}

// A broken pipe to a client's reader, a server that goes away: what run prints is one sentence.
func TestErrorsAreOneSentence(t *testing.T) {
	for _, args := range [][]string{
		{"ls", "--addr", "unix!" + filepath.Join(t.TempDir(), "none")},
		{"read"},
		{"bogus"},
	} {
		var stdout, stderr bytes.Buffer
		if st := run(args, strings.NewReader(""), &stdout, &stderr); st == 0 {
			t.Errorf("%v: exit status 0", args)
		}
		b, err := io.ReadAll(&stderr)
		if s := string(b); err != nil || strings.Count(s, "\n") != 1 || !strings.HasPrefix(s, "clone9p: ") || stdout.Len() > 0 {
			t.Errorf("%v: printed %q", args, s)
		}
	}
}
