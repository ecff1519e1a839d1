package resample

import (
	"fmt"
	"math"
	"sync"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// What the filter is like. The transition lies between passband and 2-passband of the lower rate's half, so that its width is
// 2*(1-passband) of it; after Kaiser 64 samples are just long enough for that depth.
const (
	taps     = 64    // at the lower rate; times down/up where the rate falls
	passband = 0.907 // of half the lower rate
	depth    = 93.0  // dB, of the stop band
)

// The bounds of tables.
const (
	largest  = 1 << 17 // coefficients of a table with all phases: 512 KiB
	between  = 512     // phases of one without, at the lower rate
	furthest = 512     // a rate is changed by this factor at most
)

// A filter is what resamplers of the same ratio share. It does not change.
type filter struct {
	up, down            int       // the ratio of the rates in lowest terms: up frames come out of down
	stepWhole, stepPart int       // down/up, and the rest
	half                int       // taps on either side
	places              int       // phases of a table that does not have all; else 0
	table               []float32 // phase after phase, 2*half coefficients each, for samples in the order of time
}

// newFilter computes the filter from one rate to another, both in lowest terms.
func newFilter(from, to int) *filter {
	f := &filter{up: to, down: from, stepWhole: from / to, stepPart: from % to}
	if from == to {
		return f // 1:1, a copy
	}
	fall := max(1, float64(from)/float64(to)) // how much wider the filter is than at the lower rate
	f.half = (int(math.Ceil(taps*fall)) + 7) / 8 * 4
	phases := f.up
	if f.up*2*f.half > largest {
		f.places = max(4, int(between/fall))
		phases = f.places + 1 // the last is the first, a sample on
	}
	f.table = make([]float32, phases*2*f.half)
	h := make([]float64, 2*f.half)
	for p := range phases {
		var t float64
		if f.places > 0 {
			t = float64(p) / float64(f.places)
		} else {
			t = float64(p) / float64(f.up)
		}
		sum := 0.0
		for i := range h {
			h[i] = sinc(t-float64(i-f.half+1), fall)
			sum += h[i]
		}
		for i := range h {
			// Each phase passes a constant as it is; their sums differ by the stop band, and would be heard as a tone.
			f.table[p*len(h)+i] = float32(h[i] / sum)
		}
	}
	return f
}

// sinc is the windowed sinc at t samples of the input from its middle, made wider by the factor fall.
func sinc(t, fall float64) float64 {
	t /= fall
	w := t / (taps / 2)
	if w <= -1 || w >= 1 {
		return 0
	}
	const beta = 0.1102 * (depth - 8.7)
	window := bessel(beta*math.Sqrt(1-w*w)) / bessel(beta)
	if t == 0 {
		return window
	}
	return math.Sin(math.Pi*t) / (math.Pi * t) * window
}

// bessel is I0, the modified Bessel function of the first kind and order zero, by its series.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-17; k++ {
		term *= x / (2 * k) * (x / (2 * k))
		sum += term
	}
	return sum
}

// A Bank makes resamplers. Those of the same ratio share their filter, so that a thousand voices of 44100 frames a second have one. The
// zero Bank is ready; its methods may be called concurrently.
type Bank struct {
	mu      sync.Mutex
	filters []*entry // guarded by mu; the latest used is the last, and there are kept at most as many
}

// kept is how many filters a bank keeps for those who come. Others live as long as their resamplers.
const kept = 16

type entry struct {
	from, to int
	filter   func() *filter // computes it once
	ready    bool           // it has been computed; guarded by the bank's mu, as is what follows
	waiting  []func()       // to be called then
	working  bool           // a goroutine computes it
}

// New returns a resampler of channels interleaved channels from one rate to another, in frames a second. It may compute a filter, which
// takes some milliseconds: whoever must not wait asks Ready first. Rates and channels are those that a
// pcm.Format may have, and no rate is changed more than 512-fold; else it is an error.
func (b *Bank) New(from, to, channels int) (*Resampler, error) {
	for _, rate := range []int{from, to} {
		if err := (pcm.Format{Encoding: pcm.Float, Bits: 32, Channels: channels, Rate: rate}).Valid(); err != nil {
			return nil, err
		}
	}
	if from > to*furthest || to > from*furthest {
		return nil, fmt.Errorf("rate %d cannot be changed to %d: the factor is %d at most", from, to, furthest)
	}
	g := gcd(from, to)
	return newResampler(b.filter(from/g, to/g), channels), nil
}

// Ready reports whether [Bank.New] between these rates would be done at once. Where it would not, a goroutine sets to work, and calls done,
// unless that is nil, when it has finished.
func (b *Bank) Ready(from, to int, done func()) bool {
	if from < 1 || to < 1 || from > to*furthest || to > from*furthest {
		return true // New refuses them
	}
	g := gcd(from, to)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(from/g, to/g)
	if e.ready {
		return true
	}
	if done != nil {
		e.waiting = append(e.waiting, done)
	}
	if !e.working {
		e.working = true
		go b.compute(e) // ends by itself, in milliseconds
	}
	return false
}

func (b *Bank) filter(from, to int) *filter {
	b.mu.Lock()
	e := b.entry(from, to)
	b.mu.Unlock()
	return b.compute(e)
}

// compute computes e's filter, where nobody has, and tells those who wait for it.
func (b *Bank) compute(e *entry) *filter {
	f := e.filter()
	b.mu.Lock()
	waiting := e.waiting
	e.ready, e.waiting = true, nil
	b.mu.Unlock()
	for _, done := range waiting {
		done()
	}
	return f
}

// entry finds the ratio or adds it, and makes it the latest used. It is called with mu held.
func (b *Bank) entry(from, to int) *entry {
	for i, e := range b.filters {
		if e.from == from && e.to == to {
			copy(b.filters[i:], b.filters[i+1:])
			b.filters[len(b.filters)-1] = e
			return e
		}
	}
	e := &entry{from: from, to: to, filter: sync.OnceValue(func() *filter { return newFilter(from, to) })}
	if len(b.filters) == kept {
		copy(b.filters, b.filters[1:])
		b.filters = b.filters[:kept-1]
	}
	b.filters = append(b.filters, e)
	return e
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
