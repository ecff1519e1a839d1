// Package vector has the loops of the mixer, as fast as they can be: on amd64 in assembly, elsewhere unrolled Go. Sound is float32; stereo is
// interleaved, left first. Where dst and src have different lengths, the frames that both have are done. dst and src are the same or do
// not overlap.
package vector

// Add adds src times gain to dst, sample by sample.
func Add(dst, src []float32, gain float32) {
	n := min(len(dst), len(src))
	whole := n &^ 7
	addBlocks(dst[:whole], src[:whole], gain, gain)
	plainAdd(dst[whole:n], src[whole:n], gain, gain)
}

// AddStereo adds stereo src to stereo dst, the left channel times left, the right one times right.
func AddStereo(dst, src []float32, left, right float32) {
	n := min(len(dst), len(src)) &^ 1
	whole := n &^ 7
	addBlocks(dst[:whole], src[:whole], left, right)
	plainAdd(dst[whole:n], src[whole:n], left, right)
}

// AddMono adds mono src to stereo dst, times left and times right.
func AddMono(dst, src []float32, left, right float32) {
	n := min(len(dst)/2, len(src))
	whole := n &^ 3
	addMonoBlocks(dst[:2*whole], src[:whole], left, right)
	plainAddMono(dst[2*whole:2*n], src[whole:n], left, right)
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
	whole := len(src) &^ 7
	a, b := peakBlocks(src[:whole])
	c, d := plainPeak(src[whole:])
	return max(a, b, c, d)
}

// PeakStereo is the largest magnitude of each channel; 0 of nothing. src has no NaN.
func PeakStereo(src []float32) (left, right float32) {
	n := len(src) &^ 1
	whole := n &^ 7
	a, b := peakBlocks(src[:whole])
	c, d := plainPeak(src[whole:n])
	return max(a, c), max(b, d)
}

// EnergyStereo is the sum of the squares of each channel.
func EnergyStereo(src []float32) (left, right float64) {
	// A block is short enough for float32, many are not.
	const block = 256
	n := len(src) &^ 1
	src = src[:n]
	for len(src) >= block {
		l, r := energyBlocks(src[:block])
		left += float64(l)
		right += float64(r)
		src = src[block:]
	}
	whole := len(src) &^ 7
	a, b := energyBlocks(src[:whole])
	c, d := plainEnergy(src[whole:])
	return left + float64(a) + float64(c), right + float64(b) + float64(d)
}
