package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/cobra"
)

const (
	dialTimeout = 10 * time.Second

	// flushTimeout is how long a command that was interrupted waits for the server to say so, and quitTimeout how long for itself: it may
	// be writing to somebody who does not read.
	flushTimeout = 2 * time.Second
	quitTimeout  = 3 * time.Second

	// ioSize is the most that one read or write carries; with its header it fits clientMessage.
	ioSize        = 256 << 10
	clientMessage = ioSize + 4096
)

// addrFlag gives a client command its flag --addr, and those that a tls address wants.
func addrFlag(cmd *cobra.Command) *string {
	tlsFlags(cmd)
	return cmd.Flags().String("addr", "", "`ADDR` of the server (default $CLONE9P_ADDR, else the default socket)")
}

// serverAddr decides where the server is: by the flag, by the environment, by default.
func serverAddr(flag string) (string, error) {
	if flag == "" {
		flag = os.Getenv("CLONE9P_ADDR")
	}
	if flag == "" {
		return listen.Default()
	}
	if _, err := listen.Parse(flag); err != nil {
		return "", usageError{err}
	}
	return flag, nil
}

// A target says which server, and how to speak with it.
type target struct{ addr, dialect *string }

// targetFlags gives a client command the flags that a target comes from.
func targetFlags(cmd *cobra.Command) target {
	return target{addrFlag(cmd), cmd.Flags().String("dialect", "",
		"speak 9P2000.L, 9P2000.u or 9P2000 and no other `DIALECT` (default the first that the server knows)")}
}

// dialects are what to ask the server for, in this order.
func (t target) dialects() ([]client.Dialect, error) {
	if *t.dialect == "" {
		return []client.Dialect{client.P9L, client.P9u, client.P9}, nil
	}
	d, err := client.ParseDialect(*t.dialect)
	if err != nil {
		return nil, usagef("--dialect: %w", err)
	}
	return []client.Dialect{d}, nil
}

// A session is one with a server, attached.
type session struct {
	addr string
	net  net.Conn
	conn *client.Conn
	root *client.File
}

// connect dials the server and attaches.
func connect(ctx context.Context, t target) (*session, error) {
	dialects, err := t.dialects()
	if err != nil {
		return nil, err
	}
	addr, err := serverAddr(*t.addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(addr))
	defer cancel()
	nc, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	s := &session{addr: addr, net: nc}
	s.conn, err = client.New(ctx, nc, client.Options{Dialects: dialects, MaxMessage: clientMessage, FlushTimeout: flushTimeout})
	if err == nil {
		s.root, err = attach(ctx, s.conn)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it does not answer within %v", dialTimeout)
	}
	if err != nil {
		if why := listen.Refused(nc); why != nil {
			err = why
		}
		if s.conn != nil {
			s.conn.Close()
		}
		return nil, fmt.Errorf("cannot attach to the server at %s: %w", addr, err)
	}
	return s, nil
}

// attach asks for the root with records off: this client does not refill short reads, so it needs no help against it, which Linux's does; who
// it is is for the connection to prove. A server that is not ours knows no such tree: its root has no name, or that of the root, and it
// takes a user at his word.
func attach(ctx context.Context, c *client.Conn) (root *client.File, err error) {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	for _, a := range []client.Attach{{Name: "/?records=off"}, {User: name}, {Name: "/", User: name}} {
		root, err = c.Attach(ctx, a)
		if err == nil || ctx.Err() != nil || c.Err() != nil || errors.Is(err, linux.EACCES) || errors.Is(err, linux.EPERM) {
			break
		}
	}
	return root, err
}

// Close ends the session; the server closes what is open in it.
func (s *session) Close() error { return s.conn.Close() }

