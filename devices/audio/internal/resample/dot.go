package resample

// The sums of products that all the time goes into. On amd64 there are faster ones in assembly, which are held against these.
//
// Several sums run side by side, since an addition takes four times as long as until the next may begin.

// plainMono is dotMono.
func plainMono(h, x []float32) float32 {
	var a, b, c, d float32
	for len(h) >= 8 && len(x) >= 8 {
		a += h[0] * x[0]
		b += h[1] * x[1]
		c += h[2] * x[2]
		d += h[3] * x[3]
		a += h[4] * x[4]
		b += h[5] * x[5]
		c += h[6] * x[6]
		d += h[7] * x[7]
		h, x = h[8:], x[8:]
	}
	return (a + b) + (c + d)
}

// plainStereo is dotStereo.
func plainStereo(h, x []float32) (left, right float32) {
	var la, lb, lc, ld, ra, rb, rc, rd float32
	for len(h) >= 4 && len(x) >= 8 {
		la += h[0] * x[0]
		ra += h[0] * x[1]
		lb += h[1] * x[2]
		rb += h[1] * x[3]
		lc += h[2] * x[4]
		rc += h[2] * x[5]
		ld += h[3] * x[6]
		rd += h[3] * x[7]
		h, x = h[4:], x[8:]
	}
	return (la + lb) + (lc + ld), (ra + rb) + (rc + rd)
}

// dotStrided is the sum of h[i]*x[i*stride].
func dotStrided(h, x []float32, stride int) float32 {
	var sum float32
	for i, c := range h {
		sum += c * x[i*stride]
	}
	return sum
}
