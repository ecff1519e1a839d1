//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func init() {
	cases["audio-wav"] = caseAudioWAV
}

// The mix's rate, and the frames of half a second, which are whole blocks of the mix: nothing is added behind them.
const (
	audioRate   = 44100
	audioFrames = audioRate / 2
)

// noise is samples of 16 bits, in stereo, too soft for the limiter.
func noise(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var p []byte
	for range 2 * audioFrames {
		p = binary.LittleEndian.AppendUint16(p, uint16(int16(r.IntN(16001)-8000)))
	}
	return p
}

// wavFile has samples behind the header of a WAV file.
func wavFile(samples []byte) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF")
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // a buffer takes all
	le(uint32(36 + len(samples)))
	b.WriteString("WAVEfmt ")
	le([]uint32{16})
	le([]uint16{1, 2})
	le([]uint32{audioRate, 4 * audioRate})
	le([]uint16{4, 16})
	b.WriteString("data")
	le(uint32(len(samples)))
	b.Write(samples)
	return b.Bytes()
}

// caseAudioWAV plays by the file that all share, and by a conversation's. The host's file ends with what was played, bit by bit.
func caseAudioWAV(t *T) {
	mnt := t.mount()
	dir, path := mnt+"/audio", t.base()+"/tune.wav"
	t.Cleanup(func() { os.Remove(path) })
	wantMixed := func(what string, samples []byte) {
		want := fmt.Sprintf("%x", sha256.Sum256(samples))
		if got, _, _ := strings.Cut(t.onHost(fmt.Sprintf("tail -c %d mix.wav | sha256sum", len(samples))), " "); got != want {
			t.Errorf("%s: the host's file ends otherwise than with what was played", what)
		}
		// Its header counts all that stands in the file: behind 80 bytes.
		if got := t.onHost("expr $(stat -c %s mix.wav) - $(od -A n -t u4 -j 76 -N 4 mix.wav)"); got != "80" {
			t.Errorf("%s: there are %s bytes beside the samples, want 80", what, got)
		}
	}
	silent := func() bool { return strings.Contains(t.text(dir+"/audiostat"), "\nvoices 0\n") }

	tune := noise(1)
	t.must(os.WriteFile(path, wavFile(tune), 0o600))
	t.mustSh(dir, "cat "+path+" >audio")
	t.until(soon, "audiostat has no voice any more", silent)
	if s := t.text(dir + "/audiostat"); !strings.HasPrefix(s, "sink wav mix.wav\nrate 44100\n") || !strings.Contains(s, "\nclipped 0\n") {
		t.Errorf("audiostat is %q", s)
	}
	wantMixed("audio/audio", tune)

	tune = noise(2)
	t.must(os.WriteFile(path, wavFile(tune), 0o600))
	c := &conv{file: t.open(dir+"/clone", unix.O_RDWR)}
	p, err := c.read(4096)
	t.must(err)
	c.n = t.number(p)
	c.dir = filepath.Join(dir, strconv.Itoa(c.n))
	t.mustSh(c.dir, "cat "+path+" >tx")
	t.text(c.at("wait"))
	wantMixed("audio/N/tx", tune)
	c.close()
	t.until(soon, "audiostat has no voice any more", silent)
}
