package clonefs

import "math/bits"

// numbers hands out the lowest free number. It is two levels of bits, so that the next of a hundred thousand costs what the first one did.
// The zero value has all numbers free. It is not safe for concurrent use.
type numbers struct {
	used []uint64 // bit n%64 of used[n/64]: n is taken
	full []uint64 // bit i%64 of full[i/64]: used[i] has no free number
}

// take returns the lowest free number, which is then taken.
func (s *numbers) take() int {
	i := len(s.used)
	for j, f := range s.full {
		if f != ^uint64(0) {
			i = min(i, j*64+bits.TrailingZeros64(^f))
			break
		}
	}
	if i == len(s.used) {
		s.used = append(s.used, 0)
		if i%64 == 0 {
			s.full = append(s.full, 0)
		}
	}
	b := bits.TrailingZeros64(^s.used[i])
	s.used[i] |= 1 << b
	if s.used[i] == ^uint64(0) {
		s.full[i/64] |= 1 << (i % 64)
	}
	return i*64 + b
}

// free gives n back.
func (s *numbers) free(n int) {
	i := n / 64
	s.used[i] &^= 1 << (n % 64)
	s.full[i/64] &^= 1 << (i % 64)
}
