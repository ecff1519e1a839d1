// Package decode turns the bytes that are written to a voice into sound. It knows files by their first bytes, whatever they are called,
// and takes everything else for raw samples:
//
//	WAV          "RIFF" or "RF64", and "WAVE": integers of 8 to 32 bits, floating point, A-law and µ-law, also as WAVE_FORMAT_EXTENSIBLE
//	FLAC         "fLaC"
//	Ogg Vorbis   "OggS"
//	MP3          three frames of MPEG audio layer III in a row, or an ID3 tag before them
//
// Bytes arrive cut anywhere. One file may follow another; what stands between and belongs to none is skipped, for played as samples it
// would be noise. A file of a kind that is known but cannot be played is an error, for the same reason.
//
// The life of a stream: PCM is converted where it is written, the rest by libraries that pull, each file on a goroutine of its own.
//
//	          +--> wav head --> samples --+
//	start ----+--> coded (goroutine) -----+--> start, but now what is not known is skipped
//	  |       +--> tag -------------------+
//	  +--> samples, raw, to the end       +--> failed: Err says why
package decode

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// Config says how a Stream is to be.
type Config struct {
	// Format is how the bytes are to be taken; nil: files are known by their first bytes, all else is pcm.Default.
	Format *pcm.Format

	// Hold is how long a sound may be held decoded before Write takes less than it is given; 0 is DefaultHold.
	Hold time.Duration

	// Changed, if set, is called when Write could take more or Read could give more because of work behind the stream: a decoder has
	// put out frames, taken bytes, or failed. It is called without a lock, on any goroutine, and must not wait. What Write and Read do
	// at once they do not tell.
	Changed func()
}

// DefaultHold is a Config's Hold where it says nothing.
const DefaultHold = 200 * time.Millisecond

// What a Stream holds at most.
const (
	maxHold  = 1 << 17 // frames, decoded
	maxCoded = 1 << 14 // bytes that wait for a decoder
)

// A Sound is what frames are: one or two channels, at a rate. More channels of a file have been mixed down to two.
type Sound struct {
	Channels int
	Rate     int
}

// Status is what a Stream knows of what it plays.
type Status struct {
	Kind    string     // "raw", "wav", "flac", "vorbis", "mp3"; "" before anything is known
	Format  pcm.Format // of the samples as written; of Vorbis and MP3 only the channels and the rate count
	Frames  int64      // given to readers, over all files
	Files   int        // recognised
	Bad     int64      // samples that were NaN, infinite or beyond all bounds, and became silence
	Skipped int64      // bytes between files that belong to none
}

// A Stream takes the bytes of one voice and gives frames. Its methods may be called concurrently, and none of them waits, but for Close.
// What it holds is bounded, whatever is written.
//
// A stream that has failed (a file that is broken, or cannot be played) gives what came before, and then nothing more; Write and Err
// say why, until Reset.
type Stream struct {
	change func()

	mu       sync.Mutex // guards all below
	cond     sync.Cond  // of mu: wakes the decoder, which waits for bytes or for room
	format   *pcm.Format
	hold     time.Duration
	state    state
	after    bool         // start: a file went before, what is not known is skipped
	in       bytes.Buffer // written, but not consumed: what a head lacks bytes of, and what waits for the decoder
	consumed int64        // bytes, of all that were written, that are not in in any more
	ended    bool         // nothing more will be written
	closed   bool
	out      queue
	marks    []*Mark // not yet known, in the order of the bytes
	err      error
	status   Status

	wav     wavHead // states wav*
	samples samples // state samples

	decoder   int           // counts decoders; one whose number is another must end
	done      chan struct{} // of the latest decoder: closed when it has ended
	asking    bool          // the decoder waits for bytes
	decoders  sync.WaitGroup
	converted []float32 // scratch
}

// A state is what a stream makes of the next byte.
type state int