// walk returns the file at a slash-separated path, not opened.
func (s *session) walk(ctx context.Context, name string) (*client.File, error) {
	f, err := s.root.Walk(ctx, name)
	if err == nil {
		return f, nil
	}
	if w := (*client.WalkError)(nil); errors.As(err, &w) { // it may be a directory on the way that is missing
		err, name = w.Err, path.Join(name[:len(name)-len(strings.TrimLeft(name, "/"))], w.Path)
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

// open walks to a file and opens it.
func (s *session) open(ctx context.Context, name string, flags p9.OpenFlags) (*client.File, error) {
	f, err := s.walk(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := f.Open(ctx, flags); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// begin begins a conversation with the device dev, and returns its control file and its directory, "/ethfoo/0".
func (s *session) begin(ctx context.Context, dev string) (ctl *client.File, dir string, err error) {
	dev = path.Join("/", dev)
	ctl, err = s.open(ctx, dev+"/clone", p9.ReadWrite)
	if errors.Is(err, linux.ENOENT) {
		return nil, "", fmt.Errorf("the server has no device %s; clone9p ls shows which it has", strings.TrimPrefix(dev, "/"))
	}
	if err != nil {
		return nil, "", s.hint(err, inTheLog)
	}
	n, err := readLine(ctx, ctl)
	if err != nil {
		ctl.Close()
		return nil, "", fmt.Errorf("%s/clone: %w", dev, err)
	}
	return ctl, dev + "/" + n, nil
}

// text reads a short text file of the server.
func (s *session) text(ctx context.Context, name string) (string, error) {
	f, err := s.open(ctx, name, p9.ReadOnly)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, ioSize)
	n, err := f.ReadContext(ctx, buf, 0)
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(buf[:n]), nil
}

// hint says where the words are that belong to err: 9P2000.L carries the number of an error only.
func (s *session) hint(err error, where string) error {
	if s.conn.Dialect() != client.P9L {
		return err
	}
	return fmt.Errorf("%w (%s)", err, where)
}

const inTheLog = "the server's log says more"

// interruptible runs f until it ends, or SIGINT or SIGTERM ends its context: the request that f waits for is taken back from the server then.
func interruptible(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- f(ctx) }() // ends with f; or with the process, where nobody takes its output
	select {
	case err := <-done:
		return err
	case s := <-signals:
		signal.Stop(signals) // a second one ends us as it ends others
		cancel()
		select {
		case <-done:
		case <-time.After(quitTimeout):
		}
		return status(128 + int(s.(syscall.Signal)))
	}
}

func (a *app) lsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [-l] [PATH]",
		Short: "List a directory of the server",
		Long: `Ls lists the directory PATH of the server, a name a line; without PATH its root. Of a file it prints the name.
With -l each line has the mode, the numbers of owner and group, the length and the name.`,
		Example: "  clone9p ls /ethfoo\n  clone9p ls -l /ethfoo/0",
		Args:    between(0, "a PATH"),
	}
	where := targetFlags(cmd)
	long := cmd.Flags().BoolP("long", "l", false, "mode, owner, group and length as well")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := "/"
		if len(args) > 0 {
			name = args[0]
		}
		return interruptible(cmd.Context(), func(ctx context.Context) error {
			s, err := connect(ctx, where)
			if err != nil {
				return err
			}
			defer s.Close()
			return a.ls(ctx, s, name, *long)
		})
	}
	return cmd
}

