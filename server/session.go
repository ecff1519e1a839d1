package server

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
)

// A session is one connection. Three kinds of goroutines work on it:
//
//   - the receiving goroutine (serve) reads, parses and answers all that cannot wait; fids and tags come and go there;
//   - at most one runner (request.go) retries parked requests that a device woke;
//   - a worker for each request that needs a goroutine: a file of p9's own kind, an open that allocates, a Close.
//
// The life of a request that is not answered at once:
//
//	           ErrWait          Wake              done
//	received ---------> parked ------> running ---------> answered
//	    |                 |  ^            |  | ErrWait       (tag removed and reply queued under mu: whoever
//	    | worker          |  +------------|--+                comes first, the reply or the flush, has won)
//	    v                 |               |
//	 running              +---> dead <----+
//	                       Tflush, Tclunk, Tversion, end of the connection:
//	                       answered with EINTR at once (or never); what the handler still brings is given back
type session struct {
	srv  *Server
	conn net.Conn
	peer Peer           // before greet, who is not known to be anybody
	log  zerolog.Logger // likewise
	out  outbox

	host     netip.Addr    // what counts for MaxPerHost; zero for a peer that is not on IP
	stranger bool          // greet is to ask conn who the peer is
	pending  *list.Element // in srv.pending, guarded by srv.mu; nil when not there

	// ctx ends with the session; the contexts of requests derive from it.
	ctx    context.Context
	cancel context.CancelFunc

	// The receiving goroutine alone uses these.
	dialect wire.Dialect
	hello   bool     // Tversion was seen
	msg     wire.Msg // the message being handled
	in      []byte   // receive buffer; messages are parsed in place
	batch   []byte   // replies to the messages of one receive, written together
	idle    int      // receives since the buffer grew
	newMsgs uint64   // not yet counted in the server's statistics

	msize uint32 // as agreed; written by the receiving goroutine before any request exists

	mu       sync.Mutex            // guards what follows and the fields of fid and request that say so
	fids     map[uint32]*fid       //
	reqs     map[uint16]*request   // in flight: parked or running, not dead
	paths    map[uint64]*pathState // written sizes, see records.go
	held     int                   // bytes that the writes among them wait with
	work     int                   // requests parked or with a goroutine, dead ones included
	free     []*request            // to be used again
	attaches int                   // fids that are attached roots
	ended    error                 // why the session ended; nil while it lives

	readyMu sync.Mutex // guards what follows; a leaf: taken with a device's locks held
	ready   []*request // woken, to be retried
	spare   []*request // the other backing array of ready
	running bool       // the runner is at it

	memory *semaphore.Weighted // bytes that reads of p9's own kind of files may hold at once; more wait

	workers sync.WaitGroup // Close calls under way
}

const (
	startBuffer = 16 << 10
	shrinkAfter = 4096 // receives
)

// maxReading bounds the memory of a session's reads that have a goroutine each.
const maxReading = 64 << 20

func newSession(s *Server, conn net.Conn, p Peer) *session {
	c := &session{
		srv:   s,
		conn:  conn,
		peer:  p,
		log:   s.conf.Log.With().Str("peer", p.Addr).Logger(),
		host:  hostOf(conn.RemoteAddr()),
		in:    make([]byte, startBuffer),
		fids:  make(map[uint32]*fid),
		reqs:  make(map[uint16]*request),
		msize: s.conf.MaxMessage,

		memory: semaphore.NewWeighted(max(maxReading, int64(s.conf.MaxMessage))),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.out.init(conn, &s.stats)
	widen(conn)
	return c
}

// sendBuffer is what is asked of the kernel for replies under way on a unix socket. It doubles that for its own accounting, and
// lowers it to net.core.wmem_max.
const sendBuffer = 512 << 10

// widen makes the send buffer of a unix socket large enough that a large reply does not go out piece by piece, each with a change of
// processes: the kernel's default is a fifth of the largest message. TCP's buffers adapt themselves as long as nobody sets them.
func widen(conn net.Conn) {
	if u, ok := conn.(interface{ SetWriteBuffer(int) error }); ok && conn.LocalAddr().Network() == "unix" {
		_ = u.SetWriteBuffer(sendBuffer) // without it everything works, only slower
	}
}

// serve runs the session to its end.
func (c *session) serve() error {
	c.conn.SetReadDeadline(time.Now().Add(c.srv.conf.HelloTimeout))
	err := c.greet()
	if err == nil {
		c.log.Debug().Msg("session begins")
		err = c.receive()
	}
	c.end(err)
	c.teardown()
	c.mu.Lock()
	err = c.ended
	c.mu.Unlock()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, ErrClosed):
		c.log.Debug().Msg("session ends")
		err = nil
	default:
		c.srv.complaint(&c.log, zerolog.InfoLevel).Err(err).Msg("session ends")
	}
	return err
}