const (
	start    state = iota // the first bytes of something
	tag                   // of an ID3 tag, wav.skip more
	wavChunk              // the head of a chunk
	wavFmt                // the format chunk
	wavDS64               // the sizes of RF64
	wavSkip               // what is of no interest, wav.skip more
	playing               // samples
	coded                 // for a decoder
	failed
)

// New returns a stream, which is to be closed.
func New(c Config) *Stream {
	s := &Stream{change: c.Changed, hold: c.Hold}
	if s.change == nil {
		s.change = func() {}
	}
	if s.hold <= 0 {
		s.hold = DefaultHold
	}
	s.cond.L = &s.mu
	s.begin(c.Format)
	return s
}

// begin sets out anew. It is called with mu held, or by New.
func (s *Stream) begin(f *pcm.Format) {
	s.format = f
	s.state, s.after = start, false
	if f != nil {
		s.play("raw", *f, layoutOf(f.Channels), unknownSize)
	}
}

// Write takes the first n bytes of p, as many as there is room for. Of n less than len(p) there is no error: it says that the stream is
// full, and after a Read, or when Changed is called, there may be room again. Parts of a sample, of a frame and of a head are kept for
// the next Write. An error is why the stream has failed, and with it n counts for nothing.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ended {
		return 0, errors.New("nothing can be written behind the end")
	}
	for len(p) > 0 && s.state != failed {
		if s.in.Len() == 0 {
			if m := s.consume(p); m > 0 {
				p, n = p[m:], n+m
				s.consumed += int64(m)
				continue
			}
		}
		m := min(len(p), s.keep()-s.in.Len())
		if m <= 0 {
			break
		}
		s.in.Write(p[:m])
		p, n = p[m:], n+m
		s.advance()
	}
	s.settle()
	if s.state == failed {
		return n, s.err
	}
	return n, nil
}

// Low reports whether it is worth while to write: there is room for a good part of what the stream holds, or Write would fail. Who writes when there is
// room for anything writes very often, and little.
func (s *Stream) Low() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == failed || s.ended:
		return true
	case s.state == playing:
		return s.room() > 0 && s.room() >= s.out.frames && s.keep() > s.in.Len()
	}
	return s.keep() > 2*s.in.Len()
}

// keep is how many bytes in may hold. mu is held.
func (s *Stream) keep() int {
	switch s.state {
	case coded:
		return maxCoded
	case playing:
		if s.room() <= 0 {
			return 0
		}
		size := s.samples.format.FrameBytes()
		if s.samples.file && s.samples.left == unknownSize { // the head of a next file, 12 bytes, may begin within a frame
			size *= (12+size-1)/size + 1
		}
		return size
	case failed:
		return 0
	}
	return maxHead
}

// room is how many frames out may take. mu is held, and the sound of out is that of what comes.
func (s *Stream) room() int {
	return max(1, min(int(s.hold.Seconds()*float64(s.samples.sound.Rate)), maxHold)) - s.out.frames
}

// advance consumes what it can of in. mu is held.
func (s *Stream) advance() {
	if s.state == coded {
		s.cond.Broadcast()
		return
	}
	if n := s.consume(s.in.Bytes()); n > 0 {
		s.in.Next(n)
		s.consumed += int64(n)
	}
	if s.state == coded {
		s.cond.Broadcast()
	}
}

// consume makes what it can of data, which begins at the next byte, and returns how many bytes it is done with. Bytes that are for a
// decoder it leaves. mu is held.
func (s *Stream) consume(data []byte) int {
	n := 0
	for {
		m, again := s.step(data[n:])
		n += m
		if !again {
			return n
		}
	}
}

