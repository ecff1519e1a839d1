package audio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// What is heard at rx and at audio/audio is the mix, in the format of the voice that listens.
func TestListenersHearTheMix(t *testing.T) {
	r := newRig(t, DefaultConfig())
	n := r.m.size / 2
	player := r.voice(mono, "balance 50")
	var heard []func() []float32 // both channels
	for _, format := range []string{"f32c2r44100", "f32c1r44100", "s24c4r44100", "s16c2r44100"} {
		v := r.voice("format " + format)
		f := r.client.MustOpen(v.dir+"/rx", p9.ReadOnly)
		defer f.Close()
		heard = append(heard, func() []float32 { return samples(t, f, format, 4*n) })
	}
	shared := r.client.MustOpen("audio/audio", p9.ReadOnly)
	defer shared.Close()
	heard = append(heard, func() []float32 { return samples(t, shared, "s16c2r44100", 4*n) })

	player.play(steps(1<<15, 4*n))
	mix := r.rest()[:2*4*n]
	for i, listen := range heard {
		got := listen()
		channels := []int{2, 1, 4, 2, 2}[i]
		exact := []float64{0, 0, 1 << 23, 1 << 15, 1 << 15}[i]
		for k := range 4 * n {
			left, right := float64(mix[2*k]), float64(mix[2*k+1])
			want := []float64{left, right, 0, 0}[:channels]
			if channels == 1 {
				want = []float64{(left + right) / 2}
			}
			for ch, x := range want {
				far := 1e-7
				if exact > 0 {
					far = 0.51 / exact
				}
				if y := float64(got[k*channels+ch]); math.Abs(x-y) > far {
					t.Fatalf("listener %d: frame %d of channel %d is %g, want %g", i, k, ch, y, x)
				}
			}
		}
	}
}

// samples reads frames of a format, in reads that end within frames.
func samples(t *testing.T, f *clonetest.File, format string, frames int) []float32 {
	t.Helper()
	word, err := pcm.Parse(format)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	p := make([]byte, 1001)
	for len(b) < frames*word.FrameBytes() {
		n, err := f.Read(t.Context(), p, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, p[:n]...)
	}
	x := make([]float32, frames*word.Channels)
	word.Decode(x, b)
	return x
}

// A listener at another rate hears the same tone.
func TestListenerAtAnotherRate(t *testing.T) {
	c := DefaultConfig()
	c.Latency = maxLatency
	r := newRig(t, c)
	player := r.voice(mono)
	v := r.voice("format f32c1r8000")
	f := r.client.MustOpen(v.dir+"/rx", p9.ReadOnly)
	defer f.Close()
	x := make([]float32, 44100)
	for i := range x {
		x[i] = float32(0.5 * math.Sin(2*math.Pi*1000*float64(i)/44100))
	}
	player.play(f32(x))
	r.rest()
	got := samples(t, f, "f32c1r8000", 7500)[500:]
	var re, im float64
	for i, y := range got {
		sin, cos := math.Sincos(2 * math.Pi * 1000 * float64(i) / 8000)
		re += float64(y) * cos
		im += float64(y) * sin
	}
	if level := 2 * math.Hypot(re, im) / float64(len(got)); math.Abs(level-0.5) > 0.0005 {
		t.Errorf("the tone of 0.5 has a level of %g", level)
	}
}

