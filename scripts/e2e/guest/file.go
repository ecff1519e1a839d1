//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A file is an open file whose methods are one system call each: os.File's would hide how the kernel answers.
type file struct {
	t    *T
	fd   int
	path string
}

// open opens a file, to be closed at the latest when the case ends.
func (t *T) open(path string, flags int) *file {
	f, err := t.tryOpen(path, flags)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return f
}

func (t *T) tryOpen(path string, flags int) (*file, error) {
	f := &file{t: t, fd: -1, path: path}
	var err error
	t.within(soon, "open "+path, func() { f.fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	t.Cleanup(f.close)
	return f, nil
}

// close closes the file unless it is closed.
func (f *file) close() {
	if f.fd < 0 {
		return
	}
	fd := f.fd
	f.fd = -1
	f.t.within(soon, "close "+f.path, func() {
		if err := unix.Close(fd); err != nil {
			f.t.Errorf("close %s: %v", f.path, err)
		}
	})
}

// read is one read(2) with a buffer of n bytes, which must not take long.
func (f *file) read(n int) (p []byte, err error) {
	p = make([]byte, n)
	f.t.within(soon, "read "+f.path, func() { n, err = f.t.again(func() (int, error) { return unix.Read(f.fd, p) }) })
	return p[:max(n, 0)], err
}

// pread is one pread(2).
func (f *file) pread(n int, off int64) (p []byte, err error) {
	p = make([]byte, n)
	f.t.within(soon, "pread "+f.path, func() { n, err = f.t.again(func() (int, error) { return unix.Pread(f.fd, p, off) }) })
	return p[:max(n, 0)], err
}

// again makes a call that reads, once more where FUSE has it interrupted by a signal of Go's scheduler.
func (t *T) again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR || !t.setup.FUSE {
			return n, err
		}
	}
}

// write is one write(2), of all of p.
func (f *file) write(p []byte) (err error) {
	var n int
	f.t.within(soon, "write "+f.path, func() { n, err = unix.Write(f.fd, p) })
	if err != nil || n == len(p) {
		return err
	}
	if n == 0 && f.t.forgetsErrors() {
		// The error waits for the next write on the file, which fails without having been sent.
		var next error
		f.t.within(soon, "write "+f.path, func() { n, next = unix.Write(f.fd, p) })
		if next != unix.EIO {
			return fmt.Errorf("write %s: refused with 0 bytes; then %d bytes, %v", f.path, n, next)
		}
		return errForgotten
	}
	return fmt.Errorf("write %s: %d bytes of %d", f.path, n, len(p))
}

// errForgotten is a write that the server refused for a reason that the kernel keeps to itself.
var errForgotten = errors.New("the server refuses; the kernel does not say why")

// forgetsErrors reports whether the kernel has the fault of 6.12: a write that the server refuses returns 0, and the next one on the inode,
// be it of another process, EIO, unsent. (netfs notes the error in the stream and the mapping, and looks for it in the request.)
func (t *T) forgetsErrors() bool { return !t.setup.FUSE && strings.HasPrefix(release(), "6.12.") }

// release is the kernel's.
func release() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts) // cannot fail on a valid buffer
	return unix.ByteSliceToString(uts.Release[:])
}

// must fails the case when err is not nil.
func (t *T) must(err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// wantErr fails the case unless err is one of want. Plain 9P2000 carries no numbers, only strings of which Linux knows a few: any error will do there.
func (t *T) wantErr(what string, err error, want ...unix.Errno) {
	if err == nil {
		t.Errorf("%s: no error, want %v", what, want)
		return
	}
	if err == errForgotten {
		return
	}
	var errno unix.Errno
	if t.setup.Dialect == "9P2000" && errors.As(err, &errno) {
		return
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Errorf("%s: error %v, want %v", what, err, want)
}

// A conv is a conversation with ethfoo: clone, open.
type conv struct {
	*file        // of clone; it is the conversation's ctl
	n     int    // its number
	dir   string // its directory in the mount
	iface string // its interface, on the host
}

// clone opens ethfoo/clone below mnt.
func (t *T) clone(mnt string) *conv {
	c := &conv{file: t.open(mnt+"/ethfoo/clone", unix.O_RDWR)}
	p, err := c.read(4096)
	if err != nil {
		t.Fatalf("read of clone: %v", err)
	}
	c.n = t.number(p)
	c.dir = filepath.Join(mnt, "ethfoo", strconv.Itoa(c.n))
	c.iface = fmt.Sprintf("ethfoo%d", c.n)
	return c
}

// number is the number that a read of ctl gave. Newlines behind it are allowed: the server pads a text up to what was written.
func (t *T) number(p []byte) int {
	n, err := strconv.Atoi(strings.TrimRight(string(p), "\n"))
	if err != nil || !strings.Contains(string(p), "\n") {
		t.Fatalf("ctl reads as %q, want a number and a newline", p)
	}
	return n
}

// up clones and brings the interface up.
func (t *T) up(mnt string) *conv {
	c := t.clone(mnt)
	c.ctl("up")
	return c
}

// ctl sends control messages, one write each.
func (c *conv) ctl(lines ...string) {
	for _, line := range lines {
		if err := c.write([]byte(line + "\n")); err != nil {
			c.t.Fatalf("ctl %q: %v", line, err)
		}
	}
}

// at is the path of one of the conversation's files.
func (c *conv) at(name string) string { return filepath.Join(c.dir, name) }

// text reads a file whole.
func (t *T) text(path string) string {
	var b []byte
	var err error
	t.within(soon, "read "+path, func() { b, err = os.ReadFile(path) })
	if err != nil {
		t.Fatalf("%v", err)
	}
	return string(b)
}
