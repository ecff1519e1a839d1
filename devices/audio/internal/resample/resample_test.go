package resample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// ratios are the rates of the tests: of tables with all phases and without, up and down, and the ends of what there may be.
var ratios = []struct{ from, to int }{
	{44100, 48000}, {48000, 44100}, {44100, 44100}, {22050, 44100}, {44100, 22050}, {8000, 48000}, {96000, 44100}, {11025, 48000},
	{44100, 47999}, {47999, 44100}, {44101, 22050}, {192000, 8000}, {768000, 44100}, {100, 8000}, {8000, 100}, {51200, 100},
}

func newTest(t testing.TB, from, to, channels int) *Resampler {
	t.Helper()
	var b Bank
	r, err := b.New(from, to, channels)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// all puts src through r at once, to the end.
func all(r *Resampler, src []float32) []float32 {
	dst := make([]float32, 0, 1<<12)
	for {
		dst = slices.Grow(dst, 1<<12)
		put, taken := r.Process(dst[len(dst):cap(dst)], src)
		dst, src = dst[:len(dst)+put], src[taken:]
		if len(src) == 0 && put == 0 {
			break
		}
	}
	for r.Owed() > 0 {
		dst = slices.Grow(dst, 1<<12)
		dst = dst[:len(dst)+r.Drain(dst[len(dst):cap(dst)])]
	}
	return dst
}

func noise(seed uint64, n int) []float32 {
	random := rand.New(rand.NewPCG(seed, 0))
	s := make([]float32, n)
	for i := range s {
		s[i] = random.Float32()*2 - 1
	}
	return s
}

// naive is frame k of channel c: the sum of all samples, each times the windowed sinc at its distance, all in float64.
func naive(f *filter, src []float32, channels, c, k int) float64 {
	if f.up == f.down {
		return float64(src[k*channels+c])
	}
	fall := max(1, float64(f.down)/float64(f.up))
	t := float64(k) * float64(f.down) / float64(f.up)
	first := int(math.Floor(t)) - f.half + 1
	y, sum := 0.0, 0.0
	for n := first; n < first+2*f.half; n++ {
		h := sinc(t-float64(n), fall)
		sum += h
		if n >= 0 && n < len(src)/channels {
			y += h * float64(src[n*channels+c])
		}
	}
	return y / sum
}

func TestResamplingIsTheNaiveSum(t *testing.T) {
	for _, rate := range ratios {
		for channels := 1; channels <= 3; channels++ {
			t.Run(fmt.Sprintf("%d-%d-%d", rate.from, rate.to, channels), func(t *testing.T) {
				r := newTest(t, rate.from, rate.to, channels)
				n := max(500, 4*r.Ahead()) + 7
				src := noise(uint64(n), n*channels)
				dst := all(r, src)
				want := (n*rate.to + rate.from - 1) / rate.from
				if len(dst) != want*channels {
					t.Fatalf("of %d frames %d samples become, want %d frames of %d", n, len(dst), want, channels)
				}
				far := 2e-6
				if r.places > 0 {
					far = 2e-5
				}
				for k := 0; k < want; k += max(1, want*(32+r.Ahead())/(1<<14)) {
					for c := range channels {
						if got, want := float64(dst[k*channels+c]), naive(r.filter, src, channels, c, k); math.Abs(got-want) > far {
							t.Fatalf("frame %d of channel %d is %v, want %v", k, c, got, want)
						}
					}
				}
			})
		}
	}
}

// However the stream is cut, the same comes out, and Need, Owed and the counts say what happens.
func TestCutsMakeNoDifference(t *testing.T) {
	for _, rate := range ratios {
		for channels := 1; channels <= 2; channels++ {
			t.Run(fmt.Sprintf("%d-%d-%d", rate.from, rate.to, channels), func(t *testing.T) {
				random := rand.New(rand.NewPCG(uint64(rate.from), uint64(rate.to)))
				r := newTest(t, rate.from, rate.to, channels)
				n := max(2000, 4*r.Ahead()) + 5
				src := noise(3, n*channels)
				want := all(r, src)
				for range 3 { // a drained resampler is as new
					var got []float32
					for rest := src; len(rest) > 0; {
						in := min(random.IntN(2000)*channels, len(rest))
						out := make([]float32, random.IntN(3000)*channels)
						need := r.Need(len(out) / channels)
						put, taken := r.Process(out, rest[:in])
						if put%channels != 0 || taken%channels != 0 {
							t.Fatalf("Process puts %d and takes %d samples of %d channels", put, taken, channels)
						}
						if put < len(out) && taken < in {
							t.Fatalf("Process puts %d of %d and takes %d of %d: neither ends", put, len(out), taken, in)
						}
						if full := put == len(out); full != (in/channels >= need) {
							t.Fatalf("%d frames wanted %d and were given %d, but full: %v", len(out)/channels, need, in/channels, full)
						}
						got = append(got, out[:put]...)
						rest = rest[taken:]
					}
					if owed := r.Owed(); len(got)+owed*channels != len(want) {
						t.Fatalf("%d frames are owed, want %d", owed, (len(want)-len(got))/channels)
					}
					for r.Owed() > 0 {
						out := make([]float32, (1+random.IntN(3000))*channels)
						owed := r.Owed()
						n := r.Drain(out)
						if n != min(len(out), owed*channels) {
							t.Fatalf("Drain puts %d samples in %d, and %d frames were owed", n, len(out), owed)
						}
						got = append(got, out[:n]...)
						if r.Owed() == 0 {
							break
						}
						if put, taken := r.Process(nil, src); put != 0 || taken != 0 {
							t.Fatalf("Process puts %d and takes %d in the midst of a drain", put, taken)
						}
					}
					if !slices.Equal(got, want) {
						t.Fatal("what comes out differs from what came at once")
					}
				}
			})
		}
	}
}

// sine is n frames of one channel.
func sine(n int, hertz, rate float64) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(0.5 * math.Sin(2*math.Pi*hertz*float64(i)/rate))
	}
	return s
}

