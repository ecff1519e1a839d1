package wire_test

import (
	"fmt"
	"slices"

	"github.com/clone9p/clone9p/internal/wire"
)

// A server's turn: take one whole message off the front of what was received, answer it into the buffer that goes out.
func Example() {
	in, _ := wire.Append(nil, wire.P9L, &wire.Msg{Type: wire.Tread, Tag: 3, Fid: 7, Count: 64})

	var m wire.Msg
	size, ok := wire.Peek(in)
	if !ok || int(size) > len(in) {
		return // more is to come
	}
	if err := m.Decode(wire.P9L, in[:size]); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Text(wire.P9L))

	var out []byte
	start := len(out)
	out = wire.BeginRread(slices.Grow(out, wire.DataHeader+int(m.Count)), m.Tag)
	n := copy(out[len(out):len(out)+int(m.Count)], "0\n") // the driver reads straight into the reply
	out = out[:len(out)+n]
	wire.EndRread(out, start)
	fmt.Printf("% x\n", out)

	// Output:
	// Tread tag 3 fid 7 offset 0 count 64
	// 0d 00 00 00 75 03 00 02 00 00 00 30 0a
}

// What a client names in Tversion decides the dialect of the session.
func ExampleParseVersion() {
	for _, v := range []string{"9P2000.L", "9P2000.L.Google.7", "9P2000.x", "10P"} {
		d, ok := wire.ParseVersion(v)
		if !ok {
			fmt.Println(v, "unknown")
			continue
		}
		fmt.Println(v, d)
	}
	// Output:
	// 9P2000.L 9P2000.L
	// 9P2000.L.Google.7 9P2000.L
	// 9P2000.x 9P2000
	// 10P unknown
}
