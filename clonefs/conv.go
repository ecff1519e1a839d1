package clonefs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// closeGrace is how long the end of a conversation waits for the driver's methods that still run before it calls Close all the same.
const closeGrace = 5 * time.Second

// A Conv is clonefs's half of a conversation, as its driver sees it. Its methods are safe for concurrent use.
//
//	           Clone returns           last reference gone, hangup           Close returns
//	cloning ------------------> listed ---------------------------> ended ------------------> number free
//	   |                        (walk finds it)     (walk does not; contexts are cancelled,
//	   |                                             streams closed, then the driver)
//	   +-- Clone fails: number free
type Conv struct {
	dev    *device
	n      int
	path   uint64 // qid.path of the directory; the files' follow
	user   *User  // who opened clone
	driver Closer // set before the conversation is listed, and then never changed

	ctx    context.Context // ends with the conversation
	cancel context.CancelFunc
	ctl    chan struct{} // holds a token while a control message runs

	dead     atomic.Bool // the conversation has ended; set with mu held
	released atomic.Bool // because nobody held it any more; set before dead

	mu      sync.Mutex // guards all below
	opens   int        // references by open files
	persist bool       // one more reference
	calls   int        // the driver's methods that run, streams' not counted
	idle    chan struct{}
	streams map[*openStream]struct{} // open ones
	label   string
	chmod   bool        // mode was set; before, each file has the mode of the table
	mode    p9.FileMode // then, and when nobody is the owner: what masks it
	uid     p9.UID
	gid     p9.GID
	owner   string // the owner's name

	logOnce sync.Once // guards log
	log     zerolog.Logger
}

func newConv(d *device, n int, u *User) *Conv {
	c := &Conv{
		dev: d, n: n, user: u,
		path: d.fs.newPaths(1 + uint64(len(d.files))),
		ctl:  make(chan struct{}, 1),
		uid:  p9.UID(u.UID), gid: d.policy.Load().perms.gid, owner: u.Name,
	}
	if u.IsNobody() { // whoever can attach at all is nobody
		c.chmod, c.mode = true, 0o666
	}
	c.ctx, c.cancel = context.WithCancel(d.fs.ctx)
	return c
}

// N is the conversation's number: DEV/N.
func (c *Conv) N() int { return c.n }

// Name is "DEV/N", for logs and errors.
func (c *Conv) Name() string { return c.dev.name + "/" + strconv.Itoa(c.n) }

// Owner is who opened clone. A chown of the conversation's files does not change it, nor against whose limit the conversation counts.
func (c *Conv) Owner() User { return *c.user }

// MayWrite reports whether u may write what is the conversation's own, as volume in it: its owner, its group as its mode says, the
// superuser. A file of the device that stands for several conversations asks it.
func (c *Conv) MayWrite(u User) bool {
	at := place{c.dev, c, &entry{mode: 0o660}}
	return c.dev.admits(&u) && c.dev.fs.allows(&u, 2, at.perm(c.dev.fs))
}

// Hangup ends the conversation because the driver can't go on: its interface was deleted, its child died. It returns at once and may be
// called from any goroutine, also from within the driver's own methods; the driver's Close follows on another goroutine. cause is logged.
// Within Clone it makes the open fail once Clone has returned.
func (c *Conv) Hangup(cause error) {
	if cause != nil {
		c.Log().Info().Err(cause).Msg("hung up by its driver")
	}
	c.hangup()
}

// Done is closed when the conversation has ended, before the driver's Close is called.
func (c *Conv) Done() <-chan struct{} { return c.ctx.Done() }

// Released reports whether the conversation has ended because the last reference to it was given back, and not by a hangup, the driver's
// or somebody's, or with the tree. A driver's Close may ask it.
func (c *Conv) Released() bool { return c.released.Load() }

// Log is the logger of this conversation.
func (c *Conv) Log() *zerolog.Logger {
	c.logOnce.Do(func() {
		c.log = c.dev.fs.log.With().Str("conv", c.Name()).Str("user", c.user.Name).Str("peer", c.user.Addr).Logger()
	})
	return &c.log
}

// hangup ends the conversation; the rest of its end runs on a goroutine of its own, which [FS.Close] waits for.
func (c *Conv) hangup() {
	c.mu.Lock()
	first := c.endLocked()
	c.mu.Unlock()
	if first && c.ended() {
		go c.teardown()
	}
}

