package talk

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestTurns(t *testing.T) {
	var port bytes.Buffer
	c := New(&port)
	long := strings.Repeat("x", 100_000) // more than a reader's buffer
	if err := c.Send(Call, "ping", Args{Addr: "10.0.0.1", Count: 3}, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(Reply, "ping", long, "failed\nover two lines"); err != nil {
		t.Fatal(err)
	}
	m, err := c.Recv()
	if err != nil || m.Kind != Call || m.Name != "ping" || string(m.Body) != `{"count":3,"addr":"10.0.0.1"}` || m.Err != "" {
		t.Errorf("first message %q, %v", m, err)
	}
	m, err = c.Recv()
	if err != nil || m.Kind != Reply || len(m.Body) != len(long)+2 || m.Err != "failed\nover two lines" {
		t.Errorf("second message: kind %s, %d bytes, %v", m.Kind, len(m.Body), err)
	}
	if _, err := c.Recv(); err != io.EOF {
		t.Errorf("after the last: %v, want EOF", err)
	}
}

func TestBadInput(t *testing.T) {
	for what, in := range map[string]string{
		"cut off":  `{"kind":"done"`,
		"not JSON": "hello\n",
		"endless":  strings.Repeat("x", maxLine+1<<20),
	} {
		if m, err := New(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(in), io.Discard}).Recv(); err == nil || err == io.EOF {
			t.Errorf("%s: %v, %v; want an error", what, m, err)
		}
	}
}
