package client

import (
	"errors"
	"testing"

	"github.com/clone9p/clone9p/internal/wire"
)

// A server answers a request that was not sent: its tag is free once, and the call has no answer.
func TestAnswerToNoQuestion(t *testing.T) {
	c := &Conn{dialect: wire.P9L, done: make(chan struct{})}
	c.out.init()
	k := newCall(wire.Rclunk)
	if err := c.register(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if err := c.reply(&wire.Msg{Type: wire.Rclunk, Tag: k.tag}); err != nil {
		t.Fatal(err)
	}
	want := errors.New("not sent")
	if err := c.unsent(k, want); err != want {
		t.Error(err)
	}
	if len(c.tags) != 1 || len(k.done) != 0 {
		t.Errorf("free tags %v, %d answers", c.tags, len(k.done))
	}
}
