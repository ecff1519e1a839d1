package dmover

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/dmover/internal/engine"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// A Session is one conversation. clonefs makes it through the Clone function of [New]'s table and calls its Close. Its methods may be called concurrently.
type Session struct {
	dev     *device
	owner   clonefs.User
	buffers [numBuffers]buffer

	credits *clonefs.Credits // a request each, until its response is read
	answers *clonefs.Queue   // for which all readers compete
	bound   atomic.Int32     // buffers that stand for files
	putBack atomic.Int64     // responses there that were taken and put back: their credits were given back with the first taking

	// Guarded by dev.pool.mu.
	tasks   []*task
	queued  bool          // in the pool's ring
	running int           // pieces that are being worked on
	stuck   int           // of these, pieces in whose place others work
	closed  bool          //
	idle    chan struct{} // closed when the session is closed and nothing of it runs

	opening atomic.Bool // a bind waits for its file system, or nobody waits for it any more

	mu          sync.Mutex // guards all below
	f           *engine.Func
	backend     *engine.Backend
	kernel      bool // copies and zeroes files by the kernel where it can
	depth       int
	outstanding map[uint64]*request // until the response is there
}

// A device is what the sessions of one server share.
type device struct {
	settings Config
	roots    []root
	pool     *pool
	memory   budget
}

func newDevice(c Config, roots []root) *device {
	return &device{settings: c, roots: roots, pool: newPool(), memory: budget{max: int64(c.Memory)}}
}

// kernelBackend is the name of the backend that has the kernel copy and clear files.
const kernelBackend = "kernel"

// New returns the device. It touches nothing outside; an error says which setting of c is wrong.
func New(c Config) (*clonefs.Device[*Session], error) {
	roots, err := c.check()
	if err != nil {
		return nil, err
	}
	d := newDevice(c, roots)
	files := clonefs.Files[*Session]{
		{Name: "data", Mode: 0o660, Prompt: true, Help: "requests in, ID [out=BUF:OFF:LEN] [in=BUF:OFF:LEN]... [imm=HEX]; responses out, ID ok [imm=HEX] [bytes=N] or ID error ERRNO TEXT",
			Duplex: (*Session).data},
		{Name: "out", Mode: 0o440, Prompt: true, Holds: true, Help: "the output buffer", Open: (*Session).openOutput},
	}
	for i := range numInputs {
		files = append(files, clonefs.File[*Session]{
			Name: bufferNames[i], Mode: 0o220, Prompt: true, Holds: true, Help: "an input buffer; the first write of an open empties it",
			Open: func(s *Session, ctx context.Context, m clonefs.Mode) (clonefs.Stream, error) {
				return s.openInput(i)(ctx, m)
			},
		})
	}
	return &clonefs.Device[*Session]{
		Name:  "dmover",
		Doc:   "a data-mover session an open",
		Clone: func(_ context.Context, conv *clonefs.Conv) (*Session, error) { return d.open(conv.Owner()), nil },
		State: (*Session).state, Status: (*Session).statusText,
		Ctl: clonefs.Messages[*Session]{
			{Word: "func", Args: "NAME", Help: "choose the function, once a session; dmover/functions lists them", Do: (*Session).setFunc},
			{Word: "bind", Args: "BUF PATH create", Help: "as below, and make the file where it is missing; for out alone", Do: (*Session).bindTo},
			{Word: "bind", Args: "BUF PATH [OFF [LEN]]", Help: "let a buffer stand for LEN bytes of a file from OFF on, or all that are there when a request comes", Do: (*Session).bindTo},
			{Word: "bind", Args: "BUF PATH OFF create", Help: "the same from OFF on", Do: (*Session).bindTo},
			{Word: "bind", Args: "BUF PATH OFF LEN create", Help: "the same for LEN bytes", Do: (*Session).bindTo},
			{Word: "unbind", Args: "BUF", Help: "let it be memory again, empty", Do: (*Session).unbind},
			{Word: "backend", Args: "NAME", Help: "do it by generic, simd or, between files, kernel; by default the fastest", Do: (*Session).setBackend},
			{Word: "depth", Args: "N", Help: fmt.Sprintf("requests that may be outstanding, 1 to %d; a response counts until it is read", maxDepth), Do: (*Session).setDepth},
		},
		Files: files,
		Shared: []clonefs.SharedFile{
			{Name: "functions", Mode: p9.FileMode(0o444), Help: "name, inputs, bytes of immediate taken and given, backends with MB/s here", Text: functions},
		},
		MaxConvs:   c.Limit,
		MaxPerUser: c.PerUser,
	}, nil
}

