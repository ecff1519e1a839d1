package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/fsimpl/templatefs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// fixedFile answers every call with values by which a field in the wrong place is seen.
type fixedFile struct {
	templatefs.NotImplementedFile
	templatefs.NoopRenamed
	mode p9.FileMode
}

var fixedFS = p9.FSStat{
	Type: 1, BlockSize: 2, Blocks: 3, BlocksFree: 4, BlocksAvailable: 5, Files: 6, FilesFree: 7, FSID: 8, NameLength: 9,
}

func (f *fixedFile) Attach() (p9.File, error) { return &fixedFile{mode: p9.ModeDirectory | 0o755}, nil }

func (f *fixedFile) qid() p9.QID {
	return p9.QID{Type: f.mode.QIDType(), Version: 0x21, Path: 0x1020304050607}
}

func (f *fixedFile) Walk(names []string) ([]p9.QID, p9.File, error) {
	if len(names) == 0 {
		return nil, &fixedFile{mode: f.mode}, nil
	}
	n := &fixedFile{mode: p9.ModeRegular | 0o644}
	switch names[0] {
	case "dir":
		n.mode = p9.ModeDirectory | 0o755
	case "link":
		n.mode = p9.ModeSymlink | 0o777
	case "none":
		return nil, nil, linux.ENOENT
	}
	return []p9.QID{n.qid()}, n, nil
}

func (f *fixedFile) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	return f.qid(), p9.AttrMaskAll, p9.Attr{
		Mode: f.mode, UID: 1, GID: 2, NLink: 3, RDev: 4, Size: 5, BlockSize: 6, Blocks: 7, ATimeSeconds: 8, ATimeNanoSeconds: 9, MTimeSeconds: 10,
		MTimeNanoSeconds: 11, CTimeSeconds: 12, CTimeNanoSeconds: 13, BTimeSeconds: 14, BTimeNanoSeconds: 15, Gen: 16, DataVersion: 17,
	}, nil
}

func (f *fixedFile) SetAttr(p9.SetAttrMask, p9.SetAttr) error                  { return nil }
func (f *fixedFile) StatFS() (p9.FSStat, error)                                { return fixedFS, nil }
func (f *fixedFile) Close() error                                              { return nil }
func (f *fixedFile) FSync() error                                              { return nil }
func (f *fixedFile) Open(p9.OpenFlags) (p9.QID, uint32, error)                 { return f.qid(), 4096, nil }
func (f *fixedFile) ReadAt(p []byte, off int64) (int, error)                   { return copy(p, "hello\n"), nil }
func (f *fixedFile) WriteAt(p []byte, off int64) (int, error)                  { return len(p), nil }
func (f *fixedFile) Link(p9.File, string) error                                { return nil }
func (f *fixedFile) RenameAt(string, p9.File, string) error                    { return nil }
func (f *fixedFile) UnlinkAt(string, uint32) error                             { return nil }
func (f *fixedFile) Readlink() (string, error)                                 { return "target", nil }
func (f *fixedFile) Mkdir(string, p9.FileMode, p9.UID, p9.GID) (p9.QID, error) { return f.qid(), nil }
func (f *fixedFile) Symlink(string, string, p9.UID, p9.GID) (p9.QID, error)    { return f.qid(), nil }
func (f *fixedFile) Mknod(string, p9.FileMode, uint32, uint32, p9.UID, p9.GID) (p9.QID, error) {
	return f.qid(), nil
}
func (f *fixedFile) Lock(int, p9.LockType, p9.LockFlags, uint64, uint64, string) (p9.LockStatus, error) {
	return p9.LockStatusGrace, nil
}
func (f *fixedFile) Create(string, p9.OpenFlags, p9.FileMode, p9.UID, p9.GID) (p9.File, p9.QID, uint32, error) {
	n := &fixedFile{mode: p9.ModeRegular | 0o600}
	return n, n.qid(), 512, nil
}
func (f *fixedFile) Readdir(offset uint64, count uint32) (p9.Dirents, error) {
	return p9.Dirents{{QID: f.qid(), Offset: 1, Type: p9.TypeDir, Name: "dir"}, {QID: f.qid(), Offset: 2, Name: "file"}}, nil
}

