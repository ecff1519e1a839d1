package server

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A name is looked up once in nameLife, and what was found then is not kept longer; the cache is bounded.
func TestNamesAreCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n names
		looks := 0
		get := func(id uint32) string {
			return n.get(&n.users, id, func(id uint32) string { looks++; return fmt.Sprint("user", id, " ", looks) })
		}
		for _, want := range []string{"user7 1", "user7 1", "user8 2", "user7 1"} {
			if got := get(uint32(want[4] - '0')); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		time.Sleep(nameLife)
		if got := get(7); got != "user7 3" {
			t.Errorf("after nameLife: %s", got)
		}
		for id := range uint32(3 * maxNames) {
			get(id)
			if len(n.users) > maxNames {
				t.Fatalf("%d names are kept", len(n.users))
			}
		}
	})
}

// The number stands for a name that nobody has; users and groups are apart; many ask at once.
func TestNames(t *testing.T) {
	var n names
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for id := range uint32(20) {
				n.user(id)
				n.group(id)
			}
			if got := n.user(4123456789); got != "4123456789" {
				t.Errorf("got %q", got)
			}
			if got := n.group(4123456789); got != "4123456789" {
				t.Errorf("got %q", got)
			}
		})
	}
	wg.Wait()
}
