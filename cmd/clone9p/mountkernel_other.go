//go:build !linux

package main

import (
	"context"
	"errors"
)

var errNoKernel9P = errors.New("only Linux has 9P in its kernel")

// mountKernel is the way by the kernel's 9P, of which there is none.
func mountKernel(context.Context, mountRequest, func() error) error { return errNoKernel9P }

// unmountKernel unmounts what the kernel's 9P has mounted.
func unmountKernel(context.Context, string) (detached bool, err error) { return false, errNoKernel9P }

// relayed reports whether the kernel is to have a relay instead of the connection.
func (r mountRequest) relayed() bool { return true }