// A relay stands between a client and a server. Each message is decoded, noted, and *our* encoding of it is passed on, so that either side
// reads only what this package wrote.
type relay struct {
	mu    sync.Mutex // guards lines and errs; both directions write
	lines []string
	errs  []error
}

func (r *relay) run(dst io.WriteCloser, src io.Reader) {
	defer dst.Close()
	for {
		var head [4]byte
		if _, err := io.ReadFull(src, head[:]); err != nil {
			return
		}
		size, _ := Peek(head[:])
		b := make([]byte, size)
		copy(b, head[:])
		if _, err := io.ReadFull(src, b[4:]); err != nil {
			return
		}
		var m Msg
		err := m.Decode(P9L, b)
		if err == nil && m.Type == Tversion {
			m.Version = []byte(P9L.String()) // not Google's extensions
			b, err = Append(nil, P9L, &m)
		}
		out, err2 := Append(nil, P9L, &m)
		if err = errors.Join(err, err2); err == nil && !bytes.Equal(out, b) && m.Type != Tfsync {
			err = errors.New("encoded differently")
		}
		r.mu.Lock()
		r.lines = append(r.lines, m.Text(P9L))
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("%x: %w\n   %x", b, err, out))
		}
		r.mu.Unlock()
		if _, err := dst.Write(out); err != nil {
			return
		}
	}
}

