// Package wav writes and reads the heads of WAV files.
package wav

import "io"

// A File is what a Writer writes to: an *os.File is one.
type File interface {
	io.Writer
	io.WriterAt
}

// A Writer writes a WAV file whose header is true at every moment: it never claims more than is in the file, whenever the writing ends.
type Writer struct{}

// NewWriter writes the header of an empty WAV file at the beginning of f, which is empty. The word is that of a format, as s16c2r44100;
// a WAV file can hold u8, s9 to s32, f32, f64, a8 and m8.
func NewWriter(f File, word string) (*Writer, error) { return nil, nil }

// Write appends samples, as they are in the format. The header counts whole frames.
func (w *Writer) Write(p []byte) (int, error) { return 0, nil }

// Close ends the file: odd data gets its pad byte. It does not close the File.
func (w *Writer) Close() error { return nil }
