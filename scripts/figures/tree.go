package main

import (
	"bytes"
	"context"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// Where the load finds its files: in a conversation that nobody holds open.
var (
	dataPath = []string{"mem", "0", "data"} // a working file: a reference to the conversation, a stream for each open
	textPath = []string{"mem", "0", "text"} // a text that the driver renders

	waitPath  = []string{"mem", "0", "wait"} // a working file whose reads wait for ever
	clonePath = []string{"mem", "clone"}
)

// crowdConvs is how many conversations there may be.
const crowdConvs = 1 << 18

// newTree makes a clonefs tree with one device, whose files lie in memory, and one conversation.
func newTree() (*clonefs.FS, error) {
	fs, err := clonefs.New(clonefs.Config{}, memoryDevice())
	if err != nil {
		return nil, err
	}
	root, err := fs.Attach()
	if err != nil {
		return nil, err
	}
	_, clone, err := root.Walk([]string{"mem", "clone"})
	if err != nil {
		return nil, err
	}
	if _, _, err := clone.Open(p9.ReadWrite); err != nil {
		return nil, err
	}
	if _, err := clone.WriteAt([]byte("persist on"), 0); err != nil {
		return nil, err
	}
	if err := clone.Close(); err != nil {
		return nil, err
	}
	return fs, nil
}

// memoryDevice is the device.
func memoryDevice() *clonefs.Device[*memory] {
	return &clonefs.Device[*memory]{
		Name:     "mem",
		Doc:      "a device in memory",
		MaxConvs: crowdConvs, MaxPerUser: crowdConvs,
		Clone: func(context.Context, *clonefs.Conv) (*memory, error) { return &memory{}, nil },
		Files: clonefs.Files[*memory]{
			{Name: "data", Prompt: true, Duplex: (*memory).open},
			{Name: "text", Text: (*memory).text},
			{Name: "wait", Prompt: true, Open: (*memory).wait},
		},
	}
}

// memory is the driver's half of a conversation.
type memory struct{}

func (*memory) Close() error          { return nil }
func (*memory) text() (string, error) { return "hello\n", nil }
func (*memory) wait(context.Context, clonefs.Mode) (clonefs.Stream, error) {
	return clonefs.NewQueue(1), nil
}
func (*memory) open(context.Context, clonefs.Mode) (clonefs.Stream, error) { return tape{}, nil }

// content is what the device holds; every read gives its beginning.
var content = filled(maxMessage)

// filled returns n bytes that are not zero, so that they do not all lie in the kernel's one page of zeros.
func filled(n int) []byte { return bytes.Repeat([]byte{'m'}, n) }

// A tape is a stream that never waits: the fastest device there can be, which copies as many bytes as were asked for.
type tape struct{}

var (
	_ p9ext.Reader     = tape{}
	_ p9ext.ReadPoller = tape{}
	_ p9ext.Unreader   = tape{}
	_ p9ext.Writer     = tape{}
)

func (tape) ReadContext(_ context.Context, p []byte, _ int64) (int, error) {
	return copy(p, content), nil
}
func (tape) PollRead(p []byte, _ int64, _ p9ext.Waiter) (int, error)        { return copy(p, content), nil }
func (tape) Unpoll(p9ext.Waiter)                                            {}
func (tape) Unread([]byte)                                                  {}
func (tape) WriteContext(_ context.Context, p []byte, _ int64) (int, error) { return len(p), nil }
func (tape) Close() error                                                   { return nil }