// functions is the text of dmover/functions.
func functions() (string, error) {
	var b strings.Builder
	for _, f := range engine.Funcs() {
		inputs := strconv.Itoa(f.Inputs)
		if f.Least < f.Inputs {
			inputs = fmt.Sprintf("%d-%d", f.Least, f.Inputs)
		}
		fmt.Fprintf(&b, "%s %s %d %d", f.Name, inputs, f.ImmIn, f.ImmOut)
		for i := range f.Backends {
			mb := f.Backends[i].Speed() / 1e6
			fmt.Fprintf(&b, " %s=%.*f", f.Backends[i].Name, decimals(mb), mb)
		}
		if byKernel(f) {
			b.WriteString(" " + kernelBackend)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// decimals is how many there are of the three figures of x, which is above 0, that are worth printing.
func decimals(x float64) int { return max(2-int(math.Floor(math.Log10(x))), 0) }

// byKernel reports whether the kernel can do f between files.
func byKernel(f *engine.Func) bool { return hasKernel && (f.Name == "copy" || f.Name == "zero") }

func (d *device) open(owner clonefs.User) *Session {
	s := &Session{
		dev: d, owner: owner, depth: defaultDepth,
		credits:     clonefs.NewCredits(defaultDepth),
		answers:     clonefs.NewQueue(2 * maxDepth), // more than there can be
		idle:        make(chan struct{}),
		outstanding: make(map[uint64]*request),
	}
	for i := range s.buffers {
		s.buffers[i].index, s.buffers[i].limit, s.buffers[i].budget = i, d.settings.Buffer, &d.memory
	}
	return s
}

// closeTime is how long Close waits for pieces that are being worked on, which take milliseconds where no file hangs.
const closeTime = 500 * time.Millisecond

// Close ends the session: nothing of it is written afterwards, but what hangs in a file system that does not answer.
func (s *Session) Close() error {
	idle := s.dev.pool.drop(s)
	s.credits.Close(p9ext.ErrHungup)
	s.answers.Close()
	late := time.NewTimer(closeTime)
	defer late.Stop()
	select {
	case <-idle:
	case <-late.C: // what hangs is left to itself
	}
	for i := range s.buffers {
		if s.buffers[i].close() {
			s.bound.Add(-1)
		}
	}
	return nil
}

// bind makes a buffer stand for f, or for memory again when f is nil.
func (s *Session) bind(b *buffer, f *boundFile) {
	if f != nil {
		s.bound.Add(1)
	}
	if b.bind(f) {
		s.bound.Add(-1)
	}
}

func (s *Session) setFunc(_ context.Context, argv []string) error {
	f := engine.Lookup(argv[0])
	if f == nil {
		return p9ext.Errorf(linux.EINVAL, "no such function: %s; dmover/functions lists those there are", quote(argv[0]))
	}
	fastest := f.Fastest()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		return p9ext.Errorf(linux.EBUSY, "%w: this session does %s, a function is chosen once", p9ext.ErrInUse, s.f.Name)
	}
	s.f, s.backend, s.kernel = f, fastest, byKernel(f)
	return nil
}

func (s *Session) setBackend(_ context.Context, argv []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return p9ext.Errorf(linux.EINVAL, "no function is chosen: send func NAME first")
	}
	if argv[0] == kernelBackend && byKernel(s.f) {
		s.backend, s.kernel = s.f.Fastest(), true // for what is not between files
		return nil
	}
	b := s.f.Backend(argv[0])
	if b == nil {
		return p9ext.Errorf(linux.EINVAL, "%s has no backend %s; dmover/functions lists those it has", s.f.Name, quote(argv[0]))
	}
	s.backend, s.kernel = b, false
	return nil
}

func (s *Session) setDepth(_ context.Context, argv []string) error {
	n, err := strconv.ParseUint(argv[0], 10, 31)
	if err != nil || n < 1 || n > maxDepth {
		return p9ext.Errorf(linux.EINVAL, "bad control message: depth wants N: %s is no number from 1 to %d", quote(argv[0]), maxDepth)
	}
	s.mu.Lock()
	s.depth = int(n)
	s.mu.Unlock()
	s.credits.SetMax(int(n))
	return nil
}

// bufferOf finds a buffer by name.
func (s *Session) bufferOf(word, name string) (*buffer, error) {
	i := bufferNumber(name)
	if i < 0 {
		return nil, p9ext.Errorf(linux.EINVAL, "bad control message: %s wants BUF: %s is no buffer, write in0 to in7, or out", word, quote(name))
	}
	return &s.buffers[i], nil
}

// bindTo is bind: BUF PATH [OFF [LEN]] [create].
func (s *Session) bindTo(ctx context.Context, argv []string) error {
	b, err := s.bufferOf("bind", argv[0])
	if err != nil {
		return err
	}
	path, rest := argv[1], argv[2:]
	flags := 0 // O_RDONLY
	if b.index == outBuffer {
		flags = openReadWrite
	}
	if len(rest) > 0 && rest[len(rest)-1] == "create" {
		if rest = rest[:len(rest)-1]; b.index != outBuffer {
			return p9ext.Errorf(linux.EINVAL, "bad control message: create is for out, %s is read", b.name())
		}
		flags |= openCreate
	}
	off, length := int64(0), int64(-1)
	for i, to := range []*int64{&off, &length} {
		if i < len(rest) {
			n, err := strconv.ParseUint(rest[i], 10, 63)
			if err != nil || int64(n) > 1<<62 {
				return p9ext.Errorf(linux.EINVAL, "bad control message: bind wants OFF and LEN: %s is no number from 0 to %d", quote(rest[i]), int64(1)<<62)
			}
			*to = int64(n)
		}
	}
	f, err := s.openContext(ctx, path, flags)
	if err != nil {
		return err
	}
	f.off, f.len = off, length
	s.bind(b, f)
	return nil
}

func (s *Session) unbind(_ context.Context, argv []string) error {
	b, err := s.bufferOf("unbind", argv[0])
	if err == nil {
		s.bind(b, nil)
	}
	return err
}

// A stream is an open of data, rx or tx.
type stream struct {
	*clonefs.Queue // of the session
	s              *Session
}

var (
	_ p9ext.ReadPoller  = (*stream)(nil)
	_ p9ext.Reader      = (*stream)(nil)
	_ p9ext.Unreader    = (*stream)(nil)
	_ p9ext.WritePoller = (*stream)(nil)
	_ p9ext.Writer      = (*stream)(nil)
)

func (s *Session) data(context.Context, clonefs.Mode) (clonefs.Stream, error) {
	return &stream{Queue: s.answers, s: s}, nil
}

// Close does nothing: the queue is the session's.
func (*stream) Close() error { return nil }

// PollRead takes a response, which counts no more.
func (st *stream) PollRead(p []byte, off int64, w p9ext.Waiter) (int, error) {
	n, err := st.Queue.PollRead(p, off, w)
	st.taken(n, err)
	return n, err
}

// ReadContext takes a response, which counts no more.
func (st *stream) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := st.Queue.ReadContext(ctx, p, off)
	st.taken(n, err)
	return n, err
}

