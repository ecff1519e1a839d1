package listen

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
	"github.com/hugelgupf/p9/fsimpl/templatefs"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// A ca makes certificates.
type ca struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newCA(t *testing.T, name string) *ca {
	t.Helper()
	c := &ca{t: t, dir: t.TempDir()}
	c.file = filepath.Join(c.dir, "ca.pem")
	tmpl := template()
	tmpl.Subject = pkix.Name{CommonName: name}
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	c.key = newKey(t)
	c.cert = c.sign(tmpl, tmpl, c.key, c.file)
	return c
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// template is what the tests' certificates have in common.
func template() *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

// sign writes a certificate of key into a file.
func (c *ca) sign(tmpl, parent *x509.Certificate, key *ecdsa.PrivateKey, file string) *x509.Certificate {
	c.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	writePEM(c.t, file, "CERTIFICATE", der, 0o644)
	return cert
}

func writePEM(t *testing.T, file, kind string, der []byte, mode os.FileMode) {
	t.Helper()
	write(t, file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func write(t *testing.T, file string, b []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, b, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // the umask aside
		t.Fatal(err)
	}
}

// files makes a certificate and its key, which believe what c says.
func (c *ca) files(tmpl *x509.Certificate) TLSFiles {
	c.t.Helper()
	base := filepath.Join(c.dir, tmpl.SerialNumber.String())
	f := TLSFiles{Cert: base + ".pem", Key: base + ".key", CA: c.file}
	key := newKey(c.t)
	c.sign(tmpl, c.cert, key, f.Cert)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	writePEM(c.t, f.Key, "PRIVATE KEY", der, 0o600)
	return f
}

// server makes the files of a server on this machine.
func (c *ca) server() TLSFiles {
	tmpl := template()
	tmpl.Subject = pkix.Name{CommonName: "server"}
	tmpl.DNSNames, tmpl.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return c.files(tmpl)
}

// user makes the files of a user.
func (c *ca) user(name string) TLSFiles {
	tmpl := template()
	tmpl.Subject = pkix.Name{CommonName: name}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return c.files(tmpl)
}

func mustLoad(t *testing.T, f TLSFiles) *TLS {
	t.Helper()
	s, err := LoadTLS(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// myself is who runs the tests.
func myself(t *testing.T) *user.User {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// shake connects to l with a client's files and returns the server's end, after its handshake, and its error.
func shake(t *testing.T, l *Listener, client *TLS) (*tlsConn, error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		c, err := DialTLS(context.Background(), l.Address().String(), client)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		ended <- err
	}()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	err = s.(*tlsConn).HandshakeContext(t.Context())
	if err != nil {
		s.Close()
	}
	<-ended
	return s.(*tlsConn), err
}

// The certificate proves who the peer is; uid and groups are the machine's.
func TestTLSPeerIsProven(t *testing.T) {
	me := myself(t)
	c := newCA(t, "ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	s, err := shake(t, l, mustLoad(t, c.user(me.Username)))
	if err != nil {
		t.Fatal(err)
	}
	p := peerOf(t, s)
	if p.UID != uint32(os.Getuid()) || p.Name != me.Username || !p.Proven || p.Any != (os.Getuid() == 0) {
		t.Errorf("peer is %+v", p)
	}
	if want := "tls:" + s.RemoteAddr().String() + ",user=" + me.Username; p.Addr != want {
		t.Errorf("Addr is %q, want %q", p.Addr, want)
	}
	gids, err := me.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gids {
		if n, err := number(g); err != nil || !slices.Contains(p.Groups, n) {
			t.Errorf("groups %v lack %s: %v", p.Groups, g, err)
		}
	}
	if s.ConnectionState().Version != tls.VersionTLS13 {
		t.Errorf("version %x", s.ConnectionState().Version)
	}
}

// Before the handshake nobody is anybody.
func TestTLSPeerBeforeTheHandshake(t *testing.T) {
	c := newCA(t, "ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p := peerOf(t, s); p.UID != p9ext.NobodyUID || p.Proven || p.Any {
		t.Errorf("peer is %+v", p)
	}
}

// Whom a certificate names.
func TestCertUser(t *testing.T) {
	uri := func(list ...string) (us []*url.URL) {
		for _, s := range list {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			us = append(us, u)
		}
		return us
	}
	cn := func(names ...any) (n pkix.Name) {
		for _, v := range names {
			n.Names = append(n.Names, pkix.AttributeTypeAndValue{Type: commonName, Value: v})
		}
		return n
	}
	for _, tt := range []struct {
		name string
		c    x509.Certificate
		want string
		err  string
	}{
		{name: "common name", c: x509.Certificate{Subject: cn("alice")}, want: "alice"},
		{name: "a URI wins", c: x509.Certificate{Subject: cn("Alice Liddell"), URIs: uri("https://a.example/", "clone9p:alice")}, want: "alice"},
		{name: "a URI in capitals", c: x509.Certificate{URIs: uri("CLONE9P:alice")}, want: "alice"},
		{name: "other names do not count", c: x509.Certificate{Subject: cn("bob"), DNSNames: []string{"alice"}, EmailAddresses: []string{"alice@x"}}, want: "bob"},
		{name: "nothing", err: "names no user"},
		{name: "two common names", c: x509.Certificate{Subject: cn("alice", "root")}, err: "names 2 users"},
		{name: "two URIs", c: x509.Certificate{URIs: uri("clone9p:alice", "clone9p:root")}, err: "names 2 users"},
		{name: "no text", c: x509.Certificate{Subject: cn(7)}, err: "names no user"},
		{name: "empty", c: x509.Certificate{Subject: cn("")}, err: "no user's name"},
		{name: "an empty URI", c: x509.Certificate{Subject: cn("alice"), URIs: uri("clone9p:")}, err: "no user's name"},
		{name: "a URI with a host", c: x509.Certificate{URIs: uri("clone9p://alice")}, err: "no user's name"},
		{name: "a NUL", c: x509.Certificate{Subject: cn("root\x00.example")}, err: "no user's name"},
		{name: "a line", c: x509.Certificate{Subject: cn("root\nx")}, err: "no user's name"},
		{name: "a colon", c: x509.Certificate{Subject: cn("root:x:0")}, err: "no user's name"},
		{name: "a blank", c: x509.Certificate{Subject: cn("My Root CA")}, err: "no user's name"},
		{name: "no UTF-8", c: x509.Certificate{Subject: cn("al\xffice")}, err: "no user's name"},
		{name: "long", c: x509.Certificate{Subject: cn(strings.Repeat("a", maxUser+1))}, err: "no user's name"},
	} {
		got, err := certUser(&tt.c)
		if got != tt.want || tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v; want %q, %q", tt.name, got, err, tt.want, tt.err)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 500) {
			t.Errorf("%s: the error %q is no line", tt.name, err)
		}
	}
}

// Whoever comes without what it takes is refused, with a reason; a good one is served afterwards.
func TestTLSRefusesStrangers(t *testing.T) {
	me := myself(t)
	c, other := newCA(t, "ca"), newCA(t, "another ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	of := func(ca *ca, change func(*x509.Certificate)) TLSFiles {
		tmpl := template()
		tmpl.Subject = pkix.Name{CommonName: me.Username}
		change(tmpl)
		f := ca.files(tmpl)
		f.CA = c.file
		return f
	}
	for _, tt := range []struct {
		name  string
		files TLSFiles
		want  string
	}{
		{"of another CA", of(other, func(*x509.Certificate) {}), `the certificate "CN=` + me.Username + `" is not accepted: x509: certificate signed by unknown authority`},
		{"expired", of(c, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "is not accepted: x509: certificate has expired or is not yet valid"},
		{"to come", of(c, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "is not accepted: x509: certificate has expired or is not yet valid"},
		{"a server's", c.server(), "is not accepted: x509: certificate specifies an incompatible key usage"},
		{"nameless", of(c, func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{"Wonderland"}} }), `the certificate "O=Wonderland" names no user`},
		{"a stranger's", c.user("no-such-user"), `the certificate "CN=no-such-user" names the user "no-such-user", whom this machine does not know`},
		{"a bad name", c.user("no user"), "which is no user's name"},
	} {
		s, err := shake(t, l, mustLoad(t, tt.files))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if p := peerOf(t, s); p.Proven || p.Any {
			t.Errorf("%s: peer is %+v", tt.name, p)
		}
	}
	if s, err := shake(t, l, mustLoad(t, c.user(me.Username))); err != nil || !peerOf(t, s).Proven {
		t.Errorf("after them: %v", err)
	}
}

// root attaches as anyone, nobody is nobody, others are themselves.
func TestCertPeer(t *testing.T) {
	c := newCA(t, "ca")
	peer := func(name string) (server.Peer, error) {
		tmpl := template()
		tmpl.Subject = pkix.Name{CommonName: name}
		return certPeer(c.sign(tmpl, c.cert, c.key, filepath.Join(c.dir, "x")), "tls:x")
	}
	if p, err := peer("root"); err != nil || p.UID != 0 || !p.Any || !p.Proven {
		t.Errorf("root is %+v, %v", p, err)
	}
	if u, err := user.Lookup("nobody"); err == nil && u.Uid == "65534" {
		if p, err := peer("nobody"); err != nil || p.Proven || p.Any || p.UID != p9ext.NobodyUID {
			t.Errorf("nobody is %+v, %v", p, err)
		}
	}
	if u, err := user.Lookup("daemon"); err == nil {
		if p, err := peer("daemon"); err != nil || u.Uid != "" && p.UID == 0 || p.Any || !p.Proven || p.Name != "daemon" {
			t.Errorf("daemon is %+v, %v", p, err)
		}
	}
}

// A TLS client that shows no certificate, one that knows TLS 1.2 only, and one that speaks something else.
func TestTLSRefusesOtherClients(t *testing.T) {
	c := newCA(t, "ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	conf := func(change func(*tls.Config)) func(net.Conn) {
		cert := mustLoad(t, c.user(myself(t).Username)).now.Load()
		conf := &tls.Config{RootCAs: cert.ca, Certificates: []tls.Certificate{cert.cert}, ServerName: "localhost"}
		change(conf)
		return func(raw net.Conn) { _ = tls.Client(raw, conf).Handshake() }
	}
	tversion := "\x15\x00\x00\x00\x64\xff\xff\x00\x00\x10\x00\x08\x009P2000.L"
	say := func(s string) func(net.Conn) { return func(raw net.Conn) { _, _ = io.WriteString(raw, s) } }
	for _, tt := range []struct {
		name string
		talk func(net.Conn)
		want string
	}{
		{"no certificate", conf(func(c *tls.Config) { c.Certificates = nil }), "tls: client didn't provide a certificate"},
		{"TLS 1.2", conf(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "tls: client offered only unsupported versions"},
		{"plain 9P, 2000.L", say(tversion), "the peer speaks plain 9P on a port of TLS"},
		{"plain 9P, 2000", say("\x13\x00\x00\x00\x64\xff\xff\x00\x00\x10\x00\x06\x009P2000"), "the peer speaks plain 9P on a port of TLS"},
		{"HTTP", say("GET / HTTP/1.1\r\n\r\n"), "the peer does not speak TLS on a port of TLS"},
		{"the other end's hello only in part", func(raw net.Conn) {
			_, _ = raw.Write([]byte{22, 3, 1, 1, 0, 1})
			_ = raw.(*net.TCPConn).CloseWrite()
		}, "EOF"},
	} {
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { tt.talk(raw) })
		if err := s.(*tlsConn).HandshakeContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		s.Close()
		wg.Wait()
		raw.Close()
	}
}

// What the files may be.
func TestLoadTLS(t *testing.T) {
	c := newCA(t, "ca")
	good, other := c.server(), c.server()
	dir := t.TempDir()
	file := func(name string, b string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		write(t, name, []byte(b), mode)
		return name
	}
	copied := func(name, from string, mode os.FileMode) string {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		return file(name, string(b), mode)
	}
	expired := template()
	expired.NotAfter = time.Now().Add(-time.Minute)
	fresh := template()
	fresh.NotBefore = time.Now().Add(time.Minute)
	with := func(change func(*TLSFiles)) TLSFiles {
		f := good
		change(&f)
		return f
	}
	for _, tt := range []struct {
		name string
		f    TLSFiles
		err  string // or
		warn string
	}{
		{name: "good", f: good},
		{name: "no CA", f: with(func(f *TLSFiles) { f.CA = "" })},
		{name: "nothing", err: "TLS wants a certificate and its key"},
		{name: "no key", f: with(func(f *TLSFiles) { f.Key = "" }), err: "TLS wants a certificate and its key"},
		{name: "another's key", f: with(func(f *TLSFiles) { f.Key = other.Key }), err: "certificate " + good.Cert + " with key " + other.Key + ": tls: private key does not match public key"},
		{name: "missing certificate", f: with(func(f *TLSFiles) { f.Cert = "/no/such" }), err: "certificate: open /no/such: no such file or directory"},
		{name: "missing key", f: with(func(f *TLSFiles) { f.Key = "/no/such" }), err: "key: open /no/such: no such file or directory"},
		{name: "missing CA", f: with(func(f *TLSFiles) { f.CA = "/no/such" }), err: "CA: open /no/such: no such file or directory"},
		{name: "no PEM", f: with(func(f *TLSFiles) { f.Cert = file("text", "hello", 0o600) }), err: "failed to find any PEM data in certificate input"},
		{name: "no CA in it", f: with(func(f *TLSFiles) { f.CA = good.Key }), err: "CA " + good.Key + ": there is no certificate in it"},
		{name: "a bad CA", f: with(func(f *TLSFiles) {
			f.CA = file("badca", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", 0o600)
		}), err: "badca: x509: malformed certificate"},
		{name: "encrypted", f: with(func(f *TLSFiles) {
			f.Key = file("enc", "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n", 0o600)
		}), err: "the key is encrypted"},
		{name: "large", f: with(func(f *TLSFiles) { f.CA = file("large", strings.Repeat("x\n", maxPEM/2+1), 0o600) }), err: "has more than 1048576 bytes"},
		{name: "a directory", f: with(func(f *TLSFiles) { f.CA = dir }), err: "is a directory"},
		{name: "anybody's CA", f: with(func(f *TLSFiles) { f.CA = copied("openca", c.file, 0o666) }), err: "everybody may write " + filepath.Join(dir, "openca")},
		{name: "everybody's key", f: with(func(f *TLSFiles) { f.Key = copied("openkey", good.Key, 0o644) }), warn: "everybody may read the key " + filepath.Join(dir, "openkey")},
		{name: "a group's key", f: with(func(f *TLSFiles) { f.Key = copied("groupkey", good.Key, 0o640) })},
		{name: "expired", f: c.files(expired), warn: "has expired, at "},
		{name: "to come", f: c.files(fresh), warn: "is not valid before "},
	} {
		s, err := LoadTLS(tt.f)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.warn == "" && len(s.Warnings()) > 0 || tt.warn != "" && (len(s.Warnings()) != 1 || !strings.Contains(s.Warnings()[0], tt.warn)):
			t.Errorf("%s: warnings %q, want %q", tt.name, s.Warnings(), tt.warn)
		}
	}
}

// A server needs all of it, wherever it gets its listener from.
func TestTLSListenersNeedCertificates(t *testing.T) {
	c := newCA(t, "ca")
	noCA := c.server()
	noCA.CA = ""
	for _, tt := range []struct {
		tls  *TLS
		want string
	}{
		{nil, "cannot listen on tls!127.0.0.1!0: TLS wants a certificate and its key"},
		{mustLoad(t, noCA), "cannot listen on tls!127.0.0.1!0: TLS wants to know whose certificates of clients to believe"},
	} {
		if l, err := Listen("tls!127.0.0.1!0", Options{TLS: tt.tls}); err == nil || err.Error() != tt.want {
			t.Errorf("Listen: %v, want %s", err, tt.want)
			if l != nil {
				l.Close()
			}
		}
	}
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	files, h, err := l.Hand()
	if err != nil {
		t.Fatal(err)
	}
	h.TLS = nil
	if l, err := Inherit(files, h); err == nil || !strings.Contains(err.Error(), "TLS wants a certificate") {
		t.Errorf("Inherit: %v", err)
		if l != nil {
			l.Close()
		}
	}
	if _, err := Dial(t.Context(), "tls!127.0.0.1!1"); err == nil || !strings.Contains(err.Error(), "TLS wants a certificate") {
		t.Errorf("Dial: %v", err)
	}
}

// Other hosts may reach it without more ado.
func TestTLSIsNotInsecure(t *testing.T) {
	mustListen(t, "tls!*!0", Options{TLS: mustLoad(t, newCA(t, "ca").server())})
}

// The heir of a listener goes on in TLS.
func TestTLSHandover(t *testing.T) {
	c := newCA(t, "ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	files, h, err := l.Hand()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var there Handover
	if err := json.Unmarshal(b, &there); err != nil {
		t.Fatal(err)
	}
	if there.TLS != nil {
		t.Errorf("%s has a certificate in it", b)
	}
	there.TLS = mustLoad(t, c.server())
	l2, err := Inherit(files, there)
	if err != nil {
		t.Fatal(err)
	}
	defer l2.Close()
	if s, err := shake(t, l2, mustLoad(t, c.user(myself(t).Username))); err != nil || !peerOf(t, s).Proven {
		t.Errorf("%v", err)
	}

	// One of another network stays without.
	plain := mustListen(t, "tcp!127.0.0.1!0", Options{TLS: there.TLS})
	files, h, err = plain.Hand()
	if err != nil {
		t.Fatal(err)
	}
	h.TLS = there.TLS
	l3, err := Inherit(files, h)
	if err != nil {
		t.Fatal(err)
	}
	defer l3.Close()
	if _, s := meet(t, l3); peerOf(t, s).Proven {
		t.Errorf("a peer over plain TCP is %+v", peerOf(t, s))
	} else if _, ok := s.(*tcpConn); !ok {
		t.Errorf("a connection over plain TCP is a %T", s)
	}
}

// Other files hold for the next connection, and for a handshake under way. Wrong ones change nothing.
func TestTLSReload(t *testing.T) {
	me := myself(t)
	old, now := newCA(t, "old"), newCA(t, "now")
	server := mustLoad(t, old.server())
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: server})
	client := func(by, believes *ca) *TLS {
		f := by.user(me.Username)
		f.CA = believes.file
		return mustLoad(t, f)
	}
	first, err := shake(t, l, client(old, old))
	if err != nil {
		t.Fatal(err)
	}

	bad := now.server()
	bad.CA = "/no/such"
	if err := server.Load(bad); err == nil {
		t.Error("a missing CA is loaded")
	}
	if _, err := shake(t, l, client(old, old)); err != nil {
		t.Errorf("after a bad one: %v", err)
	}

	if err := server.Load(now.server()); err != nil {
		t.Fatal(err)
	}
	if _, err := shake(t, l, client(old, now)); err == nil || !strings.Contains(err.Error(), "signed by unknown authority") {
		t.Errorf("who comes with a certificate of before: %v", err)
	}
	if _, err := shake(t, l, client(now, now)); err != nil {
		t.Errorf("who comes with a new one: %v", err)
	}
	if !peerOf(t, first).Proven {
		t.Error("who is there is nobody any more")
	}

	// The client's certificate comes after its first message; in between the server's are replaced.
	late := client(now, now).now.Load()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = tls.Client(raw, &tls.Config{RootCAs: late.ca, ServerName: "localhost",
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &late.cert, server.Load(old.server())
			}}).Handshake()
	})
	if err := s.(*tlsConn).HandshakeContext(t.Context()); !errors.Is(err, errReplaced) {
		t.Errorf("a handshake under way: %v", err)
	}
	s.Close()
	wg.Wait()
}

