package clonetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

func (s *suite) allocationAtOpen() {
	f, err := s.alice.Walk(s.path("clone"))
	if err != nil {
		s.Fatal(err)
	}
	if _, _, _, err := f.GetAttr(p9.AttrMaskAll); err != nil {
		s.Error(err)
	}
	_, g, err := f.Walk(nil)
	if err != nil {
		s.Fatal(err)
	}
	g.Close()
	s.convs("after walks and stats of clone")

	q, err := Open(s.Context(), f, p9.ReadWrite)
	if err != nil {
		s.Fatal(err)
	}
	s.convs("after the open", "0")
	ctl, err := s.alice.Walk(s.path("0", "ctl"))
	if err != nil {
		s.Fatal(err)
	}
	want, _, _, _ := ctl.GetAttr(p9.AttrMaskAll)
	if q != want {
		s.Errorf("the open of clone answered %v, 0/ctl is %v", q, want)
	}
	if now, _, _, err := f.GetAttr(p9.AttrMaskAll); now != want || err != nil {
		s.Errorf("the open clone is %v, %v, want %v", now, err, want)
	}
	if _, err := Open(s.Context(), f, p9.ReadOnly); err == nil {
		s.Error("one file was opened twice")
	}
	file := &File{f, q}
	if all, err := file.All(); all != "0\n" || err != nil {
		s.Errorf("ctl reads %q, %v", all, err)
	}
	p := make([]byte, 1)
	if n, err := file.Read(s.Context(), p, 1); n != 1 || p[0] != '\n' || err != nil {
		s.Errorf("ctl at offset 1 reads %q, %v", p[:n], err)
	}
	ctl.Close()
	s.convs("after the close of a file that was not opened", "0")
	f.Close()
	s.convs("after the close")
}

func (s *suite) lowestNumber() {
	var files []*File
	for i := range 4 {
		f, n := s.clone(s.alice)
		if n != fmt.Sprint(i) {
			s.Errorf("clone %d got number %s", i, n)
		}
		files = append(files, f)
	}
	files[1].Close()
	files[2].Close()
	s.convs("after two closes", "0", "3")
	for _, want := range []string{"1", "2", "4"} {
		if _, n := s.clone(s.alice); n != want {
			s.Errorf("clone got number %s, want %s", n, want)
		}
	}
	s.convs("at the end", "0", "1", "2", "3", "4")
}

func (s *suite) references() {
	for _, f := range s.info.Files {
		ctl, n := s.clone(s.alice)
		file, err := s.alice.Open(s.path(n, f.Name), flags(f))
		if err != nil {
			s.Logf("%s can't be opened at once: %v", f.Name, err)
			ctl.Close()
			continue
		}
		status, err := s.bob.ReadFile(s.path(n, "status"))
		opens := 1
		if f.Holds {
			opens = 2
		}
		if want := fmt.Sprintf(" owner alice opens %d\n", opens); err != nil || !strings.Contains(status, want) {
			s.Errorf("with %s open status is %q, %v; want %q", f.Name, status, err, want)
		}
		ctl.Close()
		if f.Holds {
			s.convs("held by "+f.Name, n)
		} else {
			s.convs("with only "+f.Name+" open", []string{}...)
			if f.Stream {
				s.ends(file, "a stream without reference: "+f.Name)
			}
		}
		file.Close()
		s.convs("after the close of "+f.Name, []string{}...)
	}
}

// ends reads or writes f until it is hung up.
func (s *suite) ends(f *File, what string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	p := make([]byte, 1<<16)
	var err error
	for err == nil {
		if _, err = f.Read(ctx, p, 0); errors.Is(err, linux.EBADF) {
			_, err = f.Write(ctx, []byte("x"), 0)
		}
	}
	CheckError(s, what, err, linux.EIO, "i/o on hungup channel")
}

