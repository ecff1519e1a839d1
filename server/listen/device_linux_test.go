package listen

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal makes a pseudo-terminal: its master, and the path of its slave.
func terminal(t *testing.T) (master *os.File, slave string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", n)
}

// version is a Rversion, as version(5) has it.
func version(dialect string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(4+1+2+4+2+len(dialect)))
	b = append(b, 101, 0xff, 0xff)
	b = binary.LittleEndian.AppendUint32(b, 8192)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(dialect)))
	return append(b, dialect...)
}

// Every byte goes through a line as it is; what the client before has left there is passed over.
func TestDialDevice(t *testing.T) {
	master, slave := terminal(t)
	keep, err := os.OpenFile(slave, os.O_RDWR|unix.O_NOCTTY, 0) // the line stays when its last user has gone
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	before, err := unix.IoctlGetTermios(int(keep.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := Dial(context.Background(), "dev!"+slave)
		if err != nil {
			t.Fatal(err)
		}
		var all []byte
		for i := range 256 {
			all = append(all, byte(i))
		}
		if _, err := c.Write(all); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(all))
		if _, err := io.ReadFull(master, got); err != nil || !bytes.Equal(got, all) {
			t.Fatalf("at the other end: %q, %v", got, err)
		}
		// The end of an answer, and what looks like the head of a Rversion.
		hello := version("9P2000.L")
		if _, err := master.Write(bytes.Join([][]byte{all, hello[:9], hello, all}, nil)); err != nil {
			t.Fatal(err)
		}
		got = make([]byte, len(hello)+len(all))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, append(hello, all...)) {
			t.Fatalf("read %q, %v", got, err)
		}
		// Close ends a read that waits.
		ended := make(chan error)
		go func() {
			_, err := c.Read(got)
			ended <- err
		}()
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("the read ends with %v", err)
		}
		c.Close() // a second time does nothing
		after, err := unix.IoctlGetTermios(int(keep.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("the line is left as %+v (%v), and was %+v", after, err, before)
		}
	}
	// The server's end goes.
	c, err := Dial(context.Background(), "dev!"+slave)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	master.Close()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("without a master %d bytes, %v", n, err)
	}
}

func TestDialDeviceErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"dev!" + plain:                      "cannot connect to dev!" + plain + ": " + plain + " is no character device",
		"dev!" + filepath.Join(dir, "none"): "no such file or directory",
	} {
		if _, err := Dial(context.Background(), addr); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", addr, err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(ctx, "dev!/dev/null"); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context has ended: %v", err)
	}
	if _, err := Listen("dev!/dev/null", Options{}); err == nil || !strings.HasSuffix(err.Error(), "it is an address for clients") {
		t.Errorf("listening on a device: %v", err)
	}
}

// FuzzFromRversion holds that a Rversion is found behind whatever is no part of one, and that nothing but one is.
func FuzzFromRversion(f *testing.F) {
	f.Add([]byte("stale"), []byte("more"))
	f.Add(version("9P2000")[:18], version("unknown"))
	f.Fuzz(func(t *testing.T, stale, more []byte) {
		hello := version("9P2000.u")
		rest, found := fromRversion(append(bytes.Clone(stale), append(bytes.Clone(hello), more...)...))
		if !found {
			t.Fatalf("behind %q: left %q", stale, rest)
		}
		if size := binary.LittleEndian.Uint32(rest); size > 21 || !bytes.Equal(rest[4:7], hello[4:7]) || int(size) != 13+int(rest[11]) {
			t.Fatalf("%q begins with no Rversion", rest)
		}
		if bytes.IndexByte(stale, 101) < 0 && !bytes.Equal(rest, append(bytes.Clone(hello), more...)) {
			t.Fatalf("behind %q: %q", stale, rest)
		}
		// Cut anywhere it is the same.
		var got []byte
		found = false
		for _, b := range append(bytes.Clone(stale), hello...) {
			if got = append(got, b); !found {
				if got, found = fromRversion(got); !found && len(got) >= 21 {
					t.Fatalf("%d bytes are kept: %q", len(got), got)
				}
			}
		}
		if !found {
			t.Fatalf("a byte at a time nothing is found behind %q", stale)
		}
	})
}
