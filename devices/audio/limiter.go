package audio

import "github.com/clone9p/clone9p/devices/audio/internal/vector"

// A limiter keeps a stereo mix within full scale. What stays there passes bit by bit; where a frame would go beyond, all is turned down at once to
// as much as fits, and comes back within about a tenth of a second. Both channels are turned alike, so that nothing wanders from left to right.
// It looks at no frame but the present one and so delays nothing.
type limiter struct {
	gain    float32 // of the frame before; 1 at rest, and then nothing is touched
	release float32 // what is left of the way back to 1 after a frame
	hot     int64   // frames that were turned down because they themselves were too loud
}

// newLimiter returns a limiter for a rate in frames a second.
func newLimiter(rate int) *limiter {
	return &limiter{gain: 1, release: 1 - 1/(0.05*float32(rate))}
}

// run limits mix in place.
func (l *limiter) run(mix []float32) {
	if l.gain == 1 && vector.Peak(mix) <= 1 {
		return
	}
	g := l.gain
	for i := 0; i+1 < len(mix); i += 2 {
		g = 1 - (1-g)*l.release
		if g > 0.99999 {
			g = 1
		}
		m := max(mix[i], -mix[i], mix[i+1], -mix[i+1])
		if m*g > 1 {
			g = 1 / m
			l.hot++
		}
		mix[i] = min(max(mix[i]*g, -1), 1)
		mix[i+1] = min(max(mix[i+1]*g, -1), 1)
	}
	l.gain = g
}
