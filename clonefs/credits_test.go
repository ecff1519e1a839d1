package clonefs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/clone9p/clone9p/p9ext"
)

// TestCreditsScript runs scripts of operations: a3 takes three for waiter a, -a gives up, +2 gives two back, max:N and close. A take answers
// "ok", "wait" or "closed"; what wakes waiters answers their names.
func TestCreditsScript(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"take and give", "a3 a2 b1 +1 b1", "ok ok wait b ok"},
		{"in order", "a5 b3 c1 +1 +2 c1 b3", "ok wait wait . b wait ok"},
		{"the small do not overtake", "a5 b4 c1 +1 d1", "ok wait wait . wait"},
		{"several at once", "a5 b2 c2 d2 +5 c2 b2 d2", "ok wait wait wait b,c ok ok wait"},
		{"more than there is", "a9 b1 +9 b1", "ok wait b ok"},
		{"giving up while asleep", "a5 b4 c1 -b +1 c1", "ok wait wait . c ok"},
		{"giving up when woken", "a5 b5 c1 +5 -b c1", "ok wait wait b c ok"},
		{"giving up by a stranger", "-z a5", ". ok"},
		{"growing", "a5 b3 max:8 b3", "ok wait b ok"},
		{"shrinking", "a3 max:2 b1 +3 b1", "ok . wait b ok"},
		{"close", "a5 b1 c1 close b1 c1 a1", "ok wait wait b,c closed closed closed"},
		{"close when woken", "a5 b1 +5 close b1", "ok wait b . closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewCredits(5)
			bells := map[string]*bell{}
			var got []string
			for _, op := range strings.Fields(tt.script) {
				before := map[string]int{}
				for name, b := range bells {
					before[name] = b.rung
				}
				var n int
				answer := ""
				switch {
				case op == "close":
					c.Close(errors.New("closed"))
				case op[0] == '+':
					fmt.Sscan(op[1:], &n)
					c.Give(n)
				case op[0] == '-':
					b := bells[op[1:]]
					if b == nil {
						b = &bell{}
					}
					c.Unpoll(b)
				case strings.HasPrefix(op, "max:"):
					fmt.Sscan(op[4:], &n)
					c.SetMax(n)
				default:
					name := op[:1]
					fmt.Sscan(op[1:], &n)
					if bells[name] == nil {
						bells[name] = &bell{}
					}
					switch err := c.PollTake(n, bells[name]); err {
					case nil:
						answer = "ok"
					case p9ext.ErrWait:
						answer = "wait"
					default:
						answer = err.Error()
					}
				}
				var woken []string
				for name, b := range bells {
					if b.rung != before[name] {
						woken = append(woken, name)
					}
				}
				slices.Sort(woken)
				if answer += strings.Join(woken, ","); answer == "" {
					answer = "."
				}
				got = append(got, answer)
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.script, g, tt.want)
			}
		})
	}
}

func TestCreditsTakeContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCredits(2)
		if err := c.TakeContext(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.TakeContext(ctx, 1); err != p9ext.ErrInterrupted {
				t.Errorf("interrupted: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := c.TakeContext(t.Context(), 2); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		c.Give(2)
		wg.Wait()
		if c.Used() != 2 {
			t.Errorf("%d are used", c.Used())
		}
		if err := c.TakeContext(ctx, 0); err != p9ext.ErrInterrupted {
			t.Errorf("a context that has ended: %v", err)
		}
	})
}

// TestCreditsConcurrent checks that no credit is lost or made, whatever writers do.
func TestCreditsConcurrent(t *testing.T) {
	c := NewCredits(10)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(4) == 0 {
					go cancel()
				}
				n := 1 + r.IntN(6)
				if err := c.TakeContext(ctx, n); err == nil {
					if used := c.Used(); used > 10 {
						t.Errorf("%d of 10 are used", used)
					}
					c.Give(n)
				} else if err != p9ext.ErrInterrupted {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if c.Used() != 0 || c.writers.n != 0 {
		t.Errorf("%d are used at the end, %d wait", c.Used(), c.writers.n)
	}
}
