package server_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/internal/script"
	"github.com/hugelgupf/p9/p9"
	"go.uber.org/goleak"
)

// TestScripts runs the scripted conversations of testdata. Each ends with every file closed exactly once and no goroutine left.
//
// `serve device` is the tree of testtree_test.go, `serve clonefs` a clone tree with the device "mem" in memory (clonetest.Mem), whose superuser is 0.
// Options of serve are limits of the server: fids=N requests=N attaches=N depth=N msize=N. Those of conn say who the other side is:
// uid=N (proven; 0 may be anyone) or nobody; main is root.
func TestScripts(t *testing.T) { script.Run(t, "testdata/*.txt", startServer) }

// startServer starts the server of a script.
func startServer(t testing.TB, tree string, options []string) script.Server {
	leaks := goleak.IgnoreCurrent()
	conf := limits(t, options)
	var attacher p9.Attacher
	var do map[string]func([]string) error
	var closeTree func() error
	switch tree {
	case "device":
		d := newDevice()
		attacher, do = d, d.actions()
		closeTree = func() error {
			close(d.deaf)
			return eventually(d.left)
		}
	case "clonefs":
		m := clonetest.Mem(clonetest.MemOptions{MaxConvs: 10, MaxPerUser: 4})
		super := p9.UID(0)
		fs, err := clonefs.New(clonefs.Config{Superuser: &super}, m)
		if err != nil {
			t.Fatal(err)
		}
		attacher, do = fs, memActions(m)
		closeTree = func() error {
			err := live(m, 0)
			if e := fs.Close(context.Background()); err == nil {
				err = e
			}
			return err
		}
	default:
		t.Fatalf("no tree is called %s", tree)
	}
	srv := server.New(attacher, conf)
	do["requests"] = func(args []string) error { // N: that many wait
		n, err := number(args)
		if err != nil {
			return err
		}
		return eventually(func() error {
			if got := srv.Stats().Requests; got != int64(n) {
				return fmt.Errorf("%d requests wait, not %d", got, n)
			}
			return nil
		})
	}
	return script.Server{
		Dial: func(options []string) (net.Conn, error) {
			peer, err := peerOf(options)
			if err != nil {
				return nil, err
			}
			ours, theirs, err := script.Socketpair()
			if err != nil {
				return nil, err
			}
			go srv.ServeConn(theirs, peer) // ends with the connection, which the script's end closes
			return ours, nil
		},
		Do: do,
		Close: func() error {
			err := srv.Shutdown(context.Background())
			if e := closeTree(); err == nil {
				err = e
			}
			if st := srv.Stats(); err == nil && (st.Fids != 0 || st.Sessions != 0) {
				err = fmt.Errorf("the server still counts %+v", st)
			}
			if err == nil {
				err = do["requests"]([]string{"0"})
			}
			if err == nil {
				err = goleak.Find(leaks)
			}
			return err
		},
	}
}

// limits are the settings that a serve line asks for.
func limits(t testing.TB, options []string) (c server.Config) {
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatalf("serve option %s: %v", o, err)
		}
		switch name {
		case "fids":
			c.MaxFids = n
		case "requests":
			c.MaxRequests = n
		case "attaches":
			c.MaxAttaches = n
		case "depth":
			c.MaxDepth = n
		case "msize":
			c.MaxMessage = uint32(n)
		default:
			t.Fatalf("no serve option is called %s", name)
		}
	}
	return c
}

// peerOf is who a conn line says the other side is.
func peerOf(options []string) (server.Peer, error) {
	root := server.Peer{Addr: "script", Name: "root", Any: true, Proven: true}
	for _, o := range options {
		uid, ok := strings.CutPrefix(o, "uid=")
		switch {
		case o == "nobody":
			return server.Nobody("script"), nil
		case ok:
			n, err := strconv.ParseUint(uid, 10, 32)
			return server.Peer{Addr: "script", UID: uint32(n), GID: uint32(n), Name: "user" + uid, Any: n == 0, Proven: true}, err
		default:
			return root, fmt.Errorf("no conn option is called %s", o)
		}
	}
	return root, nil
}

// actions are what the scripts may do to the device.
func (d *device) actions() map[string]func([]string) error {
	each := func(fn func(string)) func([]string) error {
		return func(args []string) error {
			for _, a := range args {
				fn(a)
			}
			return nil
		}
	}
	plain := func(fn func()) func([]string) error {
		return func([]string) error { fn(); return nil }
	}
	count := func(what string, now func() int) func([]string) error {
		return func(args []string) error {
			n, err := number(args)
			if err != nil {
				return err
			}
			return eventually(func() error {
				if got := now(); got != n {
					return fmt.Errorf("%d %s, not %d", got, what, n)
				}
				return nil
			})
		}
	}
	locked := func(fn func() int) func() int {
		return func() int {
			d.mu.Lock()
			defer d.mu.Unlock()
			return fn()
		}
	}
	return map[string]func([]string) error{
		"push":      each(d.push),     // TEXT...: records of the tape
		"pushLine":  each(d.pushLine), // TEXT...: records of the line
		"knock":     plain(d.knock),
		"hold":      plain(func() { d.hold(true) }), // writes to line wait
		"release":   plain(func() { d.hold(false) }),
		"bar":       plain(func() { d.bar(true) }), // attaches and walks of .. wait
		"unbar":     plain(func() { d.bar(false) }),
		"stubborn":  plain(func() { d.mu.Lock(); d.stubborn = true; d.mu.Unlock() }),
		"files":     count("files are in use", locked(func() int { return d.files })),
		"waiters":   count("polls wait", locked(func() int { return len(d.waiters) })),
		"deafReads": count("deaf reads began", func() int { return int(d.deafReads.Load()) }),
		"opens":     count("opens succeeded", func() int { return int(d.opens.Load()) }),
		"written": func(args []string) error { // TEXT...: what was written to line, all of it
			d.mu.Lock()
			defer d.mu.Unlock()
			var got []string
			for _, w := range d.written {
				got = append(got, string(w))
			}
			if !slices.Equal(got, args) {
				return fmt.Errorf("%q was written, not %q", got, args)
			}
			return nil
		},
	}
}

// memActions are what the scripts may do to the device in memory.
func memActions(m *clonetest.MemDevice) map[string]func([]string) error {
	return map[string]func([]string) error{
		"push": func(args []string) error { // N TEXT...: records of conversation N
			n, err := number(args[:1])
			if err != nil {
				return err
			}
			c := m.Conv(n)
			if c == nil {
				return fmt.Errorf("there is no conversation %d", n)
			}
			for _, text := range args[1:] {
				c.Push([]byte(text))
			}
			return nil
		},
		"live": func(args []string) error { // N: that many conversations are there
			n, err := number(args)
			if err != nil {
				return err
			}
			return live(m, n)
		},
		"clones": func(args []string) error { // N: that many were made
			n, err := number(args)
			if err == nil && m.Clones() != n {
				err = fmt.Errorf("%d conversations were made, not %d", m.Clones(), n)
			}
			return err
		},
	}
}

// live waits until n conversations of m live.
func live(m *clonetest.MemDevice, n int) error {
	return eventually(func() error {
		if got := m.Live(); got != n {
			return fmt.Errorf("%d conversations live, not %d", got, n)
		}
		return nil
	})
}

func number(args []string) (int, error) {
	if len(args) != 1 {
		return 0, fmt.Errorf("wants a number")
	}
	return strconv.Atoi(args[0])
}

// eventually calls check until it is content, or patience is at its end.
func eventually(check func() error) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
