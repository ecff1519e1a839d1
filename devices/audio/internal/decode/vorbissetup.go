package decode

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// saneSetup reads the tables of a Vorbis setup head (Vorbis I, 4.2.4) before the library does, which believes what they say (a book of no
// entries makes it wait for ever, and one of 2^24 takes all memory), and writes what it gets wrong in a way that it understands.
func saneSetup(packet []byte) ([]byte, error) {
	b := &bitCopier{from: packet}
	if err := b.codebooks(); err != nil {
		return nil, err
	}
	for range int(b.copy(6)) + 1 { // transforms in time, of which there are none
		b.copy(16)
	}
	if err := b.floors(); err != nil {
		return nil, err
	}
	if b.short {
		return nil, errors.New("its tables are cut off")
	}
	for b.at < 8*len(packet) {
		b.copy(1)
	}
	return b.to, nil
}

// codebooks copies the codebooks, 3.2.1.
//
// Those whose values are a lattice (lookup type 1) have as many numbers as the root of their entries, which the library computes in
// floating point: for it the third root of 125 may be 4. Such are written out in full (type 2), which is the same book.
func (b *bitCopier) codebooks() error {
	wrong := func(i int) error { return fmt.Errorf("codebook %d makes no sense", i) }
	total := 0
	for i := range int(b.copy(8)) + 1 {
		if b.copy(24) != 0x564342 {
			return wrong(i)
		}
		dimensions, entries := int(b.copy(16)), int(b.copy(24))
		if dimensions < 1 || entries < 2 { // of a single entry the library knows nothing
			return wrong(i)
		}
		if total += entries * dimensions; total > 1<<20 || entries > 1<<16 {
			return fmt.Errorf("codebook %d is larger than any encoder makes", i)
		}
		if err := b.lengths(entries); err != nil {
			return fmt.Errorf("codebook %d: %w", i, err)
		}
		lookup := b.read(4)
		values := lookupValues(entries, dimensions)
		full := lookup == 1 && int(math.Floor(math.Pow(float64(entries), 1/float64(dimensions)))) != values
		if full {
			b.write(2, 4)
		} else {
			b.write(lookup, 4)
		}
		switch lookup {
		case 0:
			continue
		case 1:
		case 2:
			values = entries * dimensions
		default:
			return wrong(i)
		}
		b.copy(32)
		b.copy(32)
		width := int(b.copy(4)) + 1
		b.copy(1)
		if !full {
			for range values {
				b.copy(width)
			}
		} else {
			lattice := make([]uint32, values)
			for j := range lattice {
				lattice[j] = b.read(width)
			}
			for entry := range entries {
				for d, rest := 0, entry; d < dimensions; d++ {
					b.write(lattice[rest%values], width)
					rest /= values
				}
			}
		}
		if b.short {
			return errors.New("its tables are cut off")
		}
	}
	return nil
}

// floors copies the floors, 6.2.1 and 7.2.2. Of one without partitions, as libvorbis makes for low frequencies in 5.1 channels, the
// library reads one class that is not there: it gets one.
func (b *bitCopier) floors() error {
	for i := range int(b.copy(6)) + 1 {
		switch kind := b.copy(16); kind {
		case 0:
			b.copy(8 + 16)
			b.copy(16 + 6 + 8)
			for range int(b.copy(4)) + 1 {
				b.copy(8)
			}
		case 1:
			var classes []int
			for range b.copy(5) {
				classes = append(classes, int(b.copy(4)))
			}
			if len(classes) == 0 {
				b.write(0, 3+2+8)
				b.copy(2 + 4)
				continue
			}
			var dimensions [16]int
			for c := range slices.Max(classes) + 1 {
				dimensions[c] = int(b.copy(3)) + 1
				subclasses := b.copy(2)
				if subclasses > 0 {
					b.copy(8)
				}
				for range 1 << subclasses {
					b.copy(8)
				}
			}
			b.copy(2)
			rangeBits := int(b.copy(4))
			for _, c := range classes {
				for range dimensions[c] {
					b.copy(rangeBits)
				}
			}
		default:
			return fmt.Errorf("floor %d is of no known kind, %d", i, kind)
		}
	}
	return nil
}

// lengths copies the lengths of a book's codewords.
func (b *bitCopier) lengths(entries int) error {
	if b.copy(1) == 0 {
		sparse, used := b.copy(1) == 1, 0
		for range entries {
			if !sparse || b.copy(1) == 1 {
				b.copy(5)
				used++
			}
		}
		if used == 0 {
			return errors.New("it has no codewords")
		}
		return nil
	}
	b.copy(5)
	for n := 0; n < entries; {
		number := int(b.copy(bits.Len(uint(entries - n))))
		if b.short || n+number > entries {
			return errors.New("it has more codewords than entries")
		}
		n += number
	}
	return nil
}

// lookupValues is the largest number whose power of dimensions is not more than entries.
func lookupValues(entries, dimensions int) int {
	for n := 1; ; n++ {
		power := 1
		for range dimensions {
			if power *= n + 1; power > entries {
				return n
			}
		}
	}
}

// A bitCopier reads bits as Vorbis packs them, the low one first, and writes others, or the same. Behind the end it reads zeros, and is
// short.
type bitCopier struct {
	from  []byte
	at    int // in bits
	short bool
	to    []byte
	end   int // in bits
}

func (b *bitCopier) read(n int) (v uint32) {
	for i := range n {
		if b.at>>3 >= len(b.from) {
			b.short = true
			return 0
		}
		v |= uint32(b.from[b.at>>3]>>(b.at&7)&1) << i
		b.at++
	}
	return v
}

func (b *bitCopier) write(v uint32, n int) {
	for i := range n {
		if b.end&7 == 0 {
			b.to = append(b.to, 0)
		}
		b.to[b.end>>3] |= byte(v>>i&1) << (b.end & 7)
		b.end++
	}
}

func (b *bitCopier) copy(n int) uint32 {
	v := b.read(n)
	b.write(v, n)
	return v
}
