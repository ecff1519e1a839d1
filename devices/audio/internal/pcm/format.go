// Package pcm is sound as numbers: the words that name a format, and the way between bytes and float32.
//
// The words are 9front's, as pcmconv(1) and its mkpcmdesc have them: letters, each with a number behind it, in any order.
//
//	s16   signed, 16 bits, little-endian; 1 to 32 bits, in as many whole bytes as they need, the bits at the low end
//	u8    unsigned, little-endian
//	S24   signed, big-endian
//	U16   unsigned, big-endian
//	f32   IEEE 754, 32 or 64 bits, little-endian, full scale is 1
//	a8    A-law
//	m8    µ-law, as µ8
//	c2    channels, interleaved
//	r44100   frames a second
//
// A sample is one number, a frame one sample of each channel. In between all is float32, full scale from -1 to 1, interleaved: of 16
// bits, and of 24, nothing is lost on the way there and back.
package pcm

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An Encoding is how one sample is written, named as in a format's word.
type Encoding rune

// The encodings. Big and little say which byte of an integer comes first.
const (
	SignedLittle   Encoding = 's'
	UnsignedLittle Encoding = 'u'
	SignedBig      Encoding = 'S'
	UnsignedBig    Encoding = 'U'
	Float          Encoding = 'f' // IEEE 754, little-endian
	ALaw           Encoding = 'a' // ITU-T G.711
	MuLaw          Encoding = 'm' // ITU-T G.711
)

// What a format may have.
const (
	MaxChannels = 64
	MinRate     = 100
	MaxRate     = 768000
)

// A Format says what the bytes of a sound mean. The zero Format is none; Default and Parse give valid ones, and Valid tells.
type Format struct {
	Encoding Encoding
	Bits     int // that count, of a sample; it takes up whole bytes
	Channels int
	Rate     int // frames a second
}

// Default is 9front's format, s16c2r44100.
var Default = Format{Encoding: SignedLittle, Bits: 16, Channels: 2, Rate: 44100}

// Parse reads a format's word. What the word leaves out is as in Default: f32 is f32c2r44100, r48000 is s16c2r48000. The error says
// which part of the word is wrong, and what would do.
func Parse(word string) (Format, error) {
	f := Default
	if word == "" {
		return Format{}, fmt.Errorf("an empty word is no format: one looks like %v", Default)
	}
	seen := map[rune]bool{}
	for rest := word; rest != ""; {
		letter, size := utf8.DecodeRuneInString(rest)
		digits := rest[size:]
		rest = strings.TrimLeft(digits, "0123456789")
		digits = digits[:len(digits)-len(rest)]

		part := letter // for seen: a format has one encoding, whatever its letter
		switch letter {
		case 'µ', 'μ': // the micro sign and the Greek letter
			letter, part = 'm', 's'
		case 's', 'u', 'S', 'U', 'f', 'a', 'm':
			part = 's'
		case 'c', 'r':
		default:
			return Format{}, fmt.Errorf("format %q: no part of a format begins with %q; there are s u S U f a m, c for channels and r for the rate",
				word, letter)
		}
		n, err := strconv.Atoi(digits)
		if digits == "" {
			return Format{}, fmt.Errorf("format %q: %q wants a number behind it, as in %v", word, letter, Default)
		}
		if err != nil {
			return Format{}, fmt.Errorf("format %q: %s is too large a number", word, digits)
		}
		if seen[part] {
			return Format{}, fmt.Errorf("format %q: says twice how samples are %s", word, map[rune]string{'s': "encoded", 'c': "put in channels",
				'r': "timed"}[part])
		}
		seen[part] = true
		switch letter {
		case 'c':
			f.Channels = n
		case 'r':
			f.Rate = n
		default:
			f.Encoding, f.Bits = Encoding(letter), n
		}
	}
	if err := f.Valid(); err != nil {
		return Format{}, fmt.Errorf("format %q: %w", word, err)
	}
	return f, nil
}

// Valid says what is wrong with f, nil when nothing is.
func (f Format) Valid() error {
	switch f.Encoding {
	case SignedLittle, UnsignedLittle, SignedBig, UnsignedBig:
		if f.Bits < 1 || f.Bits > 32 {
			return fmt.Errorf("integers of %d bits: there are 1 to 32", f.Bits)
		}
	case Float:
		if f.Bits != 32 && f.Bits != 64 {
			return fmt.Errorf("floating point of %d bits: there are f32 and f64", f.Bits)
		}
	case ALaw, MuLaw:
		if f.Bits != 8 {
			return fmt.Errorf("%c%d: there is %c8 only", f.Encoding, f.Bits, f.Encoding)
		}
	default:
		return fmt.Errorf("encoding %q: there are s u S U f a m", rune(f.Encoding))
	}
	if f.Channels < 1 || f.Channels > MaxChannels {
		return fmt.Errorf("%d channels: there are 1 to %d", f.Channels, MaxChannels)
	}
	if f.Rate < MinRate || f.Rate > MaxRate {
		return fmt.Errorf("rate %d: there are %d to %d frames a second", f.Rate, MinRate, MaxRate)
	}
	return nil
}

// String is the word of f, with all its parts.
func (f Format) String() string {
	return fmt.Sprintf("%c%dc%dr%d", rune(f.Encoding), f.Bits, f.Channels, f.Rate)
}

// SampleBytes is how many bytes one sample takes.
func (f Format) SampleBytes() int { return (f.Bits + 7) / 8 }

// FrameBytes is how many bytes one frame takes.
func (f Format) FrameBytes() int { return f.SampleBytes() * f.Channels }
