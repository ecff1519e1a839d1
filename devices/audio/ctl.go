package audio

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// Close ends the voice. Released by its last holder it plays out what it was given; hung up it does not.
func (v *Voice) Close() error {
	v.m.forget(v.conv.N())
	v.finish(!v.conv.Released())
	v.wakeWriter()
	v.settle()
	return nil
}

func (v *Voice) setFormat(_ context.Context, args []string) error {
	var f *pcm.Format
	if args[0] != "auto" {
		parsed, err := pcm.Parse(args[0])
		if err != nil {
			return p9ext.Errorf(linux.EINVAL, "bad control message: format %s: %w", args[0], err)
		}
		if parsed.Rate != v.m.c.Rate { // the filter is computed here, not while the mixer waits for it
			if _, err := v.m.bank.New(parsed.Rate, v.m.c.Rate, 2); err != nil {
				return p9ext.Errorf(linux.EINVAL, "bad control message: format %s: %w", args[0], err)
			}
		}
		f = &parsed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.drainedLocked() {
		return p9ext.Errorf(linux.EBUSY, "the voice is playing: read wait, or flush, before another format")
	}
	v.format = f
	v.stream.Reset(f)
	return nil
}

// number reads an argument between min and max.
func number(what, s string, min, max float64) (float64, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x >= min && x <= max) {
		return 0, p9ext.Errorf(linux.EINVAL, "bad control message: %s is %q, it must be a number from %g to %g", what, s, min, max)
	}
	return x, nil
}

// set changes the voice under its lock.
func (v *Voice) set(change func()) error {
	v.mu.Lock()
	change()
	v.mu.Unlock()
	return nil
}

func (v *Voice) setGain(_ context.Context, args []string) error {
	x, err := number("gain", args[0], -200, 60)
	if err != nil {
		return err
	}
	return v.set(func() { v.gainDB = x })
}

func (v *Voice) setBalance(_ context.Context, args []string) error {
	x, err := number("balance", args[0], -100, 100)
	if err != nil {
		return err
	}
	return v.set(func() { v.balance = int(math.Round(x)) })
}

func (v *Voice) setMute(_ context.Context, args []string) error {
	return v.set(func() { v.muted = args[0] == "on" })
}

func (v *Voice) pause(context.Context, []string) error {
	v.set(func() { v.paused = true })
	v.settle()
	return nil
}

func (v *Voice) play(context.Context, []string) error {
	v.set(func() { v.paused, v.dry = false, time.Time{} })
	v.m.add(v)
	return nil
}

func (v *Voice) ctlFlush(context.Context, []string) error {
	v.flush()
	return nil
}

func (v *Voice) setLatency(_ context.Context, args []string) error {
	x, err := number("latency", args[0], 1, float64(maxLatency/time.Millisecond))
	if err != nil {
		return err
	}
	d := time.Duration(x * float64(time.Millisecond))
	v.stream.SetHold(d)
	v.set(func() { v.latency = d })
	v.wakeWriter()
	return nil
}

func (v *Voice) setAt(_ context.Context, args []string) error {
	at, err := strconv.ParseInt(args[0], 10, 64)
	if now := v.m.clock.Load(); err != nil || at < 0 || at > now+int64(v.m.c.Rate)*86400 {
		return p9ext.Errorf(linux.EINVAL, "bad control message: at is %q, it must be a sample of the mix clock, now %d, within a day", args[0], now)
	}
	return v.set(func() { v.at = at })
}

func (v *Voice) volumeText() (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Sprintf("%d %d\n", v.volume[0], v.volume[1]), nil
}

func (v *Voice) setVolume(_ context.Context, text string) error {
	vol, err := parseVolume(strings.Fields(text))
	if err != nil {
		return err
	}
	return v.set(func() { v.volume = vol })
}

// parseVolume reads LEFT RIGHT, in percent, or one number for both.
func parseVolume(words []string) (vol [2]int, err error) {
	if len(words) == 1 {
		words = append(words, words[0])
	}
	if len(words) != 2 {
		return vol, p9ext.Errorf(linux.EINVAL, "volume wants LEFT RIGHT, in percent")
	}
	for i, w := range words {
		x, err := number("volume", w, 0, 100)
		if err != nil {
			return vol, err
		}
		vol[i] = int(math.Round(x))
	}
	return vol, nil
}

func (v *Voice) meterText() (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.meter.String(), nil
}

func (v *Voice) state() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.paused:
		return "paused"
	case v.sounding:
		return "playing"
	}
	return "open"
}

func (v *Voice) statusText() (string, error) {
	st := v.stream.Status()
	v.mu.Lock()
	defer v.mu.Unlock()
	format := "auto"
	if v.format != nil {
		format = v.format.String()
	}
	mute := "off"
	if v.muted {
		mute = "on"
	}
	s := fmt.Sprintf("format %s\ngain %g\nbalance %d\nvolume %d %d\nmute %s\nlatency %d\nplayed %d\nunderruns %d\nbad samples %d\n",
		format, v.gainDB, v.balance, v.volume[0], v.volume[1], mute, v.latency.Milliseconds(), v.taken, v.underrun, st.Bad)
	if st.Kind != "" {
		s += fmt.Sprintf("playing %s c%dr%d\n", st.Kind, st.Format.Channels, st.Format.Rate)
	}
	if err := v.stream.Err(); err != nil {
		s += fmt.Sprintf("error %v\n", err)
	}
	return s, nil
}
