// Package resample changes the rate of sound: any rate to any other, by a windowed sinc in polyphase form.
//
// To change a rate is to read the sound between its samples. A band-limited sound is, at the time t, the sum over its samples x[n] of
// x[n] times sinc(t-n); the endless sinc is cut to a finite length by Kaiser's window, whose one parameter trades the width of the
// transition against the depth of the stop band (J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function",
// 1974; the formulas are those of Oppenheim and Schafer, "Discrete-Time Signal Processing", 7.5.3; the scheme is that of J. O. Smith,
// "Digital Audio Resampling", ccrma.stanford.edu/~jos/resample). Between rates whose ratio is L:M in lowest terms the samples that come
// out stand at only L different places between two that go in, and the filter for each place, a phase, is computed once. Where L is so
// large that the table would be, a fixed number of phases is computed, and what comes out is read between the two nearest.
//
// The filter is 64 input samples long (of the lower rate). It is flat to 0.907 of the lower rate's half, 20 kHz of 44.1, and 93 dB down
// at the mirror image of that, 24.1 kHz: what folds, folds into the octave's end between, where nobody hears it. For that the filter has
// half the length it would need to be down at the half itself.
//
// Other libraries were looked at, and none fits: tphakala/go-audio-resampler is LGPL, gopkg's and oov's are stale ports or 16 bits only,
// zeozeozeo/gomplerate interpolates cubically, and those over libsoxr and libsamplerate need the C libraries.
package resample

import "fmt"

// A Resampler changes the rate of one stream. Frame k of what comes out stands at the time k/to of what went in: there is no delay to
// be taken off, and of n frames exactly ceil(n*to/from) become. What it needs for that is to look ahead, by Ahead frames of input.
//
// It is used by one goroutine at a time, and allocates nothing after New.
//
//	buf:  | half-1 frames behind | at | half frames ahead | more ... |           |
//	                               ^ + phase/up                      ^ end       ^ cap
type Resampler struct {
	*filter
	channels int
	buf      []float32 // whole frames, its whole length used up to end
	at       int       // the frame that the next one to come out stands at, or behind by phase/up; at least half-1
	phase    int       // 0 to up-1
	end      int       // behind the last frame
	heard    int       // while draining, where the silence begins; else as end
	draining bool
}

// chunk is how many frames buf can take beyond those the filter needs.
const chunk = 1024

// newResampler returns a resampler that owns all but the filter.
func newResampler(f *filter, channels int) *Resampler {
	r := &Resampler{filter: f, channels: channels, buf: make([]float32, (2*f.half+max(chunk, 2*f.half))*channels)}
	r.Reset()
	return r
}

// Reset drops what is inside: the next frame is the first, with silence before it.
func (r *Resampler) Reset() {
	r.at, r.phase = max(r.half-1, 0), 0
	r.end, r.heard, r.draining = r.at, r.at, false
	clear(r.buf[:r.end*r.channels])
}

// Ahead is how many frames of input the filter looks ahead.
func (r *Resampler) Ahead() int { return r.half }

// Owed is how many frames are still to come out of what went in, by Process or by Drain.
func (r *Resampler) Owed() int { return r.until(r.heard) }

// until is how many frames stand before the frame of input at place end.
func (r *Resampler) until(end int) int {
	left := int64(end-r.at)*int64(r.up) - int64(r.phase)
	if left <= 0 {
		return 0
	}
	return int((left + int64(r.down) - 1) / int64(r.down))
}

// ready is how many frames can come out of what is in buf.
func (r *Resampler) ready() int { return r.until(r.end - r.half) }

// Need is how many more frames of input it takes until n frames can come out; 0 when they can now.
func (r *Resampler) Need(n int) int {
	if n <= 0 {
		return 0
	}
	last := int64(r.at) + (int64(r.phase)+int64(n-1)*int64(r.down))/int64(r.up)
	return int(max(0, last+int64(r.half)+1-int64(r.end)))
}

// Process takes frames from src and puts frames into dst, both interleaved and whole frames long, until dst is full or src is empty. It
// returns how many samples (not frames) it has put and taken. While a Drain is not finished it goes on with that, and takes nothing.
func (r *Resampler) Process(dst, src []float32) (put, taken int) {
	if r.draining {
		return r.Drain(dst), 0
	}
	for {
		put += r.produce(dst[put:])
		if len(dst)-put < r.channels || len(src)-taken < r.channels {
			return put, taken
		}
		n := min(r.room(), (len(src)-taken)/r.channels) * r.channels
		copy(r.buf[r.end*r.channels:], src[taken:taken+n])
		taken += n
		r.end += n / r.channels
		r.heard = r.end
	}
}

