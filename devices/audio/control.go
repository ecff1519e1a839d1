package audio

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// clone begins a voice with a directory.
func (m *mixer) clone(ctx context.Context, conv *clonefs.Conv) (*Voice, error) {
	if err := m.ensureSink(ctx); err != nil {
		return nil, err
	}
	v := newVoice(m, conv)
	m.mu.Lock()
	m.convs[conv.N()] = v
	m.mu.Unlock()
	return v, nil
}

// forget takes the voice N out of what volume shows.
func (m *mixer) forget(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.convs, n)
}

// ensureSink opens the first sink when it is first needed.
func (m *mixer) ensureSink(ctx context.Context) error {
	have := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.sink != nil || m.next != nil
	}
	if have() {
		return nil
	}
	return m.alone(ctx, func() error { // one of several first voices opens it
		if have() {
			return nil
		}
		return m.openSink(ctx, m.c.Sink)
	})
}

// alone runs f while no sink is being opened by another.
func (m *mixer) alone(ctx context.Context, f func() error) error {
	select {
	case m.opening <- struct{}{}:
	case <-ctx.Done():
		return p9ext.ErrInterrupted
	}
	defer func() { <-m.opening }()
	return f()
}

// openSink opens a sink and has it take over.
func (m *mixer) openSink(ctx context.Context, words string) error {
	m.mu.Lock()
	output := m.output
	m.mu.Unlock()
	s, kind, err := openSink(ctx, words, output, m.c, m.log)
	if err != nil {
		return err
	}
	m.setSink(kind, s, nil)
	m.log.Info().Stringer("sink", s).Msg("the mix goes there from now on")
	return nil
}

// openShared is an open of audio/audio.
func (m *mixer) openShared(ctx context.Context, _ clonefs.User, mode clonefs.Mode) (clonefs.Stream, error) {
	if !mode.Write {
		return m.listen(nil)
	}
	if err := m.ensureSink(ctx); err != nil {
		return nil, err
	}
	a := &anonymous{player{newVoice(m, nil)}}
	if !mode.Read {
		return a, nil
	}
	l, err := m.listen(nil)
	if err != nil {
		a.Close()
		return nil, err
	}
	return &anonymousDuplex{l, a}, nil
}

// An anonymous is an open of audio/audio for writing, whose voice ends with it, and plays out.
type anonymous struct{ player }

func (a *anonymous) Close() error {
	a.v.finish(false)
	a.v.wakeWriter()
	return nil
}

// An anonymousDuplex reads the mix as well.
type anonymousDuplex struct {
	*listener
	*anonymous
}

func (d *anonymousDuplex) Close() error {
	d.listener.Close()
	return d.anonymous.Close()
}

// volumeText is audio/volume: the master and each voice that has a directory.
func (m *mixer) volumeText() (string, error) {
	m.mu.Lock()
	master, convs := m.percent, maps.Clone(m.convs)
	m.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "master %d %d\n", master[0], master[1])
	for _, n := range slices.Sorted(maps.Keys(convs)) {
		text, _ := convs[n].volumeText()
		fmt.Fprintf(&b, "%d %s", n, text)
	}
	return b.String(), nil
}

// setVolume takes lines as volumeText writes them, or a number for the master. Those before a bad one stand.
func (m *mixer) setVolume(_ context.Context, u clonefs.User, text string) error {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case len(words) == 1:
			words = []string{"master", words[0]}
		}
		vol, err := parseVolume(words[1:])
		if err != nil {
			return err
		}
		if words[0] == "master" {
			m.mu.Lock()
			m.percent = vol
			m.mu.Unlock()
			continue
		}
		n, err := strconv.Atoi(words[0])
		m.mu.Lock()
		v := m.convs[n]
		m.mu.Unlock()
		switch {
		case err != nil:
			return p9ext.Errorf(linux.EINVAL, "volume has lines `master LEFT RIGHT` and `N LEFT RIGHT`, in percent; %q is neither", words[0])
		case v == nil:
			return p9ext.Errorf(linux.ENOENT, "there is no voice %d", n)
		case !v.conv.MayWrite(u):
			return p9ext.Errorf(linux.EPERM, "%w: the voice %d is another's", p9ext.ErrPerm, n)
		}
		v.set(func() { v.volume = vol })
	}
	return nil
}

// control is the table of audioctl.
func (m *mixer) control() clonefs.Messages[clonefs.User] {
	return clonefs.Messages[clonefs.User]{
		{Word: "sink", Args: "pulse|null", Super: true, Help: "where the mix goes: to the sound server, or nowhere",
			Do: func(_ clonefs.User, ctx context.Context, args []string) error { return m.changeSink(ctx, args[0]) }},
		{Word: "sink", Args: "wav PATH", Super: true, Help: "the mix goes to a WAV file below the directory that --audio-root names",
			Do: func(_ clonefs.User, ctx context.Context, args []string) error {
				return m.changeSink(ctx, "wav "+args[1])
			}},
		{Word: "device", Args: "NAME", Super: true, Help: "which of the sound server's sinks; '' is its default", Do: m.setOutput},
		{Word: "latency", Args: "MS", Super: true, Help: "how much is held ahead of voices that begin from now on", Do: m.setLatency},
	}
}

// changeSink opens another sink. It does not wait for long: a sound server answers within a moment, or not at all.
func (m *mixer) changeSink(ctx context.Context, words string) error {
	return m.alone(ctx, func() error { return m.openSink(ctx, words) })
}

func (m *mixer) setOutput(_ clonefs.User, ctx context.Context, args []string) error {
	m.mu.Lock()
	m.output = args[0]
	kind := m.kind
	m.mu.Unlock()
	if kind != sinkPulse {
		return nil // for when it is
	}
	return m.changeSink(ctx, sinkPulse)
}

func (m *mixer) setLatency(_ clonefs.User, _ context.Context, args []string) error {
	x, err := number("latency", args[0], 1, float64(maxLatency/time.Millisecond))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latency = time.Duration(x * float64(time.Millisecond))
	return nil
}

// statText is audiostat. The line with bufsize is that of Plan 9's audio(3): what the voices that play may hold and do hold, in bytes as the mix
// would have them in 16 bits.
func (m *mixer) statText() (string, error) {
	m.mu.Lock()
	name, broken, voices := m.sinkName, m.broken, m.voices
	m.mu.Unlock()
	var size, held int64
	for _, v := range voices {
		may, does := v.buffered()
		size += may
		held += does
	}
	frames := m.clock.Load()
	share := 0.0
	if frames > 0 {
		share = 100 * float64(m.busy.Load()) / 1e9 / (float64(frames) / float64(m.c.Rate))
	}
	s := fmt.Sprintf("sink %s\nrate %d\nblock %d\nclock %d\nbufsize %d buffered %d\nunderruns %d\nclipped %d\nvoices %d\nmixing %.2f%%\n",
		name, m.c.Rate, m.size/2, frames, 4*size, 4*held, m.underruns.Load(), m.clipped.Load(), len(voices), share)
	if broken != nil {
		s += fmt.Sprintf("error %v\n", broken)
	}
	return s, nil
}

// buffered is how many frames the voice may hold ahead, and how many it does hold, at the mix's rate.
func (v *Voice) buffered() (may, does int64) {
	rate := v.m.c.Rate
	if s, ok := v.stream.Sound(); ok {
		does = int64(v.stream.Buffered()) * int64(rate) / int64(s.Rate)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return int64(v.latency) * int64(rate) / int64(time.Second), does
}
