//go:build !amd64

package pcm

func decodeS16(dst []float32, src []byte) { plainS16(dst, src) }