// A listener who does not read loses the oldest, and whole frames of it.
func TestSlowListenerLosesWholeFrames(t *testing.T) {
	m := newMixer(DefaultConfig())
	l, err := m.listen(&pcm.Format{Encoding: pcm.SignedLittle, Bits: 16, Channels: 2, Rate: 44100})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	block := make([]float32, m.size)
	push := func(k int) { // left is a number, right the same below zero
		for i := 0; i < len(block); i += 2 {
			block[i], block[i+1] = float32(k)/1000, -float32(k)/1000
		}
		l.push(block)
	}
	p := make([]byte, 1000) // no whole number of frames, but for the rule
	k := 0
	for range 40 {
		for range 150 { // more than is held
			push(k % 1000)
			k++
		}
		n, err := l.ReadContext(t.Context(), p[:997], 0)
		if err != nil || n != 996 {
			t.Fatalf("a read of 997 bytes gives %d, %v", n, err)
		}
		for i := 0; i < n; i += 4 {
			left, right := int16(binary.LittleEndian.Uint16(p[i:])), int16(binary.LittleEndian.Uint16(p[i+2:]))
			if left != -right {
				t.Fatalf("a frame is %d and %d: what was lost was not whole", left, right)
			}
		}
	}
	if l.Drops() == 0 {
		t.Error("nothing was lost")
	}
}

// audio/volume has the master and a line for each voice, and takes the same lines from whom they belong to.
func TestVolumeOfAllVoices(t *testing.T) {
	r := newRig(t, DefaultConfig())
	a := r.voice()
	bob := clonetest.Attach(t, r.fs, clonetest.Bob)
	ctl := bob.MustOpen("audio/clone", p9.ReadWrite)
	defer ctl.Close()
	b, _ := ctl.Number()
	mine := strings.TrimPrefix(a.dir, "audio/")
	check := func(who *clonetest.Client, text string, errno linux.Errno, want string) {
		t.Helper()
		err := who.WriteFile("audio/volume", text)
		if errno == 0 && err != nil {
			t.Errorf("%q: %v", text, err)
		} else if errno != 0 {
			clonetest.CheckError(t, text, err, errno, "")
		}
		if got, err := who.ReadFile("audio/volume"); err != nil || got != want {
			t.Errorf("after %q volume is %q, %v; want %q", text, got, err, want)
		}
	}
	text := func(master, va, vb string) string {
		return "master " + master + "\n" + mine + " " + va + "\n" + b + " " + vb + "\n"
	}
	check(r.client, "40", 0, text("40 40", "100 100", "100 100"))
	check(bob, "master 50 60", 0, text("50 60", "100 100", "100 100"))
	check(bob, b+" 1 2\n"+mine+" 3 4", linux.EPERM, text("50 60", "100 100", "1 2"))
	check(r.client, b+" 7\n"+mine+" 3 4", 0, text("50 60", "3 4", "7 7"))
	check(r.client, "99 1 2", linux.ENOENT, text("50 60", "3 4", "7 7"))
	for _, bad := range []string{"master", "101", "-1", "master 1 2 3", "x 1 2", "NaN"} {
		check(r.client, bad, linux.EINVAL, text("50 60", "3 4", "7 7"))
	}
}

