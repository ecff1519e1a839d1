package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	p9client "github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// The figures of audio: how many voices a core mixes in real time, written in this process against sox, which reads files, and through 9P against
// PulseAudio, whose clients come over a socket as well; and how long what is written takes to the mix.

const (
	mixVoices  = 100             // of a comparison
	soxSeconds = 20              // of sound that sox mixes
	mixTime    = 2 * time.Second // at least, for CPU times are told in hundredths of a second
	paVoices   = 32              // PulseAudio's
	paWarm     = time.Second     // until its streams play
	blockTime  = 10 * time.Millisecond
	bursts     = 100 // of the latency

	minSame      = 10.0
	minResampled = 3.0
)

// audioTree has the device, which plays to nobody, in real time.
func audioTree() (*clonefs.FS, error) {
	c := audio.DefaultConfig()
	c.Sink, c.Limit, c.PerUser = "null", 2000, 2000
	d, err := audio.New(c)
	if err != nil {
		return nil, err
	}
	return clonefs.New(clonefs.Config{}, d)
}

// newAudio is the server of it.
func newAudio(socket string) error {
	fs, err := audioTree()
	if err != nil {
		return err
	}
	l, err := listen.Listen("unix!"+socket, listen.Options{})
	if err != nil {
		return err
	}
	return server.New(fs, server.Config{}).Serve(l)
}

// audio measures all of them.
func (b *bench) audio() error {
	p, err := start("audio", b.dir)
	if err != nil {
		return err
	}
	defer p.stop()
	same, high := filepath.Join(b.dir, "44100.raw"), filepath.Join(b.dir, "48000.raw")
	if err := errors.Join(soundFile(same, 44100), soundFile(high, 48000)); err != nil {
		return err
	}
	sox, err := exec.LookPath("sox")
	if err != nil {
		fmt.Fprintln(b.out, "sox is not installed: audio against it is SKIPPED")
	} else {
		mix := append([]string{"-m"}, slices.Repeat(rawOf(same, 44100), mixVoices)...)
		mix = append(append(mix, "-t", "raw"), "-r", "44100", "-c", "2", "-b", "16", "-e", "signed", os.DevNull)
		here := func(rate int) func() (float64, error) {
			return func() (float64, error) { return playingHere(mixVoices, rate, max(b.time, mixTime)) }
		}
		if err := b.voices("same rate", here(44100), minSame, "sox -m", func() (float64, error) { return perCore(mixVoices*soxSeconds, sox, mix...) }); err != nil {
			return err
		}
		rate := append(rawOf(high, 48000), "-t", "raw", os.DevNull, "rate", "44100")
		if err := b.voices("resampled", here(48000), minResampled, "sox rate", func() (float64, error) { return perCore(soxSeconds, sox, rate...) }); err != nil {
			return err
		}
	}
	if path, err := exec.LookPath("pulseaudio"); err != nil {
		fmt.Fprintln(b.out, "pulseaudio is not installed: audio against it is SKIPPED")
	} else {
		for _, v := range []struct {
			name string
			rate int
			min  float64
			file string
		}{{"same rate", 44100, minSame, same}, {"resampled", 48000, minResampled, high}} {
			ours := func() (float64, error) { return playing(p, mixVoices, v.rate, max(b.time, mixTime)) }
			if err := b.voices(v.name+" by 9P", ours, v.min, "pulse", func() (float64, error) { return pulse(path, b.dir, v.file, v.rate) }); err != nil {
				return err
			}
		}
	}
	for _, n := range []int{1, 10, 100, 1000} {
		v, err := playing(p, n, 44100, max(b.time, mixTime))
		if err != nil {
			return err
		}
		b.count(fmt.Sprintf("audio by 9P, %d playing", n), v, 0, 0)
	}
	return b.toTheMix(p)
}

// soundFile writes seconds of noise, 16 bits stereo.
func soundFile(path string, rate int) error {
	return os.WriteFile(path, filled(4*rate*soxSeconds), 0o644)
}

// rawOf is how sox is told of it.
func rawOf(path string, rate int) []string {
	return []string{"-t", "raw", "-r", fmt.Sprint(rate), "-c", "2", "-b", "16", "-e", "signed", path}
}

// perCore runs a program that makes so many seconds of sound, and returns how many of them it makes in a second of CPU time.
func perCore(seconds float64, name string, args ...string) (float64, error) {
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return seconds / (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), nil
}

