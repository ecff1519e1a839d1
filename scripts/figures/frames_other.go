//go:build !linux

package main

import (
	"errors"
	"fmt"
)

func (b *bench) frames() error {
	fmt.Fprintln(b.out, "ethfoo is a device of Linux: frames is SKIPPED")
	return nil
}

func framesInside(string, string) error { return errors.ErrUnsupported }
