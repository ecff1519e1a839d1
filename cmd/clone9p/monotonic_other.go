//go:build !linux

package main

import "time"

// monotonic is 0: systemd, which wants to know it, is Linux's.
func monotonic() time.Duration { return 0 }
