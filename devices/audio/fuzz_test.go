package audio

import (
	"math/rand/v2"
	"testing"

	"github.com/clone9p/clone9p/p9ext"
)

// FuzzWrites writes bytes, cut anywhere, as a client does: whatever they are, the mix stays within full scale and comes to its end.
func FuzzWrites(f *testing.F) {
	wav := "RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00\x44\xac\x00\x00\x10\xb1\x02\x00\x04\x00\x10\x00data\x00\x00\x00\x00"
	f.Add(uint64(1), "", []byte(wav+"abcdefghijklmnop"))
	f.Add(uint64(2), "f32c2r48000", f32([]float32{1, -1, 1e30, 0.5}))
	f.Add(uint64(3), "", []byte("OggS\x00\x02aaaaaaaabbbbccccddd"))
	f.Add(uint64(4), "", []byte("fLaC\x00\x00\x00\x22\x10\x00\x10\x00\x00\x00\x00\x00\x00\x00\x0a\xc4\x42\xf0"))
	f.Add(uint64(5), "", []byte("\xff\xfb\x90\x64\x00\x0f"))
	f.Add(uint64(6), "u8c64r100", make([]byte, 640))
	for _, file := range files(f, "0.1") {
		f.Add(uint64(7), "", file)
	}
	f.Fuzz(func(t *testing.T, cuts uint64, format string, data []byte) {
		m := newMixer(DefaultConfig())
		m.closed = true // blocks are made here
		v := newVoice(m, nil)
		defer v.cut()
		if err := v.setFormat(t.Context(), []string{format}); err != nil {
			if err := v.setFormat(t.Context(), []string{"auto"}); err != nil {
				t.Fatal(err)
			}
		}
		random := rand.New(rand.NewPCG(cuts, 0))
		wake := make(signal, 1)
		step := func() {
			m.block([]*Voice{v}, [2]float32{1, 1})
			v.sounded()
			for i, x := range m.mix {
				if !(x >= -1 && x <= 1) {
					t.Fatalf("sample %d of the mix is %g", i, x)
				}
			}
		}
		n, waits := 0, 0
		for len(data) > 0 {
			if n == 0 {
				n = min(len(data), 1+random.IntN(1+random.IntN(4000)))
			}
			_, err := v.pollWrite(data[:n], wake)
			switch err {
			case nil:
				data, n, waits = data[n:], 0, 0
			case p9ext.ErrWait: // the same bytes again, when some have been played
				if waits++; waits > 1e6 {
					t.Fatal("the write is never taken")
				}
				step()
			default:
				v.flush() // what cannot be played is dropped by its writer
				data, n, waits = data[n:], 0, 0
			}
			if random.IntN(50) == 0 {
				v.flush()
			}
		}
		v.finish(false)
		for i := 0; ; i++ {
			v.mu.Lock()
			closed := v.closed
			v.mu.Unlock()
			if closed {
				return
			}
			if i > 1e6 {
				t.Fatal("the voice never plays out")
			}
			step()
		}
	})
}
