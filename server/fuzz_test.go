package server_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/internal/script"
	"go.uber.org/goleak"
)

// FuzzSession sends bytes to a served device: in one write, or cut in two, or in pieces. Whatever they are, nothing panics, every file is closed exactly
// once, nothing waits any longer and no goroutine is left when the connection has ended.
//
// The first byte says how the rest is cut and what the device does meanwhile. Coverage varies with the goroutines' luck: without
// -fuzzminimizetime 1x the fuzzer spends its time on making inputs smaller.
func FuzzSession(f *testing.F) {
	for _, d := range []wire.Dialect{wire.P9, wire.P9u, wire.P9L} {
		for _, s := range goodSessions(d) {
			for _, how := range []byte{0, 1, 2, 0xff} {
				f.Add(append([]byte{how}, s...))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 64<<10 {
			return
		}
		leaks := goleak.IgnoreCurrent()
		how, data := data[0], data[1:]
		d := newDevice()
		d.stubborn = how&4 != 0
		d.hold(how&8 != 0)
		srv := server.New(d, server.Config{MaxMessage: 16 << 10, MaxFids: 50, MaxRequests: 40, MaxAttaches: 5})
		ours, theirs, err := script.Socketpair()
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() { srv.ServeConn(theirs, server.Peer{Any: true}); close(served) }()
		go io.Copy(io.Discard, ours) // ends with the connection
		ours.SetWriteDeadline(time.Now().Add(patience))
		for i, piece := range cut(data, how&3) {
			if _, err := ours.Write(piece); err != nil {
				break // the server has heard enough
			}
			switch { // the device's side, beside what the server makes of the bytes
			case how&16 != 0 && i%2 == 0:
				d.push("tape")
				d.pushLine("line")
			case how&32 != 0:
				d.knock()
			}
		}
		if how&64 != 0 {
			ours.(interface{ CloseWrite() error }).CloseWrite()
			<-served
		}
		ours.Close()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
		close(d.deaf)
		d.hold(false)
		for range 100 { // opens that hear of nothing
			d.knock()
		}
		if err := eventually(d.left); err != nil {
			t.Error(err)
		}
		if st := srv.Stats(); st.Fids != 0 || st.Sessions != 0 {
			t.Errorf("the server still counts %+v", st)
		}
		if err := eventually(func() error {
			if n := srv.Stats().Requests; n != 0 {
				return fmt.Errorf("%d requests wait", n)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := goleak.Find(leaks); err != nil {
			t.Error(err)
		}
	})
}

// cut divides b: not at all, into messages, in two, or into three bytes each.
func cut(b []byte, how byte) [][]byte {
	switch {
	case how == 1:
		var pieces [][]byte
		for len(b) >= 4 {
			n := int(min(uint64(binary.LittleEndian.Uint32(b)), uint64(len(b))))
			n = max(n, 1)
			pieces, b = append(pieces, b[:n]), b[n:]
		}
		return append(pieces, b)
	case how == 2:
		return [][]byte{b[:len(b)/2], b[len(b)/2:]}
	case how == 3 && len(b) < 1000:
		return slices.Collect(slices.Chunk(b, 3))
	}
	return [][]byte{b}
}

// goodSessions are what well-behaved clients send, as bytes: the seeds.
func goodSessions(d wire.Dialect) [][]byte {
	hello := []*wire.Msg{
		{Type: wire.Tversion, Tag: wire.NoTag, Msize: 8192, Version: []byte(d.String())},
		{Type: wire.Tattach, Tag: 1, Fid: 0, Afid: wire.NoFid, NUname: wire.NoUid},
	}
	opening := func(tag uint16, fid, mode uint32) *wire.Msg {
		if d == wire.P9L {
			return open(tag, fid, mode)
		}
		return &wire.Msg{Type: wire.Topen, Tag: tag, Fid: fid, Mode: mode}
	}
	var reads []*wire.Msg
	for i, name := range names {
		fid := uint32(i + 1)
		mode := uint32(2)
		if name == "dir" {
			mode = 0
		}
		reads = append(reads, walk(uint16(2*i+2), 0, fid, name), opening(uint16(2*i+3), fid, mode), read(uint16(100+i), fid, 0, 100),
			write(uint16(200+i), fid, 0, "text"))
	}
	flushes := slices.Clone(reads)
	for i := range names {
		flushes = append(flushes, flush(300, uint16(100+i)), clunk(301, uint32(i+1)))
	}
	walks := []*wire.Msg{
		walk(2, 0, 1, "text"), walk(3, 1, 1, "..", "tape"), walk(4, 0, 2, "..", ".."), walk(5, 0, 2, "dir", "none"), walk(6, 0, 3), opening(7, 3, 0),
		{Type: wire.Tremove, Tag: 8, Fid: 1}, opening(9, 1, 2), read(10, 1, 5, 10), clunk(11, 3),
		{Type: wire.Tattach, Tag: 12, Fid: 2, Afid: wire.NoFid, NUname: wire.NoUid, Aname: []byte("/dir?records=on")},
	}
	others := []*wire.Msg{walk(2, 0, 1, "still"), walk(3, 0, 2, "text"), opening(4, 2, 2)}
	for typ := range 256 {
		if t := wire.Type(typ); t.IsT() && d.Has(t) && t != wire.Tversion && t != wire.Tflush {
			others = append(others,
				&wire.Msg{Type: t, Tag: uint16(typ), Fid: 1, Newfid: 3, Name: []byte("x"), Newname: []byte("y"), Count: 100, Stat: wire.NoStat()},
				&wire.Msg{Type: t, Tag: uint16(1000 + typ), Fid: 2, Newfid: 0, Name: []byte("text"), Newname: []byte("y"), Stat: wire.NoStat()})
		}
	}
	var all [][]byte
	for _, msgs := range [][]*wire.Msg{reads, flushes, walks, others, append(reads, hello...)} {
		var b []byte
		for _, m := range append(slices.Clone(hello), msgs...) {
			var err error
			if b, err = wire.Append(b, d, m); err != nil {
				panic(err) // of a message made above
			}
		}
		all = append(all, b)
	}
	return all
}
