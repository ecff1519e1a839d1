package wire

import (
	"bytes"
	"testing"
)

// FuzzDecode decodes anything in each dialect. What decodes is the message: encoding it gives back the same bytes, but for the
// one laxness of Decode.
func FuzzDecode(f *testing.F) {
	samples(f, func(d Dialect, m *Msg, b []byte) {
		f.Add(b)
		f.Add(b[:len(b)-1])
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		if size, ok := Peek(b); ok && uint64(size) != uint64(len(b)) && len(b) >= HeaderSize {
			b = patchSize(bytes.Clone(b), 0) // else nearly nothing would get past the size
		}
		before := bytes.Clone(b)
		var m Msg
		for _, d := range dialects {
			err := m.Decode(d, b)
			if !bytes.Equal(b, before) {
				t.Fatal("Decode wrote into its input")
			}
			if err != nil {
				continue
			}
			if len(b) < MinSize(d, m.Type) {
				t.Errorf("%v %v of %d bytes, MinSize %d", d, m.Type, len(b), MinSize(d, m.Type))
			}
			want := b
			if m.Type == Tfsync && len(b) == MinSize(d, Tfsync) {
				want = patchSize(append(bytes.Clone(b), 0, 0, 0, 0), 0)
			}
			again, err := Append(nil, d, &m)
			if err != nil || !bytes.Equal(again, want) {
				t.Errorf("%v %v: %v\n in %x\nout %x", d, m.Type, err, want, again)
			}
			if len(m.Text(d)) == 0 {
				t.Errorf("%v %v: no text", d, m.Type)
			}
			if m.Type == Rread && d != P9L {
				fuzzDir(t, d, m.Data)
			}
			if m.Type == Rreaddir {
				fuzzDirents(t, m.Data)
			}
		}
	})
}

func fuzzDir(t *testing.T, d Dialect, p []byte) {
	var s Stat
	for len(p) > 0 {
		rest, err := DecodeStat(d, p, &s)
		if err != nil {
			return
		}
		again, err := AppendStat(nil, d, &s)
		if err != nil || !bytes.Equal(again, p[:len(p)-len(rest)]) {
			t.Errorf("%v stat: %v\n in %x\nout %x", d, err, p[:len(p)-len(rest)], again)
		}
		p = rest
	}
}

func fuzzDirents(t *testing.T, p []byte) {
	var e Dirent
	for len(p) > 0 {
		rest, err := DecodeDirent(p, &e)
		if err != nil {
			return
		}
		again := AppendDirent(nil, e.Qid, e.Offset, e.Type, string(e.Name))
		if !bytes.Equal(again, p[:len(p)-len(rest)]) {
			t.Errorf("dirent:\n in %x\nout %x", p[:len(p)-len(rest)], again)
		}
		p = rest
	}
}