// greet does what the transport wants done before the first message, and learns from it who the peer is.
func (c *session) greet() error {
	if !c.stranger {
		return nil
	}
	if h, ok := c.conn.(interface{ HandshakeContext(context.Context) error }); ok {
		ctx, cancel := context.WithTimeout(c.ctx, c.srv.conf.HelloTimeout)
		defer cancel()
		err := h.HandshakeContext(ctx)
		if ctx.Err() != nil && c.ctx.Err() == nil || isTimeout(err) {
			err = errNoHello
		}
		if err != nil {
			return err
		}
	}
	if p, ok := c.conn.(interface{ Peer() Peer }); ok {
		c.peer = p.Peer()
		c.log = c.srv.conf.Log.With().Str("peer", c.peer.Addr).Logger()
	}
	return nil
}

// end makes the session end because of err: the first cause counts. It does not wait.
func (c *session) end(err error) {
	c.mu.Lock()
	if c.ended == nil {
		c.ended = err
	}
	c.mu.Unlock()
	c.out.end(err) // first, so that what is cancelled is not answered any more
	c.cancel()
	c.conn.Close()
}

// receive reads and answers messages until the connection or the peer's manners end. It returns io.EOF for a connection
// that was closed between two messages.
func (c *session) receive() error {
	r, w := 0, 0 // in[r:w] is received and not yet parsed
	for {
		need := 4
		for w-r >= 4 {
			if !c.hello && isTLS(c.in[r:w]) {
				return errTLS
			}
			size := int(binary.LittleEndian.Uint32(c.in[r:]))
			if size < wire.HeaderSize || size > int(c.msize) {
				c.send()
				return fmt.Errorf("a message of %d bytes, with %d agreed", size, c.msize)
			}
			if w-r < size {
				need = size
				break
			}
			if err := c.message(c.in[r : r+size]); err != nil {
				c.send()
				return err
			}
			r += size
			if len(c.batch) > maxBatch {
				c.send()
			}
		}
		c.send()
		c.count()
		if !c.out.waitRoom() {
			return io.ErrClosedPipe
		}
		switch {
		case r == w:
			r, w = 0, 0
			c.resize(need)
		case len(c.in)-r < need || len(c.in) == w:
			old := c.in
			if len(c.in) < need {
				c.in = make([]byte, need)
			}
			w = copy(c.in, old[r:w])
			r = 0
		}
		n, err := c.conn.Read(c.in[w:])
		w += n
		c.srv.stats.bytesIn.Add(uint64(n))
		if n == 0 && err != nil {
			return c.receiveError(err, w-r)
		}
	}
}

// resize gives back a receive buffer that grew for a large message when none came for long.
func (c *session) resize(need int) {
	if len(c.in) <= startBuffer {
		return
	}
	if c.idle++; c.idle > shrinkAfter && need <= startBuffer {
		c.in, c.idle = make([]byte, startBuffer), 0
	}
}

func (c *session) receiveError(err error, partial int) error {
	if !c.hello && errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return errNoHello
	}
	if errors.Is(err, io.EOF) && partial > 0 {
		return fmt.Errorf("%w: the connection ended in the middle of a message", io.ErrUnexpectedEOF)
	}
	return err
}

// isTLS reports whether b is how a TLS client begins, a handshake record (RFC 8446, 5.1). As 9P that would be a Tversion of 790 bytes or more.
func isTLS(b []byte) bool { return b[0] == 22 && b[1] == 3 }

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// maxBatch is how many bytes of replies are collected before they are written even though more messages wait.
const maxBatch = 64 << 10

// send writes the batch of replies.
func (c *session) send() {
	if len(c.batch) == 0 {
		c.out.flush()
		return
	}
	c.out.write(c.batch)
	if cap(c.batch) > 2*maxBatch {
		c.batch = nil
	}
	c.batch = c.batch[:0]
}

func (c *session) count() {
	c.srv.stats.messages.Add(c.newMsgs)
	c.newMsgs = 0
}

// message handles one whole message. Its error ends the session.
func (c *session) message(b []byte) (err error) {
	c.newMsgs++
	start := len(c.batch)
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
			c.batch = c.appendError(c.batch[:min(start, len(c.batch))], binary.LittleEndian.Uint16(b[5:]), errPanic)
		}
	}()
	m := &c.msg
	if err := m.Decode(c.dialect, b); err != nil {
		if !errors.Is(err, wire.ErrUnknownType) || !c.hello {
			return err
		}
		c.fail(binary.LittleEndian.Uint16(b[5:]), errUnknownMsg)
		return nil
	}
	if m.Type == wire.Tversion {
		return c.version(m)
	}
	if !c.hello {
		return errNoVersion
	}
	c.mu.Lock()
	dup := c.reqs[m.Tag] != nil
	c.mu.Unlock()
	if dup {
		return errDupTag
	}
	c.dispatch(m)
	return nil
}

