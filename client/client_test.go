package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// each runs a test in the three dialects.
func each(t *testing.T, f func(t *testing.T, d client.Dialect)) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) { f(t, d) })
	}
}

func TestConversation(t *testing.T) {
	_, dial := serve(t)
	each(t, func(t *testing.T, d client.Dialect) {
		ctx := t.Context()
		c, root := attach(t, dial(), d)
		if c.Dialect() != d {
			t.Fatalf("dialect %v", c.Dialect())
		}
		clone := open(t, root, "/echo/clone", p9.ReadWrite)
		buf := make([]byte, 100)
		n, err := clone.Read(buf)
		if err != nil || string(buf[:n]) != "0\n" {
			t.Fatalf("clone says %q, %v", buf[:n], err)
		}
		data := open(t, root, "echo/0/data", p9.ReadWrite)
		for _, s := range []string{"one", "two"} {
			if _, err := clone.WriteContext(ctx, []byte("say "+s), 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{"one", "two"} { // a read is a record
			if n, err := data.Read(buf); err != nil || string(buf[:n]) != want {
				t.Fatalf("read %q, %v, want %q", buf[:n], err, want)
			}
		}
		_, err = clone.WriteContext(ctx, []byte("shout"), 0)
		var e *p9ext.Error
		if !errors.As(err, &e) {
			t.Fatalf("a bad message: %v", err)
		}
		if d != client.P9 && !errors.Is(err, linux.EINVAL) || d != client.P9L && !strings.Contains(err.Error(), "shout") {
			t.Errorf("a bad message: %v (%d)", err, e.Errno)
		}
		dir := open(t, root, "echo/0", p9.ReadOnly)
		ents, err := dir.ReadDir(ctx)
		var names []string
		for _, e := range ents {
			names = append(names, e.Name)
		}
		if err != nil || !strings.Contains(strings.Join(names, " "), "data") || !strings.Contains(strings.Join(names, " "), "ctl") {
			t.Errorf("the directory has %v, %v", names, err)
		}
		a, err := data.GetAttr(ctx)
		if err != nil || a.Mode != p9.ModeRegular|0o666 || a.Size != 0 {
			t.Errorf("attributes %+v, %v", a, err)
		}
		if d != client.P9 && a.UID != p9ext.NobodyUID || d != client.P9L && (a.User == "" || a.Name != "data") {
			t.Errorf("attributes %+v", a)
		}
		if err := clone.SetAttr(ctx, client.SetSize, client.Attr{}); err != nil {
			t.Error("truncate:", err)
		}
		if err := data.SetAttr(ctx, client.SetMode, client.Attr{Mode: 0o600}); err != nil {
			t.Error("chmod:", err)
		}
		if a, _ = data.GetAttr(ctx); a.Mode.Permissions() != 0o600 {
			t.Errorf("mode %v after chmod", a.Mode)
		}
		if err := data.Sync(ctx); err != nil {
			t.Error("sync:", err)
		}
		if _, err := root.StatFS(ctx); (err == nil) != (d == client.P9L) {
			t.Error("statfs:", err)
		}
		if err := clone.Close(); err != nil {
			t.Error(err)
		}
		if _, err := clone.Read(buf); !errors.Is(err, linux.EBADF) {
			t.Errorf("read of a closed file: %v", err)
		}
		if err := data.Close(); err != nil {
			t.Error(err)
		}
		if _, err := root.Walk(ctx, "echo/0"); !errors.Is(err, linux.ENOENT) {
			t.Errorf("walk to what is gone: %v", err)
		}
	})
}

func TestFilesOfBytesAreReadToTheirEnd(t *testing.T) {
	_, dial := serve(t)
	each(t, func(t *testing.T, d client.Dialect) {
		_, root := attach(t, dial(), d)
		f := open(t, root, "README", p9.ReadOnly)
		defer f.Close()
		whole, err := io.ReadAll(f)
		if err != nil || len(whole) == 0 {
			t.Fatalf("%d bytes, %v", len(whole), err)
		}
		again := make([]byte, len(whole)+1)
		if n, err := f.ReadAt(again, 0); n != len(whole) || err != io.EOF {
			t.Errorf("ReadAt: %d, %v", n, err)
		}
	})
}

// A walk that fails far down has the server's error for the step that failed, and leaves no fid.
func TestWalkFailure(t *testing.T) {
	srv, dial := serve(t)
	each(t, func(t *testing.T, d client.Dialect) {
		_, root := attach(t, dial(), d)
		before := srv.Stats().Fids
		for _, path := range []string{"nothing", "echo/nothing", "echo/clone/nothing", strings.Repeat("echo/../", 20) + "nothing"} {
			if _, err := root.Walk(t.Context(), path); err == nil {
				t.Errorf("walked to %s", path)
			}
		}
		f, err := root.Walk(t.Context(), strings.Repeat("echo/../", 20)+"echo")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		eventually(t, "the walks' fids are clunked", func() bool { return srv.Stats().Fids == before })
	})
}

func TestCancelledReadLosesNothing(t *testing.T) {
	_, dial := serve(t)
	each(t, func(t *testing.T, d client.Dialect) {
		_, root := attach(t, dial(), d)
		ctl := open(t, root, "echo/clone", p9.ReadWrite)
		defer ctl.Close()
		data := open(t, root, "echo/0/data", p9.ReadOnly)
		defer data.Close()
		buf := make([]byte, 100)
		for i := range 200 {
			ctx, cancel := context.WithCancel(t.Context())
			said := make(chan error, 1)
			go func() {
				_, err := ctl.WriteContext(t.Context(), fmt.Appendf(nil, "say %d", i), 0)
				said <- err
			}()
			go cancel() // races with the record
			n, err := data.ReadContext(ctx, buf, 0)
			if e := <-said; e != nil {
				t.Fatal(e)
			}
			if err != nil {
				if !errors.Is(err, linux.EINTR) || !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				if n, err = data.ReadContext(t.Context(), buf, 0); err != nil {
					t.Fatal(err)
				}
			}
			if want := fmt.Sprint(i); string(buf[:n]) != want {
				t.Fatalf("read %q, want %s", buf[:n], want)
			}
		}
	})
}

func TestManyBlockedReads(t *testing.T) {
	srv, dial := serve(t)
	each(t, func(t *testing.T, d client.Dialect) {
		const many = 2000
		_, root := attach(t, dial(), d)
		ctl := open(t, root, "echo/clone", p9.ReadWrite)
		defer ctl.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		before := srv.Stats().Requests
		var wg sync.WaitGroup
		for range many {
			f := open(t, root, "echo/0/data", p9.ReadOnly)
			wg.Go(func() {
				if _, err := f.ReadContext(ctx, make([]byte, 10), 0); !errors.Is(err, linux.EINTR) {
					t.Errorf("a cancelled read: %v", err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		eventually(t, "all reads wait", func() bool { return srv.Stats().Requests == before+many })
		if _, err := root.GetAttr(t.Context()); err != nil {
			t.Error("stat beside them:", err)
		}
		cancel()
		wg.Wait()
		eventually(t, "no read waits", func() bool { return srv.Stats().Requests == before })
	})
}

func TestLostConnection(t *testing.T) {
	srv, dial := serve(t)
	nc := dial()
	c, root := attach(t, nc, client.P9u)
	open(t, root, "echo/clone", p9.ReadWrite)
	errs := make(chan error)
	const many = 50
	for range many {
		f := open(t, root, "echo/0/data", p9.ReadOnly)
		go func() {
			_, err := f.Read(make([]byte, 10))
			errs <- err
		}()
	}
	eventually(t, "all reads wait", func() bool { return srv.Stats().Requests == many })
	nc.Close()
	for range many {
		if err := <-errs; !errors.Is(err, client.ErrLost) || !errors.Is(err, linux.ECONNRESET) {
			t.Errorf("a read whose connection is lost: %v", err)
		}
	}
	<-c.Done()
	if _, err := root.Walk(t.Context(), "echo"); !errors.Is(err, client.ErrLost) || c.Err() == nil {
		t.Errorf("a walk after that: %v; %v", err, c.Err())
	}
}

func TestClose(t *testing.T) {
	srv, dial := serve(t)
	c, root := attach(t, dial(), client.P9L)
	open(t, root, "echo/clone", p9.ReadWrite)
	f := open(t, root, "echo/0/data", p9.ReadOnly)
	end := make(chan error)
	go func() {
		_, err := f.Read(make([]byte, 10))
		end <- err
	}()
	eventually(t, "the read waits", func() bool { return srv.Stats().Requests == 1 })
	c.Close()
	if err := <-end; !errors.Is(err, client.ErrClosed) {
		t.Errorf("the read: %v", err)
	}
}

// What the server says of dialects, and what comes of it.
func TestVersion(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []wire.Msg
		want    string // the dialect, or a part of the error
	}{
		{"asked", []wire.Msg{{Type: wire.Rversion, Msize: 8192, Version: []byte("9P2000.u")}}, "9P2000.u"},
		{"lower", []wire.Msg{{Type: wire.Rversion, Msize: 8192, Version: []byte("9P2000")}}, "9P2000"},
		{"second", []wire.Msg{{Type: wire.Rversion, Msize: 8192, Version: []byte("unknown")}, {Type: wire.Rversion, Msize: 8192, Version: []byte("9P2000.L")}}, "9P2000.L"},
		{"none", []wire.Msg{{Type: wire.Rversion, Version: []byte("unknown")}, {Type: wire.Rerror, Ename: []byte("no")}, {Type: wire.Rversion, Version: []byte("9P1999")}}, "does not speak"},
		{"small", []wire.Msg{{Type: wire.Rversion, Msize: 24, Version: []byte("9P2000.u")}}, "at most 24 bytes"},
		{"large", []wire.Msg{{Type: wire.Rversion, Msize: 1 << 30, Version: []byte("9P2000.u")}}, "1073741824"},
		{"other", []wire.Msg{{Type: wire.Rclunk}}, "is there a 9P server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, p := pipe(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for _, m := range tt.answers {
					p.next(wire.Tversion)
					m.Tag = wire.NoTag
					p.answer(&m)
				}
			}()
			c, err := client.New(t.Context(), a, client.Options{})
			<-done
			if err == nil {
				defer c.Close()
				if c.Dialect().String() != tt.want {
					t.Errorf("dialect %v, want %s", c.Dialect(), tt.want)
				}
				return
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %s", err, tt.want)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		a, p := pipe(t)
		go io.Copy(io.Discard, p.nc)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := client.New(ctx, a, client.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
