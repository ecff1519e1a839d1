package audio

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/clone9p/clone9p/devices/audio/internal/pulse/pulsetest"
	"github.com/hugelgupf/p9/p9"
)

// window is how much of a recording is looked at: half a second, in which every even frequency has whole periods.
const window = pulsetest.Rate / 2

// A heard is how loud tones are in a channel of what a sound server plays: dB of full scale by Hz.
type heard map[float64]float64

// quiet is a level that is none.
const quiet = -70

// hear reads the recording until a window of it has these tones in the left and the right channel, each within 0.2 dB, for at most a minute of it, and
// returns how many that took.
func hear(t *testing.T, what string, rec *pulsetest.Recording, left, right heard) (windows int) {
	t.Helper()
	var last []int16
	fits := func(frames []int16) bool {
		for channel, want := range []heard{left, right} {
			for hertz, level := range want {
				got, _ := pulsetest.Level(frames, channel, hertz)
				if level == quiet && got < quiet {
					continue
				}
				if math.Abs(got-level) > 0.2 {
					return false
				}
			}
		}
		return true
	}
	for windows = range 120 {
		frames := rec.Next(window)
		if len(frames) < 2*window {
			t.Fatalf("%s: the recording ends", what)
		}
		if fits(frames) {
			return windows
		}
		last = frames
	}
	for channel, want := range []heard{left, right} {
		for hertz, level := range want {
			got, _ := pulsetest.Level(last, channel, hertz)
			t.Errorf("%s: channel %d has %.0f Hz at %.2f dB, want %.0f", what, channel, hertz, got, level)
		}
	}
	t.FailNow()
	return 0
}

// one reads the recording until a window of it has one of these tones and nothing else: on a busy machine not every window is whole.
func one(t *testing.T, what string, rec *pulsetest.Recording, tones ...float64) {
	t.Helper()
	for range 120 {
		frames := rec.Next(window)
		if len(frames) < 2*window {
			t.Fatalf("%s: the recording ends", what)
		}
		for _, hertz := range tones {
			if pulsetest.Hears(frames, [2]float64{hertz, hertz}, [2]float64{-12.04, -12.04}) {
				return
			}
		}
	}
	t.Fatalf("%s is not heard", what)
}

// tone is so many seconds of a sine in a format.
func tone(t testing.TB, format string, hertz, amplitude, seconds float64) []byte {
	t.Helper()
	f, err := pcm.Parse(format)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, int(seconds*float64(f.Rate))*f.Channels)
	for i := range x {
		x[i] = float32(amplitude * math.Sin(2*math.Pi*hertz*float64(i/f.Channels)/float64(f.Rate)))
	}
	b := make([]byte, len(x)*f.SampleBytes())
	f.Encode(b, x)
	return b
}

// newPulseRig is a device that plays to a real sound server, in blocks so long that a busy machine is in time with each of them.
func newPulseRig(t *testing.T, s *pulsetest.Server) *rig {
	c := DefaultConfig()
	c.Sink, c.PulseServer = "pulse", s.Server
	c.Block, c.Latency = maxBlock, time.Second
	return &rig{t: t, client: attach(t, c)}
}

// feed writes a sound over and over until stop is called, which returns when the last write has.
func (v *voice) feed(sound []byte) (stop func()) {
	f := v.r.client.MustOpen(v.dir+"/tx", p9.WriteOnly)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			if _, err := f.Write(ctx, sound, 0); err != nil && ctx.Err() == nil {
				v.r.t.Errorf("%s: %v", v.dir, err)
				return
			}
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
		f.Close()
	})
	v.r.t.Cleanup(stop)
	return stop
}

// Three voices of three formats reach a real sound server's monitor with the right frequency, level and balance, and are paused, resumed and flushed
// each alone.
func TestVoicesReachASoundServer(t *testing.T) {
	server := pulsetest.Start(t)
	r := newPulseRig(t, server)
	rec := server.Record()
	a := r.voice("format s16c2r44100", "balance -100")
	b := r.voice("format f32c1r48000", "gain -6", "latency 2500")
	c := r.voice("format s24c1r8000", "balance 100")
	a.feed(tone(t, "s16c2r44100", 440, 0.25, 1))
	stop := b.feed(tone(t, "f32c1r48000", 1000, 0.25, 1))
	c.feed(tone(t, "s24c1r8000", 600, 0.125, 1))

	const quarter, eighth = -12.04, -18.06
	hear(t, "three voices", rec, heard{440: quarter, 1000: quarter - 6, 600: quiet}, heard{440: quiet, 1000: quarter - 6, 600: eighth})
	a.say("pause")
	hear(t, "one paused", rec, heard{440: quiet, 1000: quarter - 6}, heard{1000: quarter - 6, 600: eighth})
	a.say("play")
	if err := r.client.WriteFile("audio/volume", "50 100"); err == nil {
		t.Error("a line of two numbers is taken")
	}
	if err := r.client.WriteFile("audio/volume", "master 50 100"); err != nil {
		t.Fatal(err)
	}
	hear(t, "resumed, and the left half as loud", rec, heard{440: quarter - 6.02, 1000: quarter - 12.02}, heard{1000: quarter - 6, 600: eighth})

	stop()
	b.say("flush")
	if n := hear(t, "one flushed", rec, heard{1000: quiet}, heard{1000: quiet}); n > 3 {
		t.Errorf("what was flushed is heard for %d windows more: the 2.5 s it held were not dropped", n)
	}
}

