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
	"github.com/clone9p/clone9p/devices/audio/wav"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// A sink takes the mix, on the mixer's goroutine alone.
type sink interface {
	// Write takes a block of stereo frames. It returns when it is time for the next one, or early when ctx ends.
	Write(ctx context.Context, block []float32) error
	// String names the sink as audioctl does.
	String() string
	Close() error
}

// parseSink reads "null" or "wav PATH". The path comes back relative to root.
func parseSink(s, root string) (kind, path string, err error) {
	kind, path, _ = strings.Cut(strings.TrimSpace(s), " ")
	path = strings.TrimSpace(path)
	switch {
	case kind == "null" && path == "":
		return kind, "", nil
	case kind != "wav":
		return "", "", p9ext.Errorf(linux.EINVAL, "audio: there is no sink %q: it is null, or wav PATH", s)
	case path == "":
		return "", "", p9ext.Errorf(linux.EINVAL, "audio: sink wav wants the PATH of a file")
	case root == "":
		return "", "", p9ext.Errorf(linux.EPERM, "audio: sink wav is allowed only below a directory that --audio-root names")
	}
	if filepath.IsAbs(path) {
		if path, err = filepath.Rel(root, path); err != nil {
			return "", "", p9ext.Errorf(linux.EINVAL, "audio: %w", err)
		}
	}
	if !filepath.IsLocal(path) {
		return "", "", p9ext.Errorf(linux.EACCES, "audio: sink wav %s lies outside of %s (--audio-root)", path, root)
	}
	return kind, path, nil
}

// openSink opens what parseSink understood.
func openSink(kind, path, root string, rate int) (sink, error) {
	if kind == "null" {
		return &nullSink{clock: clock{rate: rate}}, nil
	}
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
func (c *clock) wait(ctx context.Context, n int) error {
	now := time.Now()
	due := c.start.Add(c.length(c.frames))
	if c.start.IsZero() || now.Sub(due) > time.Second/5 {
		c.start, c.frames, due = now, 0, now
	}
	c.frames += int64(n)
	sleep := c.start.Add(c.length(c.frames)).Sub(now)
	if sleep <= 0 {
		return nil
	}
	if c.timer == nil {
		c.timer = time.NewTimer(sleep)
	} else {
		c.timer.Reset(sleep)
	}
	select {
	case <-c.timer.C:
		return nil
	case <-ctx.Done():
		c.timer.Stop()
		return ctx.Err()
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
	return s.wait(ctx, len(block)/2)
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
	return s.wait(ctx, len(block)/2)
}

func (s *wavSink) String() string { return "wav " + s.path }

func (s *wavSink) Close() error { return errors.Join(s.wav.Close(), s.file.Close()) }
