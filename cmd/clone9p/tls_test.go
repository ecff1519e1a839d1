package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdCA is the command ca NAME, which makes a certificate authority: NAME.pem, NAME.key.
func cmdCA(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ca NAME")
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: args[0]},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	makeCert(ts, args[0], tmpl, "")
}

// cmdCert is the command cert CA FILE KIND [NAME], which makes FILE.pem and FILE.key, signed by CA: a server's on 127.0.0.1, or a user's
// whose common name is NAME, or whose URI is, or that has no name, or has expired.
func cmdCert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: cert CA FILE server|user|uri|nameless|expired [NAME]")
	}
	args = append(args, "")
	tmpl := &x509.Certificate{Subject: pkix.Name{CommonName: args[3]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	switch args[2] {
	case "server":
		tmpl.IPAddresses, tmpl.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case "user":
	case "uri":
		tmpl.Subject.CommonName, tmpl.URIs = "Somebody Else", []*url.URL{{Scheme: "clone9p", Opaque: args[3]}}
	case "nameless":
		tmpl.Subject = pkix.Name{Organization: []string{"Wonderland"}}
	case "expired":
		tmpl.NotAfter = time.Now().Add(-time.Minute)
	default:
		ts.Fatalf("cert knows no %s", args[2])
	}
	makeCert(ts, args[1], tmpl, args[0])
}

// makeCert writes file.pem and file.key. by is who signs, or nobody else.
func makeCert(ts *testscript.TestScript, file string, tmpl *x509.Certificate, by string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	tmpl.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	ts.Check(err)
	tmpl.NotBefore = time.Now().Add(-time.Hour)
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := tmpl, key
	if by != "" {
		read := func(name string) []byte {
			b, err := os.ReadFile(ts.MkAbs(name))
			ts.Check(err)
			block, _ := pem.Decode(b)
			return block.Bytes
		}
		parent, err = x509.ParseCertificate(read(by + ".pem"))
		ts.Check(err)
		signer, err = x509.ParseECPrivateKey(read(by + ".key"))
		ts.Check(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	ts.Check(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		ts.Check(os.WriteFile(ts.MkAbs(file+name), pem.EncodeToMemory(block), 0o600))
	}
}
