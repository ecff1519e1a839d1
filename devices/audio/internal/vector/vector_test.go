package vector

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// noise is n samples between -1 and 1.
func noise(seed uint64, n int) []float32 {
	random := rand.New(rand.NewPCG(seed, 0))
	s := make([]float32, n)
	for i := range s {
		s[i] = random.Float32()*2 - 1
	}
	return s
}

// Every loop is compared with one in float64 that does a sample at a time, for every length up to what three rounds of the unrolled
// loops take and more, odd ones too, and with samples behind the end that must stay.
func TestLoopsAreTheNaiveOnes(t *testing.T) {
	const longest, behind = 70, 9
	ramp := func(r Ramp, i, n int) float64 {
		return float64(r.From) + (float64(r.To)-float64(r.From))*float64(i)/float64(n)
	}
	left, right := Ramp{0.25, -0.75}, Ramp{1.5, 0.5}
	for _, test := range []struct {
		name string
		in   int // channels of src
		loop func(dst, src []float32)
		want func(dst, src []float64)
	}{
		{"Add", 1, func(dst, src []float32) { Add(dst, src, 0.7) }, func(dst, src []float64) {
			for i := range src {
				dst[i] += src[i] * float64(float32(0.7))
			}
		}},
		{"AddStereo", 2, func(dst, src []float32) { AddStereo(dst, src, 0.7, -0.2) }, func(dst, src []float64) {
			for i := range len(src) / 2 {
				dst[2*i] += src[2*i] * float64(float32(0.7))
				dst[2*i+1] += src[2*i+1] * float64(float32(-0.2))
			}
		}},
		{"AddMono", 1, func(dst, src []float32) { AddMono(dst, src, 0.7, -0.2) }, func(dst, src []float64) {
			for i := range min(len(src), len(dst)/2) {
				dst[2*i] += src[i] * float64(float32(0.7))
				dst[2*i+1] += src[i] * float64(float32(-0.2))
			}
		}},
		{"plainAdd", 1, func(dst, src []float32) { plainAdd(dst[:len(src)], src, 0.7, -0.2) }, func(dst, src []float64) {
			for i := range src {
				dst[i] += src[i] * float64([]float32{0.7, -0.2}[i%2])
			}
		}},
		{"plainAddMono", 1, func(dst, src []float32) { plainAddMono(dst[:2*len(src)], src, 0.7, -0.2) }, func(dst, src []float64) {
			for i := range src {
				dst[2*i] += src[i] * float64(float32(0.7))
				dst[2*i+1] += src[i] * float64(float32(-0.2))
			}
		}},
		{"RampStereo", 2, func(dst, src []float32) { RampStereo(dst, src, left, right) }, func(dst, src []float64) {
			for i := range len(src) / 2 {
				dst[2*i] += src[2*i] * ramp(left, i, len(src)/2)
				dst[2*i+1] += src[2*i+1] * ramp(right, i, len(src)/2)
			}
		}},
		{"RampMono", 1, func(dst, src []float32) { RampMono(dst, src, left, right) }, func(dst, src []float64) {
			n := min(len(src), len(dst)/2)
			for i := range n {
				dst[2*i] += src[i] * ramp(left, i, n)
				dst[2*i+1] += src[i] * ramp(right, i, n)
			}
		}},
		{"Scale", 1, func(dst, src []float32) { Scale(dst[:len(src)], 0.3) }, func(dst, src []float64) {
			for i := range src {
				dst[i] *= float64(float32(0.3))
			}
		}},
	} {
		for n := range longest {
			got, src := noise(1, 2*longest+behind), noise(uint64(n)+2, n)
			want, wide := make([]float64, len(got)), make([]float64, n)
			for i, x := range got {
				want[i] = float64(x)
			}
			for i, x := range src {
				wide[i] = float64(x)
			}
			test.loop(got, src)
			test.want(want, wide)
			compare(t, fmt.Sprintf("%s of %d samples", test.name, n), got, want)
		}
	}
}

