//go:build linux

package main

import (
	"testing"

	"github.com/clone9p/clone9p/scripts/e2e/internal/plan"
)

// The host's list of cases and the guest's functions are the same.
func TestPlan(t *testing.T) {
	planned := map[string]bool{}
	for _, c := range plan.Cases {
		if cases[c.Name] == nil {
			t.Errorf("the plan has a case %s, and no function carries it out", c.Name)
		}
		if planned[c.Name] {
			t.Errorf("the plan has the case %s twice", c.Name)
		}
		planned[c.Name] = true
	}
	for name := range cases {
		if !planned[name] {
			t.Errorf("%s is not in the plan", name)
		}
	}
}

// The answer's checksum must be right, or the host's ping does not see it.
func TestNeighbour(t *testing.T) {
	echo := []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, // Ethernet
		0x45, 0, 0, 30, 0, 0, 0, 0, 64, 1, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2, // IP
		8, 0, 0, 0, 0x12, 0x34, 0, 1, 'h', 'i', // ICMP
	}
	cksum := func(p []byte) (sum uint32) {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(p[i])<<8 | uint32(p[i+1])
		}
		return sum%0xffff + 0
	}
	c := 0xffff - cksum(echo[34:])
	echo[36], echo[37] = byte(c>>8), byte(c)
	a := neighbour(echo)
	if a == nil || a[34] != 0 || cksum(a[34:]) != 0 {
		t.Errorf("echo reply is % x, checksum %#x", a, cksum(a[34:]))
	}
	if neighbour(echo[:40]) != nil {
		t.Error("half a frame is answered")
	}
}
