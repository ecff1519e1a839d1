package decode

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// A wavHead is what is known of a WAV file: a RIFF of chunks, each an id of four letters, a length, and as many bytes, padded to an even
// number. The format chunk comes before the data chunk, all others are skipped, before and behind the data. Lengths lie: a program that
// writes into a pipe, or was killed, leaves 0, 0xffffffff or something near 2 GiB. So the file's own length only counts behind the data.
type wavHead struct {
	skip     int64 // bytes, in states wavSkip and tag
	left     int64 // of the RIFF, behind the chunks that were seen
	format   pcm.Format
	layout   layout
	length64 int64 // of the data, as ds64 says; 0 when nothing does
	played   bool  // the data has come to its end
}

// unknownFrom is the smallest length that is taken for none: what programs write that do not know, sox 0x7ffff024 and others 0xffffffff.
const unknownFrom = 0x7ff00000

// wavBegin reads the 12 bytes that recognise has seen, and returns that many.
func (s *Stream) wavBegin(data []byte) int {
	s.wav.left = int64(binary.LittleEndian.Uint32(data[4:])) - 4
	if string(data[:4]) != "RIFF" || s.wav.left <= 0 || s.wav.left >= unknownFrom {
		s.wav.left = unknownSize
	}
	return 12
}

// wavStep reads the head of a chunk, or what it needs of it.
func (s *Stream) wavStep(data []byte) (n int, again bool) {
	w := &s.wav
	switch s.state {
	case wavFmt:
		size := int(min(w.skip, 40))
		if len(data) < size {
			return 0, false
		}
		var err error
		if w.format, w.layout, err = wavFormat(data[:size]); err != nil {
			s.fail(fmt.Errorf("WAV: %w", err))
			return 0, true
		}
		s.state = wavSkip
		return 0, true
	case wavDS64:
		if len(data) < 16 {
			return 0, false
		}
		w.length64 = int64(binary.LittleEndian.Uint64(data[8:]) &^ (1 << 63))
		s.state = wavSkip
		return 0, true
	}

	if w.played && w.left < 8 {
		s.state, s.after = start, true
		return 0, true
	}
	if len(data) < 8 {
		return 0, false
	}
	id, length := string(data[:4]), int64(binary.LittleEndian.Uint32(data[4:]))
	if w.played && (id == "RIFF" || id == "RF64" || id == "BW64" || id == "fLaC" || id == "OggS") {
		s.state, s.after = start, true // the file's length was a lie
		return 0, true
	}
	padded := length + length&1
	if w.left != unknownSize {
		w.left -= 8 + padded
	}
	w.skip = padded
	s.state = wavSkip
	switch {
	case id == "fmt ":
		if length < 16 {
			s.fail(fmt.Errorf("WAV: a format of %d bytes: there are at least 16", length))
			return 0, true
		}
		s.state = wavFmt
	case id == "ds64" && length >= 16:
		s.state = wavDS64
	case id == "data" && w.format == pcm.Format{}:
		s.fail(errors.New("WAV: the data comes before its format"))
		return 0, true
	case id == "data" && !w.played:
		if length == 0xffffffff && w.length64 > 0 {
			length = w.length64
		} else if length >= unknownFrom || length == 0 && (w.left <= 0 || w.left == unknownSize) {
			length = unknownSize // 0 is true where something comes behind the data
		}
		s.play("wav", w.format, w.layout, length)
		s.samples.pad = length != unknownSize && length&1 == 1
	}
	return 8, true
}

// The format tags of WAV files, and the identifier that WAVE_FORMAT_EXTENSIBLE has one of them in front of.
const (
	tagPCM        = 1
	tagFloat      = 3
	tagALaw       = 6
	tagMuLaw      = 7
	tagExtensible = 0xfffe
	tagGUID       = "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
)

// wavFormat reads a format chunk of at least 16 bytes.
func wavFormat(b []byte) (pcm.Format, layout, error) {
	le := binary.LittleEndian
	var (
		code     = int(le.Uint16(b))
		channels = int(le.Uint16(b[2:]))
		rate     = le.Uint32(b[4:])
		frame    = int(le.Uint16(b[12:]))
		bits     = int(le.Uint16(b[14:]))
		mask     = uint32(0)
	)
	if code == tagExtensible {
		if len(b) < 40 {
			return pcm.Format{}, nil, fmt.Errorf("an extensible format of %d bytes: there are at least 40", len(b))
		}
		if string(b[26:40]) != tagGUID {
			return pcm.Format{}, nil, fmt.Errorf("samples of kind %x are not played: PCM, floating point, A-law and µ-law are", b[24:40])
		}
		mask = le.Uint32(b[20:])
		code = int(le.Uint16(b[24:]))
	}
	// What counts is how many bytes a sample takes: fewer bits than fit stand at the high end.
	if channels > 0 && frame > 0 && frame%channels == 0 && frame/channels <= 8 {
		bits = 8 * (frame / channels)
	} else {
		bits = (bits + 7) / 8 * 8
	}
	f := pcm.Format{Bits: bits, Channels: channels, Rate: int(min(rate, 1<<30))}
	switch code {
	case tagPCM:
		f.Encoding = pcm.SignedLittle
		if bits == 8 {
			f.Encoding = pcm.UnsignedLittle
		}
	case tagFloat:
		f.Encoding = pcm.Float
	case tagALaw:
		f.Encoding = pcm.ALaw
	case tagMuLaw:
		f.Encoding = pcm.MuLaw
	default:
		return pcm.Format{}, nil, fmt.Errorf("samples of format %#x are not played: PCM, floating point, A-law and µ-law are", code)
	}
	if err := f.Valid(); err != nil {
		return pcm.Format{}, nil, err
	}
	return f, maskLayout(channels, mask), nil
}
