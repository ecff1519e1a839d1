package decode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jfreymuth/vorbis"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// decodeVorbis decodes one logical stream of an Ogg file that holds Vorbis. The pages are read here and not by the library's own Ogg
// reader, since it reads beyond the file's end, keeps what it should skip, and believes all lengths.
func decodeVorbis(r *bufio.Reader, d *decoding) error {
	if err := playVorbis(r, d); err == errStopped {
		return err
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("vorbis: the file ends before its last page")
	} else if err != nil {
		return fmt.Errorf("vorbis: %w", err)
	}
	return nil
}

func playVorbis(r *bufio.Reader, d *decoding) error {
	o := &oggReader{r: r}
	first, err := vorbisStream(o)
	if err != nil {
		return err
	}
	channels, rate := int(first[11]), int(first[12])|int(first[13])<<8|int(first[14])<<16|int(first[15]&0x7f)<<24
	short, long := 1<<(first[28]&15), 1<<(first[28]>>4)
	if channels < 1 || channels > 8 {
		return fmt.Errorf("%d channels: files may have 1 to 8", channels)
	}
	if short < 64 || long < short || long > 8192 {
		return fmt.Errorf("blocks of %d and %d samples: there are 64 to 8192", short, long)
	}
	var l layout
	if channels > 2 {
		l = speakersLayout(vorbisOrder[channels])
	}
	if err := d.begin("vorbis", pcm.Format{Encoding: pcm.Float, Bits: 32, Channels: channels, Rate: rate}, l); err != nil {
		return err
	}

	v := &vorbisDecoder{d: d, channels: channels}
	if err := v.dec.ReadHeader(first); err != nil {
		return err
	}
	for headers := 1; ; {
		packet, err := o.packet()
		if err != nil {
			return err
		}
		switch {
		case packet == nil:
			if err := v.pageEnd(o); err != nil {
				return err
			}
			if o.flags&oggLast != 0 {
				return nil
			}
			if err := o.page(); err != nil {
				return err
			}
			v.pageBegin(o, headers == 3)
		case headers == 1 && isComment(packet):
			headers = 2 // the library would believe how many there are
		case headers == 2 && strings.HasPrefix(string(packet), "\x05vorbis"):
			tables, err := saneSetup(packet[7:])
			if err != nil {
				return err
			}
			if err := v.dec.ReadHeader(append(packet[:7:7], tables...)); err != nil {
				return err
			}
			v.buf = make([]float32, v.dec.BufferSize())
			headers = 3
		case headers < 3:
			return errors.New("its three heads are not the first packets")
		default:
			if err := v.packet(packet); err != nil {
				return err
			}
		}
	}
}

// vorbisStream finds the logical stream that is Vorbis among the first pages, each of which begins one, and returns its first packet.
func vorbisStream(o *oggReader) ([]byte, error) {
	holds := ""
	for {
		if err := o.page(); err != nil {
			return nil, err
		}
		if o.flags&oggFirst == 0 {
			if holds == "" {
				return nil, errors.New("its first page is missing")
			}
			return nil, fmt.Errorf("the Ogg file holds %s instead", holds)
		}
		packet, err := o.packet()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(string(packet), "\x01vorbis") {
			if len(packet) < 30 {
				return nil, errors.New("its first head is too short")
			}
			o.chosen = true
			return packet, nil
		}
		name := "something unknown"
		for magic, n := range map[string]string{"OpusHead": "Opus", "\x7fFLAC": "FLAC", "Speex   ": "Speex", "\x80theora": "Theora"} {
			if strings.HasPrefix(string(packet), magic) {
				name = n
			}
		}
		if holds == "" || holds == "something unknown" {
			holds = name
		}
	}
}

// A vorbisDecoder counts frames, to leave out what the pages say was never there: the granule position of a page is the number of frames
// up to its end, and the first and the last page may count fewer than their packets have (Vorbis I, A.2).
type vorbisDecoder struct {
	d        *decoding
	dec      vorbis.Decoder
	channels int
	buf      []float32
	sounding bool  // the first page of sound has come
	opening  bool  // this is it
	last     bool  // this is the last
	position int64 // frames up to here, as the pages count
	granule  int64 // of the page
	held     []float32
}

// maxOpening bounds the first page of sound, in samples: what is longer is played from its beginning.
const maxOpening = 1 << 18

func (v *vorbisDecoder) pageBegin(o *oggReader, sound bool) {
	v.last = o.flags&oggLast != 0
	v.granule = o.granule
	if sound && !v.sounding && !v.last {
		v.sounding, v.opening = true, true
	}
}

func (v *vorbisDecoder) packet(packet []byte) error {
	if len(packet) == 0 {
		return nil // allowed, and nothing
	}
	x, err := v.dec.DecodeInto(packet, v.buf)
	if err != nil {
		return err
	}
	if v.opening {
		if v.held = append(v.held, x...); len(v.held) < maxOpening {
			return nil
		}
		v.opening = false
		x, v.held = v.held, nil
		v.granule = -1
	}
	return v.put(x)
}

func (v *vorbisDecoder) put(x []float32) error {
	frames := int64(len(x) / v.channels)
	if v.last && v.granule >= 0 {
		frames = min(frames, max(0, v.granule-v.position))
	}
	v.position += frames
	return v.d.put(x[:frames*int64(v.channels)])
}

// pageEnd is called behind the last packet of a page.
func (v *vorbisDecoder) pageEnd(o *oggReader) error {
	if !v.opening {
		if v.sounding && v.granule >= 0 {
			v.position = v.granule
		}
		return nil
	}
	v.opening = false
	x := v.held
	v.held = nil
	if skip := int64(len(x)/v.channels) - v.granule; v.granule >= 0 && skip > 0 {
		x = x[min(int64(len(x)), skip*int64(v.channels)):]
	}
	if err := v.put(x); err != nil {
		return err
	}
	if v.granule >= 0 {
		v.position = v.granule
	}
	return nil
}
