package client_test

import (
	"fmt"
	"testing"

	"github.com/clone9p/clone9p/client"
	"github.com/hugelgupf/p9/p9"
)

// One call after the other, and many at once on one connection.
func BenchmarkGetAttr(b *testing.B) {
	_, dial := serve(b)
	_, root := attach(b, dial(), client.P9L)
	for _, many := range []int{1, 64} {
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(many)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := root.GetAttr(b.Context()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkWriteRead(b *testing.B) {
	_, dial := serve(b)
	_, root := attach(b, dial(), client.P9L)
	ctl := open(b, root, "echo/clone", p9.ReadWrite)
	defer ctl.Close()
	for _, size := range []int{64, 1500, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := open(b, root, "echo/0/data", p9.ReadWrite)
			defer data.Close()
			out, in := make([]byte, size), make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(2 * size))
			for b.Loop() {
				if _, err := data.WriteContext(b.Context(), out, 0); err != nil {
					b.Fatal(err)
				}
				if n, err := data.ReadContext(b.Context(), in, 0); err != nil || n != size {
					b.Fatal(n, err)
				}
			}
		})
	}
}
