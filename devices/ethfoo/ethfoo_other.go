//go:build !linux

package ethfoo

import (
	"errors"
	"runtime"

	"github.com/clone9p/clone9p/clonefs"
)

// An Interface is one conversation; there is none on this system.
type Interface struct{}

// Close does nothing.
func (*Interface) Close() error { return nil }

// New returns an error: the interfaces are Linux's.
func New(c Config) (*clonefs.Device[*Interface], error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return nil, errors.New("ethfoo needs Linux and its TAP interfaces, this is " + runtime.GOOS)
}
