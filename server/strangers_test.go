package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// A lines is a log in memory. Its methods are safe for concurrent use.
type lines struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// with counts the lines that have text in them.
func (l *lines) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// leftOut adds up what the log says was left out of it.
func (l *lines) leftOut() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var e struct{ Lines int }
		if json.Unmarshal([]byte(line), &e) == nil {
			n += e.Lines
		}
	}
	return n
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// serveTCP serves an empty tree on a port of 127.0.0.1.
func serveTCP(t *testing.T, c Config, wrap func(net.Conn) net.Conn) (s *Server, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = New(nil, c)
	served := make(chan error, 1)
	go func() { served <- s.Serve(&wrapped{l, wrap}) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-served); err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// A wrapped listener makes something else of each connection.
type wrapped struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w *wrapped) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err == nil && w.wrap != nil {
		c = w.wrap(c)
	}
	return c, err
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute)) // what hangs is to fail, not to hang
	return c
}

// tversion is a Tversion of 9P2000 with an msize of 8192.
var tversion = []byte("\x13\x00\x00\x00\x64\xff\xff\x00\x20\x00\x00\x06\x009P2000")

// hello begins a session on c, or returns why that cannot be.
func hello(c net.Conn) error {
	if _, err := c.Write(tversion); err != nil {
		return err
	}
	b := make([]byte, len(tversion))
	n, err := c.Read(b)
	if err == nil && (n < 5 || b[4] != 101) {
		err = errors.New("no Rversion")
	}
	return err
}

// Ten thousand connections that say nothing do not push out a session, take no more places than there are for their kind, and fill
// no log.
func TestFloodOfSilentPeers(t *testing.T) {
	const flood, most = 10000, 64
	var log lines
	s, addr := serveTCP(t, Config{Log: zerolog.New(&log), MaxPending: most, MaxPerHost: flood}, nil)
	inside := dialTCP(t, addr)
	if err := hello(inside); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		var d net.Dialer
		if runtime.GOOS == "linux" { // an address each, so that the ports of one need not do for several runs
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i))}
		}
		wg.Go(func() {
			open := make([]net.Conn, 0, flood/8)
			for range flood / 8 {
				c, err := d.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					break
				}
				if open = append(open, c); len(open) > most {
					open[0].Close()
					open = open[1:]
				}
			}
			for _, c := range open {
				c.Close()
			}
		})
	}
	end := make(chan struct{})
	go func() { wg.Wait(); close(end) }()
	for done := false; !done; {
		select {
		case <-end:
			done = true
		default:
		}
		if err := hello(inside); err != nil {
			t.Fatalf("the session inside: %v", err)
		}
		if n := s.Stats().Pending; n > most {
			t.Fatalf("%d connections are pending, %d allowed", n, most)
		}
	}
	eventually(t, "only the session inside is left", func() bool { return s.Stats().Sessions == 1 })
	// What the kernel refused or the clients closed in time is none of the server's business, so the lines cannot be counted exactly.
	if n := log.with(`"error"`); n > flood/10 {
		t.Errorf("%d lines in the log", n)
	}
}

// Who comes later takes the place of who has been silent longest; all lines that are not in the log are counted.
func TestOldestSilentPeerMakesWay(t *testing.T) {
	const most, more = 2, 50
	var log lines
	s, addr := serveTCP(t, Config{Log: zerolog.New(&log), MaxPending: most}, nil)
	var all []net.Conn
	for i := range most + more {
		all = append(all, dialTCP(t, addr))
		eventually(t, "the connection is taken", func() bool { return s.Stats().TotalSessions == uint64(i+1) })
	}
	for _, c := range all[:more] {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a silent peer got an answer")
		}
	}
	for _, c := range all[more:] {
		if err := hello(c); err != nil {
			t.Errorf("one of the last: %v", err)
		}
	}
	eventually(t, "every refusal is in the log or counted there", func() bool {
		return log.with("this was the oldest")+log.leftOut() == more
	})
	if n := log.with("this was the oldest"); n < rationBurst {
		t.Errorf("%d lines in the log, want %d at least", n, rationBurst)
	}
	if got := s.Stats(); got.Refused != more || got.Pending != 0 || got.Sessions != most {
		t.Errorf("%+v", got)
	}
}