// voices compares how many voices a core mixes in real time.
func (b *bench) voices(name string, ours func() (float64, error), bound float64, other string, theirs func() (float64, error)) error {
	var mine, others, ratios []float64
	for range b.rounds {
		m, err := ours()
		if err != nil {
			return err
		}
		o, err := theirs()
		if err != nil {
			return err
		}
		mine, others, ratios = append(mine, m), append(others, o), append(ratios, m/o)
	}
	show := func(v []float64) string { return fmt.Sprintf("%.0f voices", median(v)) }
	b.line("audio "+name, show(mine), other, show(others), median(ratios), bound, false)
	return nil
}

// attached begins a session.
func attached(ctx context.Context, p *process) (*p9client.Conn, *p9client.File, error) {
	nc, err := net.Dial("unix", p.socket)
	if err != nil {
		return nil, nil, err
	}
	c, err := p9client.New(ctx, nc, p9client.Options{Dialects: []p9client.Dialect{p9client.P9L}})
	if err != nil {
		return nil, nil, err
	}
	root, err := c.Attach(ctx, p9client.Attach{Name: "/audio?records=off"})
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, root, nil
}

// openVoice begins a voice and returns its tx.
func openVoice(ctx context.Context, root *p9client.File, format string) (*p9client.File, error) {
	ctl, err := root.OpenFile(ctx, "clone", p9.ReadWrite)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 16)
	n, err := ctl.ReadContext(ctx, buf, 0)
	if err != nil {
		return nil, err
	}
	if _, err := ctl.WriteContext(ctx, []byte("format "+format), 0); err != nil {
		return nil, err
	}
	return root.OpenFile(ctx, strings.TrimSpace(string(buf[:n]))+"/tx", p9.WriteOnly)
}

// playingHere is playing in this process, without 9P.
func playingHere(n, rate int, length time.Duration) (float64, error) {
	fs, err := audioTree()
	if err != nil {
		return 0, err
	}
	defer fs.Close(context.Background())
	root, err := fs.Attach()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	failed := make(chan error, n)
	sound := filled(64 << 10)
	for i := range n {
		ctl, err := opened(root, p9.ReadWrite, "audio", "clone")
		if err != nil {
			return 0, err
		}
		if _, err := ctl.WriteAt(fmt.Appendf(nil, "format s16c2r%d", rate), 0); err != nil {
			return 0, err
		}
		tx, err := opened(root, p9.WriteOnly, "audio", fmt.Sprint(i), "tx")
		if err != nil {
			return 0, err
		}
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := tx.(p9ext.Writer).WriteContext(ctx, sound, 0); err != nil && ctx.Err() == nil {
					failed <- err
					return
				}
			}
		})
	}
	stat, err := opened(root, p9.ReadOnly, "audio", "audiostat")
	if err != nil {
		return 0, err
	}
	clock := func() (float64, error) {
		buf := make([]byte, 4096)
		n, err := stat.ReadAt(buf, 0)
		if err != nil && err != io.EOF {
			return 0, err
		}
		return clockIn(string(buf[:n]))
	}
	cpu := func() time.Duration {
		var u unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // cannot fail
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	time.Sleep(length / 4)
	from, err := clock()
	if err != nil {
		return 0, err
	}
	before := cpu()
	select {
	case err := <-failed:
		return 0, err
	case <-time.After(length):
	}
	to, err := clock()
	if err != nil {
		return 0, err
	}
	return float64(n) * (to - from) / 44100 / (cpu() - before).Seconds(), nil
}

// opened walks to a file of a tree in this process and opens it.
func opened(root p9.File, flags p9.OpenFlags, path ...string) (p9.File, error) {
	_, f, err := root.Walk(path)
	if err == nil {
		_, _, err = f.Open(flags)
	}
	return f, err
}

// playing has n voices play for a while and returns how many voices the server's CPU time would do for on one core.
func playing(p *process, n, rate int, length time.Duration) (float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, root, err := attached(ctx, p)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var all sync.WaitGroup
	failed := make(chan error, n)
	sound := filled(64 << 10)
	for range n {
		tx, err := openVoice(ctx, root, fmt.Sprintf("s16c2r%d", rate))
		if err != nil {
			return 0, err
		}
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := tx.WriteContext(ctx, sound, 0); err != nil && ctx.Err() == nil {
					failed <- err
					return
				}
			}
		})
	}
	defer all.Wait()
	defer cancel()
	time.Sleep(length / 4)
	clock, err := mixClock(ctx, root)
	if err != nil {
		return 0, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return 0, err
	}
	select {
	case err := <-failed:
		return 0, err
	case <-time.After(length):
	}
	after, err := mixClock(ctx, root)
	if err != nil {
		return 0, err
	}
	used, err := p.cpu()
	if err != nil {
		return 0, err
	}
	return float64(n) * (after - clock) / 44100 / max(used-cpu, time.Second/ticksPerSecond).Seconds(), nil
}

