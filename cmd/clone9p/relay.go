package main

import (
	"context"
	"io"
	"net"

	"github.com/spf13/cobra"
)

func (a *app) relayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "relay [ADDR]",
		DisableFlagsInUseLine: true,
		Short:                 "Join standard input and output to a server",
		Long: `Relay connects to the server at ADDR and copies what comes from standard input to it, and what it answers to standard output. So whoever
starts a command can reach a server that has no port of its own: a virtual machine through QEMU's guestfwd, inetd, ssh.

At the end of its input it tells the server, which ends the session; it ends when the server does.`,
		Example: "  ssh host clone9p relay\n  qemu-system-x86_64 ... -netdev user,id=n,guestfwd=tcp:10.0.2.100:564-cmd:'clone9p relay'",
		Args:    between(0, "an address ADDR"),
	}
	addr := addrFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			if *addr != "" {
				return usagef("--addr and the argument %q are two addresses: one will do", args[0])
			}
			*addr = args[0]
		}
		where, err := serverAddr(*addr)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), dialTimeout)
		defer cancel()
		conn, err := dial(ctx, where)
		if err != nil {
			return err
		}
		defer conn.Close()
		return relay(conn, a.stdin, a.stdout)
	}
	return cmd
}

// relay copies both ways until the server has no more to say.
func relay(conn net.Conn, in io.Reader, out io.Writer) error {
	go func() { // ends with the input, or with the process
		if _, err := io.Copy(conn, in); err != nil {
			return // the connection is lost, which the other direction tells, or nobody reads our input
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // the server may have closed it already
		}
	}()
	_, err := io.Copy(out, conn)
	return err
}
