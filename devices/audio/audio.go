// Package audio is a device of clonefs: a voice an open, mixed with all others as a person would want to hear it.
//
// Its ancestors are NetBSD's audio(4), which has let any number of programs play at once since its mixer became part of the kernel, and
// 9front's mixfs. Each conversation is a voice with its own format, rate, gain and balance:
//
//	audio/N/tx      samples, or the bytes of a WAV, FLAC, Ogg Vorbis or MP3 file
//	audio/N/rx      what the sound server records, or the mix where nothing is recorded
//	audio/N/volume  LEFT RIGHT, in percent
//	audio/N/meter   how loud it is now
//	audio/N/wait    a read returns when all that was written has been played
//
// Voices are resampled to the mix's rate and added up in float32, a block of 10 ms at a time. Every change of a gain is a ramp over one block. A
// limiter turns down what would exceed full scale. A voice that has nothing to say, or is paused, is skipped and holds up nobody; one that is
// closed plays out, one that is hung up does not. While no voice has anything to play there is no goroutine and no timer.
//
// The mix goes to a sink: a PulseAudio server (PipeWire's too), a WAV file, or nothing at all, in real time. When the sound server goes away the
// voices wait where they are until it is back.
package audio

import (
	"github.com/clone9p/clone9p/clonefs"
	"github.com/rs/zerolog"
)

// New returns the device. It touches nothing outside; an error says which setting of c is wrong.
func New(c Config) (*clonefs.Device[*Voice], error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return newMixer(c).device(), nil
}

// device is the table.
func (m *mixer) device() *clonefs.Device[*Voice] {
	return &clonefs.Device[*Voice]{
		Name:   "audio",
		Doc:    "a voice an open",
		Clone:  m.clone,
		Begin:  func(log zerolog.Logger) { m.log = log },
		Close:  m.close,
		State:  (*Voice).state,
		Status: (*Voice).statusText,
		Ctl: clonefs.Messages[*Voice]{
			{Word: "format", Args: "WORD", Help: "how the samples are written, as s16c2r44100; auto: files are known by their first bytes", Do: (*Voice).setFormat},
			{Word: "gain", Args: "DB", Help: "make the voice louder or softer, -200 to 60 dB", Do: (*Voice).setGain},
			{Word: "balance", Args: "N", Help: "-100 left, 0 both, 100 right", Do: (*Voice).setBalance},
			{Word: "mute", Args: "on|off", Help: "play on, unheard", Do: (*Voice).setMute},
			{Word: "pause", Help: "hold where it is", Do: (*Voice).pause},
			{Word: "play", Help: "go on where it was", Do: (*Voice).play},
			{Word: "flush", Help: "drop what is not yet played", Do: (*Voice).ctlFlush},
			{Word: "latency", Args: "MS", Help: "how much is held ahead; a writer further ahead waits", Do: (*Voice).setLatency},
			{Word: "at", Args: "SAMPLE", Help: "start at that sample of the mix clock, which audiostat shows", Do: (*Voice).setAt},
		},
		Files: clonefs.Files[*Voice]{
			{Name: "data", Mode: 0o660, Help: "samples or a file to play go in; what is recorded, or the mix, comes out", Duplex: (*Voice).data},
			{Name: "volume", Mode: 0o660, Help: "LEFT RIGHT, in percent; one number sets both", Text: (*Voice).volumeText, SetText: (*Voice).setVolume},
			{Name: "meter", Mode: 0o444, Help: "peak and rms of the last 100 ms in dBFS, a channel a line", Text: (*Voice).meterText},
			{Name: "wait", Mode: 0o444, Prompt: true, Help: "a read returns when all that was written before it has been played", Open: (*Voice).wait},
		},
		Shared: []clonefs.SharedFile{
			{Name: "audio", Mode: 0o666, Counts: true, Help: "an open is a voice without a directory; reading gives the mix", Open: m.openShared},
			{Name: "volume", Mode: 0o666, Help: "master LEFT RIGHT in percent, and a line N LEFT RIGHT for each voice; a number sets the master", Text: m.volumeText, SetText: m.setVolume},
			{Name: "audioctl", Mode: 0o220, Help: "the messages below", Ctl: m.control()},
			{Name: "audiostat", Mode: 0o444, Help: "sink, rate, mix clock, underruns, clipped frames, voices, share of time spent mixing", Text: m.statText},
		},
		MaxConvs:   m.c.Limit,
		MaxPerUser: m.c.PerUser,
	}
}
