package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clone9p/clone9p/server/listen"
	"golang.org/x/sys/unix"
)

// What mount(2) is told, without the descriptor.
func TestKernelOptions(t *testing.T) {
	const usual = "trans=fd,version=9p2000.L,cache=none,access=any,msize=1048576,"
	for _, tt := range []struct {
		r     mountRequest
		flags uintptr
		data  string
		err   string
	}{
		{r: mountRequest{addr: "unix!/s"}, data: usual + "aname=/"},
		{r: mountRequest{addr: "unix!/s", aname: "/ethfoo?patience=45s"}, data: usual + "aname=/ethfoo?patience=45s"},
		{r: mountRequest{addr: "tcp!h!564", aname: "/"}, data: usual + "aname=/,uname=root"},
		{r: mountRequest{addr: "vsock!2:564", aname: "/"}, data: usual + "aname=/,uname=root"},
		{r: mountRequest{addr: "tls!h!564", aname: "/"}, data: usual + "aname=/"},
		{r: mountRequest{addr: "exec!cat", options: []string{"ro", "nosuid", "noexec", "exec"}}, flags: unix.MS_RDONLY | unix.MS_NOSUID, data: usual + "aname=/"},
		{r: mountRequest{addr: "unix!/s", options: []string{"defaults", "msize=8192", "uname=me", "dfltuid=7"}}, data: usual + "aname=/,msize=8192,uname=me,dfltuid=7"},
		{r: mountRequest{addr: "unix!/s", aname: "/a,b"}, err: "for its comma"},
		{r: mountRequest{addr: "unix!/s", options: []string{"cache=loose"}}, err: "-o cache=loose: want ro"},
		{r: mountRequest{addr: "unix!/s", options: []string{"ro=1"}}, err: "-o ro=1: want ro"},
		{r: mountRequest{addr: "unix!/s", options: []string{"rfdno=0"}}, err: "-o rfdno=0: want ro"},
	} {
		flags, data, err := tt.r.kernelOptions("any")
		switch {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%+v: error %v, want %q", tt.r, err, tt.err)
		case tt.err == "" && (err != nil || flags != tt.flags || data != tt.data):
			t.Errorf("%+v: %#x %s (%v)\nwant %#x %s", tt.r, flags, data, err, tt.flags, tt.data)
		}
	}
}

// Each user is himself where the server believes that: over a unix socket, and over TLS for a certificate of root's.
func TestKernelAccess(t *testing.T) {
	unixSocket := "any"
	if os.Geteuid() == 0 {
		unixSocket = "user"
	}
	c := certificates(t)
	ctx := func(name string) context.Context {
		return context.WithValue(t.Context(), clientTLSKey{}, clientTLS{files: c(name)})
	}
	for _, tt := range []struct {
		addr, access string
		ctx          context.Context
		want         string
	}{
		{"unix!/s", "", t.Context(), unixSocket},
		{"unix!/s", "any", t.Context(), "any"},
		{"tcp!h!564", "", t.Context(), "any"},
		{"tcp!h!564", "user", t.Context(), "user"},
		{"exec!cat", "", t.Context(), "any"},
		{"vsock!2:564", "", t.Context(), "any"},
		{"tls!h!564", "", ctx("root"), "user"},
		{"tls!h!564", "", ctx("mary"), "any"},
		{"tls!h!564", "", t.Context(), "any"},
	} {
		if got := (mountRequest{addr: tt.addr, access: tt.access}).kernelAccess(tt.ctx); got != tt.want {
			t.Errorf("%s with --access %q: access=%s, want %s", tt.addr, tt.access, got, tt.want)
		}
	}
}

// What is no plain socket is relayed, and all that stays in the foreground.
func TestRelayed(t *testing.T) {
	for addr, want := range map[string]bool{"unix!/s": false, "tcp!h!1": false, "vsock!2:1": false, "tls!h!1": true, "exec!cat": true} {
		if got := (mountRequest{addr: addr}).relayed(); got != want {
			t.Errorf("%s: relayed %v", addr, got)
		}
		if !(mountRequest{addr: addr, foreground: true}).relayed() {
			t.Errorf("%s in the foreground is not relayed", addr)
		}
	}
}

