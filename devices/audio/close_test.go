package audio

import (
	"testing"

	"github.com/clone9p/clone9p/devices/audio/internal/decode"
)

// A voice that will never play out, as it is paused or at a rate too far from the mix's, gives up its decoder all the same.
func TestVoiceThatCannotPlayOutIsClosed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		paused bool
	}{
		{"paused", true},
		{"rate", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMixer(DefaultConfig())
			v := newVoice(m, nil)
			defer v.finish(true)
			if tt.paused {
				v.paused = true
				v.finish(false)
			} else {
				v.mu.Lock()
				v.retuneLocked(decode.Sound{Channels: 2, Rate: 1})
				v.mu.Unlock()
				v.sounded()
			}
			v.stream.Reset(nil) // forgets an end, but not a Close
			if n, err := v.stream.Write(make([]byte, 4)); err == nil {
				t.Fatalf("the stream still takes %d bytes", n)
			}
		})
	}
}

// A format whose rate is too far from the mix's is refused when it is set, not when it would be heard.
func TestFormatTooFarFromTheMixIsRefused(t *testing.T) {
	c := DefaultConfig()
	c.Rate = 192000
	v := newVoice(newMixer(c), nil)
	defer v.finish(true)
	for word, fits := range map[string]bool{"s16c2r44100": true, "s16c2r192000": true, "s16c2r100": false} {
		if err := v.setFormat(t.Context(), []string{word}); (err == nil) != fits {
			t.Errorf("format %s: %v", word, err)
		}
	}
}
