package main

import (
	"math"
	"testing"
)

func TestPlayLine(t *testing.T) {
	meter := "left peak -12.04 rms -15.05\nright peak -inf rms -inf\n"
	if got, want := playLine("song.wav", 62.9, 220.2, meter), "song.wav  1:02  -3:40  left #########--- -12.04 dB  right ------------   -inf dB"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := playLine("-", 0, -1, "garbage\n"), "-  0:00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRemains(t *testing.T) {
	for _, tt := range []struct {
		seconds    float64
		done, size int64
		want       float64
	}{
		{10, 100, 400, 30},
		{10, 400, 400, -1},
		{10, 100, -1, -1},
		{0, 100, 400, -1},
		{0, 0, 400, -1},
	} {
		if got := remains(tt.seconds, tt.done, tt.size); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("after %v s and %d of %d bytes %v s remain, want %v", tt.seconds, tt.done, tt.size, got, tt.want)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for word, want := range map[string][2]int64{"s16c2r44100": {176400, 4}, "s24c1r8000": {24000, 3}, "f32c6r48000": {48000 * 24, 24}} {
		if second, frame, err := formatSize(word); err != nil || second != want[0] || frame != want[1] {
			t.Errorf("%s: %d and %d, %v; want %v", word, second, frame, err, want)
		}
	}
	for _, word := range []string{"", "s16", "s16c2", "nonsense"} {
		if _, _, err := formatSize(word); err == nil {
			t.Errorf("%q has a size", word)
		}
	}
}
