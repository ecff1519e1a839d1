package pcm

// decodeS16Blocks is decodeS16 in assembly. dst is a multiple of eight samples long, and src has as many.
//
//go:noescape
func decodeS16Blocks(dst []float32, src []byte)

func decodeS16(dst []float32, src []byte) {
	n := len(dst) &^ 7
	decodeS16Blocks(dst[:n], src[:2*n])
	plainS16(dst[n:], src[2*n:])
}
