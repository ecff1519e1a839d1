//go:build !linux

package pty

import (
	"errors"
	"runtime"

	"github.com/clone9p/clone9p/clonefs"
)

// A Pair is one conversation; there is none on this system.
type Pair struct{}

// Close does nothing.
func (*Pair) Close() error { return nil }

// New returns an error: the terminals are Linux's.
func New(c Config) (*clonefs.Device[*Pair], error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return nil, errors.New("pty needs Linux and its devpts, this is " + runtime.GOOS)
}
