//go:build !amd64

package resample

// dotMono is the sum of h[i]*x[i]. h is a multiple of 8 long, and x as long as h.
func dotMono(h, x []float32) float32 { return plainMono(h, x) }

// dotStereo is dotMono for both channels of x, which is twice as long as h.
func dotStereo(h, x []float32) (left, right float32) { return plainStereo(h, x) }