// No client comes back without its certificate.
func TestTLSGivesNoTickets(t *testing.T) {
	c := newCA(t, "ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	mine := mustLoad(t, c.user(myself(t).Username)).now.Load()
	tickets := new(tickets)
	conf := &tls.Config{RootCAs: mine.ca, Certificates: []tls.Certificate{mine.cert}, ServerName: "localhost", ClientSessionCache: tickets}
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := tls.Dial("tcp", l.Addr().String(), conf)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if b, err := io.ReadAll(c); err != nil || string(b) != "hello" { // a ticket comes before the first byte
			t.Errorf("read %q, %v", b, err)
		}
	})
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.(*tlsConn).HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	if tickets.n > 0 {
		t.Errorf("%d tickets", tickets.n)
	}
}

// tickets counts those that a client is given.
type tickets struct{ n int }

func (c *tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *tickets) Put(string, *tls.ClientSessionState)        { c.n++ }

// Close does not wait for a peer that takes nothing, with a write under way or without.
func TestTLSCloseDoesNotWait(t *testing.T) {
	c := newCA(t, "ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	for _, tt := range []struct {
		name string
		fill func(*tlsConn) // until it can't
	}{
		{"a full connection", func(s *tlsConn) {
			for {
				if n, _ := s.tcp.farewell(make([]byte, 1<<16)); n == 0 {
					return
				}
			}
		}},
		{"a write under way", nil},
	} {
		s, err := shake(t, l, mustLoad(t, c.user(myself(t).Username)))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		if tt.fill != nil {
			tt.fill(s)
		} else {
			begun := make(chan struct{})
			wg.Go(func() {
				for first := true; ; first = false {
					if _, err := s.Write(make([]byte, 1<<16)); err != nil {
						return
					}
					if first {
						close(begun)
					}
				}
			})
			<-begun
		}
		begin := time.Now()
		s.Close()
		wg.Wait()
		// Package tls would take five seconds.
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("%s: Close took %v", tt.name, d)
		}
	}
}