// A sink that waits for a sound server that is away gives way to another.
func TestSinkIsChangedWhileTheSoundServerIsAway(t *testing.T) {
	server := pulsetest.Start(t)
	r := newPulseRig(t, server)
	v := r.voice("format s16c1r44100")
	v.play(tone(t, "s16c1r44100", 440, 0.25, 1))
	server.Kill()
	if err := r.client.WriteFile("audio/audioctl", "sink null"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.client.ReadFile(v.dir + "/wait"); err != nil || got != "played 44100\n" {
		t.Errorf("wait says %q, %v", got, err)
	}
}

// clock is the mix clock that audiostat shows.
func (r *rig) clock() int {
	r.t.Helper()
	text, err := r.client.ReadFile("audio/audiostat")
	if err != nil {
		r.t.Fatal(err)
	}
	var n int
	fmt.Sscan(line(text, "clock"), &n)
	return n
}

// When the sound server dies the voices keep their place, and go on with a new one.
func TestSoundServerIsRestarted(t *testing.T) {
	server := pulsetest.Start(t)
	r := newPulseRig(t, server)
	rec := server.Record()
	v := r.voice("format s16c1r44100")
	var sound []byte
	for i := range 6 { // each second another tone
		sound = append(sound, tone(t, "s16c1r44100", float64(400+200*i), 0.25, 1)...)
	}
	written := make(chan error, 1)
	go func() { written <- r.client.WriteFile(v.dir+"/tx", string(sound)) }()
	one(t, "an early second", rec, 400, 600)
	server.Kill()
	at := -1
	until(t, "a clock that stands still", func() bool {
		before := at
		time.Sleep(100 * time.Millisecond) // ten blocks
		at = r.clock()
		return before == at
	})
	server.Restart()
	rec = server.Record()
	one(t, "a later second", rec, 800, 1000, 1200, 1400)
	if err := <-written; err != nil {
		t.Error(err)
	}
	if got, err := r.client.ReadFile(v.dir + "/wait"); err != nil || got != fmt.Sprintf("played %d\n", 6*44100) {
		t.Errorf("wait says %q, %v", got, err)
	}
}

// What the sound server records is read from rx, in the format of the voice; a server that has nothing to record has the mix there.
func TestRecording(t *testing.T) {
	level := func(t *testing.T, f *clonetest.File, hertz float64) float64 {
		t.Helper()
		x := samples(t, f, "f32c1r44100", 44100)[22050:]
		var re, im float64
		for i, y := range x {
			sin, cos := math.Sincos(2 * math.Pi * hertz * float64(i) / 44100)
			re += float64(y) * cos
			im += float64(y) * sin
		}
		return 20 * math.Log10(2*math.Hypot(re, im)/float64(len(x)))
	}
	t.Run("a source", func(t *testing.T) {
		server := pulsetest.Start(t, "module-sine-source source_name=whistle rate=48000 frequency=440")
		r := newPulseRig(t, server)
		v := r.voice("format f32c1r44100")
		f := r.client.MustOpen(v.dir+"/rx", p9.ReadOnly)
		defer f.Close()
		until(t, "the whistle", func() bool { return math.Abs(level(t, f, 440)) < 6.1 }) // at full scale or half of it
		if x := level(t, f, 1000); x > -40 {
			t.Errorf("1000 Hz are heard at %.1f dB, and there are none", x)
		}
	})
	t.Run("none", func(t *testing.T) {
		r := newPulseRig(t, pulsetest.Start(t))
		v := r.voice("format f32c1r44100")
		f := r.client.MustOpen(v.dir+"/rx", p9.ReadOnly)
		defer f.Close()
		v.feed(tone(t, "f32c1r44100", 1000, 0.25, 1))
		until(t, "the mix", func() bool { return math.Abs(level(t, f, 1000)+12.04) < 0.2 })
	})
}

// Where a sound server answers, it is the sink that a server has unless told otherwise; and its absence is an error only of who asks for it.
func TestDefaultSink(t *testing.T) {
	c := DefaultConfig()
	c.PulseServer = "unix:/nonexistent/native"
	for _, tt := range []struct{ sink, want string }{{"auto", "null"}, {"pulse", ""}} {
		c.Sink = tt.sink
		client := attach(t, c)
		ctl, err := client.Open("audio/clone", p9.ReadWrite)
		if tt.want == "" {
			if err == nil {
				t.Error("a voice begins for a sound server that is not there")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer ctl.Close()
		if stat, err := client.ReadFile("audio/audiostat"); err != nil || line(stat, "sink") != tt.want {
			t.Errorf("audiostat says %q, %v", stat, err)
		}
	}
	c.Sink, c.PulseServer = "auto", pulsetest.Start(t).Server
	client := attach(t, c)
	ctl := client.MustOpen("audio/clone", p9.ReadWrite)
	defer ctl.Close()
	if stat, err := client.ReadFile("audio/audiostat"); err != nil || line(stat, "sink") != "pulse" {
		t.Errorf("audiostat says %q, %v", stat, err)
	}
}
