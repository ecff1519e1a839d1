package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sort"
	"strings"
	"sync"
	"testing"

	"9fans.net/go/plan9"
	"9fans.net/go/plan9/client"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/fsimpl/localfs"
	"github.com/hugelgupf/p9/p9"
)

// A tree written for p9.Server does with ours what it does there: one program of operations, two servers, the same account of what happened.
func TestTreesOfP9(t *testing.T) {
	run := func(serve func(net.Conn, p9.Attacher)) string {
		ours, theirs := socketpair(t)
		defer ours.Close()
		go serve(theirs, localfs.Attacher(t.TempDir()))
		c, err := p9.NewClient(ours)
		if err != nil {
			t.Fatal(err)
		}
		return account(t, c)
	}
	srv := p9.NewServer
	want := run(func(conn net.Conn, a p9.Attacher) { srv(a).Handle(conn, conn) })
	got := run(func(conn net.Conn, a p9.Attacher) {
		server.New(a, server.Config{}).ServeConn(conn, server.Peer{Any: true})
	})
	if got != want {
		t.Errorf("with our server:\n%s\nwith p9.Server:\n%s", got, want)
	}
}

// account does things to a writable tree and tells what came of them.
func account(t *testing.T, c *p9.Client) string {
	var log strings.Builder
	say := func(what string, v ...any) { fmt.Fprintln(&log, append([]any{what}, v...)...) }
	root, err := c.Attach("/")
	if err != nil {
		t.Fatal(err)
	}
	must := func(path ...string) p9.File {
		_, f, err := root.Walk(path)
		if err != nil {
			t.Fatal(path, err)
		}
		return f
	}
	content := func(f p9.File) string {
		b := make([]byte, 100)
		n, err := f.ReadAt(b, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return err.Error()
		}
		return string(b[:n])
	}
	for _, d := range []string{"a", "b"} {
		_, err := root.Mkdir(d, 0o755, p9.NoUID, p9.NoGID)
		say("mkdir", d, err)
	}
	dir := must("a")
	f, _, _, err := dir.Create("file", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID)
	say("create", err)
	n, err := f.WriteAt([]byte("content"), 0)
	say("write", n, err)
	say("read", content(f))
	_, _, attr, err := f.GetAttr(p9.AttrMask{Size: true, Mode: true})
	say("getattr", attr.Size, attr.Mode, err)

	inner := must("a", "file")
	say("rename", root.RenameAt("a", must("b"), "moved"))
	_, _, err = inner.Open(p9.ReadOnly)
	say("open after the directory was renamed", err, content(inner))
	_, _, err = root.Walk([]string{"a"})
	say("walk to the old name", err)
	say("rename the file", must("b", "moved").RenameAt("file", must("b"), "top"))
	top := must("b", "top")
	say("setattr", top.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 3}))
	say("read", content(f))
	say("fsync", f.FSync())
	ents, err := func() (p9.Dirents, error) {
		d := must("b")
		if _, _, err := d.Open(p9.ReadOnly); err != nil {
			return nil, err
		}
		return d.Readdir(0, 4096)
	}()
	var names []string
	for _, e := range ents {
		names = append(names, e.Name)
	}
	sort.Strings(names)
	say("readdir", names, err)
	say("unlink a directory that is not empty", root.UnlinkAt("b", 0) != nil)
	say("unlink", must("b").UnlinkAt("top", 0))
	say("unlink again", must("b").UnlinkAt("top", 0))
	_, _, err = top.Open(p9.ReadOnly)
	say("open what was removed", err != nil)
	say("the open file goes on", content(f))
	_, err = root.Symlink("target", "link", p9.NoUID, p9.NoGID)
	say("symlink", err)
	_, _, err = must("b").Open(p9.WriteOnly)
	say("open a directory for writing", err)
	_, _, err = root.Walk([]string{"b", "top", "x"})
	say("walk through nothing", err)
	return log.String()
}