// fit finds the sine of that frequency in s by least squares, and returns its amplitude and the root mean square of all else.
func fit(s []float32, hertz, rate float64) (amplitude, rest float64) {
	// The three functions are near orthogonal over many periods; iterating on the rest makes up for "near".
	var a, b, dc float64
	n := float64(len(s))
	for range 5 {
		var da, db, d0 float64
		for i, x := range s {
			sin, cos := math.Sincos(2 * math.Pi * hertz * float64(i) / rate)
			e := float64(x) - a*sin - b*cos - dc
			da += 2 * e * sin / n
			db += 2 * e * cos / n
			d0 += e / n
		}
		a, b, dc = a+da, b+db, dc+d0
	}
	sum := 0.0
	for i, x := range s {
		sin, cos := math.Sincos(2 * math.Pi * hertz * float64(i) / rate)
		e := float64(x) - a*sin - b*cos
		sum += e * e
	}
	return math.Hypot(a, b), math.Sqrt(sum / n)
}

func db(x float64) float64 { return 20 * math.Log10(x) }

// middle is s without what its beginning and its end are heard in.
func middle(s []float32) []float32 { return s[len(s)/8 : len(s)/8*7] }

// 1 kHz from 44.1 kHz to 48 and back: distortion and noise are more than 90 dB below it.
func TestDistortionAndNoise(t *testing.T) {
	const hertz = 1000
	for _, rate := range []struct{ first, second int }{{44100, 48000}, {48000, 44100}, {44100, 96000}, {44100, 32000}, {44100, 47999}} {
		there := all(newTest(t, rate.first, rate.second, 1), sine(rate.first, hertz, float64(rate.first)))
		back := all(newTest(t, rate.second, rate.first, 1), there)
		amplitude, rest := fit(middle(back), hertz, float64(rate.first))
		noise := db(rest / (amplitude / math.Sqrt2))
		t.Logf("%d to %d and back: THD+N %.1f dB, level %+.4f dB", rate.first, rate.second, noise, db(amplitude/0.5))
		if noise > -100 {
			t.Errorf("%d to %d and back: THD+N is %.1f dB, want less than -100", rate.first, rate.second, noise)
		}
		if level := db(amplitude / 0.5); math.Abs(level) > 0.001 {
			t.Errorf("%d to %d and back: the level changes by %.4f dB", rate.first, rate.second, level)
		}
		// Nothing is late: the phase is that of the sine that went in.
		whole := sine(rate.first, hertz, float64(rate.first))
		for i := len(back) / 4; i < len(back)/2; i++ {
			if math.Abs(float64(back[i]-whole[i])) > 1e-4 {
				t.Fatalf("%d to %d and back: frame %d is %v, was %v", rate.first, rate.second, i, back[i], whole[i])
			}
		}
	}
}

