package audio

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio/internal/pcm"
	"github.com/clone9p/clone9p/devices/audio/internal/pulse"
	"github.com/clone9p/clone9p/devices/audio/internal/resample"
	"github.com/clone9p/clone9p/p9ext"
)

// What opens for reading can do.
var (
	_ p9ext.ReadPoller = (*listener)(nil)
	_ p9ext.Reader     = (*listener)(nil)
	_ p9ext.Unreader   = (*listener)(nil)
)

// A listener is an open for reading: the mix, or what is recorded, as bytes in a format of its own. Who is slow loses the oldest, whole frames of it.
type listener struct {
	*clonefs.Queue
	format pcm.Format
	stop   func() // ends what pushes

	// What follows is used by whoever pushes alone.
	res      *resample.Resampler // nil at the mix's own rate
	at, wide []float32           // at the listener's rate: stereo, and with its channels
	bytes    []byte
}

// listenTime is how much is held for a listener.
const listenTime = time.Second

// newListener makes a listener to blocks of a mixer's size and rate; nil is the format of what is given to everybody who asks for none. It may
// compute a filter.
func (m *mixer) newListener(format *pcm.Format) (*listener, error) {
	f := pcm.Format{Encoding: pcm.SignedLittle, Bits: 16, Channels: 2, Rate: m.c.Rate}
	if format != nil {
		f = *format
	}
	l := &listener{format: f, stop: func() {}}
	frames := m.size / 2
	if f.Rate != m.c.Rate {
		res, err := m.bank.New(m.c.Rate, f.Rate, 2)
		if err != nil {
			return nil, err
		}
		l.res = res
		frames = int(int64(frames)*int64(f.Rate)/int64(m.c.Rate)) + 1
	}
	l.at = make([]float32, 2*frames)
	l.wide = make([]float32, frames*f.Channels)
	l.bytes = make([]byte, frames*f.FrameBytes())
	l.Queue = clonefs.NewByteQueue(max(1, int(int64(f.Rate)*int64(listenTime)/int64(time.Second))) * f.FrameBytes())
	return l, nil
}

// push gives the listener a block of stereo frames at the mix's rate. It waits for nothing and, once the queue is warm, allocates nothing.
func (l *listener) push(block []float32) {
	if l.res == nil {
		l.put(block)
		return
	}
	for {
		put, taken := l.res.Process(l.at, block)
		l.put(l.at[:put])
		if block = block[taken:]; len(block) == 0 && put < len(l.at) {
			return
		}
	}
}

// put encodes stereo frames at the listener's rate.
func (l *listener) put(frames []float32) {
	for ch := l.format.Channels; len(frames) > 0; {
		n := min(len(frames)/2, len(l.wide)/ch)
		wide := l.wide[:n*ch]
		for i := range n {
			left, right := frames[2*i], frames[2*i+1]
			if ch == 1 {
				wide[i] = (left + right) / 2
				continue
			}
			wide[i*ch], wide[i*ch+1] = left, right // the channels beyond stay silent
		}
		b := l.bytes[:n*l.format.FrameBytes()]
		l.format.Encode(b, wide)
		l.Queue.Push(b)
		frames = frames[2*n:]
	}
}

// whole is p without what would cut a frame in two, where it has room for one: what is lost then begins and ends with a frame.
func (l *listener) whole(p []byte) []byte {
	if size := l.format.FrameBytes(); len(p) > size {
		return p[:len(p)/size*size]
	}
	return p
}

func (l *listener) PollRead(p []byte, off int64, w p9ext.Waiter) (int, error) {
	return l.Queue.PollRead(l.whole(p), off, w)
}

// ReadContext is PollRead for who waits with a goroutine.
func (l *listener) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	return l.Queue.ReadContext(ctx, l.whole(p), off)
}

func (l *listener) Close() error {
	l.stop()
	return l.Queue.Close()
}

// listen begins to listen to the mix.
func (m *mixer) listen(format *pcm.Format) (*listener, error) {
	l, err := m.newListener(format)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taps = append(slices.Clip(m.taps), l)
	l.stop = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.taps = slices.DeleteFunc(slices.Clone(m.taps), func(other *listener) bool { return other == l })
	}
	return l, nil
}

// record begins to listen to the source of the sound server, or to the mix where there is none.
func (m *mixer) record(ctx context.Context, format *pcm.Format) (*listener, error) {
	if err := m.ensureSink(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	kind := m.kind
	m.mu.Unlock()
	if kind != sinkPulse {
		return m.listen(format)
	}
	l, err := m.newListener(format)
	if err != nil {
		return nil, err
	}
	native := pcm.Format{Encoding: pcm.SignedLittle, Bits: 16, Channels: 2, Rate: m.c.Rate}
	block := make([]float32, m.size)
	rec, err := pulse.NewRecorder(ctx, m.c.PulseServer, "", m.c.Rate, func(b []byte) {
		for len(b) > 0 {
			n, _ := native.Decode(block, b)
			if n == 0 {
				return
			}
			l.push(block[:n])
			b = b[n*native.SampleBytes():]
		}
	}, m.log)
	switch {
	case errors.Is(err, pulse.ErrNoSource):
		return m.listen(format)
	case err != nil:
		return nil, err
	}
	l.stop = sync.OnceFunc(func() { rec.Close() })
	return l, nil
}
