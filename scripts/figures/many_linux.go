package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/devices/ethfoo"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// many measures what interfaces cost that are open at once, 1 to 1000 of them: the clone of one more, and the processor's time while
// nothing happens. What it prints as the other's is the figure with one open: both should stay flat.
func (b *bench) many() error {
	// IPv6 has words of its own to say on every link that comes up: nothing happens only without it.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
		fmt.Fprintf(b.out, "IPv6 stays on (%v): it is part of what idle costs\n", err)
	}
	config := ethfoo.DefaultConfig()
	config.Prefix = "many"
	config.PerUser = config.Limit
	d, err := ethfoo.New(config)
	if err != nil {
		return err
	}
	fs, err := clonefs.New(clonefs.Config{}, d)
	if err != nil {
		return err
	}
	defer fs.Close(context.Background())
	root, err := fs.Attach()
	if err != nil {
		return err
	}
	var first, idleFirst float64
	open := 0
	for _, n := range []int{1, 10, 100, 1000} {
		for ; open < n; open++ {
			if _, err := cloneUp(root); err != nil {
				return err
			}
		}
		var times []float64
		for range max(b.rounds, 5) {
			begin := time.Now()
			f, err := cloneUp(root)
			if err != nil {
				return err
			}
			times = append(times, time.Since(begin).Seconds()*1e3)
			if err := f.Close(); err != nil {
				return err
			}
		}
		cpu, begin := processTime(), time.Now()
		time.Sleep(b.time)
		idle := 100 * (processTime() - cpu).Seconds() / time.Since(begin).Seconds()
		if n == 1 {
			first, idleFirst = median(times), idle
		}
		b.line(fmt.Sprintf("clone at %d", n), fmt.Sprintf("%.1f ms", median(times)), "at 1", fmt.Sprintf("%.1f ms", first), median(times)/first, 0, true)
		b.line(fmt.Sprintf("idle with %d", n), fmt.Sprintf("%.2f%% cpu", idle), "at 1", fmt.Sprintf("%.2f%% cpu", idleFirst), idle/max(idleFirst, 0.01), 0, true)
	}
	return nil
}

// cloneUp makes an interface and brings it up.
func cloneUp(root p9.File) (p9.File, error) {
	_, f, err := root.Walk([]string{"ethfoo", "clone"})
	if err != nil {
		return nil, err
	}
	if _, _, err := f.Open(p9.ReadWrite); err != nil {
		return nil, err
	}
	_, err = f.WriteAt([]byte("up"), 0)
	return f, err
}

// processTime is the processor's time that this process has had.
func processTime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts) // cannot fail for this clock
	return time.Duration(ts.Nano())
}
