package decode

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hajimehoshi/go-mp3"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// maxMP3Frame is the largest frame that there is of layer III: 320 kbit/s at 32 kHz.
const maxMP3Frame = 1441

// An mp3Head is the head of a frame of MPEG audio, ISO 11172-3, 2.4.1.3.
type mp3Head uint32

// mp3Same are the bits that are alike in all frames of a file: version, layer and rate.
const mp3Same = 0xfffe0c00

var (
	mp3Rates    = [...]int{44100, 48000, 32000}
	mp3BitRates = [...]int{32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}
	// of MPEG 2, the low sampling frequencies
	mp3LowBitRates = [...]int{8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}
)

// valid reports whether this is the head of a frame of layer III, of a known length.
func (h mp3Head) valid() bool {
	version, layer, rate, speed, emphasis := h>>19&3, h>>17&3, h>>12&15, h>>10&3, h&3
	return h>>21 == 0x7ff && version != 1 && layer == 1 && rate != 0 && rate != 15 && speed != 3 && emphasis != 2
}

func (h mp3Head) low() bool  { return h>>19&1 == 0 } // MPEG 2 or 2.5
func (h mp3Head) mono() bool { return h>>6&3 == 3 }

func (h mp3Head) rate() int {
	r := mp3Rates[h>>10&3]
	switch h >> 19 & 3 {
	case 2:
		r /= 2
	case 0:
		r /= 4
	}
	return r
}

// size is the length of the frame in bytes.
func (h mp3Head) size() int {
	kbits, slots := mp3BitRates[h>>12&15-1], 144
	if h.low() {
		kbits, slots = mp3LowBitRates[h>>12&15-1], 72
	}
	return slots*kbits*1000/h.rate() + int(h>>9&1)
}

// frames is how many frames of sound are in it.
func (h mp3Head) frames() int {
	if h.low() {
		return 576
	}
	return 1152
}

// side is where the main data begins, or a tag instead: behind the head, the checksum and the side information.
func (h mp3Head) side() int {
	switch {
	case h.low() && h.mono():
		return 4 + 9
	case h.low() || h.mono():
		return 4 + 17
	}
	return 4 + 32
}

// identifyMP3 reports whether data begins with frames. Samples may look like the head of one, so there must be three in a row that agree;
// fewer at the end of all.
func identifyMP3(data []byte, ended bool) kind {
	var first mp3Head
	for n := 0; n < 3; n++ {
		if len(data) < 4 {
			switch {
			case !ended && begins(data):
				return more
			case ended && n > 0 && len(data) == 0:
				return isMP3
			}
			return unknown
		}
		h := mp3Head(binary.BigEndian.Uint32(data))
		if !h.valid() || n > 0 && (h^first)&mp3Same != 0 {
			return unknown
		}
		first = h
		if len(data) < h.size() {
			if ended {
				return unknown
			}
			return more
		}
		data = data[h.size():]
	}
	return isMP3
}

// begins reports whether a frame may begin with these, less than four, bytes.
func begins(b []byte) bool {
	return (len(b) < 1 || b[0] == 0xff) && (len(b) < 2 || b[1]&0xe6 == 0xe2)
}

// decodeMP3 decodes frames of MPEG audio layer III as long as they come, without what the encoder and the decoder put in front.
func decodeMP3(r *bufio.Reader, d *decoding) error {
	m := &mp3Reader{r: r}
	err := m.open()
	if err == nil {
		err = m.play(d)
	}
	if err == errStopped {
		return err
	} else if err != nil {
		return fmt.Errorf("MP3: %w", err)
	}
	return nil
}

// An mp3Reader gives the library whole frames and nothing else: tags, damage, and what comes behind the last frame it does not see.
type mp3Reader struct {
	r       *bufio.Reader
	first   mp3Head
	frame   []byte // what the library has not yet read of the latest
	buf     [maxMP3Frame]byte
	err     error // why there are no more
	start   int64 // frames of sound that are not of the sound
	length  int64 // frames of sound behind start; -1: to the end
	damaged int   // bytes that were skipped
}

