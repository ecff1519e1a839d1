// Package engine has the functions of dmover over memory: what each needs, and its backends.
//
// There are two kinds. A map makes output of inputs, byte by byte, so that it can be done piece by piece, in any order and side by side (zero, copy, xor).
// A fold makes a few bytes of inputs, one piece after the other (checksums, hashes, compare). pq is a map with two outputs.
//
//	f := engine.Lookup("iscsi-crc32c")
//	fold := f.Backends[0].Fold(previous)
//	fold.Add(piece) ...
//	crc := fold.Sum(nil)
//
// Backends are generic, plain loops that are the reference, and simd, what Go's libraries and assembly give. Both give the same for every input. All
// functions are safe for concurrent use; a Fold is for one goroutine.
package engine

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// The names of backends.
const (
	Generic = "generic"
	SIMD    = "simd"
)

// A Func is one function.
type Func struct {
	Name     string
	Doc      string
	Inputs   int // exactly; of pq the most
	Least    int // inputs at least
	Outputs  int // pieces of output, each as long as an input: 0 for a fold, 1, or 2 of pq
	ImmIn    int // bytes of the immediate that a request may bring
	ImmOut   int // bytes of the immediate that the response has
	Backends []Backend
}

// A Backend is one way to do it. Exactly one of Map and Fold is set.
type Backend struct {
	Name string

	// Map makes out of in. All have the same length; of pq out has P and then Q, each as long as an input. imm has ImmIn bytes. out overlaps no input.
	Map func(out []byte, in [][]byte, imm []byte)

	// Fold begins a fold; imm has ImmIn bytes and is not kept.
	Fold func(imm []byte) Fold

	// Piece is how many bytes it likes to have at a time where there are so many; 0: as its caller likes.
	Piece int

	speed float64 // see Speed
}

// A Fold takes its inputs in pieces.
type Fold interface {
	Add(in [][]byte) (done bool) // the next piece of each input, all of the same length; done says that no more can matter
	Sum(b []byte) []byte         // appends ImmOut bytes to b
}

// IsMap reports whether f is a map.
func (f *Func) IsMap() bool { return f.Outputs > 0 }

// Backend returns the backend of that name, nil when f has none.
func (f *Func) Backend(name string) *Backend {
	for i := range f.Backends {
		if f.Backends[i].Name == name {
			return &f.Backends[i]
		}
	}
	return nil
}

