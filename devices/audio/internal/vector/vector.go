// Package vector has the loops of the mixer: without branches, unrolled where it pays, their bounds checks outside. Sound is float32;
// stereo is interleaved, left first. Where dst and src have different lengths, the frames that both have are done. dst and src are the
// same or do not overlap.
package vector

// Add adds src times gain to dst, sample by sample.
func Add(dst, src []float32, gain float32) {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for len(dst) >= 8 && len(src) >= 8 {
		dst[0] += src[0] * gain
		dst[1] += src[1] * gain
		dst[2] += src[2] * gain
		dst[3] += src[3] * gain
		dst[4] += src[4] * gain
		dst[5] += src[5] * gain
		dst[6] += src[6] * gain
		dst[7] += src[7] * gain
		dst, src = dst[8:], src[8:]
	}
	for len(dst) > 0 && len(src) > 0 {
		dst[0] += src[0] * gain
		dst, src = dst[1:], src[1:]
	}
}

// AddStereo adds stereo src to stereo dst, the left channel times left, the right one times right.
func AddStereo(dst, src []float32, left, right float32) {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
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
}

// AddMono adds mono src to stereo dst, times left and times right.
func AddMono(dst, src []float32, left, right float32) {
	n := min(len(dst)/2, len(src))
	dst, src = dst[:2*n], src[:n]
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

// A Ramp is a gain on its way: it is From at the first frame, and To at the frame after the last, a straight line between.
type Ramp struct{ From, To float32 }

// step is how much the gain grows from one of n frames to the next.
func (r Ramp) step(n int) float32 { return (r.To - r.From) / float32(n) }

// RampStereo is AddStereo with gains that move evenly over the frames of src.
func RampStereo(dst, src []float32, left, right Ramp) {
	n := min(len(dst), len(src)) / 2
	if n == 0 {
		return
	}
	dst, src = dst[:2*n], src[:2*n]
	dl, dr := left.step(n), right.step(n)
	// The gain is computed anew for each frame, since errors of a sum of steps would grow.
	for i := float32(0); len(dst) >= 2 && len(src) >= 2; i++ {
		dst[0] += src[0] * (left.From + i*dl)
		dst[1] += src[1] * (right.From + i*dr)
		dst, src = dst[2:], src[2:]
	}
}

// RampMono is AddMono with gains that move evenly over the frames of src.
func RampMono(dst, src []float32, left, right Ramp) {
	n := min(len(dst)/2, len(src))
	if n == 0 {
		return
	}
	dst, src = dst[:2*n], src[:n]
	dl, dr := left.step(n), right.step(n)
	for i := float32(0); len(dst) >= 2 && len(src) >= 1; i++ {
		dst[0] += src[0] * (left.From + i*dl)
		dst[1] += src[0] * (right.From + i*dr)
		dst, src = dst[2:], src[1:]
	}
}

// Scale multiplies dst by gain.
func Scale(dst []float32, gain float32) {
	for len(dst) >= 8 {
		dst[0] *= gain
		dst[1] *= gain
		dst[2] *= gain
		dst[3] *= gain
		dst[4] *= gain
		dst[5] *= gain
		dst[6] *= gain
		dst[7] *= gain
		dst = dst[8:]
	}
	for i := range dst {
		dst[i] *= gain
	}
}

// Peak is the largest magnitude in src; 0 of nothing. src has no NaN.
func Peak(src []float32) float32 {
	left, right := PeakStereo(src)
	if n := len(src); n%2 == 1 {
		left = max(left, abs(src[n-1]))
	}
	return max(left, right)
}

// PeakStereo is the largest magnitude of each channel; 0 of nothing. src has no NaN.
func PeakStereo(src []float32) (left, right float32) {
	// Magnitudes have the order of their bits, and integers are compared without branches.
	var a, b, c, d uint32
	for len(src) >= 4 {
		a = max(a, magnitude(src[0]))
		b = max(b, magnitude(src[1]))
		c = max(c, magnitude(src[2]))
		d = max(d, magnitude(src[3]))
		src = src[4:]
	}
	if len(src) >= 2 {
		a = max(a, magnitude(src[0]))
		b = max(b, magnitude(src[1]))
	}
	return number(max(a, c)), number(max(b, d))
}

// EnergyStereo is the sum of the squares of each channel.
func EnergyStereo(src []float32) (left, right float64) {
	// A block is short enough for float32, many are not.
	const block = 256
	for len(src) > block {
		l, r := energy(src[:block])
		left += float64(l)
		right += float64(r)
		src = src[block:]
	}
	l, r := energy(src)
	return left + float64(l), right + float64(r)
}

func energy(src []float32) (left, right float32) {
	var a, b, c, d float32
	for len(src) >= 4 {
		a += src[0] * src[0]
		b += src[1] * src[1]
		c += src[2] * src[2]
		d += src[3] * src[3]
		src = src[4:]
	}
	if len(src) >= 2 {
		a += src[0] * src[0]
		b += src[1] * src[1]
	}
	return a + c, b + d
}
