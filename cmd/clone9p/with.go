package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strings"
	"syscall"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/cmd/clone9p/internal/private"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The exit statuses of with for a command that could not be run, as of a shell.
const (
	cannotRun = 126
	notFound  = 127
)

func (a *app) withCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "with [--addr ADDR] [--enter] DEV -- CMD [ARGS...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command while holding a new conversation with a device",
		Long: `With opens DEV/clone, runs CMD while it holds it, and exits with CMD's status (128 and the signal's number when
a signal killed it). When CMD ends the conversation is over, unless CMD made it persist. CMD's environment has

    CLONE_N       the number of the conversation: 0
    CLONE_DEV     its directory on the server: /ethfoo/0
    CLONE_IFNAME  the name of its network interface, where it has one: ethfoo0
    CLONE9P_ADDR  the address of the server, which the other commands use; over TLS
                  CLONE9P_TLS_CERT, CLONE9P_TLS_KEY and CLONE9P_TLS_CA as well

SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to CMD.

With --enter CMD runs inside the network namespace of the server, which is one of its own when the server may not
administer that of the machine. An ordinary user's CMD can configure interfaces, ping and run tcpdump in there. It
takes a unix socket as address, and being the server's user or root.`,
		Example: `  clone9p with ethfoo --enter -- sh -c 'clone9p write $CLONE_DEV/ctl up; ip link show $CLONE_IFNAME'`,
		Args: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			switch {
			case len(args) == 0 || dash == 0:
				return errors.New("with wants a device DEV")
			case dash < 0:
				return errors.New("with wants -- and a command CMD after the device")
			case dash > 1:
				return fmt.Errorf("with has no use for %q", args[1])
			case len(args) == dash:
				return errors.New("with wants a command CMD after --")
			}
			return nil
		},
	}
	where := targetFlags(cmd)
	enter := cmd.Flags().Bool("enter", false, "run CMD inside the server's network namespace")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.with(cmd.Context(), where, args[0], args[1:], *enter)
	}
	return cmd
}

func (a *app) with(ctx context.Context, t target, dev string, argv []string, enter bool) error {
	run := exec.Command(argv[0], argv[1:]...)
	if run.Err != nil {
		return a.unrunnable(argv[0], run.Err)
	}
	s, err := connect(ctx, t)
	if err != nil {
		return err
	}
	defer s.Close()
	clone, dir, err := s.begin(ctx, dev)
	if err != nil {
		return err
	}
	// The reply to the clunk follows the driver's Close: after with nothing is left of the conversation.
	defer clone.Close()

	run.Stdin, run.Stdout, run.Stderr = a.stdin, a.stdout, a.stderr
	run.Env = append(os.Environ(), "CLONE_N="+path.Base(dir), "CLONE_DEV="+dir, "CLONE9P_ADDR="+s.addr)
	run.Env = append(run.Env, tlsEnv(ctx, s.addr)...)
	if f, err := s.open(ctx, dir+"/ifname", p9.ReadOnly); err == nil {
		if name, err := readLine(ctx, f); err == nil {
			run.Env = append(run.Env, "CLONE_IFNAME="+name)
		}
		f.Close()
	}

	signals := make(chan os.Signal, 16)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		if !signal.Ignored(sig) { // nohup is to mean what it says, to the command too
			signal.Notify(signals, sig)
		}
	}
	defer signal.Stop(signals)

	if enter {
		pid, err := listen.ServerPID(s.net)
		if err != nil {
			return fmt.Errorf("--enter: %w", err)
		}
		err = private.Start(run, pid)
		if err != nil {
			return a.unrunnable(argv[0], err)
		}
	} else if err := run.Start(); err != nil {
		return a.unrunnable(argv[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }() // ends with the command, which we wait for
	for {
		select {
		case sig := <-signals:
			if !fromTerminal(sig) {
				_ = run.Process.Signal(sig) // it may be gone already
			}
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return err
			}
			if st := private.Status(run.ProcessState); st != 0 {
				return status(st)
			}
			return nil
		}
	}
}

// unrunnable says why a command could not be run, with the exit status that a shell has for it.
func (a *app) unrunnable(name string, err error) error {
	st := cannotRun
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		st = notFound
		err = errors.New("command not found")
	case errors.Is(err, fs.ErrPermission):
		err = errors.New("permission denied")
	default:
		return err
	}
	fmt.Fprintf(a.stderr, "clone9p: cannot run %s: %v\n", name, err)
	return status(st)
}

// fromTerminal reports whether a signal may come from the terminal, which has sent it to the command too.
func fromTerminal(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	foreground, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

// readLine returns the first line of a text file of the server.
func readLine(ctx context.Context, f *client.File) (string, error) {
	buf := make([]byte, 4096)
	n, err := f.ReadContext(ctx, buf, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	if line == "" {
		return "", errors.New("the file is empty")
	}
	return line, nil
}
