package clonefs

import (
	"context"
	"sync"

	"github.com/clone9p/clone9p/p9ext"
)

// Credits are the writing half of a [Stream] whose writers have to wait: how much has been written and not been used up yet, in bytes or
// requests or whatever the driver counts. A writer takes credits, whoever uses up what it wrote gives them back:
//
//	func (s *stream) PollWrite(p []byte, _ int64, w p9ext.Waiter) (int, error) {
//		if err := s.credits.PollTake(len(p), w); err != nil {
//			return 0, err
//		}
//		s.play(p) // and, in the end, s.credits.Give(len(p))
//		return len(p), nil
//	}
//	func (s *stream) UnpollWrite(w p9ext.Waiter) { s.credits.Unpoll(w) }
//
// Who waits is served in order; a large request is not overtaken by small ones. All methods are safe for concurrent use; none but TakeContext waits.
type Credits struct {
	mu      sync.Mutex // guards all below; Wake is called with it held
	max     int
	used    int // taken, and reserved for writers that were woken
	writers waitlist
	closed  bool
	err     error
}

// NewCredits returns max credits, at least one.
func NewCredits(max int) *Credits { return &Credits{max: atLeast1(max)} }

// fit reports whether n may be taken now: also more than there are in all, when nothing is taken. c.mu is held.
func (c *Credits) fit(n int) bool { return c.used+n <= c.max || c.used == 0 }

// PollTake takes n credits, or returns p9ext.ErrWait and has remembered w, whose Wake it calls once when they are reserved for it; the
// next PollTake of w gets them. After Close it returns Close's error.
func (c *Credits) PollTake(n int, w p9ext.Waiter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.writers.find(w); e != nil {
		if !e.woken {
			return p9ext.ErrWait
		}
		reserved := e.need
		c.writers.forget(e)
		if c.closed {
			return c.err
		}
		c.used += n - reserved // the same, as a rule
		c.wake()
		return nil
	}
	if c.closed {
		return c.err
	}
	if c.writers.asleep == nil && c.fit(n) {
		c.used += n
		return nil
	}
	c.writers.park(w).need = n
	return p9ext.ErrWait
}

// Unpoll forgets w; what was reserved for it goes to the next.
func (c *Credits) Unpoll(w p9ext.Waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.writers.find(w); e != nil {
		if e.woken && !c.closed {
			c.used -= e.need
		}
		c.writers.forget(e)
		c.wake()
	}
}

// TakeContext takes n credits and waits for them; p9ext.ErrInterrupted means that ctx ended before.
func (c *Credits) TakeContext(ctx context.Context, n int) error {
	if ctx.Err() != nil {
		return p9ext.ErrInterrupted
	}
	s := &sleeper{make(chan struct{}, 1)}
	for {
		err := c.PollTake(n, s)
		if err != p9ext.ErrWait {
			return err
		}
		select {
		case <-s.c:
		case <-ctx.Done():
			c.Unpoll(s)
			return p9ext.ErrInterrupted
		}
	}
}

// Give gives n credits back.
func (c *Credits) Give(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= n
	c.wake()
}

// SetMax changes how many credits there are. Those taken stay taken.
func (c *Credits) SetMax(max int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max = atLeast1(max)
	c.wake()
}

// Used is how many credits are taken, or reserved for who was woken.
func (c *Credits) Used() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// Close wakes all who wait; they and all later ones get err. Only the first one counts.
func (c *Credits) Close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed, c.err = true, err
	}
	c.wake()
}

// wake reserves credits for those who sleep, in order, and wakes them. c.mu is held.
func (c *Credits) wake() {
	for e := c.writers.asleep; e != nil && (c.closed || c.fit(e.need)); e = c.writers.asleep {
		if !c.closed {
			c.used += e.need
		}
		c.writers.wake()
	}
}
