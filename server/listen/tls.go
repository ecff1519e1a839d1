package listen

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/clone9p/clone9p/server"
)

// TLSFiles name the files, in PEM, that one side of TLS needs.
type TLSFiles struct {
	Cert string // what it shows: its certificate, and behind it those between that and the other side's CA
	Key  string // the certificate's key
	CA   string // whose certificates it believes; "" is, for a client only, those of whom this machine believes anyway
}

// A TLS is what one side of TLS shows and whom it believes. [LoadTLS] makes one. Its methods are safe for concurrent use.
type TLS struct {
	now atomic.Pointer[tlsState]
}

// A tlsState is what one reading of the files brought. It is immutable.
type tlsState struct {
	cert     tls.Certificate // with its leaf parsed
	ca       *x509.CertPool  // nil where no file was named
	warnings []string
}

// LoadTLS reads the files. An error names the file and what is wrong with it.
func LoadTLS(f TLSFiles) (*TLS, error) {
	t := new(TLS)
	if err := t.Load(f); err != nil {
		return nil, err
	}
	return t, nil
}

// Load reads the files, which may be others than before. What they say holds from then on, also for handshakes under way; connections
// that are there stay. After an error nothing has changed.
func (t *TLS) Load(f TLSFiles) error {
	s, err := readTLS(f)
	if err != nil {
		return err
	}
	t.now.Store(s)
	return nil
}

// Warnings tells what is dangerous or useless about the files as they were when read, in sentences.
func (t *TLS) Warnings() []string { return t.now.Load().warnings }

// Certificate is the own certificate. It must not be changed.
func (t *TLS) Certificate() *x509.Certificate { return t.now.Load().cert.Leaf }

var (
	errNoCert = errors.New("TLS wants a certificate and its key")
	errNoCA   = errors.New("TLS wants to know whose certificates of clients to believe")
)

// mayListen tells why a server cannot use t, which may be nil.
func (t *TLS) mayListen() error {
	switch {
	case t == nil:
		return errNoCert
	case t.now.Load().ca == nil:
		return errNoCA
	}
	return nil
}

// maxPEM is how large each file may be, in bytes.
const maxPEM = 1 << 20

// readTLS reads the files.
func readTLS(f TLSFiles) (*tlsState, error) {
	if f.Cert == "" || f.Key == "" {
		return nil, errNoCert
	}
	cert, _, err := readPEM("certificate", f.Cert)
	if err != nil {
		return nil, err
	}
	key, mode, err := readPEM("key", f.Key)
	if err != nil {
		return nil, err
	}
	s := new(tlsState)
	if s.cert, err = parsePair(cert, key); err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	if f.CA != "" {
		ca, _, err := readPEM("CA", f.CA)
		if err != nil {
			return nil, err
		}
		if s.ca, err = parseCA(ca); err != nil {
			return nil, fmt.Errorf("CA %s: %w", f.CA, err)
		}
	}
	if mode&0o004 != 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("everybody may read the key %s, and with it be who its certificate names: chmod o-r", f.Key))
	}
	switch now := time.Now(); {
	case now.After(s.cert.Leaf.NotAfter):
		s.warnings = append(s.warnings, fmt.Sprintf("the certificate %s has expired, at %s", f.Cert, s.cert.Leaf.NotAfter.Format(time.RFC3339)))
	case now.Before(s.cert.Leaf.NotBefore):
		s.warnings = append(s.warnings, fmt.Sprintf("the certificate %s is not valid before %s", f.Cert, s.cert.Leaf.NotBefore.Format(time.RFC3339)))
	}
	return s, nil
}

// readPEM reads a file that is a what. mode is that of a regular file.
func readPEM(what, name string) (b []byte, mode os.FileMode, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	if st.Mode().IsRegular() {
		mode = st.Mode().Perm()
	}
	if mode&0o002 != 0 {
		return nil, 0, fmt.Errorf("%s: everybody may write %s, and with it decide who is whom: chmod o-w", what, name)
	}
	b, err = io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = fmt.Errorf("%s has more than %d bytes", name, maxPEM)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	return b, mode, nil
}

