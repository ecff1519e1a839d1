package pcm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// naive is the number that one sample says, in float64.
func naive(f Format, b []byte) float64 {
	if f.Encoding == Float {
		if f.Bits == 64 {
			return math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	var v uint64
	for i := range b {
		j := i
		if f.Encoding == SignedLittle || f.Encoding == UnsignedLittle {
			j = len(b) - 1 - i
		}
		v = v<<8 | uint64(b[j])
	}
	full := math.Pow(2, float64(f.Bits-1))
	v &= 1<<f.Bits - 1
	x := float64(v)
	switch f.Encoding {
	case SignedLittle, SignedBig:
		if x >= full {
			x -= 2 * full
		}
	default:
		x -= full
	}
	return x / full
}

// integers are all formats of whole numbers.
func integers() (all []Format) {
	for _, e := range []Encoding{SignedLittle, UnsignedLittle, SignedBig, UnsignedBig} {
		for bits := 1; bits <= 32; bits++ {
			all = append(all, Format{e, bits, 1, 8000})
		}
	}
	return all
}

func TestDecodeIsTheNaiveDecoder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	formats := append(integers(), Format{Float, 32, 1, 8000}, Format{Float, 64, 1, 8000})
	for _, f := range formats {
		for n := range 20 {
			src := make([]byte, n*f.SampleBytes()+random.IntN(f.SampleBytes()))
			for i := range src {
				src[i] = byte(random.Uint32())
			}
			if f.Encoding == Float {
				for i := range n {
					x := random.Float64()*4 - 2
					if f.Bits == 64 {
						binary.LittleEndian.PutUint64(src[8*i:], math.Float64bits(x))
					} else {
						binary.LittleEndian.PutUint32(src[4*i:], math.Float32bits(float32(x)))
					}
				}
			}
			dst := make([]float32, n+1)
			dst[n] = 42
			got, bad := f.Decode(dst, src)
			if got != n || bad != 0 || dst[n] != 42 {
				t.Fatalf("%v: Decode of %d bytes gives %d samples, %d bad, want %d; behind them is %v", f, len(src), got, bad, n, dst[n])
			}
			for i := range n {
				want := float32(naive(f, src[i*f.SampleBytes():(i+1)*f.SampleBytes()]))
				if dst[i] != want {
					t.Fatalf("%v: sample %d of %d, % x, is %v, want %v", f, i, n, src[i*f.SampleBytes():(i+1)*f.SampleBytes()], dst[i], want)
				}
			}
		}
	}
}

func TestPlainS16(t *testing.T) {
	for n := range 40 {
		src := make([]byte, 2*n)
		for i := range src {
			src[i] = byte(37 * i)
		}
		got, want := make([]float32, n), make([]float32, n)
		plainS16(got, src)
		Default.Decode(want, src)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("sample %d of %d is %v, want %v", i, n, got[i], want[i])
			}
		}
	}
}

// Of what float32 can hold nothing is lost on the way there and back.
func TestIntegersComeBack(t *testing.T) {
	for _, f := range integers() {
		if f.Bits > 24 {
			continue
		}
		step := max(1, 1<<f.Bits/(1<<16))
		for v := 0; v < 1<<f.Bits; v += step {
			src := make([]byte, f.SampleBytes())
			w := uint32(v)
			if f.Encoding == SignedLittle || f.Encoding == SignedBig { // its sign fills the byte
				w = uint32(int32(w<<(32-f.Bits)) >> (32 - f.Bits))
			}
			for j := range src {
				k := j
				if f.Encoding == SignedBig || f.Encoding == UnsignedBig {
					k = len(src) - 1 - j
				}
				src[k] = byte(w >> (8 * j))
			}
			var x [1]float32
			f.Decode(x[:], src)
			dst := make([]byte, len(src))
			f.Encode(dst, x[:])
			if !bytes.Equal(src, dst) {
				t.Fatalf("%v: % x becomes %v becomes % x", f, src, x[0], dst)
			}
		}
	}
}

func TestEncodeRoundsAndStopsAtFullScale(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, test := range []struct {
		word string
		in   float32
		want int32
		bad  int
	}{
		{"s16", 1, 32767, 0},
		{"s16", 0.99999, 32767, 0},
		{"s16", -1, -32768, 0},
		{"s16", 1.4 / 32768, 1, 0},
		{"s16", 1.6 / 32768, 2, 0},
		{"s16", -1.4 / 32768, -1, 0},
		{"s16", -1.6 / 32768, -2, 0},
		{"s16", 0.5 / 32768, 0, 0}, // a half goes to the even neighbour
		{"s16", 1.5 / 32768, 2, 0},
		{"s16", 2, 32767, 0},
		{"s16", -2, -32768, 0},
		{"s16", 1e30, 32767, 0},
		{"s16", inf, 32767, 0},
		{"s16", -inf, -32768, 0},
		{"s16", nan, 0, 1},
		{"s17", 1.4 / 65536, 1, 0},
		{"s17", 2.5 / 65536, 2, 0},
		{"s17", nan, 0, 1},
		{"s17", inf, 65535, 0},
		{"s17", -inf, -65536, 0},
		{"s32", 1, math.MaxInt32, 0},
		{"s32", -1, math.MinInt32, 0},
		{"s32", inf, math.MaxInt32, 0},
		{"s32", 0.5, 1 << 30, 0},
	} {
		f, err := Parse(test.word)
		if err != nil {
			t.Fatal(err)
		}
		var b [4]byte
		n, bad := f.Encode(b[:], []float32{test.in})
		got := int32(binary.LittleEndian.Uint32(b[:]))
		if f.Bits == 16 {
			got = int32(int16(got))
		} else if f.Bits < 32 {
			got = got << 8 >> 8
		}
		if n != 1 || got != test.want || bad != test.bad {
			t.Errorf("%s: %v becomes %d, %d bad, want %d, %d bad", test.word, test.in, got, bad, test.want, test.bad)
		}
	}
}

