package decode

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// What cannot be played is an error that says why, before which comes what could be; never noise.
func TestWhatCannotBePlayed(t *testing.T) {
	f := pcm.Default
	data := encode(f, tones(30000, 2, 44100))
	flac := flacFile(t, f, data)
	ogg := vorbisFile(t, "s16c2r44100", 60000)
	mp3 := mp3File(t, "s16c2r44100", 60000)
	_, wav := pcmWAV(t, "s16c2r44100", 1000)
	damaged := func(file []byte, at int) []byte {
		b := bytes.Clone(file)
		b[at] ^= 0x55
		return b
	}
	changed := func(at int, v ...byte) []byte {
		b := bytes.Clone(wav)
		copy(b[at:], v)
		return b
	}
	for _, test := range []struct {
		name  string
		file  []byte
		err   string
		least int // frames that come
	}{
		{"truncated FLAC", flac[:len(flac)/2], "FLAC: the file ends within frame 1", 8000},
		{"FLAC cut in its head", flac[:20], "FLAC: the file ends within its head", 0},
		{"damaged FLAC", damaged(flac, len(flac)/2), "FLAC: frame 1", 8000},
		{"truncated Vorbis", ogg[:len(ogg)/2], "vorbis: the file ends before its last page", 1000},
		{"Vorbis cut in its head", ogg[:100], "vorbis: the file ends before its last page", 0},
		{"damaged Vorbis", damaged(ogg, len(ogg)*3/4), "vorbis: a page is damaged: its checksum is wrong", 1000},
		{"truncated MP3", mp3[:len(mp3)/2+7], "MP3: the file ends within a frame", 20000},
		{"an MP3 of MPEG 2.5", mp3File(t, "s16c1r8000", 9000), "MP3: MPEG 2.5 is not played", 0},
		{"truncated WAV", wav[:1000], "WAV: the file ends 3044 bytes before its header says", 239},
		{"WAV cut in its head", wav[:30], "WAV: the file ends before its first sample", 0},
		{"WAV of 0 channels", changed(22, 0), "WAV: 0 channels: there are 1 to 64", 0},
		{"WAV of 65 channels", changed(22, 65), "WAV: 65 channels: there are 1 to 64", 0},
		{"WAV of rate 0", changed(24, 0, 0, 0, 0), "WAV: rate 0: there are 100 to 768000", 0},
		{"WAV of 10 MHz", changed(24, 0x80, 0x96, 0x98, 0), "WAV: rate 10000000: there are 100 to 768000", 0},
		{"WAV of ADPCM", changed(20, 2), "WAV: samples of format 0x2 are not played", 0},
		{"WAV of 40 bits", changed(32, 10, 0, 40), "WAV: integers of 40 bits: there are 1 to 32", 0},
		{"WAV whose data comes first", riff(chunk("data", data[:100])), "WAV: the data comes before its format", 0},
		{"AVI", append([]byte("RIFF\x00\x10\x00\x00AVI "), data...), "this is a RIFF file without sound", 0},
		{"AIFF", append([]byte("FORM\x00\x10\x00\x00AIFF"), data...), "this is an AIFF file", 0},
		{"MP4", append([]byte("\x00\x00\x00\x20ftypM4A "), data...), "this is an MP4 file", 0},
		{"Matroska", append([]byte("\x1aE\xdf\xa3\x01\x00\x00\x00"), data...), "this is a Matroska or WebM file", 0},
		{"Opus", oggPages(oggFirst, 0, []byte("OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00")), "vorbis: the file ends before", 0},
		{"Opus, and a page behind", append(oggPages(oggFirst, 0, []byte("OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00")),
			oggPages(0, 0, []byte("OpusTags"))...), "vorbis: the Ogg file holds Opus instead", 0},
	} {
		for name, cut := range cuts() {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				l := listen(t, Config{})
				err := l.write(test.file, cut)
				l.end()
				if got := l.Err(); got == nil || !strings.Contains(got.Error(), test.err) {
					t.Errorf("error %v, want one that says %q", got, test.err)
				} else if err != nil && err != got {
					t.Errorf("Write says %v, Err %v", err, got)
				}
				frames := 0
				for _, h := range l.heard {
					frames += len(h.samples) / h.sound.Channels
				}
				if frames < test.least || test.least == 0 && frames > 0 {
					t.Errorf("%d frames come, want %d and more", frames, test.least)
				}
				// It goes on after a reset.
				l.Reset(nil)
				l.heard = nil
				if err := l.write(wav, cut); err != nil {
					t.Fatal(err)
				}
				l.end()
				same(t, l.heard, Sound{2, 44100}, decoded(f, wav[44:], nil))
			})
		}
	}
}

