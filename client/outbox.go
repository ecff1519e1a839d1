package client

import (
	"context"
	"sync"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// An outbox has the messages that wait to be written. What many goroutines put in while one write is under way goes out with the next.
type outbox struct {
	wake chan struct{} // gets a token when there is something to write

	mu    sync.Mutex    // guards what follows; a leaf
	buf   []byte        // messages, one after the other
	spare []byte        // the other backing array, while the first is written
	room  chan struct{} // closed when buf was taken; nil when nobody waits for that
}

// outLimit is from how many bytes on a message waits for those before it.
const outLimit = 256 << 10

func (o *outbox) init() { o.wake = make(chan struct{}, 1) }

// put appends a message to what is to be sent, when there is room.
func (c *Conn) put(ctx context.Context, m *wire.Msg) error {
	o := &c.out
	for {
		o.mu.Lock()
		if len(o.buf) < outLimit {
			b, err := wire.Append(o.buf, c.dialect, m)
			if err != nil || len(b)-len(o.buf) > int(c.msize) {
				o.mu.Unlock()
				return p9ext.Errorf(linux.ENAMETOOLONG, "a name is too long: a message carries %d bytes", c.msize)
			}
			o.buf = b
			o.mu.Unlock()
			o.signal()
			return nil
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return interrupted(ctx)
		case <-c.done:
			return ErrLost // the caller has a better word
		}
	}
}

// errand appends a small message at once. There are at most as many as fids and tags.
func (o *outbox) errand(d wire.Dialect, m *wire.Msg) {
	o.mu.Lock()
	o.buf, _ = wire.Append(o.buf, d, m) // Tflush and Tclunk are in all dialects and have no strings
	o.mu.Unlock()
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take takes what waits to be written; it is valid until the next call.
func (o *outbox) take(keep int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.buf
	if cap(o.spare) > keep {
		o.spare = nil
	}
	o.buf, o.spare = o.spare[:0], b
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	return b
}

// send is the writing goroutine.
func (c *Conn) send() {
	defer c.wg.Done()
	keep := outLimit + int(c.msize)
	for {
		select {
		case <-c.out.wake:
		case <-c.done:
			return
		}
		for {
			b := c.out.take(keep)
			if len(b) == 0 {
				break
			}
			if _, err := c.conn.Write(b); err != nil {
				c.fail(lost(err))
				return
			}
		}
	}
}

// startBuffer is the size of the receive buffer until a larger message comes.
const startBuffer = 64 << 10

// receive is the reading goroutine. Its messages are parsed in place, several a system call.
func (c *Conn) receive() {
	defer c.wg.Done()
	c.fail(lost(c.receiveAll()))
}

func (c *Conn) receiveAll() error {
	buf := make([]byte, min(startBuffer, int(c.msize)))
	var m wire.Msg
	have := 0
	for {
		n, err := c.conn.Read(buf[have:])
		if n == 0 && err != nil {
			return err
		}
		have += n
		rest := buf[:have]
		for {
			size, ok := wire.Peek(rest)
			if !ok {
				break
			}
			if size < wire.HeaderSize || size > c.msize {
				return errSize(size, c.msize)
			}
			if int(size) > len(rest) {
				if int(size) > len(buf) {
					buf = make([]byte, min(max(int(size), 2*len(buf)), int(c.msize)))
				}
				break
			}
			if err := m.Decode(c.dialect, rest[:size]); err != nil {
				return err
			}
			if err := c.reply(&m); err != nil {
				return err
			}
			rest = rest[size:]
		}
		have = copy(buf, rest)
	}
}
