package server_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// A turnstile is a file that opens and closes at once, or says that it has to wait. It notes what is called.
type turnstile struct {
	benchFile
	waits bool

	mu    sync.Mutex // guards calls
	calls []string
}

var _ p9ext.OpenPoller = (*turnstile)(nil)

func (f *turnstile) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *turnstile) PollOpen(p9.OpenFlags) (p9.QID, uint32, error) {
	f.note("PollOpen")
	if f.waits {
		return p9.QID{}, 0, p9ext.ErrWait
	}
	return p9.QID{Path: 7}, 0, nil
}

func (f *turnstile) OpenContext(context.Context, p9.OpenFlags) (p9.QID, uint32, error) {
	f.note("OpenContext")
	return p9.QID{Path: 7}, 0, nil
}

func (f *turnstile) PollClose() bool {
	f.note("PollClose")
	return !f.waits
}

func (f *turnstile) Close() error {
	f.note("Close")
	return nil
}

func TestOpenPollerIsAskedFirst(t *testing.T) {
	for _, tt := range []struct {
		name  string
		waits bool
		want  []string
	}{
		{"at once", false, []string{"PollOpen", "PollClose"}},
		{"waits", true, []string{"PollOpen", "OpenContext", "PollClose", "Close"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &turnstile{waits: tt.waits}
			c := dial(t, &benchDir{file: f}, wire.P9L, "")
			c.rpc(walk(1, 0, 1, "file"), wire.Rwalk)
			if r := c.rpc(open(1, 1, 0), wire.Rlopen); r.Qid.Path != 7 {
				t.Errorf("opened with qid %v", r.Qid)
			}
			c.rpc(&wire.Msg{Type: wire.Tclunk, Tag: 1, Fid: 1}, wire.Rclunk)
			f.mu.Lock()
			defer f.mu.Unlock()
			if !slices.Equal(f.calls, tt.want) {
				t.Errorf("called %v, want %v", f.calls, tt.want)
			}
		})
	}
}
