package decode

import (
	"fmt"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

// A kind is what first bytes say.
type kind int

const (
	unknown kind = iota
	more         // more bytes are needed to tell
	isWAV
	isFLAC
	isOgg
	isMP3
	isTag   // ID3, before MP3 and at times before FLAC
	isOther // a file that is known, but not played
)

// maxHead is how many bytes it takes at most to tell what something is: three frames of MP3, and the fourth's head, are the most.
const maxHead = 3*maxMP3Frame + 4

// others are files that would be noise if they were taken for samples.
var others = []struct {
	at    int
	magic string
	name  string
}{
	{0, "RIFX", "a big-endian WAV file"},
	{0, "FORM", "an AIFF file"},
	{0, ".snd", "an AU file"},
	{0, "caff", "a CAF file"},
	{0, "MThd", "a MIDI file"},
	{0, "wvpk", "a WavPack file"},
	{0, "MAC ", "a Monkey's Audio file"},
	{0, "DSD ", "a DSD file"},
	{0, "#!AMR", "an AMR file"},
	{0, "\x1aE\xdf\xa3", "a Matroska or WebM file"},
	{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"},
	{4, "ftyp", "an MP4 file"},
}

// identify tells what data begins with. ended: nothing comes behind data. after: what is no beginning of a file is unknown, and never a
// file that cannot be played.
func identify(data []byte, ended, after bool) (k kind, name string) {
	if len(data) < 8 && !ended && !after {
		return more, "" // enough for all but WAV, ID3 and MP3
	}
	// has reports whether data begins with magic at place at, and whether it may once there is more of it.
	has := func(at int, magic string) (yes, maybe bool) {
		if len(data) < at+len(magic) {
			seen := ""
			if len(data) > at {
				seen = string(data[at:])
			}
			return false, !ended && magic[:len(seen)] == seen
		}
		return string(data[at:at+len(magic)]) == magic, false
	}
	wait := false
	for _, m := range []struct {
		magic string
		k     kind
	}{{"RIFF", isWAV}, {"RF64", isWAV}, {"BW64", isWAV}, {"fLaC", isFLAC}, {"OggS", isOgg}, {"ID3", isTag}} {
		yes, maybe := has(0, m.magic)
		wait = wait || maybe
		if !yes {
			continue
		}
		switch m.k {
		case isWAV:
			if wave, maybe := has(8, "WAVE"); !wave && maybe {
				return more, ""
			} else if !wave && after {
				return unknown, ""
			} else if !wave {
				return isOther, "a RIFF file without sound"
			}
		case isOgg:
			if len(data) < 6 && !ended {
				return more, ""
			} else if after && (len(data) < 6 || data[5]&oggFirst == 0) {
				return unknown, "" // a page of a stream that went on beside the one that was played
			}
		case isTag:
			if len(data) < 10 && !ended {
				return more, ""
			} else if len(data) < 10 || data[3] == 0xff || data[4] == 0xff || (data[6]|data[7]|data[8]|data[9])&0x80 != 0 {
				return unknown, ""
			}
		}
		return m.k, ""
	}
	for _, o := range others {
		if yes, _ := has(o.at, o.magic); yes && !after {
			return isOther, o.name
		}
	}
	switch k := identifyMP3(data, ended); {
	case k != unknown:
		return k, ""
	case wait:
		return more, ""
	}
	return unknown, ""
}

// recognise looks at the first bytes of something, and goes on to the state for it.
func (s *Stream) recognise(data []byte) (n int, again bool) {
	for ; n < len(data); n++ {
		k, name := identify(data[n:], s.ended, s.after)
		switch k {
		case more:
			return n, false
		case unknown:
			if !s.after {
				s.play("raw", pcm.Default, nil, unknownSize)
				return n, true
			}
			s.status.Skipped++
			continue
		case isOther:
			s.fail(fmt.Errorf("this is %s, which is not played: there are WAV, FLAC, Ogg Vorbis, MP3 and samples", name))
			return n, true
		case isTag:
			s.state, s.after = tag, true
			b := data[n+6:]
			s.wav.skip = 10 + int64(b[0])<<21 + int64(b[1])<<14 + int64(b[2])<<7 + int64(b[3])
			return n, true
		case isWAV:
			s.wav = wavHead{}
			s.state = wavChunk
			s.err = nil
			s.status.Files++
			return n + s.wavBegin(data[n:]), true
		case isFLAC:
			s.decode(decodeFLAC)
		case isOgg:
			s.decode(decodeVorbis)
		case isMP3:
			s.decode(decodeMP3)
		}
		return n, false
	}
	return n, false
}
