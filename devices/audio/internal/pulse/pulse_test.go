package pulse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/pulse/pulsetest"
	"github.com/jfreymuth/pulse/proto"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	block  = 10 * time.Millisecond
	frames = pulsetest.Rate / 100 // of a block
	window = 2400                 // frames in which the tones below have whole periods
)

var (
	freq  = [2]float64{440, 1000}
	level = [2]float64{-6, -12}
)

// A logbook keeps what is logged.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// background runs f until the test ends: stop ends ctx and waits for f.
func background(t *testing.T, f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// sing plays the tones until ctx ends.
func sing(t *testing.T, p *Player, rate int) func(context.Context) {
	return func(ctx context.Context) {
		b := make([]float32, 2*rate/100)
		for at := 0; ; at += rate / 100 {
			for i := range b {
				b[i] = float32(math.Pow(10, level[i%2]/20) * math.Sin(2*math.Pi*freq[i%2]*float64((at+i/2)%rate)/float64(rate)))
			}
			if err := p.Write(ctx, b); err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Write: %v", err)
				}
				return
			}
		}
	}
}

// hear waits for the tones: five windows of them, however many gaps a busy machine leaves between them.
func hear(t *testing.T, next func(n int) []int16) {
	t.Helper()
	right := 0
	for range 1200 { // a minute
		w := next(window)
		if len(w) < 2*window {
			t.Fatal("the recording has ended")
		}
		if pulsetest.Hears(w, freq, level) {
			if right++; right == 5 {
				return
			}
		}
	}
	t.Fatal("the tones are not heard")
}