func (st *stream) taken(n int, err error) {
	if err != nil || n == 0 {
		return
	}
	if st.s.putBack.Load() > 0 && st.s.putBack.Add(-1) >= 0 {
		return // it was counted when it was taken the first time
	}
	st.s.credits.Give(1)
}

// Unread puts a response back that nobody received.
func (st *stream) Unread(p []byte) {
	st.s.putBack.Add(1)
	st.Queue.Unread(p)
}

// PollWrite takes requests, a line each, where there is room for all of them. Where files are bound it leaves them to WriteContext: to ask a file for its
// length may take its time.
func (st *stream) PollWrite(p []byte, _ int64, w p9ext.Waiter) (int, error) {
	if st.s.bound.Load() > 0 {
		st.s.credits.Unpoll(w)
		return 0, p9ext.ErrNoPoll
	}
	b := parse(p)
	defer b.free()
	if len(b.lines) > 0 {
		if err := st.s.credits.PollTake(len(b.lines), w); err != nil {
			return 0, err
		}
	}
	return st.s.submit(p, b)
}

// UnpollWrite forgets a writer that waits.
func (st *stream) UnpollWrite(w p9ext.Waiter) { st.s.credits.Unpoll(w) }

// WriteContext takes requests, a line each, and waits for room.
func (st *stream) WriteContext(ctx context.Context, p []byte, _ int64) (int, error) {
	b := parse(p)
	defer b.free()
	if len(b.lines) > 0 {
		if err := st.s.credits.TakeContext(ctx, len(b.lines)); err != nil {
			return 0, err
		}
	}
	return st.s.submit(p, b)
}

// A batch is what one write brings.
type batch struct {
	lines    []line
	bad      error      // of the line behind them
	requests []*request // of the lines that are to be started
}

// batches are those whose write is over: their memory serves others.
var batches = sync.Pool{New: func() any { return new(batch) }}

// keptLines is how many lines such a batch may have room for.
const keptLines = 256

func (b *batch) free() {
	if cap(b.lines) > keptLines {
		return
	}
	*b = batch{lines: b.lines[:0], requests: b.requests[:0]}
	batches.Put(b)
}

// parse reads the lines of a write, up to the first that is no request.
func parse(p []byte) *batch {
	b := batches.Get().(*batch)
	for rest := p; len(rest) > 0; {
		var text []byte
		text, rest, _ = bytes.Cut(rest, newline)
		if w, _ := cutWord(text); len(w) == 0 {
			continue
		}
		n := len(b.lines)
		if n == maxDepth {
			b.bad = p9ext.Errorf(linux.EINVAL, "bad request: one write brings %d at most", maxDepth)
			return b
		}
		b.lines = append(b.lines, line{})
		if err := b.lines[n].parse(text); err != nil {
			b.lines = b.lines[:n]
			b.bad = p9ext.Errorf(linux.EINVAL, "bad request %s: %w", quote(string(text)), err)
			return b
		}
	}
	if len(b.lines) == 0 {
		b.bad = p9ext.Errorf(linux.EINVAL, "bad request: the write is empty")
	}
	return b
}

