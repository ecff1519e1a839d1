package audio

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
)

const (
	maxLimit   = 1 << 20
	minBlock   = time.Millisecond
	maxBlock   = 100 * time.Millisecond
	maxLatency = 2500 * time.Millisecond // as much as decode holds of a sound of 48000 frames a second; of a higher rate less is held
)

// A Config holds the settings of the device. Make one with [DefaultConfig], change it, hand it to [New], which checks it and keeps a copy.
type Config struct {
	Limit   int // voices at once, at least 1
	PerUser int // voices at once of one user, at least 1

	Sink    string        // where the mix goes at first: "pulse", "wav PATH" below Root, "null", or "auto": pulse where a server answers, else null
	Root    string        // the directory below which the WAV files of sinks lie; none are allowed where it is empty
	Rate    int           // frames a second of the mix
	Block   time.Duration // how much is mixed at once
	Latency time.Duration // how much of a voice is held ahead, unless its ctl says otherwise

	PulseServer string // the address of the sound server, as PULSE_SERVER has it; empty: the user's, for root the system's
}

// DefaultConfig returns the settings that the server has unless told otherwise.
func DefaultConfig() Config {
	return Config{
		Limit: 1024, PerUser: 256,
		Sink: sinkAuto, Rate: pcm.Default.Rate, Block: 10 * time.Millisecond, Latency: 200 * time.Millisecond,
	}
}

// Options returns c's settings as data, from which a program makes flags, configuration keys and their documentation. They point into c.
func (c *Config) Options() []clonefs.Option {
	return []clonefs.Option{
		{Name: "limit", Arg: "N", Help: "voices at once", Value: &c.Limit},
		{Name: "per-user", Arg: "N", Help: "voices at once of one user", Value: &c.PerUser},
		{Name: "sink", Arg: "SINK", Help: "where the mix goes: pulse, 'wav PATH', null, or auto: to the sound server where one answers", Value: &c.Sink},
		{Name: "pulse-server", Arg: "ADDR", Help: "the sound server, as PULSE_SERVER has it (default the user's; for root the system's)", Value: &c.PulseServer},
		{Name: "root", Arg: "DIR", Help: "the directory below which sinks may write WAV files", Value: &c.Root},
		{Name: "rate", Arg: "N", Help: "frames a second of the mix, and of what audio/audio and rx give", Value: &c.Rate},
		{Name: "block", Arg: "TIME", Help: "how much is mixed at once", Value: &c.Block},
		{Name: "latency", Arg: "TIME", Help: "how much of a voice is held ahead", Value: &c.Latency},
	}
}

// Privileges are the capabilities(7) that a server run by root needs for the device with these settings: to reach the sound server of another user, and to
// write below a directory of another's.
func (c *Config) Privileges() []string {
	if c.PulseServer == "" && c.Root == "" {
		return nil
	}
	return []string{"dac_override"}
}

// check returns what is wrong with c, in terms of the options' names.
func (c *Config) check() error {
	for _, o := range []struct {
		name            string
		value, min, max int64
	}{
		{"limit", int64(c.Limit), 1, maxLimit},
		{"per-user", int64(c.PerUser), 1, maxLimit},
		{"rate", int64(c.Rate), 8000, 192000},
	} {
		if o.value < o.min || o.value > o.max {
			return fmt.Errorf("audio: %s is %d, it must be %d to %d", o.name, o.value, o.min, o.max)
		}
	}
	for _, o := range []struct {
		name            string
		value, min, max time.Duration
	}{
		{"block", c.Block, minBlock, maxBlock},
		{"latency", c.Latency, minBlock, maxLatency},
	} {
		if o.value < o.min || o.value > o.max {
			return fmt.Errorf("audio: %s is %v, it must be %v to %v", o.name, o.value, o.min, o.max)
		}
	}
	if c.Root != "" && !filepath.IsAbs(c.Root) {
		return fmt.Errorf("audio: root is %q, it must be an absolute path", c.Root)
	}
	_, _, err := parseSink(c.Sink, c.Root)
	return err
}
