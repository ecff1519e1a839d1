package audio

import (
	"fmt"
	"testing"
	"time"
)

// A second of many voices: what is written to them, converted, resampled where it must be, metered, mixed and limited.
func BenchmarkMix(b *testing.B) {
	for _, rate := range []int{44100, 48000} {
		for _, n := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%d/%d", rate, n), func(b *testing.B) {
				c := DefaultConfig()
				c.Block, c.Latency = 10*time.Millisecond, time.Second/4
				m := newMixer(c)
				var voices []*Voice
				for range n {
					v := newVoice(m, nil)
					defer v.cut()
					if err := v.setFormat(b.Context(), []string{fmt.Sprintf("s16c2r%d", rate)}); err != nil {
						b.Fatal(err)
					}
					v.stream.Write(make([]byte, 4*rate))
					voices = append(voices, v)
				}
				tenth := make([]byte, 4*rate/10)
				for i := range tenth {
					tenth[i] = byte(i * i)
				}
				b.ReportAllocs()
				for b.Loop() {
					for range 10 {
						for range 10 {
							m.block(voices, [2]float32{1, 1})
							for _, v := range voices {
								v.sounded()
							}
						}
						for _, v := range voices {
							v.stream.Write(tenth)
						}
					}
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "voices/core")
			})
		}
	}
}
