package decode

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

// packetsOf are the packets of the first logical stream of an Ogg file.
func packetsOf(t testing.TB, file []byte) (all [][]byte) {
	t.Helper()
	o := &oggReader{r: bufio.NewReader(bytes.NewReader(file))}
	for {
		err := o.page()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		o.chosen = true
		for {
			p, err := o.packet()
			if err != nil {
				t.Fatal(err)
			}
			if p == nil {
				break
			}
			all = append(all, bytes.Clone(p))
		}
	}
}

// Tables that would have the library wait for ever, or take all memory, are refused.
func TestVorbisTablesThatMakeNoSense(t *testing.T) {
	// book is a setup head with one codebook of these dimensions and entries, and whatever rest.
	book := func(dimensions, entries uint32, rest ...byte) []byte {
		var b bitCopier
		b.write(0, 8)
		b.write(0x564342, 24)
		b.write(dimensions, 16)
		b.write(entries, 24)
		for _, x := range rest {
			b.write(uint32(x), 8)
		}
		return b.to
	}
	zeros := make([]byte, 1000)
	for _, test := range []struct {
		name  string
		setup []byte
		want  string
	}{
		{"nothing", nil, "codebook 0 makes no sense"},
		{"no entries", book(1, 0, zeros...), "makes no sense"},
		{"no dimensions", book(0, 10, zeros...), "makes no sense"},
		{"one entry", book(1, 1, zeros...), "makes no sense"},
		{"16 million entries", book(1, 1<<24-1, zeros...), "larger than any encoder makes"},
		{"65535 dimensions", book(65535, 1000, zeros...), "larger than any encoder makes"},
		{"sparse, and none used", book(1, 100, append([]byte{2}, zeros...)...), "no codewords"},
		{"ordered for ever", book(1, 100, append([]byte{1}, zeros...)...), "more codewords than entries"},
		{"cut off", book(1, 100, 0), "cut off"},
	} {
		_, err := saneSetup(test.setup)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Tables that the library understands are left as they are.
func TestVorbisTablesThatAreLeft(t *testing.T) {
	for _, word := range []string{"s16c1r8000", "s16c2r44100", "s16c5r48000"} {
		setup := setupOf(t, vorbisFile(t, word, 1000))
		sane, err := saneSetup(setup)
		if err != nil || !bytes.Equal(sane, setup) {
			t.Errorf("%s: the tables are changed, or refused: %v", word, err)
		}
	}
}

func TestRootsOfEntries(t *testing.T) {
	for _, test := range []struct{ entries, dimensions, want int }{{125, 3, 5}, {124, 3, 4}, {343, 3, 7}, {6561, 8, 3}, {2, 1, 2}, {2, 16, 1}, {65535, 1, 65535}} {
		if got := lookupValues(test.entries, test.dimensions); got != test.want {
			t.Errorf("the root %d of %d is %d, want %d", test.dimensions, test.entries, got, test.want)
		}
	}
}