// audioctl is the superuser's, and changes the sink between two blocks.
func TestAudioctl(t *testing.T) {
	c := DefaultConfig()
	c.Root = t.TempDir()
	c.PulseServer = "unix:" + filepath.Join(c.Root, "nobody-listens-here")
	r := newRig(t, c)
	bob := clonetest.Attach(t, r.fs, clonetest.Bob)
	if _, err := bob.Open("audio/audioctl", p9.WriteOnly); !errors.Is(err, linux.EACCES) {
		t.Errorf("bob opens audioctl: %v", err)
	}
	for _, tt := range []struct {
		text  string
		errno linux.Errno
		words string
	}{
		{"sink pulse", linux.ECONNREFUSED, "no sound server answers"},
		{"sink dsp", linux.EINVAL, "sink wants pulse|null, or wav PATH"},
		{"sink wav", linux.EINVAL, "sink wants"},
		{"sink wav ../out.wav", linux.EACCES, "lies outside"},
		{"sink wav /etc/passwd", linux.EACCES, "lies outside"},
		{"sink wav .", linux.EINVAL, "no regular file"},
		{"latency 0", linux.EINVAL, "latency"},
		{"format s16", linux.EINVAL, "unknown control message: format"},
	} {
		err := r.client.WriteFile("audio/audioctl", tt.text)
		clonetest.CheckError(t, tt.text, err, tt.errno, "")
		if err != nil && !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %q, want %q in it", tt.text, err, tt.words)
		}
	}

	n := r.m.size / 2
	v := r.voice(mono)
	v.play(steps(0, 3*n))
	r.next() // the first block, which the old sink does not take any more
	if err := r.client.WriteFile("audio/audioctl", "latency 1500\ndevice 'loud speaker'\nsink wav 'a song.wav'\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.client.ReadFile(v.dir + "/wait"); err != nil || got != fmt.Sprintf("played %d\n", 3*n) {
		t.Fatalf("wait says %q, %v", got, err)
	}
	if err := r.client.WriteFile("audio/audioctl", "sink null"); err != nil {
		t.Fatal(err)
	}
	next := r.voice("format s16c2r44100")
	if got := next.status("latency"); got != "1500" {
		t.Errorf("the latency of a new voice is %s, want 1500", got)
	}
	next.play(make([]byte, 400))
	if _, err := r.client.ReadFile(next.dir + "/wait"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(c.Root, "a song.wav"))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 0, 12*n)
	for i := range 3 * n {
		x := uint16(int16(math.RoundToEven(float64(i) / (1 << 20) * (1 << 15))))
		want = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(want, x), x)
	}
	if got := b[len(b)-len(want):]; string(got) != string(want) {
		t.Error("the file has other samples than the blocks that came while it was the sink")
	}
}

// A sink that fails is given up: the voices play on, and audiostat says why nobody hears them.
func TestSinkThatFails(t *testing.T) {
	r := newRig(t, DefaultConfig())
	r.m.setSink(sinkWAV, brokenSink{}, nil)
	v := r.voice(mono)
	v.play(steps(0, 1000))
	if got, err := r.client.ReadFile(v.dir + "/wait"); err != nil || got != "played 1000\n" {
		t.Errorf("wait says %q, %v", got, err)
	}
	stat, err := r.client.ReadFile("audio/audiostat")
	if err != nil || line(stat, "sink") != "null" || line(stat, "error") != errFull.Error() {
		t.Errorf("audiostat says %q, %v", stat, err)
	}
}

var errFull = errors.New("no space left on device")

type brokenSink struct{}

func (brokenSink) Write(context.Context, []float32) error { return errFull }
func (brokenSink) String() string                         { return "broken" }
func (brokenSink) Close() error                           { return nil }

// The end of the server cuts what plays, closes the WAV file, whose data of an odd number of bytes is padded, and leaves no goroutine.
func TestEndOfTheServer(t *testing.T) {
	c := DefaultConfig()
	c.Root, c.Sink, c.Latency = t.TempDir(), "wav out.wav", maxLatency
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := clonefs.New(clonefs.Config{}, d)
	if err != nil {
		t.Fatal(err)
	}
	client := clonetest.Attach(t, fs, clonetest.Super)
	if err := client.WriteFile("audio/audio", strings.Repeat("x", 4*44100*2)); err != nil { // 2 s, which plays out
		t.Fatal(err)
	}
	ctl := client.MustOpen("audio/clone", p9.ReadWrite)
	n, _ := ctl.Number()
	if err := client.WriteFile("audio/"+n+"/tx", "fLaC, and then nothing, for which a decoder waits"); err != nil {
		t.Fatal(err)
	}
	if err := fs.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(c.Root, "out.wav"))
	if err != nil {
		t.Fatal(err)
	}
	if size := binary.LittleEndian.Uint32(b[4:]); int(size) != len(b)-8 {
		t.Errorf("the header says %d bytes, the file has %d behind it", size, len(b)-8)
	}
	if err := client.WriteFile("audio/audio", "x"); err == nil {
		t.Error("a voice begins after the end")
	}
}
