// Clone9p serves devices that clone, over 9P, and is a small client for them.
//
// Opening ethfoo/clone makes a new network interface; the descriptor is its control file, and when the last one closes the
// interface is gone. See the README for a tour; clone9p help lists the commands.
//
// The exit status is 0, or 1 when something failed, or 2 when the command line was wrong; the command with passes its own command's on.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	if helper := helperName(os.Args[0]); helper != "" {
		os.Exit(mountHelper(helper, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// An app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	parsed bool // the command line was right: what fails from here on is no usage error
}

// A status is the error of a command that has said all there is to say and only wants this exit status.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// A usageError is a wrong command line that only the command itself could see.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run runs the program with these arguments and returns its exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	var st status
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &st):
		return int(st)
	case errors.As(err, &usage) || !a.parsed:
		fmt.Fprintf(stderr, "clone9p: %s; see %s --help\n", sentence(err), cmd.CommandPath())
		return 2
	}
	fmt.Fprintf(stderr, "clone9p: %s\n", sentence(err))
	return 1
}

// sentence makes one line of an error.
func sentence(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "clone9p",
		Short: "devices that clone, over 9P",
		Long: `Clone9p is a 9P file server whose files are devices that clone. Opening DEV/clone begins a new
conversation with the device DEV: the file that was opened is its control file, reading it gives the
number N of the new directory DEV/N, and when the last working file in there is closed it is over.

Serve the tree, then mount it on Linux:

    clone9p serve
    mount -t 9p -o trans=unix,version=9p2000.L,cache=none,noxattr,access=user,msize=1048576 \
        /run/clone9p.sock /n/clone

or reach it without a mount, by ls, read, write and with.

An address is unix!PATH, tcp!HOST!PORT or tls!HOST!PORT; unix:PATH, tcp:HOST:PORT and tls:HOST:PORT mean the same, for shells
where ! is history. Over TLS both sides show certificates: see serve --help for what those of users are. clone9p help addresses has
all forms.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q", args[0])
			}
			return errors.New("no command given")
		},
		RunE:             func(*cobra.Command, []string) error { return nil }, // not reached: Args always fails
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { a.parsed = true; keepTLSFlags(cmd) },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddCommand(
		a.serveCommand(),
		a.configCommand(),
		a.lsCommand(),
		a.readCommand(),
		a.writeCommand(),
		a.withCommand(),
		a.shellCommand(),
		a.relayCommand(),
		a.mountCommand(),
		a.umountCommand(),
		a.dmoverCommand(),
		a.playCommand(),
		a.recordCommand(),
		a.checkCommand(),
		a.versionCommand(),
		a.manCommand(),
	)
	root.AddCommand(topicCommands(kinds())...)
	root.AddCommand(addressesTopic())
	return root
}

// exactly is cobra.ExactArgs with words: each argument is named in the error.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		return count(cmd, args, len(names), names)
	}
}

// between accepts the first min names at least and all of them at most.
func between(min int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return count(cmd, args, min, names) }
}

func count(cmd *cobra.Command, args []string, min int, names []string) error {
	switch {
	case len(args) < min:
		return fmt.Errorf("%s wants %s", cmd.Name(), names[len(args)])
	case len(args) > len(names):
		return fmt.Errorf("%s has no use for %q", cmd.Name(), args[len(names)])
	}
	return nil
}