// What a client says of a server that it can't talk to.
func TestTLSDialErrors(t *testing.T) {
	c, other := newCA(t, "ca"), newCA(t, "another ca")
	client := mustLoad(t, c.user(myself(t).Username))

	// Servers of several kinds, which serve one connection.
	serve := func(talk func(net.Conn)) (addr string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c)
			c.Close()
		}()
		t.Cleanup(func() { l.Close(); <-done })
		a := l.Addr().(*net.TCPAddr)
		return Addr{Network: "tls", Host: "127.0.0.1", Port: a.Port}.String()
	}
	asTLS := func(f TLSFiles) func(net.Conn) {
		s := mustLoad(t, f)
		return func(c net.Conn) { _ = s.accept(c.(*net.TCPConn)).Handshake() }
	}
	elsewhere := template()
	users := template()
	users.IPAddresses, users.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	elsewhere.Subject, elsewhere.DNSNames = pkix.Name{CommonName: "elsewhere"}, []string{"elsewhere.example"}
	for _, tt := range []struct {
		name string
		talk func(net.Conn)
		want string
	}{
		{"of another CA", asTLS(other.server()), `: the certificate "CN=server" of the server is not accepted: x509: certificate signed by unknown authority`},
		{"of another host", asTLS(c.files(elsewhere)), `: the certificate "CN=elsewhere" of the server is not accepted: x509: cannot validate certificate for 127.0.0.1`},
		{"a user's", asTLS(c.files(users)), `is not accepted: x509: certificate specifies an incompatible key usage`},
		{"one that ends", func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)) }, ": the server ended the handshake: perhaps it does not speak TLS there"},
		{"one that says something else", func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example ESMTP\r\n"); _, _ = io.ReadAll(c) }, ": the server does not speak TLS there"},
		{"one of before", func(c net.Conn) {
			_ = tls.Server(c, &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{client.now.Load().cert}}).Handshake()
		}, ": the server refuses the connection, and its log has the reason: remote error: tls: protocol version not supported"},
	} {
		addr := serve(tt.talk)
		conn, err := DialTLS(t.Context(), addr, client)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot connect to "+addr+": ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if conn != nil {
			conn.Close()
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	addr := serve(func(c net.Conn) { cancel(); _, _ = io.ReadAll(c) })
	if _, err := DialTLS(ctx, addr, client); err == nil || !strings.Contains(err.Error(), "cannot connect to "+addr) {
		t.Errorf("a silent server: %v", err)
	}
}

// A client learns that the server refuses its certificate, whichever of its calls fails first.
func TestTLSRefused(t *testing.T) {
	c, other := newCA(t, "ca"), newCA(t, "another ca")
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	f := other.user(myself(t).Username)
	f.CA = c.file
	client := mustLoad(t, f)
	const want = "the server refuses the connection, and its log has the reason: remote error: tls: unknown certificate authority"
	for _, writes := range []bool{false, true} {
		refused := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			s, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			if s.(*tlsConn).HandshakeContext(t.Context()) == nil {
				t.Error("it is accepted")
			}
			s.Close()
			close(refused)
		})
		conn, err := DialTLS(t.Context(), l.Address().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		<-refused
		if writes {
			for err == nil { // the first may go into the socket's buffer
				_, err = conn.Write([]byte("hello"))
			}
		} else {
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || err.Error() != want {
			t.Errorf("writes %v: %v", writes, err)
		}
		if err := Refused(conn); err == nil || err.Error() != want {
			t.Errorf("writes %v: Refused: %v", writes, err)
		}
		conn.Close()
		wg.Wait()
	}
	if err := Refused(&net.TCPConn{}); err != nil {
		t.Errorf("Refused of a plain connection: %v", err)
	}
}

// emptyTree is a tree to attach to, which counts who does.
type emptyTree struct {
	templatefs.NoopFile
	users chan p9ext.User
}

func (e *emptyTree) Attach() (p9.File, error) { return nil, errors.New("nobody said who attaches") }
func (e *emptyTree) AttachUser(_ context.Context, u p9ext.User) (p9.File, error) {
	e.users <- u
	return e, nil
}
func (e *emptyTree) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	return p9.QID{Type: p9.TypeDir}, p9.AttrMask{Mode: true}, p9.Attr{Mode: p9.ModeDirectory | 0o555}, nil
}