// Samples that look like the head of something are samples.
func TestSamplesThatLookLikeSomething(t *testing.T) {
	for _, beginning := range []string{"RIF", "RIFX"[:3] + "\x00", "fLaX", "OggX", "ID3\xff\x00\x00\x00\x00\x00\x00", "\xff\xfb\x90\x00", "\xff\xfb\x90\x64\x00\x00", "\xff"} {
		data := append([]byte(beginning), make([]byte, 20000-len(beginning))...)
		for name, cut := range cuts() {
			t.Run(beginning+"/"+name, func(t *testing.T) {
				same(t, play(t, data, cut), Sound{2, 44100}, decoded(pcm.Default, data, nil))
			})
		}
	}
	// Too few to tell are samples, if nothing comes behind them.
	for _, data := range []string{"abcd", "abcdefg", "\xff\xfb\x90\x64", "RIF\x00", "\x00\x00\x00\x00fty\x00"} {
		frames := []byte(data[:len(data)/4*4])
		same(t, play(t, []byte(data), whole), Sound{2, 44100}, decoded(pcm.Default, frames, nil))
	}
}

// An ID3 tag is skipped whatever its length, without keeping it.
func TestTagsAreSkipped(t *testing.T) {
	mp3 := mp3File(t, "s16c2r44100", 5000)
	want := play(t, mp3, whole)
	tag := append([]byte("ID3\x04\x00\x00\x00\x08\x00\x00"), make([]byte, 8<<14)...)
	for name, cut := range cuts() {
		t.Run(name, func(t *testing.T) {
			same(t, play(t, append(bytes.Clone(tag), mp3...), cut), want[0].sound, want[0].samples)
		})
	}
	l := listen(t, Config{})
	huge := []byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7f")
	for range 1000 {
		if err := l.write(huge, whole); err != nil {
			t.Fatal(err)
		}
		huge = make([]byte, 1<<16)
	}
	if n := l.waiting(); n > maxHead {
		t.Errorf("%d bytes are kept", n)
	}
}

// waiting is how many bytes wait within the stream.
func (l *listener) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in.Len()
}

// Damage within an MP3 is skipped, and is not heard.
func TestDamageWithinMP3(t *testing.T) {
	file := mp3File(t, "s16c2r44100", 100000, "-b", "128")
	at := len(file) / 2
	broken := append(append(bytes.Clone(file[:at]), bytes.Repeat([]byte{0xaa}, 3000)...), file[at+3000:]...)
	got, want := play(t, broken, whole), play(t, file, whole)
	if len(got) != 1 || len(got[0].samples) < len(want[0].samples)*8/10 {
		t.Fatalf("%d samples come, of %d", len(got[0].samples), len(want[0].samples))
	}
}

// A stream is full when it holds what it may, and of everything else too it holds little, whatever a head claims.
func TestWhatIsHeldIsBounded(t *testing.T) {
	f := pcm.Default
	data := encode(f, tones(60000, 2, 44100))
	ogg := vorbisFile(t, "s16c2r44100", 120000)
	for name, file := range map[string][]byte{"raw": data, "wav": wavFile(f, data), "flac": flacFile(t, f, data), "vorbis": ogg,
		"mp3": mp3File(t, "s16c2r44100", 80000)} {
		t.Run(name, func(t *testing.T) {
			const hold = 50 * time.Millisecond
			l := listen(t, Config{Hold: hold})
			n := 0
			for l.Buffered() < 2205 || l.takes() {
				m, err := l.Write(file[n:min(len(file), n+1000)])
				if err != nil {
					t.Fatal(err)
				}
				if n += m; n == len(file) {
					t.Fatal("it takes everything")
				}
				if m == 0 {
					l.wait()
				}
			}
			if got := l.Buffered(); got != 2205 {
				t.Errorf("%d frames are held, want 2205", got)
			}
			if n := l.waiting(); n > maxCoded {
				t.Errorf("%d bytes wait", n)
			}
			// With somebody to hear it, it goes on, and nothing is lost.
			if err := l.write(file[n:], whole); err != nil {
				t.Fatal(err)
			}
			l.end()
			want := play(t, file, whole)
			same(t, l.heard, want[0].sound, want[0].samples)
		})
	}
}