// open reads the first frame, and if it is the tag of an encoder skips it.
func (m *mp3Reader) open() error {
	m.length = -1
	if err := m.next(); err != nil {
		return err
	}
	if m.first>>19&3 == 0 {
		return errors.New("MPEG 2.5 is not played: 16 kHz is the lowest rate")
	}
	tag := m.frame[min(len(m.frame), m.first.side()):]
	if len(tag) < 120 || string(tag[:4]) != "Xing" && string(tag[:4]) != "Info" {
		return nil
	}
	m.frame = nil
	flags, p := tag[7], 8
	count := int64(-1)
	if flags&1 != 0 {
		count = int64(binary.BigEndian.Uint32(tag[p:]))
		p += 4
	}
	for bit, size := range map[byte]int{2: 4, 4: 100, 8: 4} {
		if flags&bit != 0 {
			p += size
		}
	}
	if len(tag) < p+24 || tag[p] == 0 {
		return nil
	}
	// The LAME tag: 12 bits of delay and 12 of padding. The decoder adds 529 frames of delay of its own.
	const own = 529
	delay, padding := int64(tag[p+21])<<4|int64(tag[p+22]>>4), int64(tag[p+22]&15)<<8|int64(tag[p+23])
	m.start = delay + own
	if count > 0 {
		m.length = max(0, count*int64(m.first.frames())-delay-padding)
	}
	return nil
}

// play decodes what there is.
func (m *mp3Reader) play(d *decoding) error {
	channels := 2
	if m.first.mono() {
		channels = 1
	}
	f := pcm.Format{Encoding: pcm.SignedLittle, Bits: 16, Channels: channels, Rate: m.first.rate()}
	if err := d.begin("mp3", f, nil); err != nil {
		return err
	}
	dec, err := mp3.NewDecoder(m)
	if err != nil {
		return m.reason(err)
	}
	var (
		raw = make([]byte, 4*1152)
		x   = make([]float32, 2*1152)
	)
	for {
		n, err := io.ReadFull(dec, raw) // always two channels
		if n -= n % 4; n > 0 {
			frames := int64(n / 4)
			from := min(m.start, frames)
			m.start -= from
			to := frames
			if m.length >= 0 {
				to = min(frames, from+m.length)
				m.length -= to - from
			}
			y := x[:2*(to-from)]
			pcm.Default.Decode(y, raw[4*from:4*to])
			if channels == 1 {
				for i := range y[:len(y)/2] {
					y[i] = y[2*i]
				}
				y = y[:len(y)/2]
			}
			if err := d.put(y); err != nil {
				return err
			}
		}
		if err != nil {
			return m.reason(err)
		}
	}
}

// reason is why the library has come to an end; nil where the file has.
func (m *mp3Reader) reason(err error) error {
	if m.err != nil && m.err != io.EOF {
		return m.err
	}
	if m.err == nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	return nil
}

// Read gives the library the next bytes of a frame.
func (m *mp3Reader) Read(p []byte) (int, error) {
	if len(m.frame) == 0 {
		if err := m.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.frame)
	m.frame = m.frame[n:]
	return n, nil
}

// maxDamage is how far the next frame may be behind damage.
const maxDamage = 1 << 16

// next reads a frame. io.EOF is the end of the file, which may be before something else.
func (m *mp3Reader) next() error {
	if m.err == nil {
		m.err = m.read()
	}
	return m.err
}

func (m *mp3Reader) read() error {
	for skipped := 0; skipped < maxDamage; skipped++ {
		b, err := m.r.Peek(4)
		if err != nil {
			if err == io.EOF {
				m.r.Discard(len(b))
			}
			return err
		}
		h := mp3Head(binary.BigEndian.Uint32(b))
		if h.valid() && (m.first == 0 || (h^m.first)&mp3Same == 0) && (skipped == 0 || m.follows(h)) {
			if m.first == 0 {
				m.first = h
			}
			if n, err := io.ReadFull(m.r, m.buf[:h.size()]); err != nil {
				if n > 0 && err == io.ErrUnexpectedEOF {
					return errors.New("the file ends within a frame")
				}
				return err
			}
			m.frame = m.buf[:h.size()]
			return nil
		}
		if m.end(b) {
			return io.EOF
		}
		m.r.Discard(1)
		m.damaged++
	}
	return fmt.Errorf("no frame in %d bytes", maxDamage)
}

// follows reports whether another frame comes behind the one that h is the head of, or the end.
func (m *mp3Reader) follows(h mp3Head) bool {
	b, err := m.r.Peek(h.size() + 4)
	if err != nil {
		return err == io.EOF && len(b) == h.size()
	}
	next := mp3Head(binary.BigEndian.Uint32(b[h.size():]))
	return next.valid() && (next^h)&mp3Same == 0
}

// end reports whether b begins what stands behind the frames: a tag, or another file.
func (m *mp3Reader) end(b []byte) bool {
	switch string(b) {
	case "APET", "LYRI", "RIFF", "fLaC", "OggS":
		return true
	}
	return string(b[:3]) == "TAG" || string(b[:3]) == "ID3"
}
