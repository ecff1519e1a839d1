package decode

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// flacFile is samples of that format as flac encodes them.
func flacFile(t testing.TB, f pcm.Format, data []byte, options ...string) []byte {
	t.Helper()
	args := []string{"flac", "--silent", "--stdout", "--force-raw-format", "--endian=little", "--sign=signed", "--lax",
		fmt.Sprintf("--channels=%d", f.Channels), fmt.Sprintf("--bps=%d", f.Bits), fmt.Sprintf("--sample-rate=%d", f.Rate)}
	args = append(args, options...)
	// From a file it knows how long the sound is, and says so in the head; from a pipe it does not.
	path := filepath.Join(t.TempDir(), "x.raw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, nil, append(args, path)...)
}

// pcmWAV is a WAV file that other encoders read.
func pcmWAV(t testing.TB, word string, frames int) (pcm.Format, []byte) {
	t.Helper()
	f := format(t, word)
	return f, wavFile(f, encode(f, tones(frames, f.Channels, f.Rate)))
}

func vorbisFile(t testing.TB, word string, frames int, options ...string) []byte {
	t.Helper()
	_, wav := pcmWAV(t, word, frames)
	return run(t, wav, append([]string{"oggenc", "--quiet", "--serial", "1", "-o", "-", "-"}, options...)...)
}

func mp3File(t testing.TB, word string, frames int, options ...string) []byte {
	t.Helper()
	_, wav := pcmWAV(t, word, frames)
	// lame writes its tag at the end into the beginning, which a pipe does not let it.
	dir := t.TempDir()
	in, out := filepath.Join(dir, "x.wav"), filepath.Join(dir, "x.mp3")
	if err := os.WriteFile(in, wav, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, append(append([]string{"lame", "--quiet"}, options...), in, out)...)
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// FLAC gives what was encoded, to the bit, however it is cut.
func TestFLACFiles(t *testing.T) {
	for _, word := range []string{"s8c1r8000", "s16c2r44100", "s16c1r22050", "s24c2r96000", "s16c6r48000", "s16c8r48000", "s24c3r32000"} {
		f := format(t, word)
		frames := 9000
		data := encode(f, tones(frames, f.Channels, f.Rate))
		file := flacFile(t, f, data)
		want := decoded(f, data, layoutOf(f.Channels))
		for name, cut := range cuts() {
			t.Run(word+"/"+name, func(t *testing.T) {
				same(t, play(t, file, cut), Sound{min(2, f.Channels), f.Rate}, want)
			})
		}
	}
	t.Run("levels", func(t *testing.T) {
		f := pcm.Default
		data := encode(f, tones(10000, 2, 44100))
		for level := range 9 {
			same(t, play(t, flacFile(t, f, data, fmt.Sprintf("-%d", level)), whole), Sound{2, 44100}, decoded(f, data, nil))
		}
	})
	t.Run("silence", func(t *testing.T) {
		data := make([]byte, 4*20000)
		same(t, play(t, flacFile(t, pcm.Default, data), whole), Sound{2, 44100}, decoded(pcm.Default, data, nil))
	})
}

// A head that does not say how long the sound is, as flac writes it into a pipe.
func TestFLACOfUnknownLength(t *testing.T) {
	data := encode(pcm.Default, tones(20000, 2, 44100))
	file := flacFile(t, pcm.Default, data)
	// 36 bits in the midst of the stream's information.
	file[21] &= 0xf0
	clear(file[22:26])
	want := decoded(pcm.Default, data, nil)
	same(t, play(t, file, whole), Sound{2, 44100}, want)
	// The next one is found all the same.
	twice := append(append([]byte(nil), file...), file...)
	same(t, play(t, twice, whole), Sound{2, 44100}, append(append([]float32(nil), want...), want...))
}

// The samples of Vorbis are those that oggdec gives, which rounds to 16 bits, and as many.
func TestVorbisFiles(t *testing.T) {
	for _, word := range []string{"s16c1r8000", "s16c2r44100", "s16c2r48000", "s16c6r48000"} {
		f := format(t, word)
		for _, frames := range []int{1, 100, 15000} {
			file := vorbisFile(t, word, frames)
			var l layout
			if f.Channels > 2 {
				l = speakersLayout(vorbisOrder[f.Channels]) // oggdec gives the channels in this order
			}
			want := decoded(f, run(t, file, "oggdec", "--quiet", "--raw", "-o", "-", "-"), l)
			if n := len(want) / min(2, f.Channels); n != frames {
				t.Fatalf("oggdec gives %d frames of %d", n, frames)
			}
			for name, cut := range cuts() {
				t.Run(fmt.Sprintf("%s/%d/%s", word, frames, name), func(t *testing.T) {
					near(t, play(t, file, cut), Sound{min(2, f.Channels), f.Rate}, want, 1.5/(1<<15))
				})
			}
		}
	}
}

// The samples of MP3 are those of mpg123, and as many: without what the encoder put in front and behind. The library rounds down, and in
// joint stereo is a little off: by 3 steps of 16 bits in the mean.
func TestMP3Files(t *testing.T) {
	for _, test := range []struct {
		word    string
		options []string
	}{
		{"s16c2r44100", nil},
		{"s16c2r44100", []string{"-V2"}},
		{"s16c2r48000", []string{"-b", "320"}},
		{"s16c1r44100", []string{"-b", "64"}},
		{"s16c2r32000", []string{"-p"}}, // with checksums
		{"s16c2r44100", []string{"-t"}}, // without its tag
		{"s16c2r44100", []string{"--id3v2-only", "--tt", "a title"}},
		{"s16c2r44100", []string{"--id3v1-only", "--tt", "a title"}},
		{"s16c1r22050", []string{"-b", "64"}},
		{"s16c2r24000", []string{"-b", "96"}},
		{"s16c2r16000", []string{"-V5"}},
	} {
		f := format(t, test.word)
		file := mp3File(t, test.word, 12000, test.options...)
		raw := run(t, file, "mpg123", "-q", "-s", "-")
		want := decoded(f, raw, nil)
		for name, cut := range cuts() {
			t.Run(fmt.Sprintf("%s%v/%s", test.word, test.options, name), func(t *testing.T) {
				got := play(t, file, cut)
				near(t, got, Sound{f.Channels, f.Rate}, want, 200.0/(1<<15))
				sum := 0.0
				for i, x := range got[0].samples {
					sum += math.Pow(float64(x-want[i])*(1<<15), 2)
				}
				if off := math.Sqrt(sum / float64(len(want))); off > 6 {
					t.Errorf("the samples are off by %.1f steps in the mean", off)
				}
			})
		}
	}
}

func TestFilesInARow(t *testing.T) {
	f8, wav8 := pcmWAV(t, "u8c1r8000", 3001) // odd
	f16, wav16 := pcmWAV(t, "s16c2r44100", 5000)
	fl := format(t, "s24c2r48000")
	flData := encode(fl, tones(9000, 2, 48000))
	flacs := flacFile(t, fl, flData)
	ogg := vorbisFile(t, "s16c1r22050", 7000)
	mp3 := mp3File(t, "s16c2r32000", 8000)
	tagged := mp3File(t, "s16c2r44100", 8000, "--add-id3v2", "--tt", "a title")
	mp3Frames := len(run(t, mp3, "mpg123", "-q", "-s", "-")) / 4
	taggedFrames := len(run(t, tagged, "mpg123", "-q", "-s", "-")) / 4

	var stream []byte
	for _, file := range [][]byte{wav8, flacs, wav16, ogg, mp3, []byte("junk between files"), wav16, tagged, flacs, ogg, ogg, mp3, wav8} {
		stream = append(stream, file...)
	}
	want := []struct {
		sound  Sound
		frames int
	}{{Sound{1, 8000}, 3001}, {Sound{2, 48000}, 9000}, {Sound{2, 44100}, 5000}, {Sound{1, 22050}, 7000}, {Sound{2, 32000}, mp3Frames},
		{Sound{2, 44100}, 5000 + taggedFrames}, {Sound{2, 48000}, 9000}, {Sound{1, 22050}, 14000}, {Sound{2, 32000}, mp3Frames}, {Sound{1, 8000}, 3001}}
	for name, cut := range cuts() {
		t.Run(name, func(t *testing.T) {
			l := listen(t, Config{})
			if err := l.write(stream, cut); err != nil {
				t.Fatal(err)
			}
			l.end()
			if err := l.Err(); err != nil {
				t.Fatal(err)
			}
			if len(l.heard) != len(want) {
				t.Fatalf("%d sounds were heard, want %d; status %+v", len(l.heard), len(want), l.Status())
			}
			for i, h := range l.heard {
				if h.sound != want[i].sound || len(h.samples)/h.sound.Channels != want[i].frames {
					t.Errorf("sound %d is %d frames of %+v, want %+v", i, len(h.samples)/h.sound.Channels, h.sound, want[i])
				}
			}
			same(t, l.heard[:1], Sound{1, 8000}, decoded(f8, wav8[44:44+3001], nil))
			same(t, l.heard[1:2], Sound{2, 48000}, decoded(fl, flData, nil))
			same(t, l.heard[2:3], Sound{2, 44100}, decoded(f16, wav16[44:], nil))
			if s := l.Status(); s.Files != 12 {
				t.Errorf("status %+v, want 12 files", s)
			}
		})
	}
}

// What a WAV file says of its length may be a lie.
func TestWAVLengthsThatLie(t *testing.T) {
	f, wav := pcmWAV(t, "s16c2r44100", 4000)
	data := wav[44:]
	want := decoded(f, data, nil)
	put := func(riff, length uint32) []byte {
		b := append([]byte(nil), wav...)
		binary.LittleEndian.PutUint32(b[4:], riff)
		binary.LittleEndian.PutUint32(b[40:], length)
		return b
	}
	for _, test := range []struct {
		name   string
		file   []byte
		frames int
		err    string
		next   bool // a file may follow
	}{
		{"streaming 0", put(0, 0), 4000, "", true},
		{"streaming ffffffff", put(0xffffffff, 0xffffffff), 4000, "", true},
		{"streaming 36 and 0, as before the first sample", put(36, 0), 4000, "", true},
		{"streaming 7ffff024, as sox", put(0x7ffff024, 0x7ffff000), 4000, "", true},
		{"longer than it is", put(1<<30, 1<<29), 4000, "WAV: the file ends 536854912 bytes before its header says", false},
		{"shorter than it is", put(36+800, 800), 200, "", true},
		{"riff shorter than it is", put(36, 16000), 4000, "", true},
		{"riff longer than it is", put(1<<29, 16000), 4000, "", true},
		{"riff 1", put(1, 16000), 4000, "", true},
	} {
		for name, cut := range cuts() {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				l := listen(t, Config{})
				if err := l.write(test.file, cut); err != nil {
					t.Fatal(err)
				}
				l.end()
				same(t, l.heard, Sound{2, 44100}, want[:2*test.frames])
				if err := l.Err(); (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
					t.Errorf("error %v, want %q", err, test.err)
				}
				if !test.next {
					return
				}
				l = listen(t, Config{})
				if err := l.write(append(append([]byte(nil), test.file...), wav...), cut); err != nil {
					t.Fatal(err)
				}
				l.end()
				same(t, l.heard, Sound{2, 44100}, append(append([]float32(nil), want[:2*test.frames]...), want...))
			})
		}
	}
}

// In a WAV file that does not say how long it is, what looks like the beginning of another is looked at to the end, and is samples if it
// is none; wherever in a frame it stands.
func TestSamplesThatLookLikeTheNextWAV(t *testing.T) {
	for _, word := range []string{"u8c1r8000", "s16c2r44100", "s24c2r44100", "s16c6r48000", "f32c8r48000"} {
		f := format(t, word)
		for at := range f.FrameBytes() {
			data := make([]byte, 20*f.FrameBytes())
			copy(data[f.FrameBytes()+at:], "RIFFxxxxWAVX")
			copy(data[len(data)-3:], "RIF")
			want := decoded(f, data, layoutOf(f.Channels))
			file := wavFile(f, data)
			binary.LittleEndian.PutUint32(file[40:], 0xffffffff)
			for name, cut := range cuts() {
				t.Run(fmt.Sprintf("%s/%d/%s", word, at, name), func(t *testing.T) {
					same(t, play(t, file, cut), Sound{min(2, f.Channels), f.Rate}, want)
				})
			}
		}
	}
}
