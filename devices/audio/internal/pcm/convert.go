package pcm

import (
	"encoding/binary"
	"math"
)

// Loudest is the largest number that counts as sound, 120 dB above full scale. With it no sum of voices, and no filter, comes near
// infinity.
const Loudest = 1 << 20

// quietest is the smallest that does, 600 dB below full scale: what is smaller becomes 0, since processors take a hundred times as
// long over denormal numbers, and one voice of them would stop all.
const quietest = 1.0 / (1 << 100)

// Decode turns the whole samples of src into float32 and puts them in dst, until one of the two ends; a part of a sample behind the
// last whole one is left. It returns how many samples it has put there, and how many of them were no sound and are 0 now: NaN, an
// infinity, or more than Loudest.
//
// f is valid. src and dst do not overlap.
func (f Format) Decode(dst []float32, src []byte) (n, bad int) {
	n = min(len(dst), len(src)/f.SampleBytes())
	dst, src = dst[:n], src[:n*f.SampleBytes()]
	switch f.Encoding {
	case SignedLittle:
		switch f.Bits {
		case 16:
			decodeS16(dst, src)
		case 24:
			decodeS24(dst, src)
		case 32:
			decodeS32(dst, src)
		default:
			decodeInt(dst, src, f)
		}
	case SignedBig, UnsignedLittle, UnsignedBig:
		if f.Bits == 8 && f.Encoding != SignedBig {
			decodeU8(dst, src)
		} else {
			decodeInt(dst, src, f)
		}
	case Float:
		if f.Bits == 64 {
			bad = decodeF64(dst, src)
		} else {
			bad = decodeF32(dst, src)
		}
	case ALaw:
		decodeTable(dst, src, &aLaw)
	case MuLaw:
		decodeTable(dst, src, &muLaw)
	}
	return n, bad
}

// Encode turns src into samples and puts them in dst, until one of the two ends. It returns how many samples it has put there, and how
// many of them were no number and are silence now. Integers are rounded to the nearest, what is beyond full scale becomes full scale.
//
// f is valid. src and dst do not overlap.
func (f Format) Encode(dst []byte, src []float32) (n, bad int) {
	n = min(len(src), len(dst)/f.SampleBytes())
	dst, src = dst[:n*f.SampleBytes()], src[:n]
	switch f.Encoding {
	case SignedLittle:
		if f.Bits == 16 {
			bad = encodeS16(dst, src)
		} else {
			bad = encodeInt(dst, src, f)
		}
	case SignedBig, UnsignedLittle, UnsignedBig:
		bad = encodeInt(dst, src, f)
	case Float:
		bad = encodeFloat(dst, src, f.Bits)
	case ALaw:
		bad = encodeLaw(dst, src, linearToALaw)
	case MuLaw:
		bad = encodeLaw(dst, src, linearToMuLaw)
	}
	return n, bad
}

// SilenceByte is the byte that fills silence in f, for the formats where every byte of silence is the same; ok is false for the others
// (the unsigned ones of more than 8 bits).
func (f Format) SilenceByte() (b byte, ok bool) {
	switch f.Encoding {
	case UnsignedLittle, UnsignedBig:
		return 1 << ((f.Bits - 1) & 7), f.Bits <= 8
	case ALaw:
		return linearToALaw(0), true
	case MuLaw:
		return linearToMuLaw(0), true
	}
	return 0, true
}

func decodeU8(dst []float32, src []byte) {
	const scale = 1.0 / (1 << 7)
	for i := range min(len(dst), len(src)) {
		dst[i] = float32(int8(src[i]^0x80)) * scale
	}
}

// plainS16 is decodeS16 where there is no assembly for it, and for what that leaves.
func plainS16(dst []float32, src []byte) {
	const scale = 1.0 / (1 << 15)
	for len(dst) >= 4 && len(src) >= 8 {
		v := binary.LittleEndian.Uint64(src)
		dst[0] = float32(int16(v)) * scale
		dst[1] = float32(int16(v>>16)) * scale
		dst[2] = float32(int16(v>>32)) * scale
		dst[3] = float32(int16(v>>48)) * scale
		dst, src = dst[4:], src[8:]
	}
	for len(dst) > 0 && len(src) >= 2 {
		dst[0] = float32(int16(binary.LittleEndian.Uint16(src))) * scale
		dst, src = dst[1:], src[2:]
	}
}

func decodeS24(dst []float32, src []byte) {
	const scale = 1.0 / (1 << 31)
	for len(dst) > 0 && len(src) >= 3 {
		dst[0] = float32(int32(uint32(src[0])<<8|uint32(src[1])<<16|uint32(src[2])<<24)) * scale
		dst, src = dst[1:], src[3:]
	}
}

func decodeS32(dst []float32, src []byte) {
	const scale = 1.0 / (1 << 31)
	for len(dst) > 0 && len(src) >= 4 {
		dst[0] = float32(int32(binary.LittleEndian.Uint32(src))) * scale
		dst, src = dst[1:], src[4:]
	}
}

