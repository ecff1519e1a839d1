package ethfoo

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestHeadersOf(t *testing.T) {
	for _, size := range []int{14, 57, 58, 59, 64, 1514, 65535, 65539} {
		f := frame(size, 1)
		want := make([]byte, 58)
		copy(want, f)
		want = append(want, byte(min(size, 65535)>>8), byte(min(size, 65535)), 0x12, 0x34, 0x56, 0x78)
		if got := headersOf(make([]byte, 100), f, 0x12345678); !bytes.Equal(got, want) {
			t.Errorf("%d bytes:\n got %x\nwant %x", size, got, want)
		}
		p := append(append(make([]byte, 0, size+64), f...), bytes.Repeat([]byte{'x'}, 64)...)
		if got := headersOf(p, p[:size], 0x12345678); !bytes.Equal(got, want) {
			t.Errorf("%d bytes in place:\n got %x\nwant %x", size, got, want)
		}
	}
}

func TestHeadersOnly(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "headersonly on", "promiscuous on", "up")
	r, w, s := openReader(t, i), openWriter(t, i), openPacketSocket(t, i)
	before := milliseconds()
	expect := func(f []byte) {
		t.Helper()
		got := readFrame(t, r)
		if len(got) != 64 || !bytes.Equal(got[:min(len(f), 58)], f[:min(len(f), 58)]) {
			t.Fatalf("of %d bytes: %x", len(f), got)
		}
		length, ms := int(binary.BigEndian.Uint16(got[58:])), binary.BigEndian.Uint32(got[60:])
		if length != len(f) || ms-before > uint32(patience.Milliseconds()) {
			t.Errorf("of %d bytes: length %d, %d ms after the start", len(f), length, ms-before)
		}
	}
	for _, size := range []int{15, 60, 1514} {
		s.send(t, frame(size, byte(size)))
		expect(frame(size, byte(size)))
		if _, err := w.PollWrite(frame(size, 9), 0, nil); err != nil {
			t.Fatal(err)
		}
		expect(frame(size, 9))
	}
	mustSend(t, i, "headersonly off")
	s.send(t, frame(100, 3))
	if got := readFrame(t, r); !bytes.Equal(got, frame(100, 3)) {
		t.Errorf("switched off: %x", got)
	}
}
