package dmover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// alice is an ordinary user whom no file of the machine's knows.
var alice = clonefs.User{UID: 61001, GID: 61001, Groups: []uint32{61002}, Name: "alice", Addr: "unix:test", Proven: true}

// asRoot skips a test that only root can carry out.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts file systems or acts for others, which root may")
	}
}

// Files are opened, made and written with the rights of the session's owner.
func TestOwnersRights(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	for name, who := range map[string]struct {
		uid, gid int
		mode     os.FileMode
	}{
		"roots": {0, 0, 0o600}, "theirs": {61009, 61009, 0o640}, "mine": {61001, 61001, 0o600}, "groups": {0, 61002, 0o640}, "public": {0, 0, 0o644},
	} {
		write(t, dir+"/"+name, []byte("content"))
		if err := errors.Join(os.Chown(dir+"/"+name, who.uid, who.gid), os.Chmod(dir+"/"+name, who.mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(dir+"/open", 0o777), os.Chmod(dir+"/open", 0o777), os.Mkdir(dir+"/closed", 0o700)); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/closed/public", nil)
	s := serve(t, alice, dir).session("func copy")
	for line, errno := range map[string]linux.Errno{
		"in0 roots": linux.EACCES, "in0 theirs": linux.EACCES, "in0 mine": 0, "in0 groups": 0, "in0 public": 0, "in0 closed/public": linux.EACCES,
		"out groups": linux.EACCES, "out public": linux.EACCES, "out mine": 0, "out new create": linux.EACCES, "out open/new create": 0,
	} {
		err := s.ctl.Say("bind " + line)
		if errno == 0 && err != nil || errno != 0 && !errors.Is(err, errno) {
			t.Errorf("bind %s: %v, want %v", line, err, errno)
		}
	}
	info, err := os.Stat(dir + "/open/new")
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != alice.UID || st.Gid != alice.GID {
		t.Errorf("the new file belongs to %d:%d", st.Uid, st.Gid)
	}
	s.say("bind in0 mine")
	s.say("bind out open/new")
	s.want("1 in=in0:0:7 out=out:0:7", "1 ok bytes=7")
}

// A full disk: the response says how far it came, and what was written stays.
func TestDiskFull(t *testing.T) {
	asRoot(t)
	full := t.TempDir()
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=4m,mode=0777"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(full, unix.MNT_DETACH) })
	dir := t.TempDir()
	write(t, dir+"/a", random(8<<20))
	u := serve(t, me, dir, "full="+full)
	for _, backend := range []string{"generic", "simd", "kernel"} {
		s := u.session("func copy", "backend "+backend, "bind in0 a", "bind out full/"+backend+" create")
		got := s.ask("1 in=in0:0:8388608 out=out:0:8388608")
		var done, of int
		if _, err := fmt.Sscanf(got, "1 error 28 no space left on device, after %d of %d bytes", &done, &of); err != nil || done <= 0 || of != 8<<20 {
			t.Fatalf("%s: %s", backend, got)
		}
		p := read(t, full+"/"+backend)
		if len(p) < done || !bytes.Equal(p[:done], read(t, dir+"/a")[:done]) {
			t.Errorf("%s: the first %d bytes are not there, of %d", backend, done, len(p))
		}
		// Usable afterwards.
		if err := os.Remove(full + "/" + backend); err != nil {
			t.Fatal(err)
		}
		s.say("bind out full/" + backend + " create")
		s.want("2 in=in0:0:100 out=out:0:100", "2 ok bytes=100")
		s.ctl.Close()
		os.Remove(full + "/" + backend)
	}
}

// A faulty is a file of which a part cannot be read, or whose reads hang until release is closed, or its opens.
type faulty struct {
	fs.Inode
	hang    bool
	shut    bool
	opened  chan struct{} // gets one for each open of shut
	release chan struct{}
}

const (
	faultySize  = 4 << 20
	faultyStart = 1<<20 + 4096
)

func (f *faulty) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size, out.Mode = faultySize, 0o644
	return 0
}

func (f *faulty) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if f.shut {
		f.opened <- struct{}{}
		<-f.release
	}
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *faulty) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if off+int64(len(dest)) > faultyStart {
		if !f.hang {
			return nil, syscall.EIO
		}
		<-f.release
	}
	clear(dest)
	return fuse.ReadResultData(dest), 0
}

var (
	_ fs.NodeGetattrer = (*faulty)(nil)
	_ fs.NodeOpener    = (*faulty)(nil)
	_ fs.NodeReader    = (*faulty)(nil)
)

// faultyTree mounts files called bad, hang and shut. opened hears of each open of shut.
func faultyTree(t *testing.T) (dir string, opened <-chan struct{}, release func()) {
	t.Helper()
	dir = t.TempDir()
	opens := make(chan struct{}, 16)
	ended := make(chan struct{})
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "faulty"},
		OnAdd: func(ctx context.Context) {
			root.AddChild("bad", root.NewPersistentInode(ctx, &faulty{release: ended}, fs.StableAttr{Mode: fuse.S_IFREG}), false)
			root.AddChild("shut", root.NewPersistentInode(ctx, &faulty{shut: true, opened: opens, release: ended}, fs.StableAttr{Mode: fuse.S_IFREG}), false)
			root.AddChild("hang", root.NewPersistentInode(ctx, &faulty{hang: true, release: ended}, fs.StableAttr{Mode: fuse.S_IFREG}), false)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			close(ended)
		}
	}
	t.Cleanup(func() {
		release()
		// What hung lets go of its files a moment later.
		waitUntil(t, "the end of the file system", func() bool { return server.Unmount() == nil })
	})
	return dir, opens, release
}

