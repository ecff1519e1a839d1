package resample

// dotMono is the sum of h[i]*x[i]. h is a multiple of 8 long, and x as long as h.
//
//go:noescape
func dotMono(h, x []float32) float32

// dotStereo is dotMono for both channels of x, which is twice as long as h.
//
//go:noescape
func dotStereo(h, x []float32) (left, right float32)