// dst may be the shorter.
func TestLoopsStayWithinDst(t *testing.T) {
	for n := range 40 {
		whole, src := noise(1, 100), noise(2, 100)
		for name, loop := range map[string]func(dst []float32){
			"Add":        func(dst []float32) { Add(dst, src, 1) },
			"AddStereo":  func(dst []float32) { AddStereo(dst, src, 1, 1) },
			"AddMono":    func(dst []float32) { AddMono(dst, src, 1, 1) },
			"RampStereo": func(dst []float32) { RampStereo(dst, src, Ramp{0, 1}, Ramp{1, 0}) },
			"RampMono":   func(dst []float32) { RampMono(dst, src, Ramp{0, 1}, Ramp{1, 0}) },
		} {
			got := append([]float32(nil), whole...)
			loop(got[:n:n])
			for i := n; i < len(got); i++ {
				if got[i] != whole[i] {
					t.Fatalf("%s of %d changes sample %d", name, n, i)
				}
			}
		}
	}
}

func compare(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	for i := range want {
		if math.Abs(float64(got[i])-want[i]) > 1e-6 {
			t.Fatalf("%s: sample %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestPeakAndEnergyAreTheNaiveOnes(t *testing.T) {
	for n := range 600 {
		s := noise(uint64(n), n)
		var peak, energy [2]float64
		whole := 0.0
		for i, x := range s {
			a := math.Abs(float64(x))
			whole = max(whole, a)
			if i < n/2*2 {
				peak[i%2] = max(peak[i%2], a)
				energy[i%2] += a * a
			}
		}
		if got := Peak(s); float64(got) != whole {
			t.Fatalf("Peak of %d is %v, want %v", n, got, whole)
		}
		if l, r := PeakStereo(s); float64(l) != peak[0] || float64(r) != peak[1] {
			t.Fatalf("PeakStereo of %d is %v, %v, want %v", n, l, r, peak)
		}
		if l, r := plainPeak(s); float64(max(l, r)) != whole {
			t.Fatalf("plainPeak of %d is %v, %v, want %v", n, l, r, whole)
		}
		if l, r := plainEnergy(s[:n&^1]); math.Abs(float64(l)-energy[0]) > 1e-4 || math.Abs(float64(r)-energy[1]) > 1e-4 {
			t.Fatalf("plainEnergy of %d is %v, %v, want %v", n, l, r, energy)
		}
		l, r := EnergyStereo(s)
		for c, got := range []float64{l, r} {
			if math.Abs(got-energy[c]) > 1e-6*(1+energy[c]) {
				t.Fatalf("EnergyStereo of %d is %v in channel %d, want %v", n, got, c, energy[c])
			}
		}
	}
}

func TestEnergyOfALongSoundIsExact(t *testing.T) {
	s := make([]float32, 2*48000*60)
	for i := range s {
		s[i] = 0.1
	}
	x := float64(float32(0.1))
	want := x * x * float64(len(s)/2)
	if l, r := EnergyStereo(s); math.Abs(l/want-1) > 1e-5 || l != r {
		t.Errorf("the energy of a minute is %v, %v, want %v", l, r, want)
	}
}

func BenchmarkLoops(b *testing.B) {
	dst, src := noise(1, 960), noise(2, 960)
	for _, loop := range []struct {
		name string
		f    func()
	}{
		{"Add", func() { Add(dst, src, 1e-9) }},
		{"AddStereo", func() { AddStereo(dst, src, 1e-9, 2e-9) }},
		{"AddMono", func() { AddMono(dst, src[:480], 1e-9, 2e-9) }},
		{"RampStereo", func() { RampStereo(dst, src, Ramp{0, 1e-9}, Ramp{1e-9, 0}) }},
		{"Scale", func() { Scale(dst, minus) }},
		{"PeakStereo", func() { sink, _ = PeakStereo(src) }},
		{"EnergyStereo", func() { l, _ := EnergyStereo(src); sink = float32(l) }},
	} {
		b.Run(loop.name, func(b *testing.B) {
			b.SetBytes(int64(4 * len(dst)))
			b.ReportAllocs()
			for b.Loop() {
				loop.f()
			}
		})
	}
}

var sink, minus float32 = 0, -1