// An unreadable block passes through as EIO, with how far the request came; the session is usable.
func TestUnreadableBlock(t *testing.T) {
	asRoot(t)
	faulty, _, _ := faultyTree(t)
	dir := t.TempDir()
	u := serve(t, me, dir, "bad="+faulty)
	for _, backend := range []string{"generic", "simd", "kernel"} {
		s := u.session("func copy", "backend "+backend, "bind in0 bad/bad", "bind out copy create")
		if got := s.ask(fmt.Sprintf("1 in=in0:0:%d out=out:0:%d", faultySize, faultySize)); !strings.HasPrefix(got, "1 error 5 cannot read in0: ") {
			t.Errorf("%s: %s", backend, got)
		}
		s.want("2 in=in0:0:4096 out=out:0:4096", "2 ok bytes=4096")
	}
	c := u.session("func sha256", "bind in0 bad/bad")
	if got := c.ask(fmt.Sprintf("1 in=in0:0:%d", faultySize)); !strings.HasPrefix(got, "1 error 5 cannot read in0: ") {
		t.Errorf("sha256: %s", got)
	}
}

// A file system that does not answer holds up nobody else, nor the end of the session.
func TestFileThatHangs(t *testing.T) {
	asRoot(t)
	faulty, _, release := faultyTree(t)
	u := serve(t, me, "bad="+faulty)
	s := u.session("func sha256", "bind in0 bad/hang")
	var lines strings.Builder
	for id := range 16 {
		fmt.Fprintf(&lines, "%d in=in0:%d:100\n", id, faultyStart+100*id)
	}
	if err := s.send(lines.String()); err != nil {
		t.Fatal(err)
	}
	s.say("hangup")
	waitUntil(t, "the end of the session", func() bool { return len(u.Convs("dmover")) == 0 })
	n := u.session("func sha256")
	p := random(1 << 20)
	n.put("in0", p)
	sum := sha256.Sum256(p)
	n.want("1 in=in0:0:1048576", fmt.Sprintf("1 ok imm=%x bytes=1048576", sum))
	release()
}

// While the files of some sessions hang, and those live on, others have their work done: over memory, more than is done at once, and over files.
func TestFilesThatHangCostOthersNothing(t *testing.T) {
	asRoot(t)
	faulty, _, release := faultyTree(t)
	dir := t.TempDir()
	p := random(2 << 20)
	write(t, dir+"/good", p)
	u := serve(t, me, "bad="+faulty, dir)
	const requests = 16
	var hung []*talk
	for range 4 {
		s := u.session("func crc32", "bind in0 bad/hang")
		var lines strings.Builder
		for id := range requests {
			fmt.Fprintf(&lines, "%d in=in0:%d:100\n", id, faultyStart+100*id)
		}
		if err := s.send(lines.String()); err != nil {
			t.Fatal(err)
		}
		hung = append(hung, s)
	}
	sum := fmt.Sprintf("1 ok imm=%x bytes=%d", sha256.Sum256(p), len(p))
	n := u.session("func sha256")
	n.put("in0", p)
	n.want(fmt.Sprintf("1 in=in0:0:%d", len(p)), sum)
	n.say("bind in0 good")
	n.want(fmt.Sprintf("1 in=in0:0:%d", len(p)), sum)

	// And what hung goes on when it can.
	release()
	for _, s := range hung {
		seen := make(map[string]bool)
		for range requests {
			id, rest, _ := strings.Cut(s.answer(), " ")
			if seen[id] || !strings.HasPrefix(rest, "ok imm=") {
				t.Errorf("%s %s", id, rest)
			}
			seen[id] = true
		}
	}
}

// A bind that hangs can be given up, is alone, and holds up no end of its session.
func TestBindThatHangs(t *testing.T) {
	asRoot(t)
	faulty, opened, _ := faultyTree(t)
	u := serve(t, me, "bad="+faulty)
	s := u.session("func copy")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-opened
		cancel()
	}()
	if _, err := s.ctl.Write(ctx, []byte("bind in0 bad/shut"), 0); !errors.Is(err, linux.EINTR) {
		t.Errorf("the bind that was given up: %v", err)
	}
	clonetest.CheckError(t, "the next", s.ctl.Say("bind in0 bad/bad"), linux.EBUSY, `cannot bind "bad/bad": the file system of the file before it does not answer`)
	s.say("hangup")
	waitUntil(t, "the end of the session", func() bool { return len(u.Convs("dmover")) == 0 })
}

// Where a file system shares blocks a copy takes no room.
func TestReflink(t *testing.T) {
	asRoot(t)
	at := t.TempDir()
	image, dir := at+"/image", at+"/mnt"
	write(t, image, nil)
	if err := errors.Join(os.Truncate(image, 256<<20), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", "-d", dir).Run() })
	const size = 64<<20 + 5
	write(t, dir+"/a", random(size))
	u := serve(t, me, dir)
	s := u.session("func copy", "bind in0 a", "bind out b create")
	used := func() int64 {
		unix.Sync()
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		return int64(st.Blocks-st.Bfree) * st.Bsize
	}
	before := used()
	s.want(fmt.Sprintf("1 in=in0:0:%d out=out:0:%d", size, size), fmt.Sprintf("1 ok bytes=%d", size))
	if took := used() - before; took > size/2 {
		t.Errorf("the copy took %d bytes", took)
	}
	if !bytes.Equal(read(t, dir+"/a"), read(t, dir+"/b")) {
		t.Error("the copy is another")
	}
	s.ctl.Say("hangup") // lets go of the files before the file system goes
}
