package client

import (
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
