package audio

import (
	"fmt"
	"math"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/vector"
)

// meterSpan is what a meter looks back on.
const meterSpan = 100 * time.Millisecond

// A meter remembers how loud the last blocks were, as they were heard. Its voice's lock guards it.
type meter struct {
	blocks []loudness // a ring
	next   int
}

type loudness struct {
	frames int
	peak   [2]float32
	energy [2]float64
}

// newMeter returns a meter for blocks of n frames.
func newMeter(rate, n int) meter {
	span := int(int64(rate) * int64(meterSpan) / int64(time.Second))
	return meter{blocks: make([]loudness, max(1, (span+n-1)/n))}
}

// add takes a block of stereo frames, and the gains with which it was heard.
func (m *meter) add(frames []float32, gain [2]float32) {
	l := loudness{frames: len(frames) / 2}
	l.peak[0], l.peak[1] = vector.PeakStereo(frames)
	l.energy[0], l.energy[1] = vector.EnergyStereo(frames)
	for ch, g := range gain {
		l.peak[ch] *= g
		l.energy[ch] *= float64(g) * float64(g)
	}
	m.blocks[m.next] = l
	m.next = (m.next + 1) % len(m.blocks)
}

// reset forgets everything: there is silence.
func (m *meter) reset() { clear(m.blocks) }

// String is a line a channel: peak and rms in dBFS, to a tenth; -inf is silence.
func (m *meter) String() string {
	s := ""
	for ch, name := range []string{"left", "right"} {
		peak, energy, frames := 0.0, 0.0, 0
		for _, l := range m.blocks {
			peak = max(peak, float64(l.peak[ch]))
			energy += l.energy[ch]
			frames += l.frames
		}
		s += fmt.Sprintf("%s peak %s rms %s\n", name, decibels(peak), decibels(math.Sqrt(energy/float64(max(1, frames)))))
	}
	return s
}

// decibels is x of full scale in dB.
func decibels(x float64) string {
	if x == 0 {
		return "-inf"
	}
	return fmt.Sprintf("%.2f", 20*math.Log10(x))
}