// blocked parks a read of f, where f polls, and returns what goes on reading until it is hung up.
func (s *suite) blocked(f *File, what string) func() {
	s.Helper()
	r, ok := f.File.(p9ext.ReadPoller)
	if !ok {
		return func() { s.ends(f, what) }
	}
	b := make(bell, 1)
	p := make([]byte, 1<<16)
	for range 1000 { // as long as it has something to read
		_, err := r.PollRead(p, 0, b)
		if err == nil {
			continue
		}
		if err != p9ext.ErrWait {
			break
		}
		return func() {
			select {
			case <-b:
			case <-time.After(patience):
				s.Errorf("%s: not woken", what)
				r.Unpoll(b)
			}
			s.ends(f, what)
		}
	}
	return func() { s.ends(f, what) }
}

func (s *suite) dropOnce() {
	a, n := s.clone(s.alice)
	b := s.alice.MustOpen(s.path(n, "ctl"), p9.ReadOnly)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { a.Close() })
	}
	wg.Wait()
	s.convs("after eight closes of one of two", n)
	if got, err := b.Number(); got != n || err != nil {
		s.Errorf("the other reads %q, %v", got, err)
	}
	b.Close()
	s.convs("after the close of the other")
}

func (s *suite) freshIncarnation() {
	ctl, n := s.clone(s.alice)
	old := ctl.QID
	stale := map[string]p9.File{}
	for _, f := range s.info.Files {
		file, err := s.alice.Walk(s.path(n, f.Name))
		if err != nil {
			s.Fatal(err)
		}
		stale[f.Name] = file
	}
	dir, err := s.alice.Walk(s.path(n))
	if err != nil {
		s.Fatal(err)
	}
	stale["."] = dir
	ctl.Close()
	again, m := s.clone(s.alice)
	if m != n || again.QID == old {
		s.Errorf("conversation %s with %v came again as %s with %v", n, old, m, again.QID)
	}
	for name, f := range stale {
		_, _, _, err := f.GetAttr(p9.AttrMaskAll)
		CheckError(s, "getattr of stale "+name, err, linux.ENOENT, "file does not exist")
		_, err = Open(s.Context(), f, p9.ReadOnly)
		CheckError(s, "open of stale "+name, err, linux.ENOENT, "file does not exist")
		CheckError(s, "setattr of stale "+name, f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{}), linux.ENOENT, "file does not exist")
		_, _, err = f.Walk(nil)
		CheckError(s, "walk from stale "+name, err, linux.ENOENT, "file does not exist")
		f.Close()
	}
	s.convs("at the end", n)
}

func (s *suite) hangup() {
	ctl, n := s.clone(s.alice)
	second := s.alice.MustOpen(s.path(n, "ctl"), p9.ReadWrite)
	var wg sync.WaitGroup
	for _, f := range s.info.Files {
		if !f.Stream || f.Mode&0o400 == 0 {
			continue
		}
		file, err := s.alice.Open(s.path(n, f.Name), p9.ReadOnly)
		if err != nil {
			s.Logf("%s can't be opened at once: %v", f.Name, err)
			continue
		}
		defer file.Close()
		wg.Go(s.blocked(file, "a blocked read of "+f.Name))
	}
	status := s.alice.MustOpen(s.path(n, "status"), p9.ReadOnly)
	if err := second.Say("hangup\n"); err != nil {
		s.Fatal(err)
	}
	s.convs("after hangup")
	wg.Wait()
	_, err := s.alice.Walk(s.path(n, "ctl"))
	CheckError(s, "walk", err, linux.ENOENT, "file does not exist")
	for name, f := range map[string]*File{"clone": ctl, "ctl": second, "status": status} {
		_, err := f.All()
		CheckError(s, "read of "+name, err, linux.EIO, "i/o on hungup channel")
	}
	CheckError(s, "ctl message", ctl.Say("label x"), linux.EIO, "i/o on hungup channel")
	ctl.Close()
	second.Close()
	s.convs("at the end")
}

