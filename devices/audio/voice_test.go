package audio

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

const mono = "format f32c1r44100"

// What is paused goes on where it was: nothing is lost, and the ends are ramps.
func TestPauseHoldsAndPlayGoesOn(t *testing.T) {
	r := newRig(t, DefaultConfig())
	v := r.voice(mono)
	n := r.m.size / 2
	v.play(steps(0, 6*n))
	r.next()
	v.say("pause")
	checkSteps(t, "before", r.block(), 0)
	checkRamp(t, "down", r.block(), 0, n, 1, 0)
	if mix := r.rest(); !silent(mix) {
		t.Fatal("what is paused is heard")
	}
	if got := v.status("played"); got != fmt.Sprint(2*n) {
		t.Errorf("%s frames were played, want %d", got, 2*n)
	}
	v.say("play")
	checkRamp(t, "up", r.block(), 0, 2*n, 0, 1)
	checkSteps(t, "after", r.rest()[:2*3*n], 3*n)
	if got := v.status("underruns"); got != "0" {
		t.Errorf("%s underruns, want 0: a pause is none", got)
	}
}

// A read of wait on a voice that is paused returns at once.
func TestWaitOfAPausedVoice(t *testing.T) {
	r := newRig(t, DefaultConfig())
	v := r.voice(mono, "pause")
	v.play(steps(0, 1000))
	if got, err := r.client.ReadFile(v.dir + "/wait"); err != nil || got != "played 0\n" {
		t.Errorf("wait says %q, %v", got, err)
	}
}

// A flush is heard in the next block, as the end of a ramp, and what is written then is played from its beginning.
func TestFlushDropsWhatIsNotPlayed(t *testing.T) {
	r := newRig(t, DefaultConfig())
	v := r.voice(mono)
	n := r.m.size / 2
	v.play(steps(0, 8*n))
	r.next()
	v.say("flush")
	checkSteps(t, "before", r.block(), 0)
	checkRamp(t, "down", r.block(), 0, n, 1, 0)
	if mix := r.rest(); !silent(mix) {
		t.Fatal("what was flushed is heard")
	}
	v.play(steps(500, 2*n))
	checkSteps(t, "after", r.rest()[:4*n], 500)
	if got, want := v.status("underruns"), "0"; got != want {
		t.Errorf("%s underruns, want %s: a flush is none", got, want)
	}
}

// Who is muted plays on, unheard, and every change of a gain is a ramp over a block.
func TestMuteGainBalanceAndVolumeAreRamps(t *testing.T) {
	for _, tt := range []struct {
		say         string
		file        string // beside ctl
		left, right float64
	}{
		{say: "mute on"},
		{say: "gain -6.0205999", left: 0.5, right: 0.5},
		{say: "gain 6.0205999", left: 2, right: 2},
		{say: "balance -100", left: 1},
		{say: "balance 50", left: 0.5, right: 1},
		{say: "40 70", file: "volume", left: 0.4, right: 0.7},
		{say: "master 10 20", file: "../volume", left: 0.1, right: 0.2},
	} {
		t.Run(tt.say, func(t *testing.T) {
			r := newRig(t, DefaultConfig())
			v := r.voice(mono)
			n := r.m.size / 2
			v.play(steps(0, 4*n))
			r.next()
			switch tt.file {
			case "":
				v.say(tt.say)
			case "volume":
				if err := r.client.WriteFile(v.dir+"/volume", tt.say); err != nil {
					t.Fatal(err)
				}
			default:
				if err := r.client.WriteFile("audio/volume", tt.say); err != nil {
					t.Fatal(err)
				}
			}
			checkSteps(t, "before", r.block(), 0)
			ramp := r.block()
			checkRamp(t, "left", ramp, 0, n, 1, tt.left)
			checkRamp(t, "right", ramp, 1, n, 1, tt.right)
			after := r.block()
			checkRamp(t, "left, after", after, 0, 2*n, tt.left, tt.left)
			checkRamp(t, "right, after", after, 1, 2*n, tt.right, tt.right)
		})
	}
}

// What is hung up is silent at once; what is closed plays out to the last frame.
func TestHangupAndClose(t *testing.T) {
	r := newRig(t, DefaultConfig())
	n := r.m.size / 2
	v := r.voice(mono)
	v.play(steps(0, 6*n+7))
	r.next()
	x := v.of()
	v.say("hangup")
	until(t, "the hangup", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.gone
	})
	checkSteps(t, "what was mixed before", r.block(), 0)
	if mix := r.rest(); !silent(mix) {
		t.Error("a voice that was hung up is heard")
	}

	v = r.voice(mono)
	v.play(steps(0, 6*n+7))
	r.next()
	x = v.of()
	v.ctl.Close()
	mix := r.rest(x)
	checkSteps(t, "closed", mix[:2*(6*n+7)], 0)
	if !silent(mix[2*(6*n+7):]) {
		t.Error("something follows the end")
	}
}

