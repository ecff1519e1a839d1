package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newLock() *rwlock {
	l := new(rwlock)
	l.init()
	return l
}

// Readers share, writers do not, and nobody gets what another holds.
func TestRWLockExcludes(t *testing.T) {
	l := newLock()
	var readers, writers atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				ctx, cancel := context.WithCancel(context.Background())
				if j%7 == 0 {
					cancel() // those who give up must leave no trace
				}
				switch {
				case (i+j)%3 != 0:
					if l.rlock(ctx) == nil {
						readers.Add(1)
						if writers.Load() != 0 {
							t.Error("a reader beside a writer")
						}
						readers.Add(-1)
						l.runlock()
					}
				default:
					if l.lock(ctx) == nil {
						if writers.Add(1) != 1 || readers.Load() != 0 {
							t.Error("a writer beside somebody")
						}
						writers.Add(-1)
						l.unlock()
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if l.readers != 0 || l.writer || l.barring != 0 || l.waiters != 0 {
		t.Errorf("left behind: %d readers, writer %v, %d barring, %d waiting", l.readers, l.writer, l.barring, l.waiters)
	}
}

// Who waits gives up when its context ends, and bars nobody any more.
func TestRWLockGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLock()
		l.rlock(context.Background())
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		start := time.Now()
		if err := l.lock(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
			t.Fatalf("the writer gave up with %v after %v", err, time.Since(start))
		}
		if err := l.rlock(context.Background()); err != nil {
			t.Fatal(err)
		}
		l.runlock()
		l.runlock()
		l.lock(context.Background())
		ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := l.rlock(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the reader gave up with %v", err)
		}
		l.unlock()
	})
}

// A reader that blocks for ever delays the writer, and every other reader for writerTurn at most; the writer gets its turn when it ends.
func TestRWLockBlockedReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLock()
		l.rlock(context.Background())
		wrote := make(chan struct{})
		go func() {
			l.lock(context.Background())
			close(wrote)
		}()
		synctest.Wait()
		for range 100 {
			start := time.Now()
			l.rlock(context.Background())
			if d := time.Since(start); d > writerTurn {
				t.Fatalf("a reader waited %v", d)
			}
			l.runlock()
			time.Sleep(writerTurn / 7)
		}
		select {
		case <-wrote:
			t.Fatal("the writer came beside a reader")
		default:
		}
		l.runlock()
		<-wrote
		l.unlock()
	})
}

// Readers that come one after the other without end do not keep a writer out.
func TestRWLockWriterGetsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLock()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					l.rlock(context.Background())
					time.Sleep(3 * time.Millisecond)
					l.runlock()
				}
			})
		}
		time.Sleep(time.Millisecond)
		start := time.Now()
		l.lock(context.Background())
		if d := time.Since(start); d > writerTurn {
			t.Errorf("the writer waited %v", d)
		}
		l.unlock()
		close(stop)
		wg.Wait()
	})
}
