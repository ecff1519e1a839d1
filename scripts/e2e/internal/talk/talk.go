// Package talk is what the host and a guest say to each other over the guest's second serial port: JSON, one message a
// line, strictly in turns. The host says Run and then listens; the guest answers with any number of Calls, each
// of which the host answers with a Reply, and at last with Done.
//
// Because they take turns, nothing is ever on its way to a side that has stopped reading; so the guest's first process can hand
// the port to the process of a case and take it back afterwards.
package talk

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// A Kind says what a message is.
type Kind string

const (
	Ready Kind = "ready" // guest: it is up; Name is the kernel's release
	Run   Kind = "run"   // host: carry out the case Name with the Setup in Body
	Call  Kind = "call"  // guest: do Name with the arguments in Body
	Reply Kind = "reply" // host: the answer to the last Call is Body, or Err
	Done  Kind = "done"  // guest: the case has ended, its Result is Body
)

// A Message is one line.
type Message struct {
	Kind Kind            `json:"kind"`
	Name string          `json:"name,omitempty"`
	Body json.RawMessage `json:"body,omitempty"`
	Err  string          `json:"err,omitempty"`
}

// A Setup is what a case is to work on.
type Setup struct {
	Dialect  string        `json:"dialect"`  // as in the mount option: 9P2000.L, 9P2000.u, 9P2000
	Port     int           `json:"port"`     // of the server, on the host
	Identity string        `json:"identity"` // what the server makes of a peer over tcp: trust or nobody
	Msize    int           `json:"msize"`
	Timeout  time.Duration `json:"timeout"` // for the whole case

	Script string `json:"script,omitempty"` // what the README says to type in a guest

	FUSE bool   `json:"fuse,omitempty"` // mount with clone9p mount --fuse, on the host itself
	Dir  string `json:"dir,omitempty"`  // where the case may make directories, "/n" when empty
}

// A Result is how a case ended. It also goes to the guest's console.
type Result struct {
	Case  string   `json:"case"`
	OK    bool     `json:"ok"`
	Ms    int64    `json:"ms"`
	Fails []string `json:"fails,omitempty"` // what was got and what was wanted
	Log   []string `json:"log,omitempty"`
	Hung  bool     `json:"hung,omitempty"` // the case did not end, or left a process behind that cannot be killed; the guest is spoilt
}

// Args are the arguments of a Call; each call uses some of them:
//
//	ifaces                             the interfaces that conversations have: []Iface
//	send Iface Stream From Count Min Max   frames of package frame go out of the interface, into rx
//	flood Iface Every                  the same for ever, one a tick; 0 ends it
//	capture Iface                      from now on a packet socket gathers what passes the interface
//	captured Iface                     what it has gathered since the last call: []Seen
//	ping Addr Count                    a real ping from the server's network namespace; all echoes must be answered: its output
//	server                             starts another server for this case: its port
//	server-kill Port                   kills it
//	sh Script                          a shell carries it out on the host, in the directory that the server exports; it must succeed: its output
//	guest-kill                         kills the guest; there is no reply
type Args struct {
	Iface  string        `json:"iface,omitempty"`
	Stream uint32        `json:"stream,omitempty"`
	From   uint32        `json:"from,omitempty"`
	Count  uint32        `json:"count,omitempty"`
	Min    int           `json:"min,omitempty"` // bytes of a frame
	Max    int           `json:"max,omitempty"`
	Every  time.Duration `json:"every,omitempty"`
	Addr   string        `json:"addr,omitempty"`
	Port   int           `json:"port,omitempty"`
	Script string        `json:"script,omitempty"`
}

// An Iface is an interface of the server's network namespace, as the host sees it.
type Iface struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
	MTU  int    `json:"mtu"`
	MAC  string `json:"mac"`
}

// A Seen is a frame that a packet socket saw pass an interface.
type Seen struct {
	Len int    `json:"len"`
	Sum string `json:"sum"` // see Sum
	Out bool   `json:"out"` // sent by the host's kernel, into rx; else it came from tx
}

// Sum stands for the bytes of a frame where the frame itself would be too long for a serial port.
func Sum(p []byte) string {
	h := sha256.Sum256(p)
	return hex.EncodeToString(h[:8])
}

// maxLine bounds a message. The port moves a byte an interrupt, so messages had better be far smaller.
const maxLine = 1 << 20

// A Conn is one end of the port. It is for one goroutine at a time.
type Conn struct {
	r *bufio.Reader
	w io.Writer
}

// New returns a Conn that reads and writes rw.
func New(rw io.ReadWriter) *Conn { return &Conn{r: bufio.NewReader(rw), w: rw} }

// Send writes one message; body, unless nil, becomes its Body.
func (c *Conn) Send(kind Kind, name string, body any, failure string) error {
	m := Message{Kind: kind, Name: name, Err: failure}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("talk: %s %s: %w", kind, name, err)
		}
		m.Body = b
	}
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("talk: %s %s: %w", kind, name, err)
	}
	if _, err := c.w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("talk: sending %s %s: %w", kind, name, err)
	}
	return nil
}

// Recv waits for the next message. It returns io.EOF, bare, when the other side has gone between two messages.
func (c *Conn) Recv() (Message, error) {
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return Message{}, fmt.Errorf("talk: a message of more than %d bytes", maxLine)
		}
		if err == nil {
			break
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return Message{}, err
	}
	var m Message
	if err := json.Unmarshal(line, &m); err != nil {
		return Message{}, fmt.Errorf("talk: %w in %q", err, line)
	}
	return m, nil
}
