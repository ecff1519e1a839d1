package server

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// Config has the settings of a server. The zero value of a field means its default.
type Config struct {
	// Log gets one line for each session that begins or ends and for each peer that misbehaves. The zero Logger says nothing.
	Log zerolog.Logger

	MaxMessage  uint32 // largest message size (msize) that a session may agree on, in bytes; default 1 MiB
	MaxConns    int    // sessions at once; default 16384. A connection beyond it is closed.
	MaxPending  int    // of these, without a Tversion so far; default 1024. One more takes the place of the oldest.
	MaxPerHost  int    // of these, from one IP address, an IPv6 network of 64 bits being one; default 4096. One more is closed.
	MaxFids     int    // fids of one session; default 65536. One more: ENFILE `too many fids`.
	MaxRequests int    // requests of one session that wait; default 65535. One more: EAGAIN `too many requests in flight`.
	MaxHeld     int    // bytes with which the writes of one session wait; default 64 MiB, and room for one message. More: EAGAIN `too many bytes wait to be written`.
	MaxAttaches int    // attached roots of one session; default 4096
	MaxDepth    int    // directories below the root that a walk may reach; default 256

	// WriteTimeout is how long a peer may leave a reply unread, with the socket's buffers full, before its session is ended;
	// default 60 s. HelloTimeout is how long a new connection may take to send Tversion; default 30 s.
	WriteTimeout time.Duration
	HelloTimeout time.Duration
}

// The defaults of [Config].
const (
	DefaultMaxMessage   = 1 << 20
	DefaultMaxConns     = 16384
	DefaultMaxPending   = 1024
	DefaultMaxPerHost   = 4096
	DefaultMaxFids      = 65536
	DefaultMaxRequests  = 65535
	DefaultMaxHeld      = 64 << 20
	DefaultMaxAttaches  = 4096
	DefaultMaxDepth     = 256
	DefaultWriteTimeout = 60 * time.Second
	DefaultHelloTimeout = 30 * time.Second
)

func (c *Config) setDefaults() {
	setDefault(&c.MaxMessage, DefaultMaxMessage)
	setDefault(&c.MaxConns, DefaultMaxConns)
	setDefault(&c.MaxPending, DefaultMaxPending)
	setDefault(&c.MaxPerHost, DefaultMaxPerHost)
	setDefault(&c.MaxFids, DefaultMaxFids)
	setDefault(&c.MaxRequests, DefaultMaxRequests)
	setDefault(&c.MaxHeld, DefaultMaxHeld)
	setDefault(&c.MaxAttaches, DefaultMaxAttaches)
	setDefault(&c.MaxDepth, DefaultMaxDepth)
	setDefault(&c.WriteTimeout, DefaultWriteTimeout)
	setDefault(&c.HelloTimeout, DefaultHelloTimeout)
	c.MaxMessage = max(c.MaxMessage, wire.MinMsize)
}

func setDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// A Server serves one tree to any number of connections, in 9P2000.L, 9P2000.u and 9P2000. Its methods are safe for concurrent use.
type Server struct {
	attacher p9.Attacher
	conf     Config
	names    names
	tree     tree
	stats    counters
	ration   ration // of log lines that strangers cause

	mu        sync.Mutex                // guards what follows
	listeners map[net.Listener]struct{} // being served
	sessions  map[*session]struct{}
	pending   *list.List         // sessions without a Tversion so far, the oldest first
	hosts     map[netip.Addr]int // sessions from each
	closing   bool               // Shutdown was called
	watchStop chan struct{}      // ends the watchdog; nil while there are no sessions
	wg        sync.WaitGroup
}

// New returns a server of the tree a. A tree that also implements [p9ext.Attacher] is told who attaches. New starts nothing.
func New(a p9.Attacher, c Config) *Server {
	c.setDefaults()
	s := &Server{
		attacher:  a,
		conf:      c,
		listeners: make(map[net.Listener]struct{}),
		sessions:  make(map[*session]struct{}),
		pending:   list.New(),
		hosts:     make(map[netip.Addr]int),
	}
	s.tree.init()
	return s
}

// ErrClosed is what ServeConn returns after Shutdown.
var ErrClosed = errors.New("server: closed")

// ErrFull is what ServeConn returns when there are MaxConns sessions already.
var ErrFull = errors.New("too many connections")

// Serve accepts connections of l and serves each until it ends. It returns nil after Shutdown, which closes l, or when Accept says io.EOF: no
// more will come. It returns the error of Accept when that fails for good; a passing shortage (of descriptors, say) is waited out.
//
// A connection that has a method HandshakeContext, as those of crypto/tls have, has it called on a goroutine of its own. After
// that one that has a method Peer() Peer, as those of package listen have, is served as that peer; any other is nobody.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		l.Close()
	}()
	const first, most = 5 * time.Millisecond, time.Second
	pause := first
	for {
		conn, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			closing := s.closing
			s.mu.Unlock()
			if closing || errors.Is(err, io.EOF) {
				return nil
			}
			if errors.Is(err, net.ErrClosed) || !passing(err) {
				return err
			}
			s.conf.Log.Warn().Err(err).Dur("pause", pause).Msg("cannot accept a connection; trying again")
			time.Sleep(pause)
			pause = min(2*pause, most)
			continue
		}
		pause = first
		c := newSession(s, conn, Nobody(conn.RemoteAddr().String()))
		c.stranger = true
		go s.serve(c) // ends with its connection; Shutdown closes that and waits for s.wg
	}
}

