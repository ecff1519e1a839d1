// Package resample changes the rate of sound.
package resample

import "errors"

// A Bank makes resamplers. Those of the same ratio share their filter, so that a thousand voices of 44100 frames a second have one. The
// zero Bank is ready; its methods may be called concurrently.
type Bank struct{}

// New returns a resampler of channels interleaved channels from a rate to another, frames a second each. It may compute a filter, which
// takes some milliseconds: call it where the voice's writer waits, not where the mixer does. Rates and channels are those that
// pcm.Format allows, else it is an error.
func (b *Bank) New(from, to, channels int) (*Resampler, error) {
	return nil, errors.New("not yet")
}

// A Resampler changes the rate of one stream. Frame k of what comes out stands at the time k/to of what went in: there is no delay to
// be taken off, and of n frames exactly ceil(n*to/from) become. What it needs is to look ahead, by Ahead frames of input.
//
// It is used by one goroutine at a time, and allocates nothing after New.
type Resampler struct{}

// Process takes frames from src and puts frames into dst, both interleaved and whole frames long, as far as either goes. It returns how
// many samples (not frames) it has put and taken; it takes nothing from src that it could keep only by letting it grow.
func (r *Resampler) Process(dst, src []float32) (put, taken int) { return 0, 0 }

// Drain puts what is left in dst as if silence followed, and returns how many samples it has put. When that is less than dst holds, all
// that went in has come out, and the resampler is as new.
func (r *Resampler) Drain(dst []float32) (put int) { return 0 }

// Need is how many more frames of input it takes until n more frames can come out; 0 when they can now.
func (r *Resampler) Need(n int) int { return 0 }

// Owed is how many frames are still to come out of what went in, all by Process or Drain.
func (r *Resampler) Owed() int { return 0 }

// Ahead is how many frames of input the filter looks ahead.
func (r *Resampler) Ahead() int { return 0 }

// Reset drops what is inside: the next frame is the first.
func (r *Resampler) Reset() {}
