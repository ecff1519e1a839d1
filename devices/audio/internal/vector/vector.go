// Package vector has the loops of the mixer: short, without branches, unrolled where it pays, their bounds checks outside. Sound is
// float32; stereo is interleaved, left first. Lengths are the callers' promise: src is not longer than what it is added to.
package vector

// Add adds src times gain to dst, sample by sample.
func Add(dst, src []float32, gain float32) {}

// AddStereo adds stereo src to stereo dst, the left channel times left, the right one times right.
func AddStereo(dst, src []float32, left, right float32) {}

// AddMono adds mono src to stereo dst, times left and times right.
func AddMono(dst, src []float32, left, right float32) {}

// A Ramp is a gain on its way: it is From at the first frame, and To at the frame after the last.
type Ramp struct{ From, To float32 }

// RampStereo is AddStereo with gains that move evenly over the frames of src.
func RampStereo(dst, src []float32, left, right Ramp) {}

// RampMono is AddMono with gains that move evenly over the frames of src.
func RampMono(dst, src []float32, left, right Ramp) {}

// Scale multiplies dst by gain.
func Scale(dst []float32, gain float32) {}

// Peak is the largest magnitude in src; 0 of nothing.
func Peak(src []float32) float32 { return 0 }

// PeakStereo is the largest magnitude of each channel.
func PeakStereo(src []float32) (left, right float32) { return 0, 0 }

// EnergyStereo is the sum of the squares of each channel.
func EnergyStereo(src []float32) (left, right float64) { return 0, 0 }
