package audio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/clone9p/clone9p/devices/audio/internal/pulse"
	"github.com/clone9p/clone9p/devices/audio/wav"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/rs/zerolog"
)

// A sink takes the mix, on the mixer's goroutine alone.
type sink interface {
	// Write takes a block of stereo frames. It returns when it is time for the next one; or early when ctx ends, with an error where it has not taken
	// the block.
	Write(ctx context.Context, block []float32) error
	// String names the sink as audioctl does.
	String() string
	Close() error
}

// The kinds of sinks.
const (
	sinkAuto  = "auto" // the sound server where one answers, else null
	sinkPulse = "pulse"
	sinkWAV   = "wav"
	sinkNull  = "null"
)

// parseSink reads what a sink is called, and the PATH of a WAV file. The path comes back relative to root.
func parseSink(s, root string) (kind, path string, err error) {
	kind, path, _ = strings.Cut(strings.TrimSpace(s), " ")
	path = strings.TrimSpace(path)
	switch {
	case path == "" && (kind == sinkNull || kind == sinkPulse || kind == sinkAuto):
		return kind, "", nil
	case kind != sinkWAV:
		return "", "", p9ext.Errorf(linux.EINVAL, "audio: there is no sink %q: it is pulse, wav PATH, null or auto", s)
	case path == "":
		return "", "", p9ext.Errorf(linux.EINVAL, "audio: sink wav wants the PATH of a file")
	case root == "":
		return "", "", p9ext.Errorf(linux.EPERM, "audio: sink wav is allowed only below a directory that --audio-root names")
	}
	if filepath.IsAbs(path) {
		if path, err = filepath.Rel(root, path); err != nil {
			return "", "", p9ext.Errorf(linux.EINVAL, "audio: sink wav: %w", err)
		}
	}
	if !filepath.IsLocal(path) {
		return "", "", p9ext.Errorf(linux.EACCES, "audio: sink wav %s lies outside of %s (--audio-root)", path, root)
	}
	return kind, path, nil
}

// probeTime is how long a sound server may take to answer.
const probeTime = time.Second

// openSink opens the sink that words name; output is which of a sound server's. It tells which kind it has opened.
func openSink(ctx context.Context, words, output string, c Config, log zerolog.Logger) (s sink, kind string, err error) {
	kind, path, err := parseSink(words, c.Root)
	if err != nil {
		return nil, "", err
	}
	switch kind {
	case sinkWAV:
		s, err = openWAV(path, c.Root, c.Rate)
		return s, kind, err
	case sinkNull:
		return &nullSink{clock: clock{rate: c.Rate}}, kind, nil
	}
	probing, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err = pulse.Probe(probing, c.PulseServer)
	switch {
	case err == nil:
		return pulse.NewPlayer(c.PulseServer, output, c.Rate, c.Block, log), sinkPulse, nil
	case ctx.Err() != nil:
		return nil, "", p9ext.ErrInterrupted
	case kind == sinkPulse:
		return nil, "", p9ext.Errorf(linux.ECONNREFUSED, "audio: no sound server answers: %w", err)
	}
	log.Info().Err(err).Msg("no sound server answers, so the mix goes nowhere, in real time (--audio-sink, --audio-pulse-server)")
	return &nullSink{clock: clock{rate: c.Rate}}, sinkNull, nil
}

// openWAV makes a WAV file below root.
func openWAV(path, root string, rate int) (sink, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("audio: cannot open --audio-root: %w", err)
	}
	defer dir.Close()
	// What is there already must be a regular file: a FIFO would wait, and a device is not for writing over.
	if info, err := dir.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, p9ext.Errorf(linux.EINVAL, "audio: sink wav %s: it is no regular file", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("audio: sink wav: %w", err)
	}
	file, err := dir.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("audio: sink wav: %w", err)
	}
	format := pcm.Format{Encoding: pcm.SignedLittle, Bits: 16, Channels: 2, Rate: rate}
	w, err := wav.NewWriter(file, format.String())
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("audio: sink wav: %w", err)
	}
	return &wavSink{clock: clock{rate: rate}, file: file, wav: w, path: path, format: format}, nil
}

// A clock keeps real time for a sink that has none: each block is due when those before it have sounded. After a pause it starts anew.
type clock struct {
	rate   int
	start  time.Time // when the first block since the last pause was due
	frames int64     // taken since
	timer  *time.Timer
}

// wait returns when n more frames have sounded, or ctx has ended.
func (c *clock) wait(ctx context.Context, n int) {
	now := time.Now()
	due := c.start.Add(c.length(c.frames))
	if c.start.IsZero() || now.Sub(due) > time.Second/5 {
		c.start, c.frames, due = now, 0, now
	}
	c.frames += int64(n)
	sleep := c.start.Add(c.length(c.frames)).Sub(now)
	if sleep <= 0 {
		return
	}
	if c.timer == nil {
		c.timer = time.NewTimer(sleep)
	} else {
		c.timer.Reset(sleep)
	}
	select {
	case <-c.timer.C:
	case <-ctx.Done():
		c.timer.Stop()
	}
}

// length is how long n frames sound. They are counted in seconds and a rest, so that no product overflows however long the clock runs.
func (c *clock) length(n int64) time.Duration {
	r := int64(c.rate)
	return time.Duration(n/r)*time.Second + time.Duration(n%r)*time.Second/time.Duration(r)
}

// A nullSink drops the mix, in real time.
type nullSink struct{ clock }

func (s *nullSink) Write(ctx context.Context, block []float32) error {
	s.wait(ctx, len(block)/2)
	return nil
}
func (s *nullSink) String() string { return "null" }
func (s *nullSink) Close() error   { return nil }

// A wavSink writes the mix to a WAV file, in real time. While nothing plays nothing is written.
type wavSink struct {
	clock
	file   *os.File
	wav    *wav.Writer
	path   string
	format pcm.Format
	bytes  []byte
}

func (s *wavSink) Write(ctx context.Context, block []float32) error {
	if need := len(block) * s.format.SampleBytes(); cap(s.bytes) < need {
		s.bytes = make([]byte, need)
	}
	b := s.bytes[:len(block)*s.format.SampleBytes()]
	s.format.Encode(b, block)
	if _, err := s.wav.Write(b); err != nil {
		return err
	}
	s.wait(ctx, len(block)/2)
	return nil
}

func (s *wavSink) String() string { return "wav " + s.path }

func (s *wavSink) Close() error { return errors.Join(s.wav.Close(), s.file.Close()) }
