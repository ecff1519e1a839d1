//go:build unix

package dmover

import "testing"

type never struct{}

func (never) Wake() {}

// A small request, from its write to the read of its response: what it costs beside the work.
func BenchmarkRequest(b *testing.B) {
	s := newDevice(DefaultConfig(), nil).open(me)
	defer s.Close()
	if err := s.setFunc(b.Context(), []string{"zero"}); err != nil {
		b.Fatal(err)
	}
	st := &stream{Queue: s.answers, s: s}
	line, p := []byte("1 out=out:0:64"), make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := st.PollWrite(line, 0, never{}); err != nil {
			b.Fatal(err)
		}
		if _, err := st.PollRead(p, 0, never{}); err != nil {
			b.Fatal(err)
		}
	}
}
