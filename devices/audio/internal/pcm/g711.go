package pcm

import "math/bits"

// The two laws of ITU-T G.711 squeeze a sample into a sign, three bits of exponent and four of mantissa. Linear values here have 16 bits.

// The value of each byte, full scale 1.
var aLaw, muLaw [256]float32

func init() {
	for i := range 256 {
		aLaw[i] = float32(aLawToLinear(byte(i))) / (1 << 15)
		muLaw[i] = float32(muLawToLinear(byte(i))) / (1 << 15)
	}
}

// muLawBias makes every segment of µ-law begin at a power of two.
const (
	muLawBias = 33 << 2
	muLawMax  = 8158 << 2 // what the last step begins below
)

func muLawToLinear(b byte) int {
	b = ^b
	v := (int(b&15)<<3+muLawBias)<<(b>>4&7) - muLawBias
	if b&0x80 != 0 {
		return -v
	}
	return v
}

func linearToMuLaw(v int) byte {
	sign := byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, muLawMax) + muLawBias
	segment := bits.Len(uint(v)) - 8 // the bias has 8 bits
	return ^(sign | byte(segment)<<4 | byte(v>>(segment+3))&15)
}

// A-law has its even bits inverted on the line, and its sign bit says plus.
const aLawLine = 0x55

func aLawToLinear(b byte) int {
	b ^= aLawLine
	v := int(b&15)<<4 + 8
	if segment := b >> 4 & 7; segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if b&0x80 == 0 {
		return -v
	}
	return v
}

func linearToALaw(v int) byte {
	sign := byte(0x80)
	if v < 0 {
		v, sign = -v-1, 0 // the steps lie between the values: -1 is the first below zero
	}
	v >>= 4 // 12 bits and the sign are left; the last steps of the line's 13
	segment := max(bits.Len(uint(v))-4, 0)
	if segment > 0 {
		return (sign | byte(segment)<<4 | byte(v>>(segment-1))&15) ^ aLawLine
	}
	return (sign | byte(v)) ^ aLawLine
}