// ServeConn serves one connection, whose other side is p, until it ends, and closes it. All fids are clunked when it returns. The error says why the session ended;
// it is nil when the peer closed the connection between two messages.
func (s *Server) ServeConn(conn net.Conn, p Peer) error {
	return s.serve(newSession(s, conn, p))
}

func (s *Server) serve(c *session) error {
	oldest, err := s.add(c)
	if err != nil {
		s.complaint(&c.log, zerolog.WarnLevel).Err(err).Msg("connection refused")
		c.conn.Close()
		return err
	}
	defer s.remove(c)
	if oldest != nil {
		oldest.end(errPushedOut)
	}
	return c.serve()
}

// complaint begins a line in the log that a stranger has caused: there may be very many.
func (s *Server) complaint(log *zerolog.Logger, level zerolog.Level) *zerolog.Event {
	return s.ration.line(&s.conf.Log, log.WithLevel(level))
}

// add registers c. It returns the session whose place c takes, if any, among those that have not said who they are.
func (s *Server) add(c *session) (oldest *session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	switch {
	case len(s.sessions) >= s.conf.MaxConns:
		err = ErrFull
	case c.host.IsValid() && s.hosts[c.host] >= s.conf.MaxPerHost:
		err = errTooManyOfHost
	}
	if err != nil {
		s.stats.refused.Add(1)
		return nil, err
	}
	if s.pending.Len() >= s.conf.MaxPending {
		oldest = s.pending.Remove(s.pending.Front()).(*session)
		oldest.pending = nil
		s.stats.refused.Add(1)
	}
	c.pending = s.pending.PushBack(c)
	if c.host.IsValid() {
		s.hosts[c.host]++
	}
	s.sessions[c] = struct{}{}
	s.stats.sessions.Add(1)
	s.wg.Add(1)
	if s.watchStop == nil {
		s.watchStop = make(chan struct{})
		s.wg.Add(1)
		go s.watch(s.watchStop)
	}
	return oldest, nil
}

// settled takes c from those that have not said anything so far.
func (s *Server) settled(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unpend(c)
}

// unpend is settled with s.mu held.
func (s *Server) unpend(c *session) {
	if c.pending != nil {
		s.pending.Remove(c.pending)
		c.pending = nil
	}
}

func (s *Server) remove(c *session) {
	s.mu.Lock()
	delete(s.sessions, c)
	s.unpend(c)
	if c.host.IsValid() {
		if s.hosts[c.host]--; s.hosts[c.host] == 0 {
			delete(s.hosts, c.host)
		}
	}
	if len(s.sessions) == 0 {
		close(s.watchStop)
		s.watchStop = nil
	}
	s.mu.Unlock()
	s.wg.Done()
}

// watch ends sessions whose peer has not taken a reply for WriteTimeout. It looks at a counter of each session a few times
// in that period, so that the path of a message pays nothing for it. It ends when stop is closed, with the last session.
func (s *Server) watch(stop chan struct{}) {
	defer s.wg.Done()
	const looks = 8
	t := time.NewTicker(max(s.conf.WriteTimeout/looks, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		s.mu.Lock()
		var stuck []*session
		for c := range s.sessions {
			if c.out.looks(looks) {
				stuck = append(stuck, c)
			}
		}
		s.mu.Unlock()
		for _, c := range stuck {
			c.end(errSlowReader)
		}
	}
}

// hostOf is what counts as one host of a peer over IP: its address, of IPv6 the first half of it, which is what a host is given.
func hostOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// Shutdown closes the listeners, ends all sessions and waits until all their fids are clunked, or until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.ration.stop(&s.conf.Log)
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	var all []*session
	for c := range s.sessions {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.end(ErrClosed)
	}
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// passing reports whether an error of Accept may go away by itself: no descriptors, no memory, a peer that was gone before it was accepted.
func passing(err error) bool {
	var ne net.Error
	//lint:ignore SA1019 Temporary is what net/http asks too; nothing else says it
	return errors.As(err, &ne) && ne.Temporary()
}

// Stats are the server's counters. Sessions, Fids and Requests are gauges, the rest count since the start.
type Stats struct {
	Sessions int64 // connections being served
	Pending  int64 // of these, without a Tversion so far
	Fids     int64 // in all sessions
	Requests int64 // that wait or are being worked on outside the receiving goroutines

	TotalSessions uint64
	Refused       uint64 // connections beyond MaxConns, MaxPending or MaxPerHost
	Messages      uint64 // T-messages received
	BytesIn       uint64
	BytesOut      uint64
	Flushes       uint64 // requests that a Tflush cancelled
}

type counters struct {
	sessions, refused, messages, bytesIn, bytesOut, flushes atomic.Uint64
	fids, requests                                          atomic.Int64
}

// Stats returns the counters of this moment.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n, pending := len(s.sessions), s.pending.Len()
	s.mu.Unlock()
	return Stats{
		Sessions:      int64(n),
		Pending:       int64(pending),
		Fids:          s.stats.fids.Load(),
		Requests:      s.stats.requests.Load(),
		TotalSessions: s.stats.sessions.Load(),
		Refused:       s.stats.refused.Load(),
		Messages:      s.stats.messages.Load(),
		BytesIn:       s.stats.bytesIn.Load(),
		BytesOut:      s.stats.bytesOut.Load(),
		Flushes:       s.stats.flushes.Load(),
	}
}
