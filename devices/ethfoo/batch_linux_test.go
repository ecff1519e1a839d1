package ethfoo

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// batch makes a batch of frames.
func batch(frames ...[]byte) []byte {
	var b []byte
	for _, f := range frames {
		b = clonefs.AppendBatch(b, f)
	}
	return b
}

// write writes p as the server does: by PollWrite where that is possible.
func write(t testing.TB, w *writer, p []byte) (int, error) {
	t.Helper()
	n, err := w.PollWrite(p, 0, nil)
	if err == p9ext.ErrNoPoll {
		n, err = w.WriteContext(t.Context(), p, 0)
	}
	return n, err
}

func TestBatchRead(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "batch on", "up")
	r, s := openReader(t, i), openPacketSocket(t, i)
	var want [][]byte
	for n := range 20 {
		want = append(want, frame(60+n, byte(n)))
	}
	s.send(t, want...)
	var got [][]byte
	p := make([]byte, 300)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(got) < len(want) {
		n, err := r.ReadContext(ctx, p, 0)
		if err != nil {
			t.Fatal(err)
		}
		for rest := bytes.Clone(p[:n]); len(rest) > 0; {
			f, after, ok := clonefs.CutBatch(rest)
			if !ok {
				t.Fatalf("no batch: %x", p[:n])
			}
			got, rest = append(got, f), after
		}
	}
	for n := range want {
		if !bytes.Equal(got[n], want[n]) {
			t.Errorf("frame %d: %x", n, got[n])
		}
	}
	s.send(t, frame(60, 1))
	_, err := r.ReadContext(ctx, p[:63], 0)
	wantError(t, err, linux.EINVAL, "read or write too small")
	mustSend(t, i, "batch off")
	if got := readFrame(t, r); !bytes.Equal(got, frame(60, 1)) {
		t.Errorf("after batch off: %x", got)
	}
}

func TestBatchWrite(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "batch on", "up")
	s, w := openPacketSocket(t, i), openWriter(t, i)
	for _, count := range []int{1, 2, pollFrames, pollFrames + 1, 200} {
		var frames [][]byte
		for n := range count {
			frames = append(frames, frame(14+n, byte(n)))
		}
		p := batch(frames...)
		if n, err := write(t, w, p); n != len(p) || err != nil {
			t.Fatalf("%d frames: %d, %v", count, n, err)
		}
		for n, want := range frames {
			if got := s.receive(t); !bytes.Equal(got, want) {
				t.Fatalf("frame %d of %d: %x", n, count, got)
			}
		}
	}
}

// Of a batch with something wrong in it nothing is sent.
func TestBatchesThatAreNone(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "batch on", "up")
	s, w := openPacketSocket(t, i), openWriter(t, i)
	good := batch(frame(60, 1), frame(1518, 2))
	for _, c := range []struct {
		name  string
		p     []byte
		errno linux.Errno
		text  string
	}{
		{"nothing", nil, linux.EINVAL, "bad batch: at byte 0 of 0"},
		{"a length cut short", append(bytes.Clone(good), 60, 0, 0), linux.EINVAL, "bad batch: at byte 1586 of 1589"},
		{"a length that runs past the end", append(bytes.Clone(good), batch(frame(60, 3))[:63]...), linux.EINVAL, "bad batch: at byte 1586"},
		{"a length of 4 GiB", append(bytes.Clone(good), 255, 255, 255, 255, 1), linux.EINVAL, "bad batch: at byte 1586"},
		{"a frame of 0 bytes", append(bytes.Clone(good), 0, 0, 0, 0), linux.EINVAL, "bad batch: at byte 1586"},
		{"a frame of 13 bytes", append(bytes.Clone(good), batch(frame(14, 3)[:13])...), linux.EINVAL, "read or write too small"},
		{"a frame of mtu+19", append(bytes.Clone(good), batch(frame(1519, 3))...), linux.EMSGSIZE, "read or write too large: a frame of 1519"},
		{"a frame of 64 KiB", batch(frame(60, 1), frame(65536, 3)), linux.EMSGSIZE, "read or write too large"},
		{"a single frame", frame(60, 1), linux.EINVAL, "bad batch: at byte 0 of 60"},
	} {
		n, err := write(t, w, c.p)
		if n != 0 {
			t.Errorf("%s: %d", c.name, n)
		}
		wantError(t, err, c.errno, c.text)
	}
	if _, err := write(t, w, batch(frame(61, 9))); err != nil {
		t.Fatal(err)
	}
	if got := s.receive(t); !bytes.Equal(got, frame(61, 9)) {
		t.Errorf("something of a bad batch was sent: %d bytes", len(got))
	}
}

