package audio

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/clone9p/clone9p/devices/audio/internal/resample"
	"github.com/clone9p/clone9p/devices/audio/internal/vector"
)

// A mixer adds the voices up, block by block, and hands the mix to the sink. Its goroutine lives while a voice has something to play, and not longer:
//
//	idle -- add --> running -- no voice has anything to play --> idle
//
// The mix clock counts the frames mixed, and stands still while nothing plays.
type mixer struct {
	c    Config
	size int // samples of a block
	bank resample.Bank

	opening sync.Mutex // held while the first sink is opened; guards nothing else

	clock     atomic.Int64 // frames mixed
	clipped   atomic.Int64 // frames that the limiter turned down
	underruns atomic.Int64
	busy      atomic.Int64 // nanoseconds spent mixing

	mu       sync.Mutex // guards what follows, never held while anything waits; taken before a voice's
	running  bool
	voices   []*Voice // with something to play, in the order in which they came; replaced, never changed
	taps     []*clonefs.Queue
	master   [2]float32
	sink     sink // used by the goroutine alone while running
	next     sink // takes over before the next block
	sinkName string
	latency  time.Duration

	mix, scaled []float32 // used by the goroutine alone
	left        [2]float32
	limiter     *limiter
}

func newMixer(c Config) *mixer {
	n := 2 * max(1, int(int64(c.Rate)*int64(c.Block)/int64(time.Second)))
	return &mixer{
		c: c, size: n, latency: c.Latency, sinkName: c.Sink,
		master: [2]float32{1, 1}, left: [2]float32{1, 1},
		mix: make([]float32, n), scaled: make([]float32, n), limiter: newLimiter(c.Rate),
	}
}

// add has v mixed from the next block on. v.mu is not held.
func (m *mixer) add(v *Voice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !v.listed {
		v.listed = true
		m.voices = append(slices.Clip(m.voices), v)
	}
	if !m.running {
		m.running = true
		go m.run()
	}
}

// run mixes until no voice has anything to play.
func (m *mixer) run() {
	for {
		m.mu.Lock()
		if slices.ContainsFunc(m.voices, (*Voice).idle) { // rarely: the steady path allocates nothing
			m.voices = slices.DeleteFunc(slices.Clone(m.voices), func(v *Voice) bool {
				if v.idle() {
					v.listed = false
					return true
				}
				return false
			})
		}
		if len(m.voices) == 0 {
			m.running = false
			m.mu.Unlock()
			return
		}
		old := m.takeSinkLocked()
		voices, taps, master, sink := m.voices, m.taps, m.master, m.sink
		m.mu.Unlock()
		if old != nil {
			if err := old.Close(); err != nil {
				m.c.Log.Error().Err(err).Stringer("sink", old).Msg("audio: closing the sink")
			}
		}

		start := time.Now()
		m.block(voices, master)
		tap(taps, m.mix, m.c.Rate)
		m.busy.Add(int64(time.Since(start)))
		if err := sink.Write(context.Background(), m.mix); err != nil {
			m.c.Log.Error().Err(err).Stringer("sink", sink).Msg("audio: the sink failed; the mix goes nowhere from now on (write `sink` to audioctl)")
			m.setSink(&nullSink{clock: clock{rate: m.c.Rate}})
		}
		for _, v := range voices {
			v.sounded()
		}
	}
}

// setSink replaces the sink, before the next block.
func (m *mixer) setSink(s sink) {
	m.mu.Lock()
	unused := m.next
	m.next, m.sinkName = s, s.String()
	m.mu.Unlock()
	if unused != nil {
		unused.Close()
	}
}

// takeSinkLocked makes the next sink the present one and returns the one before, which is to be closed. m.mu is held.
func (m *mixer) takeSinkLocked() (old sink) {
	if m.next != nil {
		old, m.sink, m.next = m.sink, m.next, nil
	}
	return old
}

// block mixes one block of the voices into m.mix. It allocates nothing.
func (m *mixer) block(voices []*Voice, master [2]float32) {
	clear(m.mix)
	now := m.clock.Load()
	for _, v := range voices {
		v.mixInto(m.mix, now)
	}
	if m.left != master || master != [2]float32{1, 1} {
		clear(m.scaled)
		vector.RampStereo(m.scaled, m.mix, vector.Ramp{From: m.left[0], To: master[0]}, vector.Ramp{From: m.left[1], To: master[1]})
		m.mix, m.scaled = m.scaled, m.mix
		m.left = master
	}
	hot := m.limiter.hot
	m.limiter.run(m.mix)
	m.clipped.Add(m.limiter.hot - hot)
	m.clock.Add(int64(len(m.mix) / 2))
}

// tap gives the mix to whoever listens, as 16 bits. Where nobody does it costs nothing.
func tap(taps []*clonefs.Queue, mix []float32, rate int) {
	if len(taps) == 0 {
		return
	}
	f := pcm.Format{Encoding: pcm.SignedLittle, Bits: 16, Channels: 2, Rate: rate}
	b := make([]byte, len(mix)*f.SampleBytes())
	f.Encode(b, mix)
	for _, q := range taps {
		q.PushOwned(b)
	}
}
