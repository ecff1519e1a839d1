package ethfoo

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// What a reader gets of a frame when headersonly is on: ether(3), and etherrtrace in 9front's port/devether.c. The numbers are big-endian:
//
//	bytes 0-57   the frame's beginning, zeros behind a shorter one
//	bytes 58-59  its length, 65535 for a longer one
//	bytes 60-63  when it came, in milliseconds of the system's time since it was started
const (
	headersSize  = 64
	headersFrame = 58
)

// headersOf makes the record of frame in dst, which has room for headersSize bytes and may begin where frame does.
func headersOf(dst, frame []byte, ms uint32) []byte {
	length := min(len(frame), 1<<16-1)
	dst = dst[:headersSize]
	n := copy(dst[:headersFrame], frame)
	clear(dst[n:headersFrame])
	binary.BigEndian.PutUint16(dst[headersFrame:], uint16(length))
	binary.BigEndian.PutUint32(dst[headersFrame+2:], ms)
	return dst
}

// milliseconds is the system's time since it was started, as far as 32 bits go: 49 days.
func milliseconds() uint32 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return uint32(ts.Nano() / 1e6)
}

// headersOnly decides what readers get of a frame that comes from now on. What their queues hold stays as it is.
func (i *Interface) headersOnly(argv []string) error {
	i.frames.headers.Store(argv[0] == "on")
	return nil
}