// Drain puts what is owed into dst as if silence followed, and returns how many samples it has put. When nothing is owed any more the
// resampler is as new.
func (r *Resampler) Drain(dst []float32) (put int) {
	r.draining = true
	for r.Owed() > 0 && len(dst)-put >= r.channels {
		if r.ready() == 0 {
			n := min(r.room(), r.half)
			clear(r.buf[r.end*r.channels : (r.end+n)*r.channels])
			r.end += n
		}
		n := min(len(dst)-put, r.Owed()*r.channels)
		put += r.produce(dst[put : put+n])
	}
	if r.Owed() == 0 {
		r.Reset()
	}
	return put
}

// room moves what is still needed to the beginning of buf if there is no room at its end, and returns how many frames buf can take. After
// produce has done what it could there always are some.
func (r *Resampler) room() int {
	if whole := len(r.buf) / r.channels; r.end < whole {
		return whole - r.end
	}
	first := r.at - max(r.half-1, 0)
	copy(r.buf, r.buf[first*r.channels:r.end*r.channels])
	r.at -= first
	r.end -= first
	r.heard -= first
	return len(r.buf)/r.channels - r.end
}

// produce puts as many frames as are ready into dst, and returns how many samples those are.
func (r *Resampler) produce(dst []float32) int {
	n := min(len(dst)/r.channels, r.ready())
	dst = dst[:n*r.channels]
	switch {
	case n == 0:
	case r.up == r.down:
		copy(dst, r.buf[r.at*r.channels:])
		r.at += n
	case r.places > 0:
		r.between(dst)
	default:
		r.exact(dst)
	}
	return len(dst)
}

// advance goes on to the next frame.
func (r *Resampler) advance() {
	r.at += r.stepWhole
	r.phase += r.stepPart
	if r.phase >= r.up {
		r.phase -= r.up
		r.at++
	}
}

// exact fills dst with frames that stand exactly at phases of the table.
func (r *Resampler) exact(dst []float32) {
	taps := 2 * r.half
	for len(dst) > 0 {
		h := r.table[r.phase*taps : (r.phase+1)*taps]
		x := r.buf[(r.at-r.half+1)*r.channels : (r.at+r.half+1)*r.channels]
		switch r.channels {
		case 1:
			dst[0] = dotMono(h, x)
		case 2:
			dst[0], dst[1] = dotStereo(h, x)
		default:
			for c := range r.channels {
				dst[c] = dotStrided(h, x[c:], r.channels)
			}
		}
		dst = dst[r.channels:]
		r.advance()
	}
}

// between fills dst with frames that stand between phases of the table, on the straight line between what these two give.
func (r *Resampler) between(dst []float32) {
	taps := 2 * r.half
	for len(dst) > 0 {
		// phase*places may be 768000 times 512.
		place := int64(r.phase) * int64(r.places)
		k := int(place / int64(r.up))
		part := float32(place%int64(r.up)) / float32(r.up)
		low, high := r.table[k*taps:(k+1)*taps], r.table[(k+1)*taps:(k+2)*taps]
		x := r.buf[(r.at-r.half+1)*r.channels : (r.at+r.half+1)*r.channels]
		switch r.channels {
		case 1:
			a, b := dotMono(low, x), dotMono(high, x)
			dst[0] = a + part*(b-a)
		case 2:
			al, ar := dotStereo(low, x)
			bl, br := dotStereo(high, x)
			dst[0], dst[1] = al+part*(bl-al), ar+part*(br-ar)
		default:
			for c := range r.channels {
				a, b := dotStrided(low, x[c:], r.channels), dotStrided(high, x[c:], r.channels)
				dst[c] = a + part*(b-a)
			}
		}
		dst = dst[r.channels:]
		r.advance()
	}
}

// String is for a status: the ratio and the length of the filter.
func (r *Resampler) String() string {
	return fmt.Sprintf("%d:%d, %d taps", r.up, r.down, 2*r.half)
}