// submit begins requests for which credits were taken, and fails as b says behind them.
func (s *Session) submit(p []byte, b *batch) (int, error) {
	for i := range b.lines {
		if s.bound.Load() > 0 {
			s.start(b) // none of them waits while the next one's file is asked for its length
		}
		if err := s.begin(b, &b.lines[i]); err != nil {
			s.credits.Give(len(b.lines) - i)
			b.bad = err
			break
		}
	}
	s.start(b)
	if b.bad != nil {
		return 0, b.bad
	}
	return len(p), nil
}

// begin adds the request of a line to those that are to be started. What is wrong with it is told in the response; an error is of a line that cannot have one.
func (s *Session) begin(b *batch, l *line) error {
	r := requests.Get().(*request)
	s.mu.Lock()
	_, ok := s.outstanding[l.id]
	if !ok {
		s.outstanding[l.id] = r
		r.s, r.id, r.f, r.backend, r.kernel = s, l.id, s.f, s.backend, s.kernel
	}
	s.mu.Unlock()
	if ok {
		requests.Put(r)
		return p9ext.Errorf(linux.EINVAL, "bad request: the id %d is outstanding", l.id)
	}
	if err := s.prepare(r, l); err != nil {
		s.mu.Lock()
		delete(s.outstanding, l.id)
		s.mu.Unlock()
		r.free()
		s.answers.PushOwned(errorLine(nil, l.id, err))
		return nil
	}
	b.requests = append(b.requests, r)
	return nil
}

// start starts the requests that b has so far.
func (s *Session) start(b *batch) {
	if len(b.requests) > 0 {
		s.dev.pool.start(s, b.requests)
		clear(b.requests) // they may serve others by now
		b.requests = b.requests[:0]
	}
}

// finish answers requests that have ended.
func (s *Session) finish(done []*request) {
	s.mu.Lock()
	for _, r := range done {
		delete(s.outstanding, r.id)
	}
	s.mu.Unlock()
	var line [64]byte
	for _, r := range done {
		r.release()
		s.answers.Push(r.response(line[:0]))
		r.free()
	}
}

// state is the word in the first line of status.
func (s *Session) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.f == nil:
		return "open"
	case len(s.outstanding) > 0:
		return "busy"
	}
	return "ready"
}

// statusText is the rest of status: the function, the buffers that hold something, and how far the requests are that run.
func (s *Session) statusText() (string, error) {
	var b strings.Builder
	s.mu.Lock()
	if s.f != nil {
		backend := s.backend.Name
		if s.kernel {
			backend = kernelBackend
		}
		fmt.Fprintf(&b, "func %s\nbackend %s\n", s.f.Name, backend)
	}
	fmt.Fprintf(&b, "depth %d\noutstanding %d\n", s.depth, s.credits.Used())
	type progress struct {
		id      uint64
		begin   time.Time
		done, n int64
	}
	var running []progress
	for _, r := range s.outstanding { // each is answered, and may become another, only when it is no longer here
		if begin := r.begin.Load(); begin != nil {
			running = append(running, progress{r.id, *begin, r.done.Load(), r.n})
		}
	}
	s.mu.Unlock()
	for i := range s.buffers {
		if err := s.buffers[i].describe(&b); err != nil {
			return "", err
		}
	}
	slices.SortFunc(running, func(x, y progress) int { return x.begin.Compare(y.begin) })
	for _, r := range running {
		rate := float64(r.done) / max(time.Since(r.begin).Seconds(), 1e-6)
		left := "-"
		if rate > 0 {
			left = fmt.Sprintf("%.0f", float64(r.n-r.done)/rate)
		}
		fmt.Fprintf(&b, "request %d %d of %d bytes %.0f MB/s %s s left\n", r.id, r.done, r.n, rate/1e6, left)
	}
	return b.String(), nil
}

// describe writes what the buffer stands for and how many bytes it has now.
func (b *buffer) describe(w *strings.Builder) error {
	b.mu.Lock()
	n, f := len(b.mem), b.file
	if f != nil {
		f.refs.Add(1)
	}
	b.mu.Unlock()
	switch {
	case f != nil:
		defer f.release()
		size, err := f.size()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s file %s %d %d\n", b.name(), clonefs.Quote(f.path), f.off, size)
	case n > 0:
		fmt.Fprintf(w, "%s memory %d\n", b.name(), n)
	}
	return nil
}
