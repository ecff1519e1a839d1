package clonefs_test

import (
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// TestStreams has records go through data, rx, tx and the file that can't poll, to every reader.
func TestStreams(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	fs := tree(t, clonefs.Config{}, mem)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	data := alice.MustOpen("mem/0/data", p9.ReadWrite)
	rx := alice.MustOpen("mem/0/rx", p9.ReadOnly)
	tx := alice.MustOpen("mem/0/tx", p9.WriteOnly)
	plain := alice.MustOpen("mem/0/plain", p9.ReadWrite)
	readers := map[string]*clonetest.File{"data": data, "rx": rx, "plain": plain}
	ctx := t.Context()

	for name, f := range map[string]*clonetest.File{"data": data, "tx": tx, "plain": plain} {
		if n, err := f.Write(ctx, []byte("from "+name), 0); n != 5+len(name) || err != nil {
			t.Errorf("write %s: %d, %v", name, n, err)
		}
		for reader, r := range readers {
			if got, err := r.Record(ctx); got != "from "+name || err != nil {
				t.Errorf("%s reads %q, %v; want what %s wrote", reader, got, err, name)
			}
		}
	}
	for name, r := range readers { // what was put back comes first
		mem.Conv(0).Push([]byte("one"))
		mem.Conv(0).Push([]byte("two"))
		one, err := r.Record(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r.File.(p9ext.Unreader).Unread([]byte(one))
		var got []string
		for range 2 {
			s, _ := r.Record(ctx)
			got = append(got, s)
		}
		if !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%s reads %q after Unread", name, got)
		}
		for other, o := range readers {
			if other != name {
				o.Record(ctx)
				o.Record(ctx)
			}
		}
	}
	_, err := tx.Read(ctx, make([]byte, 1), 0)
	clonetest.CheckError(t, "read of tx", err, linux.EBADF, "")
	_, err = rx.Write(ctx, []byte("x"), 0)
	clonetest.CheckError(t, "write to rx", err, linux.EBADF, "")
	_, err = tx.Write(ctx, nil, 0)
	clonetest.CheckError(t, "write of nothing", err, linux.EINVAL, "read or write too small")
	super := clonetest.Attach(t, fs, clonetest.Super)
	for path, flags := range map[string]p9.OpenFlags{"rx": p9.WriteOnly, "tx": p9.ReadOnly, "status": p9.ReadWrite, "../help": p9.WriteOnly} {
		_, err = super.Open("mem/0/"+path, flags)
		clonetest.CheckError(t, "the superuser opens "+path+" the wrong way", err, linux.EACCES, "permission denied")
	}

	mem.Conv(0).Push([]byte("last"))
	mem.Conv(0).EndOfFile(io.EOF)
	for name, r := range readers {
		if got, err := r.Record(ctx); got != "last" || err != nil {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
		if got, err := r.Record(ctx); got != "" || err != nil {
			t.Errorf("%s at its end reads %q, %v", name, got, err)
		}
	}
}

// TestUnreadWhileReading puts a record back into a stream that lacks Unread while a later read of it waits.
func TestUnreadWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := clonetest.Mem(clonetest.MemOptions{})
		fs := tree(t, clonefs.Config{}, mem)
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		alice.MustOpen("mem/clone", p9.ReadWrite)
		plain := alice.MustOpen("mem/0/plain", p9.ReadOnly)
		got := make(chan string, 1)
		read := func() {
			s, err := plain.Record(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- s
		}
		go read()
		synctest.Wait()
		plain.File.(p9ext.Unreader).Unread([]byte("back"))
		if s := <-got; s != "back" {
			t.Errorf("read %q", s)
		}
		go read()
		synctest.Wait()
		mem.Conv(0).Push([]byte("new"))
		if s := <-got; s != "new" {
			t.Errorf("read %q", s)
		}
	})
}

// TestParkedReads hangs up beneath many parked reads: each is woken once, and answers.
func TestParkedReads(t *testing.T) {
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	ctl := alice.MustOpen("mem/clone", p9.ReadWrite)
	var bells []*bell
	var files []p9ext.ReadPoller
	for i := range 100 {
		f := alice.MustOpen([]string{"mem/0/rx", "mem/0/tap"}[i%2], p9.ReadOnly).File.(p9ext.ReadPoller)
		b := &bell{c: make(chan struct{}, 2)}
		if _, err := f.PollRead(make([]byte, 10), 0, b); err != p9ext.ErrWait {
			t.Fatal(err)
		}
		bells, files = append(bells, b), append(files, f)
	}
	if err := ctl.Say("hangup"); err != nil {
		t.Fatal(err)
	}
	for i, b := range bells {
		<-b.c
		_, err := files[i].PollRead(make([]byte, 10), 0, b)
		clonetest.CheckError(t, "parked read", err, linux.EIO, "i/o on hungup channel")
		files[i].Unpoll(b)
		if len(b.c) != 0 {
			t.Error("woken twice")
		}
	}
}

type bell struct{ c chan struct{} }

func (b *bell) Wake() { b.c <- struct{}{} }