// syncBuffer is a log.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// lines are the lines so far that have all of these in them.
func (s *syncBuffer) lines(words ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.b.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			n++
		}
	}
	return n
}

// With the real server: the user attaches as proven; each stranger is one line in the log, and neither him nor anybody else harmed.
func TestTLSServes(t *testing.T) {
	t.Parallel()
	me := myself(t)
	c, other := newCA(t, "ca"), newCA(t, "another ca")
	var log syncBuffer
	tree := &emptyTree{users: make(chan p9ext.User, 100)}
	srv := server.New(tree, server.Config{Log: zerolog.New(&log), HelloTimeout: 5 * time.Second})
	l := mustListen(t, "tls!127.0.0.1!0", Options{TLS: mustLoad(t, c.server())})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() {
		if err := errors.Join(srv.Shutdown(context.Background()), <-served); err != nil {
			t.Error(err)
		}
	}()
	attach := func(client *TLS) (net.Conn, error) {
		conn, err := DialTLS(t.Context(), l.Address().String(), client)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { conn.Close() })
		pc, err := p9.NewClient(conn)
		if err == nil {
			_, err = pc.Attach("/")
		}
		if why := Refused(conn); why != nil {
			err = why
		}
		return conn, err
	}
	good := mustLoad(t, c.user(me.Username))
	inside, err := attach(good)
	if err != nil {
		t.Fatal(err)
	}
	if u := <-tree.users; u.Name != me.Username || u.UID != uint32(os.Getuid()) || !u.Proven || !strings.HasPrefix(u.Addr, "tls:127.0.0.1:") {
		t.Errorf("attached as %+v", u)
	}

	wrong := other.user(me.Username)
	wrong.CA = c.file
	if _, err := attach(mustLoad(t, wrong)); err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
		t.Errorf("a certificate of another CA: %v", err)
	}
	if _, err := attach(mustLoad(t, c.user("no-such-user"))); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("a user whom nobody knows: %v", err)
	}
	// One says nothing at all, one nothing after the handshake, one plain 9P.
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	shy, err := DialTLS(t.Context(), l.Address().String(), good)
	if err != nil {
		t.Fatal(err)
	}
	defer shy.Close()
	for _, conn := range []net.Conn{silent, shy} {
		if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
			t.Errorf("read %d, %v", n, err)
		}
	}
	plain, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := p9.NewClient(plain); err == nil {
		t.Error("plain 9P is answered")
	}
	for _, tt := range [][]string{
		{"session ends", "signed by unknown authority"},
		{"session ends", "whom this machine does not know"},
		{"session ends", "no Tversion in time", `"peer":"` + silent.LocalAddr().String()},
		{"session ends", "no Tversion in time", `"peer":"tls:` + shy.LocalAddr().String() + ",user=" + me.Username},
		{"session ends", "plain 9P on a port of TLS"},
	} {
		for end := time.Now().Add(time.Minute); log.lines(tt...) != 1; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the log does not say %q once:\n%s", tt, log.b.String())
			}
		}
	}
	// The one inside is unharmed.
	if _, err := inside.Write([]byte("\x0b\x00\x00\x00\x78\x01\x00\x63\x00\x00\x00")); err != nil {
		t.Error(err)
	}
	answer := make([]byte, 7)
	if _, err := io.ReadFull(inside, answer); err != nil || answer[4] != 7 { // Rlerror: there is no such fid
		t.Errorf("the session inside: % x, %v", answer, err)
	}
	if _, err := attach(good); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// FuzzCA holds that whatever is in the file, reading it ends with a pool or one sentence.
