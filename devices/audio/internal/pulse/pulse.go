// Package pulse plays to a PulseAudio server, or to PipeWire's that speaks the same protocol, and records from one.
//
// A Player takes blocks of samples at the pace at which the server plays them, and a Recorder gives what a source hears. Both outlive the
// server: while it is away a Player's Write waits and a Recorder is silent, and when it is back they go on. Who only wants to know whether
// a server is there asks Probe.
//
// They speak through the lower half of github.com/jfreymuth/pulse, its package proto, which writes and reads the messages, with a guard (in
// guard.go) between it and the server. Its upper half is of no use here: a stream's Start and the goroutine that asks for samples wait for
// the server on channels that nobody closes when it dies in that moment, and Drain waits as long as it pleases.
package pulse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/jfreymuth/pulse/proto"
)

// ErrClosed is what a Player says that was closed.
var ErrClosed = errors.New("pulse: closed")

// Probe returns nil when a sound server answers at server and lets us in, and otherwise why not. It takes a few seconds at most.
//
// server is a server string as PulseAudio's programs take it, in PULSE_SERVER for example. "" is the default: PULSE_SERVER, else the user's
// own server, else that of the system.
func Probe(ctx context.Context, server string) error {
	c, err := connect(ctx, server, nil)
	if err != nil {
		return err
	}
	c.close()
	return nil
}

// A conn is a connection to a server that has let us in. The library's goroutine reads from it until it ends.
//
// One goroutine at a time asks; fail and ended are for all.
type conn struct {
	*guard
	client *proto.Client
	tag    uint32        // of the next request: the library counts them from 0
	born   time.Time     // when it began
	ended  chan struct{} // closed when the library's goroutine is done
}

// connect finds the first server of a server string that lets us in. heard, which may be nil, is called on the library's goroutine with
// what comes unasked, and must not wait; samples are valid until it returns.
func connect(ctx context.Context, server string, heard func(c *conn, message any)) (*conn, error) {
	list, err := addresses(server)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		var c *conn
		var e error
		if c, e = dial(ctx, a, heard); e == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = errors.Join(err, e)
	}
	return nil, err
}

func dial(ctx context.Context, a address, heard func(c *conn, message any)) (*conn, error) {
	// A machine that is gone is found out within half a minute.
	d := net.Dialer{Timeout: patience, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}}
	nc, err := d.DialContext(ctx, a.network, a.address)
	if err != nil {
		return nil, fmt.Errorf("pulse: no sound server answers: %w", err)
	}
	c := open(nc, heard)
	if err := c.greet(ctx); err != nil {
		c.close()
		return nil, fmt.Errorf("pulse: the sound server at %s: %w", a.address, err)
	}
	return c, nil
}

// open starts to read from nc, which it owns from now on.
func open(nc net.Conn, heard func(c *conn, message any)) *conn {
	c := &conn{guard: newGuard(nc), client: new(proto.Client), born: time.Now(), ended: make(chan struct{})}
	c.client.SetTimeout(patience)
	c.client.Callback = func(message any) { // never nil: the library calls it unseen when the server goes
		if _, ok := message.(*proto.ConnectionClosed); ok {
			close(c.ended)
		} else if heard != nil {
			heard(c, message)
		}
	}
	c.client.Open(c.guard)
	return c
}

// greet shows the server our cookie and tells it our name.
func (c *conn) greet(ctx context.Context) error {
	var auth proto.AuthReply
	err := c.ask(ctx, &proto.Auth{Version: c.client.Version(), Cookie: cookie()}, &auth, shapeAuth)
	if errors.Is(err, proto.ErrAccessDenied) {
		return errors.New("it does not let us in: neither the user nor the cookie ($PULSE_COOKIE, ~/.config/pulse/cookie) is one that it knows")
	} else if err != nil {
		return err
	}
	c.client.SetVersion(auth.Version)
	if v := c.client.Version().Version(); v < 24 {
		return fmt.Errorf("it speaks version %d of the protocol, and we 24 and later (PulseAudio 2)", v)
	}
	props := proto.PropList{
		"application.name":       proto.PropListString("clone9p"),
		"application.icon_name":  proto.PropListString("audio-x-generic"),
		"application.process.id": proto.PropListString(fmt.Sprint(os.Getpid())),
	}
	if len(os.Args) > 0 {
		name := filepath.Base(os.Args[0])
		props["application.process.binary"] = proto.PropListString(name[:min(len(name), maxName)])
	}
	return c.ask(ctx, &proto.SetClientName{Props: props}, &proto.SetClientNameReply{}, shapeIndex)
}

// ask sends a request and waits for its answer, but no longer than patience. The answer is to be of that shape; rpl may be nil where there is
// nothing in it. An error of type proto.Error is the server's; after any other, and when ctx ends, the connection has ended too.
func (c *conn) ask(ctx context.Context, req proto.RequestArgs, rpl proto.Reply, shape string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	c.expect(c.tag, shape)
	c.tag++
	err := c.client.Request(req, rpl)
	var said proto.Error
	if err == nil || errors.As(err, &said) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("pulse: the sound server does not answer within %v", patience)
	}
	c.fail(err)
	return c.reason()
}

// close ends the connection and the library's goroutine.
func (c *conn) close() {
	c.fail(ErrClosed)
	<-c.ended
}

// maxName is the length of the longest name that we send, one and a half of what PulseAudio takes. The library panics where a request needs
// more than 1024 bytes.
const maxName = 200

// A backoff is the time between one try to reach the server and the next.
type backoff time.Duration

const (
	backoffLeast = 100 * time.Millisecond
	backoffMost  = 2 * time.Second
)

// wait waits before a try: not before the first, and then longer each time.
func (b *backoff) wait(ctx context.Context) error {
	d := time.Duration(*b)
	*b = backoff(min(max(2*d, backoffLeast), backoffMost))
	if d == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle makes the next try come at once again if the connection was born long enough ago: a server that lets us in and then ends each stream
// is not asked, nor the log filled, hundreds of times a second.
func (b *backoff) settle(born time.Time) {
	if time.Since(born) > backoffMost {
		*b = 0
	}
}