func TestWhatIsNoSoundIsSilenceAndCounted(t *testing.T) {
	in := []float64{0.5, math.NaN(), math.Inf(1), math.Inf(-1), 1e30, -1e30, Loudest, -Loudest, 1e-40, 0, math.Copysign(0, -1), -0.25}
	want := []float32{0.5, 0, 0, 0, 0, 0, Loudest, -Loudest, 0, 0, 0, -0.25}
	const bad = 5
	for _, f := range []Format{{Float, 32, 1, 8000}, {Float, 64, 1, 8000}} {
		src := make([]byte, len(in)*f.SampleBytes())
		for i, x := range in {
			if f.Bits == 64 {
				binary.LittleEndian.PutUint64(src[8*i:], math.Float64bits(x))
			} else {
				binary.LittleEndian.PutUint32(src[4*i:], math.Float32bits(float32(x)))
			}
		}
		dst := make([]float32, len(in))
		n, gotBad := f.Decode(dst, src)
		if n != len(in) || gotBad != bad {
			t.Errorf("%v: %d samples, %d bad, want %d, %d bad", f, n, gotBad, len(in), bad)
		}
		for i := range want {
			if dst[i] != want[i] {
				t.Errorf("%v: %v becomes %v, want %v", f, in[i], dst[i], want[i])
			}
		}
		nan := float32(math.NaN())
		inf := float32(math.Inf(1))
		back := make([]byte, 3*f.SampleBytes())
		if _, gotBad := f.Encode(back, []float32{nan, inf, -inf}); gotBad != 3 || !bytes.Equal(back, make([]byte, len(back))) {
			t.Errorf("%v: encodes NaN and infinities as % x, %d bad", f, back, gotBad)
		}
	}
}

// G.711: every byte is what sox takes it for, and every linear value becomes what sox has for it.
func TestLawsAreThoseOfSox(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	linear := make([]byte, 1<<17)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(linear[2*i:], uint16(i))
	}
	for word, name := range map[string]string{"a8": "a-law", "m8": "mu-law"} {
		steps := map[string]int{"a8": 8, "m8": 4}[word] // of 13 and 14 bits
		f, err := Parse(word)
		if err != nil {
			t.Fatal(err)
		}
		law := []string{"-t", "raw", "-r", "8000", "-c", "1", "-e", name, "-b", "8", "-"}
		s16 := []string{"-t", "raw", "-r", "8000", "-c", "1", "-e", "signed-integer", "-b", "16", "-L", "-"}

		want := sox(t, all, law, s16)
		samples := make([]float32, len(all))
		f.Decode(samples, all)
		got := make([]byte, 2*len(all))
		Default.Encode(got, samples)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: bytes become % x, sox has % x", word, got, want)
		}

		want = sox(t, linear, s16, law)
		samples = make([]float32, len(linear)/2)
		Default.Decode(samples, linear)
		got = make([]byte, len(samples))
		f.Encode(got, samples)
		for i := 0; i < len(got); i += steps { // what stands between, sox rounds away first
			if got[i] != want[i] {
				t.Errorf("%s: %d becomes %#x, sox has %#x", word, int16(i), got[i], want[i])
			}
		}
	}
}

// sox has sox change data from one format to another.
func sox(t *testing.T, data []byte, from, to []string) []byte {
	t.Helper()
	args := append(append([]string{"-D"}, from...), to...)
	cmd := exec.Command("sox", args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(data), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sox (Debian's package sox) %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

func TestBytesOfSilence(t *testing.T) {
	for _, f := range append(integers(), Format{Float, 32, 1, 8000}, Format{Float, 64, 1, 8000}, Format{ALaw, 8, 1, 8000}, Format{MuLaw, 8, 1, 8000}) {
		got := make([]byte, f.SampleBytes())
		f.Encode(got, []float32{0})
		b, ok := f.SilenceByte()
		same := bytes.Equal(got, bytes.Repeat([]byte{b}, len(got)))
		if ok != same {
			t.Errorf("%v: silence is % x; SilenceByte says %#x, %v", f, got, b, ok)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, word := range []string{"s16", "s24", "s32", "f32", "f64", "u8", "S16", "a8"} {
		b.Run(word, func(b *testing.B) {
			f, err := Parse(word)
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]float32, 960)
			src := make([]byte, len(dst)*f.SampleBytes())
			f.Encode(src, tone(len(dst)))
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				f.Decode(dst, src)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, word := range []string{"s16", "s24", "s32", "f32"} {
		b.Run(word, func(b *testing.B) {
			f, err := Parse(word)
			if err != nil {
				b.Fatal(err)
			}
			src := tone(960)
			dst := make([]byte, len(src)*f.SampleBytes())
			b.SetBytes(int64(len(dst)))
			b.ReportAllocs()
			for b.Loop() {
				f.Encode(dst, src)
			}
		})
	}
}

func tone(n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(0.5 * math.Sin(float64(i)/7))
	}
	return s
}

func ExampleParse() {
	f, err := Parse("S24c6r96000")
	fmt.Println(f, f.FrameBytes(), err)
	_, err = Parse("s16c65r44100")
	fmt.Println(err)
	// Output:
	// S24c6r96000 18 <nil>
	// format "s16c65r44100": 65 channels: there are 1 to 64
}
