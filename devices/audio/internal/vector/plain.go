package vector

import "math"

// The loops in Go, unrolled so that no check of a bound is left in them. They do what the blocks leave, and everything where there is no
// assembly.

// plainAdd adds src, which is as long, to dst: even samples times left, odd ones times right.
func plainAdd(dst, src []float32, left, right float32) {
	for len(dst) >= 8 && len(src) >= 8 {
		dst[0] += src[0] * left
		dst[1] += src[1] * right
		dst[2] += src[2] * left
		dst[3] += src[3] * right
		dst[4] += src[4] * left
		dst[5] += src[5] * right
		dst[6] += src[6] * left
		dst[7] += src[7] * right
		dst, src = dst[8:], src[8:]
	}
	for len(dst) >= 2 && len(src) >= 2 {
		dst[0] += src[0] * left
		dst[1] += src[1] * right
		dst, src = dst[2:], src[2:]
	}
	if len(dst) == 1 && len(src) == 1 {
		dst[0] += src[0] * left
	}
}

// plainAddMono adds src, which is half as long, to dst.
func plainAddMono(dst, src []float32, left, right float32) {
	for len(dst) >= 8 && len(src) >= 4 {
		dst[0] += src[0] * left
		dst[1] += src[0] * right
		dst[2] += src[1] * left
		dst[3] += src[1] * right
		dst[4] += src[2] * left
		dst[5] += src[2] * right
		dst[6] += src[3] * left
		dst[7] += src[3] * right
		dst, src = dst[8:], src[4:]
	}
	for len(dst) >= 2 && len(src) >= 1 {
		dst[0] += src[0] * left
		dst[1] += src[0] * right
		dst, src = dst[2:], src[1:]
	}
}

// plainPeak is the largest magnitude of even and of odd samples.
func plainPeak(src []float32) (left, right float32) {
	// Magnitudes have the order of their bits, and integers are compared without branches.
	var a, b, c, d uint32
	for len(src) >= 4 {
		a = max(a, magnitude(src[0]))
		b = max(b, magnitude(src[1]))
		c = max(c, magnitude(src[2]))
		d = max(d, magnitude(src[3]))
		src = src[4:]
	}
	for i, x := range src {
		if i%2 == 0 {
			a = max(a, magnitude(x))
		} else {
			b = max(b, magnitude(x))
		}
	}
	return math.Float32frombits(max(a, c)), math.Float32frombits(max(b, d))
}

// magnitude is the bits of x without its sign.
func magnitude(x float32) uint32 { return math.Float32bits(x) &^ (1 << 31) }

// plainEnergy is the sum of squares of even and of odd samples.
func plainEnergy(src []float32) (left, right float32) {
	var a, b, c, d float32
	for len(src) >= 4 {
		a += src[0] * src[0]
		b += src[1] * src[1]
		c += src[2] * src[2]
		d += src[3] * src[3]
		src = src[4:]
	}
	for i, x := range src {
		if i%2 == 0 {
			a += x * x
		} else {
			b += x * x
		}
	}
	return a + c, b + d
}
