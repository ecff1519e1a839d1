package ethfoo

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The benchmarks compare with the kernel's own call, in rounds that take turns in one run, and report the medians and their ratio:
// ours to the kernel's, in seconds, so less is better.

// rounds runs ours and theirs in turn and reports the median of each one's figure.
func rounds(b *testing.B, unit string, ours, theirs func() float64) {
	var o, t []float64
	for b.Loop() {
		t = append(t, theirs())
		o = append(o, ours())
	}
	median := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	b.ReportMetric(median(o), "ours-"+unit)
	b.ReportMetric(median(t), "kernel-"+unit)
	b.ReportMetric(median(o)/median(t), "ratio")
	b.ReportMetric(0, "ns/op")
}

const (
	burst  = 128 // frames sent at a time: fewer than a reader's queue and the kernel's hold, so none is lost
	bursts = 400 // in a round
)

// cpuTime is the processor's time that this process or thread has had.
func cpuTime(clock int32) time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(clock, &ts) // cannot fail for these clocks
	return time.Duration(ts.Nano())
}

// receive is the processor's time that receiving a frame takes, in nanoseconds: all of this process's, less the sending thread's. On a
// busy machine it says more than the time by the clock.
func receive(b *testing.B, s *packetSocket, size int, read func() (int, error)) float64 {
	b.Helper()
	f := frame(size, 1)
	next, sent := make(chan bool), make(chan time.Duration)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		start := cpuTime(unix.CLOCK_THREAD_CPUTIME_ID)
		for range next {
			for range burst {
				if _, err := unix.Write(s.fd, f); err != nil {
					panic(err) // the reader would wait for ever
				}
			}
		}
		sent <- cpuTime(unix.CLOCK_THREAD_CPUTIME_ID) - start
	}()
	start := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	for range bursts {
		next <- true
		for range burst {
			if n, err := read(); n != size || err != nil {
				b.Fatal(n, err)
			}
		}
	}
	close(next)
	spent := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - start - <-sent
	return float64(spent.Nanoseconds()) / (burst * bursts)
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			i := makeInterface(b, 0)
			mustSend(b, i, "connect 0x88b5", "up")
			r := openReader(b, i)
			mine := openPacketSocket(b, i)

			raw, err := openTun(tunDevice, "raw0", unix.IFF_TAP)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { raw.close() })
			link, err := netlink.LinkByName("raw0")
			if err != nil {
				b.Fatal(err)
			}
			// IPv6 would say words of its own.
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/raw0/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
				b.Skip(err)
			}
			if err := netlink.LinkSetUp(link); err != nil {
				b.Fatal(err)
			}
			theirs := openPacketSocketOn(b, link.Attrs().Index)
			p := make([]byte, 2048)
			b.SetBytes(2 * burst * bursts * int64(size))
			rounds(b, "ns/frame",
				func() float64 {
					return receive(b, mine, size, func() (int, error) { return r.ReadContext(context.Background(), p, 0) })
				},
				func() float64 { return receive(b, theirs, size, func() (int, error) { return raw.file.Read(p) }) })
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			needTAP(b)
			i := makeInterface(b, 0)
			mustSend(b, i, "up")
			var w p9ext.WritePoller = openWriter(b, i)
			p := frame(size, 1)
			// Nobody else runs, so that the process's time is the writer's, and what the kernel does with the frames is in it.
			cost := func(write func() (int, error)) float64 {
				start := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
				for range burst * bursts {
					if n, err := write(); n != size || err != nil {
						b.Fatal(n, err)
					}
				}
				return float64((cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - start).Nanoseconds()) / (burst * bursts)
			}
			b.SetBytes(2 * burst * bursts * int64(size))
			rounds(b, "ns/frame",
				func() float64 { return cost(func() (int, error) { return w.PollWrite(p, 0, nil) }) },
				func() float64 { return cost(func() (int, error) { return unix.Write(i.tap.Load().fd, p) }) })
		})
	}
}

// A frame costs no allocation: neither on its way in nor, but for the pieces of memory that it shares with others, on its way out.
func TestFramesDoNotAllocate(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "up")
	r, w, s := openReader(t, i), openWriter(t, i), openPacketSocket(t, i)
	p, f := make([]byte, 2048), frame(64, 1)
	if n := testing.AllocsPerRun(1000, func() { w.PollWrite(f, 0, nil) }); n != 0 {
		t.Errorf("a write allocates %v times", n)
	}
	n := testing.AllocsPerRun(10000, func() {
		unix.Write(s.fd, f)
		r.ReadContext(context.Background(), p, 0)
	})
	if n >= 1 {
		t.Errorf("a read allocates %v times", n)
	}
}

// netlinkAlone makes and removes a TAP as a program does that has nothing but netlink: its address set, as ours is.
func netlinkAlone(name string) error {
	tap := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_TUN_EXCL,
		Owner: uint32(os.Getuid()), Group: uint32(os.Getgid()),
	}
	if err := netlink.LinkAdd(tap); err != nil {
		return err
	}
	err := netlink.LinkSetHardwareAddr(tap, randomMAC())
	if del := netlink.LinkDel(tap); err == nil {
		err = del
	}
	return err
}

func BenchmarkCloneRelease(b *testing.B) {
	needTAP(b)
	d := testDevice(tunDevice)
	timed := func(f func() error) float64 {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		return time.Since(start).Seconds() * 1000
	}
	rounds(b, "ms", func() float64 {
		return timed(func() error {
			i, err := d.open(context.Background(), 0, func(error) {})
			if err != nil {
				return err
			}
			return i.Close()
		})
	}, func() float64 {
		return timed(func() error { return netlinkAlone("alone0") })
	})
}