// Lookup returns the function of that name, nil when there is none.
func Lookup(name string) *Func {
	i := slices.IndexFunc(funcs, func(f *Func) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return funcs[i]
}

// Funcs returns all functions, in the order of the documentation. The caller does not change them.
func Funcs() []*Func { return funcs }

var funcs = list()

func list() (all []*Func) {
	add := func(f *Func) { all = append(all, f) }
	add(&Func{Name: "zero", Doc: "clear the output", Outputs: 1, Backends: []Backend{
		{Name: Generic, Map: func(out []byte, _ [][]byte, _ []byte) { genericFill(out, 0) }},
		{Name: SIMD, Piece: clearPiece, Map: func(out []byte, _ [][]byte, _ []byte) { clear(out) }},
	}})
	add(&Func{Name: "fill8", Doc: "fill the output with byte 0 of the immediate", Outputs: 1, ImmIn: 1, Backends: []Backend{
		{Name: Generic, Map: func(out []byte, _ [][]byte, imm []byte) { genericFill(out, imm[0]) }},
		{Name: SIMD, Map: func(out []byte, _ [][]byte, imm []byte) { fill(out, imm[0]) }},
	}})
	add(&Func{Name: "copy", Doc: "copy the input", Inputs: 1, Least: 1, Outputs: 1, Backends: []Backend{
		{Name: Generic, Map: func(out []byte, in [][]byte, _ []byte) { genericCopy(out, in[0]) }},
		{Name: SIMD, Map: func(out []byte, in [][]byte, _ []byte) { copy(out, in[0]) }},
	}})
	for n := 2; n <= 8; n++ {
		add(&Func{Name: fmt.Sprintf("xor%d", n), Doc: fmt.Sprintf("exclusive or of %d inputs", n), Inputs: n, Least: n, Outputs: 1, Backends: []Backend{
			{Name: Generic, Map: func(out []byte, in [][]byte, _ []byte) { genericXOR(out, in) }},
			{Name: SIMD, Map: func(out []byte, in [][]byte, _ []byte) { xor(out, in) }},
		}})
	}
	fold := func(name, doc string, inputs, immIn, immOut int, generic, simd func([]byte) Fold) {
		add(&Func{Name: name, Doc: doc, Inputs: inputs, Least: inputs, ImmIn: immIn, ImmOut: immOut,
			Backends: []Backend{{Name: Generic, Fold: generic}, {Name: SIMD, Fold: simd}}})
	}
	fold("iscsi-crc32c", "CRC-32C (RFC 3720) that goes on from the immediate", 1, 4, 4, genericCRC32(castagnoli), newCRC32(castagnoli))
	fold("crc32", "CRC-32 (IEEE 802.3) that goes on from the immediate", 1, 4, 4, genericCRC32(ieee), newCRC32(ieee))
	fold("crc64", "CRC-64 (ECMA-182, as xz has it) that goes on from the immediate", 1, 8, 8, genericCRC64, newCRC64)
	fold("sha256", "SHA-256 (FIPS 180-4)", 1, 0, 32, genericSHA256, newSHA256)
	fold("sha512", "SHA-512 (FIPS 180-4)", 1, 0, 64, genericSHA512, newSHA512)
	fold("blake3", "BLAKE3, 256 bits", 1, 0, 32, genericBLAKE3, newBLAKE3)
	fold("compare", "offset of the first difference of two inputs, 8 bytes little-endian; all ones when they are the same", 2, 0, 8, genericCompare, newCompare)
	add(&Func{Name: "pq", Doc: "RAID-6: P and Q of up to 8 inputs, one behind the other in the output", Inputs: 8, Least: 2, Outputs: 2, Backends: []Backend{
		{Name: Generic, Map: func(out []byte, in [][]byte, _ []byte) { genericPQ(out, in) }},
		{Name: SIMD, Map: func(out []byte, in [][]byte, _ []byte) { pq(out, in) }},
	}})
	return all
}

// clearPiece is from where on Go's runtime clears past the caches on amd64, which makes it a tenth faster.
const clearPiece = 32 << 20

var measured sync.Once

// measureAll finds out how fast all backends are.
func measureAll() {
	for _, f := range funcs {
		for i := range f.Backends {
			f.Backends[i].speed = measure(f, &f.Backends[i])
		}
	}
}

// Speed returns how many bytes a second b does on this machine, counted in one input (of a function without inputs, the output). A short measurement
// finds out, once for all functions.
func (b *Backend) Speed() float64 {
	measured.Do(measureAll)
	return b.speed
}

// Fastest returns the backend that the measurement found fastest.
func (f *Func) Fastest() *Backend {
	best := &f.Backends[0]
	for i := range f.Backends[1:] {
		if b := &f.Backends[1+i]; b.Speed() > best.Speed() {
			best = b
		}
	}
	return best
}

const (
	measureBytes = 64 << 10
	measureTime  = time.Millisecond
	measureLeast = 4 // times
)

func measure(f *Func, b *Backend) float64 {
	in := make([][]byte, f.Inputs)
	for k := range in {
		in[k] = make([]byte, measureBytes)
		for i := range in[k] {
			in[k][i] = byte(i * 7)
		}
	}
	out := make([]byte, f.Outputs*measureBytes)
	imm := make([]byte, f.ImmIn)
	once := func() {
		if b.Map != nil {
			b.Map(out, in, imm)
			return
		}
		fold := b.Fold(imm)
		fold.Add(in)
		fold.Sum(nil)
	}
	// The shortest of several counts: in the others somebody else had the processor.
	best := time.Duration(math.MaxInt64)
	begin := time.Now()
	for n := 0; n < measureLeast || time.Since(begin) < measureTime; n++ { // the first makes memory and tables warm
		last := time.Now()
		once()
		best = min(best, max(time.Since(last), 1))
	}
	return measureBytes / best.Seconds()
}