// A relay carries both ways, and when one side goes it closes the other and tells which it was. synctest finds a goroutine that stays.
func TestMountRelay(t *testing.T) {
	for _, who := range []relayEnd{kernelEnded, serverEnded} {
		synctest.Test(t, func(t *testing.T) {
			kernel, ours := net.Pipe()
			server, conn := net.Pipe()
			l := startRelay(ours, conn)
			for _, way := range [][2]net.Conn{{kernel, server}, {server, kernel}} {
				sent := bytes.Repeat([]byte("0123456789"), 50000)
				go func() { _, _ = way[0].Write(sent) }() // what arrives is looked at
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("what arrives differs: %v", err)
				}
			}
			goes, stays := kernel, server
			if who == serverEnded {
				goes, stays = server, kernel
			}
			goes.Close()
			if _, err := stays.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the other side reads error %v, want the end", err)
			}
			if got := l.wait(); got != who {
				t.Errorf("the server has gone: %v, want %v", got, who)
			}
			stays.Close()
		})
	}
}

// A relay that is ended closes both sides, as often as one likes.
func TestMountRelayEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel, ours := net.Pipe()
		server, conn := net.Pipe()
		l := startRelay(ours, conn)
		l.end()
		l.end()
		l.wait()
		for _, c := range []net.Conn{kernel, server} {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a side reads error %v, want the end", err)
			}
		}
	})
}

// The kernel's end of a socketpair does not block, and its close is the relay's end, also with bytes on the way.
func TestSocketpair(t *testing.T) {
	fd, ours, err := socketpair()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Read(fd, make([]byte, 1)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("a read of nothing: error %v, want EAGAIN", err)
	}
	server, conn := net.Pipe()
	defer server.Close()
	l := startRelay(ours, conn)
	if _, err := unix.Write(fd, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	if _, err := io.ReadFull(server, p); err != nil || string(p) != "ping" {
		t.Fatalf("the server reads %q, %v", p, err)
	}
	if _, err := server.Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if got := l.wait(); got != kernelEnded {
		t.Error("the server has gone, want the kernel")
	}
}

// A descriptor of a connection outlives it; what has none is refused.
func TestDuplicate(t *testing.T) {
	fd, ours, err := socketpair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dup, err := duplicate(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	if _, err := unix.Write(dup, []byte("x")); err != nil {
		t.Errorf("write to the duplicate: %v", err)
	}
	p := make([]byte, 2)
	if n, err := unix.Read(fd, p); n != 1 || err != nil {
		t.Errorf("the other end reads %d bytes, %v", n, err)
	}
	unix.Close(dup)
	if n, err := unix.Read(fd, p); n != 0 || err != nil {
		t.Errorf("the other end reads %d bytes, %v, want the end", n, err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := duplicate(a); err == nil {
		t.Error("what has no descriptor is duplicated")
	}
}

// Why the kernel does not mount is said in words.
func TestKernelMountExplain(t *testing.T) {
	m := kernelMount{source: "unix!/s", dir: "/n"}
	if err := m.explain(nil); err != nil {
		t.Error(err)
	}
	for errno, want := range map[error]string{
		unix.ENODEV: "no 9P", unix.EPERM: "refuses", unix.ENOENT: "no such name", unix.ECONNRESET: "ended the connection", unix.ENOMEM: "cannot allocate memory",
	} {
		err := m.explain(errno)
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot mount unix!/s on /n: ") {
			t.Errorf("%v: %v, want %q", errno, err, want)
		}
	}
}

// certificates makes files of certificates that name users.
func certificates(t *testing.T) func(user string) listen.TLSFiles {
	dir := t.TempDir()
	return func(user string) listen.TLSFiles {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: user}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		f := listen.TLSFiles{Cert: filepath.Join(dir, user+".pem"), Key: filepath.Join(dir, user+".key")}
		for name, block := range map[string]*pem.Block{f.Cert: {Type: "CERTIFICATE", Bytes: der}, f.Key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
			if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
}
