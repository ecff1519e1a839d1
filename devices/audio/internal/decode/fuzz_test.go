package decode

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// Whatever is written, and however it is cut, a stream takes it or fails, comes to an end, and gives nothing but sound, in bounded
// memory.
func FuzzStream(f *testing.F) {
	if testing.Short() {
		f.Skip("encoders are run for the seeds")
	}
	for _, seed := range seeds(f) {
		f.Add(seed, uint16(len(seed)))
		f.Add(seed, uint16(13))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		l := listen(t, Config{Hold: 10 * time.Millisecond})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := l.write(data, func() int { return 1 + int(cut) })
		l.end()
		runtime.ReadMemStats(&after)
		if err != nil && l.Err() == nil {
			t.Errorf("Write says %v, Err nothing", err)
		}
		for _, h := range l.heard {
			if h.sound.Channels < 1 || h.sound.Channels > 2 || h.sound.Rate < pcm.MinRate || h.sound.Rate > pcm.MaxRate {
				t.Fatalf("sound %+v", h.sound)
			}
			for i, x := range h.samples {
				if !(x >= -pcm.Loudest && x <= pcm.Loudest) {
					t.Fatalf("sample %d is %v", i, x)
				}
			}
		}
		if grown := after.TotalAlloc - before.TotalAlloc; len(data) < 1<<16 && grown > 1<<30 {
			t.Errorf("%d bytes have %d MiB allocated", len(data), grown>>20)
		}
	})
}

// seeds are short files of all kinds.
func seeds(t testing.TB) (all [][]byte) {
	small := func(word string) []byte {
		_, wav := pcmWAV(t, word, 400)
		return wav
	}
	f := pcm.Default
	flac := flacFile(t, f, encode(f, tones(3000, 2, 44100)))
	unknownLength := append([]byte(nil), flac...)
	unknownLength[21] &= 0xf0
	clear(unknownLength[22:26])
	streaming := small("s16c2r44100")
	binary.LittleEndian.PutUint32(streaming[40:], 0xffffffff)
	vorbis, six := vorbisFile(t, "s16c2r44100", 2000), vorbisFile(t, "s16c6r48000", 1000)
	mp3 := mp3File(t, "s16c2r44100", 2000)
	all = [][]byte{small("u8c1r8000"), small("s24c2r96000"), small("f32c2r48000"), small("s16c6r48000"), flac, unknownLength, streaming, vorbis, six,
		mp3, mp3File(t, "s16c1r22050", 2000, "-b", "32"), []byte("raw samples and nothing else"), {}}
	all = append(all, append(append([]byte(nil), streaming...), mp3...), append(append([]byte(nil), flac...), vorbis...))
	return all
}

// Setup heads of Vorbis go through the repair, and then through the library, without end or panic of their own.
func FuzzVorbisSetup(f *testing.F) {
	for _, word := range []string{"s16c2r44100", "s16c6r48000", "s16c1r8000"} {
		f.Add(setupOf(f, vorbisFile(f, word, 1000)))
	}
	f.Fuzz(func(t *testing.T, setup []byte) {
		sane, err := saneSetup(setup)
		if err == nil && len(sane) < len(setup) {
			t.Errorf("%d bytes become %d", len(setup), len(sane))
		}
	})
}

// setupOf finds the setup head of a file.
func setupOf(t testing.TB, file []byte) []byte {
	t.Helper()
	var found []byte
	for _, p := range packetsOf(t, file) {
		if len(p) > 7 && string(p[:7]) == "\x05vorbis" {
			found = p[7:]
		}
	}
	if found == nil {
		t.Fatal("no setup head")
	}
	return found
}

// Packets of Vorbis in pages that are whole, which a change of any byte of a file does not leave: behind the checksum the library itself is
// reached.
func FuzzVorbisPackets(f *testing.F) {
	for _, word := range []string{"s16c2r44100", "s16c6r48000", "s16c1r8000"} {
		file := vorbisFile(f, word, 1500)
		p := packetsOf(f, file)
		f.Add(p[0], p[2], p[3], p[4])
	}
	f.Fuzz(func(t *testing.T, first, setup, a, b []byte) {
		file := oggPages(oggFirst, 0, first)
		for _, p := range [][]byte{[]byte("\x03vorbis\x00\x00\x00\x00\x00\x00\x00\x00\x01"), setup, a, b, a, b} {
			file = append(file, oggPages(0, -1, p)...)
		}
		l := listen(t, Config{})
		l.write(file, whole) // may fail
		l.end()
		for _, h := range l.heard {
			for i, x := range h.samples {
				if !(x >= -pcm.Loudest && x <= pcm.Loudest) {
					t.Fatalf("sample %d is %v", i, x)
				}
			}
		}
	})
}

// oggPages is a packet of any length in pages of its own.
func oggPages(flags byte, granule int64, packet []byte) (pages []byte) {
	for {
		segments := min(255, len(packet)/255+1)
		n := min(len(packet), 255*segments)
		b := append([]byte("OggS\x00"), flags)
		b = binary.LittleEndian.AppendUint64(b, uint64(granule))
		b = append(b, make([]byte, 4+4+4)...)
		b = append(b, byte(segments))
		ends := n < 255*segments
		for i := range segments {
			if i == segments-1 && ends {
				b = append(b, byte(n%255))
			} else {
				b = append(b, 255)
			}
		}
		b = append(b, packet[:n]...)
		binary.LittleEndian.PutUint32(b[22:], oggSum(b))
		pages, packet = append(pages, b...), packet[n:]
		if ends {
			return pages
		}
		flags |= oggContinued
	}
}
