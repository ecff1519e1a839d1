package clonefs_test

import (
	"context"
	"errors"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// A lamp is a conversation that notes its end.
type lamp struct{ out chan struct{} }

func (l *lamp) Close() error { close(l.out); return nil }

type lampStream struct{}

func (lampStream) Close() error { return nil }

// Opens and closes that wait for nobody need no goroutine; those that clone, that make a driver wait or end a conversation do.
func TestOpenPoll(t *testing.T) {
	out := make(chan struct{})
	open := func(*lamp, context.Context, clonefs.Mode) (clonefs.Stream, error) { return lampStream{}, nil }
	fs := tree(t, clonefs.Config{}, &clonefs.Device[*lamp]{
		Name:  "lamp",
		Clone: func(context.Context, *clonefs.Conv) (*lamp, error) { return &lamp{out}, nil },
		Files: clonefs.Files[*lamp]{{Name: "data", Prompt: true, Duplex: open}, {Name: "slow", Open: open}},
	})
	root, err := fs.Attach()
	if err != nil {
		t.Fatal(err)
	}
	walk := func(path ...string) p9ext.OpenPoller {
		t.Helper()
		_, f, err := root.Walk(path)
		if err != nil {
			t.Fatal(err)
		}
		return f.(p9ext.OpenPoller)
	}
	waits := func(f p9ext.OpenPoller) {
		t.Helper()
		if _, _, err := f.PollOpen(p9.ReadOnly); !errors.Is(err, p9ext.ErrWait) {
			t.Errorf("PollOpen: %v, want ErrWait", err)
		}
		if _, _, err := f.OpenContext(context.Background(), p9.ReadOnly); err != nil {
			t.Fatal(err)
		}
	}
	atOnce := func(f p9ext.OpenPoller) {
		t.Helper()
		if _, _, err := f.PollOpen(p9.ReadOnly); err != nil {
			t.Fatal(err)
		}
	}
	closes := func(f p9ext.OpenPoller, want bool) {
		t.Helper()
		if got := f.PollClose(); got != want {
			t.Errorf("PollClose: %v, want %v", got, want)
		}
	}

	clone := walk("lamp", "clone")
	waits(clone)
	ctl, data, slow := walk("lamp", "0", "ctl"), walk("lamp", "0", "data"), walk("lamp", "0", "slow")
	atOnce(ctl)
	atOnce(data)
	waits(slow)
	closes(slow, false)
	if err := slow.(p9.File).Close(); err != nil {
		t.Error(err)
	}
	closes(walk("lamp", "0", "data"), false) // not open
	closes(clone, true)
	closes(clone, false)
	closes(ctl, true)
	select {
	case <-out:
		t.Error("the driver was closed with data open")
	default:
	}
	closes(data, false) // the last: the driver's Close may wait
	if err := data.(p9.File).Close(); err != nil {
		t.Error(err)
	}
	<-out
	if _, _, err := root.Walk([]string{"lamp", "0"}); !errors.Is(err, p9ext.ErrNotExist) {
		t.Errorf("walk after the end: %v", err)
	}
}
