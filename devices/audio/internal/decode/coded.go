package decode

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// A decoder reads one file from r, which also has what comes behind it: it leaves that, and returns nil where the file ends. io.EOF from
// r says that nothing more will be written, errStopped that nobody wants to hear the file any more.
type decoder func(r *bufio.Reader, d *decoding) error

// errStopped ends a decoder that has been reset or closed.
var errStopped = errors.New("the stream was reset")

// A decoding is a decoder at work: what it reads from, and where it puts its frames.
type decoding struct {
	*Stream
	number int // equal to the stream's decoder, or it must end
	layout layout
	sound  Sound
}

// decode starts a decoder, after the one before has ended. mu is held.
func (s *Stream) decode(f decoder) {
	s.state = coded
	s.err = nil
	s.status.Files++
	s.decoder++
	d := &decoding{Stream: s, number: s.decoder}
	before, done := s.done, make(chan struct{})
	s.done = done
	s.decoders.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		d.run(f)
	})
}

// run decodes one file, and hands the stream back.
func (d *decoding) run(f decoder) {
	r := bufio.NewReaderSize(d, 4096) // not smaller: flac.New would put another behind it, and read what comes behind the file
	err := d.guarded(f, r)

	d.mu.Lock()
	defer d.tell()
	defer d.mu.Unlock()
	if d.number != d.decoder {
		return
	}
	rest, _ := r.Peek(r.Buffered())
	d.consumed -= int64(len(rest))
	rest = append(rest, d.in.Bytes()...)
	d.in.Reset()
	d.in.Write(rest)

	d.state, d.after = start, true
	switch {
	case err != nil && d.ended:
		d.err = err
		d.consumed += int64(d.in.Len())
		d.in.Reset()
	case err != nil:
		d.fail(err)
	}
	d.advance()
	d.finish()
	d.settle()
}

// guarded is f, but a panic of a library is an error: what it was given was broken.
func (d *decoding) guarded(f decoder, r *bufio.Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is broken: %v", p)
		}
	}()
	return f(r, d)
}

// tell tells Changed. mu is not held.
func (d *decoding) tell() { d.change() }

// Read gives the decoder what was written. It waits for it.
func (d *decoding) Read(p []byte) (int, error) {
	d.mu.Lock()
	n, err := d.take(p)
	d.mu.Unlock()
	d.tell()
	return n, err
}

// take is Read with mu held.
func (d *decoding) take(p []byte) (int, error) {
	defer func() {
		if d.number == d.decoder {
			d.asking = false
		}
	}()
	for told := false; ; {
		if d.number != d.decoder {
			return 0, errStopped
		}
		// Who asks for the next byte has put out all it could make of those before.
		d.settleTo(d.consumed)
		if d.in.Len() > 0 {
			break
		}
		if d.ended {
			return 0, io.EOF
		}
		d.asking = true
		if !told {
			told = true
			d.mu.Unlock()
			d.tell()
			d.mu.Lock()
			continue
		}
		d.cond.Wait()
	}
	if place, ok := d.nextMark(); ok {
		p = p[:min(int64(len(p)), place-d.consumed)]
	}
	n, _ := d.in.Read(p)
	d.consumed += int64(n)
	return n, nil
}

// begin says what the file is, before the first put. What the stream cannot play is an error.
func (d *decoding) begin(kind string, f pcm.Format, l layout) error {
	if err := f.Valid(); err != nil {
		return err
	}
	d.layout = l
	d.sound = Sound{min(f.Channels, 2), f.Rate}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.number != d.decoder {
		return errStopped
	}
	d.status.Kind, d.status.Format = kind, f
	d.samples.sound = d.sound
	return nil
}

// put gives whole frames, of the channels that begin said, to the readers. It waits for room. It may change x.
func (d *decoding) put(x []float32) error {
	bad := pcm.Clean(x)
	if d.layout != nil {
		x = d.layout.mix(x, x)
	}
	for len(x) > 0 {
		n, err := d.give(x, bad)
		if err != nil {
			return err
		}
		x, bad = x[n:], 0
		d.tell()
	}
	return nil
}

// give puts at least one frame, and returns how many samples.
func (d *decoding) give(x []float32, bad int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status.Bad += int64(bad)
	for {
		if d.number != d.decoder {
			return 0, errStopped
		}
		if n := min(d.room()*d.sound.Channels, len(x)); n > 0 {
			d.out.write(x[:n], d.sound)
			return n, nil
		}
		d.cond.Wait()
	}
}