// panicked says in the log what a file's method did to us.
func (c *session) panicked(p any) {
	c.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("a file's method panicked")
}

// dispatch answers m, or starts what will.
func (c *session) dispatch(m *wire.Msg) {
	switch m.Type {
	case wire.Tgetattr:
		c.getattr(m)
	case wire.Tread:
		c.read(m)
	case wire.Twrite:
		c.write(m)
	case wire.Twalk:
		c.walk(m)
	case wire.Tclunk:
		c.clunk(m)
	case wire.Tlopen, wire.Topen:
		c.open(m)
	case wire.Tflush:
		c.flush(m)
	case wire.Tattach:
		c.attach(m)
	case wire.Tauth:
		c.fail(m.Tag, errNoAuth)
	case wire.Treaddir:
		c.readdir(m)
	case wire.Tstat:
		c.stat(m)
	case wire.Twstat:
		c.wstat(m)
	case wire.Tsetattr:
		c.setattr(m)
	case wire.Tstatfs:
		c.statfs(m)
	case wire.Tfsync:
		c.fsync(m)
	case wire.Tremove:
		c.remove(m)
	case wire.Txattrwalk:
		c.xattrwalk(m)
	case wire.Txattrcreate:
		c.xattrcreate(m)
	case wire.Tlock:
		c.lock(m)
	case wire.Tgetlock:
		c.getlock(m)
	case wire.Treadlink:
		c.readlink(m)
	case wire.Tlcreate, wire.Tcreate:
		c.create(m)
	case wire.Tmkdir:
		c.mkdir(m)
	case wire.Tsymlink:
		c.symlink(m)
	case wire.Tmknod:
		c.mknod(m)
	case wire.Tlink:
		c.link(m)
	case wire.Trename:
		c.rename(m)
	case wire.Trenameat:
		c.renameat(m)
	case wire.Tunlinkat:
		c.unlinkat(m)
	default: // an R-message
		c.fail(m.Tag, errUnknownMsg)
	}
}

// fail answers tag with err.
func (c *session) fail(tag uint16, err error) { c.batch = c.appendError(c.batch, tag, err) }

// appendError appends err in the dialect's form: the only place where it gets one.
func (c *session) appendError(b []byte, tag uint16, err error) []byte {
	errno, text := wireError(err)
	if c.dialect == wire.P9L {
		return wire.AppendRlerror(b, tag, errno)
	}
	return wire.AppendRerror(b, c.dialect, tag, text, errno)
}

// version begins the session, or begins it anew: all that was pending is dropped without an answer, all fids are clunked.
func (c *session) version(m *wire.Msg) error {
	d, ok := wire.ParseVersion(string(m.Version))
	if !ok {
		c.batch = wire.AppendRversion(c.batch, m.Tag, m.Msize, "unknown")
		return nil
	}
	c.abandon()
	c.dialect = d
	if m.Msize < wire.MinMsize {
		c.hello = false
		c.conn.SetReadDeadline(time.Now().Add(c.srv.conf.HelloTimeout))
		c.fail(m.Tag, errSmallMsize)
		return nil
	}
	if !c.hello {
		c.hello = true
		c.srv.settled(c)
		c.conn.SetReadDeadline(time.Time{})
	}
	c.msize = min(m.Msize, c.srv.conf.MaxMessage)
	c.batch = wire.AppendRversion(c.batch, m.Tag, c.msize, d.String())
	return nil
}

// abandon drops all requests and fids. Where a Close may wait it runs on its own goroutine, all of them side by side.
func (c *session) abandon() {
	c.mu.Lock()
	reqs, fids := c.reqs, c.fids
	c.reqs, c.fids, c.paths = make(map[uint16]*request), make(map[uint32]*fid), nil
	for _, f := range fids {
		if f.attach {
			c.attaches-- // what is left are attaches under way, which count themselves out
		}
	}
	for _, r := range reqs {
		r.kill()
	}
	for _, f := range fids {
		f.clunked = true
	}
	c.mu.Unlock()
	c.srv.stats.fids.Add(-int64(len(fids)))
	for _, r := range reqs {
		r.bury()
	}
	c.workers.Add(len(fids))
	for _, f := range fids {
		if f.mayWaitInClose() {
			c.dismiss(f, nil)
		}
	}
	for _, f := range fids {
		if !f.mayWaitInClose() {
			c.dismiss(f, nil)
		}
	}
}

// teardown clunks all fids, whatever their handlers are doing, and waits for the Close of each.
func (c *session) teardown() {
	c.abandon()
	c.workers.Wait()
	c.count()
}
