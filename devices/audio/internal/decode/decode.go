// Package decode turns what is written to a voice into sound: it knows files by their first bytes, and raw samples by the voice's
// format.
package decode

import "github.com/clone9p/clone9p/devices/audio/internal/pcm"

// Config says how a Stream is to be.
type Config struct {
	// Format is how the bytes are to be taken; nil: a WAV, FLAC, Ogg Vorbis or MP3 file is known by its first bytes (one after the
	// other may come), all else is pcm.Default.
	Format *pcm.Format

	// Hold is how many frames may be held decoded before a Write takes less than it is given; at least one frame is.
	Hold int

	// Changed, if set, is called when a Write could take more or a Read could give more because of work behind the stream: a decoder
	// has put out frames, taken bytes, or failed. It is called without a lock on any goroutine, and must not wait. What Write and Read
	// do at once they do not tell.
	Changed func()
}

// A Sound is what frames are: one or two channels, at a rate. More channels of a file have been mixed down to two.
type Sound struct {
	Channels int
	Rate     int
}

// A Stream takes the bytes of one voice, cut anywhere, and gives frames. Its methods may be called concurrently, and none of them waits
// (but for Close). PCM, raw or in a WAV file, is decoded as it is written; the other files are on a goroutine of the stream, which Close
// ends.
//
// A stream that has failed (a file that is broken, or of a kind that cannot be played) gives what came before, and then nothing more;
// Err says why.
type Stream struct{}

// New returns a stream.
func New(c Config) *Stream { return nil }

// Write takes the first n bytes of p, as many as there is room for; 0 says that it is full, and Room or Changed will tell when it is
// not. Parts of a sample, of a frame and of a header are kept for the next Write. The error is Err's, with whatever n.
func (s *Stream) Write(p []byte) (n int, err error) { return 0, nil }

// Room reports whether a Write would take something now (or fail).
func (s *Stream) Room() bool { return false }

// End says that no more will be written: a head too short to be known is taken for what it is, a file that lacks its end is played as
// far as it goes, and Err says so. Frames go on coming. Writes fail from then on, until Reset.
func (s *Stream) End() {}

// Sound is what the next frames are; ok is false while there are none.
func (s *Stream) Sound() (Sound, bool) { return Sound{}, false }

// Read puts frames in dst, whole ones of the same Sound, and returns how many frames and of what sound. 0 says there are none now.
func (s *Stream) Read(dst []float32) (frames int, sound Sound) { return 0, Sound{} }

// Buffered is how many decoded frames wait to be read.
func (s *Stream) Buffered() int { return 0 }

// Mark names the point behind all that was written until now.
func (s *Stream) Mark() int64 { return 0 }

// Before says how many frames, of all that the stream has ever given or will give, come before mark. known is false while a decoder has
// not got there. A mark is asked until it is known, or dropped with Forget.
func (s *Stream) Before(mark int64) (frames int64, known bool) { return 0, false }

// Forget drops a mark that nobody will ask for any more.
func (s *Stream) Forget(mark int64) {}

// Idle reports whether all that was written has been read, as far as it makes whole frames.
func (s *Stream) Idle() bool { return false }

// Reset drops everything inside, an error too; what is written next is the beginning of something. Marks become known: nothing of what
// was dropped comes before them. A nil format means files, as in Config.
func (s *Stream) Reset(f *pcm.Format) {}

// Err is why the stream has failed, or what was wrong with the last file; nil when all is well.
func (s *Stream) Err() error { return nil }

// Status is what the stream knows of what is played.
type Status struct {
	Kind    string     // "raw", "wav", "flac", "vorbis", "mp3"; "" before anything is known
	Format  pcm.Format // of the samples as written; of MP3 and Vorbis the channels and the rate
	Frames  int64      // given to readers, over all files
	Bad     int64      // samples that were NaN, infinite or beyond all bounds, and became silence
	Skipped int64      // bytes between files that belong to none
}

// Status is for a voice's status file.
func (s *Stream) Status() Status { return Status{} }

// Close ends the stream and its goroutine, and drops what is left. It returns when the goroutine has ended, which is soon.
func (s *Stream) Close() error { return nil }
