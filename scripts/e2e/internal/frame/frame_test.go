package frame

import "testing"

func TestCheck(t *testing.T) {
	whole := Append(nil, 7, 3, 100)
	damaged := Append(nil, 7, 3, 100)
	damaged[60] ^= 1
	for _, c := range []struct {
		name string
		p    []byte
		ok   bool
	}{
		{"whole", whole, true},
		{"smallest", Append(nil, 7, 3, Min), true},
		{"cut short", whole[:99], false},
		{"two", append(Append(nil, 7, 3, 100), Append(nil, 7, 4, 60)...), false},
		{"damaged", damaged, false},
		{"empty", nil, false},
		{"foreign", make([]byte, 60), false},
	} {
		stream, seq, err := Check(c.p)
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v, want ok %v", c.name, err, c.ok)
		}
		if err == nil && (stream != 7 || seq != 3) {
			t.Errorf("%s: stream %d seq %d, want 7 3", c.name, stream, seq)
		}
	}
}

func TestSize(t *testing.T) {
	for seq := range uint32(1000) {
		n := Size(1, seq, 60, 1514)
		if n < 60 || n > 1514 {
			t.Fatalf("Size(1, %d, 60, 1514) = %d", seq, n)
		}
		if p := Append(nil, 1, seq, n); len(p) != n {
			t.Fatalf("frame %d has %d bytes, want %d", seq, len(p), n)
		}
	}
}

func TestWithin(t *testing.T) {
	ours := Append(nil, 7, 3, 100)
	foreign := make([]byte, 90)
	if !Ours(ours) || !Within(ours) || Ours(foreign) || Within(foreign) {
		t.Error("a frame is not told from a foreign one")
	}
	if both := append(foreign, ours...); Ours(both) || !Within(both) {
		t.Error("a frame behind a foreign one is not seen")
	}
}
