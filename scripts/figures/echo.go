package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// serveEcho serves l with the canned echo: a program that answers each message with bytes of the right size and knows nothing. It is as
// fast as a server in this language and on this transport can be, and so the yardstick for what a server adds.
func serveEcho(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with its connection
			if err := echo(c); !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "echo:", err)
			}
			c.Close()
		}()
	}
}

// canned is what files are made of. Only its size matters.
var canned = filled(maxMessage)

// echo answers all whole messages of one receive with one write, until the connection ends.
func echo(c net.Conn) error {
	in := make([]byte, 64<<10)
	var out []byte
	var bufs net.Buffers
	r, w := 0, 0 // in[r:w] is received and not yet answered
	for {
		n, err := c.Read(in[w:])
		if err != nil {
			return err
		}
		w += n
		out, bufs = out[:0], bufs[:0]
		from := 0 // out[from:] is not yet in bufs
		for w-r >= 4 {
			size := int(le.Uint32(in[r:]))
			if size < headerSize || size > len(in) {
				return fmt.Errorf("a message of %d bytes", size)
			}
			if w-r < size {
				break
			}
			var data int
			if out, data, err = reply(out, in[r:r+size]); err != nil {
				return err
			}
			if data > 0 {
				bufs = append(bufs, out[from:], canned[:data])
				from = len(out)
			}
			r += size
		}
		if r == w {
			r, w = 0, 0
		} else if r > 0 {
			r, w = 0, copy(in, in[r:w])
		}
		switch {
		case len(bufs) == 0:
			_, err = c.Write(out)
		default:
			all := append(bufs, out[from:])
			_, err = all.WriteTo(c) // consumes all; bufs keeps the array
		}
		if err != nil {
			return err
		}
	}
}

// maxInline is the size up to which the data of Rread is copied into the reply.
const maxInline = 8 << 10

// reply appends the answer to m. The data of a large Rread is left out: data says how much of it has to follow.
func reply(b, m []byte) (_ []byte, data int, err error) {
	typ := m[4]
	var body int
	switch typ {
	case tversion:
		body = len(m) - headerSize
		return append(head(b, m, body), m[headerSize:]...), 0, nil
	case tattach:
		body = qidSize
	case twalk:
		body = 2 + qidSize*int(le.Uint16(m[headerSize+8:]))
	case tlopen:
		body = qidSize + 4
	case tgetattr:
		body = attrSize
	case tclunk:
		body = 0
	case tread:
		data = min(int(le.Uint32(m[headerSize+12:])), len(canned))
		b = le.AppendUint32(head(b, m, 4+data), uint32(data))
		if data <= maxInline {
			return append(b, canned[:data]...), 0, nil
		}
		return b, data, nil
	default:
		return b, 0, fmt.Errorf("a message of type %d", typ)
	}
	return append(head(b, m, body), canned[:body]...), 0, nil
}

// head appends the header of the answer to m that has body bytes after it.
func head(b, m []byte, body int) []byte {
	b = le.AppendUint32(b, uint32(headerSize+body))
	return append(b, m[4]|1, m[5], m[6])
}
