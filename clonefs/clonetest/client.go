package clonetest

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// Users to attach as. Super is whoever runs the test, the superuser by default.
var (
	Alice  = clonefs.User{UID: 61001, GID: 61001, Name: "alice", Addr: "test:alice", Proven: true}
	Bob    = clonefs.User{UID: 61002, GID: 61002, Name: "bob", Addr: "test:bob", Proven: true}
	Nobody = clonefs.User{UID: p9ext.NobodyUID, GID: p9ext.NobodyGID, Name: "nobody", Addr: "test:nobody"}
	Super  = clonefs.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Name: "super", Addr: "test:super", Proven: true}
)

// A Client uses a tree as the server does for one attached user: names are walked, what implements an interface of p9ext is used through it,
// what does not through p9.File.
type Client struct {
	t    testing.TB
	Root p9.File
}

// Attach attaches to a tree as u.
func Attach(t testing.TB, fs p9ext.Attacher, u clonefs.User) *Client {
	t.Helper()
	root, err := fs.AttachUser(t.Context(), u)
	if err != nil {
		t.Fatalf("attach as %s: %v", u.Name, err)
	}
	return &Client{t, root}
}

// Walk walks from the root to path, whose names are divided by slashes. It opens nothing.
func (c *Client) Walk(path string) (p9.File, error) {
	_, f, err := c.Root.Walk(names(path))
	return f, err
}

func names(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// A File is an open file.
type File struct {
	p9.File
	QID p9.QID // what the open answered
}

// Open walks to a file and opens it.
func (c *Client) Open(path string, flags p9.OpenFlags) (*File, error) {
	return c.OpenContext(c.t.Context(), path, flags)
}

// OpenContext is Open with a context for the open.
func (c *Client) OpenContext(ctx context.Context, path string, flags p9.OpenFlags) (*File, error) {
	f, err := c.Walk(path)
	if err != nil {
		return nil, err
	}
	q, err := Open(ctx, f, flags)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{f, q}, nil
}

// Open opens f as the server does.
func Open(ctx context.Context, f p9.File, flags p9.OpenFlags) (p9.QID, error) {
	var q p9.QID
	var err error
	if o, ok := f.(p9ext.Opener); ok {
		q, _, err = o.OpenContext(ctx, flags)
	} else {
		q, _, err = f.Open(flags)
	}
	return q, err
}

// MustOpen is Open, and ends the test when that fails. The file is closed when the test ends.
func (c *Client) MustOpen(path string, flags p9.OpenFlags) *File {
	c.t.Helper()
	f, err := c.Open(path, flags)
	if err != nil {
		c.t.Fatalf("open %s: %v", path, err)
	}
	c.t.Cleanup(func() { f.Close() })
	return f
}

// Read reads once, as one Tread does. The end of the file is no bytes and no error.
func (f *File) Read(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := f.read(ctx, p, off)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// A bell is a waiter with a channel, of which one request uses one.
type bell chan struct{}

func (b bell) Wake() { b <- struct{}{} }

func (f *File) read(ctx context.Context, p []byte, off int64) (int, error) {
	if r, ok := f.File.(p9ext.ReadPoller); ok {
		b := make(bell, 1)
		for {
			n, err := r.PollRead(p, off, b)
			if err == p9ext.ErrNoPoll {
				break
			}
			if err != p9ext.ErrWait {
				return n, err
			}
			select {
			case <-b:
			case <-ctx.Done():
				r.Unpoll(b)
				return 0, p9ext.ErrInterrupted
			}
		}
	}
	if r, ok := f.File.(p9ext.Reader); ok {
		return r.ReadContext(ctx, p, off)
	}
	return f.ReadAt(p, off)
}

// Write writes once, as one Twrite does.
func (f *File) Write(ctx context.Context, p []byte, off int64) (int, error) {
	if w, ok := f.File.(p9ext.WritePoller); ok {
		b := make(bell, 1)
		for {
			n, err := w.PollWrite(p, off, b)
			if err == p9ext.ErrNoPoll {
				break
			}
			if err != p9ext.ErrWait {
				return n, err
			}
			select {
			case <-b:
			case <-ctx.Done():
				w.UnpollWrite(b)
				return 0, p9ext.ErrInterrupted
			}
		}
	}
	if w, ok := f.File.(p9ext.Writer); ok {
		return w.WriteContext(ctx, p, off)
	}
	return f.WriteAt(p, off)
}

// Say writes a text, for example control messages.
func (f *File) Say(text string) error {
	_, err := f.Write(context.Background(), []byte(text), 0)
	return err
}

// Record reads one record.
func (f *File) Record(ctx context.Context) (string, error) {
	p := make([]byte, 1<<16)
	n, err := f.Read(ctx, p, 0)
	return string(p[:n]), err
}

// ReadFile reads a text file from its begin to its end.
func (c *Client) ReadFile(path string) (string, error) {
	f, err := c.Open(path, p9.ReadOnly)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return f.All()
}

// All reads f from its begin to its end, with a small buffer.
func (f *File) All() (string, error) {
	var text []byte
	p := make([]byte, 100)
	for {
		n, err := f.Read(context.Background(), p, int64(len(text)))
		text = append(text, p[:n]...)
		if err != nil || n == 0 {
			return string(text), err
		}
	}
}

// WriteFile opens a file for writing, writes text to it and closes it.
func (c *Client) WriteFile(path, text string) error {
	f, err := c.Open(path, p9.WriteOnly)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Say(text)
}

// List returns the names in a directory, in its order.
func (c *Client) List(path string) ([]string, error) {
	f, err := c.Open(path, p9.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []string
	for offset := uint64(0); ; {
		list, err := f.Readdir(offset, 200)
		if err != nil || len(list) == 0 {
			return all, err
		}
		for _, d := range list {
			all = append(all, d.Name)
			offset = d.Offset
		}
	}
}

// Convs returns the names of a device's conversations, as its directory lists them.
func (c *Client) Convs(dev string) []string {
	c.t.Helper()
	list, err := c.List(dev)
	if err != nil {
		c.t.Fatalf("list %s: %v", dev, err)
	}
	var convs []string
	for _, name := range list {
		if name[0] >= '0' && name[0] <= '9' {
			convs = append(convs, name)
		}
	}
	return convs
}

// Number reads a conversation's number from its ctl.
func (f *File) Number() (string, error) {
	s, err := f.All()
	return strings.TrimSuffix(s, "\n"), err
}

// CheckError reports an error of the test when err does not have both faces: the errno and the text. A want without text takes any.
func CheckError(t testing.TB, what string, err error, errno linux.Errno, text string) {
	t.Helper()
	var e *p9ext.Error
	switch {
	case err == nil:
		t.Errorf("%s: no error, want %q", what, text)
	case !errors.As(err, &e):
		t.Errorf("%s: %v (%T), want a *p9ext.Error", what, err, err)
	case e.Errno != errno || text != "" && e.Text != text:
		t.Errorf("%s: %q (%v), want %q (%v)", what, e.Text, e.Errno, text, errno)
	}
}
