package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"strings"
	"time"

	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/cobra"
)

const (
	dialTimeout = 10 * time.Second

	// clientMessage is the largest message that the client asks for. p9.Client rounds what fits into one read or write down
	// to a multiple of 512; ioSize stays below it, so that one call is one message.
	clientMessage = 256 << 10
	ioSize        = clientMessage - 4096
)

// addrFlag gives a client command its flag --addr.
func addrFlag(cmd *cobra.Command) *string {
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

// A client is an attached session with a server.
type client struct {
	addr string
	conn net.Conn
	root p9.File
}

// connect dials the server and attaches. Records are off: this client does not refill short reads, so it needs no help
// against it, which Linux's does.
func connect(ctx context.Context, flag string) (*client, error) {
	addr, err := serverAddr(flag)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := listen.Dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("%w (is clone9p serve running?)", err)
	}
	// A server that accepts and says nothing is given up as well.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c := &client{addr: addr, conn: conn}
	pc, err := p9.NewClient(conn, p9.WithMessageSize(clientMessage))
	if err == nil {
		c.root, err = pc.Attach("/?records=off")
	}
	if !stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot attach to the server at %s: %w", addr, plain(err))
	}
	return c, nil
}

// Close ends the session; the server closes what is open in it.
func (c *client) Close() error { return c.conn.Close() }

// walk returns the file at a slash-separated path, not opened. It goes a name at a time: of a walk of several that
// fails half way 9P tells only how far it came, and p9.Client not even that.
func (c *client) walk(name string) (p9.File, error) {
	_, f, err := c.root.Walk(nil)
	for n := range strings.SplitSeq(name, "/") {
		if err != nil {
			break
		}
		if n == "" || n == "." {
			continue
		}
		from := f
		_, f, err = from.Walk([]string{n})
		from.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, plain(err))
	}
	return f, nil
}

// open walks to a file and opens it.
func (c *client) open(name string, flags p9.OpenFlags) (p9.File, error) {
	f, err := c.walk(name)
	if err != nil {
		return nil, err
	}
	if _, _, err := f.Open(flags); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, plain(err))
	}
	return f, nil
}

// errLost is what a broken connection is called.
var errLost = errors.New("the connection to the server is lost")

// plain takes p9.Client's own words from an error: what remains is what the server said.
func plain(err error) error {
	if err == nil {
		return nil
	}
	var errno linux.Errno
	if errors.As(err, &errno) {
		return errno
	}
	var lost p9.ConnError
	if errors.As(err, &lost) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return errLost
	}
	return err
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
	addr := addrFlag(cmd)
	long := cmd.Flags().BoolP("long", "l", false, "mode, owner, group and length as well")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd.Context(), *addr)
		if err != nil {
			return err
		}
		defer c.Close()
		name := "/"
		if len(args) > 0 {
			name = args[0]
		}
		return a.ls(c, name, *long)
	}
	return cmd
}

// ls prints the names in a directory, or that of a file.
func (a *app) ls(c *client, name string, long bool) error {
	f, err := c.walk(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, attr, err := f.GetAttr(p9.AttrMaskAll)
	if err != nil {
		return fmt.Errorf("%s: %w", name, plain(err))
	}
	if !attr.Mode.IsDir() {
		return a.lsLine(name, attr, long)
	}
	dir, err := c.open(name, p9.ReadOnly)
	if err != nil {
		return err
	}
	defer dir.Close()
	var offset uint64
	for {
		entries, err := dir.Readdir(offset, ioSize)
		if err != nil {
			return fmt.Errorf("%s: %w", name, plain(err))
		}
		if len(entries) == 0 {
			return nil
		}
		for _, e := range entries {
			offset = e.Offset
			if e.Name == "." || e.Name == ".." {
				continue
			}
			var attr p9.Attr
			if long {
				f, err := c.walk(path.Join(name, e.Name))
				if errors.Is(err, linux.ENOENT) {
					continue // a conversation that has ended meanwhile
				}
				if err != nil {
					return err
				}
				_, _, attr, err = f.GetAttr(p9.AttrMaskAll)
				f.Close()
				if err != nil {
					continue
				}
			}
			if err := a.lsLine(e.Name, attr, long); err != nil {
				return err
			}
		}
	}
}

func (a *app) lsLine(name string, attr p9.Attr, long bool) error {
	if !long {
		_, err := fmt.Fprintln(a.stdout, name)
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%v %5d %5d %8d %s\n", attr.Mode.OSMode(), attr.UID, attr.GID, attr.Size, name)
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
	addr := addrFlag(cmd)
	n := cmd.Flags().IntP("bytes", "n", 0, "do one read of at most `BYTES` bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		once := cmd.Flags().Changed("bytes")
		if once && (*n < 1 || *n > ioSize) {
			return usagef("-n %d: one read has 1 to %d bytes", *n, ioSize)
		}
		c, err := connect(cmd.Context(), *addr)
		if err != nil {
			return err
		}
		defer c.Close()
		f, err := c.open(args[0], p9.ReadOnly)
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
			n, err := f.ReadAt(buf, off)
			if err == io.EOF { // and nothing that wraps it: p9.Client does so with a connection's end
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], plain(err))
			}
			off += int64(n)
			if _, err := a.stdout.Write(buf[:n]); err != nil {
				return err
			}
			if once {
				return nil
			}
		}
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
	addr := addrFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd.Context(), *addr)
		if err != nil {
			return err
		}
		defer c.Close()
		f, err := c.open(args[0], p9.WriteOnly)
		if err != nil {
			return err
		}
		var off int64
		write := func(p []byte) error {
			n, err := f.WriteAt(p, off)
			off += int64(n)
			if err == nil && n < len(p) {
				err = io.ErrShortWrite
			}
			if err = plain(err); errors.Is(err, linux.EINVAL) && path.Base(args[0]) == "ctl" {
				// 9P2000.L carries the number of an error and not its words, which name the bad message.
				dev, _, _ := strings.Cut(strings.TrimLeft(args[0], "/"), "/")
				return fmt.Errorf("%s: %w (clone9p read /%s/help lists its messages)", args[0], err, dev)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return nil
		}
		if len(args) > 1 {
			err = write([]byte(args[1]))
		} else {
			buf := make([]byte, ioSize)
			for err == nil {
				var n int
				if n, err = a.stdin.Read(buf); n > 0 {
					if e := write(buf[:n]); e != nil {
						err = e
					}
				}
			}
			if err == io.EOF {
				err = nil
			}
		}
		// Rclunk follows what the close does; its error would be that of the last write.
		if e := f.Close(); err == nil && e != nil {
			err = fmt.Errorf("%s: %w", args[0], plain(e))
		}
		return err
	}
	return cmd
}