// mixClock is how many frames were mixed.
func mixClock(ctx context.Context, root *p9client.File) (float64, error) {
	f, err := root.OpenFile(ctx, "audiostat", p9.ReadOnly)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 4096)
	n, err := f.ReadContext(ctx, buf, 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	return clockIn(string(buf[:n]))
}

// clockIn finds the mix clock in audiostat.
func clockIn(text string) (float64, error) {
	for line := range strings.Lines(text) {
		var frames float64
		if _, err := fmt.Sscanf(line, "clock %g", &frames); err == nil {
			return frames, nil
		}
	}
	return 0, fmt.Errorf("audiostat has no clock: %q", text)
}

// pulse has a PulseAudio server of its own mix a file that many times at once, in real time, and returns what playing does.
func pulse(path, dir, file string, rate int) (float64, error) {
	socket := filepath.Join(dir, "pa.sock")
	s := &process{ended: make(chan struct{}), socket: socket}
	s.cmd = exec.Command(path, "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm", "--realtime=no", "--high-priority=no",
		"-L", "module-null-sink rate=44100 channels=2 format=s16le", "-L", "module-native-protocol-unix auth-anonymous=1 socket="+socket)
	s.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		return 0, err
	}
	go func() { // ends with the process
		s.cmd.Wait()
		close(s.ended)
	}()
	defer func() {
		s.cmd.Process.Kill()
		<-s.ended
		os.Remove(socket)
	}()
	if err := s.wait(); err != nil {
		s.cmd.Process.Kill()
		<-s.ended
		return 0, fmt.Errorf("pulseaudio does not serve: %w\n%s", err, &s.stderr)
	}
	for range paVoices {
		play := exec.Command("pacat", "--playback", "--raw", "--format=s16le", "--channels=2", fmt.Sprintf("--rate=%d", rate), file)
		play.Env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "PULSE_SERVER=unix:"+socket)
		if err := play.Start(); err != nil {
			return 0, err
		}
		defer play.Wait()
		defer play.Process.Kill()
	}
	time.Sleep(paWarm)
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	time.Sleep(mixTime)
	after, err := s.cpu()
	if err != nil {
		return 0, err
	}
	return paVoices * time.Since(begin).Seconds() / max(after-before, time.Second/ticksPerSecond).Seconds(), nil
}

// toTheMix measures the time from a write to the block of the mix that has it, while another voice plays: what the mixer adds to the sink's own.
func (b *bench) toTheMix(p *process) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, root, err := attached(ctx, p)
	if err != nil {
		return err
	}
	defer c.Close()
	quiet, err := openVoice(ctx, root, "s16c2r44100")
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() {
		for silence := make([]byte, 16<<10); ctx.Err() == nil; {
			quiet.WriteContext(ctx, silence, 0)
		}
	})
	loud, err := openVoice(ctx, root, "s16c2r44100")
	if err != nil {
		return err
	}
	mix, err := root.OpenFile(ctx, "audio", p9.ReadOnly)
	if err != nil {
		return err
	}
	burst := make([]byte, 4*441)
	for i := 0; i < len(burst); i += 2 {
		le.PutUint16(burst[i:], math.MaxInt16/2)
	}
	buf := make([]byte, 4*441)
	read := func() (heard bool, err error) {
		n, err := mix.ReadContext(ctx, buf, 0)
		return slices.ContainsFunc(buf[:n], func(x byte) bool { return x != 0 }), err
	}
	var took []float64
	for range bursts {
		for silent := 0; silent < 3; silent++ { // blocks, the last read ends in step with the mixer
			heard, err := read()
			if err != nil {
				return err
			}
			if heard {
				silent = 0
			}
		}
		time.Sleep(blockTime * time.Duration(len(took)%10) / 10) // all over a block
		begin := time.Now()
		if _, err := loud.WriteContext(ctx, burst, 0); err != nil {
			return err
		}
		for {
			heard, err := read()
			if err != nil {
				return err
			}
			if heard {
				break
			}
		}
		took = append(took, time.Since(begin).Seconds()*1e3)
	}
	slices.Sort(took)
	b.limit("audio write to mix p50", took[len(took)/2], float64(blockTime.Milliseconds()), "ms")
	b.limit("audio write to mix p95", took[len(took)*95/100], float64(blockTime.Milliseconds()), "ms")
	return nil
}
