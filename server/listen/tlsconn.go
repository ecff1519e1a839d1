package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/server"
	"golang.org/x/sys/unix"
)

// A tlsConn is an accepted connection over TLS. The server calls HandshakeContext, see server.Serve.
type tlsConn struct {
	*tls.Conn
	tcp    *tlsTCP
	found  server.Peer // whom the certificate names; written and read within the handshake
	shaken atomic.Bool // the handshake is over: the peer has the key of its certificate
}

// accept begins TLS with a client. Nothing is read or written yet.
func (t *TLS) accept(c *net.TCPConn) *tlsConn {
	a := &tlsConn{tcp: &tlsTCP{TCPConn: c, server: true}}
	a.Conn = tls.Server(a.tcp, &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Asked when the client has said hello, so that the newest files count.
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.serverConfig(a), nil },
	})
	return a
}

var errReplaced = errors.New("the server's certificates were replaced during the handshake")

// serverConfig is for the handshake with a.
func (t *TLS) serverConfig(a *tlsConn) *tls.Config {
	s := t.now.Load()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{s.cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    s.ca,
		// Whoever came back with a ticket would not show a certificate, and the one of then may no longer be believed.
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) (err error) {
			// A client can make a handshake last.
			if t.now.Load() != s {
				return errReplaced
			}
			a.found, err = certPeer(cs.PeerCertificates[0], "tls:"+a.RemoteAddr().String())
			return err
		},
	}
}

// Handshake is HandshakeContext without a context.
func (c *tlsConn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext shows the server's certificate and checks the client's. Its error says what is wrong with the peer.
func (c *tlsConn) HandshakeContext(ctx context.Context) error {
	err := c.Conn.HandshakeContext(ctx)
	if err == nil {
		c.shaken.Store(true)
		return nil
	}
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0 {
		return fmt.Errorf("%s is not accepted: %w", certName(bad.UnverifiedCertificates[0]), bad.Err)
	}
	return err
}

// Peer tells the server who the other side is: whom its certificate names, once it has shown that it has the key.
func (c *tlsConn) Peer() server.Peer {
	if !c.shaken.Load() {
		return server.Nobody("tls:" + c.RemoteAddr().String())
	}
	return c.found
}

// Close ends the connection without waiting for anybody, whatever other calls are under way.
func (c *tlsConn) Close() error {
	c.tcp.end()
	return c.Conn.Close()
}

// A tlsTCP is the connection below TLS. Package tls believes in peers more than we may: it answers some messages from within Read, for as long as the peer
// does not take the answer, and in Close waits for that to end, and then five seconds more for its own farewell. After end nothing waits.
//
// At the server's end it also knows a peer that speaks no TLS. Package tls waits for the rest of what it takes for a record.
type tlsTCP struct {
	*net.TCPConn
	server bool
	begun  bool        // something came; belongs to whoever reads
	ending atomic.Bool // Close was called
}

// What a peer is told of that does not begin with a handshake record, in the log.
var (
	errPlain9P = errors.New("the peer speaks plain 9P on a port of TLS")
	errNoTLS   = errors.New("the peer does not speak TLS on a port of TLS")
)

func (c *tlsTCP) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.server && !c.begun && n > 0 {
		c.begun = true
		const handshake, tversion = 22, 100 // RFC 8446, 5.1; version(5)
		switch {
		case p[0] != handshake && n > 4 && p[4] == tversion:
			return 0, errPlain9P
		case p[0] != handshake:
			return 0, errNoTLS
		}
	}
	return n, err
}

// end has writes that are under way fail, and later ones not wait.
func (c *tlsTCP) end() {
	c.ending.Store(true)
	_ = c.TCPConn.SetWriteDeadline(time.Unix(1, 0)) // fails when it is closed already
}

// SetWriteDeadline leaves end's in force.
func (c *tlsTCP) SetWriteDeadline(t time.Time) error {
	if c.ending.Load() {
		return nil
	}
	return c.TCPConn.SetWriteDeadline(t)
}

func (c *tlsTCP) Write(p []byte) (int, error) {
	if c.ending.Load() {
		return c.farewell(p)
	}
	return c.TCPConn.Write(p)
}

// farewell writes as much of p as goes at once.
func (c *tlsTCP) farewell(p []byte) (n int, err error) {
	raw, err := c.TCPConn.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.Write(int(fd), p) }); e != nil {
		return 0, e
	}
	if n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return max(n, 0), err
}

// dial speaks TLS on c, a connection to a. It closes c when that fails.
func (t *TLS) dial(ctx context.Context, a Addr, c net.Conn) (net.Conn, error) {
	s := t.now.Load()
	name, _, _ := strings.Cut(a.Host, "%")
	if name == "*" {
		name = "localhost"
	}
	d := &tlsDialed{Conn: tls.Client(c, &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: name,
		RootCAs:    s.ca,
		// Sent also where the server would not believe it: its log can then say which it was.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &s.cert, nil },
	})}
	if err := d.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot connect to %s: %w", a, handshakeError(ctx, err))
	}
	return d, nil
}

// handshakeError says why the handshake with a server failed.
func handshakeError(ctx context.Context, err error) error {
	var bad *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	switch {
	case ctx.Err() != nil:
		return errors.New("the server does not answer in TLS")
	case errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0:
		return fmt.Errorf("%s of the server is not accepted: %w", certName(bad.UnverifiedCertificates[0]), bad.Err)
	case errors.As(err, &header):
		return errors.New("the server does not speak TLS there")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET):
		return errors.New("the server ended the handshake: perhaps it does not speak TLS there")
	case remoteAlert(err) != nil:
		return refusal(err)
	}
	return err
}

// A tlsDialed is a client's connection over TLS. In TLS 1.3 the client is through with the handshake before the server has looked at its
// certificate; a refusal comes with the first read.
type tlsDialed struct {
	*tls.Conn
	heard atomic.Bool // something came

	mu  sync.Mutex // guards what follows
	why error      // the server's refusal
}

func (c *tlsDialed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	return n, c.note(err)
}

// Write fails with the server's refusal where that is why it fails.
func (c *tlsDialed) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.heard.Load() {
		// The server has closed the connection, and before that said why.
		if _, e := c.Read(make([]byte, 1)); remoteAlert(e) != nil {
			err = e
		}
	}
	return n, err
}

// note keeps err where it is a refusal, and says that it is.
func (c *tlsDialed) note(err error) error {
	if remoteAlert(err) == nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why = refusal(err)
	return c.why
}

// remoteAlert returns what the other side told in TLS's own words when it ended the connection, or nil.
func remoteAlert(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op
	}
	return nil
}

func refusal(err error) error {
	return fmt.Errorf("the server refuses the connection, and its log has the reason: %w", err)
}

// Refused returns why the server at the other end of c ended it, where it has told so in TLS; otherwise nil.
func Refused(c net.Conn) error {
	d, ok := c.(*tlsDialed)
	if !ok {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}
