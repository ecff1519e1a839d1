package audio

import (
	"bytes"
	"math"
	"os/exec"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// tool runs a program, of the packages that scripts/test names, over bytes.
func tool(t testing.TB, in []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, words.String())
	}
	return out.Bytes()
}

// files makes a tone of 440 Hz, half of full scale, in each kind of file.
func files(t testing.TB, seconds string) map[string][]byte {
	t.Helper()
	raw := tool(t, nil, "sox", "-n", "-r", "44100", "-c", "2", "-b", "16", "-e", "signed", "-t", "raw", "-", "synth", seconds, "sine", "440", "vol", "0.5")
	return map[string][]byte{
		"raw":    raw,
		"wav":    tool(t, raw, "sox", "-t", "raw", "-r", "44100", "-c", "2", "-b", "16", "-e", "signed", "-", "-t", "wav", "-"),
		"float":  tool(t, raw, "sox", "-t", "raw", "-r", "44100", "-c", "2", "-b", "16", "-e", "signed", "-", "-t", "wav", "-e", "float", "-b", "32", "-r", "48000", "-"),
		"flac":   tool(t, raw, "flac", "-s", "--endian=little", "--sign=signed", "--channels=2", "--bps=16", "--sample-rate=44100", "-c", "-"),
		"vorbis": tool(t, raw, "oggenc", "-Q", "-r", "-R", "44100", "-C", "2", "-B", "16", "-q", "8", "-o", "-", "-"),
		"mp3":    tool(t, raw, "lame", "--quiet", "-r", "-s", "44.1", "-b", "192", "-", "-"),
	}
}

// Every kind of file, written to audio/audio in pieces that end anywhere, is heard as the tone that it has.
func TestFilesAreHeard(t *testing.T) {
	for kind, file := range files(t, "1") {
		t.Run(kind, func(t *testing.T) {
			c := DefaultConfig()
			c.Latency = maxLatency
			r := newRig(t, c)
			v := r.voice("pause") // so that it does not run dry while a decoder works
			for rest := file; len(rest) > 0; {
				n := min(len(rest), 1237)
				v.play(rest[:n])
				rest = rest[n:]
			}
			x := v.of()
			until(t, "the decoder's end", func() bool { return x.stream.Buffered() > 40000 })
			v.say("play")
			v.ctl.Close()
			mix := r.rest(x)
			if n := len(mix) / 2; n < 44100 || n > 44100*11/10 {
				t.Errorf("%d frames are heard, want 44100 and at most a tenth more", n)
			}
			for ch := range 2 {
				var re, im float64
				const from, n = 4410, 35280 // a whole number of periods
				for i := range n {
					sin, cos := math.Sincos(2 * math.Pi * 440 * float64(i) / 44100)
					re += float64(mix[2*(from+i)+ch]) * cos
					im += float64(mix[2*(from+i)+ch]) * sin
				}
				far := 0.01
				if kind == "mp3" || kind == "vorbis" {
					far = 0.5 // the encoders take some
				}
				if level := 20 * math.Log10(2*math.Hypot(re, im)/n/0.5); math.Abs(level) > far {
					t.Errorf("channel %d has the tone at %+.2f dB", ch, level)
				}
			}
		})
	}
}

// A file that is cut plays as far as it goes; one whose header lies about its length does not play what is not there, nor stop where it says.
func TestFilesThatAreBroken(t *testing.T) {
	made := files(t, "2")
	const frames = 88200
	lying := bytes.Clone(made["wav"])
	copy(lying[40:], "\xff\xff\xff\x7f")
	short := bytes.Clone(made["wav"])
	copy(short[40:], "\x00\x10\x00\x00") // 1024 frames
	for _, tt := range []struct {
		what      string
		data      []byte
		least, to int // frames
	}{
		{"a WAV file that promises too much", lying, frames, frames},
		{"a WAV file that promises too little", short, 1024, 1024},
		{"a WAV file that is cut within a frame", made["wav"][:44+4*1000+3], 1000, 1000},
		{"a FLAC file that is cut", made["flac"][:len(made["flac"])/2], 4096, frames},
		{"an MP3 file that is cut", made["mp3"][:len(made["mp3"])/2], 5000, frames},
		{"an Ogg Vorbis file that is cut", made["vorbis"][:len(made["vorbis"])*9/10], 50000, frames},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := DefaultConfig()
			c.Latency = maxLatency
			r := newRig(t, c)
			v := r.voice()
			v.play(tt.data)
			x := v.of()
			v.ctl.Close()
			mix := r.rest(x)
			n := len(mix)
			for n > 0 && mix[n-1] == 0 {
				n--
			}
			if n /= 2; n < tt.least-8 || n > tt.to {
				t.Errorf("%d frames are heard, want %d to %d", n, tt.least, tt.to)
			}
		})
	}
}

// A FLAC file that is damaged is an error of a later write, and in status.
func TestDamagedFLAC(t *testing.T) {
	r := newRig(t, DefaultConfig())
	v := r.voice()
	file := files(t, "2")["flac"]
	for i := len(file) / 2; i < len(file)/2+200; i++ {
		file[i] = 0
	}
	f := r.client.MustOpen(v.dir+"/tx", p9.WriteOnly)
	defer f.Close()
	done := make(chan error, 1)
	go func() {
		var err error
		for rest := file; len(rest) > 0 && err == nil; {
			n := min(len(rest), 4096)
			_, err = f.Write(t.Context(), rest[:n], 0)
			rest = rest[n:]
		}
		if err == nil {
			_, err = f.Write(t.Context(), make([]byte, 1<<20), 0)
		}
		done <- err
	}()
	var err error
	until(t, "the error", func() bool {
		r.rest()
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	clonetest.CheckError(t, "a damaged file", err, linux.EINVAL, "")
	if err != nil && !strings.Contains(err.Error(), "FLAC") {
		t.Errorf("the error is %q", err)
	}
	if got := v.status("error"); !strings.Contains(got, "FLAC") {
		t.Errorf("status says %q", got)
	}
}
