package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// What shell runs when no command is given: the user's login shell, which the device names in the environment.
const loginShell = `exec "${SHELL:-/bin/sh}" -l`

func (a *app) shellCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "shell [ADDR] [-- CMD [ARGS...]]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command, or a login shell, on the server's machine",
		Long: `Shell opens a terminal of the server's device pty, runs CMD on it as you, and joins it to this terminal, whose window
size it follows. Without CMD it is your login shell there. It exits with CMD's status (128 and the signal's number when
a signal killed it). The server must allow it to you (--pty-exec) and must know for sure who you are: over a unix socket and by a certificate it does.

On a terminal all keys go to CMD. After a newline ~. ends a session whose server does not answer; ~~ is one ~.`,
		Example: "  clone9p shell\n  clone9p shell unix!/run/clone9p.sock -- top",
		Args: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case dash < 0 && len(args) > 1:
				return fmt.Errorf("shell has no use for %q; a command stands behind --", args[1])
			case dash > 1:
				return fmt.Errorf("shell has no use for %q", args[1])
			case dash >= 0 && dash == len(args):
				return errors.New("shell wants a command CMD after --")
			}
			return nil
		},
	}
	where := targetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		argv := args
		if dash := cmd.ArgsLenAtDash(); dash != 0 && len(args) > 0 {
			if *where.addr != "" {
				return usagef("--addr and the argument %q are two addresses: one will do", args[0])
			}
			*where.addr, argv = args[0], args[1:]
		}
		if len(argv) == 0 {
			argv = []string{"sh", "-c", loginShell}
		}
		return a.shell(cmd.Context(), where, argv)
	}
	return cmd
}

// errLeft ends a session because its user wants to.
var errLeft = errors.New("you have left by ~ and a dot")

func (a *app) shell(ctx context.Context, t target, argv []string) error {
	c, err := connect(ctx, t)
	if err != nil {
		return err
	}
	defer c.Close()
	s := &shellSession{app: a, session: c}
	if err := s.begin(ctx, argv); err != nil {
		return err
	}
	restore, err := s.takeTerminal()
	if err != nil {
		return err
	}
	defer restore()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := make(chan error, 1)
	s.goDo(restore, func() { end <- s.show(ctx) }) // ends with the command, or the connection, which is closed at the latest when we return
	s.goDo(restore, func() { s.typeIn(ctx, end) }) // ends with the input, or with the process
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(signals)
	s.goDo(restore, func() { s.follow(ctx) })
	over := make(chan error, 1)
	for { // waits for no answer of the server's, so that one that gives none can be left
		select {
		case sig := <-signals:
			return status(128 + int(sig.(syscall.Signal)))
		case err := <-end:
			if err != nil {
				restore() // the sentence begins a line
				return err
			}
			s.goDo(restore, func() { over <- s.status(ctx) }) // ends with ctx at the latest
		case err := <-over:
			return err
		}
	}
}

// A shellSession is a terminal of the server's and this one.
type shellSession struct {
	*app
	*session
	dir    string // of the conversation
	rx, tx *client.File
	size   *client.File // winsize
	tty    *os.File
}

// begin begins a conversation and starts the command. What it opens goes with the connection.
func (s *shellSession) begin(ctx context.Context, argv []string) error {
	clone, dir, err := s.session.begin(ctx, "pty")
	if err != nil {
		return err
	}
	s.dir = dir
	if s.rx, err = s.open(ctx, s.dir+"/rx", p9.ReadOnly); err != nil {
		return err
	}
	if s.tx, err = s.open(ctx, s.dir+"/tx", p9.WriteOnly); err != nil {
		return err
	}
	if s.size, err = s.open(ctx, s.dir+"/winsize", p9.ReadWrite); err != nil {
		return err
	}
	if f, ok := s.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.tty = f
		s.resize(ctx)
	}
	words := []string{"exec"}
	if kind := os.Getenv("TERM"); s.tty != nil && kind != "" {
		words = append(words, "env", "TERM="+kind)
	}
	for _, w := range argv {
		words = append(words, clonefs.Quote(w))
	}
	if _, err := clone.WriteContext(ctx, []byte(strings.Join(words, " ")), 0); err != nil {
		if errors.Is(err, linux.EPERM) {
			return fmt.Errorf("the server does not let you run commands: it wants --pty-exec with your name, and to know for sure who you are")
		}
		return fmt.Errorf("cannot run %s: %w", argv[0], s.hint(err, inTheLog))
	}
	return nil
}

// takeTerminal makes this terminal hand over every key. What it returns gives it back, once, and may be called from any goroutine.
func (s *shellSession) takeTerminal() (restore func(), err error) {
	if s.tty == nil {
		return func() {}, nil
	}
	fd := int(s.tty.Fd())
	was, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("cannot take this terminal: %w", err)
	}
	return sync.OnceFunc(func() { _ = term.Restore(fd, was) }), nil
}

// goDo runs f on a goroutine; a panic there gives the terminal back before it is everybody's.
func (s *shellSession) goDo(restore func(), f func()) {
	go func() {
		done := false
		defer func() {
			if !done {
				restore()
			}
		}()
		f()
		done = true
	}()
}

