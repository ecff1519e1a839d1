package pcm

import (
	"strings"
	"testing"
)

func TestWordsOfFormats(t *testing.T) {
	for _, test := range []struct {
		word string
		want Format
	}{
		{"s16c2r44100", Format{SignedLittle, 16, 2, 44100}},
		{"r44100c2s16", Format{SignedLittle, 16, 2, 44100}},
		{"u8c1r8000", Format{UnsignedLittle, 8, 1, 8000}},
		{"S24c6r96000", Format{SignedBig, 24, 6, 96000}},
		{"U16c2r22050", Format{UnsignedBig, 16, 2, 22050}},
		{"s1c1r100", Format{SignedLittle, 1, 1, 100}},
		{"s32c64r768000", Format{SignedLittle, 32, 64, 768000}},
		{"f32", Format{Float, 32, 2, 44100}},
		{"f64c1", Format{Float, 64, 1, 44100}},
		{"a8c1r8000", Format{ALaw, 8, 1, 8000}},
		{"m8c1r8000", Format{MuLaw, 8, 1, 8000}},
		{"µ8c1r8000", Format{MuLaw, 8, 1, 8000}},
		{"μ8c1r8000", Format{MuLaw, 8, 1, 8000}},
		{"r48000", Format{SignedLittle, 16, 2, 48000}},
		{"c1", Format{SignedLittle, 16, 1, 44100}},
	} {
		got, err := Parse(test.word)
		if err != nil || got != test.want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", test.word, got, err, test.want)
			continue
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("Parse(%q) = %+v, %v, want %+v again", got.String(), again, err, got)
		}
	}
}

func TestWordsThatAreNoFormat(t *testing.T) {
	for _, test := range []struct{ word, why string }{
		{"", "empty word"},
		{"auto", "wants a number behind it"},
		{"mp3", "wants a number behind it"},
		{"x16", `begins with 'x'`},
		{"s16 c2", `begins with ' '`},
		{"s16c", "wants a number behind it"},
		{"s-16", "wants a number behind it"},
		{"s16c0r44100", "0 channels: there are 1 to 64"},
		{"s16c65r44100", "65 channels: there are 1 to 64"},
		{"s16c2r0", "rate 0: there are 100 to 768000"},
		{"s16c2r10000000", "rate 10000000: there are 100 to 768000"},
		{"s0", "integers of 0 bits"},
		{"u33", "integers of 33 bits"},
		{"f16", "f32 and f64"},
		{"a16", "a8 only"},
		{"m7", "m8 only"},
		{"s16u16", "twice"},
		{"s16c1c2", "twice"},
		{"s99999999999999999999", "too large"},
		{"\xff16", "begins with"},
	} {
		f, err := Parse(test.word)
		if err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", test.word, f)
		} else if !strings.Contains(err.Error(), test.why) {
			t.Errorf("Parse(%q): %q does not say %q", test.word, err, test.why)
		} else if f != (Format{}) {
			t.Errorf("Parse(%q) = %+v beside an error", test.word, f)
		}
	}
}

func TestBytesOfAFrame(t *testing.T) {
	for word, want := range map[string]int{"s1c1": 1, "s8c2": 2, "s9c2": 4, "S20c2": 6, "u32c3": 12, "f64c64": 512, "a8c2": 2} {
		f, err := Parse(word)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.FrameBytes(); got != want {
			t.Errorf("a frame of %s has %d bytes, want %d", word, got, want)
		}
	}
}

// Whatever Parse takes, String says again, and Decode and Encode can do.
func FuzzParse(f *testing.F) {
	for _, word := range []string{"s16c2r44100", "f32", "µ8c1r8000", "S24c6r96000", "u1c64r768000", "s16c0", "r10000000", "a8m8", "s16c2r44100x"} {
		f.Add(word, []byte{0, 1, 0x80, 0xff, 0x7f, 0xc0, 0, 0, 0xf8, 0x7f})
	}
	f.Fuzz(func(t *testing.T, word string, data []byte) {
		format, err := Parse(word)
		if err != nil {
			return
		}
		if again, err := Parse(format.String()); err != nil || again != format {
			t.Fatalf("Parse(%q) = %v, but Parse(%q) = %v, %v", word, format, format, again, err)
		}
		samples := make([]float32, 100)
		n, bad := format.Decode(samples, data)
		if want := min(len(samples), len(data)/format.SampleBytes()); n != want || bad < 0 || bad > n {
			t.Fatalf("%v: Decode gives %d, %d bad, want %d", format, n, bad, want)
		}
		for _, x := range samples[:n] {
			if !(x >= -Loudest && x <= Loudest) {
				t.Fatalf("%v: a sample is %v", format, x)
			}
		}
		out := make([]byte, n*format.SampleBytes())
		if m, bad := format.Encode(out, samples[:n]); m != n || bad != 0 {
			t.Fatalf("%v: Encode takes %d, %d bad, want %d", format, m, bad, n)
		}
	})
}
