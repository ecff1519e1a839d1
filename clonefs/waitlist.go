package clonefs

import "github.com/clone9p/clone9p/p9ext"

// A waitlist is the waiters of one thing in the order in which they came. Those that were woken, and are expected to come back, stand
// before those that sleep. The zero value is empty. Whoever owns it guards it with a lock.
type waitlist struct {
	first, last *waiting
	asleep      *waiting                  // the first that was not woken
	n           int                       // how many there are
	woken       int                       // how many of them stand before asleep
	index       map[p9ext.Waiter]*waiting // the same by identity, when there are many
	idle        *waiting                  // elements to be used again, through next
	idles       int                       // how many
}

// A waiting is a waiter in a list.
type waiting struct {
	w          p9ext.Waiter
	prev, next *waiting
	woken      bool
	need       int // what it waits for, see [Credits]
}

// fewWaiters are found by looking through the list; and so many elements are kept for later.
const fewWaiters = 64

// find returns w's place in the list, or nil.
func (l *waitlist) find(w p9ext.Waiter) *waiting {
	if l.index != nil {
		return l.index[w]
	}
	for e := l.first; e != nil; e = e.next {
		if e.w == w {
			return e
		}
	}
	return nil
}

// park appends w, which is not in the list.
func (l *waitlist) park(w p9ext.Waiter) *waiting {
	e := l.idle
	if e == nil {
		e = new(waiting)
	} else {
		l.idle = e.next
		l.idles--
	}
	*e = waiting{w: w, prev: l.last}
	if l.last == nil {
		l.first = e
	} else {
		l.last.next = e
	}
	l.last = e
	if l.asleep == nil {
		l.asleep = e
	}
	l.n++
	if l.index != nil {
		l.index[w] = e
	} else if l.n > fewWaiters {
		l.index = make(map[p9ext.Waiter]*waiting)
		for f := l.first; f != nil; f = f.next {
			l.index[f.w] = f
		}
	}
	return e
}

// wake wakes the first that sleeps.
func (l *waitlist) wake() {
	e := l.asleep
	l.asleep = e.next
	l.woken++
	e.woken = true
	e.w.Wake()
}

// forget takes e out of the list.
func (l *waitlist) forget(e *waiting) {
	if e.prev == nil {
		l.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	l.n--
	if e.woken {
		l.woken--
	} else if e == l.asleep {
		l.asleep = e.next
	}
	if l.index != nil {
		delete(l.index, e.w)
	}
	if l.n == 0 {
		l.index = nil // what a crowd needed goes with it
	}
	if l.idles < fewWaiters {
		*e = waiting{next: l.idle}
		l.idle = e
		l.idles++
	}
}

// A sleeper is the waiter of a goroutine.
type sleeper struct{ c chan struct{} }

func (s *sleeper) Wake() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}
