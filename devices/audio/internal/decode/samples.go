package decode

import (
	"bytes"
	"math"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// samples is what the state playing needs to know.
type samples struct {
	format pcm.Format
	layout layout
	sound  Sound // of out
	left   int64 // bytes to the end of a WAV file's data, or unknownSize
	file   bool  // of a WAV file
	pad    bool  // a byte follows the data
}

// unknownSize is for data that goes on until it ends.
const unknownSize = math.MaxInt64

// block is how many samples are converted at a time.
const block = 4096

// play goes on to samples. mu is held, or the stream is not known to others yet.
func (s *Stream) play(kind string, f pcm.Format, l layout, left int64) {
	s.state = playing
	s.samples = samples{format: f, layout: l, sound: Sound{min(f.Channels, 2), f.Rate}, left: left, file: kind != "raw"}
	s.status.Kind, s.status.Format = kind, f
}

// convert decodes samples as far as there is room.
func (s *Stream) convert(data []byte) (n int, again bool) {
	p := &s.samples
	if p.left == 0 {
		s.wav.played = true
		s.state = wavSkip
		s.wav.skip = 0
		if p.pad {
			s.wav.skip = 1
		}
		return 0, true
	}
	if int64(len(data)) > p.left {
		data = data[:p.left]
	}
	if p.file && p.left == unknownSize {
		head := nextHead(data, s.ended)
		if head == 0 && len(data) >= 12 {
			s.wav.played = true
			s.state, s.after = start, true
			return 0, true
		}
		data = data[:head]
	}
	size := p.format.FrameBytes()
	frames := min(len(data)/size, s.room(), max(1, block/p.format.Channels))
	if frames <= 0 {
		if p.left < int64(size) { // data that is no whole number of frames
			p.left -= int64(len(data))
			return len(data), p.left == 0
		}
		return 0, false
	}
	n = frames * size
	if p.layout == nil {
		a, b := s.out.extend(frames*p.format.Channels, p.sound)
		cut := len(a) * p.format.SampleBytes()
		_, bad := p.format.Decode(a, data[:cut])
		_, more := p.format.Decode(b, data[cut:n])
		s.status.Bad += int64(bad + more)
	} else {
		if s.converted == nil {
			s.converted = make([]float32, block)
		}
		x := s.converted[:frames*p.format.Channels]
		_, bad := p.format.Decode(x, data)
		s.status.Bad += int64(bad)
		s.out.write(p.layout.mix(x, x), p.sound)
	}
	if p.left != unknownSize {
		p.left -= int64(n)
	}
	return n, true
}

// nextHead is where the next WAV file begins in the data of one that does not say how long it is, or may begin, if the end cuts it off;
// else len(data).
func nextHead(data []byte, ended bool) int {
	const magic = "RIFF"
	for from := 0; ; {
		i := bytes.Index(data[from:], []byte(magic))
		if i < 0 {
			break
		}
		i += from
		if len(data)-i < 12 {
			if ended {
				return len(data)
			}
			return i
		}
		if string(data[i+8:i+12]) == "WAVE" {
			return i
		}
		from = i + 1
	}
	if !ended {
		for n := min(len(magic)-1, len(data)); n > 0; n-- {
			if string(data[len(data)-n:]) == magic[:n] {
				return len(data) - n
			}
		}
	}
	return len(data)
}