// The same kind of tree through an independent client of plain 9P2000.
func TestTreesOfP9InPlain9P(t *testing.T) {
	ours, theirs := socketpair(t)
	defer ours.Close()
	go server.New(localfs.Attacher(t.TempDir()), server.Config{}).ServeConn(theirs, server.Peer{Any: true})
	conn, err := client.NewConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := conn.Attach(nil, "nobody", "")
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(what, err)
		}
	}
	_, err = fs.Create("/dir", plan9.OREAD, plan9.DMDIR|0o755)
	check("create dir", err)
	var want []string
	for i := range 300 { // several reads' worth of stat entries
		name := fmt.Sprintf("a file with a longer name %03d", i)
		f, err := fs.Create("/dir/"+name, plan9.ORDWR, 0o644)
		check("create", err)
		_, err = f.Write([]byte(name))
		check("write", err)
		f.Close()
		want = append(want, name)
	}
	d, err := fs.Open("/dir", plan9.OREAD)
	check("open dir", err)
	dirs, err := d.Dirreadall()
	check("read dir", err)
	var got []string
	for _, e := range dirs {
		got = append(got, e.Name)
		if e.Length != uint64(len(e.Name)) || e.Mode&plan9.DMDIR != 0 || e.Uid == "" {
			t.Fatalf("stat %v", e)
		}
	}
	sort.Strings(got)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d names, want %d", len(got), len(want))
	}
	f, err := fs.Open("/dir/"+want[7], plan9.ORDWR)
	check("open", err)
	var st plan9.Dir
	st.Null()
	check("blank wstat", f.Wstat(&st))
	st.Length = 1
	check("truncate by wstat", f.Wstat(&st))
	st.Null()
	st.Name = "renamed"
	check("rename by wstat", f.Wstat(&st))
	st.Null()
	st.Mode = plan9.DMDIR | 0o755
	if f.Wstat(&st) == nil {
		t.Error("wstat made a directory of a file")
	}
	b, err := io.ReadAll(f)
	check("read", err)
	if string(b) != "a" {
		t.Errorf("read %q", b)
	}
	check("remove", fs.Remove("/dir/renamed"))
	if _, err := fs.Stat("/dir/renamed"); err == nil {
		t.Error("stat of what was removed succeeded")
	}
	up, err := fs.Stat("/dir/../dir/..")
	check("stat by ..", err)
	if up.Name != "/" || up.Mode&plan9.DMDIR == 0 {
		t.Errorf("the root's stat: %v", up)
	}
}

// Renames, removals and reads of one tree from many sessions at once; for the race detector.
func TestTreesOfP9Concurrently(t *testing.T) {
	srv := server.New(localfs.Attacher(t.TempDir()), server.Config{})
	defer srv.Shutdown(context.Background())
	var wg sync.WaitGroup
	for i := range 8 {
		ours, theirs := socketpair(t)
		defer ours.Close()
		go srv.ServeConn(theirs, server.Peer{Any: true})
		wg.Go(func() {
			c, err := p9.NewClient(ours)
			if err != nil {
				t.Error(err)
				return
			}
			root, err := c.Attach("")
			if err != nil {
				t.Error(err)
				return
			}
			mine, other := fmt.Sprint("dir", i%3), fmt.Sprint("dir", (i+1)%3)
			for range 50 { // every call may fail: somebody else was faster
				root.Mkdir(mine, 0o755, p9.NoUID, p9.NoGID)
				if _, d, err := root.Walk([]string{mine}); err == nil {
					if f, _, _, err := d.Create("f", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID); err == nil {
						f.WriteAt([]byte(mine), 0)
						f.ReadAt(make([]byte, 10), 0)
						f.Close()
					}
				}
				if _, f, err := root.Walk([]string{mine, "f"}); err == nil {
					root.RenameAt(mine, root, other)
					f.GetAttr(p9.AttrMaskAll)
					f.Close()
				}
				if _, d, err := root.Walk([]string{other}); err == nil {
					d.UnlinkAt("f", 0)
					d.Close()
				}
				root.UnlinkAt(other, 0)
			}
		})
	}
	wg.Wait()
}
