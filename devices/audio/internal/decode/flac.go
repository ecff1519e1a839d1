package decode

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/mewkiz/flac"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// decodeFLAC decodes a FLAC file. Where the head does not say how long it is, it ends where no frame begins.
func decodeFLAC(r *bufio.Reader, d *decoding) error {
	stream, err := flac.New(r)
	if err != nil {
		return flacError(err, "its head")
	}
	info := stream.Info
	f := pcm.Format{Encoding: pcm.SignedLittle, Bits: int(info.BitsPerSample), Channels: int(info.NChannels), Rate: int(info.SampleRate)}
	if f.Bits > 24 { // the library knows no frames of them
		return fmt.Errorf("FLAC: samples of %d bits are not played: those of up to 24 are", f.Bits)
	}
	if err := d.begin("flac", f, layoutOf(f.Channels)); err != nil {
		return fmt.Errorf("FLAC: %w", err)
	}
	x := make([]float32, 0, block)
	for done := uint64(0); info.NSamples == 0 || done < info.NSamples; {
		where := fmt.Sprintf("frame %d", done)
		if info.NSamples > 0 {
			where += fmt.Sprintf(" of %d", info.NSamples)
		}
		head, err := r.Peek(2)
		switch {
		case err != nil && err != io.EOF:
			return flacError(err, where)
		case info.NSamples == 0 && (len(head) < 2 || !flacSync(head)):
			return nil
		case err == io.EOF:
			return flacError(io.ErrUnexpectedEOF, where)
		}
		frame, err := stream.Next()
		if err != nil {
			return flacError(err, where)
		}
		if frame.BitsPerSample == 0 {
			frame.BitsPerSample = info.BitsPerSample
		}
		if err := frame.Parse(); err != nil {
			return flacError(err, where)
		}
		if len(frame.Subframes) != f.Channels {
			return fmt.Errorf("FLAC: %s has %d channels, the file %d", where, len(frame.Subframes), f.Channels)
		}
		n := len(frame.Subframes[0].Samples)
		if n == 0 {
			return fmt.Errorf("FLAC: %s is empty", where)
		}
		if info.NSamples > 0 {
			n = int(min(uint64(n), info.NSamples-done))
		}
		scale := 1 / float32(uint64(1)<<(frame.BitsPerSample-1))
		for i := 0; i < n; {
			part := min(n-i, block/f.Channels)
			x = x[:part*f.Channels]
			for c, sub := range frame.Subframes {
				for j, v := range sub.Samples[i : i+part] {
					x[j*f.Channels+c] = float32(v) * scale
				}
			}
			if err := d.put(x); err != nil {
				return err
			}
			i += part
		}
		done += uint64(n)
	}
	return nil
}

// flacSync reports whether a frame begins with these two bytes.
func flacSync(b []byte) bool { return b[0] == 0xff && b[1]&0xfc == 0xf8 }

// flacError says what was wrong where.
func flacError(err error, where string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("FLAC: the file ends within %s", where)
	}
	return fmt.Errorf("FLAC: %s: %w", where, err)
}
