package decode

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// A listener is a stream and what comes out of it, one stretch after another.
type listener struct {
	t testing.TB
	*Stream
	changed chan struct{}
	heard   []heard
}

type heard struct {
	sound   Sound
	samples []float32
}

func listen(t testing.TB, c Config) *listener {
	t.Helper()
	l := &listener{t: t, changed: make(chan struct{}, 1)}
	c.Changed = func() {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
	l.Stream = New(c)
	t.Cleanup(func() { l.Close() })
	return l
}

// read takes what there is.
func (l *listener) read() (some bool) {
	buf := make([]float32, 777)
	for {
		n, sound := l.Read(buf)
		if n == 0 {
			return some
		}
		some = true
		if k := len(l.heard); k == 0 || l.heard[k-1].sound != sound {
			l.heard = append(l.heard, heard{sound: sound})
		}
		h := &l.heard[len(l.heard)-1]
		h.samples = append(h.samples, buf[:n*sound.Channels]...)
	}
}

// wait waits until something has changed.
func (l *listener) wait() {
	l.t.Helper()
	select {
	case <-l.changed:
	case <-time.After(patience):
		l.t.Fatalf("nothing changes: status %+v, error %v", l.Status(), l.Err())
	}
}

// write writes data in pieces as long as cut says, and reads what comes.
func (l *listener) write(data []byte, cut func() int) error {
	l.t.Helper()
	for len(data) > 0 {
		piece := data[:min(len(data), max(1, cut()))]
		for len(piece) > 0 {
			n, err := l.Write(piece)
			if err != nil {
				return err
			}
			piece, data = piece[n:], data[n:]
			if !l.read() && n == 0 {
				l.wait()
			}
		}
	}
	return nil
}

// idle waits until all that was written has come.
func (l *listener) idle() {
	l.t.Helper()
	for {
		l.read()
		if l.Idle() {
			return
		}
		l.wait()
	}
}

func (l *listener) end() { l.t.Helper(); l.End(); l.idle() }

func whole() int { return math.MaxInt }

// play decodes data as a file of its own, and fails when there is an error.
func play(t testing.TB, data []byte, cut func() int) []heard {
	t.Helper()
	l := listen(t, Config{})
	if err := l.write(data, cut); err != nil {
		t.Fatal(err)
	}
	l.end()
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	return l.heard
}

// run runs a program of Debian's, with stdin, and returns its stdout.
func run(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// tones is n frames of a chord that differs in every channel, and has noise in it.
func tones(n, channels, rate int) []float32 {
	random := rand.New(rand.NewPCG(uint64(n), uint64(channels)))
	s := make([]float32, n*channels)
	for i := range n {
		for c := range channels {
			t := 2 * math.Pi * float64(i) / float64(rate)
			s[i*channels+c] = float32(0.4*math.Sin(t*440*(1+float64(c)/3)) + 0.3*math.Sin(t*1234) + 0.01*random.NormFloat64())
		}
	}
	return s
}

// encode is samples in a format.
func encode(f pcm.Format, x []float32) []byte {
	b := make([]byte, len(x)*f.SampleBytes())
	f.Encode(b, x)
	return b
}

// decoded is what samples in a format are, mixed down if they have a layout.
func decoded(f pcm.Format, b []byte, l layout) []float32 {
	x := make([]float32, len(b)/f.SampleBytes())
	f.Decode(x, b)
	if l != nil {
		x = l.mix(x, x)
	}
	return x
}

func format(t testing.TB, word string) pcm.Format {
	t.Helper()
	f, err := pcm.Parse(word)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// chunk is a chunk of a RIFF file, padded.
func chunk(id string, body []byte) []byte {
	b := append([]byte(id), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(body)))
	b = append(b, body...)
	if len(body)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

func riff(chunks ...[]byte) []byte {
	return chunk("RIFF", append([]byte("WAVE"), bytes.Join(chunks, nil)...))
}

// fmtChunk is the plain format chunk of f.
func fmtChunk(f pcm.Format) []byte {
	code := map[pcm.Encoding]uint16{pcm.Float: tagFloat, pcm.ALaw: tagALaw, pcm.MuLaw: tagMuLaw}[f.Encoding]
	if code == 0 {
		code = tagPCM
	}
	b := binary.LittleEndian.AppendUint16(nil, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(f.Channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Rate*f.FrameBytes()))
	b = binary.LittleEndian.AppendUint16(b, uint16(f.FrameBytes()))
	b = binary.LittleEndian.AppendUint16(b, uint16(f.Bits))
	return chunk("fmt ", b)
}

func wavFile(f pcm.Format, data []byte) []byte { return riff(fmtChunk(f), chunk("data", data)) }

// cuts are ways to cut a stream.
func cuts() map[string]func() int {
	random := rand.New(rand.NewPCG(7, 7))
	return map[string]func() int{
		"whole":   whole,
		"bytes":   func() int { return 1 },
		"sevens":  func() int { return 7 },
		"random":  func() int { return 1 + random.IntN(5000) },
		"of 4096": func() int { return 4096 },
	}
}

// same checks that one sound was heard, and what.
func same(t *testing.T, got []heard, sound Sound, want []float32) {
	t.Helper()
	near(t, got, sound, want, 0)
}

// near checks that one sound was heard, and what, within far.
func near(t *testing.T, got []heard, sound Sound, want []float32, far float64) {
	t.Helper()
	if len(want) == 0 && len(got) == 0 {
		return
	}
	if len(got) != 1 || got[0].sound != sound {
		t.Fatalf("%d sounds were heard, want one of %+v", len(got), sound)
	}
	if len(got[0].samples) != len(want) {
		t.Fatalf("%d samples were heard, want %d", len(got[0].samples), len(want))
	}
	for i, x := range got[0].samples {
		if math.Abs(float64(x)-float64(want[i])) > far {
			t.Fatalf("sample %d is %v, want %v", i, x, want[i])
		}
	}
}

func TestRawSamples(t *testing.T) {
	for name, cut := range cuts() {
		for _, word := range []string{"auto", "s16c2r44100", "u8c1r8000", "S24c6r48000", "f32c64r48000", "f64c1r100", "m8c2r8000", "s20c3r768000"} {
			t.Run(name+"/"+word, func(t *testing.T) {
				f, c := pcm.Default, Config{}
				if word != "auto" {
					f = format(t, word)
					c.Format = &f
				}
				data := encode(f, tones(2000, f.Channels, f.Rate))
				l := listen(t, c)
				if err := l.write(append(data, make([]byte, f.FrameBytes()-1)...), cut); err != nil {
					t.Fatal(err)
				}
				l.end()
				same(t, l.heard, Sound{min(2, f.Channels), f.Rate}, decoded(f, data, layoutOf(f.Channels)))
				if s := l.Status(); s.Kind != "raw" || s.Format != f || s.Frames != 2000 || s.Files != 0 || s.Skipped != 0 {
					t.Errorf("status %+v", s)
				}
			})
		}
	}
}

func TestWAVFiles(t *testing.T) {
	for _, word := range []string{"u8c1r8000", "u8c2r22050", "s16c1r44100", "s16c2r48000", "s24c2r96000", "s32c2r44100", "f32c2r48000", "f64c1r44100",
		"a8c1r8000", "m8c2r8000", "s16c3r44100", "s16c6r48000", "f32c8r48000"} {
		f := format(t, word)
		for _, n := range []int{0, 1, 999} {
			data := encode(f, tones(n, f.Channels, f.Rate))
			want := decoded(f, data, layoutOf(f.Channels))
			for name, cut := range cuts() {
				t.Run(word+"/"+name, func(t *testing.T) {
					file := riff(chunk("LIST", []byte("INFOx")), fmtChunk(f), chunk("fact", make([]byte, 4)), chunk("data", data), chunk("id3 ", []byte("odd")))
					same(t, play(t, file, cut), Sound{min(2, f.Channels), f.Rate}, want)
				})
			}
		}
	}
}

// Files that sox writes, plain and extensible, against what sox itself takes them for.
func TestWAVFilesOfSox(t *testing.T) {
	raw := encode(format(t, "s32c2r44100"), tones(3000, 2, 44100))
	in := []string{"sox", "-D", "-t", "raw", "-e", "signed", "-b", "32", "-c", "2", "-r", "44100", "-"}
	for _, out := range [][]string{{"-b", "8"}, {"-b", "16"}, {"-b", "24"}, {"-b", "32"}, {"-e", "floating-point", "-b", "32"},
		{"-e", "floating-point", "-b", "64"}, {"-e", "a-law", "-b", "8"}, {"-e", "mu-law", "-b", "8"}} {
		t.Run(strings.Join(out, ""), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.wav")
			run(t, raw, append(append(slices.Clone(in), out...), path)...)
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := decoded(format(t, "f32"), run(t, nil, "sox", "-D", path, "-t", "raw", "-e", "floating-point", "-b", "32", "-"), nil)
			// sox makes 24 bits of what becomes float.
			near(t, play(t, file, whole), Sound{2, 44100}, want, 1.0/(1<<24))
			// Into a pipe sox cannot say how long the file is.
			piped := run(t, raw, append(append(slices.Clone(in), out...), "-t", "wav", "-")...)
			near(t, play(t, piped, whole), Sound{2, 44100}, want, 1.0/(1<<24))
		})
	}
}