// parsePair parses a certificate and its key.
func parsePair(cert, key []byte) (tls.Certificate, error) {
	if bytes.Contains(key, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")) || bytes.Contains(key, []byte("\nProc-Type: 4,ENCRYPTED")) {
		return tls.Certificate{}, errors.New("the key is encrypted, and nobody is here to give the passphrase")
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return c, err
	}
	if c.Leaf == nil {
		c.Leaf, err = x509.ParseCertificate(c.Certificate[0])
	}
	return c, err
}

// parseCA reads certificates, one at least. Other blocks of PEM and what is between them are left alone.
func parseCA(b []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for len(b) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// scheme is that of the URIs by which certificates name users.
const scheme = "clone9p"

// commonName is that part of a subject (X.520, 6.2.2).
var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// maxUser is how long a user's name may be, in bytes.
const maxUser = 256

// certUser is the name of the user whom a certificate names; see the package comment for the rule.
func certUser(c *x509.Certificate) (string, error) {
	var names []string
	for _, u := range c.URIs {
		if u.Scheme == scheme {
			names = append(names, strings.TrimPrefix(u.String(), scheme+":"))
		}
	}
	if names == nil {
		for _, a := range c.Subject.Names {
			if name, ok := a.Value.(string); ok && a.Type.Equal(commonName) {
				names = append(names, name)
			}
		}
	}
	switch {
	case len(names) == 0:
		return "", fmt.Errorf("%s names no user: it wants a URI %s:NAME, or a common name", certName(c), scheme)
	case len(names) > 1:
		return "", fmt.Errorf("%s names %d users, it may name one", certName(c), len(names))
	case !goodUser(names[0]):
		return "", fmt.Errorf("%s names %s, which is no user's name", certName(c), quote(names[0]))
	}
	return names[0], nil
}

// User is the name of the user whom the own certificate names, by the rule of the package comment; "" if it names none.
func (t *TLS) User() string {
	name, _ := certUser(t.now.Load().cert.Leaf) // whom it is shown to says what is wrong with it
	return name
}

// goodUser reports whether name can be that of a user. The database of users is C's, to which a NUL is an end, and a line of text.
func goodUser(name string) bool {
	return name != "" && len(name) <= maxUser && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == ':' || r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// certName is what a certificate is called in the log. A stranger has chosen it.
func certName(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return "the certificate " + quote(s)
	}
	return "the certificate with serial number " + quote(c.SerialNumber.String())
}

// quote makes what a stranger chose fit for one line.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// certPeer is the peer at addr, whose certificate is c. It may wait for the database of users.
func certPeer(c *x509.Certificate, addr string) (server.Peer, error) {
	name, err := certUser(c)
	if err != nil {
		return server.Peer{}, err
	}
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return server.Peer{}, fmt.Errorf("%s names the user %s, whom this machine does not know", certName(c), quote(name))
	case err != nil:
		return server.Peer{}, fmt.Errorf("cannot find out who the user %s is: %w", quote(name), err)
	case u.Username != name:
		return server.Peer{}, fmt.Errorf("%s names the user %s, who is called %s here", certName(c), quote(name), quote(u.Username))
	}
	// A group that is not known of might be one to whom something is denied.
	gids, err := u.GroupIds()
	if err != nil {
		return server.Peer{}, fmt.Errorf("cannot find out the groups of the user %s: %w", quote(name), err)
	}
	p := server.Peer{Addr: addr + ",user=" + name, Name: name, Proven: true}
	if p.UID, err = number(u.Uid); err != nil {
		return server.Peer{}, err
	}
	if p.GID, err = number(u.Gid); err != nil {
		return server.Peer{}, err
	}
	for _, s := range gids {
		g, err := number(s)
		if err != nil {
			return server.Peer{}, err
		}
		p.Groups = append(p.Groups, g)
	}
	if p.UID == p9ext.NobodyUID || name == "nobody" { // whatever number the machine has for that
		return server.Nobody(addr), nil
	}
	p.Any = p.UID == 0
	return p, nil
}

// number reads an id of the database of users.
func number(id string) (uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the user database has the number %q: %w", id, err)
	}
	return uint32(n), nil
}
