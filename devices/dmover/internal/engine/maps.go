package engine

import (
	"crypto/subtle"
	"sync"

	"github.com/klauspost/reedsolomon"
)

// The reference: one byte after the other.

func genericFill(out []byte, b byte) {
	for i := range out {
		out[i] = b
	}
}

func genericCopy(out, in []byte) {
	for i := range out {
		out[i] = in[i]
	}
}

func genericXOR(out []byte, in [][]byte) {
	for i := range out {
		var x byte
		for _, p := range in {
			x ^= p[i]
		}
		out[i] = x
	}
}

// genericPQ is H. Peter Anvin, "The mathematics of RAID-6": over GF(2^8) with the polynomial 0x11d, P is the sum of all inputs and Q the sum of g^k times
// input number k, where g is 2. Horner's rule needs only multiplications by g.
func genericPQ(out []byte, in [][]byte) {
	n := len(in[0])
	for i := range n {
		var p, q byte
		for k := len(in) - 1; k >= 0; k-- {
			p ^= in[k][i]
			q = q<<1 ^ q>>7*0x1d ^ in[k][i]
		}
		out[i], out[n+i] = p, q
	}
}

// fill doubles what it has.
func fill(out []byte, b byte) {
	if b == 0 || len(out) == 0 {
		clear(out)
		return
	}
	const begin = 64
	n := min(begin, len(out))
	genericFill(out[:n], b)
	for n < len(out) {
		n += copy(out[n:], out[:min(n, 32<<10)])
	}
}

// xorBlock is what stays in the nearest cache while one input after the other is added to it.
const xorBlock = 16 << 10

func xor(out []byte, in [][]byte) {
	for at := 0; at < len(out); at += xorBlock {
		end := min(at+xorBlock, len(out))
		o := out[at:end]
		subtle.XORBytes(o, in[0][at:end], in[1][at:end])
		for _, p := range in[2:] {
			subtle.XORBytes(o, o, p[at:end])
		}
	}
}

const maxInputs = 8

// encoders have the matrices of RAID-6 by number of inputs: the first row of parity is ones, the second the powers of 2.
var encoders [maxInputs + 1]struct {
	once sync.Once
	enc  reedsolomon.Encoder
}

func pq(out []byte, in [][]byte) {
	n := len(in[0])
	if n == 0 {
		return
	}
	e := &encoders[len(in)]
	e.once.Do(func() {
		p, q := make([]byte, len(in)), make([]byte, len(in))
		for k, g := 0, byte(1); k < len(in); k++ {
			p[k], q[k] = 1, g
			g = g<<1 ^ g>>7*0x1d
		}
		e.enc, _ = reedsolomon.New(len(in), 2, reedsolomon.WithCustomMatrix([][]byte{p, q}), reedsolomon.WithMaxGoroutines(1))
	})
	if e.enc == nil {
		genericPQ(out, in)
		return
	}
	shards := make([][]byte, 0, maxInputs+2)
	shards = append(shards, in...)
	shards = append(shards, out[:n:n], out[n:2*n:2*n])
	if e.enc.Encode(shards) != nil { // lengths differ, which the caller has excluded
		genericPQ(out, in)
	}
}
