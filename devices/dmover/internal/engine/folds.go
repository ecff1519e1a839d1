package engine

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"math"

	"lukechampine.com/blake3"
)

// The polynomials, reversed.
const (
	castagnoli = crc32.Castagnoli
	ieee       = crc32.IEEE
)

// A crc32Fold goes on from a CRC, which it has in memory order: the lowest byte first.
type crc32Fold struct {
	crc   uint32
	table *crc32.Table
}

func newCRC32(poly uint32) func([]byte) Fold {
	table := crc32.MakeTable(poly)
	return func(imm []byte) Fold { return &crc32Fold{binary.LittleEndian.Uint32(imm), table} }
}

func (f *crc32Fold) Add(in [][]byte) bool {
	f.crc = crc32.Update(f.crc, f.table, in[0])
	return false
}

func (f *crc32Fold) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, f.crc) }

// A bitwiseCRC32 is the reference, bit by bit.
type bitwiseCRC32 struct{ crc, poly uint32 }

func genericCRC32(poly uint32) func([]byte) Fold {
	return func(imm []byte) Fold { return &bitwiseCRC32{binary.LittleEndian.Uint32(imm), poly} }
}

func (f *bitwiseCRC32) Add(in [][]byte) bool {
	c := ^f.crc
	for _, b := range in[0] {
		c ^= uint32(b)
		for range 8 {
			c = c>>1 ^ f.poly&-(c&1)
		}
	}
	f.crc = ^c
	return false
}

func (f *bitwiseCRC32) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, f.crc) }

type crc64Fold struct{ crc uint64 }

var crc64Table = crc64.MakeTable(crc64.ECMA)

func newCRC64(imm []byte) Fold { return &crc64Fold{binary.LittleEndian.Uint64(imm)} }

func (f *crc64Fold) Add(in [][]byte) bool {
	f.crc = crc64.Update(f.crc, crc64Table, in[0])
	return false
}

func (f *crc64Fold) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, f.crc) }

type bitwiseCRC64 struct{ crc uint64 }

func genericCRC64(imm []byte) Fold { return &bitwiseCRC64{binary.LittleEndian.Uint64(imm)} }

func (f *bitwiseCRC64) Add(in [][]byte) bool {
	c := ^f.crc
	for _, b := range in[0] {
		c ^= uint64(b)
		for range 8 {
			c = c>>1 ^ crc64.ECMA&-(c&1)
		}
	}
	f.crc = ^c
	return false
}

func (f *bitwiseCRC64) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, f.crc) }

// A hashFold is one of Go's hashes, or of one's own.
type hashFold struct{ hash.Hash }

func (f hashFold) Add(in [][]byte) bool {
	f.Write(in[0]) // never fails
	return false
}

func newSHA256([]byte) Fold { return hashFold{sha256.New()} }
func newSHA512([]byte) Fold { return hashFold{sha512.New()} }
func newBLAKE3([]byte) Fold { return hashFold{blake3.New(32, nil)} }

// A compareFold looks for the first difference.
type compareFold struct {
	at, first uint64
	scan      func(a, b []byte) int // offset of the first difference, len(a) when there is none
}

func newCompare([]byte) Fold     { return &compareFold{first: math.MaxUint64, scan: difference} }
func genericCompare([]byte) Fold { return &compareFold{first: math.MaxUint64, scan: genericDifference} }

func (f *compareFold) Add(in [][]byte) bool {
	if f.first == math.MaxUint64 {
		if i := f.scan(in[0], in[1]); i < len(in[0]) {
			f.first = f.at + uint64(i)
		}
		f.at += uint64(len(in[0]))
	}
	return f.first != math.MaxUint64
}

func (f *compareFold) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, f.first) }

func genericDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// difference compares blocks until one differs.
func difference(a, b []byte) int {
	const block = 4096
	at := 0
	for len(a) > block && bytes.Equal(a[:block], b[:block]) {
		a, b, at = a[block:], b[block:], at+block
	}
	return at + genericDifference(a[:min(block, len(a))], b) // of a longer a the first block differs
}
