package pulse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jfreymuth/pulse/proto"
)

const (
	frameHead  = 20        // bytes before each frame: its length, its stream, an offset and flags
	control    = 1<<32 - 1 // the stream of a frame that is a message
	messageLen = 10        // bytes of a message before its arguments: L, the operation, L, the tag
	maxFrame   = 1 << 20   // bytes of a frame; what a server sends us is below 100 kB
	maxString  = 1000      // bytes of a string; the library stumbles over one of 1024
	patience   = 5 * time.Second
)

// A guard stands between the library and the server. It gives the library whole frames, of a shape that the library can read: that one reads
// by reflection, on a goroutine of its own, and panics where a server sends a number for a string, allocates what a length claims, and prints
// the operations that it does not know. So no server, however broken, ends this process or floods it.
//
// It writes each frame at once, with a deadline, and ends the connection when that fails: the library looks at no error of a write.
type guard struct {
	conn net.Conn
	in   *bufio.Reader
	left []byte // of the frame being read: what the library has not taken yet; used by the library's goroutine alone
	buf  []byte // holds it

	out []byte // the frame being written, until it is whole; guarded by the library's lock for writing

	mu   sync.Mutex // guards what follows
	tag  uint32     // of the request that has no answer yet
	want string     // the shape of its answer
	err  error      // why the connection has ended
	dead chan struct{}
}

func newGuard(c net.Conn) *guard {
	return &guard{conn: c, in: bufio.NewReaderSize(c, 8<<10), tag: control, dead: make(chan struct{})}
}

// expect says of what shape the answer to the request of that tag is to be.
func (g *guard) expect(tag uint32, want string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tag, g.want = tag, want
}

// fail ends the connection, because of err. It waits for nothing, and the first err stays.
func (g *guard) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
		close(g.dead)
		g.conn.Close()
	}
}

// reason is why the connection has ended.
func (g *guard) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Read gives the library the next bytes. Whatever ends the connection is io.EOF to the library, as it tells us of no other end.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.left) == 0 {
		if err := g.next(); err != nil {
			g.fail(err)
			return 0, io.EOF
		}
	}
	n := copy(p, g.left)
	g.left = g.left[n:]
	return n, nil
}

// next reads a frame, and leaves it in g.left if the library is to have it.
func (g *guard) next() error {
	if cap(g.buf) < frameHead {
		g.buf = make([]byte, frameHead, 4<<10)
	}
	head := g.buf[:frameHead]
	if _, err := io.ReadFull(g.in, head); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("pulse: the sound server has ended the connection")
		}
		return fmt.Errorf("pulse: %w", err)
	}
	length := binary.BigEndian.Uint32(head)
	if length > maxFrame {
		return fmt.Errorf("pulse: what answers is no sound server: it sends a frame of %d bytes", length)
	}
	size := frameHead + int(length)
	if cap(g.buf) < size {
		g.buf = append(make([]byte, 0, 2*size), head...)
	}
	frame := g.buf[:size]
	if _, err := io.ReadFull(g.in, frame[frameHead:]); err != nil {
		return fmt.Errorf("pulse: the sound server has ended the connection: %w", err)
	}
	if binary.BigEndian.Uint32(frame[4:]) != control {
		g.left = frame // samples
		return nil
	}
	pass, err := g.check(frame[frameHead:])
	if pass {
		g.left = frame
	}
	return err
}

// check looks at a message and says whether the library is to have it.
func (g *guard) check(m []byte) (pass bool, err error) {
	if len(m) < messageLen || m[0] != 'L' || m[5] != 'L' {
		return false, errShape
	}
	op, tag, args := binary.BigEndian.Uint32(m[1:]), binary.BigEndian.Uint32(m[6:]), m[messageLen:]
	want := ""
	switch op {
	case proto.OpReply, proto.OpError:
		g.mu.Lock()
		mine := tag == g.tag
		want = g.want
		g.tag = control // one answer is enough
		g.mu.Unlock()
		if !mine {
			return false, errors.New("pulse: the sound server answers what nobody asked")
		}
		if op == proto.OpError {
			want = "L"
		}
	case proto.OpRequest:
		want = "LL"
	case proto.OpUnderflow:
		want = "Lr"
	case proto.OpPlaybackStreamKilled, proto.OpRecordStreamKilled:
		want = "L"
	default: // news that nothing here is interested in
		return false, nil
	}
	if !fits(args, want) {
		return false, errShape
	}
	return true, nil
}

var errShape = errors.New("pulse: the sound server sends what is not of its protocol")

