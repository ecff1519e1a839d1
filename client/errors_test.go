package client

import (
	"bytes"
	"errors"
	"testing"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// Each dialect's form of an error, and what is made of it.
func TestReplyError(t *testing.T) {
	for _, tt := range []struct {
		d     wire.Dialect
		text  string
		errno uint32
		want  linux.Errno
		words string
	}{
		{wire.P9L, "", 2, linux.ENOENT, "no such file or directory"},
		{wire.P9L, "", 0, linux.EIO, "input/output error"},
		{wire.P9u, "too large a number", 1 << 20, linux.EIO, "too large a number"},
		{wire.P9u, "file does not exist", 2, linux.ENOENT, "file does not exist"},
		{wire.P9u, "the words count for people", 5, linux.EIO, "the words count for people"},
		{wire.P9u, "permission denied", 0, linux.EACCES, "permission denied"},
		{wire.P9u, "", 13, linux.EACCES, "permission denied"},
		{wire.P9, "file does not exist", 99, linux.ENOENT, "file does not exist"},
		{wire.P9, "No such file or directory", 0, linux.ENOENT, "No such file or directory"},
		{wire.P9, "permission denied: user a cannot attach as b", 0, linux.EACCES, "permission denied: user a cannot attach as b"},
		{wire.P9, "/n/x: file does not exist", 0, linux.ENOENT, "/n/x: file does not exist"},
		{wire.P9, "i/o on hungup channel", 0, linux.EIO, "i/o on hungup channel"},
		{wire.P9, "the dog ate it", 0, linux.EIO, "the dog ate it"},
	} {
		err := replyError(tt.d, &wire.Msg{Ename: []byte(tt.text), Errno: tt.errno})
		var e *p9ext.Error
		if !errors.As(err, &e) || e.Errno != tt.want || e.Text != tt.words {
			t.Errorf("%v %q %d: %v (%d), want %q (%d)", tt.d, tt.text, tt.errno, err, e.Errno, tt.words, tt.want)
		}
	}
}

// The errors that the server shares with its trees survive plain 9P2000, but for the one text with two numbers.
func TestSharedErrors(t *testing.T) {
	for _, e := range []*p9ext.Error{
		p9ext.ErrNotExist, p9ext.ErrAccess, p9ext.ErrNoDevices, p9ext.ErrInUse, p9ext.ErrTooSmall, p9ext.ErrTooLarge,
		p9ext.ErrHungup, p9ext.ErrInterrupted,
	} {
		if got := errnoOf(e.Text); got != e.Errno {
			t.Errorf("%q is %d, want %d", e.Text, got, e.Errno)
		}
	}
}

// Whatever words and number come, the error has both: a number that Linux takes for one, and words.
func FuzzReplyError(f *testing.F) {
	f.Add(uint8(0), "file does not exist", uint32(0))
	f.Add(uint8(0), "/n/x: permission denied: no", uint32(0))
	f.Add(uint8(1), "", uint32(13))
	f.Add(uint8(2), "", uint32(1<<31))
	f.Fuzz(func(t *testing.T, d uint8, text string, errno uint32) {
		err := replyError(wire.Dialect(d%3), &wire.Msg{Ename: []byte(text), Errno: errno})
		var e *p9ext.Error
		if !errors.As(err, &e) || e.Errno == 0 || e.Errno > maxErrno || e.Text == "" {
			t.Errorf("%d %q %d: %#v", d%3, text, errno, err)
		}
	})
}

// Whatever a directory's data is, it is an error or entries that take all of it, as many as there can be.
func FuzzDirents(f *testing.F) {
	f.Add(uint8(2), wire.AppendDirent(wire.AppendDirent(nil, wire.Qid{}, 1, 0, "a"), wire.Qid{Type: wire.QTDIR}, 2, 4, "b"), uint64(0))
	for d := range uint8(2) {
		s := wire.Stat{Name: []byte("a"), Uid: []byte("glenda"), Gid: []byte("sys"), Mode: wire.DMDIR | 0o755}
		b, err := wire.AppendStat(nil, wire.Dialect(d), &s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(d, append(b, b...), uint64(7))
	}
	f.Fuzz(func(t *testing.T, d uint8, data []byte, off uint64) {
		before := bytes.Clone(data)
		all, err := dirents(wire.Dialect(d%3), data, off)
		if !bytes.Equal(data, before) {
			t.Fatal("the data was written to")
		}
		if err != nil {
			if len(all) != 0 {
				t.Errorf("%d entries and %v", len(all), err)
			}
			return
		}
		if (len(all) == 0) != (len(data) == 0) || len(all) > len(data)/wire.DirentSize("") {
			t.Errorf("%d entries of %d bytes", len(all), len(data))
		}
		for i := range data { // the entries keep nothing of it
			data[i] = 0xff
		}
		for _, e := range all {
			if d%3 != uint8(wire.P9L) && (e.Attr == nil || e.Attr.Name != e.Name) {
				t.Errorf("entry %q has attributes %+v", e.Name, e.Attr)
			}
		}
		if n := len(all); n > 0 && d%3 != uint8(wire.P9L) && all[n-1].Offset != off+uint64(len(data)) {
			t.Errorf("the next offset is %d, want %d", all[n-1].Offset, off+uint64(len(data)))
		}
	})
}
