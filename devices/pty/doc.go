// Package pty is a device whose conversations are pseudo-terminals, after ptmx and ptyfs: whoever opens pty/clone holds the master of a new
// pair until the last of its files is closed.
//
//	pty/N/data rx tx   the master's bytes: what the terminal shows, and what is typed
//	pty/N/winsize      ROWS COLS; writing them sends SIGWINCH
//	pty/N/slave        the path of the slave on the server's machine
//
// The slave belongs to the opener, with mode 0620, before anybody can open it. A program on the server's machine may have it as its terminal, or
// one that ctl starts:
//
//	exec 3<>/n/clone/pty/clone; read n <&3
//	cat /n/clone/pty/$n/rx &
//	echo exec sh >&3
//	echo 'echo $((6*7))' >/n/clone/pty/$n/tx
//	exec 3>&-                # SIGHUP for all that runs there, and then SIGKILL
//
// # Reading
//
// Every open of rx or data has a queue of its own from the moment of its open and gets everything. A read brings what lies there: the echo of one
// key is one read. Nothing is lost: a program that writes more than its readers take waits, and the slowest of several readers sets the pace.
// While nobody has rx or data open the kernel's buffer keeps a few kilobytes for who comes, and then the program waits.
//
// When the last descriptor of the slave is closed after a command has run, readers come to the end of the file; Linux itself has EIO there. Until
// a command has run the server holds the slave, so that programs may come and go. The end waits for a reader, as the output does; after it
// another command may run, and who opens rx then reads on.
//
// # Writing
//
// A write that the line discipline has no room for waits, and can be interrupted.
//
// # Commands
//
// exec is off unless [Config.Exec] allows it to the owner, and then only if the transport proved who that is: never to a peer who merely
// says so. The command runs with the owner's uid, groups and home, an environment of its own, the slave as its controlling terminal and
// the leader of a new session. status tells how it ended: `exit CODE` or `killed SIGNAL`.
//
// What of that session the owner could kill himself is killed when the conversation ends, a quarter of a second after the SIGHUP
// that the kernel sends. A program that has made itself a session of its own, as daemons do, lives on, as it does after a logout.
//
// # Privileges
//
// A server that is not root serves its own user only. Root's gives slaves away (CAP_CHOWN, CAP_FOWNER) and runs commands as others (CAP_SETUID, CAP_SETGID,
// CAP_KILL).
//
// On systems other than Linux New returns an error and the rest of the package does nothing.
package pty