func FuzzCA(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("text\n-----BEGIN X-----\n-----END X-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pool, err := parseCA(b)
		if (pool == nil) != (err != nil) || err != nil && strings.ContainsAny(err.Error(), "\n") {
			t.Fatalf("%v, %v", pool, err)
		}
	})
}

// FuzzCertUser holds that whoever is named is fit to be looked up and to stand in a line of the log.
func FuzzCertUser(f *testing.F) {
	f.Add("alice", "")
	f.Add("a\x00b", "clone9p:alice")
	f.Add("", "clone9p://alice/?x#y")
	f.Fuzz(func(t *testing.T, cn, uri string) {
		c := &x509.Certificate{Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: commonName, Value: cn}}}}
		if u, err := url.Parse(uri); err == nil && uri != "" {
			c.URIs = []*url.URL{u}
		}
		want := cn
		if c.URIs != nil && c.URIs[0].Scheme == scheme {
			want = strings.TrimPrefix(c.URIs[0].String(), "clone9p:")
		}
		switch name, err := certUser(c); {
		case err == nil && (name != want || name == "" || strings.ContainsAny(name, ":/ \n\x00")):
			t.Fatalf("%q, %q: %q", cn, uri, name)
		case err != nil && strings.ContainsAny(err.Error(), "\n\x00"):
			t.Fatalf("%q, %q: %v", cn, uri, err)
		}
	})
}
