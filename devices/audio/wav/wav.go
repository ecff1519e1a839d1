// Package wav writes WAV files that are whole at every moment: whenever the writing ends, by Close, by a crash or by kill -9, the header
// says what is in the file.
//
// The samples are appended first, and then the header is written anew to count them. So it never claims more than there is; samples that
// came last may stand behind those it counts, where readers skip them.
//
// A file of more than 4 GiB turns into RF64 (EBU Tech 3306) on the way: the place for its longer lengths is kept free in the header from
// the beginning, in a chunk of junk.
package wav

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// A Writer writes one WAV file. It is used by one goroutine at a time.
type Writer struct {
	file    io.WriterAt
	format  pcm.Format
	written int64 // bytes of samples
	header  []byte
}

// NewWriter writes the header of an empty WAV file at the beginning of file, which has nothing in it and is not open for appending. word is
// the format of the samples, one that WAV can hold: u8, s16, s24, s32, f32, f64, a8 or m8, as s16c2r44100.
func NewWriter(file io.WriterAt, word string) (*Writer, error) {
	f, err := pcm.Parse(word)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file, format: f}
	if w.header, err = header(f); err != nil {
		return nil, err
	}
	if err := w.count(); err != nil {
		return nil, err
	}
	return w, nil
}

// Write appends samples, as bytes in the file's format, cut anywhere. The header counts whole frames. Of an error the Writer knows how far
// it got: what is written next comes behind that.
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, int64(len(w.header))+w.written)
	w.written += int64(n)
	if e := w.count(); err == nil {
		err = e
	}
	return n, err
}

// Frames is how many frames the header counts.
func (w *Writer) Frames() int64 { return w.whole() / int64(w.format.FrameBytes()) }

// Close ends the file: data of an odd length gets the byte that pads it. It does not close the file.
func (w *Writer) Close() error {
	w.written -= w.written % int64(w.format.FrameBytes())
	if w.written%2 == 0 {
		return nil
	}
	if _, err := w.file.WriteAt([]byte{0}, int64(len(w.header))+w.written); err != nil {
		return err
	}
	return w.put(w.written)
}

// whole is how many bytes the header counts: whole frames, and an even number, since the byte that pads an odd one comes with Close.
func (w *Writer) whole() int64 {
	frame := int64(w.format.FrameBytes())
	n := w.written - w.written%frame
	if n%2 == 1 {
		n -= frame
	}
	return n
}

func (w *Writer) count() error { return w.put(w.whole()) }

// Where the header has what.
const (
	riffSize = 4
	junk     = 12 // the chunk that becomes ds64
	junkSize = 28
	limit    = 1<<32 - 1
)

// put writes the header for so many bytes of samples, in one write.
func (w *Writer) put(data int64) error {
	le := binary.LittleEndian
	h := w.header
	riff := int64(len(h)) - 8 + data + data%2
	if riff >= limit {
		copy(h, "RF64")
		copy(h[junk:], "ds64")
		le.PutUint64(h[junk+8:], uint64(riff))
		le.PutUint64(h[junk+16:], uint64(data))
		le.PutUint64(h[junk+24:], uint64(data)/uint64(w.format.FrameBytes()))
		riff, data = limit, limit
	}
	le.PutUint32(h[riffSize:], uint32(riff))
	le.PutUint32(h[len(h)-4:], uint32(data))
	_, err := w.file.WriteAt(h, 0)
	return err
}

// header is a header without lengths.
func header(f pcm.Format) ([]byte, error) {
	code := uint16(1)
	switch {
	case f.Encoding == pcm.UnsignedLittle && f.Bits == 8:
	case f.Encoding == pcm.SignedLittle && f.Bits > 8 && f.Bits%8 == 0:
	case f.Encoding == pcm.Float:
		code = 3
	case f.Encoding == pcm.ALaw:
		code = 6
	case f.Encoding == pcm.MuLaw:
		code = 7
	default:
		return nil, fmt.Errorf("a WAV file cannot hold %v: it can u8, s16, s24, s32, f32, f64, a8 and m8", f)
	}
	le := binary.LittleEndian
	b := append([]byte("RIFF\x00\x00\x00\x00WAVEJUNK"), junkSize, 0, 0, 0)
	b = append(b, make([]byte, junkSize)...)
	b = append(b, "fmt "...)
	extensible := code == 1 && f.Bits > 16 || f.Channels > 2
	if extensible {
		b = le.AppendUint32(b, 40)
		b = le.AppendUint16(b, 0xfffe)
	} else {
		b = le.AppendUint32(b, 16)
		b = le.AppendUint16(b, code)
	}
	b = le.AppendUint16(b, uint16(f.Channels))
	b = le.AppendUint32(b, uint32(f.Rate))
	b = le.AppendUint32(b, uint32(f.Rate*f.FrameBytes()))
	b = le.AppendUint16(b, uint16(f.FrameBytes()))
	b = le.AppendUint16(b, uint16(f.Bits))
	if extensible {
		b = le.AppendUint16(b, 22)
		b = le.AppendUint16(b, uint16(f.Bits))
		b = le.AppendUint32(b, 0) // which channel is for which speaker is not known
		b = le.AppendUint16(b, code)
		b = append(b, "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"...)
	}
	return append(b, "data\x00\x00\x00\x00"...), nil
}
