package audio

import (
	"math"
	"sync"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio/internal/decode"
	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/clone9p/clone9p/devices/audio/internal/resample"
	"github.com/clone9p/clone9p/devices/audio/internal/vector"
)

// A Voice is one conversation, or one open of audio/audio: what is written to it, on the way into the mix.
//
//	Write --> decode.Stream --> pend --> resampler --> out --> gain --> mix
type Voice struct {
	m      *mixer
	conv   *clonefs.Conv // nil of an anonymous voice
	stream *decode.Stream
	listed bool // in m.voices; guarded by m.mu

	mu       sync.Mutex // guards what follows; the stream guards itself
	writers  []*writing // who waits to write, in order
	waits    []*waiting // who reads wait
	format   *pcm.Format
	latency  time.Duration
	gainDB   float64
	balance  int
	volume   [2]int // percent
	muted    bool
	paused   bool
	at       int64      // the mix clock at which it starts, -1: at once
	now      [2]float32 // the gains at the end of the block before
	sounding bool       // the block before had sound of it, and now is what it was heard with
	dry      time.Time  // when it last ran out of sound
	underrun int64
	ended    bool // nothing more will be written: it plays out
	gone     bool // it does not even do that
	closed   bool // its stream is closed, or about to be
	awaits   bool // the filter for its next sound is being computed
	sent     sent

	sound decode.Sound
	res   *resample.Resampler // nil at the mix's own rate
	raw   []float32
	pend  []float32 // part of raw that is not yet mixed
	taken int64     // frames taken from pend
	out   []float32 // a block, stereo
	tail  []float32 // what fades out after a flush
	tmp   []float32
	meter meter
}

// sent is how far a voice had come when its latest block left for the sink.
type sent struct {
	taken      int64 // frames of what was written
	owed, rate int   // frames of the mix that the resampler held back, and the rate of what was written
}

// newVoice makes a voice; conv is nil for an anonymous one.
func newVoice(m *mixer, conv *clonefs.Conv) *Voice {
	m.mu.Lock()
	latency := m.latency
	m.mu.Unlock()
	n := m.size
	v := &Voice{
		m: m, conv: conv, latency: latency, volume: [2]int{100, 100}, at: -1,
		raw: make([]float32, n), out: make([]float32, n), tail: make([]float32, 0, n), tmp: make([]float32, n),
		meter: newMeter(m.c.Rate, n/2),
	}
	v.stream = decode.New(decode.Config{Hold: latency, Changed: v.changed})
	return v
}

// changed is called by the stream when it has more to give, or room.
func (v *Voice) changed() {
	v.prepare()
	v.wakeWriter()
	v.m.add(v)
}

// prepare has the filter computed that the next sound needs, so that the mixer finds it.
func (v *Voice) prepare() {
	if s, ok := v.stream.Sound(); ok && s.Rate != v.m.c.Rate {
		v.m.bank.Ready(s.Rate, v.m.c.Rate, nil)
	}
}

// gainsLocked is what the voice should be heard with.
func (v *Voice) gainsLocked() [2]float32 {
	if v.muted || v.paused {
		return [2]float32{}
	}
	g := math.Pow(10, v.gainDB/20)
	l, r := g*float64(v.volume[0])/100, g*float64(v.volume[1])/100
	if v.balance > 0 {
		l *= 1 - float64(v.balance)/100
	} else {
		r *= 1 + float64(v.balance)/100
	}
	return [2]float32{float32(l), float32(r)}
}

// idle reports whether the voice has nothing to play now. It takes v.mu.
func (v *Voice) idle() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.tail) > 0 {
		return false
	}
	if v.paused && (!v.sounding || v.now == [2]float32{}) || v.gone || v.awaits {
		return true
	}
	idle := v.drainedLocked() || v.stream.Buffered() == 0 && !v.stream.Idle() && !v.sounding
	if idle {
		v.meter.reset()
	}
	return idle
}

// drainedLocked reports whether all that was written has been mixed.
func (v *Voice) drainedLocked() bool {
	return len(v.pend) == 0 && (v.res == nil || v.res.Owed() == 0) && v.stream.Idle() && v.stream.Buffered() == 0
}

// mixInto adds the voice's next block to mix, the first frame of which is frame clock of the mix.
func (v *Voice) mixInto(mix []float32, clock int64) {
	v.mu.Lock()
	if len(v.tail) > 0 { // flushed: fade what would have come
		vector.RampStereo(mix, v.tail, vector.Ramp{From: v.now[0]}, vector.Ramp{From: v.now[1]})
		v.tail, v.sounding = v.tail[:0], false
		v.mu.Unlock()
		return
	}
	to := v.gainsLocked()
	if v.gone || v.paused && (!v.sounding || v.now == [2]float32{}) {
		v.mu.Unlock()
		return
	}
	frames := len(mix) / 2
	skip := 0
	if v.at > clock {
		skip = int(min(v.at-clock, int64(frames)))
	}
	if skip == frames {
		v.mu.Unlock()
		return
	}
	n := v.fillLocked(v.out[:2*(frames-skip)])
	if n > 0 {
		v.at = -1
		if !v.sounding {
			v.now = to // a beginning is as it was written
			if !v.dry.IsZero() && time.Since(v.dry) < time.Second {
				v.underrun++
				v.m.underruns.Add(1)
			}
		}
		part, heard := mix[2*skip:2*(skip+n)], v.out[:2*n]
		if v.now == to {
			vector.AddStereo(part, heard, to[0], to[1])
		} else {
			vector.RampStereo(part, heard, vector.Ramp{From: v.now[0], To: to[0]}, vector.Ramp{From: v.now[1], To: to[1]})
		}
		v.now = to
		v.meter.add(heard, to)
	}
	if n < frames-skip && v.sounding {
		v.dry = time.Now()
	}
	v.sounding = n == frames-skip
	v.mu.Unlock()
	v.wakeWriter()
}