// Write takes a frame's head and then its body, or a part of either, and sends the frame when it is whole.
func (g *guard) Write(p []byte) (int, error) {
	if err := g.reason(); err != nil {
		return 0, err
	}
	g.out = append(g.out, p...)
	if len(g.out) < frameHead || len(g.out) < frameHead+int(binary.BigEndian.Uint32(g.out)) {
		return len(p), nil
	}
	err := g.conn.SetWriteDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = g.conn.Write(g.out)
	}
	g.out = g.out[:0]
	if err != nil {
		g.fail(fmt.Errorf("pulse: the sound server takes nothing: %w", err))
		return 0, err
	}
	return len(p), nil
}

// The shapes of answers in versions 24 to 32 of the protocol, in the letters that stand before each value there:
//
//	L number   t string or none   1 yes or no   a sample format   m channel map   v volumes   V volume
//	U microseconds   r offset   P properties   f encoding
//
// and in three of our own: p is a list of ports, F one of encodings, and * at the end says that the whole comes any number of times.
const (
	shapeNothing  = ""
	shapeAuth     = "L"
	shapeIndex    = "L"
	shapePlayback = "LLLLLLLamLt1Uf"
	shapeRecord   = "LLLLamLt1Uf"
	shapeServer   = "ttttattLm"
	shapeSources  = "LttamLv1LtUtLPUVLLLptF*"
)

// fits says whether b is of that shape, from its beginning to its end.
func fits(b []byte, shape string) bool {
	many := false
	if n := len(shape); n > 0 && shape[n-1] == '*' {
		shape, many = shape[:n-1], true
		if len(b) == 0 {
			return true
		}
	}
	for {
		for i := range len(shape) {
			var ok bool
			if b, ok = skip(b, shape[i]); !ok {
				return false
			}
		}
		if len(b) == 0 || !many {
			return len(b) == 0
		}
	}
}

// skip returns what follows the value at the beginning of b, which is to be of that kind.
func skip(b []byte, kind byte) ([]byte, bool) {
	if len(b) == 0 {
		return nil, false
	}
	tag := b[0]
	switch kind {
	case 't':
		if tag == 'N' {
			return b[1:], true
		}
	case '1':
		return b[1:], tag == '0' || tag == '1'
	case 'p', 'F':
		return skipList(b, kind)
	}
	if tag != kind {
		return nil, false
	}
	b = b[1:]
	size := 0
	switch kind {
	case 't':
		end := 0
		for end < len(b) && b[end] != 0 {
			end++
		}
		if end > maxString {
			return nil, false
		}
		size = end + 1
	case 'L', 'V':
		size = 4
	case 'U', 'r':
		size = 8
	case 'a':
		size = 6
	case 'm', 'v':
		if len(b) == 0 {
			return nil, false
		}
		if size = 1 + int(b[0]); kind == 'v' {
			size = 1 + 4*int(b[0])
		}
	case 'P':
		return skipProperties(b)
	case 'f':
		if len(b) < 3 || b[0] != 'B' || b[2] != 'P' {
			return nil, false
		}
		return skipProperties(b[3:])
	}
	if size > len(b) {
		return nil, false
	}
	return b[size:], true
}

// skipList skips a list of ports or of encodings, with its length before it.
func skipList(b []byte, kind byte) ([]byte, bool) {
	n, item := 0, "f"
	switch {
	case kind == 'p' && len(b) >= 5 && b[0] == 'L':
		// Each takes ten bytes and more: no loop of a length that is a lie.
		u := binary.BigEndian.Uint32(b[1:])
		if u > maxFrame/10 {
			return nil, false
		}
		n, item, b = int(u), "ttLL", b[5:]
	case kind == 'F' && len(b) >= 2 && b[0] == 'B':
		n, b = int(b[1]), b[2:]
	default:
		return nil, false
	}
	for range n {
		for i := range len(item) {
			var ok bool
			if b, ok = skip(b, item[i]); !ok {
				return nil, false
			}
		}
	}
	return b, true
}

// skipProperties skips names and values, each a string, a number that is the length, and the bytes; an N ends them.
func skipProperties(b []byte) ([]byte, bool) {
	for len(b) > 0 {
		if b[0] == 'N' {
			return b[1:], true
		}
		var ok bool
		if b, ok = skip(b, 't'); !ok {
			return nil, false
		}
		if len(b) < 10 || b[0] != 'L' || b[5] != 'x' {
			return nil, false
		}
		size := binary.BigEndian.Uint32(b[1:])
		if size != binary.BigEndian.Uint32(b[6:]) || uint64(size) > uint64(len(b)-10) {
			return nil, false
		}
		b = b[10+size:]
	}
	return nil, false
}