// follow tells the server how large the window is whenever that changes, until ctx ends.
func (s *shellSession) follow(ctx context.Context) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	defer signal.Stop(changes)
	for {
		select {
		case <-changes:
			s.resize(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// resize tells the server how large the window is.
func (s *shellSession) resize(ctx context.Context) {
	if s.tty == nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(int(s.tty.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 && size.Col > 0 {
		_, _ = s.size.WriteContext(ctx, fmt.Appendf(nil, "%d %d", size.Row, size.Col), 0) // a connection that is lost is noticed by show
	}
}

// show copies what the command prints, to its end.
func (s *shellSession) show(ctx context.Context) error {
	buf := make([]byte, ioSize)
	for {
		n, err := s.rx.ReadContext(ctx, buf, 0)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := s.stdout.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// typeIn copies what is typed. The end of an input that is no terminal is the command's end of input.
func (s *shellSession) typeIn(ctx context.Context, end chan<- error) {
	w := newTyped(ctx, s.tx)
	var esc escape
	buf := make([]byte, 4096)
	for {
		n, err := s.stdin.Read(buf)
		p, left := buf[:n], false
		if s.tty != nil {
			p, left = esc.filter(p)
		}
		w.write(p)
		if left {
			end <- errLeft
			return
		}
		if err != nil {
			break
		}
	}
	w.close()
	if s.tty == nil {
		if ctl, err := s.open(ctx, s.dir+"/ctl", p9.WriteOnly); err == nil {
			_, _ = ctl.WriteContext(ctx, []byte("eof"), 0) // refused where the command has made the terminal raw: it knows no end then
			ctl.Close()
		}
	}
}

// status waits for what the command's end was; its output may end a moment before.
func (s *shellSession) status(ctx context.Context) error {
	for end := time.Now().Add(dialTimeout); ; time.Sleep(10 * time.Millisecond) {
		st, err := s.ended(ctx)
		if err != nil {
			return err
		}
		if st >= 0 {
			if st == 0 {
				return nil
			}
			return status(st)
		}
		if time.Now().After(end) {
			return errors.New("the command has closed its terminal and goes on without it, until now")
		}
	}
}

// ended returns the command's exit status, -1 while it runs.
func (s *shellSession) ended(ctx context.Context) (int, error) {
	f, err := s.open(ctx, s.dir+"/status", p9.ReadOnly)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 4096)
	n, err := f.ReadContext(ctx, buf, 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	return exitStatus(string(buf[:n])), nil
}

// exitStatus finds in the text of pty/N/status how the command ended, as a shell counts: -1 while it runs.
func exitStatus(text string) int {
	for line := range strings.Lines(text) {
		word, arg, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "exit":
			if n, err := strconv.Atoi(arg); err == nil && n >= 0 {
				return n
			}
		case "killed":
			if sig := unix.SignalNum(arg); sig != 0 {
				return 128 + int(sig)
			}
		}
	}
	return -1
}

// An escape looks for ~. behind a newline in what is typed, as ssh(1) does.
type escape struct {
	within bool // a line has begun
	tilde  bool // it begins with a ~ that is held back
}

// filter returns what of p is for the command, in p's memory and at most two bytes more, and whether the user wants to leave.
func (e *escape) filter(p []byte) (out []byte, left bool) {
	out = make([]byte, 0, len(p)+1)
	for _, b := range p {
		if e.tilde {
			e.tilde = false
			switch b {
			case '.':
				return out, true
			case '~':
			default:
				out = append(out, '~')
			}
			e.within = true
		} else if b == '~' && !e.within {
			e.tilde = true
			continue
		}
		out = append(out, b)
		e.within = b != '\r' && b != '\n'
	}
	return out, false
}

// maxTyped is how much is held of what is typed while the server takes nothing: beyond it the terminal's own buffer is left to fill.
const maxTyped = 64 << 10

// A typed is what was typed and the server has not taken yet: so that keys are looked at, and ~. is seen, while a write waits.
type typed struct {
	mu     sync.Mutex // guards all below
	change sync.Cond
	held   []byte
	closed bool
	done   chan struct{} // closed when the copying goroutine has ended
}

// newTyped returns one that writes to f, until it is closed or a write fails.
func newTyped(ctx context.Context, f *client.File) *typed {
	t := &typed{done: make(chan struct{})}
	t.change.L = &t.mu
	go t.copy(ctx, f)
	return t
}

// write holds p for the server.
func (t *typed) write(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.held) > maxTyped && !t.closed {
		t.change.Wait()
	}
	t.held = append(t.held, p...)
	t.change.Broadcast()
}

// close waits until the server has taken all.
func (t *typed) close() {
	t.mu.Lock()
	t.closed = true
	t.change.Broadcast()
	t.mu.Unlock()
	<-t.done
}

func (t *typed) copy(ctx context.Context, f *client.File) {
	defer close(t.done)
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		for len(t.held) == 0 && !t.closed {
			t.change.Wait()
		}
		if len(t.held) == 0 {
			return
		}
		p := t.held[:min(len(t.held), f.MaxIO())]
		t.mu.Unlock()
		n, err := f.WriteContext(ctx, p, 0)
		t.mu.Lock()
		if err != nil { // the connection is lost, or the command gone: show hears of it
			t.closed, t.held = true, nil
			t.change.Broadcast()
			return
		}
		t.held = t.held[n:]
		t.change.Broadcast()
	}
}