// A mark is known when what was written before it has become frames, and says how many, however much comes behind.
func TestMarks(t *testing.T) {
	f := pcm.Default
	data := encode(f, tones(20000, 2, 44100))
	t.Run("raw", func(t *testing.T) {
		l := listen(t, Config{Format: &f})
		for n := 0; n < 100; n++ {
			if err := l.write(data[:6], whole); err != nil { // a frame and a half
				t.Fatal(err)
			}
			frames, known := l.Mark().Frames()
			if want := int64(n+1) * 3 / 2; frames != want || !known {
				t.Fatalf("a mark after %d bytes: %d frames, known %v, want %d", 6*(n+1), frames, known, want)
			}
		}
	})
	t.Run("coded", func(t *testing.T) {
		file := flacFile(t, f, data)
		l := listen(t, Config{Hold: 10 * time.Millisecond})
		if n, known := l.Mark().Frames(); n != 0 || !known {
			t.Errorf("a mark at the beginning: %d, %v", n, known)
		}
		if err := l.write(file[:len(file)-8000], whole); err != nil {
			t.Fatal(err)
		}
		if n := l.waiting(); n == 0 {
			t.Fatal("all has been decoded already; the test wants a file that has not")
		}
		middle := l.Mark()
		if middle != l.Mark() {
			t.Error("two marks at one place are two")
		}
		if _, known := middle.Frames(); known {
			t.Error("a mark is known before what comes before it is decoded")
		}
		rest := file[len(file)-8000:]
		for len(rest) > 0 { // behind the mark there is more
			n, err := l.Write(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			if n == 0 {
				l.wait()
				l.read()
			}
		}
		end := l.Mark()
		l.idle()
		atMiddle, known := middle.Frames()
		if !known || atMiddle <= 0 || atMiddle >= 20000 || atMiddle%4096 != 0 {
			t.Errorf("the mark within: %d frames, known %v, want whole blocks of 4096", atMiddle, known)
		}
		if n, known := end.Frames(); n != 20000 || !known {
			t.Errorf("the mark at the end: %d frames, known %v, want 20000", n, known)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.marks != nil {
			t.Errorf("%d marks are kept", len(l.marks))
		}
	})
	t.Run("cut", func(t *testing.T) { // the decoder waits for what does not come: nothing more of what was written will be heard
		l := listen(t, Config{})
		if err := l.write(flacFile(t, f, data)[:1000], whole); err != nil {
			t.Fatal(err)
		}
		l.idle()
		if n, known := l.Mark().Frames(); n != 0 || !known {
			t.Errorf("a mark behind the cut: %d frames, known %v", n, known)
		}
	})
	t.Run("reset", func(t *testing.T) {
		l := listen(t, Config{Hold: time.Millisecond})
		file := flacFile(t, f, data)
		for l.takes() {
			if _, err := l.Write(file); err != nil {
				t.Fatal(err)
			}
		}
		m := l.Mark()
		l.Reset(nil)
		if n, known := m.Frames(); n != 0 || !known {
			t.Errorf("after a reset a mark says %d, %v", n, known)
		}
	})
}

func TestWhatIsNoSoundIsCounted(t *testing.T) {
	f := format(t, "f32c1r44100")
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	var data []byte
	for _, x := range []float32{0.5, nan, inf, -inf, 1e30, 0.25} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	for name, c := range map[string]Config{"raw": {Format: &f}, "wav": {}} {
		l := listen(t, c)
		file := data
		if name == "wav" {
			file = wavFile(f, data)
		}
		if err := l.write(file, whole); err != nil {
			t.Fatal(err)
		}
		l.end()
		same(t, l.heard, Sound{1, 44100}, []float32{0.5, 0, 0, 0, 0, 0.25})
		if s := l.Status(); s.Bad != 4 {
			t.Errorf("%s: %d are counted, want 4", name, s.Bad)
		}
	}
}

// Close and Reset end a decoder wherever it is: waiting for bytes, waiting for room, or at work. TestMain looks for goroutines.
func TestCloseAndResetEndDecoders(t *testing.T) {
	f := pcm.Default
	file := flacFile(t, f, encode(f, tones(100000, 2, 44100)))
	for _, n := range []int{5, 100, 5000, len(file)} {
		for range 20 {
			l := listen(t, Config{Hold: time.Millisecond})
			for rest := file[:n]; len(rest) > 0; {
				m, err := l.Write(rest)
				if err != nil {
					t.Fatal(err)
				}
				if m == 0 {
					break
				}
				rest = rest[m:]
			}
			l.Reset(nil)
			if _, err := l.Write(file[:min(n, 3000)]); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Write(file); err == nil {
				t.Error("a closed stream takes bytes")
			}
		}
	}
}

// All methods at once: the race detector watches.
func TestManyAtOnce(t *testing.T) {
	f := pcm.Default
	data := encode(f, tones(50000, 2, 44100))
	file := append(flacFile(t, f, data), wavFile(f, data)...)
	var wg sync.WaitGroup
	l := listen(t, Config{Hold: 20 * time.Millisecond})
	stop := make(chan struct{})
	for _, do := range []func(){
		func() { l.Read(make([]float32, 512)) },
		func() {
			l.Status()
			l.Err()
			l.Buffered()
			l.Idle()
			l.takes()
			l.Sound()
		},
		func() { l.Mark().Frames() },
		func() { l.SetHold(30 * time.Millisecond) },
	} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					do()
				}
			}
		})
	}
	for range 3 {
		deadline := time.Now().Add(patience)
		for rest := file; len(rest) > 0; {
			n, err := l.Write(rest)
			if err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; n == 0 && time.Now().After(deadline) {
				t.Fatal("it stands still")
			}
		}
		l.Reset(nil)
	}
	close(stop)
	wg.Wait()
}