// listen records into a queue that a test takes from.
func listen(t *testing.T, server, device string, log zerolog.Logger) (r *Recorder, next func(n int) []int16) {
	t.Helper()
	queue := make(chan []byte, 1000)
	r, err := NewRecorder(t.Context(), server, device, pulsetest.Rate, func(b []byte) {
		select {
		case queue <- b:
		default:
		}
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	var left []byte
	return r, func(n int) []int16 {
		for len(left) < stereo16*n {
			left = append(left, <-queue...)
		}
		b := left[:stereo16*n]
		left = left[len(b):]
		return pulsetest.Samples(b)
	}
}

func TestTonesArriveWithTheirFrequencyAndLevel(t *testing.T) {
	s := pulsetest.Start(t)
	for _, rate := range []int{pulsetest.Rate, 44100} {
		for _, device := range []string{"", pulsetest.Sink} {
			t.Run(fmt.Sprintf("%d%s", rate, device), func(t *testing.T) {
				leaks := goleak.IgnoreCurrent()
				p := NewPlayer(s.Server, device, rate, block, zerolog.Nop())
				stop := background(t, sing(t, p, rate))
				r, next := listen(t, s.Server, pulsetest.Monitor, zerolog.Nop())
				hear(t, next)
				stop()
				r.Close()
				p.Close()
				if err := goleak.Find(leaks); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// count plays the blocks from number first on, n of them; each frame holds its own number.
func count(ctx context.Context, p *Player, first, n int) error {
	b := make([]float32, 2*frames)
	for k := first; k < first+n; k++ {
		for i := range b {
			b[i] = float32(1-2*(i%2)) * float32(k*frames+i/2+1) / 32768
		}
		if err := p.Write(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// counted returns the numbers that a recording hears up to last, without the silence between them.
func counted(t *testing.T, rec *pulsetest.Recording, last int) (heard []int) {
	t.Helper()
	for n := 0; len(heard) == 0 || heard[len(heard)-1] != last; n++ {
		f := rec.Next(1)
		switch {
		case n > 60*pulsetest.Rate:
			t.Fatalf("frame %d is not heard", last)
		case len(f) == 0:
			t.Fatalf("the recording has ended; frame %d was not heard", last)
		case f[0] != -f[1]:
			t.Fatalf("left is %d and right is %d: the frame is torn", f[0], f[1])
		case f[0] != 0:
			heard = append(heard, int(f[0]))
		}
	}
	return heard
}

// consecutive fails when a number is missing, doubled or out of order.
func consecutive(t *testing.T, heard []int) {
	t.Helper()
	for i := 1; i < len(heard); i++ {
		if heard[i] != heard[i-1]+1 {
			t.Fatalf("frame %d follows frame %d", heard[i], heard[i-1])
		}
	}
}

func TestEverySampleSounds(t *testing.T) {
	s := pulsetest.Start(t)
	rec := s.Record()
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
	defer p.Close()
	const n = 60
	stop := background(t, func(ctx context.Context) {
		if err := count(ctx, p, 0, n); err != nil {
			t.Errorf("Write: %v", err)
		}
	})
	heard := counted(t, rec, n*frames) // nothing is written behind the last block: it plays out by itself
	stop()
	consecutive(t, heard)
	if heard[0] != 1 {
		t.Errorf("the first frame heard is %d", heard[0])
	}
}

func TestCloseDrains(t *testing.T) {
	s := pulsetest.Start(t)
	rec := s.Record()
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
	p.lastWords = time.Minute // however busy the machine
	if err := count(t.Context(), p, 0, 5); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	consecutive(t, counted(t, rec, 5*frames))
}

func TestServerIsKilledAndStartedAgain(t *testing.T) {
	s := pulsetest.Start(t)
	leaks := goleak.IgnoreCurrent()
	var book logbook
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.New(&book))
	stop := background(t, sing(t, p, pulsetest.Rate))
	r, next := listen(t, s.Server, pulsetest.Monitor, zerolog.New(&book))
	hear(t, next)
	for range 2 {
		s.Kill()
		s.Restart()
		hear(t, next)
	}
	stop()
	p.Close()
	r.Close()
	s.Kill()
	if err := goleak.Find(leaks); err != nil {
		t.Error(err)
	}
	for _, line := range []string{"is away; what plays", "server is back\"", "is away; the recording", "the recording goes on"} {
		if n := book.count(line); n != 2 {
			t.Errorf("%q was logged %d times for two deaths:\n%s", line, n, &book.b)
		}
	}
}

func TestBlocksKeepTheirPlaceWhileTheServerIsAway(t *testing.T) {
	s := pulsetest.Start(t)
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
	defer p.Close()
	if err := count(t.Context(), p, 0, 20); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	wrote := make(chan error)
	go func() { wrote <- count(t.Context(), p, 20, 1) }()
	s.Restart()
	if err := <-wrote; err != nil {
		t.Errorf("Write: %v", err)
	}
	rec := s.Record()
	if err := count(t.Context(), p, 21, 10); err != nil {
		t.Fatal(err)
	}
	heard := counted(t, rec, 31*frames)
	consecutive(t, heard)
	if heard[0] > 21*frames+1 {
		t.Errorf("the first frame heard from the new server is %d", heard[0])
	}
}

func TestCloseWhileTheServerIs(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, s *pulsetest.Server){
		"killed": func(t *testing.T, s *pulsetest.Server) { s.Kill() },
		"stopped": func(t *testing.T, s *pulsetest.Server) {
			if err := syscall.Kill(s.Pid(), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := pulsetest.Start(t)
			leaks := goleak.IgnoreCurrent()
			p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
			r, _ := listen(t, s.Server, pulsetest.Monitor, zerolog.Nop())
			if err := count(t.Context(), p, 0, 3); err != nil {
				t.Fatal(err)
			}
			wrote := make(chan error)
			go func() {
				var err error
				for err == nil {
					err = count(context.Background(), p, 3, 1)
				}
				wrote <- err
			}()
			harm(t, s)
			p.Close()
			if err := <-wrote; !errors.Is(err, ErrClosed) {
				t.Errorf("the Write that waited: %v", err)
			}
			if err := p.Write(t.Context(), make([]float32, 2)); !errors.Is(err, ErrClosed) {
				t.Errorf("a Write afterwards: %v", err)
			}
			p.Close() // a second time
			r.Close()
			if err := goleak.Find(leaks); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWriteWaitsForAServerUntilItsContextEnds(t *testing.T) {
	var book logbook
	p := NewPlayer(filepath.Join(t.TempDir(), "none"), "", pulsetest.Rate, block, zerolog.New(&book))
	defer p.Close()
	ctx, cancel := context.WithCancel(t.Context())
	wrote := make(chan error)
	go func() { wrote <- p.Write(ctx, make([]float32, 2*frames)) }()
	cancel()
	if err := <-wrote; !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v", err)
	}
}

func TestSinkThatIsNotThereIsWaitedFor(t *testing.T) {
	s := pulsetest.Start(t)
	said := make(chan string, 10)
	p := NewPlayer(s.Server, "cellar", pulsetest.Rate, block, zerolog.New(writer(func(b []byte) { said <- string(b) })))
	defer p.Close()
	if p.String() != "pulse cellar" {
		t.Errorf("String: %s", p)
	}
	background(t, func(ctx context.Context) { p.Write(ctx, make([]float32, 2*frames)) })
	if line := <-said; !strings.Contains(line, `the server has no sink \"cellar\"`) {
		t.Errorf("the log says %s", line)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestRestCorksTheStreamUntilTheNextBlock(t *testing.T) {
	s := pulsetest.Start(t)
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
	p.restAfter = time.Hour // the test says when
	defer p.Close()
	if err := count(t.Context(), p, 0, 5); err != nil {
		t.Fatal(err)
	}
	p.idle() // as the timer does when it goes off too early
	if p.stream.corked {
		t.Error("the stream is corked right behind a block")
	}
	waitDry(p)
	p.last = p.last.Add(-p.restAfter)
	p.idle()
	if !p.stream.corked {
		t.Error("the stream is not corked after a rest")
	}
	rec := s.Record()
	if err := count(t.Context(), p, 5, 5); err != nil {
		t.Fatal(err)
	}
	heard := counted(t, rec, 10*frames)
	consecutive(t, heard)
	if heard[0] != 5*frames+1 {
		t.Errorf("the first frame heard after the rest is %d", heard[0])
	}
	// A stream at rest has nothing to drain, and would never say that it has.
	waitDry(p)
	p.last = p.last.Add(-p.restAfter)
	p.idle()
}

func TestWhatAServerHoardsIsPushedOutOnce(t *testing.T) {
	s := pulsetest.Start(t)
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
	p.restAfter = time.Hour // the test says when
	defer p.Close()
	if err := count(t.Context(), p, 0, 5); err != nil {
		t.Fatal(err)
	}
	if p.stream.hoards {
		t.Error("PulseAudio is taken for PipeWire")
	}
	p.stream.hoards = true
	for range 2 {
		p.last = p.last.Add(-p.restAfter)
		p.idle()
		if got, want := p.stream.sent.Load(), int64(6*frames*stereoFloat); got != want {
			t.Errorf("%d bytes were sent, want %d, with a block of silence", got, want)
		}
	}
}

// waitDry waits until the server has played all. The Player is not used meanwhile.
func waitDry(p *Player) {
	for !p.stream.dry() {
		<-p.stream.more
	}
}

func TestServerHoldsNoMoreThanTwoBlocks(t *testing.T) {
	s := pulsetest.Start(t)
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
	defer p.Close()
	if err := p.Write(t.Context(), make([]float32, 2*frames)); err != nil {
		t.Fatal(err)
	}
	// A Write goes ahead when half a block, least, is asked for.
	if s, b := p.stream, frames*stereoFloat; s.size-s.least+b > 2*b {
		t.Errorf("the server takes %d bytes and asks for %d; a block is of %d", s.size, s.least, b)
	}
}

func TestRecorderWithoutASource(t *testing.T) {
	s := pulsetest.Start(t)
	never := func([]byte) { t.Error("something was recorded") }
	if _, err := NewRecorder(t.Context(), s.Server, "", pulsetest.Rate, never, zerolog.Nop()); !errors.Is(err, ErrNoSource) {
		t.Errorf("with a monitor alone: %v", err)
	}
	_, err := NewRecorder(t.Context(), s.Server, "cellar", pulsetest.Rate, never, zerolog.Nop())
	if err == nil || errors.Is(err, ErrNoSource) || !strings.Contains(err.Error(), `no source "cellar"`) {
		t.Errorf("of a name that is nobody's: %v", err)
	}
	if _, err = NewRecorder(t.Context(), s.Server, "", 0, never, zerolog.Nop()); err == nil {
		t.Error("a rate of 0 is taken")
	}
	if _, err = NewRecorder(t.Context(), filepath.Join(t.TempDir(), "none"), "", pulsetest.Rate, never, zerolog.Nop()); err == nil || errors.Is(err, ErrNoSource) {
		t.Errorf("without a server: %v", err)
	}
}

func TestRecorderTakesTheDefaultSource(t *testing.T) {
	s := pulsetest.Start(t, "module-sine-source source_name=street rate=48000 frequency=1000")
	r, next := listen(t, s.Server, "", zerolog.Nop())
	defer r.Close()
	next(window) // the first samples may be from before it ran
	for range 100 {
		// PulseAudio's source is at half of full scale or so; the tone is to be all there is.
		if tone, all := pulsetest.Level(next(window), 0, 1000); tone > -20 && math.Abs(tone-all) < 0.1 {
			return
		}
	}
	t.Error("the source's tone is not heard")
}

func TestRecorderOutlivesWhoDoesNotTakeWhatItGives(t *testing.T) {
	s := pulsetest.Start(t)
	said := make(chan string, 10)
	hold := make(chan struct{})
	r, err := NewRecorder(t.Context(), s.Server, pulsetest.Monitor, pulsetest.Rate, func([]byte) { <-hold },
		zerolog.New(writer(func(b []byte) { said <- string(b) })))
	if err != nil {
		t.Fatal(err)
	}
	if line := <-said; !strings.Contains(line, "too slowly") {
		t.Errorf("the log says %s", line)
	}
	close(hold)
	r.Close()
}

func TestBackoffGrowsUntilAConnectionLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		for _, want := range []time.Duration{0, 100, 200, 400, 800, 1600, 2000, 2000} {
			start := time.Now()
			b.settle(start)
			if err := b.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != want*time.Millisecond {
				t.Errorf("waited %v, want %v", got, want*time.Millisecond)
			}
		}
		start := time.Now()
		time.Sleep(backoffMost + 1)
		b.settle(start)
		if b != 0 {
			t.Errorf("after a connection that lasted the wait is %v", time.Duration(b))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 {
			if err := b.wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("wait: %v", err)
			}
		}
	})
}

func TestStreamThatIsKilledIsOpenedAgain(t *testing.T) {
	s := pulsetest.Start(t)
	p := NewPlayer(s.Server, "", pulsetest.Rate, block, zerolog.Nop())
	defer p.Close()
	if err := count(t.Context(), p, 0, 1); err != nil {
		t.Fatal(err)
	}
	first := p.stream
	c, err := connect(t.Context(), s.Server, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.ask(t.Context(), &proto.KillSinkInput{SinkInputIndex: first.input}, nil, shapeNothing); err != nil {
		t.Fatal(err)
	}
	<-first.dead
	if err := count(t.Context(), p, 1, 1); err != nil {
		t.Fatal(err)
	}
	if p.stream == first {
		t.Error("the block went to the stream that was killed")
	}
}

func TestProbe(t *testing.T) {
	s := pulsetest.Start(t)
	if err := Probe(t.Context(), s.Server); err != nil {
		t.Errorf("of a server: %v", err)
	}
	if err := Probe(t.Context(), "/nowhere/native "+s.Server); err != nil {
		t.Errorf("of a server behind one that is not there: %v", err)
	}
	t.Setenv("PULSE_SERVER", s.Server)
	if err := Probe(t.Context(), ""); err != nil {
		t.Errorf("of the default: %v", err)
	}
	s.Kill()
	if err := Probe(t.Context(), s.Server); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("of a socket without a server: %v", err)
	}
}

func TestProbeOfWhatIsNoSoundServer(t *testing.T) {
	for name, c := range map[string]struct{ greeting, want string }{
		"hangs up":    {"", "has ended the connection"},
		"speaks HTTP": {"HTTP/1.1 400 Bad Request\r\n\r\n", "is no sound server"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			stop := background(t, func(context.Context) {
				c2, err := l.Accept()
				if err != nil {
					return
				}
				c2.Read(make([]byte, 1000))
				c2.Write([]byte(c.greeting))
				c2.Close()
			})
			if err := Probe(t.Context(), "tcp:"+l.Addr().String()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Probe: %v", err)
			}
			l.Close()
			stop()
		})
	}
}
