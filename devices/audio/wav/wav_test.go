package wav_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/devices/audio/wav"
)

// soxReads is what sox takes the file for.
func soxReads(t *testing.T, path string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("sox", append(append([]string{"-D", path, "-t", "raw"}, args...), "-")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("sox (Debian's package sox) reads %s: %v\n%s", path, err, stderr.String())
	}
	return out
}

// The file is whole after every write, and sox says what is in it.
func TestFilesAreWholeAfterEveryWrite(t *testing.T) {
	for _, test := range []struct {
		word  string
		frame int
		sox   []string // how to have the samples as they were written
	}{
		{"u8c1r8000", 1, []string{"-e", "unsigned", "-b", "8"}},
		{"s16c2r44100", 4, []string{"-e", "signed", "-b", "16"}},
		{"s16c1r22050", 2, []string{"-e", "signed", "-b", "16"}},
		{"s24c2r96000", 6, []string{"-e", "signed", "-b", "24"}},
		{"s24c1r96000", 3, []string{"-e", "signed", "-b", "24"}},
		{"s32c2r48000", 8, []string{"-e", "signed", "-b", "32"}},
		{"s16c6r48000", 12, []string{"-e", "signed", "-b", "16"}},
		{"a8c1r8000", 1, []string{"-e", "a-law", "-b", "8"}},
	} {
		t.Run(test.word, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 1))
			path := filepath.Join(t.TempDir(), "x.wav")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w, err := wav.NewWriter(f, test.word)
			if err != nil {
				t.Fatal(err)
			}
			var all []byte
			for range 10 {
				p := make([]byte, random.IntN(200))
				for i := range p {
					p[i] = byte(random.Uint32())
				}
				if n, err := w.Write(p); n != len(p) || err != nil {
					t.Fatalf("Write: %d, %v", n, err)
				}
				all = append(all, p...)
				// As kill -9 would leave it.
				got := soxReads(t, path, test.sox...)
				if len(got)%test.frame != 0 || len(all)-len(got) > 2*test.frame || !bytes.HasPrefix(all, got) {
					t.Fatalf("of %d bytes %d are in the file, and the same: %v", len(all), len(got), bytes.HasPrefix(all, got))
				}
				if w.Frames() != int64(len(got)/test.frame) {
					t.Fatalf("Frames says %d, the file has %d", w.Frames(), len(got)/test.frame)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got, want := soxReads(t, path, test.sox...), all[:len(all)/test.frame*test.frame]; !bytes.Equal(got, want) {
				t.Fatalf("the file has %d bytes, want %d", len(got), len(want))
			}
		})
	}
}

// sparse is a file of which only the beginning and the number of bytes are kept.
type sparse struct {
	head [128]byte
	size int64
}

func (s *sparse) WriteAt(p []byte, at int64) (int, error) {
	if at < int64(len(s.head)) {
		copy(s.head[at:], p)
	}
	s.size = max(s.size, at+int64(len(p)))
	return len(p), nil
}

func TestFilesOfMoreThanFourGigabytes(t *testing.T) {
	var f sparse
	w, err := wav.NewWriter(&f, "s16c2r44100")
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	le := binary.LittleEndian
	for i := range int64(4100) {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
		data := (i + 1) << 20
		if riff := f.size - 8; riff < 1<<32-1 {
			if string(f.head[:4]) != "RIFF" || string(f.head[12:16]) != "JUNK" || int64(le.Uint32(f.head[4:])) != riff || int64(le.Uint32(f.head[76:])) != data {
				t.Fatalf("at %d bytes the header is % x", data, f.head[:80])
			}
		} else if string(f.head[:4]) != "RF64" || string(f.head[12:16]) != "ds64" || le.Uint32(f.head[4:]) != 0xffffffff || le.Uint32(f.head[76:]) != 0xffffffff ||
			int64(le.Uint64(f.head[20:])) != riff || int64(le.Uint64(f.head[28:])) != data || int64(le.Uint64(f.head[36:])) != data/4 {
			t.Fatalf("at %d bytes the header is % x", data, f.head[:80])
		}
	}
}

func TestWhatWAVCannotHold(t *testing.T) {
	for _, word := range []string{"s8", "u16", "S16", "s12", "u32", "nonsense", "s16c65"} {
		var f sparse
		if w, err := wav.NewWriter(&f, word); err == nil || w != nil || f.size != 0 {
			t.Errorf("NewWriter of %s: %v, and %d bytes are written", word, err, f.size)
		}
	}
}

// full is a disk with little room left.
type full struct {
	sparse
	room int64
}

func (f *full) WriteAt(p []byte, at int64) (int, error) {
	if n := f.room - at; n < int64(len(p)) {
		n = max(n, 0)
		f.sparse.WriteAt(p[:n], at)
		return int(n), errors.New("no space left")
	}
	return f.sparse.WriteAt(p, at)
}

func TestAFullDisk(t *testing.T) {
	f := &full{room: 80 + 10}
	w, err := wav.NewWriter(f, "s16c2r44100")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(make([]byte, 16)); n != 10 || err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("Write: %d, %v", n, err)
	}
	if n := binary.LittleEndian.Uint32(f.head[76:]); n != 8 || w.Frames() != 2 {
		t.Errorf("the header counts %d bytes, Frames %d", n, w.Frames())
	}
	if _, err := wav.NewWriter(&full{room: 10}, "s16"); err == nil {
		t.Error("NewWriter says nothing of a full disk")
	}
}

func ExampleWriter() {
	dir, err := os.MkdirTemp("", "wav")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	f, err := os.Create(filepath.Join(dir, "silence.wav"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	w, err := wav.NewWriter(f, "s16c2r44100")
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 100 {
		if _, err := w.Write(make([]byte, 4*441)); err != nil { // 10 ms
			fmt.Println(err)
			return
		}
	}
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}
	size, _ := f.Seek(0, io.SeekEnd)
	fmt.Println(w.Frames(), "frames,", size, "bytes")
	// Output: 44100 frames, 176480 bytes
}
