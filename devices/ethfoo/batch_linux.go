package ethfoo

import (
	"context"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// With batch on, a read and a write of data carry a batch of frames (see [clonefs.BatchHeader]): what it costs to ask for a frame is then
// shared by many. The frames of a write are all looked at before the first is sent.

// pollFrames is how many frames PollWrite sends at once, on the goroutine that serves a whole connection: 1.2 us each.
const pollFrames = 64

// setBatch decides it for all reads and writes from now on, those that wait included.
func (i *Interface) setBatch(argv []string) error {
	i.frames.setBatch(argv[0] == "on")
	return nil
}

// checkBatch returns how many frames the batch p has, and how long the longest is.
func (f *fanout) checkBatch(p []byte) (frames, longest int, err error) {
	for rest := p; len(rest) > 0 || frames == 0; frames++ {
		at := len(p) - len(rest)
		frame, after, ok := clonefs.CutBatch(rest)
		if !ok {
			return 0, 0, p9ext.Errorf(linux.EINVAL, "bad batch: at byte %d of %d no frame stands whole behind its length", at, len(p))
		}
		if len(frame) < f.least() {
			return 0, 0, p9ext.Errorf(linux.EINVAL, "%w: at byte %d of %d a %s of %d bytes, it has %d at least",
				p9ext.ErrTooSmall, at, len(p), f.what(), len(frame), f.least())
		}
		longest = max(longest, len(frame))
		rest = after
	}
	return frames, longest, nil
}

// pollBatch sends the batch p, at once. Where the kernel takes no more after some frames it is a short write.
func (w *writer) pollBatch(p []byte) (int, error) {
	frames, longest, err := w.i.frames.checkBatch(p)
	if err == nil {
		err = w.measure(longest)
	}
	if err == nil && frames > pollFrames {
		err = p9ext.ErrNoPoll
	}
	if err != nil {
		return 0, err
	}
	return w.sendBatch(p, w.send)
}

// writeBatch sends the batch p. When ctx ends it is a short write, if some frames were sent.
func (w *writer) writeBatch(ctx context.Context, p []byte) (int, error) {
	_, longest, err := w.i.frames.checkBatch(p)
	if err == nil {
		err = w.fits(longest)
	}
	if err != nil {
		return 0, err
	}
	return w.sendBatch(p, func(frame []byte) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return w.sendWaiting(ctx, frame)
	})
}

// sendBatch sends the frames of p, which was checked, one after the other, and returns how many bytes of p the frames sent have.
func (w *writer) sendBatch(p []byte, send func([]byte) error) (int, error) {
	for rest := p; len(rest) > 0; {
		frame, after, _ := clonefs.CutBatch(rest)
		if err := send(frame); err != nil {
			if n := len(p) - len(rest); n > 0 {
				return n, nil // the next write will meet the error
			}
			return 0, err
		}
		rest = after
	}
	return len(p), nil
}