func TestMaxPerHost(t *testing.T) {
	var log lines
	s, addr := serveTCP(t, Config{Log: zerolog.New(&log), MaxPerHost: 2}, nil)
	a, b, c := dialTCP(t, addr), dialTCP(t, addr), net.Conn(nil)
	for _, c := range []net.Conn{a, b} {
		if err := hello(c); err != nil {
			t.Fatal(err)
		}
	}
	c = dialTCP(t, addr)
	if err := hello(c); err == nil {
		t.Error("a third session of one host")
	}
	eventually(t, "it is in the log", func() bool { return log.with("too many connections from one host") == 1 })
	a.Close()
	eventually(t, "a place is free", func() bool { return s.Stats().Sessions == 1 })
	if err := hello(dialTCP(t, addr)); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	if err := hello(b); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

func TestHostOf(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"192.0.2.1", "192.0.2.1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"2001:db8::1", "2001:db8::"},
		{"2001:db8::ffff:1", "2001:db8::"},
		{"2001:db8:0:1::1", "2001:db8:0:1::"},
		{"::1", "::1"},
	} {
		if got := hostOf(&net.TCPAddr{IP: net.ParseIP(tt.in), Port: 7}); got != netip.MustParseAddr(tt.want) {
			t.Errorf("%s is counted as %s, want %s", tt.in, got, tt.want)
		}
	}
	if got := hostOf(&net.UnixAddr{Name: "@x", Net: "unix"}); got.IsValid() {
		t.Errorf("a unix peer is counted as %s", got)
	}
}

// A shaking connection wants a handshake that ends when told.
type shaking struct {
	net.Conn
	shake func(context.Context) error
}

func (c shaking) HandshakeContext(ctx context.Context) error { return c.shake(ctx) }
func (c shaking) Peer() Peer                                 { return Peer{Addr: "shaken", UID: 7, Proven: true} }

// A handshake that goes on for ever keeps nobody else out, ends with the time for the first message, and says so.
func TestHandshake(t *testing.T) {
	var log lines
	first := true
	_, addr := serveTCP(t, Config{Log: zerolog.New(&log), HelloTimeout: 5 * time.Second}, func(c net.Conn) net.Conn {
		shake := func(context.Context) error { return nil }
		if first {
			shake = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		}
		first = false
		return shaking{c, shake}
	})
	slow := dialTCP(t, addr)
	if err := hello(dialTCP(t, addr)); err != nil {
		t.Errorf("beside a handshake under way: %v", err)
	}
	if _, err := slow.Read(make([]byte, 1)); err == nil {
		t.Error("an answer before the handshake")
	}
	eventually(t, "it is in the log", func() bool { return log.with(errNoHello.Error()) == 1 })
}

// The deadline of reading and that of the handshake's context are the same, and whichever comes first is the same to the log.
func TestHandshakeThatMissesTheDeadlineOfReading(t *testing.T) {
	var log lines
	_, addr := serveTCP(t, Config{Log: zerolog.New(&log)}, func(c net.Conn) net.Conn {
		return shaking{c, func(context.Context) error { return os.ErrDeadlineExceeded }}
	})
	if _, err := dialTCP(t, addr).Read(make([]byte, 1)); err == nil {
		t.Error("an answer before the handshake")
	}
	eventually(t, "it is in the log", func() bool { return log.with(errNoHello.Error()) == 1 })
}

func TestTLSOnThePlainPort(t *testing.T) {
	var log lines
	_, addr := serveTCP(t, Config{Log: zerolog.New(&log)}, nil)
	c := dialTCP(t, addr)
	if _, err := c.Write([]byte("\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("an answer")
	}
	eventually(t, "it is in the log", func() bool { return log.with("the peer speaks TLS") == 1 })
}
