package engine

import (
	"encoding/binary"
	"math/big"
	"math/bits"
)

// The hashes of the generic backend: as their standards write them down, nothing else.

// A shaFold is SHA-256 or SHA-512, which differ in the width of a word and in numbers: FIPS 180-4. Words of SHA-256 are held in the
// low halves.
type shaFold struct {
	wide   bool
	h      [8]uint64
	block  []byte // of the message, not whole yet
	length uint64 // of the message, in bytes
}

// shaConstants are the first 64 bits of the fractional parts of the cube roots of the first 80 primes, and of the square roots of the first 8.
var shaConstants, shaBegin = func() (k [80]uint64, h [8]uint64) {
	n := 0
	for p := int64(2); n < len(k); p++ {
		if !big.NewInt(p).ProbablyPrime(0) { // exact below 2^64
			continue
		}
		// The root of p << 192 is that of p, shifted by 64.
		k[n] = cubeRoot(new(big.Int).Lsh(big.NewInt(p), 192)).Uint64()
		if n < len(h) {
			h[n] = new(big.Int).Sqrt(new(big.Int).Lsh(big.NewInt(p), 128)).Uint64()
		}
		n++
	}
	return k, h
}()

// cubeRoot is the largest number whose cube is x at most, by bisection. Uint64 of it is what stands behind the point.
func cubeRoot(x *big.Int) *big.Int {
	low, high := big.NewInt(0), new(big.Int).Lsh(big.NewInt(1), uint(x.BitLen()/3+1))
	for one := big.NewInt(1); new(big.Int).Sub(high, low).Cmp(one) > 0; {
		mid := new(big.Int).Rsh(new(big.Int).Add(low, high), 1)
		if new(big.Int).Exp(mid, big.NewInt(3), nil).Cmp(x) <= 0 {
			low = mid
		} else {
			high = mid
		}
	}
	return new(big.Int).And(low, new(big.Int).SetUint64(1<<64-1))
}

func newReferenceSHA(wide bool) Fold {
	f := &shaFold{wide: wide, h: shaBegin}
	if !wide {
		for i := range f.h {
			f.h[i] >>= 32
		}
	}
	return f
}

func genericSHA256([]byte) Fold { return newReferenceSHA(false) }
func genericSHA512([]byte) Fold { return newReferenceSHA(true) }

// blockSize is 16 words.
func (f *shaFold) blockSize() int {
	if f.wide {
		return 128
	}
	return 64
}

func (f *shaFold) Add(in [][]byte) bool {
	f.length += uint64(len(in[0]))
	f.take(in[0])
	return false
}

func (f *shaFold) take(p []byte) {
	f.block = append(f.block, p...)
	for size := f.blockSize(); len(f.block) >= size; f.block = f.block[size:] {
		f.compress(f.block[:size])
	}
	f.block = append([]byte(nil), f.block...)
}

func (f *shaFold) compress(p []byte) {
	word, rounds, mask := 4, 64, uint64(1<<32-1)
	// FIPS 180-4, 4.1.2: the amounts of rotation, and of the last of each small one a shift.
	s0, s1, e0, e1 := [3]int{7, 18, 3}, [3]int{17, 19, 10}, [3]int{2, 13, 22}, [3]int{6, 11, 25}
	if f.wide {
		word, rounds, mask = 8, 80, 1<<64-1
		s0, s1, e0, e1 = [3]int{1, 8, 7}, [3]int{19, 61, 6}, [3]int{28, 34, 39}, [3]int{14, 18, 41}
	}
	rotate := func(x uint64, n int) uint64 {
		if f.wide {
			return bits.RotateLeft64(x, -n)
		}
		return uint64(bits.RotateLeft32(uint32(x), -n))
	}
	small := func(x uint64, n [3]int) uint64 { return rotate(x, n[0]) ^ rotate(x, n[1]) ^ x>>n[2] }
	large := func(x uint64, n [3]int) uint64 { return rotate(x, n[0]) ^ rotate(x, n[1]) ^ rotate(x, n[2]) }
	var w [80]uint64
	for t := range rounds {
		if t < 16 {
			if f.wide {
				w[t] = binary.BigEndian.Uint64(p[t*word:])
			} else {
				w[t] = uint64(binary.BigEndian.Uint32(p[t*word:]))
			}
			continue
		}
		w[t] = (small(w[t-2], s1) + w[t-7] + small(w[t-15], s0) + w[t-16]) & mask
	}
	v := f.h
	for t := range rounds {
		k := shaConstants[t]
		if !f.wide {
			k >>= 32
		}
		a, b, c, e, g := v[0], v[1], v[2], v[4], v[6]
		t1 := v[7] + large(e, e1) + (e&v[5] ^ ^e&g) + k + w[t]
		t2 := large(a, e0) + (a&b ^ a&c ^ b&c)
		v = [8]uint64{(t1 + t2) & mask, a, b, c, (v[3] + t1) & mask, e, v[5], g}
	}
	for i := range v {
		f.h[i] = (f.h[i] + v[i]) & mask
	}
}

