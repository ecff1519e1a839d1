package vector

import "math"

// magnitude is the bits of x without its sign.
func magnitude(x float32) uint32 { return math.Float32bits(x) &^ (1 << 31) }

// number is the inverse of magnitude.
func number(bits uint32) float32 { return math.Float32frombits(bits) }

func abs(x float32) float32 { return number(magnitude(x)) }
