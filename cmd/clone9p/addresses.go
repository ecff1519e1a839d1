package main

import (
	"time"

	"github.com/clone9p/clone9p/server/listen"
	"github.com/spf13/cobra"
)

// commandTimeout is how long a server behind a command may take to answer: ssh may ask a person for a password first.
const commandTimeout = 2 * time.Minute

// timeoutOf is how long the server at addr may take to answer a client that connects.
func timeoutOf(addr string) time.Duration {
	if a, err := listen.Parse(addr); err == nil && a.Network == "exec" {
		return commandTimeout
	}
	return dialTimeout
}

// addressesTopic is the help topic, and manual page, of all forms of addresses.
func addressesTopic() *cobra.Command {
	return &cobra.Command{
		Use:                   "addresses",
		DisableFlagsInUseLine: true,
		Short:                 "the forms of addresses",
		Annotations:           map[string]string{manSection: "7"},
		Long: `An address says where a server listens (--listen ADDR) or where a client finds it (--addr ADDR, $CLONE9P_ADDR).
For a shell in which ! is history, unix:PATH means the same as unix!PATH, and so on for all forms.

    unix!PATH       listen, dial   a unix socket
    unix!@NAME      listen, dial   a unix socket without a file (Linux)
    tcp!HOST!PORT   listen, dial   a TCP port
    vsock!CID:PORT  listen, dial   between a virtual machine and its host (Linux)
    stdio!          listen         standard input and output
    fd!R[,W]        listen         open descriptors
    systemd![NAME]  listen         sockets that systemd has passed
    exec!COMMAND    dial           the standard input and output of a command
    dev!PATH        dial           a character device that leads to a server

unix!PATH: the kernel proves who a client is. Root may attach as anyone, others as themselves. Mode and group of the
socket's file (--socket-mode, --socket-group) say who may connect at all.

unix!@NAME: clients are proven in the same way. But there is no file whose mode could keep anybody out: whoever shares the
network namespace in which the server was started, on most machines every user, may connect, and do what
the modes of the devices' files and the rules of the configuration (access) let them do as themselves. The name is free when the server
is gone, and anybody may take it; a client that minds asks for a PATH in a directory that others cannot write. Linux's mount
cannot use it.

tcp!HOST!PORT: HOST is a name, a number or *, which is every address of the machine; PORT is a number or a name such as 9pfs.
Clients are nobody, or with --tcp-identity trust who they say. What other hosts reach is listened on only with --insecure-tcp.

vsock!CID:PORT: CID is the context identifier of a machine: any to listen on all of one's own, host to reach the host from a
guest, the number of a guest from its host, local for this machine itself (with the module vsock_loopback). No other machine can
reach it, but any user of those can: a client has no user, and is treated as over tcp.

stdio!: one client, who is at the other end of standard input and output. The server ends with it, with status 0.
Started by ssh, the client is the user who has logged in:

    clone9p ls --addr 'exec!ssh host clone9p serve --listen stdio!'

Nothing else comes from that input or goes to that output: the log goes to standard error, and where that is the same file, as inetd has
it, nowhere. Over pipes and socketpairs
the client is the server's own user, for who has started it can do all that it can. A connected socket, such as
inetd's, is treated as its kind: a client over tcp as above, one of a unix socket as itself.

fd!R[,W]: the same on descriptors that whoever starts the server has opened, from 3 on: R is a connected socket, or R and W are
two pipes. A socket that listens is served as if it had been made here. Of several addresses with one client each
the last to end ends the server, whatever else it listens on.

systemd![NAME]: all sockets that a .socket unit has passed to the service, or those called NAME (FileDescriptorName=, else the unit's
name): unix sockets and tcp, listening or, with Accept=yes, connected. Their files and modes are systemd's. A service
of Type=notify is told READY=1 when the server has answered itself over a connection of its own, RELOADING=1 while a
configuration is read again, STOPPING=1 at the end, and with WatchdogSec= WATCHDOG=1 twice in that time, each after
another such answer: a server that hangs is started again. All of it comes from the process that systemd has
started, in a private network namespace too: NotifyAccess=main will do.

exec!COMMAND: COMMAND is run by /bin/sh, with the standard error and the terminal of clone9p. When the connection ends, so does its input; a
second later it is gone, killed where that is needed. Each clone9p that dials the address runs a COMMAND of its own; two minutes are for
what ssh may ask. It reaches a server that runs already by relay:

    clone9p ls --addr 'exec!ssh host clone9p relay'

dev!PATH: a port of virtio-serial in a guest, or a serial line, whose other end the machine's host has joined to a server. One client at a time can use it, so
it is for clone9p mount. The server does not hear of a client's end: what that has held goes when the next one begins. A client
that was killed in the middle of a message leaves the server waiting for the rest, until the host's end of the device is closed.`,
	}
}
