package fusemount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/fsimpl/localfs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// A tree of plain files, served by somebody else's p9.Attacher: everything that a file system does.
func TestPlainFiles(t *testing.T) {
	under := t.TempDir()
	f := mounted(t, settings{tree: localfs.Attacher(under), aname: "/"})
	f.mustSh(`mkdir d && printf 'one\ntwo\n' >d/a && cat d/a && mv d/a d/b && cp d/b c && cmp c d/b && ls -l d
		head -c 3000000 /dev/urandom >big && cp big copy && cmp big copy && dd if=big of=part bs=1M skip=1 count=1 2>/dev/null && test $(stat -c %s part) = 1048576
		: >c && test ! -s c && truncate -s 100 c && test $(stat -c %s c) = 100
		rm big copy part`)
	b, err := os.ReadFile(filepath.Join(under, "d/b"))
	if err != nil || string(b) != "one\ntwo\n" {
		t.Errorf("below there is %q, %v", b, err)
	}
	for _, tt := range []struct {
		what      string
		err, want error
	}{
		{"rmdir of what is not empty", unix.Rmdir(filepath.Join(f.dir, "d")), unix.EEXIST}, // so p9 calls it
		{"unlink of nothing", unix.Unlink(filepath.Join(f.dir, "nothing")), unix.ENOENT},
		{"mkdir of what is there", unix.Mkdir(filepath.Join(f.dir, "d"), 0o755), unix.EEXIST},
	} {
		if tt.err != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, tt.err, tt.want)
		}
	}
	f.mustSh("rm d/b c && rmdir d && test -z \"$(ls)\"")
}

// Each user attaches as himself, and the server decides what is his.
func TestPerUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to be others")
	}
	f := mounted(t, settings{options: Options{PerUser: true}})
	for d := filepath.Dir(f.dir); d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	as := func(uid uint32, script string) (string, error) {
		return f.shAs(&syscall.Credential{Uid: uid, Gid: uid}, script)
	}
	_, dir := f.clone()
	for uid := range uint32(3) {
		uid += 1000
		out, err := as(uid, "exec 3<>mem/clone; read n <&3; echo echo hi > mem/$n/ctl; cat mem/$n/note; stat -c %u mem/$n/ctl")
		if err != nil || out != fmt.Sprintf("hi\n%d", uid) {
			t.Errorf("user %d says %q, %v", uid, out, err)
		}
		if out, err := as(uid, "cat "+dir+"/ctl"); err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("user %d reads root's ctl: %q, %v", uid, out, err)
		}
		if out, err := as(uid, "test -r "+dir+"/ctl"); err == nil {
			t.Errorf("user %d is told that root's ctl can be read: %q", uid, out)
		}
		if out, err := as(uid, "cat "+dir+"/status; test -r "+dir+"/status"); err != nil {
			t.Errorf("user %d reads status: %q, %v", uid, out, err)
		}
		if out, err := as(uid, "chmod 666 "+dir+"/ctl"); err == nil {
			t.Errorf("user %d changes root's mode: %q", uid, out)
		}
	}
	f.mustSh("chmod 666 " + dir + "/ctl")
	if out, err := as(1000, "cat "+dir+"/ctl"); err != nil {
		t.Errorf("mode 666: %q, %v", out, err)
	}
}

// Where others may enter and all are the mounter, the kernel keeps them to the modes.
func TestAllowOther(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to be others")
	}
	for _, allow := range []bool{false, true} {
		f := mounted(t, settings{options: Options{AllowOther: allow}})
		for d := filepath.Dir(f.dir); d != "/tmp" && d != "/"; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
		_, dir := f.clone()
		who := &syscall.Credential{Uid: 1000, Gid: 1000}
		if out, err := f.shAs(who, "cat "+dir+"/status"); (err == nil) != allow {
			t.Errorf("allowed %v: %q, %v", allow, out, err)
		}
		if out, err := f.shAs(who, "cat "+dir+"/ctl"); err == nil {
			t.Errorf("another user reads ctl: %q", out)
		}
	}
}

