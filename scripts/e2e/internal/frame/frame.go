// Package frame makes Ethernet frames whose receiver can tell, from the frame alone, that it is whole, alone and in its place:
// each carries a stream's number, its own number in that stream and its length, and the rest follows from these.
// Sizes follow from them too, so that sender and receiver need agree on nothing but the stream and the bounds.
package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// EtherType is the type of the frames: IEEE's "local experimental 1", which no kernel answers.
const EtherType = 0x88b5

const (
	header = 14                 // dst[6] src[6] type[2]
	Min    = header + 4 + 4 + 4 // smallest frame: stream[4] seq[4] length[4] after the header, big-endian
)

// start is the Ethernet header: to all, from a local address.
var start = [header]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 'e', '2', 'e', 0, 1, EtherType >> 8, EtherType & 0xff}

// Size is how long frame seq of a stream is: at random, from min to max, min being at least Min.
func Size(stream, seq uint32, min, max int) int {
	return min + rand.New(rand.NewPCG(uint64(stream), uint64(seq))).IntN(max-min+1)
}

// Append appends the frame seq of a stream, size bytes of it, to b.
func Append(b []byte, stream, seq uint32, size int) []byte {
	b = append(b, start[:]...)
	b = binary.BigEndian.AppendUint32(b, stream)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	rnd := rand.NewPCG(uint64(stream)<<32|uint64(seq), uint64(size))
	for n := size - Min; n > 0; n -= 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rnd.Uint64())
		b = append(b, word[:min(n, 8)]...)
	}
	return b
}

// Ours reports whether p begins as a frame of this package does. What the kernel sends of its own accord does not.
func Ours(p []byte) bool {
	return len(p) >= header && binary.BigEndian.Uint16(p[12:]) == EtherType
}

// Within reports whether a frame of this package begins anywhere in p.
func Within(p []byte) bool { return bytes.Contains(p, start[:]) }

// Check returns the stream and number of the frame p, or says what is wrong with it: cut short, run together with another, damaged.
func Check(p []byte) (stream, seq uint32, err error) {
	if len(p) < Min || !Ours(p) {
		return 0, 0, fmt.Errorf("%d bytes, not a frame of ours: % .32x", len(p), p)
	}
	stream, seq = binary.BigEndian.Uint32(p[14:]), binary.BigEndian.Uint32(p[18:])
	size := int(binary.BigEndian.Uint32(p[22:]))
	switch {
	case size < Min || size > 1<<17:
		return stream, seq, fmt.Errorf("frame %d says it has %d bytes", seq, size)
	case len(p) < size:
		return stream, seq, fmt.Errorf("frame %d has %d bytes, got %d: cut short", seq, size, len(p))
	case !bytes.Equal(p[:size], Append(nil, stream, seq, size)):
		return stream, seq, fmt.Errorf("frame %d of %d bytes is damaged", seq, size)
	case len(p) > size:
		return stream, seq, fmt.Errorf("frame %d has %d bytes, got %d: run together with what follows", seq, size, len(p))
	}
	return stream, seq, nil
}
