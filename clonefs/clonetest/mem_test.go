package clonetest

import (
	"testing"

	"github.com/clone9p/clone9p/clonefs"
)

func TestMem(t *testing.T) {
	var devices []*MemDevice
	Run(t, func(*testing.T) clonefs.Driver {
		m := Mem(MemOptions{})
		devices = append(devices, m)
		return m
	}, Options{Convs: 64})
	for _, m := range devices {
		if m.Live() != 0 || m.Clones() != m.Closes() {
			t.Errorf("%d conversations are live; %d were made, %d closed", m.Live(), m.Clones(), m.Closes())
		}
	}
}