// Over TCP nobody is anybody.
func TestNobody(t *testing.T) {
	f := mounted(t, settings{peer: server.Nobody("tcp:test"), options: Options{AllowOther: os.Geteuid() == 0}})
	_, dir := f.clone()
	if got := f.mustSh("stat -c '%u %a' " + dir + "/ctl; echo echo x >" + dir + "/ctl; cat " + dir + "/note"); got != "65534 666\nx" {
		t.Errorf("the shell says %q", got)
	}
}

// A tree that cannot be attached, and a directory that is not there.
func TestRefused(t *testing.T) {
	needMount(t)
	f := mounted(t, settings{})
	ours, theirs, err := socketpair()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.srv.ServeConn(theirs, server.Nobody("test")) }()
	conn, err := client.New(t.Context(), ours, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), conn, t.TempDir(), Options{Name: "/x", Source: "here", Attach: client.Attach{Name: "/x"}}); err == nil ||
		!strings.HasPrefix(err.Error(), "cannot attach to /x at here: ") {
		t.Errorf("the error is %v", err)
	}
	<-conn.Done()
	<-served
	if _, err := Unmount(t.Context(), t.TempDir()); err == nil {
		t.Error("what is not mounted is unmounted")
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want fuse.Status
	}{
		{nil, fuse.OK},
		{p9ext.ErrNotExist, fuse.ENOENT},
		{fmt.Errorf("x: %w", p9ext.ErrNoDevices), fuse.Status(unix.ENOSPC)},
		{&p9ext.Error{Errno: linux.ECONNRESET, Cause: client.ErrLost}, fuse.Status(unix.ENOTCONN)},
		{client.ErrClosed, fuse.Status(unix.ENOTCONN)},
		{errors.New("anything"), fuse.EIO},
		{linux.Errno(600), fuse.EIO},
		{linux.ENOSYS, fuse.Status(unix.EOPNOTSUPP)},
		{p9ext.ErrInterrupted, fuse.EINTR},
	} {
		if got := status(tt.err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestMayAccess(t *testing.T) {
	a := client.Attr{Mode: p9.FileMode(0o640), UID: 1, GID: 2}
	for _, tt := range []struct {
		uid, gid, mask uint32
		want           bool
	}{
		{0, 0, fuse.R_OK | fuse.W_OK, true}, {0, 0, fuse.X_OK, false},
		{1, 9, fuse.R_OK | fuse.W_OK, true}, {1, 9, fuse.X_OK, false},
		{9, 2, fuse.R_OK, true}, {9, 2, fuse.W_OK, false},
		{9, 9, fuse.R_OK, true}, // he may be in the group: there is no process 0 to look at
		{9, 9, fuse.W_OK, false}, {9, 9, fuse.F_OK, true},
	} {
		if got := mayAccess(&a, &fuse.Caller{Owner: fuse.Owner{Uid: tt.uid, Gid: tt.gid}}, tt.mask); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// What QEMU and its guest ask for after a short read is known, twice, and nothing else is.
func TestRefills(t *testing.T) {
	r := &refills{largest: 1 << 20}
	r.add(0, 4096, 100)
	for _, tt := range []struct {
		off   uint64
		count uint32
		want  bool
	}{{0, 4096, false}, {100, 4096, false}, {100, 3996, true}, {100, 3995, false}, {100, 3996, true}, {100, 3996, false}} {
		if got := r.match(tt.off, tt.count); got != tt.want {
			t.Errorf("%d at %d: %v", tt.count, tt.off, got)
		}
	}
	for _, largest := range []uint32{1 << 20, 512000 - guestIO} {
		r.add(50, largest, 10)
		if r.match(60, largest-11) || !r.match(60, largest-10) || !r.match(60, largest) || r.match(60, largest) {
			t.Errorf("after a read of %d", largest)
		}
	}
	for i := range uint64(1000) {
		r.add(i, 10, 1)
	}
	if len(r.expected) != maxRefills {
		t.Errorf("%d are kept", len(r.expected))
	}
}