func (f *shaFold) Sum(b []byte) []byte {
	last := *f
	// One bit, zeros, and the length in bits: in 8 bytes, or 16, of which a length that fits here leaves 8 zero.
	pad, size, length := []byte{0x80}, f.blockSize(), 8
	if f.wide {
		length = 16
	}
	for (len(last.block)+len(pad)+length)%size != 0 {
		pad = append(pad, 0)
	}
	pad = append(pad, make([]byte, length-8)...)
	last.take(binary.BigEndian.AppendUint64(pad, f.length*8))
	for _, h := range last.h {
		if f.wide {
			b = binary.BigEndian.AppendUint64(b, h)
		} else {
			b = binary.BigEndian.AppendUint32(b, uint32(h))
		}
	}
	return b
}

// A blake3Fold is BLAKE3, after the reference implementation in its specification.
type blake3Fold struct {
	chunk []byte      // of the message, not whole yet, or whole and perhaps the last
	count uint64      // of whole chunks before it
	stack [][8]uint32 // chaining values of whole subtrees, the largest first
}

const (
	blake3Chunk = 1024
	blake3Block = 64

	chunkStart = 1 << 0
	chunkEnd   = 1 << 1
	parent     = 1 << 2
	rootNode   = 1 << 3
)

var blake3IV = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

func genericBLAKE3([]byte) Fold { return &blake3Fold{} }

func (f *blake3Fold) Add(in [][]byte) bool {
	for p := in[0]; len(p) > 0; {
		if len(f.chunk) == blake3Chunk { // more follows: it was not the last
			cv := f.chunkNode(0)
			f.count++
			for n := f.count; n&1 == 0; n >>= 1 { // a subtree is whole
				top := len(f.stack) - 1
				cv = parentNode(f.stack[top], cv, 0)
				f.stack = f.stack[:top]
			}
			f.stack = append(f.stack, cv)
			f.chunk = f.chunk[:0]
		}
		n := min(len(p), blake3Chunk-len(f.chunk))
		f.chunk = append(f.chunk, p[:n]...)
		p = p[n:]
	}
	return false
}

func (f *blake3Fold) Sum(b []byte) []byte {
	flags := uint32(0)
	if len(f.stack) == 0 {
		flags = rootNode
	}
	cv := f.chunkNode(flags)
	for i := len(f.stack) - 1; i >= 0; i-- {
		flags := uint32(0)
		if i == 0 {
			flags = rootNode
		}
		cv = parentNode(f.stack[i], cv, flags)
	}
	for _, w := range cv {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// chunkNode is the chaining value of the chunk at hand; last is for its last block.
func (f *blake3Fold) chunkNode(last uint32) [8]uint32 {
	cv, p := blake3IV, f.chunk
	for flags := uint32(chunkStart); ; flags = 0 {
		n := min(len(p), blake3Block)
		final := n == len(p)
		if final {
			flags |= chunkEnd | last
		}
		var block [blake3Block]byte
		copy(block[:], p[:n])
		cv = blake3Compress(cv, block, f.count, uint32(n), flags)
		if final {
			return cv
		}
		p = p[n:]
	}
}

func parentNode(left, right [8]uint32, flags uint32) [8]uint32 {
	var block [blake3Block]byte
	for i := range left {
		binary.LittleEndian.PutUint32(block[4*i:], left[i])
		binary.LittleEndian.PutUint32(block[32+4*i:], right[i])
	}
	return blake3Compress(blake3IV, block, 0, blake3Block, parent|flags)
}

func blake3Compress(cv [8]uint32, block [blake3Block]byte, counter uint64, length, flags uint32) [8]uint32 {
	var m [16]uint32
	for i := range m {
		m[i] = binary.LittleEndian.Uint32(block[4*i:])
	}
	v := [16]uint32{
		cv[0], cv[1], cv[2], cv[3], cv[4], cv[5], cv[6], cv[7],
		blake3IV[0], blake3IV[1], blake3IV[2], blake3IV[3], uint32(counter), uint32(counter >> 32), length, flags,
	}
	g := func(a, b, c, d int, x, y uint32) {
		v[a] += v[b] + x
		v[d] = bits.RotateLeft32(v[d]^v[a], -16)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -12)
		v[a] += v[b] + y
		v[d] = bits.RotateLeft32(v[d]^v[a], -8)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -7)
	}
	for range 7 {
		g(0, 4, 8, 12, m[0], m[1])
		g(1, 5, 9, 13, m[2], m[3])
		g(2, 6, 10, 14, m[4], m[5])
		g(3, 7, 11, 15, m[6], m[7])
		g(0, 5, 10, 15, m[8], m[9])
		g(1, 6, 11, 12, m[10], m[11])
		g(2, 7, 8, 13, m[12], m[13])
		g(3, 4, 9, 14, m[14], m[15])
		var next [16]uint32
		for i, from := range [16]int{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8} {
			next[i] = m[from]
		}
		m = next
	}
	for i := range 8 {
		cv[i] = v[i] ^ v[i+8]
	}
	return cv
}