// step does what the state asks for. again says that there may be more to do with the next bytes, or with none.
func (s *Stream) step(data []byte) (n int, again bool) {
	switch s.state {
	case start:
		return s.recognise(data)
	case tag, wavSkip:
		n = int(min(int64(len(data)), s.wav.skip))
		s.wav.skip -= int64(n)
		if s.wav.skip > 0 {
			return n, false
		}
		if s.state == tag {
			s.state = start
		} else {
			s.state = wavChunk
		}
		return n, true
	case wavChunk, wavFmt, wavDS64:
		return s.wavStep(data)
	case playing:
		return s.convert(data)
	case failed:
		return len(data), false
	}
	return 0, false
}

// fail ends the stream with an error. mu is held.
func (s *Stream) fail(err error) {
	s.err = err
	s.state = failed
}

// End says that nothing more will be written: a head too short to be known is taken for what it is, and a file that lacks its end is
// played as far as it goes, of which Err tells. Frames go on coming.
func (s *Stream) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.cond.Broadcast()
	s.finish()
	s.settle()
}

// finish goes on after the end has come, and when everything has been consumed says what is missing. mu is held.
func (s *Stream) finish() {
	if !s.ended || s.state == coded {
		return
	}
	s.advance()
	if s.state == coded || s.state == failed || s.state == playing && s.room() <= 0 && s.in.Len() > 0 {
		return
	}
	switch {
	case s.state == playing && s.samples.left > 0 && s.samples.left != unknownSize:
		s.err = fmt.Errorf("WAV: the file ends %d bytes before its header says", s.samples.left)
		s.samples.left = 0
	case s.state == wavChunk && !s.wav.played, s.state == wavFmt, s.state == wavDS64, s.state == wavSkip && !s.wav.played:
		s.err = errors.New("WAV: the file ends before its first sample")
	}
	s.consumed += int64(s.in.Len())
	s.in.Reset()
}

// Sound is what the next frames are; ok is false while there are none.
func (s *Stream) Sound() (sound Sound, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.sound()
}

// Read puts frames in dst, whole ones of one Sound, and returns how many and of what sound. 0 says that there are none now; Idle, Err
// and Changed tell whether some may come.
func (s *Stream) Read(dst []float32) (frames int, sound Sound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames, sound = s.out.read(dst)
	if frames == 0 {
		return 0, sound
	}
	s.status.Frames += int64(frames)
	if s.state == coded {
		s.cond.Broadcast()
	} else if s.in.Len() > 0 {
		s.advance()
		s.finish()
		s.settle()
	}
	return frames, sound
}

// Buffered is how many decoded frames wait to be read.
func (s *Stream) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.frames
}

// SetHold changes how long a sound may be held.
func (s *Stream) SetHold(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = max(d, time.Millisecond)
	s.advance()
}

// Idle reports whether all that was written has been read, as far as it makes frames: what is left, if anything, is part of one, or of a
// head.
func (s *Stream) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.frames == 0 && s.starved()
}

// starved reports whether nothing more will come out unless something is written. mu is held.
func (s *Stream) starved() bool {
	switch s.state {
	case coded:
		return s.asking && s.in.Len() == 0 && !s.ended
	case playing:
		return s.in.Len() < max(1, s.samples.format.FrameBytes()) || s.out.frames == 0
	}
	return true
}

// Err is why the stream has failed, or what was wrong with the latest file; nil when all is well.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Status is for a voice's status file.
func (s *Stream) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Reset drops everything inside, an error and the end too: what is written next is the beginning of something. A nil format means files,
// as in Config. What was dropped counts as played for its marks.
func (s *Stream) Reset(f *pcm.Format) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decoder++
	s.cond.Broadcast()
	s.consumed += int64(s.in.Len())
	s.in.Reset()
	s.out.reset()
	s.err, s.ended, s.asking = nil, false, false
	s.status.Kind, s.status.Format = "", pcm.Format{}
	s.begin(f)
	s.settle()
}

// Close ends the stream and its decoder, and drops what is left. It returns when the decoder has ended, which is soon.
func (s *Stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.decoder++
	s.cond.Broadcast()
	s.mu.Unlock()
	s.decoders.Wait()
	return nil
}
