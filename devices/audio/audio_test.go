package audio

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func device(t testing.TB, c Config) *clonefs.Device[*Voice] {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func attach(t testing.TB, c Config) *clonetest.Client {
	t.Helper()
	fs, err := clonefs.New(clonefs.Config{}, device(t, c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close(t.Context()) })
	return clonetest.Attach(t, fs, clonetest.Super)
}

func TestConformance(t *testing.T) {
	clonetest.Run(t, func(t *testing.T) clonefs.Driver { return device(t, DefaultConfig()) }, clonetest.Options{
		Limited: func(t *testing.T, convs, perUser int) clonefs.Driver {
			c := DefaultConfig()
			c.Limit, c.PerUser = convs, perUser
			return device(t, c)
		},
	})
}

func f32(x []float32) []byte {
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// The mix of voices that start and stop at odd places, with gains of their own, is what a naive mixer in float64 makes of them.
func TestMixIsTheNaiveMix(t *testing.T) {
	for _, block := range []time.Duration{time.Millisecond, 7 * time.Millisecond, 10 * time.Millisecond, 33 * time.Millisecond} {
		c := DefaultConfig()
		c.Block, c.Latency = block, maxLatency
		m := newMixer(c)
		rnd := rand.New(rand.NewPCG(1, uint64(block)))
		const total = 30000
		want := make([]float64, 2*total)
		var voices []*Voice
		for i := range 9 {
			v := newVoice(m, nil)
			ch := 1 + i%2
			if err := v.setFormat(t.Context(), []string{[]string{"f32c1r44100", "f32c2r44100"}[ch-1]}); err != nil {
				t.Fatal(err)
			}
			v.gainDB, v.balance, v.at = float64(-3*i), 25*i-100, int64(rnd.IntN(9000))
			x := make([]float32, ch*(1+rnd.IntN(20000)))
			for k := range x {
				x[k] = (rnd.Float32() - 0.5) / 8
			}
			if n, err := v.stream.Write(f32(x)); err != nil || n != 4*len(x) {
				t.Fatal(n, err)
			}
			g := v.gainsLocked()
			for k := range len(x) / ch {
				at := 2 * (int(v.at) + k)
				want[at] += float64(x[k*ch]) * float64(g[0])
				want[at+1] += float64(x[k*ch+ch-1]) * float64(g[1])
			}
			voices = append(voices, v)
			t.Cleanup(func() { v.finish(true) })
		}
		var got []float32
		for len(got) < len(want) {
			m.block(voices, [2]float32{1, 1})
			got = append(got, m.mix...)
		}
		for k := range want {
			if d := math.Abs(float64(got[k]) - want[k]); d > 1e-6 {
				t.Fatalf("block %v: sample %d is %g, naively %g", block, k, got[k], want[k])
			}
		}
	}
}

// What is written and closed plays out into the WAV file, sample by sample.
func TestClosedVoicePlaysOut(t *testing.T) {
	c := DefaultConfig()
	c.Root = t.TempDir()
	c.Sink = "wav out.wav"
	cl := attach(t, c)
	ctl := cl.MustOpen("audio/clone", p9.ReadWrite)
	n, err := ctl.All()
	if err != nil {
		t.Fatal(err)
	}
	dir := "audio/" + strings.TrimSpace(n)
	var sound []byte
	for i := range 30000 {
		sound = binary.LittleEndian.AppendUint16(sound, uint16(int16(1+i%9999)))
	}
	if err := cl.WriteFile(dir+"/tx", string(sound)); err != nil {
		t.Fatal(err)
	}
	if err := ctl.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		b, err := os.ReadFile(filepath.Join(c.Root, "out.wav"))
		if err == nil && strings.Contains(string(b), string(sound)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the file has %d bytes and not the sound (%v)", len(b), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A read of wait returns how many frames were played, once they were.
func TestWaitTellsWhatWasPlayed(t *testing.T) {
	for _, format := range []string{"s16c2r44100", "s16c1r48000", "f32c2r8000"} {
		cl := attach(t, DefaultConfig())
		ctl := cl.MustOpen("audio/clone", p9.ReadWrite)
		n, _ := ctl.All()
		dir := "audio/" + strings.TrimSpace(n)
		if err := cl.WriteFile(dir+"/ctl", "format "+format); err != nil {
			t.Fatal(err)
		}
		if err := cl.WriteFile(dir+"/tx", strings.Repeat("\x00", 8000)); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"s16c2r44100": "played 2000\n", "s16c1r48000": "played 4000\n", "f32c2r8000": "played 1000\n"}[format]
		if got, err := cl.ReadFile(dir + "/wait"); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", format, got, err, want)
		}
	}
}

// The meter is right within 0.1 dB on a sine, and the limiter keeps the mix within full scale.
func TestMeterAndLimiter(t *testing.T) {
	c := DefaultConfig()
	c.Latency = time.Second
	m := newMixer(c)
	v := newVoice(m, nil)
	defer v.finish(true)
	if err := v.setFormat(t.Context(), []string{"f32c1r44100"}); err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 44100/2)
	for k := range x {
		x[k] = float32(0.5 * math.Sin(2*math.Pi*1000*float64(k)/44100))
	}
	v.stream.Write(f32(x))
	v.gainDB = 12
	for range 20 {
		m.block([]*Voice{v}, [2]float32{1, 1})
		for _, s := range m.mix {
			if s > 1 || s < -1 {
				t.Fatalf("the mix has a sample of %g", s)
			}
		}
	}
	if m.clipped.Load() == 0 {
		t.Error("nothing was limited")
	}
	if got, want := v.meter.String(), "left peak 5.98 rms 2.97\nright peak 5.98 rms 2.97\n"; got != want {
		t.Errorf("meter says %q, want %q", got, want)
	}
}

func TestBadControlMessages(t *testing.T) {
	cl := attach(t, DefaultConfig())
	ctl := cl.MustOpen("audio/clone", p9.ReadWrite)
	for _, s := range []string{
		"format nonsense", "format s16c0", "format s16c65", "format s16r0", "format s16r10000000", "gain 1000", "gain NaN", "gain x",
		"balance 101", "mute maybe", "latency 0", "latency 1e9", "latency 2501", "at -1", "at 99999999999999",
	} {
		_, err := ctl.WriteAt([]byte(s), 0)
		clonetest.CheckError(t, s, err, linux.EINVAL, "")
	}
}
