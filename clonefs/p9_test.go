package clonefs_test

import (
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// socketpair returns two connected unix sockets.
func socketpair(t *testing.T) (a, b net.Conn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return conn(fds[0]), conn(fds[1])
}

// TestP9Server serves a tree with p9's own server to p9's own client: what does not wait works with any p9 program.
func TestP9Server(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	fs := tree(t, clonefs.Config{}, mem)
	here, there := socketpair(t)
	served := make(chan error, 1)
	go func() { served <- p9.NewServer(fs).Handle(there, there) }()
	client, err := p9.NewClient(here)
	if err != nil {
		t.Fatal(err)
	}
	root, err := client.Attach("/")
	if err != nil {
		t.Fatal(err)
	}
	walk := func(path ...string) p9.File {
		t.Helper()
		_, f, err := root.Walk(path)
		if err != nil {
			t.Fatalf("walk %v: %v", path, err)
		}
		return f
	}
	open := func(flags p9.OpenFlags, path ...string) p9.File {
		t.Helper()
		f := walk(path...)
		if _, _, err := f.Open(flags); err != nil {
			t.Fatalf("open %v: %v", path, err)
		}
		return f
	}
	list := func(path ...string) (names []string) {
		t.Helper()
		d := open(p9.ReadOnly, path...)
		defer d.Close()
		for offset := uint64(0); ; {
			entries, err := d.Readdir(offset, 8192)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 {
				return names
			}
			for _, e := range entries {
				names = append(names, e.Name)
				offset = e.Offset
			}
		}
	}
	p := make([]byte, 1000)
	read := func(f p9.File, off int64) string {
		t.Helper()
		n, err := f.ReadAt(p, off)
		if err != nil && n > 0 {
			t.Error(err)
		}
		return string(p[:n])
	}

	if names := list(); !slices.Equal(names, []string{"README", "devices", "mem"}) {
		t.Errorf("the root has %v", names)
	}
	f := walk("mem", "clone")
	q, _, err := f.Open(p9.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if ctl, _, _, err := walk("mem", "0", "ctl").GetAttr(p9.AttrMaskAll); err != nil || ctl != q {
		t.Errorf("clone became %v, ctl is %v, %v", q, ctl, err)
	}
	if s := read(f, 0); s != "0\n" {
		t.Errorf("ctl reads %q", s)
	}
	if s := read(f, 2); s != "" {
		t.Errorf("ctl at its end reads %q", s)
	}
	if n, err := f.WriteAt([]byte("echo 'hello there'\nlabel mine\n"), 0); n != 30 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	if _, err := f.WriteAt([]byte("nonsense"), 0); !errors.Is(err, linux.EINVAL) {
		t.Errorf("nonsense is answered %v", err)
	}
	if err := f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{}); err != nil {
		t.Errorf("truncate: %v", err)
	}
	if s := read(open(p9.ReadOnly, "mem", "0", "note"), 0); s != "hello there\n" {
		t.Errorf("the note is %q", s)
	}
	if s := read(open(p9.ReadOnly, "mem", "0", "status"), 0); !strings.HasPrefix(s, "mem/0 open owner ") || !strings.Contains(s, "\nlabel mine\n") {
		t.Errorf("status is %q", s)
	}
	data := open(p9.ReadWrite, "mem", "0", "data")
	if n, err := data.WriteAt([]byte("record"), 0); n != 6 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	if s := read(data, 0); s != "record" {
		t.Errorf("data reads %q", s)
	}
	if names := list("mem"); !slices.Equal(names, []string{"clone", "help", "stats", "level", "voice", "0"}) {
		t.Errorf("mem has %v", names)
	}
	if err := walk("mem").UnlinkAt("clone", 0); !errors.Is(err, linux.EACCES) && !errors.Is(err, linux.EPERM) {
		t.Errorf("unlink: %v", err)
	}
	data.Close()
	f.Close()
	if names := list("mem"); slices.Contains(names, "0") {
		t.Errorf("mem has %v", names)
	}
	if mem.Live() != 0 {
		t.Errorf("%d conversations live", mem.Live())
	}
	client.Close()
	if err := <-served; err != nil {
		t.Logf("the server ended: %v", err)
	}
	there.Close()
}