func TestPassBandIsFlatAndStopBandDeep(t *testing.T) {
	for _, rate := range []struct{ from, to int }{{44100, 48000}, {48000, 44100}, {96000, 44100}, {44100, 96000}, {192000, 48000}, {44100, 47999}} {
		low := float64(min(rate.from, rate.to))
		worst := 0.0
		const steps = 16
		for i := range steps {
			hertz := 100 * math.Pow(20000*low/44100/100, float64(i)/(steps-1)) // 100 Hz to 20 kHz of 44.1
			out := middle(all(newTest(t, rate.from, rate.to, 1), sine(rate.from/10, hertz, float64(rate.from))))
			amplitude, rest := fit(out, hertz, float64(rate.to))
			if level := db(amplitude / 0.5); math.Abs(level) > math.Abs(worst) {
				worst = level
			}
			// Nearer to the end images fall into the transition above it.
			if noise := db(rest / (amplitude / math.Sqrt2)); noise > -88 {
				t.Errorf("%d to %d: %.0f Hz has THD+N of %.1f dB", rate.from, rate.to, hertz, noise)
			}
		}
		t.Logf("%d to %d: flat within %.4f dB", rate.from, rate.to, worst)
		if math.Abs(worst) > 0.1 {
			t.Errorf("%d to %d: the pass band is off by %.3f dB", rate.from, rate.to, worst)
		}
		if rate.from <= rate.to {
			continue
		}
		for hertz := 1.1 * low / 2; hertz < float64(rate.from)/2; hertz *= 1.1 {
			out := middle(all(newTest(t, rate.from, rate.to, 1), sine(rate.from/10, hertz, float64(rate.from))))
			sum := 0.0
			for _, x := range out {
				sum += float64(x) * float64(x)
			}
			if level := db(math.Sqrt(sum/float64(len(out))) / (0.5 / math.Sqrt2)); level > -90 {
				t.Errorf("%d to %d: of %.0f Hz %.1f dB are left", rate.from, rate.to, hertz, level)
			}
		}
	}
}

func TestRatesThatCannotBe(t *testing.T) {
	var b Bank
	for _, test := range []struct{ from, to, channels int }{
		{0, 44100, 2}, {44100, 0, 2}, {-1, 44100, 2}, {44100, 10000000, 2}, {44100, 48000, 0}, {44100, 48000, 65}, {768000, 100, 1},
	} {
		if r, err := b.New(test.from, test.to, test.channels); err == nil || r != nil {
			t.Errorf("New(%d, %d, %d) = %v, %v, want an error", test.from, test.to, test.channels, r, err)
		}
	}
}

