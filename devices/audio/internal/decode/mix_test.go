package decode_test

import (
	"fmt"
	"testing"

	"github.com/clone9p/clone9p/devices/audio/internal/decode"
	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/clone9p/clone9p/devices/audio/internal/resample"
	"github.com/clone9p/clone9p/devices/audio/internal/vector"
)

// All that mixing takes but the device itself: of every voice 10 ms are written, decoded, resampled, added with its gains, and the sum is
// encoded. x-realtime is how many voices one core can have; sox's is had with
//
//	time sox -m a.wav ... a.wav -t raw -e signed -b 16 /dev/null
func BenchmarkMix(b *testing.B) {
	const rate = 48000
	for _, from := range []int{rate, 44100} {
		for _, voices := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%d-to-%d/%d", from, rate, voices), func(b *testing.B) {
				f := pcm.Format{Encoding: pcm.SignedLittle, Bits: 16, Channels: 2, Rate: from}
				type voice struct {
					*decode.Stream
					rate *resample.Resampler
				}
				var bank resample.Bank
				all := make([]voice, voices)
				for i := range all {
					all[i].Stream = decode.New(decode.Config{Format: &f})
					defer all[i].Close()
					if from != rate {
						r, err := bank.New(from, rate, 2)
						if err != nil {
							b.Fatal(err)
						}
						all[i].rate = r
					}
				}
				written := make([]byte, from/100*f.FrameBytes())
				for i := range written {
					written[i] = byte(i * i)
				}
				var (
					x, y, mix = make([]float32, 2*from/100), make([]float32, 2*rate/100), make([]float32, 2*rate/100)
					out       = make([]byte, 2*len(mix))
				)
				b.ReportAllocs()
				for b.Loop() {
					clear(mix)
					for _, v := range all {
						if n, err := v.Write(written); n != len(written) || err != nil {
							b.Fatal(n, err)
						}
						n, _ := v.Read(x)
						sound := x[:2*n]
						if v.rate != nil {
							put, _ := v.rate.Process(y, sound)
							sound = y[:put]
						}
						vector.AddStereo(mix, sound, 0.01, 0.02)
					}
					pcm.Default.Encode(out, mix)
				}
				b.ReportMetric(0.01*float64(voices)/(b.Elapsed().Seconds()/float64(b.N)), "x-realtime")
			})
		}
	}
}
