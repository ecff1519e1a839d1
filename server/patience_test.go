package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
)

// Records that come at the very moment at which a read's patience ends are read by it or by the next one: none is lost, none comes twice, and
// their order stands. Half of the reads wait on a file that polls, half on one whose reads have a goroutine.
func TestPatienceLosesNothing(t *testing.T) {
	d := newDevice()
	c := dial(t, d, wire.P9L, "?records=off&patience=10ms")
	for i, tt := range []struct {
		name string
		push func(string)
	}{{"tape", d.push}, {"line", d.pushLine}} {
		fid := uint32(10 + i)
		c.opened(fid, tt.name, 0)
		const n = 40
		pushed := make(chan struct{})
		go func() {
			defer close(pushed)
			for i := range n {
				time.Sleep(10*time.Millisecond + time.Duration(i%5-2)*100*time.Microsecond) // about when the timers go off
				tt.push(fmt.Sprint("record ", i))
			}
		}()
		empty := 0
		for next := 0; next < n; {
			m := c.rpc(read(7, fid, 0, 100), wire.Rread)
			switch string(m.Data) {
			case "":
				empty++
			case fmt.Sprint("record ", next):
				next++
			default:
				t.Fatalf("%s: %q came instead of record %d", tt.name, m.Data, next)
			}
		}
		<-pushed
		if m := c.rpc(read(7, fid, 0, 100), wire.Rread); len(m.Data) != 0 {
			t.Errorf("%s: %q came twice", tt.name, m.Data)
		}
		t.Logf("%s: %d reads lost patience", tt.name, empty)
	}
}
