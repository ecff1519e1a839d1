package clonefs_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// BenchmarkWalk is what one Twalk, Tgetattr and Tclunk cost in the tree.
func BenchmarkWalk(b *testing.B) {
	fs := tree(b, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(b, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	for name, names := range map[string][]string{"README": {"README"}, "mem-0-ctl": {"mem", "0", "ctl"}, "mem-0-rx": {"mem", "0", "rx"}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, f, err := alice.Root.Walk(names)
				if err != nil {
					b.Fatal(err)
				}
				f.GetAttr(p9.AttrMaskAll)
				f.Close()
			}
		})
	}
}

// BenchmarkOpenRead is a whole read of a text file.
func BenchmarkOpenRead(b *testing.B) {
	fs := tree(b, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(b, fs, clonetest.Alice)
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		_, f, err := alice.Root.Walk([]string{"README"})
		if err != nil {
			b.Fatal(err)
		}
		f.Open(p9.ReadOnly)
		f.ReadAt(p, 0)
		f.Close()
	}
}

// BenchmarkClone makes and releases a conversation, alone and beside a hundred thousand others, and tells what one of those costs.
func BenchmarkClone(b *testing.B) {
	for _, others := range []int{0, 100_000} {
		name := "alone"
		if others > 0 {
			name = "beside 100k"
		}
		b.Run(name, func(b *testing.B) {
			fs := tree(b, clonefs.Config{DefaultMaxConvs: 1 << 20, DefaultMaxPerUser: 1 << 20}, clonetest.Mem(clonetest.MemOptions{}))
			alice := clonetest.Attach(b, fs, clonetest.Alice)
			before := heap()
			held := make([]p9.File, 0, others)
			for range others {
				_, f, _ := alice.Root.Walk([]string{"mem", "clone"})
				if _, err := clonetest.Open(b.Context(), f, p9.ReadWrite); err != nil {
					b.Fatal(err)
				}
				held = append(held, f)
			}
			bytes := heap() - before
			b.ReportAllocs()
			for b.Loop() {
				_, f, _ := alice.Root.Walk([]string{"mem", "clone"})
				if _, err := clonetest.Open(b.Context(), f, p9.ReadWrite); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
			if others > 0 {
				b.ReportMetric(float64(bytes)/float64(others), "B/held")
			}
			for _, f := range held {
				f.Close()
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkStream sends a record through tx and rx, polling: what the tree adds to the queue.
func BenchmarkStream(b *testing.B) {
	fs := tree(b, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(b, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	rx := alice.MustOpen("mem/0/rx", p9.ReadOnly).File.(p9ext.ReadPoller)
	tx := alice.MustOpen("mem/0/tx", p9.WriteOnly).File.(p9ext.WritePoller)
	frame, p := make([]byte, 1514), make([]byte, 4096)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tx.PollWrite(frame, 0, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := rx.PollRead(p, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCtl writes a control message.
func BenchmarkCtl(b *testing.B) {
	fs := tree(b, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(b, fs, clonetest.Alice)
	ctl := alice.MustOpen("mem/clone", p9.ReadWrite).File.(p9ext.Writer)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ctl.WriteContext(context.Background(), []byte("count 7"), 0); err != nil {
			b.Fatal(err)
		}
	}
}