// decodeInt is for integers of any kind. The sample's bits are moved to the high end of 32: what stood above them falls out.
func decodeInt(dst []float32, src []byte, f Format) {
	const scale = 1.0 / (1 << 31)
	var (
		size = f.SampleBytes()
		big  = f.Encoding == SignedBig || f.Encoding == UnsignedBig
		flip = uint32(0) // turns an unsigned number into a signed one
	)
	if f.Encoding == UnsignedLittle || f.Encoding == UnsignedBig {
		flip = 1 << 31
	}
	shift := 32 - f.Bits
	for i := range dst {
		v := uint32(0)
		for j, b := range src[i*size : (i+1)*size] {
			if big {
				v = v<<8 | uint32(b)
			} else {
				v |= uint32(b) << (8 * j)
			}
		}
		dst[i] = float32(int32(v<<shift^flip)) * scale
	}
}

// sound bounds what floating point may say: the number, or 0 and true for what is none.
func sound(x float64) (float32, bool) {
	switch a := math.Abs(x); {
	case a < quietest:
		return 0, false
	case a <= Loudest:
		return float32(x), false
	}
	return 0, true
}

func decodeF32(dst []float32, src []byte) (bad int) {
	// A number's size is the order of its bits without the sign.
	low, high := math.Float32bits(quietest), math.Float32bits(Loudest)
	for len(dst) > 0 && len(src) >= 4 {
		v := binary.LittleEndian.Uint32(src)
		if a := v &^ (1 << 31); a-low <= high-low {
			dst[0] = math.Float32frombits(v)
		} else {
			dst[0] = 0
			if a > high {
				bad++
			}
		}
		dst, src = dst[1:], src[4:]
	}
	return bad
}

func decodeF64(dst []float32, src []byte) (bad int) {
	for len(dst) > 0 && len(src) >= 8 {
		v, none := sound(math.Float64frombits(binary.LittleEndian.Uint64(src)))
		dst[0] = v
		if none {
			bad++
		}
		dst, src = dst[1:], src[8:]
	}
	return bad
}

func decodeTable(dst []float32, src []byte, table *[256]float32) {
	for i := range min(len(dst), len(src)) {
		dst[i] = table[src[i]]
	}
}

// round is x in units of 1/full, rounded to the nearest and kept within -full and full-1; NaN becomes 0 and true.
func round(x float32, full float64) (int64, bool) {
	v := math.RoundToEven(float64(x) * full)
	switch {
	case v >= full-1:
		return int64(full) - 1, false
	case v <= -full:
		return -int64(full), false
	case v != v:
		return 0, true
	}
	return int64(v), false
}

func encodeS16(dst []byte, src []float32) (bad int) {
	// Adding 1.5 times 2^23 to a float32 below 2^22 leaves its rounded integer in the low bits.
	const magic = 3 << 22
	for len(src) > 0 && len(dst) >= 2 {
		x := src[0] * (1 << 15)
		switch {
		case x > 1<<15-1:
			x = 1<<15 - 1
		case x < -1<<15:
			x = -1 << 15
		case x != x:
			x = 0
			bad++
		}
		binary.LittleEndian.PutUint16(dst, uint16(math.Float32bits(x+magic)))
		src, dst = src[1:], dst[2:]
	}
	return bad
}

func encodeInt(dst []byte, src []float32, f Format) (bad int) {
	var (
		size     = f.SampleBytes()
		big      = f.Encoding == SignedBig || f.Encoding == UnsignedBig
		unsigned = f.Encoding == UnsignedLittle || f.Encoding == UnsignedBig
		full     = float64(int64(1) << (f.Bits - 1))
	)
	for i, x := range src {
		v, none := round(x, full)
		if none {
			bad++
		}
		if unsigned {
			v += int64(full)
		}
		for j := range size {
			b := byte(v >> (8 * j))
			if big {
				dst[(i+1)*size-1-j] = b
			} else {
				dst[i*size+j] = b
			}
		}
	}
	return bad
}

func encodeFloat(dst []byte, src []float32, bits int) (bad int) {
	for i, x := range src {
		if x-x != 0 { // NaN or an infinity
			x = 0
			bad++
		}
		if bits == 64 {
			binary.LittleEndian.PutUint64(dst[i*8:], math.Float64bits(float64(x)))
		} else {
			binary.LittleEndian.PutUint32(dst[i*4:], math.Float32bits(x))
		}
	}
	return bad
}

func encodeLaw(dst []byte, src []float32, law func(int) byte) (bad int) {
	for i, x := range src {
		v, none := round(x, 1<<15)
		if none {
			bad++
		}
		dst[i] = law(int(v))
	}
	return bad
}

// Clean makes silence of what is no sound in x, as Decode does, and returns how many samples those were.
func Clean(x []float32) (bad int) {
	low, high := math.Float32bits(quietest), math.Float32bits(Loudest)
	for i, v := range x {
		if a := math.Float32bits(v) &^ (1 << 31); a-low > high-low {
			x[i] = 0
			if a > high {
				bad++
			}
		}
	}
	return bad
}
