package clonefs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// TestTaken has numbers whose names are in use outside.
func TestTaken(t *testing.T) {
	taken := map[int]bool{0: true, 1: true, 3: true}
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{OnClone: func(_ context.Context, n int) error {
		if taken[n] {
			return fmt.Errorf("mem%d: %w", n, clonefs.ErrTaken)
		}
		return nil
	}}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	for _, want := range []string{"2", "4", "5"} {
		if n, _ := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != want {
			t.Errorf("got %s, want %s", n, want)
		}
	}
	taken[0] = false
	if n, _ := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != "0" {
		t.Errorf("got %s, want 0, which is free now", n)
	}
	for n := range 2000 {
		taken[n] = true
	}
	_, err := alice.Open("mem/clone", p9.ReadWrite)
	clonetest.CheckError(t, "all taken", err, linux.EBUSY, "device or object already in use")
}

// TestCloneFails checks that nothing is left of a conversation that did not begin, and what its opener hears.
func TestCloneFails(t *testing.T) {
	var fail error
	mem := clonetest.Mem(clonetest.MemOptions{OnClone: func(context.Context, int) error { return fail }})
	fs := tree(t, clonefs.Config{}, mem)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	for _, tt := range []struct {
		fail  error
		errno linux.Errno
		text  string
	}{
		{p9ext.ErrInUse, linux.EBUSY, "device or object already in use"},
		{p9ext.Errorf(linux.EACCES, "cannot make it: %w", linux.EPERM), linux.EACCES, "cannot make it: operation not permitted"},
		{fmt.Errorf("making it: %w", p9ext.ErrTooLarge), linux.EMSGSIZE, "making it: read or write too large"},
		{errors.New("out of luck"), linux.EIO, "out of luck"},
	} {
		fail = tt.fail
		_, err := alice.Open("mem/clone", p9.ReadWrite)
		clonetest.CheckError(t, "clone", err, tt.errno, tt.text)
	}
	fail = nil
	if n, err := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != "0" || err != nil {
		t.Errorf("then the first is %s, %v", n, err)
	}
	if s := fs.Stats()[0]; s.Refused != 4 || s.Clones != 1 || mem.Live() != 1 {
		t.Errorf("%+v, %d live", s, mem.Live())
	}
}

// TestSlowDriver has a driver whose Clone and Close block: who waits for them, and who does not.
func TestSlowDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloning, closing := make(chan struct{}), make(chan struct{})
		mem := clonetest.Mem(clonetest.MemOptions{
			OnClone: func(ctx context.Context, _ int) error {
				select {
				case <-cloning:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
			OnClose: func(int) error { <-closing; return nil },
		})
		fs := tree(t, clonefs.Config{}, mem)
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		var wg sync.WaitGroup

		open := func(ctx context.Context) (p9.File, <-chan error) {
			f, err := alice.Walk("mem/clone")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			wg.Go(func() {
				_, err := clonetest.Open(ctx, f, p9.ReadWrite)
				done <- err
			})
			synctest.Wait()
			return f, done
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, flushed := open(ctx)
		clunkedFile, clunked := open(t.Context())
		if convs := alice.Convs("mem"); convs != nil {
			t.Errorf("listed while Clone runs: %v", convs)
		}
		cancel()
		clonetest.CheckError(t, "flushed open", <-flushed, linux.EINTR, "interrupted")
		clunkedFile.Close()
		clonetest.CheckError(t, "clunked open", <-clunked, linux.EINTR, "interrupted")
		close(cloning)

		const convs = 100
		var files []*clonetest.File
		for range convs {
			files = append(files, alice.MustOpen("mem/clone", p9.ReadWrite))
		}
		for _, f := range files {
			wg.Go(func() { f.Close() })
		}
		synctest.Wait() // a hundred Closes block
		if list := alice.Convs("mem"); list != nil {
			t.Errorf("listed while Close runs: %v", list)
		}
		if n, _ := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != fmt.Sprint(convs) {
			t.Errorf("a number is given out while its driver closes: %s", n)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := fs.Close(short); err == nil || !strings.Contains(err.Error(), "101 of mem") {
			t.Errorf("the end of the tree, with drivers that do not close: %v", err)
		}
		close(closing)
		wg.Wait()
	})
}

// TestStubbornMethod has a method that ignores the end of its conversation: Close waits five seconds for it.
func TestStubbornMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		closed := make(chan time.Time, 1)
		d := &clonefs.Device[closer]{
			Name:  "x",
			Clone: func(context.Context, *clonefs.Conv) (closer, error) { return func() { closed <- time.Now() }, nil },
			Ctl: clonefs.Messages[closer]{{Word: "sleep", Do: func(_ closer, ctx context.Context, _ []string) error {
				<-ctx.Done()
				time.Sleep(time.Second) // this much is waited for
				return nil
			}}, {Word: "stick", Do: func(closer, context.Context, []string) error { <-gate; return nil }}},
		}
		fs := tree(t, clonefs.Config{}, d)
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		for word, want := range map[string]time.Duration{"sleep": time.Second, "stick": 5 * time.Second} {
			ctl := alice.MustOpen("x/clone", p9.ReadWrite)
			go ctl.Say(word)
			synctest.Wait()
			start := time.Now()
			ctl.Close()
			if took := (<-closed).Sub(start); took != want {
				t.Errorf("%s: closed after %v, want %v", word, took, want)
			}
		}
		close(gate)
	})
}

type closer func()

func (c closer) Close() error { c(); return nil }

// TestDriverHangsUp has the driver end a conversation, from a message, from outside, and before it began.
func TestDriverHangsUp(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	early := &clonefs.Device[closer]{
		Name: "early",
		Clone: func(ctx context.Context, c *clonefs.Conv) (closer, error) {
			c.Hangup(errors.New("no"))
			<-c.Done()
			<-ctx.Done()
			return func() {}, nil
		},
	}
	fs := tree(t, clonefs.Config{}, mem, early)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	ctl := alice.MustOpen("mem/clone", p9.ReadWrite)
	rx := alice.MustOpen("mem/0/rx", p9.ReadOnly)
	if err := ctl.Say("die\nlabel x"); err != nil {
		t.Error(err)
	}
	_, err := rx.Record(t.Context())
	clonetest.CheckError(t, "read", err, linux.EIO, "i/o on hungup channel")

	alice.MustOpen("mem/clone", p9.ReadWrite)
	for n := range 2 { // the first may still be closing
		if v := mem.Conv(n); v != nil {
			v.Hangup(nil)
			v.Hangup(nil)
		}
	}
	if convs := alice.Convs("mem"); convs != nil {
		t.Errorf("listed: %v", convs)
	}
	_, err = alice.Open("early/clone", p9.ReadWrite)
	clonetest.CheckError(t, "clone", err, linux.EIO, "i/o on hungup channel")
}
