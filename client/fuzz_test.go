package client_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/internal/wire"
	"github.com/hugelgupf/p9/p9"
)

// Whatever a server sends, the client neither panics nor hangs: calls end when the connection does.
func FuzzServer(f *testing.F) {
	reply := func(d wire.Dialect, all ...wire.Msg) []byte {
		var b []byte
		for i, m := range all {
			m.Tag = uint16(i % 2)
			if i == 0 {
				m.Tag = 0
			}
			b, _ = wire.Append(b, d, &m)
		}
		return b
	}
	dir := wire.Qid{Type: wire.QTDIR}
	f.Add(uint8(2), reply(wire.P9L, wire.Msg{Type: wire.Rattach, Qid: dir}, wire.Msg{Type: wire.Rwalk, Nwqid: 1}, wire.Msg{Type: wire.Rlopen}))
	f.Add(uint8(1), reply(wire.P9u, wire.Msg{Type: wire.Rattach, Qid: dir}, wire.Msg{Type: wire.Rerror, Ename: []byte("no"), Errno: 2}))
	f.Add(uint8(0), reply(wire.P9, wire.Msg{Type: wire.Rattach, Qid: dir}, wire.Msg{Type: wire.Rwalk}, wire.Msg{Type: wire.Rstat}))
	opened := []wire.Msg{{Type: wire.Rattach, Qid: dir}, {Type: wire.Rwalk, Nwqid: 1}}
	lib := append(opened, wire.Msg{Type: wire.Rlopen}, wire.Msg{Type: wire.Rreaddir}, wire.Msg{Type: wire.Rread, Data: []byte("x")}, wire.Msg{Type: wire.Rgetattr},
		wire.Msg{Type: wire.Rstatfs}, wire.Msg{Type: wire.Rsetattr}, wire.Msg{Type: wire.Rwrite, Count: 1 << 31}, wire.Msg{Type: wire.Rclunk})
	f.Add(uint8(2), reply(wire.P9L, lib...))
	lib = append(opened, wire.Msg{Type: wire.Ropen}, wire.Msg{Type: wire.Rread}, wire.Msg{Type: wire.Rread, Data: []byte("x")}, wire.Msg{Type: wire.Rstat},
		wire.Msg{Type: wire.Rwstat}, wire.Msg{Type: wire.Rwrite, Count: 1}, wire.Msg{Type: wire.Rclunk})
	f.Add(uint8(1), reply(wire.P9u, lib...))
	f.Add(uint8(0), reply(wire.P9, lib...))
	f.Fuzz(func(t *testing.T, d uint8, data []byte) {
		a, b := net.Pipe()
		dialect := client.Dialect(d % 3)
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer b.Close()
			p := &peer{t, b, wire.Dialect(dialect)}
			if _, err := io.ReadFull(b, make([]byte, wire.MinSize(wire.P9, wire.Tversion)+len(dialect.String()))); err != nil {
				return
			}
			m := wire.Msg{Type: wire.Rversion, Tag: wire.NoTag, Msize: 8192, Version: []byte(dialect.String())}
			p.answer(&m)
			drained := make(chan struct{})
			go func() { defer close(drained); io.Copy(io.Discard, b) }()
			b.SetWriteDeadline(time.Now().Add(time.Second))
			b.Write(data)
			b.Close()
			<-drained
		}()
		c, err := client.New(context.Background(), a, client.Options{Dialects: []client.Dialect{dialect}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { c.Close(); <-served }()
		root, err := c.Attach(t.Context(), client.Attach{})
		if err != nil {
			return
		}
		defer root.Close()
		x, err := root.OpenFile(t.Context(), "x", p9.ReadWrite)
		if err != nil {
			return
		}
		x.ReadDir(t.Context())
		x.Read(make([]byte, 10))
		x.GetAttr(t.Context())
		x.StatFS(t.Context())
		x.SetAttr(t.Context(), client.SetSize, client.Attr{})
		if n, err := x.Write([]byte("record")); n < 0 || n > 6 || n < 6 && err == nil {
			t.Errorf("wrote %d of 6 bytes, %v", n, err)
		}
		root.Walk(t.Context(), "a/b/c")
		x.Close()
	})
}
