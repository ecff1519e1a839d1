package clonefs

import (
	"bytes"
	"testing"
)

// split divides "x,y" into records.
func split(s string) [][]byte { return bytes.Split([]byte(s), []byte(",")) }

// batch makes a batch.
func batch(records ...[]byte) []byte {
	var b []byte
	for _, r := range records {
		b = AppendBatch(b, r)
	}
	return b
}

// unbatch divides a batch.
func unbatch(t *testing.T, b []byte) (records [][]byte) {
	t.Helper()
	for len(b) > 0 {
		r, rest, ok := CutBatch(b)
		if !ok {
			t.Fatalf("no batch: %q", b)
		}
		records, b = append(records, r), rest
	}
	return records
}

func TestCutBatch(t *testing.T) {
	for _, c := range []struct {
		in, record, rest string
		ok               bool
	}{
		{"", "", "", false},
		{"\x01\x00\x00", "", "", false},
		{"\x00\x00\x00\x00", "", "", false},
		{"\x00\x00\x00\x00x", "", "", false},
		{"\x01\x00\x00\x00", "", "", false},
		{"\x02\x00\x00\x00x", "", "", false},
		{"\xff\xff\xff\xffx", "", "", false},
		{"\x01\x00\x00\x00x", "x", "", true},
		{"\x01\x00\x00\x00xyz", "x", "yz", true},
	} {
		record, rest, ok := CutBatch([]byte(c.in))
		if !c.ok {
			c.rest = c.in
		}
		if ok != c.ok || string(record) != c.record || string(rest) != c.rest {
			t.Errorf("%q: %q, %q, %v", c.in, record, rest, ok)
		}
	}
}

// Whatever comes in, what is cut off it makes the same bytes again.
func FuzzCutBatch(f *testing.F) {
	f.Add([]byte{})
	f.Add(batch([]byte("x"), []byte("yy")))
	f.Add([]byte("\x02\x00\x00\x00x"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		rest, ok := b, true
		for {
			var record []byte
			if record, rest, ok = CutBatch(rest); !ok {
				break
			}
			if len(record) == 0 || cap(record) > len(record) {
				t.Fatalf("a record of %d bytes", len(record))
			}
			again = AppendBatch(again, record)
		}
		if again = append(again, rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x", b, again)
		}
		if whole := len(b) > 0 && len(rest) == 0; isBatch(b) != whole {
			t.Fatalf("%x is a batch: %v", b, !whole)
		}
	})
}
