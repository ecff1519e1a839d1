package clonefs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/p9ext"
)

// maxTaken is how many numbers one clone tries whose names are in use outside the server.
const maxTaken = 1024

// A device is a Device at work: its conversations and what they count.
type device struct {
	fs *FS
	*table
	path    uint64  // qid.path of its directory
	entries []entry // clone, help, stats, the driver's
	policy  atomic.Pointer[policy]
	shut    atomic.Bool // the driver's Close of the device was called

	mu      sync.Mutex // guards all below; taken before a Conv's
	closed  bool
	numbers numbers
	convs   []*Conv                  // by number; those not listed are nil
	inUse   int                      // what counts in the limit: conversations from the begin of Clone to the end of Close, opens of files that count
	users   map[uint32]int           // the same by user
	stats   DeviceStats              // its counters
	streams map[*openStream]struct{} // open ones of the device itself
}

// reserve counts one more conversation of u, unless that is too many.
func (d *device) reserve(u *User) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return p9ext.ErrHungup
	}
	if d.inUse >= d.policy.Load().MaxConvs || d.users[u.UID] >= d.limit(u) {
		d.stats.Refused++
		return p9ext.ErrNoDevices
	}
	d.inUse++
	d.users[u.UID]++
	d.fs.running.Add(1)
	return nil
}

// unreserve is the opposite. d.mu is held.
func (d *device) unreserve(u *User) {
	d.inUse--
	if d.users[u.UID]--; d.users[u.UID] == 0 {
		delete(d.users, u.UID)
	}
	d.fs.running.Done()
}

// release undoes reserve.
func (d *device) release(u *User) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unreserve(u)
}

// clone makes a conversation of u, with one reference, which is the caller's. The permission was checked before.
func (d *device) clone(ctx context.Context, u *User) (*Conv, error) {
	if err := d.reserve(u); err != nil {
		return nil, err
	}
	var tried []int // numbers whose names are taken; they come back when one was found
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, n := range tried {
			d.numbers.free(n)
		}
	}()
	for {
		d.mu.Lock()
		n := d.numbers.take()
		d.mu.Unlock()
		c := newConv(d, n, u)
		both, release := c.with(ctx)
		driver, err := d.table.clone(both, c)
		release()
		if err != nil {
			if c.ctx.Err() != nil {
				err = p9ext.ErrHungup
			}
			c.mu.Lock()
			c.endLocked()
			c.mu.Unlock()
			c.cancel()
			if errors.Is(err, ErrTaken) && len(tried) < maxTaken && ctx.Err() == nil {
				tried = append(tried, n)
				continue
			}
			if errors.Is(err, ErrTaken) {
				err = p9ext.ErrInUse
			}
			d.mu.Lock()
			d.stats.Refused++
			d.numbers.free(n)
			d.unreserve(u)
			d.mu.Unlock()
			return nil, answer(ctx, nil, err)
		}
		c.driver = driver
		if d.list(c) {
			d.fs.log.Debug().Str("dev", d.name).Int("n", n).Str("user", u.Name).Str("peer", u.Addr).Msg("cloned")
			return c, nil
		}
		c.teardown() // hung up before it began, or the server ends
		return nil, p9ext.ErrHungup
	}
}

// list puts c into the listing, with one reference. It reports false when c has ended already, or d has.
func (d *device) list(c *Conv) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead.Load() {
		return false
	}
	if d.closed {
		c.dead.Store(true)
		c.cancel()
		return false
	}
	c.opens = 1
	for len(d.convs) <= c.n {
		d.convs = append(d.convs, nil)
	}
	d.convs[c.n] = c
	d.stats.Clones++
	d.stats.Convs++
	d.stats.Peak = max(d.stats.Peak, d.stats.Convs)
	return true
}

// unlist takes c out of the listing and reports whether it was there.
func (d *device) unlist(c *Conv) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.n >= len(d.convs) || d.convs[c.n] != c {
		return false
	}
	d.convs[c.n] = nil
	d.stats.Convs--
	d.stats.Releases++
	return true
}

// free gives c's number back, after its driver's Close.
func (d *device) free(c *Conv) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.numbers.free(c.n)
	d.unreserve(c.user)
}

// conv returns the conversation n, or nil.
func (d *device) conv(n int) *Conv {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n >= len(d.convs) {
		return nil
	}
	return d.convs[n]
}

// listing calls add for each conversation from number n on, in order, until it returns false.
func (d *device) listing(n int, add func(*Conv) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; n < len(d.convs); n++ {
		if c := d.convs[n]; c != nil && !c.dead.Load() && !add(c) {
			return
		}
	}
}

// close ends all conversations and lets none begin.
func (d *device) close() {
	d.mu.Lock()
	d.closed = true
	var all []*Conv
	for _, c := range d.convs {
		if c != nil {
			all = append(all, c)
		}
	}
	streams := d.streams
	d.streams = nil
	d.mu.Unlock()
	for _, c := range all {
		c.hangup()
	}
	for o := range streams {
		d.fs.running.Go(o.shut)
	}
}

// addStream registers an open stream of the device itself, which is closed with the tree; it reports false when that has happened.
func (d *device) addStream(o *openStream) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if d.streams == nil {
		d.streams = make(map[*openStream]struct{})
	}
	d.streams[o] = struct{}{}
	return true
}

func (d *device) removeStream(o *openStream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.streams, o)
}

// refused counts a clone that was denied.
func (d *device) refused() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Refused++
}

// snapshot returns the counters.
func (d *device) snapshot() DeviceStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Name, s.Doc, s.Limit = d.name, d.doc, d.policy.Load().MaxConvs
	return s
}

// helpText renders the file help.
func (d *device) helpText() (string, error) {
	i := d.describe()
	i.Shared[0].Mode = d.policy.Load().Mode
	return i.Help(), nil
}

// statsText renders the file stats.
func (d *device) statsText() (string, error) {
	s := d.snapshot()
	return fmt.Sprintf("clones %d\nreleases %d\nrefused %d\nconversations %d\npeak %d\nlimit %d\n",
		s.Clones, s.Releases, s.Refused, s.Convs, s.Peak, s.Limit), nil
}
