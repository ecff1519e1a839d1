package clonefs_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/hugelgupf/p9/p9"
)

// An echo is a conversation with the device below.
type echo struct {
	mu      sync.Mutex // guards both
	upper   bool
	readers map[*echoStream]bool
}

// An echoStream is one open of data, rx or tx: what is written to any of them comes out of all.
type echoStream struct {
	*clonefs.Queue // the reading half
	e              *echo
}

func newEcho() *clonefs.Device[*echo] {
	return &clonefs.Device[*echo]{
		Name: "echo",
		Doc:  "says what it is told",
		Clone: func(context.Context, *clonefs.Conv) (*echo, error) {
			return &echo{readers: make(map[*echoStream]bool)}, nil
		},
		Ctl: clonefs.Messages[*echo]{
			{Word: "upper", Args: "on|off", Help: "answer in capitals", Do: (*echo).setUpper},
		},
		Files: clonefs.Files[*echo]{
			{Name: "data", Mode: 0o660, Help: "one message a read or write", Duplex: (*echo).open},
		},
	}
}

func (e *echo) Close() error { return nil }

func (e *echo) setUpper(_ context.Context, args []string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upper = args[0] == "on"
	return nil
}

func (e *echo) open(_ context.Context, m clonefs.Mode) (clonefs.Stream, error) {
	s := &echoStream{clonefs.NewQueue(64), e}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readers[s] = m.Read
	return s, nil
}

func (s *echoStream) WriteContext(_ context.Context, p []byte, _ int64) (int, error) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	text := string(p)
	if s.e.upper {
		text = strings.ToUpper(text)
	}
	for r, reads := range s.e.readers {
		if reads {
			r.Push([]byte(text))
		}
	}
	return len(p), nil
}

func (s *echoStream) Close() error {
	s.e.mu.Lock()
	delete(s.e.readers, s)
	s.e.mu.Unlock()
	return s.Queue.Close()
}

// A whole driver: newEcho and the methods of echo and echoStream. The rest uses it as a client would, through p9.File.
func Example() {
	tree, err := clonefs.New(clonefs.Config{}, newEcho())
	if err != nil {
		log.Fatal(err)
	}
	root, err := tree.Attach()
	if err != nil {
		log.Fatal(err)
	}
	open := func(flags p9.OpenFlags, names ...string) p9.File {
		_, f, err := root.Walk(names)
		if err != nil {
			log.Fatal(err)
		}
		if _, _, err := f.Open(flags); err != nil {
			log.Fatal(err)
		}
		return f
	}
	buf := make([]byte, 100)

	ctl := open(p9.ReadWrite, "echo", "clone") // from here on it is echo/0/ctl
	n, _ := ctl.ReadAt(buf, 0)
	fmt.Printf("conversation %s", buf[:n])

	ctl.WriteAt([]byte("upper on"), 0)
	data := open(p9.ReadWrite, "echo", "0", "data")
	data.WriteAt([]byte("hello"), 0)
	n, _ = data.ReadAt(buf, 0)
	fmt.Printf("data: %s\n", buf[:n])

	_, err = ctl.WriteAt([]byte("upper maybe"), 0)
	fmt.Println(err)

	n, _ = open(p9.ReadOnly, "echo", "0", "status").ReadAt(buf, 0)
	fmt.Println(strings.Join(strings.Fields(string(buf[:n]))[:2], " "))

	data.Close()
	ctl.Close()
	_, _, err = root.Walk([]string{"echo", "0"})
	fmt.Println(err)
	// Output:
	// conversation 0
	// data: HELLO
	// bad control message: upper wants on|off
	// echo/0 open
	// file does not exist
}

// A queue between a driver and a reader: bounded, and the oldest record goes first when it is full.
func ExampleQueue() {
	q := clonefs.NewQueue(2)
	for _, frame := range []string{"one", "two", "three"} {
		q.Push([]byte(frame))
	}
	q.CloseWithError(io.EOF)
	buf := make([]byte, 4) // shorter than the last record, whose rest is lost
	for {
		n, err := q.ReadContext(context.Background(), buf, 0)
		if err != nil {
			fmt.Println(err, q.Drops())
			return
		}
		fmt.Printf("%s\n", buf[:n])
	}
	// Output:
	// two
	// thre
	// EOF 1
}