// hold takes a reference.
func (c *Conv) hold() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead.Load() {
		return p9ext.ErrNotExist
	}
	c.opens++
	return nil
}

// drop gives a reference back, and takes the conversation out of the listing if it was the last.
// It reports whether the caller has to call teardown.
func (c *Conv) drop() bool {
	c.mu.Lock()
	c.opens--
	last := c.opens == 0 && !c.persist && c.endLocked()
	c.mu.Unlock()
	return last && c.ended()
}

// dropSpare gives a reference back unless it is the last.
func (c *Conv) dropSpare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opens == 1 && !c.persist && !c.dead.Load() {
		return false
	}
	c.opens--
	return true
}

// setPersist takes or gives back the reference that no open file holds.
func (c *Conv) setPersist(on bool) {
	c.mu.Lock()
	c.persist = on && !c.dead.Load()
	last := c.opens == 0 && !c.persist && c.endLocked()
	c.mu.Unlock()
	if last && c.ended() {
		go c.teardown() // this is a control message, for whose end teardown waits
	}
}

// endLocked marks the conversation as ended and reports whether it had not been before: the caller then calls ended. c.mu is held.
func (c *Conv) endLocked() bool {
	if c.dead.Load() {
		return false
	}
	c.released.Store(c.opens == 0 && !c.persist)
	c.dead.Store(true)
	return true
}

// ended takes the conversation out of the listing and cancels what runs in it. It reports false if the conversation was not listed yet:
// then the clone that makes it will end it.
func (c *Conv) ended() bool {
	listed := c.dev.unlist(c)
	c.cancel()
	return listed
}

// teardown closes what the driver made, and frees the number. It runs once, after ended.
func (c *Conv) teardown() {
	c.mu.Lock()
	streams := c.streams
	c.streams = nil
	var idle chan struct{}
	if c.calls > 0 {
		idle = make(chan struct{})
		c.idle = idle
	}
	c.mu.Unlock()
	for o := range streams {
		o.shut()
	}
	if idle != nil {
		grace := time.NewTimer(closeGrace)
		select {
		case <-idle:
		case <-grace.C:
			c.Log().Error().Dur("after", closeGrace).Msg("closing, though the driver does not return from a method whose context has ended")
		}
		grace.Stop()
	}
	if err := c.driver.Close(); err != nil {
		c.Log().Warn().Err(err).Msg("release failed")
	} else {
		c.dev.fs.log.Debug().Str("dev", c.dev.name).Int("n", c.n).Msg("released")
	}
	c.dev.free(c)
}

// enter begins a call of a driver's method, and leave ends it.
func (c *Conv) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead.Load() {
		return p9ext.ErrHungup
	}
	c.calls++
	return nil
}

func (c *Conv) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls--
	if c.calls == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// with returns a context that ends with ctx and with the conversation, and what releases it.
func (c *Conv) with(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// exclusive waits until no control message runs, and begins one; [Conv.finish] ends it.
func (c *Conv) exclusive(ctx context.Context) error {
	select {
	case c.ctl <- struct{}{}:
	default:
		select {
		case c.ctl <- struct{}{}:
		case <-c.ctx.Done():
			return p9ext.ErrHungup
		case <-ctx.Done():
			return p9ext.ErrInterrupted
		}
	}
	if err := c.enter(); err != nil {
		<-c.ctl
		return err
	}
	return nil
}

func (c *Conv) finish() {
	c.leave()
	<-c.ctl
}

// addStream registers an open stream, which is closed when the conversation ends; it reports false when that has happened.
func (c *Conv) addStream(o *openStream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead.Load() {
		return false
	}
	if c.streams == nil {
		c.streams = make(map[*openStream]struct{})
	}
	c.streams[o] = struct{}{}
	return true
}

func (c *Conv) removeStream(o *openStream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, o)
}

// statusText renders the file status. The caller has entered.
func (t *table) statusText(c *Conv) (string, error) {
	state := "open"
	if t.state != nil {
		state = t.state(c)
	}
	c.mu.Lock()
	owner, opens, label, persist := c.owner, c.opens, c.label, c.persist
	c.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s owner %s opens %d\n", c.Name(), state, Quote(shown(owner)), opens)
	if label != "" {
		fmt.Fprintf(&b, "label %s\n", label)
	}
	if persist {
		b.WriteString("persist on\n")
	}
	if t.status != nil {
		s, err := t.status(c)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
		if s != "" && !strings.HasSuffix(s, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String(), nil
}
