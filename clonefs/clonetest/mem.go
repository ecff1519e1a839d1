package clonetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// MemOptions are the settings of [Mem]; the zero value means the defaults.
type MemOptions struct {
	Name       string // "mem"
	Queue      int    // records held for each reader, 256
	MaxConvs   int
	MaxPerUser int

	// OnClone runs in Clone and OnClose in Close, before anything else. Tests fail or block there; OnClone should end when ctx does.
	OnClone func(ctx context.Context, n int) error
	OnClose func(n int) error
}

// A MemDevice is a device in memory: a loopback. What is written to a conversation's data or tx comes out of every open data and rx of it.
//
//	MEM/N/data, rx, tx  records; they poll
//	MEM/N/tap           the same records for who holds no reference
//	MEM/N/plain         the same, through ReadContext and WriteContext alone: no polling, no Unread
//	MEM/N/info          text: the number of readers
//	MEM/N/note          text that can be written
//	MEM/N/lock          text whose open is a reference
//	MEM/level           text of the device, written by anybody
//	MEM/voice           a stream of the device, an open of which counts as a conversation; it reads what it was written
//
// Its control messages are for tests of ctl: see the table in [Mem].
type MemDevice struct {
	*clonefs.Device[*MemConv]

	clones, closes atomic.Int64

	mu    sync.Mutex // guards all below
	level string
	live  map[int]*MemConv
}

// A MemConv is a conversation of a [MemDevice].
type MemConv struct {
	dev  *MemDevice
	conv *clonefs.Conv
	o    MemOptions

	mu      sync.Mutex // guards all below
	readers []*memStream
	note    string
	closed  bool
}

// Mem returns a new device in memory.
func Mem(o MemOptions) *MemDevice {
	if o.Name == "" {
		o.Name = "mem"
	}
	if o.Queue == 0 {
		o.Queue = 256
	}
	m := &MemDevice{level: "0", live: make(map[int]*MemConv)}
	m.Device = &clonefs.Device[*MemConv]{
		Name:       o.Name,
		Doc:        "a loopback in memory",
		MaxConvs:   o.MaxConvs,
		MaxPerUser: o.MaxPerUser,
		Clone: func(ctx context.Context, c *clonefs.Conv) (*MemConv, error) {
			if o.OnClone != nil {
				if err := o.OnClone(ctx, c.N()); err != nil {
					return nil, err
				}
			}
			v := &MemConv{dev: m, conv: c, o: o}
			m.clones.Add(1)
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.live[c.N()] != nil {
				return nil, fmt.Errorf("number %d was given out twice", c.N())
			}
			m.live[c.N()] = v
			return v, nil
		},
		Status: func(v *MemConv) (string, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			return fmt.Sprintf("readers %d\n", len(v.readers)), nil
		},
		Ctl: clonefs.Messages[*MemConv]{
			{Word: "push", Args: "TEXT", Help: "a record for every reader", Do: (*MemConv).push},
			{Word: "echo", Args: "WORDS...", Help: "its words, divided by |, become the note", Do: (*MemConv).echo},
			{Word: "speed", Args: "slow|fast", Help: "a choice", Do: (*MemConv).echo},
			{Word: "set", Args: "NAME [to VALUE [UNIT]]", Help: "optional words", Do: (*MemConv).echo},
			{Word: "bind", Args: "tun", Help: "a word with two forms", Do: (*MemConv).echo},
			{Word: "bind", Args: "link ID REMOTE [DEV]", Help: "and the other one", Do: (*MemConv).echo},
			{Word: "count", Args: "N", Help: "a decimal number", Do: (*MemConv).count},
			{Word: "fail", Args: "ERRNO", Help: "fails with that number", Do: (*MemConv).fail},
			{Word: "busy", Help: "fails with an error of the name space", Do: func(*MemConv, context.Context, []string) error { return p9ext.ErrInUse }},
			{Word: "wait", Help: "waits until it is interrupted", Do: (*MemConv).wait},
			{Word: "die", Help: "the driver hangs up", Do: (*MemConv).die},
			{Word: "root", Help: "may be sent by few", Super: true, Do: (*MemConv).echo},
		},
		Files: clonefs.Files[*MemConv]{
			{Name: "data", Mode: 0o660, Prompt: true, Help: "records", Duplex: (*MemConv).open},
			{Name: "tap", Mode: 0o440, Help: "records, without a reference", Open: (*MemConv).open},
			{Name: "plain", Mode: 0o660, Help: "records, without polling", Holds: true, Open: (*MemConv).openPlain},
			{Name: "info", Mode: 0o444, Help: "readers", Text: (*MemConv).info},
			{Name: "note", Mode: 0o660, Help: "a text", Text: (*MemConv).getNote, SetText: (*MemConv).setNote},
			{Name: "lock", Mode: 0o440, Help: "a text that holds a reference", Holds: true, Text: (*MemConv).info},
		},
		Shared: []clonefs.SharedFile{
			{Name: "level", Mode: 0o666, Help: "a number", Text: m.getLevel, SetText: m.setLevel},
			{Name: "voice", Mode: 0o666, Help: "reads what it was written", Counts: true, Open: m.openVoice},
		},
	}
	return m
}

// Live is how many conversations were made and not closed yet.
func (m *MemDevice) Live() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.live)
}

// Clones and Closes are how often Clone made a conversation and how often one was closed.
func (m *MemDevice) Clones() int { return int(m.clones.Load()) }

// Closes is how many conversations were closed.
func (m *MemDevice) Closes() int { return int(m.closes.Load()) }