// ls prints the names in a directory, or that of a file.
func (a *app) ls(ctx context.Context, s *session, name string, long bool) error {
	f, err := s.walk(ctx, name)
	if err != nil {
		return err
	}
	defer f.Close()
	attr, err := f.GetAttr(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !attr.Mode.IsDir() {
		return a.lsLine(name, attr, long)
	}
	if err := f.Open(ctx, p9.ReadOnly); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	entries, err := f.ReadDir(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, e := range entries {
		var attr client.Attr
		switch {
		case e.Attr != nil:
			attr = *e.Attr
		case long:
			f, err := s.walk(ctx, path.Join(name, e.Name))
			if errors.Is(err, linux.ENOENT) {
				continue // a conversation that has ended meanwhile
			}
			if err != nil {
				return err
			}
			attr, err = f.GetAttr(ctx)
			f.Close()
			if err != nil {
				continue
			}
		}
		if err := a.lsLine(e.Name, attr, long); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) lsLine(name string, attr client.Attr, long bool) error {
	if !long {
		_, err := fmt.Fprintln(a.stdout, name)
		return err
	}
	who := func(id uint32, name string) string {
		if id == client.NoUID && name != "" { // plain 9P2000 has no numbers
			return name
		}
		return fmt.Sprint(id)
	}
	_, err := fmt.Fprintf(a.stdout, "%v %5s %5s %8d %s\n", attr.Mode.OSMode(), who(attr.UID, attr.User), who(attr.GID, attr.Group), attr.Size, name)
	return err
}

func (a *app) readCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "read [-n BYTES] PATH",
		Short: "Read a file of the server",
		Long: `Read copies the file PATH to standard output, to its end, each piece as it comes. With -n it does one read
of at most that many bytes instead: of a file of records, such as ethfoo/N/rx, that is one record.`,
		Example: "  clone9p read /devices\n  clone9p read -n 2000 /ethfoo/0/rx | od -A d -t x1",
		Args:    exactly("a PATH"),
	}
	where := targetFlags(cmd)
	n := cmd.Flags().IntP("bytes", "n", 0, "do one read of at most `BYTES` bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		once := cmd.Flags().Changed("bytes")
		if once && (*n < 1 || *n > ioSize) {
			return usagef("-n %d: one read has 1 to %d bytes", *n, ioSize)
		}
		return interruptible(cmd.Context(), func(ctx context.Context) error {
			s, err := connect(ctx, where)
			if err != nil {
				return err
			}
			defer s.Close()
			f, err := s.open(ctx, args[0], p9.ReadOnly)
			if err != nil {
				return err
			}
			defer f.Close()
			size := ioSize
			if once {
				size = *n
			}
			buf := make([]byte, size)
			for off := int64(0); ; {
				n, err := f.ReadContext(ctx, buf, off)
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				off += int64(n)
				if _, err := a.stdout.Write(buf[:n]); err != nil {
					return err
				}
				if once {
					return nil
				}
			}
		})
	}
	return cmd
}

func (a *app) writeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "write PATH [TEXT]",
		Short: "Write to a file of the server",
		Long: `Write writes TEXT to the file PATH, in one write; without TEXT it copies standard input, a write for each read.
Nothing is added: a frame written to ethfoo/N/tx goes out as it is, and a message to ctl needs no newline.`,
		Example: "  clone9p write /ethfoo/0/ctl up\n  printf 'add 10.9.0.1/24\\nup\\n' | clone9p write /ethfoo/0/ctl",
		Args:    between(1, "a PATH", "a TEXT"),
	}
	where := targetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return interruptible(cmd.Context(), func(ctx context.Context) error {
			s, err := connect(ctx, where)
			if err != nil {
				return err
			}
			defer s.Close()
			return a.write(ctx, s, args[0], args[1:])
		})
	}
	return cmd
}

// write writes the text, or else what comes from standard input.
func (a *app) write(ctx context.Context, s *session, name string, text []string) error {
	f, err := s.open(ctx, name, p9.WriteOnly)
	if err != nil {
		return err
	}
	var off int64
	write := func(p []byte) error {
		n, err := f.WriteContext(ctx, p, off)
		off += int64(n)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		if errors.Is(err, linux.EINVAL) && path.Base(name) == "ctl" {
			dev, _, _ := strings.Cut(strings.TrimLeft(name, "/"), "/")
			err = s.hint(err, fmt.Sprintf("clone9p read /%s/help lists its messages", dev))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	if len(text) > 0 {
		err = write([]byte(text[0]))
	} else {
		err = pieces(ctx, a.stdin, min(ioSize, f.MaxIO()), write)
	}
	// Rclunk follows what the close does; its error would be that of the last write.
	if e := f.Close(); err == nil && e != nil {
		err = fmt.Errorf("%s: %w", name, e)
	}
	return err
}

// pieces hands to each what every single Read of r gives, size bytes at most, until its end, or an error, or the end of ctx: a Read that
// waits then ends with its input or with the process.
func pieces(ctx context.Context, r io.Reader, size int, each func(p []byte) error) error {
	type piece struct {
		p   []byte
		err error
	}
	read := make(chan piece)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the input or with ctx
		bufs := [2][]byte{make([]byte, size), make([]byte, size)} // one is filled while the other is used
		for {
			n, err := r.Read(bufs[0])
			select {
			case read <- piece{bufs[0][:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			bufs[0], bufs[1] = bufs[1], bufs[0]
		}
	}()
	for {
		select {
		case p := <-read:
			if len(p.p) > 0 {
				if err := each(p.p); err != nil {
					return err
				}
			}
			if p.err == io.EOF {
				return nil
			}
			if p.err != nil {
				return p.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
