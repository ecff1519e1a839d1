package listen

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// dialDevice opens a character device that leads to a server, as a port of virtio-serial does, or a serial line.
func dialDevice(ctx context.Context, a Addr) (*device, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// With O_NONBLOCK neither a FIFO nor a line without a carrier holds us up, and Close ends reads that wait.
	f, err := os.OpenFile(a.Path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return nil, fmt.Errorf("%w: one client at a time can use it", err)
	case err != nil:
		return nil, err
	}
	d := &device{at: a, file: f}
	info, err := f.Stat()
	if err == nil && info.Mode()&fs.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is no character device", a.Path)
	}
	if err == nil {
		err = control(f, func(fd uintptr) (err error) {
			if term.IsTerminal(int(fd)) { // nothing is to be made of the bytes
				d.line, err = term.MakeRaw(int(fd))
			}
			return err
		})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

// A device is a connection through a character device. Its methods are safe for concurrent use, but Read, which is for one goroutine at a time.
//
// Who opens a device does not begin a connection: the server may have answers for the client before, which went without a word. So
// what is read begins with the first Rversion.
type device struct {
	at    Addr
	file  *os.File
	line  *term.State // how a serial line was found; nil for other devices
	close sync.Once
	err   error // written once, by close

	begun bool   // what begins with a Rversion is in early, or was read
	early []byte // what was read and not handed out
}

// Read implements net.Conn.
func (d *device) Read(p []byte) (int, error) {
	for !d.begun {
		some := make([]byte, 4096)
		n, err := d.file.Read(some)
		if n == 0 && err != nil {
			return 0, err
		}
		d.early, d.begun = fromRversion(append(d.early, some[:n]...))
	}
	if len(d.early) > 0 {
		n := copy(p, d.early)
		d.early = d.early[n:]
		return n, nil
	}
	return d.file.Read(p)
}

// A Rversion is size[4] type[1] tag[2] msize[4] version[s], with a tag that no other answer has, and a version of which there are few.
const (
	rversion     = 101
	noTag        = 0xffff
	rversionHead = 4 + 1 + 2 + 4 + 2
)

var versions = [][]byte{[]byte("9P2000"), []byte("9P2000.L"), []byte("9P2000.u"), []byte("unknown")}

// fromRversion drops what stands before the first Rversion in b. Where there is none it leaves what may become the head of one.
func fromRversion(b []byte) (rest []byte, found bool) {
	for ; len(b) > 0; b = b[1:] {
		if whole, maybe := isRversion(b); whole || maybe {
			return b, whole
		}
	}
	return nil, false
}

// isRversion reports whether b begins with a Rversion, or may do so with more behind it.
func isRversion(b []byte) (whole, maybe bool) {
	for _, v := range versions {
		var want [rversionHead + 8]byte
		size := rversionHead + len(v)
		binary.LittleEndian.PutUint32(want[:], uint32(size))
		want[4] = rversion
		binary.LittleEndian.PutUint16(want[5:], noTag)
		copy(want[7:11], b[min(7, len(b)):]) // any msize
		binary.LittleEndian.PutUint16(want[11:], uint16(len(v)))
		copy(want[rversionHead:], v)
		if n := min(size, len(b)); bytes.Equal(b[:n], want[:n]) {
			return n == size, n < size
		}
	}
	return false, false
}

// Write implements net.Conn.
func (d *device) Write(p []byte) (int, error) { return d.file.Write(p) }

// CloseWrite is Close: a device cannot say that no more will come.
func (d *device) CloseWrite() error { return d.Close() }

// Close ends reads and writes that wait. A serial line is left as it was found.
func (d *device) Close() error {
	d.close.Do(func() {
		if d.line != nil {
			_ = control(d.file, func(fd uintptr) error { return term.Restore(int(fd), d.line) })
		}
		d.err = d.file.Close()
	})
	return d.err
}

func (d *device) LocalAddr() net.Addr                { return pipesAddr{d.at} }
func (d *device) RemoteAddr() net.Addr               { return pipesAddr{d.at} }
func (d *device) SetDeadline(t time.Time) error      { return d.file.SetDeadline(t) }
func (d *device) SetReadDeadline(t time.Time) error  { return d.file.SetReadDeadline(t) }
func (d *device) SetWriteDeadline(t time.Time) error { return d.file.SetWriteDeadline(t) }
