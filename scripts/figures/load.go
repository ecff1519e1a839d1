package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

// maxMessage is the msize that the load asks for.
const maxMessage = 1 << 20

// The fids of a connection of the load.
const (
	rootFid  = 1
	walkFid  = 2   // walked to the file
	openFid  = 3   // the same, open for reading
	writeFid = 4   // what is written to
	slotFids = 100 // one for each slot
)

// A load says what a connection asks for, again and again: depth slots, each of which sends its messages one after the other, the next when the one
// before it has been answered. One round of them is an operation.
type load struct {
	depth int
	msgs  func(slot int) [][]byte // tag is the slot's number
}

// stat is Tgetattr of the walked file.
func stat(depth int) load {
	return load{depth, func(i int) [][]byte {
		return [][]byte{encode(tgetattr, uint16(i), uint32(walkFid), uint64(0x7ff))}
	}}
}

// open walks to the file, opens it for reading and clunks it.
func open(depth int, path []string) load {
	return load{depth, func(i int) [][]byte {
		fid := uint32(slotFids + i)
		return [][]byte{
			encode(twalk, uint16(i), uint32(rootFid), fid, path),
			encode(tlopen, uint16(i), fid, uint32(0)),
			encode(tclunk, uint16(i), fid),
		}
	}}
}

// read is Tread of count bytes from the open file.
func read(depth int, count uint32) load {
	return load{depth, func(i int) [][]byte {
		return [][]byte{encode(tread, uint16(i), uint32(openFid), uint64(0), count)}
	}}
}

// A client is one connection of the load. It decodes nothing but sizes, types and tags.
type client struct {
	conn  net.Conn
	in    []byte
	out   []byte
	slots []slot
	exact int // size that each reply must have; 0 where they differ

	replied func(size int) // is told of each reply; may be nil
}

type slot struct {
	msgs [][]byte
	at   int // what was sent last
}

// dial connects to the server at the unix socket and brings a session to the point where the load can begin.
func dial(socket, aname string, path []string, l load) (*client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: make([]byte, 256<<10)}
	for i := range l.depth {
		c.slots = append(c.slots, slot{msgs: l.msgs(i)})
	}
	for _, m := range [][]byte{
		encode(tversion, noTag, uint32(maxMessage), "9P2000.L"),
		encode(tattach, 0, uint32(rootFid), uint32(noFid), "", aname, uint32(os.Getuid())),
		encode(twalk, 0, uint32(rootFid), uint32(walkFid), path),
		encode(twalk, 0, uint32(rootFid), uint32(openFid), path),
		encode(tlopen, 0, uint32(openFid), uint32(0)),
	} {
		if err := c.ask(m); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return c, nil
}

// ask sends m and waits for its answer.
func (c *client) ask(m []byte) error {
	if _, err := c.conn.Write(m); err != nil {
		return err
	}
	w := 0
	for w < headerSize || w < int(le.Uint32(c.in)) {
		n, err := c.conn.Read(c.in[w:])
		if err != nil {
			return fmt.Errorf("no answer to a message of type %d: %w", m[4], err)
		}
		w += n
	}
	return check(c.in, m[4])
}

// check tells whether the reply that begins with b answers a message of type typ.
func check(b []byte, typ byte) error {
	switch {
	case b[4] == typ|1:
		return nil
	case b[4] == rlerror && len(b) >= headerSize+4:
		return fmt.Errorf("a message of type %d is answered with error %d", typ, le.Uint32(b[headerSize:]))
	}
	return fmt.Errorf("a message of type %d is answered with one of type %d", typ, b[4])
}

// run keeps all slots busy for d and returns how many operations were done.
func (c *client) run(d time.Duration) (ops int, err error) {
	c.out = c.out[:0]
	for i := range c.slots {
		c.slots[i].at = 0
		c.out = append(c.out, c.slots[i].msgs[0]...)
	}
	busy := len(c.slots)
	until := time.Now().Add(d)
	r, w, skip := 0, 0, 0 // in[r:w] is received; skip bytes of the message before it are still to come
	for {
		if len(c.out) > 0 {
			if _, err := c.conn.Write(c.out); err != nil {
				return ops, err
			}
			c.out = c.out[:0]
		}
		if busy == 0 && skip == 0 {
			return ops, nil
		}
		w = copy(c.in, c.in[r:w])
		n, err := c.conn.Read(c.in[w:])
		if err != nil {
			return ops, err
		}
		r, w = 0, w+n
		more := time.Now().Before(until)
		for w-r >= headerSize || skip > 0 && w > r {
			if skip > 0 {
				n := min(skip, w-r)
				r, skip = r+n, skip-n
				continue
			}
			size, tag := int(le.Uint32(c.in[r:])), int(le.Uint16(c.in[r+5:]))
			if tag >= len(c.slots) || size < headerSize || c.exact > 0 && size != c.exact {
				return ops, fmt.Errorf("a reply of %d bytes to tag %d", size, tag)
			}
			s := &c.slots[tag]
			if err := check(c.in[r:w], s.msgs[s.at][4]); err != nil {
				return ops, err
			}
			skip = size
			if c.replied != nil {
				c.replied(size)
			}
			if s.at++; s.at == len(s.msgs) {
				s.at = 0
				ops++
				if !more {
					busy--
					continue
				}
			}
			c.out = append(c.out, s.msgs[s.at]...)
		}
	}
}