// A read of wait answers when the sink has taken the last sample, and not while the block is only mixed.
func TestWaitAnswersWhenTheSinkHasTakenIt(t *testing.T) {
	r := newRig(t, DefaultConfig())
	v := r.voice(mono)
	n := r.m.size / 2
	v.play(steps(0, 2*n))
	f := r.client.MustOpen(v.dir+"/wait", p9.ReadOnly)
	defer f.Close()
	poller := f.File.(p9ext.ReadPoller)
	buf, w := make([]byte, 64), make(signal, 1)
	poll := func() (string, error) {
		n, err := poller.PollRead(buf, 0, w)
		return string(buf[:n]), err
	}
	r.next()
	r.block()
	r.next() // the second block is mixed, and has not left
	if got, err := poll(); err != p9ext.ErrWait {
		t.Fatalf("wait answers %q, %v while the sink has not taken the block", got, err)
	}
	r.block()
	select {
	case <-w:
	case <-time.After(patience):
		t.Fatal("nobody wakes the reader")
	}
	if got, err := poll(); err != nil || got != fmt.Sprintf("played %d\n", 2*n) {
		t.Errorf("wait answers %q, %v", got, err)
	}
	r.rest()
}

// Writers ahead of the latency wait, are served in order, and can be interrupted; other voices hear nothing of that.
func TestWritersWaitInOrder(t *testing.T) {
	c := DefaultConfig()
	c.Latency = 4 * c.Block
	r := newRig(t, c)
	n := r.m.size / 2
	full, other := r.voice(mono), r.voice(mono, "latency 2500", "balance -100")
	other.play(steps(0, 40*n))
	x := full.of()
	full.say("balance 100")
	full.say("at " + fmt.Sprint(2*n))

	type write struct {
		f    *clonetest.File
		data []byte
		stop context.CancelFunc
		err  chan error
	}
	var writes []*write
	at := 0
	for i, frames := range []int{4 * n, 3 * n, 2 * n, 5 * n} { // the first fills the voice, the others wait
		ctx, stop := context.WithCancel(t.Context())
		w := &write{f: r.client.MustOpen(full.dir+"/tx", p9.WriteOnly), data: steps(at, frames), stop: stop, err: make(chan error, 1)}
		defer w.f.Close()
		if i != 2 { // which is interrupted
			at += frames
		}
		writes = append(writes, w)
		before := parked(x)
		go func() {
			_, err := w.f.Write(ctx, w.data, 0)
			w.err <- err
		}()
		if i == 0 {
			if err := <-w.err; err != nil {
				t.Fatal(err)
			}
			continue
		}
		until(t, "a write that waits", func() bool { return parked(x) > before })
	}
	writes[2].stop()
	if err := <-writes[2].err; !errors.Is(err, linux.EINTR) {
		t.Fatalf("a write that was interrupted says %v", err)
	}

	var left, right []float32
	for len(right) < 14*n {
		b := r.block()
		for i := 0; i < len(b); i += 2 {
			left, right = append(left, b[i]), append(right, b[i+1])
		}
	}
	for _, i := range []int{1, 3} {
		if err := <-writes[i].err; err != nil {
			t.Errorf("write %d: %v", i, err)
		}
	}
	for i, x := range left {
		if want := float32(i) / (1 << 20); x != want {
			t.Fatalf("frame %d of the other voice is %g, want %g", i, x, want)
		}
	}
	for i, x := range right[2*n : 14*n] {
		if want := float32(i) / (1 << 20); x != want {
			t.Fatalf("frame %d of the writers' voice is %g, want %g", i, x, want)
		}
	}
}

// parked is how many writes wait.
func parked(v *Voice) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.writers)
}

// Voices that are to start at a sample of the mix clock do, also those that are resampled and those of which the start lies within a block.
func TestAtStartsToTheSample(t *testing.T) {
	r := newRig(t, DefaultConfig())
	n := r.m.size / 2
	at := 3*n + 17
	a := r.voice(mono, fmt.Sprintf("at %d", at))
	b := r.voice(mono, fmt.Sprintf("at %d", at))
	a.play(steps(0, 2*n))
	b.play(steps(0, 2*n))
	mix := r.rest()
	if !silent(mix[:2*at]) {
		t.Error("they are heard too early")
	}
	for i := range 2 * n {
		if want := 2 * float32(i) / (1 << 20); mix[2*(at+i)] != want {
			t.Fatalf("frame %d is %g, want %g: both voices at once", i, mix[2*(at+i)], want)
		}
	}
}