// Conv returns the live conversation n, or nil.
func (m *MemDevice) Conv(n int) *MemConv {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live[n]
}

func (m *MemDevice) getLevel() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.level + "\n", nil
}

func (m *MemDevice) setLevel(_ context.Context, _ clonefs.User, text string) error {
	if _, err := strconv.Atoi(text); err != nil {
		return p9ext.Errorf(linux.EINVAL, "a level is a number, not %q", text)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.level = text
	return nil
}

// A voice is a stream of the device itself.
type voice struct{ *clonefs.Queue }

func (m *MemDevice) openVoice(context.Context, clonefs.User, clonefs.Mode) (clonefs.Stream, error) {
	return &voice{clonefs.NewQueue(16)}, nil
}

func (v *voice) WriteContext(_ context.Context, p []byte, _ int64) (int, error) {
	if !v.Push(p) {
		return 0, p9ext.ErrHungup
	}
	return len(p), nil
}

// Close implements clonefs.Closer. A second Close is an error.
func (v *MemConv) Close() error {
	if v.o.OnClose != nil {
		if err := v.o.OnClose(v.conv.N()); err != nil {
			defer v.dev.forget(v)
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return errors.New("closed twice")
	}
	if len(v.readers) > 0 {
		return fmt.Errorf("closed with %d readers", len(v.readers))
	}
	v.closed = true
	v.dev.forget(v)
	return nil
}

func (m *MemDevice) forget(v *MemConv) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live[v.conv.N()] == v {
		delete(m.live, v.conv.N())
		m.closes.Add(1)
	}
}

// Push sends a record to every reader, as a network would.
func (v *MemConv) Push(p []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.readers) == 1 {
		v.readers[0].Push(p) // whose queue has buffers to be used again
		return
	}
	own := append([]byte(nil), p...)
	for _, s := range v.readers {
		s.PushOwned(own)
	}
}

// Readers is how many streams are open for reading.
func (v *MemConv) Readers() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.readers)
}

// EndOfFile has every stream that is open for reading end after what it holds.
func (v *MemConv) EndOfFile(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.readers {
		s.CloseWithError(err)
	}
}

// Hangup ends the conversation as a driver does that can't go on.
func (v *MemConv) Hangup(cause error) { v.conv.Hangup(cause) }

func (v *MemConv) push(_ context.Context, args []string) error {
	v.Push([]byte(args[0]))
	return nil
}

func (v *MemConv) echo(_ context.Context, args []string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.note = strings.Join(args, "|")
	return nil
}

func (v *MemConv) count(_ context.Context, args []string) error {
	if _, err := strconv.ParseUint(args[0], 10, 32); err != nil {
		return clonefs.ErrBadArg
	}
	return nil
}

func (v *MemConv) fail(_ context.Context, args []string) error {
	n, err := strconv.ParseUint(args[0], 10, 8)
	if err != nil {
		return clonefs.ErrBadArg
	}
	return fmt.Errorf("fail: %w", syscall.Errno(n))
}

func (v *MemConv) wait(ctx context.Context, _ []string) error {
	<-ctx.Done()
	return ctx.Err()
}

func (v *MemConv) die(context.Context, []string) error {
	v.conv.Hangup(errors.New("asked to die"))
	return nil
}

func (v *MemConv) info() (string, error) { return fmt.Sprintf("readers %d\n", v.Readers()), nil }

func (v *MemConv) getNote() (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.note + "\n", nil
}

func (v *MemConv) setNote(ctx context.Context, text string) error {
	if text == "wait" {
		return v.wait(ctx, nil)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.note = text
	return nil
}

// A memStream is an open of data: what it is written goes to everybody's queue, its own too.
type memStream struct {
	*clonefs.Queue
	v *MemConv
}

func (v *MemConv) open(_ context.Context, m clonefs.Mode) (clonefs.Stream, error) {
	return v.add(&memStream{clonefs.NewQueue(v.o.Queue), v}, m), nil
}

func (v *MemConv) add(s *memStream, m clonefs.Mode) *memStream {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.Read {
		v.readers = append(v.readers, s)
	}
	return s
}

func (s *memStream) Close() error {
	s.v.mu.Lock()
	if i := slices.Index(s.v.readers, s); i >= 0 {
		s.v.readers = slices.Delete(s.v.readers, i, i+1)
	}
	s.v.mu.Unlock()
	return s.Queue.Close()
}

func (s *memStream) WriteContext(_ context.Context, p []byte, _ int64) (int, error) {
	return s.PollWrite(p, 0, nil)
}

// PollWrite never has to wait.
func (s *memStream) PollWrite(p []byte, _ int64, _ p9ext.Waiter) (int, error) {
	if len(p) == 0 {
		return 0, p9ext.ErrTooSmall
	}
	s.v.Push(p)
	return len(p), nil
}

func (s *memStream) UnpollWrite(p9ext.Waiter) {}

// A plainStream is a memStream that can do less.
type plainStream struct{ s *memStream }

func (v *MemConv) openPlain(_ context.Context, m clonefs.Mode) (clonefs.Stream, error) {
	return plainStream{v.add(&memStream{clonefs.NewQueue(v.o.Queue), v}, m)}, nil
}

func (p plainStream) Close() error { return p.s.Close() }

func (p plainStream) ReadContext(ctx context.Context, b []byte, off int64) (int, error) {
	return p.s.ReadContext(ctx, b, off)
}

func (p plainStream) WriteContext(ctx context.Context, b []byte, off int64) (int, error) {
	return p.s.WriteContext(ctx, b, off)
}