// When the interface does not take the first frame the write fails; after some frames it is a short one.
func TestBatchThatIsCutShort(t *testing.T) {
	i := makeInterface(t, 0)
	w := openWriter(t, i)
	mustSend(t, i, "batch on")
	p := batch(frame(60, 1), frame(70, 2), frame(80, 3))
	_, err := write(t, w, p)
	wantError(t, err, linux.EHOSTDOWN, "interface is down")
	mustSend(t, i, "up")
	left := 2
	n, err := w.sendBatch(p, func(f []byte) error {
		if left--; left < 0 {
			return errDown
		}
		return w.send(f)
	})
	if want := len(batch(frame(60, 1), frame(70, 2))); n != want || err != nil {
		t.Errorf("%d, %v, want %d", n, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := w.WriteContext(ctx, p, 0); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %d, %v", n, err)
	}
}

// A read that was answered to nobody gives its frames back, one by one.
func TestBatchIsPutBack(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "connect 0x88b5", "batch on", "up")
	r, s := openReader(t, i), openPacketSocket(t, i)
	s.send(t, frame(60, 1))
	taken := readFrame(t, r)
	r.Unread(taken)
	mustSend(t, i, "batch off")
	if got := readFrame(t, r); !bytes.Equal(got, frame(60, 1)) {
		t.Errorf("%x", got)
	}
}

// In a batch as alone: the frames of every size that matters.
func TestFramesOfEverySize(t *testing.T) {
	i := makeInterface(t, 0)
	mustSend(t, i, "up")
	w, s := openWriter(t, i), openPacketSocket(t, i)
	for _, c := range []struct {
		size  int
		errno linux.Errno
	}{{0, linux.EINVAL}, {13, linux.EINVAL}, {14, 0}, {1518, 0}, {1519, linux.EMSGSIZE}, {65536, linux.EMSGSIZE}} {
		for _, mode := range []string{"off", "on"} {
			mustSend(t, i, "batch "+mode)
			f := make([]byte, c.size)
			copy(f, frame(max(14, c.size), 7))
			p := f
			if mode == "on" {
				p = batch(f)
			}
			n, err := write(t, w, p)
			if c.errno != 0 {
				if e, ok := errors.AsType[*p9ext.Error](err); !ok || e.Errno != c.errno || n != 0 {
					t.Errorf("batch %s, %d bytes: %d, %v", mode, c.size, n, err)
				}
				continue
			}
			if n != len(p) || err != nil {
				t.Fatalf("batch %s, %d bytes: %d, %v", mode, c.size, n, err)
			}
			if got := s.receive(t); !bytes.Equal(got, f) {
				t.Errorf("batch %s, %d bytes: the packet socket saw %d", mode, c.size, len(got))
			}
		}
	}
}

// A batch is sent as a whole or not at all, and what is sent are its frames.
func FuzzCheckBatch(f *testing.F) {
	f.Add([]byte{})
	f.Add(batch(frame(14, 1)))
	f.Add(batch(frame(60, 1), frame(1514, 2)))
	f.Add(append(batch(frame(60, 1)), 60, 0, 0, 0))
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		frames, longest, err := newFanout(1).checkBatch(p)
		if err != nil {
			if e, ok := errors.AsType[*p9ext.Error](err); !ok || e.Errno != linux.EINVAL {
				t.Fatalf("%x: %v", p, err)
			}
			return
		}
		var again []byte
		n, seen := 0, 0
		sent, err := (&writer{}).sendBatch(p, func(f []byte) error {
			again = clonefs.AppendBatch(again, f)
			n, seen = n+1, max(seen, len(f))
			if len(f) < etherHeader {
				t.Fatalf("%x: a frame of %d bytes", p, len(f))
			}
			return nil
		})
		if sent != len(p) || err != nil || n != frames || seen != longest || !bytes.Equal(again, p) {
			t.Fatalf("%x: %d bytes, %v, %d frames of %d, longest %d of %d", p, sent, err, n, frames, seen, longest)
		}
	})
}

// BenchmarkBatch measures a frame in a batch against write(2) of one.
func BenchmarkBatchWrite(b *testing.B) {
	needTAP(b)
	i := makeInterface(b, 0)
	mustSend(b, i, "batch on", "up")
	w := openWriter(b, i)
	f := frame(64, 1)
	var p []byte
	for range pollFrames {
		p = clonefs.AppendBatch(p, f)
	}
	const batches = 400
	cost := func(send func() error) float64 {
		start := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
		for range batches {
			if err := send(); err != nil {
				b.Fatal(err)
			}
		}
		return float64((cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - start).Nanoseconds()) / (batches * pollFrames)
	}
	rounds(b, "ns/frame", func() float64 {
		return cost(func() error { _, err := w.PollWrite(p, 0, nil); return err })
	}, func() float64 {
		return cost(func() error {
			for range pollFrames {
				if _, err := unix.Write(i.tap.Load().fd, f); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
