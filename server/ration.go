package server

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// A ration bounds the log lines that strangers can cause: rationBurst at once and rationRate a second. What is left out is counted, and told
// by one line a moment later, so that a flood of bad connections is one line a second and not a full disk.
type ration struct {
	mu    sync.Mutex // guards what follows
	used  float64    // of rationBurst
	since time.Time  // when used was right
	left  int        // lines left out that nobody was told of
	timer *time.Timer
	ended bool
}

const (
	rationBurst = 20
	rationRate  = 5 // a second
	rationDelay = time.Second
)

// line returns e, or nil, on which all methods do nothing, when there have been too many. The log gets the count.
func (r *ration) line(log *zerolog.Logger, e *zerolog.Event) *zerolog.Event {
	if e == nil { // of a level that is not logged
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.used = max(0, r.used-now.Sub(r.since).Seconds()*rationRate)
	r.since = now
	if r.used+1 <= rationBurst {
		r.used++
		return e
	}
	r.left++
	if r.timer == nil && !r.ended {
		r.timer = time.AfterFunc(rationDelay, func() { r.tell(log) }) // stop ends it
	}
	return e.Discard()
}

// tell says how many lines were left out.
func (r *ration) tell(log *zerolog.Logger) {
	r.mu.Lock()
	n := r.left
	r.left, r.timer = 0, nil
	r.mu.Unlock()
	if n > 0 {
		log.Warn().Int("lines", n).Msg("more refused connections and attaches than lines in this log")
	}
}

// stop tells what is left to tell, and starts no timer any more.
func (r *ration) stop(log *zerolog.Logger) {
	r.mu.Lock()
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.tell(log)
}
