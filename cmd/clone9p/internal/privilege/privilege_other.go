//go:build !linux

package privilege

// Held returns ErrUnsupported.
func Held() (Set, error) { return 0, ErrUnsupported }

// Droppable reports false.
func Droppable() bool { return false }

// Drop returns ErrUnsupported.
func Drop(Set) error { return ErrUnsupported }