// fillLocked puts stereo frames at the mix's rate into dst, as many as there are, and returns how many.
func (v *Voice) fillLocked(dst []float32) (frames int) {
	n := 0
	for n < len(dst) {
		if len(v.pend) > 0 {
			n += v.convertLocked(dst[n:])
			continue
		}
		next, ok := v.stream.Sound()
		if v.res != nil && v.res.Owed() > 0 && (ok && next != v.sound || !ok && v.stream.Idle()) {
			if k := v.drainLocked(dst[n:]); k > 0 {
				n += k
				continue
			}
		}
		if !ok {
			break
		}
		if next != v.sound && !v.retuneLocked(next) {
			break
		}
		if v.res == nil && next.Channels == 2 { // nothing is to be done with them
			k, _ := v.stream.Read(dst[n:])
			if k == 0 {
				break
			}
			v.taken += int64(k)
			n += 2 * k
			continue
		}
		k, sound := v.stream.Read(v.raw)
		if k == 0 {
			break
		}
		v.pend = v.raw[:k*sound.Channels]
	}
	return n / 2
}

// retuneLocked prepares for frames of another sound. It reports false when they cannot be played, or not yet.
func (v *Voice) retuneLocked(s decode.Sound) bool {
	if s.Rate != v.m.c.Rate && !v.m.bank.Ready(s.Rate, v.m.c.Rate, v.tuned) {
		v.awaits = true
		return false
	}
	v.sound, v.res = s, nil
	if s.Rate == v.m.c.Rate {
		return true
	}
	res, err := v.m.bank.New(s.Rate, v.m.c.Rate, s.Channels)
	if err != nil { // a rate too far from the mix's
		v.m.log.Error().Err(err).Msg("a voice cannot be played")
		v.ended, v.gone = true, true // sounded closes the stream
		return false
	}
	v.res = res
	return true
}

// tuned goes on when the filter has been computed.
func (v *Voice) tuned() {
	v.set(func() { v.awaits = false })
	v.m.add(v)
}

// convertLocked moves pending frames to dst, and returns how many samples it has put there.
func (v *Voice) convertLocked(dst []float32) int {
	ch := v.sound.Channels
	if v.res != nil {
		work := v.tmp[:len(dst)/2*ch]
		put, took := v.res.Process(work, v.pend)
		v.taken += int64(took / ch)
		v.pend = v.pend[took:]
		return spread(dst, work[:put], ch)
	}
	k := min(len(dst)/2*ch, len(v.pend))
	spread(dst, v.pend[:k], ch)
	v.taken += int64(k / ch)
	v.pend = v.pend[k:]
	return k / ch * 2
}

// drainLocked is convertLocked for what the resampler still owes.
func (v *Voice) drainLocked(dst []float32) int {
	work := v.tmp[:len(dst)/2*v.sound.Channels]
	return spread(dst, work[:v.res.Drain(work)], v.sound.Channels)
}

// spread copies frames of one or two channels to stereo ones, and returns how many samples those are.
func spread(dst, src []float32, channels int) int {
	if channels == 2 {
		return copy(dst, src)
	}
	for i, x := range src {
		dst[2*i], dst[2*i+1] = x, x
	}
	return 2 * len(src)
}

// flush drops what is not yet played; what would have come next fades out.
func (v *Voice) flush() {
	v.mu.Lock()
	if v.sounding && !v.paused {
		n := v.fillLocked(v.tail[:cap(v.tail)])
		v.tail = v.tail[:2*n]
	}
	v.pend = nil
	if v.res != nil {
		v.res.Reset()
	}
	v.stream.Reset(v.format)
	v.taken = v.stream.Status().Frames
	v.sent = sent{taken: v.taken}
	v.dry = time.Time{}
	v.mu.Unlock()
	v.wakeWriter()
	v.settle()
	v.m.add(v)
}

// finish says that nothing more will be written. Unless now, what was written plays out first.
func (v *Voice) finish(now bool) {
	v.mu.Lock()
	if v.ended {
		v.mu.Unlock()
		return
	}
	v.ended = true
	now = now || v.paused // what is paused has nothing to play out
	v.mu.Unlock()
	if now {
		v.cut()
		return
	}
	v.stream.End()
	v.m.add(v)
}

// cut ends the voice at once, also one that plays out.
func (v *Voice) cut() {
	v.mu.Lock()
	closed := v.closed
	v.ended, v.gone, v.closed = true, true, true
	v.mu.Unlock()
	if !closed {
		v.stream.Close()
	}
}
