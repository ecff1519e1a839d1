package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"github.com/clone9p/clone9p/server/listen"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// onTLS reports whether addr is an address of TLS.
func onTLS(addr string) bool {
	a, err := listen.Parse(addr)
	return err == nil && a.Network == "tls"
}

// The server's side.

// checkTLS finds what is missing for a tls address.
func (o *serveOptions) checkTLS() error {
	i := slices.IndexFunc(o.listen, onTLS)
	if i < 0 {
		return nil
	}
	for _, f := range []struct{ name, value string }{
		{"tls-cert", o.tlsFiles.Cert}, {"tls-key", o.tlsFiles.Key}, {"tls-client-ca", o.tlsFiles.CA},
	} {
		if f.value == "" {
			return usagef("%s wants --tls-cert, --tls-key and --tls-client-ca: --%s is missing", o.listen[i], f.name)
		}
	}
	return nil
}

// loadTLS reads the files where there is a tls address to use them.
func (o *serveOptions) loadTLS() (err error) {
	if slices.ContainsFunc(o.listen, onTLS) {
		o.tls, err = listen.LoadTLS(o.tlsFiles)
	}
	return err
}

// warnTLS logs what is dangerous about the files, or useless.
func (o *serveOptions) warnTLS(log zerolog.Logger) {
	if o.tls == nil {
		if o.tlsFiles != (listen.TLSFiles{}) {
			log.Warn().Msg("there are files for TLS, and no tls address to listen on: nothing is encrypted")
		}
		return
	}
	for _, w := range o.tls.Warnings() {
		log.Warn().Msg(w)
	}
}

// handTLS gives the listeners that another run of the server has made what this run has read: certificates are not handed over.
func (o *serveOptions) handTLS(hs []listen.Handover) {
	for i := range hs {
		hs[i].TLS = o.tls
	}
}

// reloadTLS reads the files again, where there are any, and logs what became of it.
func (o *serveOptions) reloadTLS(log zerolog.Logger) {
	if o.tls == nil {
		return
	}
	if err := o.tls.Load(o.tlsFiles); err != nil {
		log.Error().Err(err).Msg("the certificates are as before")
		return
	}
	o.warnTLS(log)
	log.Info().Str("cert", o.tlsFiles.Cert).Time("until", o.tls.Certificate().NotAfter).Msg("the certificates hold from now on")
}

// tlsFiles names the files: by the flags of the command line, and else as c says.
func (c *config) tlsFiles(flags *pflag.FlagSet) listen.TLSFiles {
	get := func(name string) string {
		if f := flags.Lookup(name); f.Changed {
			return f.Value.String()
		}
		if v := c.values[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	return listen.TLSFiles{Cert: get("tls-cert"), Key: get("tls-key"), CA: get("tls-client-ca")}
}

// isTLSFile reports whether a key of the configuration names a file of TLS.
func isTLSFile(key string) bool {
	return key == "tls-cert" || key == "tls-key" || key == "tls-client-ca"
}

// The client's side.

// The environment variables that stand in for a client's flags.
const (
	envTLSCert = "CLONE9P_TLS_CERT"
	envTLSKey  = "CLONE9P_TLS_KEY"
	envTLSCA   = "CLONE9P_TLS_CA"
)

// tlsFlags gives a client command the flags of TLS.
func tlsFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("tls-cert", "", "certificate that says who you are, for tls addresses, in PEM (`FILE`; default $"+envTLSCert+")")
	f.String("tls-key", "", "its key (`FILE`; default $"+envTLSKey+")")
	f.String("tls-ca", "", "certificates of those whom to believe who the server is, in PEM (`FILE`; default $"+envTLSCA+", else whom this machine believes)")
}

// A clientTLS is what the flags of TLS say, the environment standing in for them, and where to complain.
type clientTLS struct {
	files listen.TLSFiles
	warn  io.Writer
}

// clientTLSKey is where the context of a client command has its clientTLS: on the way to dial nobody else needs it.
type clientTLSKey struct{}

// keepTLSFlags puts what the flags of TLS say into the context of a command that has them.
func keepTLSFlags(cmd *cobra.Command) {
	if cmd.Flags().Lookup("tls-ca") == nil {
		return
	}
	get := func(flag, env string) string {
		if f := cmd.Flags().Lookup(flag); f.Changed {
			return f.Value.String()
		}
		return os.Getenv(env)
	}
	t := clientTLS{listen.TLSFiles{Cert: get("tls-cert", envTLSCert), Key: get("tls-key", envTLSKey), CA: get("tls-ca", envTLSCA)}, cmd.ErrOrStderr()}
	cmd.SetContext(context.WithValue(cmd.Context(), clientTLSKey{}, t))
}

// dial connects to the server at addr. ctx is a client command's, or from one.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	var t *listen.TLS
	if onTLS(addr) {
		c, _ := ctx.Value(clientTLSKey{}).(clientTLS)
		if c.files.Cert == "" || c.files.Key == "" {
			return nil, usagef("%s wants a certificate that says who you are, and its key: --tls-cert and --tls-key, or $%s and $%s", addr, envTLSCert, envTLSKey)
		}
		var err error
		if t, err = listen.LoadTLS(c.files); err != nil {
			return nil, err
		}
		for _, warning := range t.Warnings() {
			fmt.Fprintf(c.warn, "clone9p: %s\n", warning)
		}
	}
	conn, err := listen.DialTLS(ctx, addr, t)
	var errno unix.Errno
	if err != nil && (t == nil || errors.As(err, &errno)) { // and not: it runs, and the two do not agree
		err = fmt.Errorf("%w (is clone9p serve running?)", err)
	}
	return conn, err
}

// tlsUser is the user whom the certificate of a client command names, "" if it names none.
func tlsUser(ctx context.Context) string {
	c, _ := ctx.Value(clientTLSKey{}).(clientTLS)
	t, err := listen.LoadTLS(c.files)
	if err != nil {
		return "" // dial says so
	}
	return t.User()
}

// tlsEnv is what a client's own child needs in its environment to dial addr as the client has.
func tlsEnv(ctx context.Context, addr string) []string {
	c, _ := ctx.Value(clientTLSKey{}).(clientTLS)
	if !onTLS(addr) {
		return nil
	}
	return []string{envTLSCert + "=" + c.files.Cert, envTLSKey + "=" + c.files.Key, envTLSCA + "=" + c.files.CA}
}
