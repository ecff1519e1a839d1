package audio

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/resample"
	"github.com/clone9p/clone9p/devices/audio/internal/vector"
	"github.com/rs/zerolog"
)

// A mixer adds the voices up, block by block, and hands the mix to the sink. Its goroutine lives while a voice has something to play, and not longer:
//
//	idle -- add --> running -- no voice has anything to play --> idle
//	  |                |
//	  +---- close -----+--> closed
//
// The mix clock counts the frames mixed, and stands still while nothing plays.
type mixer struct {
	c    Config
	log  zerolog.Logger // set before the first voice
	size int            // samples of a block
	bank resample.Bank

	opening chan struct{} // holds a token while a sink is being opened
	ctx     context.Context
	end     context.CancelFunc
	work    sync.WaitGroup // the goroutine

	clock     atomic.Int64 // frames mixed
	clipped   atomic.Int64 // frames that the limiter turned down
	underruns atomic.Int64
	busy      atomic.Int64 // nanoseconds spent mixing

	mu       sync.Mutex // guards what follows, never held while anything waits; taken before a voice's
	running  bool
	closed   bool
	voices   []*Voice // with something to play, in the order in which they came; replaced, never changed
	convs    map[int]*Voice
	taps     []*listener        // of the mix; replaced, never changed
	percent  [2]int             // the master volume
	sink     sink               // used by the goroutine alone while running
	taking   context.Context    // the sink's: ends when another takes over
	give     context.CancelFunc // ends it
	next     sink               // takes over before the next block
	kind     string             // of the sink, the next one if there is one
	sinkName string
	broken   error  // why the sink before was given up
	output   string // which of the sound server's sinks
	latency  time.Duration

	mix, scaled []float32 // used by the goroutine alone
	left        [2]float32
	limiter     *limiter
}

func newMixer(c Config) *mixer {
	n := 2 * max(1, int(int64(c.Rate)*int64(c.Block)/int64(time.Second)))
	m := &mixer{
		c: c, log: zerolog.Nop(), size: n, latency: c.Latency, sinkName: c.Sink, opening: make(chan struct{}, 1), convs: make(map[int]*Voice),
		percent: [2]int{100, 100}, left: [2]float32{1, 1},
		mix: make([]float32, n), scaled: make([]float32, n), limiter: newLimiter(c.Rate),
	}
	m.ctx, m.end = context.WithCancel(context.Background())
	m.taking, m.give = context.WithCancel(m.ctx)
	return m
}

// add has v mixed from the next block on. v.mu is not held.
func (m *mixer) add(v *Voice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	if !v.listed {
		v.listed = true
		m.voices = append(slices.Clip(m.voices), v)
	}
	if !m.running {
		m.running = true
		m.work.Go(m.run)
	}
}

// run mixes until no voice has anything to play, or the mixer is closed.
func (m *mixer) run() {
	for {
		m.mu.Lock()
		if slices.ContainsFunc(m.voices, (*Voice).idle) { // rarely: the steady path allocates nothing
			var leave []*Voice
			m.voices, leave = m.partLocked()
			m.mu.Unlock()
			for _, v := range leave {
				v.settle() // it may have played out without another block
			}
			m.mu.Lock()
		}
		if len(m.voices) == 0 || m.closed {
			m.running = false
			m.mu.Unlock()
			return
		}
		voices, taps := m.voices, m.taps
		master := [2]float32{float32(m.percent[0]) / 100, float32(m.percent[1]) / 100}
		m.mu.Unlock()

		start := time.Now()
		m.block(voices, master)
		for _, l := range taps {
			l.push(m.mix)
		}
		m.busy.Add(int64(time.Since(start)))
		m.deliver()
		for _, v := range voices {
			v.sounded()
		}
	}
}

// deliver hands the block that was mixed to the sink. A sink that has not taken it when another takes over, or that fails, leaves it to that one.
func (m *mixer) deliver() {
	for m.ctx.Err() == nil {
		sink, taking := m.present()
		err := sink.Write(taking, m.mix)
		switch {
		case err == nil:
			return
		case taking.Err() == nil:
			m.log.Error().Err(err).Stringer("sink", sink).Msg("the sink failed: the mix goes nowhere until a write of sink to audioctl chooses another")
			m.setSink(sinkNull, &nullSink{clock: clock{rate: m.c.Rate}}, err)
		}
	}
}

// present is the sink, and a context that ends when another takes over. One that is to do so now does.
func (m *mixer) present() (sink, context.Context) {
	m.mu.Lock()
	old := m.sink
	if m.next == nil {
		defer m.mu.Unlock()
		return m.sink, m.taking
	}
	m.sink, m.next = m.next, nil
	m.taking, m.give = context.WithCancel(m.ctx)
	sink, taking := m.sink, m.taking
	m.mu.Unlock()
	if old != nil {
		if err := old.Close(); err != nil {
			m.log.Error().Err(err).Stringer("sink", old).Msg("closing the sink")
		}
	}
	return sink, taking
}

// partLocked divides the voices into those that have something to play and the others. m.mu is held.
func (m *mixer) partLocked() (stay, leave []*Voice) {
	for _, v := range m.voices {
		if v.idle() {
			v.listed = false
			leave = append(leave, v)
		} else {
			stay = append(stay, v)
		}
	}
	return stay, leave
}

// close ends the voices that play out, and the sink.
func (m *mixer) close() error {
	m.mu.Lock()
	m.closed = true
	voices := m.voices
	m.mu.Unlock()
	m.end()
	m.work.Wait()
	for _, v := range voices {
		v.cut()
	}
	m.mu.Lock()
	sink, next := m.sink, m.next
	m.sink, m.next = nil, nil
	m.mu.Unlock()
	var errs []error
	if sink != nil {
		errs = append(errs, sink.Close())
	}
	if next != nil {
		errs = append(errs, next.Close())
	}
	return errors.Join(errs...)
}

// setSink replaces the sink, before the next block, or for the one that the present sink has not taken yet. broken is why, where the one before has failed.
func (m *mixer) setSink(kind string, s sink, broken error) {
	m.mu.Lock()
	unused := m.next
	if m.closed {
		unused = s
	} else {
		m.next, m.kind, m.sinkName, m.broken = s, kind, s.String(), broken
		m.give()
	}
	m.mu.Unlock()
	if unused != nil {
		unused.Close()
	}
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
