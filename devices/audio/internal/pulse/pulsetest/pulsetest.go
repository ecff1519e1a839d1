// Package pulsetest starts a real PulseAudio server for a test, with a sink that swallows what it plays and a monitor that hears it.
package pulsetest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const (
	Rate    = 48000          // of the sink
	Sink    = "hall"         // its name
	Monitor = "hall.monitor" // the name of the source that hears it
)

// nobody is who runs the server when the test is the superuser: PulseAudio is made for ordinary users.
const nobody = 65534

// A Server is a PulseAudio server that lets everybody in. It is used by one goroutine at a time.
type Server struct {
	Server string // where it is: a server string for pulse.NewPlayer, or PULSE_SERVER

	t       testing.TB
	dir     string
	modules []string
	cmd     *exec.Cmd // nil while it is dead
	logged  chan struct{}
}

// Start starts a server, which ends with the test. It has one sink, of 16 bits so that a monitor shows each sample as it was played, and no
// source but the monitor. Each of the modules is loaded behind it, as in "module-null-source source_name=street".
func Start(t testing.TB, modules ...string) *Server {
	t.Helper()
	// Not t.TempDir: nobody but its owner may look into that, and a socket's path has to be short.
	dir, err := os.MkdirTemp("", "pulse")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "native")
	s := &Server{Server: "unix:" + socket, t: t, dir: dir}
	s.modules = append([]string{
		fmt.Sprintf("module-null-sink sink_name=%s rate=%d channels=2 channel_map=front-left,front-right format=s16le norewinds=1", Sink, Rate),
	}, modules...)
	// Last, so that who reaches the server finds all of it.
	s.modules = append(s.modules, "module-native-protocol-unix auth-anonymous=1 socket="+socket)
	t.Cleanup(func() {
		if s.cmd != nil {
			s.Kill()
		}
	})
	s.Restart()
	return s
}

// command is a program of PulseAudio's, run as an ordinary user who has nothing but the server.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_RUNTIME_DIR=" + s.dir, "PULSE_SERVER=" + s.Server, "LC_ALL=C"}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// Kill kills the server with SIGKILL, and returns when it is gone. Its socket stays behind.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.logged
	s.cmd.Wait() // says that it was killed
	s.cmd = nil
}

// Pid is the process of the server.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Restart starts a server that was killed, at the same address. It returns when that answers.
func (s *Server) Restart() {
	s.t.Helper()
	args := []string{"-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm", "--realtime=no", "--high-priority=no",
		"--log-target=stderr", "--log-level=info"}
	for _, m := range s.modules {
		args = append(args, "-L", m)
	}
	s.cmd = s.command("pulseaudio", args...)
	log, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("a sound server is wanted, from the package pulseaudio: %v", err)
	}
	// It says when it is ready. What it says later is read and forgotten.
	var said bytes.Buffer
	lines := bufio.NewScanner(log)
	ready := false
	for !ready && lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		ready = strings.Contains(lines.Text(), "startup complete")
	}
	s.logged = make(chan struct{})
	go func() {
		io.Copy(io.Discard, log)
		close(s.logged)
	}()
	if !ready {
		s.Kill()
		s.t.Fatalf("the sound server does not start:\n%s", &said)
	}
}

// A Recording hears what a sink of the server plays, through parec, a program of PulseAudio's own. When the server dies it ends.
type Recording struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *bufio.Reader
	stop sync.Once
}

// Record records the sink until the test ends, or Stop. It returns when the recording is under way.
func (s *Server) Record() *Recording {
	s.t.Helper()
	r := &Recording{t: s.t}
	r.cmd = s.command("parec", "--raw", "--device="+Monitor, "--format=s16le", fmt.Sprintf("--rate=%d", Rate), "--channels=2", "--latency-msec=20")
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	r.out = bufio.NewReaderSize(out, 64<<10)
	if err := r.cmd.Start(); err != nil {
		s.t.Fatalf("parec is wanted, from the package pulseaudio-utils: %v", err)
	}
	s.t.Cleanup(r.Stop)
	if _, err := r.out.Peek(1); err != nil {
		s.t.Fatalf("parec records nothing: %v", err)
	}
	return r
}

// Next returns the next n stereo frames, left and right in turn, each the sample that was played, from -32768 to 32767; or fewer when the
// recording has ended.
func (r *Recording) Next(n int) []int16 {
	b := make([]byte, 4*n)
	got, _ := io.ReadFull(r.out, b)
	return Samples(b[:got-got%4])
}

// Stop ends the recording.
func (r *Recording) Stop() {
	r.stop.Do(func() {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	})
}

// Samples reads 16-bit samples from their bytes, as Recorder gives them.
func Samples(b []byte) []int16 {
	s := make([]int16, len(b)/2)
	for i := range s {
		s[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return s
}

// Level measures one channel of stereo frames (0 left, 1 right): the amplitude of the tone of freq Hz in it, by Goertzel's algorithm, and
// the amplitude that a sine of as much power as all that sounds would have, both in dB of full scale. They are equal when nothing but that
// tone sounds. The frames are to hold whole periods of it.
func Level(frames []int16, channel int, freq float64) (tone, all float64) {
	w := 2 * math.Pi * freq / Rate
	var s1, s2, power float64
	n := 0
	for i := channel; i < len(frames); i += 2 {
		x := float64(frames[i]) / 32768
		s1, s2 = x+2*math.Cos(w)*s1-s2, s1
		power += x * x
		n++
	}
	amplitude := 2 / float64(n) * math.Sqrt(max(0, s1*s1+s2*s2-2*math.Cos(w)*s1*s2))
	return 20 * math.Log10(amplitude), 20 * math.Log10(math.Sqrt(2*power/float64(n)))
}

// Hears says whether stereo frames hold a sine of freq[0] Hz and of that level (dB of full scale) on the left, one of freq[1] on the right,
// and nothing else: each within 0.2 dB.
func Hears(frames []int16, freq, level [2]float64) bool {
	for c := range 2 {
		tone, all := Level(frames, c, freq[c])
		if !(math.Abs(tone-level[c]) < 0.2 && math.Abs(all-level[c]) < 0.2) {
			return false
		}
	}
	return true
}