func TestResamplersOfOneRatioShareTheirFilter(t *testing.T) {
	var b Bank
	var wg sync.WaitGroup
	got := make([]*Resampler, 8)
	for i := range got {
		wg.Go(func() {
			// 88200 to 96000 is the same ratio.
			r, err := b.New(44100*(1+i%2), 48000*(1+i%2), 1+i%3)
			if err != nil {
				t.Error(err)
			}
			got[i] = r
		})
	}
	wg.Wait()
	for _, r := range got {
		if r.filter != got[0].filter {
			t.Error("two resamplers of one ratio have two filters")
		}
	}
	for rate := 8000; rate < 8000+3*kept; rate++ {
		if _, err := b.New(rate, 8000, 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.filters) != kept {
		t.Errorf("%d filters are kept, want %d", len(b.filters), kept)
	}
	if last := b.filters[kept-1]; last.from != 8000+3*kept-1 {
		t.Errorf("the latest is not the last of those kept: %d", last.from)
	}
}

func TestSumsOfProducts(t *testing.T) {
	for n := 8; n <= 200; n += 8 {
		h, x := noise(1, n), noise(2, 2*n+1)[1:] // of no alignment
		var mono, left, right float64
		for i := range n {
			mono += float64(h[i]) * float64(x[i])
			left += float64(h[i]) * float64(x[2*i])
			right += float64(h[i]) * float64(x[2*i+1])
		}
		near := func(name string, got float32, want float64) {
			if math.Abs(float64(got)-want) > 1e-5 {
				t.Errorf("%s of %d is %v, want %v", name, n, got, want)
			}
		}
		for name, f := range map[string]func(h, x []float32) float32{"dotMono": dotMono, "plainMono": plainMono} {
			near(name, f(h, x[:n]), mono)
		}
		for name, f := range map[string]func(h, x []float32) (float32, float32){"dotStereo": dotStereo, "plainStereo": plainStereo} {
			l, r := f(h, x)
			near(name+" left", l, left)
			near(name+" right", r, right)
		}
		near("dotStrided", dotStrided(h, x[1:], 2), right)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	r := newTest(t, 44100, 48000, 2)
	src, dst := noise(1, 882), make([]float32, 960)
	if n := testing.AllocsPerRun(100, func() { r.Process(dst, src) }); n != 0 {
		t.Errorf("Process allocates %v times", n)
	}
}

func BenchmarkProcess(b *testing.B) {
	for _, rate := range []struct{ from, to, channels int }{{44100, 48000, 1}, {44100, 48000, 2}, {48000, 44100, 2}, {44100, 47999, 2}, {96000, 44100, 2}} {
		b.Run(fmt.Sprintf("%d-%d-%d", rate.from, rate.to, rate.channels), func(b *testing.B) {
			r := newTest(b, rate.from, rate.to, rate.channels)
			src, dst := noise(1, rate.from/100*rate.channels), make([]float32, (rate.to/100+2)*rate.channels)
			b.ReportAllocs()
			for b.Loop() {
				r.Process(dst, src)
			}
			// A round is 10 ms of sound.
			b.ReportMetric(0.01/(b.Elapsed().Seconds()/float64(b.N)), "x-realtime")
		})
	}
}

func BenchmarkNewFilter(b *testing.B) {
	for b.Loop() {
		newFilter(147, 160)
	}
}

func ExampleBank_New() {
	var bank Bank
	r, err := bank.New(44100, 48000, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	out := make([]float32, 1000)
	put, taken := r.Process(out, make([]float32, 441)) // 10 ms
	fmt.Println("taken", taken, "put", put, "owed", r.Owed())
	put = r.Drain(out)
	fmt.Println("put", put, "owed", r.Owed())
	// Output:
	// taken 441 put 446 owed 34
	// put 34 owed 0
}

func BenchmarkDot(b *testing.B) {
	h, x := noise(1, taps), noise(2, 2*taps)
	b.Run("stereo", func(b *testing.B) {
		for b.Loop() {
			sink, _ = dotStereo(h, x)
		}
	})
	b.Run("stereo, plain", func(b *testing.B) {
		for b.Loop() {
			sink, _ = plainStereo(h, x)
		}
	})
	b.Run("mono", func(b *testing.B) {
		for b.Loop() {
			sink = dotMono(h, x[:taps])
		}
	})
	b.Run("mono, plain", func(b *testing.B) {
		for b.Loop() {
			sink = plainMono(h, x[:taps])
		}
	})
}

var sink float32