func TestMixingDown(t *testing.T) {
	for _, test := range []struct {
		name string
		l    layout
		in   []float32
		want []float32
	}{
		{"front and center", layoutOf(3), []float32{1, 0, 0, 0, 0, 1}, []float32{0.5858, 0, 0.4142, 0.4142}},
		{"quad", layoutOf(4), []float32{0, 0, 1, 0, 1, 1, 1, 1}, []float32{0.4142, 0, 1, 1}},
		{"5.1: no low frequencies", layoutOf(6), []float32{0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1}, []float32{0, 0, 1, 1}},
		{"5.1 of Vorbis", speakersLayout(vorbisOrder[6]), []float32{0, 0, 1, 0, 0, 0}, []float32{0, 0.4142}},
		{"a mask", maskLayout(3, 1<<frontLeft|1<<frontRight|1<<lowFrequency), []float32{0.5, 0.25, 1}, []float32{0.5, 0.25}},
		{"a mask of too few", maskLayout(3, 1<<frontLeft), []float32{0.5, 1, 1}, []float32{0.5, 0}},
		{"ten", layoutOf(10), []float32{1, 0, 1, 0, 1, 0, 1, 0, 1, 0}, []float32{1, 0}},
	} {
		got := test.l.mix(make([]float32, len(test.in)), test.in)
		if len(got) != len(test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
			continue
		}
		for i := range got {
			if math.Abs(float64(got[i]-test.want[i])) > 1e-3 {
				t.Errorf("%s: %v, want %v", test.name, got, test.want)
				break
			}
		}
	}
	// However many there are, full scale stays full scale.
	for n := 3; n <= pcm.MaxChannels; n++ {
		l := layoutOf(n)
		in := make([]float32, n)
		for i := range in {
			in[i] = 1
		}
		if out := l.mix(in, in); out[0] > 1.0001 || out[1] > 1.0001 || out[0] < 0.99 && out[1] < 0.99 {
			t.Errorf("%d channels at full scale become %v", n, out)
		}
	}
}

// takes reports whether Write would take something now, or fail.
func (s *Stream) takes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == failed || s.ended || s.keep() > s.in.Len()
}