func (s *suite) persist() {
	ctl, n := s.clone(s.alice)
	if err := ctl.Say("persist on\npersist on"); err != nil {
		s.Fatal(err)
	}
	ctl.Close()
	s.convs("persisting", n)
	ctl = s.alice.MustOpen(s.path(n, "ctl"), p9.ReadWrite)
	if err := ctl.Say("persist off"); err != nil {
		s.Fatal(err)
	}
	s.convs("held by ctl", n)
	ctl.Close()
	s.convs("released")

	ctl, n = s.clone(s.alice)
	if err := ctl.Say("persist on"); err != nil {
		s.Fatal(err)
	}
	ctl.Close()
	if err := s.alice.WriteFile(s.path(n, "ctl"), "hangup"); err != nil {
		s.Fatal(err)
	}
	s.convs("hung up")
	s.clone(s.alice) // and one left to the end of the tree
}

func (s *suite) interruptedOpen() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if f, err := s.alice.OpenContext(ctx, s.path("clone"), p9.ReadWrite); err == nil {
		f.Close()
		s.Error("an open whose context had ended succeeded")
	}
	s.convs("after an interrupted open")

	// The file is closed, or the context ends, while it is opened: whoever wins, nothing is left.
	for i := range s.o.Convs {
		f, err := s.alice.Walk(s.path("clone"))
		if err != nil {
			s.Fatal(err)
		}
		ctx, cancel := context.WithCancel(s.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, err = Open(ctx, f, p9.ReadWrite) })
		if i%2 == 0 {
			cancel()
		}
		f.Close()
		wg.Wait()
		f.Close()
		cancel()
	}
	s.convs("after opens that raced with their end")
}

func (s *suite) interruptedRead() {
	_, n := s.clone(s.alice)
	for _, f := range s.info.Files {
		if !f.Stream || f.Mode&0o400 == 0 {
			continue
		}
		file, err := s.alice.Open(s.path(n, f.Name), p9.ReadOnly)
		if err != nil {
			s.Logf("%s can't be opened at once: %v", f.Name, err)
			continue
		}
		ctx, cancel := context.WithTimeout(s.Context(), 20*time.Millisecond)
		p := make([]byte, 1<<16)
		for err == nil && ctx.Err() == nil { // what there is to read, for ever if it never waits; then it waits until interrupted
			n := 0
			if n, err = file.Read(ctx, p, 0); n == 0 && err == nil {
				break
			}
		}
		cancel()
		if err != nil {
			CheckError(s, "interrupted read of "+f.Name, err, linux.EINTR, "interrupted")
		}
		file.Close()
	}
}

func (s *suite) parallelClose() {
	var files []*File
	for range s.o.Convs {
		f, _ := s.clone(s.alice)
		files = append(files, f)
	}
	var wg sync.WaitGroup
	for _, f := range files {
		wg.Go(func() { f.Close() })
	}
	wg.Wait()
	s.convs("after all closes")
	if _, n := s.clone(s.alice); n != "0" {
		s.Errorf("the next has number %s", n)
	}
}

func (s *suite) endOfTree() {
	ctl, n := s.clone(s.alice)
	s.clone(s.bob)
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	if err := s.fs.Close(ctx); err != nil {
		s.Fatal(err)
	}
	CheckError(s, "message", ctl.Say("label x"), linux.EIO, "i/o on hungup channel")
	_, err := s.alice.Walk(s.path(n))
	CheckError(s, "walk", err, linux.ENOENT, "file does not exist")
	_, err = s.alice.Open(s.path("clone"), p9.ReadWrite)
	CheckError(s, "clone", err, linux.EIO, "i/o on hungup channel")
	if _, err := s.fs.AttachUser(ctx, Alice); err == nil {
		s.Error("attached to a tree that was closed")
	}
	if err := s.fs.Close(ctx); err != nil {
		s.Error(err)
	}
}
