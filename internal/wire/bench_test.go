package wire

import (
	"maps"
	"slices"
	"testing"
)

// hot has the messages that make up nearly all traffic.
func hot(t testing.TB) map[string][]byte {
	msgs := map[string]*Msg{
		"Tgetattr": {Type: Tgetattr, Fid: 1, Mask: GetBasic},
		"Rgetattr": {Type: Rgetattr, Attr: Attr{Valid: GetBasic}},
		"Twalk1":   {Type: Twalk, Fid: 1, Newfid: 2, Nwname: 1, Wname: [MaxWalk][]byte{[]byte("ethfoo")}},
		"Rwalk1":   {Type: Rwalk, Nwqid: 1},
		"Tlopen":   {Type: Tlopen, Fid: 1, Flags: 2},
		"Rlopen":   {Type: Rlopen},
		"Tread":    {Type: Tread, Fid: 1, Offset: 9, Count: 8192},
		"Rread8k":  {Type: Rread, Data: make([]byte, 8192)},
		"Twrite8k": {Type: Twrite, Fid: 1, Data: make([]byte, 8192)},
		"Rwrite":   {Type: Rwrite, Count: 8192},
		"Tclunk":   {Type: Tclunk, Fid: 1},
		"Tflush":   {Type: Tflush, Oldtag: 3},
		"Rlerror":  {Type: Rlerror, Errno: 2},
	}
	out := map[string][]byte{}
	for name, m := range msgs {
		b, err := Append(nil, P9L, m)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

// TestNoAllocations holds the codec to its promise, for every message and not only the hot ones, and for what does not decode.
func TestNoAllocations(t *testing.T) {
	var m Msg
	buf := make([]byte, 0, 1<<16)
	samples(t, func(d Dialect, _ *Msg, b []byte) {
		if n := testing.AllocsPerRun(10, func() {
			if err := m.Decode(d, b); err != nil {
				t.Fatal(err)
			}
			if _, err := Append(buf, d, &m); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v %v: %v allocations to decode and encode", d, m.Type, n)
		}
		cut := patchSize(append([]byte(nil), b[:len(b)-len(b)/3]...), 0)
		if n := testing.AllocsPerRun(10, func() { _ = m.Decode(d, cut) }); n != 0 {
			t.Errorf("%v %v: %v allocations to refuse it", d, m.Type, n)
		}
	})
	var a Attr
	qids := make([]Qid, 3)
	if n := testing.AllocsPerRun(10, func() {
		b := AppendRlerror(buf, 1, 2)
		b = AppendRerror(b, P9u, 1, "file does not exist", 2)
		b = AppendRgetattr(b, 1, &a)
		b = AppendRwalk(b, 1, qids)
		b = AppendRopen(b, Rlopen, 1, Qid{}, 0)
		b = AppendRwrite(b, 1, 2)
		b = AppendRclunk(b, 1)
		start := len(b)
		b = AppendDirent(BeginRreaddir(b, 1), Qid{}, 1, 4, "name")
		EndRread(b, start)
	}); n != 0 {
		t.Errorf("%v allocations to append replies", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	msgs := hot(b)
	for _, name := range slices.Sorted(maps.Keys(msgs)) {
		msg := msgs[name]
		b.Run(name, func(b *testing.B) {
			var m Msg
			b.ReportAllocs()
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				if err := m.Decode(P9L, msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	msgs := hot(b)
	for _, name := range slices.Sorted(maps.Keys(msgs)) {
		msg := msgs[name]
		b.Run(name, func(b *testing.B) {
			var m Msg
			if err := m.Decode(P9L, msg); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 0, len(msg))
			b.ReportAllocs()
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				if _, err := Append(buf, P9L, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReplies(b *testing.B) {
	var a Attr
	buf := make([]byte, 0, 4096)
	for _, reply := range []struct {
		name string
		f    func()
	}{
		{"Rgetattr", func() { AppendRgetattr(buf, 1, &a) }},
		{"Rclunk", func() { AppendRclunk(buf, 1) }},
		{"Rlopen", func() { AppendRopen(buf, Rlopen, 1, Qid{}, 0) }},
		{"Rread", func() { EndRread(BeginRread(buf, 1), 0) }},
		{"Dirent", func() { AppendDirent(buf, Qid{}, 1, 4, "ethfoo") }},
	} {
		b.Run(reply.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				reply.f()
			}
		})
	}
}
