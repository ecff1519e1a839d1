package audio

import (
	"context"
	"fmt"
	"slices"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/audio/internal/decode"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// What opens can do.
var (
	_ p9ext.WritePoller = (*player)(nil)
	_ p9ext.Writer      = (*player)(nil)
	_ p9ext.ReadPoller  = (*waiter)(nil)
	_ p9ext.Reader      = (*waiter)(nil)
	_ p9ext.Unreader    = (*waiter)(nil)
)

// A writing is a write that waits, parked with w. Of its bytes the first are taken already: a write longer than what a voice holds goes in piece
// by piece, as the voice plays. The one that has waited longest is served first.
type writing struct {
	w     p9ext.Waiter
	taken int
	woken bool // Wake was called, PollWrite was not yet
}

// pollWrite takes all of p, or what there is room for and remembers w.
func (v *Voice) pollWrite(p []byte, w p9ext.Waiter) (int, error) {
	n, err := v.takeWrite(p, w)
	v.prepare()
	v.m.add(v)
	return n, err
}

// takeWrite is pollWrite without a word to the mixer.
func (v *Voice) takeWrite(p []byte, w p9ext.Waiter) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return 0, p9ext.ErrHungup
	}
	i := slices.IndexFunc(v.writers, func(x *writing) bool { return x.w == w })
	if i < 0 {
		v.writers = append(v.writers, &writing{w: w})
		i = len(v.writers) - 1
	}
	x := v.writers[i]
	x.woken = false
	if i > 0 {
		return 0, p9ext.ErrWait
	}
	n, err := v.stream.Write(p[x.taken:])
	x.taken += n
	if err == nil && x.taken < len(p) {
		return 0, p9ext.ErrWait
	}
	v.writers = v.writers[1:]
	v.wakeLocked()
	if err != nil {
		return 0, p9ext.Errorf(linux.EINVAL, "cannot play this: %w", err)
	}
	return len(p), nil
}

// unpollWrite forgets w. What was taken of its bytes stays.
func (v *Voice) unpollWrite(w p9ext.Waiter) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.writers = slices.DeleteFunc(v.writers, func(x *writing) bool { return x.w == w })
	v.wakeLocked()
}

// wakeWriter wakes the one that waits longest, if there is room for a good part of its bytes.
func (v *Voice) wakeWriter() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wakeLocked()
}

func (v *Voice) wakeLocked() {
	if len(v.writers) == 0 {
		return
	}
	if x := v.writers[0]; !x.woken && (v.ended || v.stream.Low()) {
		x.woken = true
		x.w.Wake()
	}
}

// A signal is a waiter for who waits with a goroutine.
type signal chan struct{}

func (s signal) Wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// A player is an open of tx, or of data.
type player struct{ v *Voice }

func (p *player) PollWrite(b []byte, _ int64, w p9ext.Waiter) (int, error) {
	return p.v.pollWrite(b, w)
}
func (p *player) UnpollWrite(w p9ext.Waiter) { p.v.unpollWrite(w) }

// WriteContext writes all of b, unless ctx ends before.
func (p *player) WriteContext(ctx context.Context, b []byte, _ int64) (int, error) {
	w := make(signal, 1)
	for {
		n, err := p.v.pollWrite(b, w)
		if err != p9ext.ErrWait {
			return n, err
		}
		select {
		case <-w:
		case <-ctx.Done():
			p.v.unpollWrite(w)
			return 0, p9ext.ErrInterrupted
		}
	}
}

// Close does nothing: the voice ends with its conversation.
func (p *player) Close() error { return nil }

// A duplex is an open of data for both.
type duplex struct {
	*listener
	*player
}

func (d *duplex) Close() error { return d.listener.Close() }

// data makes the stream of one open of data, rx or tx.
func (v *Voice) data(ctx context.Context, mode clonefs.Mode) (clonefs.Stream, error) {
	if !mode.Read {
		return &player{v}, nil
	}
	v.mu.Lock()
	format := v.format
	v.mu.Unlock()
	l, err := v.m.record(ctx, format)
	if err != nil {
		return nil, err
	}
	if !mode.Write {
		return l, nil
	}
	return &duplex{l, &player{v}}, nil
}

// A waiting is a read of wait.
type waiting struct {
	w    p9ext.Waiter
	mark *decode.Mark
	done bool
}

// A waiter is an open of wait.
type waiter struct{ v *Voice }

func (v *Voice) wait(context.Context, clonefs.Mode) (clonefs.Stream, error) { return &waiter{v}, nil }

// PollRead answers when all that was written before it first came has left for the sink; behind its text is the end of the file.
func (r *waiter) PollRead(p []byte, off int64, w p9ext.Waiter) (int, error) {
	if off > 0 {
		return 0, nil
	}
	v := r.v
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.waits, func(x *waiting) bool { return x.w == w })
	if i < 0 {
		v.waits = append(v.waits, &waiting{w: w, mark: v.stream.Mark()})
		i = len(v.waits) - 1
	}
	x := v.waits[i]
	if !x.done && !v.playedLocked(x.mark) {
		return 0, p9ext.ErrWait
	}
	v.waits = slices.Delete(v.waits, i, i+1)
	return copy(p, fmt.Sprintf("played %d\n", v.sent.taken)), nil
}

// Unpoll forgets w.
func (r *waiter) Unpoll(w p9ext.Waiter) {
	v := r.v
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waits = slices.DeleteFunc(v.waits, func(x *waiting) bool { return x.w == w })
}

// Unread does nothing: the next read waits anew.
func (r *waiter) Unread([]byte) {}

// ReadContext is PollRead for who waits with a goroutine.
func (r *waiter) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	w := make(signal, 1)
	for {
		n, err := r.PollRead(p, off, w)
		if err != p9ext.ErrWait {
			return n, err
		}
		select {
		case <-w:
		case <-ctx.Done():
			r.Unpoll(w)
			return 0, p9ext.ErrInterrupted
		}
	}
}

// Close does nothing; reads that wait are woken by the voice's end.
func (r *waiter) Close() error { return nil }

// playedLocked reports whether all before mark has left for the sink.
func (v *Voice) playedLocked(mark *decode.Mark) bool {
	if v.paused || v.ended {
		return true
	}
	frames, known := mark.Frames()
	if !known || v.sent.taken < frames {
		return false
	}
	// The resampler holds back what it still needs to look ahead for: more than came in behind the mark, and the mark's own is among it.
	return int64(v.sent.owed)*int64(v.sent.rate) <= (v.sent.taken-frames)*int64(v.m.c.Rate)
}

// sounded is called when a block has left for the sink.
func (v *Voice) sounded() {
	v.mu.Lock()
	v.sent = sent{taken: v.taken, rate: v.sound.Rate}
	if v.res != nil {
		v.sent.owed = v.res.Owed()
	}
	v.mu.Unlock()
	v.settle()
}

// settle wakes whoever waited for what has left for the sink, and closes the stream of a voice that has played out.
func (v *Voice) settle() {
	v.mu.Lock()
	for _, x := range v.waits {
		if !x.done && v.playedLocked(x.mark) {
			x.done = true
			x.w.Wake()
		}
	}
	over := !v.closed && (v.gone || v.ended && v.drainedLocked())
	if over {
		v.gone, v.closed = true, true
	}
	v.mu.Unlock()
	if over {
		v.stream.Close()
	}
}