// TestAgainstP9 runs p9's client against p9's server through a relay, with every call that its client has.
func TestAgainstP9(t *testing.T) {
	clientEnd, a := net.Pipe()
	b, serverEnd := net.Pipe()
	var r relay
	var wg sync.WaitGroup
	wg.Go(func() { r.run(b, a) })
	wg.Go(func() { r.run(a, b) })
	wg.Go(func() {
		// The error says that the connection was closed, which is how this ends.
		_ = p9.NewServer(&fixedFile{}).Handle(serverEnd, serverEnd)
		serverEnd.Close()
	})

	c, err := p9.NewClient(clientEnd, p9.WithMessageSize(8192))
	if err != nil {
		t.Fatal(err)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	root, err := c.Attach("dir")
	if err != nil {
		t.Fatal(err)
	}
	walk := func(names ...string) p9.File {
		t.Helper()
		_, f, err := root.Walk(names)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	dir, file, link := walk("dir"), walk("dir", "file"), walk("link")
	if _, _, err := root.Walk([]string{"none"}); !errors.Is(err, linux.ENOENT) {
		t.Errorf("walk to none: %v", err)
	}
	_, mask, attr, err := file.GetAttr(p9.AttrMaskAll)
	must(nil, err)
	if mask != p9.AttrMaskAll || attr.Mode != p9.ModeRegular|0o644 || attr.UID != 1 || attr.GID != 2 || attr.Size != 5 || attr.DataVersion != 17 {
		t.Errorf("the client got the attributes %v", attr)
	}
	must(nil, file.SetAttr(p9.SetAttrMask{Permissions: true, Size: true},
		p9.SetAttr{Permissions: 0o600, UID: 1, GID: 2, Size: 3, ATimeSeconds: 4, ATimeNanoSeconds: 5, MTimeSeconds: 6, MTimeNanoSeconds: 7}))
	st, err := root.StatFS()
	must(nil, err)
	if st != fixedFS {
		t.Errorf("the client got the file system %v", st)
	}
	_, _, err = file.Open(p9.ReadWrite)
	must(nil, err)
	p := make([]byte, 100)
	n, err := file.ReadAt(p, 7)
	must(nil, err)
	if string(p[:n]) != "hello\n" {
		t.Errorf("the client read %q", p[:n])
	}
	n, err = file.WriteAt([]byte("up\n"), 9)
	must(nil, err)
	if n != 3 {
		t.Errorf("the client wrote %d", n)
	}
	must(nil, file.FSync())
	must(link.Readlink())
	must(dir.Mkdir("new", 0o750, 1, 7))
	must(dir.Symlink("to", "sl", 1, 7))
	must(dir.Mknod("null", p9.ModeCharacterDevice|0o666, 1, 3, 1, 7))
	must(nil, dir.Link(file, "hard"))
	must(nil, dir.RenameAt("old", root, "new"))
	must(nil, dir.UnlinkAt("gone", 0x200))
	must(nil, walk("dir", "other").Rename(root, "elsewhere"))
	_, _, _, err = walk("dir").Create("made", p9.WriteOnly, 0o640, 1, 7)
	must(nil, err)
	d := walk("dir")
	_, _, err = d.Open(p9.ReadOnly)
	must(nil, err)
	ents, err := d.Readdir(0, 4096)
	must(nil, err)
	if len(ents) != 2 || ents[0].Name != "dir" || ents[1].Offset != 2 {
		t.Errorf("the client read the directory %v", ents)
	}
	type remover interface{ Remove() error }
	must(nil, walk("dir", "x").(remover).Remove())
	must(nil, file.Close())
	// Locking needs an open fid, and p9's client always names fid 0: the answer is an error, the request is what is wanted here.
	_, _ = link.Lock(77, p9.WriteLock, p9.LockFlagsBlock, 3, 4, "host")

	c.Close()
	wg.Wait()
	for _, err := range r.errs {
		t.Error(err)
	}
	all := strings.Join(r.lines, "\n")
	for _, want := range []string{
		"version '9P2000.L'",
		"uname '' aname 'dir' n_uname ~0",
		"Rattach tag 1 qid 0x1020304050607.33.d",
		"wname ['dir' 'file']",
		"wqid [0x1020304050607.33.d 0x1020304050607.33]",
		"Rlerror tag 1 errno 2",
		"mask 0x3fff",
		"Rgetattr tag 1 valid 0x3fff qid 0x1020304050607.33 mode 0100644 uid 1 gid 2 nlink 3 rdev 4 size 5 blksize 6 blocks 7 " +
			"atime 8 atime_ns 9 mtime 10 mtime_ns 11 ctime 12 ctime_ns 13 btime 14 btime_ns 15 gen 16 data_version 17",
		"valid 0x9 mode 0600 uid 1 gid 2 size 3 atime 4 atime_ns 5 mtime 6 mtime_ns 7",
		"Rstatfs tag 1 type 1 bsize 2 blocks 3 bfree 4 bavail 5 files 6 ffree 7 fsid 8 namelen 9",
		"flags 0x2", "iounit 4096",
		"offset 7 count 100", `Rread tag 1 data 'hello\n'`,
		`offset 9 data 'up\n'`, "Rwrite tag 1 count 3",
		"Tfsync", "Rfsync",
		"Rreadlink tag 1 newname 'target'",
		"name 'new' mode 0750 gid ~0", "Rmkdir",
		"name 'sl' newname 'to' gid ~0", "Rsymlink",
		"name 'null' mode 020666 major 1 minor 3 gid ~0", "Rmknod",
		"name 'hard'", "Rlink",
		"name 'old' newfid", "newname 'new'", "Rrenameat",
		"name 'gone' flags 0x200", "Runlinkat",
		"name 'elsewhere'", "Rrename ",
		"name 'made' flags 0x1 mode 0640 gid ~0", "Rlcreate tag 1 qid 0x1020304050607.33 iounit 512",
		"Treaddir", "Rreaddir",
		"Tremove", "Rremove", "Tclunk", "Rclunk",
		"type 1 flags 0x1 start 3 length 4 proc_id 77 newname 'host'",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("not seen: %s", want)
		}
	}
	if t.Failed() {
		t.Log("\n" + all)
	}
}