// A voice that has run dry within a second of sound, and goes on, has had an underrun; others play through it.
func TestUnderrunsAreCounted(t *testing.T) {
	r := newRig(t, DefaultConfig())
	n := r.m.size / 2
	dry, other := r.voice(mono), r.voice(mono, "latency 2500")
	other.play(make([]byte, 4*40*n))
	dry.play(steps(1, n+n/2))
	for range 4 {
		r.block()
	}
	dry.play(steps(1, 2*n))
	r.rest()
	stat, err := r.client.ReadFile("audio/audiostat")
	if err != nil || dry.status("underruns") != "1" || other.status("underruns") != "0" || line(stat, "underruns") != "1" {
		t.Errorf("underruns: %s and %s, in all %s; want 1, 0 and 1 (%v)", dry.status("underruns"), other.status("underruns"), line(stat, "underruns"), err)
	}
}

// NaN, infinity and what is beyond all bounds is silence, and counted; what is too loud is limited.
func TestBadSamples(t *testing.T) {
	r := newRig(t, DefaultConfig())
	v := r.voice(mono, "gain 60")
	bad := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32, 0.9, -0.9}
	v.play(f32(bad))
	for i, x := range r.rest() {
		if !(x >= -1 && x <= 1) {
			t.Fatalf("sample %d of the mix is %g", i, x)
		}
	}
	if got := v.status("bad samples"); got != "5" {
		t.Errorf("%s samples were bad, want 5", got)
	}
}

// What is no sound is an error of the write that brings it, or of status where it shows later, and leaves the voice as good as new after a flush.
func TestBadFiles(t *testing.T) {
	for _, tt := range []struct{ what, data, want string }{
		{"MIDI", "MThd\x00\x00\x00\x06\x00\x01", "MIDI"},
		{"MP4", "\x00\x00\x00\x20ftypisom", "MP4"},
		{"a WAV file of no format that is known", "RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + strings.Repeat("\x00", 16), "WAV"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r := newRig(t, DefaultConfig())
			v := r.voice()
			err := r.client.WriteFile(v.dir+"/tx", tt.data)
			if err == nil {
				err = r.client.WriteFile(v.dir+"/tx", strings.Repeat("x", 64))
			}
			clonetest.CheckError(t, tt.what, err, linux.EINVAL, "")
			if err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error says %q, want %s in it", err, tt.want)
			}
			if mix := r.rest(); !silent(mix) {
				t.Error("it is heard")
			}
			v.say("flush")
			v.say(mono)
			v.play(steps(0, 100))
			checkSteps(t, "after a flush", r.rest()[:200], 0)
		})
	}
}

// While the sink waits everything else goes on: nothing is locked across its Write.
func TestNothingIsLockedWhileTheSinkWaits(t *testing.T) {
	r := newRig(t, DefaultConfig())
	v := r.voice(mono)
	v.play(steps(0, 2*r.m.size))
	r.next() // and now the sink waits, for the test
	var all sync.WaitGroup
	done := make(chan struct{})
	for _, f := range []func() error{
		func() error { v.say("gain -3"); return nil },
		func() error { v.say("flush"); return nil },
		func() error { _, err := r.client.ReadFile("audio/audiostat"); return err },
		func() error { _, err := r.client.ReadFile("audio/volume"); return err },
		func() error { return r.client.WriteFile("audio/volume", "50") },
		func() error { _, err := r.client.ReadFile(v.dir + "/meter"); return err },
		func() error { _, err := r.client.ReadFile(v.dir + "/status"); return err },
		func() error { return r.voice().ctl.Close() },
	} {
		all.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("something waits for the sink")
	}
	r.rest()
}

// Mixing and listening allocate nothing, whatever voices there are.
func TestSteadyMixingAllocatesNothing(t *testing.T) {
	c := DefaultConfig()
	c.Latency = maxLatency
	m := newMixer(c)
	var voices []*Voice
	for i, format := range []string{"f32c2r44100", "s16c1r44100", "s24c2r48000", "u8c1r8000"} {
		v := newVoice(m, nil)
		defer v.cut()
		if err := v.setFormat(t.Context(), []string{format}); err != nil {
			t.Fatal(err)
		}
		v.gainDB = float64(i)
		v.stream.Write(make([]byte, 1<<17))
		voices = append(voices, v)
	}
	l, err := m.listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	buf := make([]byte, 1<<16)
	step := func() {
		m.block(voices, [2]float32{1, 1})
		l.push(m.mix)
		l.PollRead(buf, 0, nil)
		for _, v := range voices {
			v.sounded()
		}
	}
	for range 5 {
		step()
	}
	if got := testing.AllocsPerRun(20, step); got != 0 {
		t.Errorf("a block allocates %v times", got)
	}
}
