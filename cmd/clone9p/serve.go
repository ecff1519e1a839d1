package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/cmd/clone9p/internal/private"
	"github.com/clone9p/clone9p/cmd/clone9p/internal/privilege"
	"github.com/clone9p/clone9p/server"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
)

// How long the end may take: the sessions first, then what is left of the conversations. A supervisor sees the process gone within two seconds.
const (
	drainSessions = 1200 * time.Millisecond
	drainAll      = 1800 * time.Millisecond
)

// serveOptions are the flags of serve.
type serveOptions struct {
	listen      []string
	devices     []string
	net         string
	logLevel    string
	logFormat   string
	identity    string
	insecureTCP bool
	socketMode  string
	socketGroup string
	limits      server.Config
	keepAll     bool // capabilities

	tlsFiles listen.TLSFiles // for tls addresses; the newest names
	tls      *listen.TLS     // what is in them; nil without a tls address

	config string                  // the configuration file, "" for none
	conf   *config                 // what it said at the start; its access is what holds now
	reread func() (*config, error) // reads it again
}

func (a *app) serveCommand() *cobra.Command {
	var o serveOptions
	ks := kinds()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the tree of devices",
		Long: `Serve serves the tree of devices until SIGTERM or SIGINT, and ends within two seconds then, taking every
conversation along.

Who a client is: over a unix socket the kernel proves it; root may attach as anyone, others as themselves. Over TCP
everyone is nobody, unless --tcp-identity trust believes what they say. Over TLS a certificate proves it that somebody in
the file --tls-client-ca has signed. It names the user by a URI clone9p:NAME among its subject's alternative names or,
where there is none, by its subject's common name, exactly one in either case; uid and groups are what this machine knows
of NAME, and a NAME that it does not know is refused. As over a unix socket root may attach as anyone, others as
themselves.

Where the network interfaces are: with --net host in the network namespace in which the server was started; with
--net private in one of its own, which needs no privilege. The default, auto, is host where the server
may administer that, private otherwise. The log says which, and how to look inside.

Root's server gives up the capabilities that its devices do not need as they are set, for good, and with them what root may
do to other users' files; the log says which it has kept. With --pty-exec it keeps all: what it runs for its users is to be
theirs as at a login.

A configuration file, --config, may set whatever a flag sets, and has the rules about who may use which device; clone9p
config shows one. Flags win over it. On SIGHUP it is read again, and its rules hold from then on. The files of TLS are
read again too, and count for new connections. What is wrong with either is logged, and changes nothing. Without both
SIGHUP is an end.`,
		Example: `  clone9p serve --listen 'unix!/tmp/clone9p.sock' --listen 'tcp!127.0.0.1!5640'
  clone9p serve --net private --log-format json
  clone9p serve --listen 'tls!*!5641' --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.configure(cmd.Flags(), ks); err != nil {
				return err
			}
			return a.serve(cmd.Context(), &o, ks)
		},
	}
	o.addFlags(cmd, ks)
	return cmd
}

// addFlags makes the flags of serve.
func (o *serveOptions) addFlags(cmd *cobra.Command, ks []kind) {
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "configuration `FILE`, in TOML; clone9p config shows one")
	f.StringArrayVar(&o.listen, "listen", nil, "`ADDR` to listen on; may be repeated "+
		"(default unix!/run/clone9p.sock as root, unix!$XDG_RUNTIME_DIR/clone9p.sock otherwise)")
	f.StringArrayVar(&o.devices, "device", nil, "serve the device `NAME`; may be repeated (default all: "+names(ks)+")")
	f.StringVar(&o.net, "net", "auto", "network namespace of the interfaces: auto, host or private (`MODE`)")
	f.StringVar(&o.logLevel, "log-level", "info", "least `LEVEL` to log: trace, debug, info, warn, error or disabled")
	f.StringVar(&o.logFormat, "log-format", "auto", "`FORMAT` of the log: auto (console on a terminal, else json), console or json")
	f.StringVar(&o.identity, "tcp-identity", "nobody", "what a TCP client's name is worth: nobody or trust (`WHAT`)")
	f.BoolVar(&o.insecureTCP, "insecure-tcp", false, "listen on tcp addresses that other hosts reach, where nothing is encrypted or proven")
	f.StringVar(&o.tlsFiles.Cert, "tls-cert", "", "certificate that tls addresses show, in PEM, with those between it and the clients' CA behind it (`FILE`)")
	f.StringVar(&o.tlsFiles.Key, "tls-key", "", "its key (`FILE`)")
	f.StringVar(&o.tlsFiles.CA, "tls-client-ca", "", "certificates of those whose certificates prove who a client is, in PEM (`FILE`)")
	f.BoolVar(&o.keepAll, "keep-privileges", false, "keep all capabilities that root's server was started with")
	f.StringVar(&o.socketMode, "socket-mode", "0660", "permissions of unix sockets, in octal (`MODE`)")
	f.StringVar(&o.socketGroup, "socket-group", "", "`GROUP` of unix sockets, a name or a number")
	f.Uint32Var(&o.limits.MaxMessage, "max-message", server.DefaultMaxMessage, "largest message, in `BYTES`")
	f.IntVar(&o.limits.MaxConns, "max-conns", server.DefaultMaxConns, "connections at once (`N`)")
	f.IntVar(&o.limits.MaxPending, "max-pending", server.DefaultMaxPending, "of these, how many may have said nothing so far; one more ends the oldest (`N`)")
	f.IntVar(&o.limits.MaxPerHost, "max-per-host", server.DefaultMaxPerHost, "of these, how many may come from one IP address (`N`)")
	f.IntVar(&o.limits.MaxFids, "max-fids", server.DefaultMaxFids, "files that one connection may refer to at once (`N`)")
	f.IntVar(&o.limits.MaxRequests, "max-requests", server.DefaultMaxRequests, "requests of one connection that may wait at once (`N`)")
	f.IntVar(&o.limits.MaxHeld, "max-held", server.DefaultMaxHeld, "bytes with which the writes of one connection may wait (`BYTES`)")
	f.IntVar(&o.limits.MaxAttaches, "max-attaches", server.DefaultMaxAttaches, "attached roots of one connection (`N`)")
	f.DurationVar(&o.limits.WriteTimeout, "write-timeout", server.DefaultWriteTimeout,
		"cut off a client that leaves its replies unread for so long (`TIME`)")
	f.DurationVar(&o.limits.HelloTimeout, "hello-timeout", server.DefaultHelloTimeout, "cut off a connection that says nothing for so long (`TIME`)")
	for _, k := range ks {
		optionFlags(cmd, k)
	}
}

// A note is what the second run of the server, in a private network namespace or with fewer privileges, needs to know; see package private.
type note struct {
	Listeners   []listen.Handover
	Supervision supervision
	Private     bool   // it is in a private network namespace
	Reduced     bool   // it has not all capabilities that the first run had
	Why         string // what the host's network cannot be administered for
}

// serve is the command serve. In a private network namespace, and where there are privileges to give up, it runs twice: the first run stops
// at enter or again.
func (a *app) serve(ctx context.Context, o *serveOptions, ks []kind) error {
	log, err := newLogger(a.stderr, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	logLibraries(log)
	if err := o.check(); err != nil {
		return err
	}
	chosen, err := choose(ks, o.devices)
	if err != nil {
		return err
	}
	if err := o.loadTLS(); err != nil {
		return err
	}
	drivers, needs, err := build(chosen, len(o.devices) > 0, log)
	if err != nil {
		return err
	}

	keep, err := o.keep(chosen)
	if err != nil {
		return err
	}

	var n note
	files, second, err := private.Inherited(&n)
	if err != nil {
		return err
	}
	var ls []*listen.Listener
	defer func() {
		for _, l := range ls {
			l.Close()
		}
	}()
	var sup *supervisor
	if second {
		o.handTLS(n.Listeners)
		ls, files, err = inherit(files, n.Listeners)
		if err == nil {
			sup, err = inheritSupervisor(files, n.Supervision, log)
		}
	} else {
		ls, err = o.listeners()
		sup = newSupervisor(log)
	}
	if err != nil {
		return err
	}
	defer sup.close()
	if !second && needs&needsNetwork != 0 {
		why, enter := o.private()
		if enter {
			st, started, err := a.enter(ls, sup, why, keep)
			switch {
			case started:
				return exitWith(st)
			case err == nil: // not reached: the process was replaced
			case o.net == "auto" && errors.Is(err, private.ErrRefused):
				log.Warn().Err(err).Msg("staying in the network namespace of the host, where cloning a network interface will fail")
			default:
				return err
			}
		} else if why != nil {
			log.Warn().AnErr("why", why).Msg("cloning a network interface will fail in the host's network namespace")
		}
	}
	if !second && keep != privilege.All {
		if err := a.again(ls, sup, keep); err != nil {
			return err
		}
	}
	if held, err := privilege.Held(); err == nil { // on Linux
		all := ""
		if held != 0 && !n.Reduced {
			all = "all there were, "
		}
		log.Info().Msg("capabilities kept: " + all + held.String())
	}
	if needs&needsNetwork != 0 {
		if ok, text := checkTun(tunDevice); !ok {
			log.Warn().Str("why", text).Msg("cloning a network interface will fail")
		}
	}
	if n.Private {
		if err := private.LoopbackUp(); err != nil {
			return fmt.Errorf("in the private network namespace: %w", err)
		}
		log.Info().Str("why", n.Why).Str("look", private.Hint(os.Getpid())).
			Msg("network interfaces live in a private network namespace")
	}
	return a.run(ctx, o, log, ls, sup, drivers, n.Private)
}

// run serves on the listeners until a signal comes or a listener fails.
func (a *app) run(ctx context.Context, o *serveOptions, log zerolog.Logger, ls []*listen.Listener, sup *supervisor,
	drivers []clonefs.Driver, inside bool) error {
	// From here to the end a signal is a wish to end in good order; but nohup is to mean what it says.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	// Who reads the log may be gone before the sessions are, as the other side of ssh is; taken note of, that is no reason to end without order.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	var srv *server.Server
	var tree *clonefs.FS
	conf := clonefs.Config{
		Log:   log,
		Mount: mountLine(ls),
		Root: []clonefs.RootFile{{
			Name: "stats", Mode: 0o444, Help: "connections, fids, requests, bytes; clones and releases of each device",
			Text: func() (string, error) { return statsText(srv.Stats(), tree.Stats()), nil },
		}},
	}
	tree, err := clonefs.New(conf, drivers...)
	if err != nil {
		return err
	}
	if err := tree.Configure(o.conf.access.of(tree.Stats())); err != nil {
		return fmt.Errorf("%s: %w", o.config, err)
	}
	o.warnTLS(log)
	o.limits.Log = log
	srv = server.New(tree, o.limits)

	var addrs []string
	served := make(chan error, len(ls))
	singles := 0
	for _, l := range ls {
		addrs = append(addrs, l.Address().String())
		if l.Single() {
			singles++
		}
		go func() { served <- srv.Serve(l) }() // ends by Shutdown below
	}
	where := "host"
	if inside {
		where = "private"
	}
	log.Info().Strs("addr", addrs).Str("net", where).Int("pid", os.Getpid()).Msg("serving")

	devices := make([]string, 0, len(drivers))
	for _, d := range tree.Stats() {
		devices = append(devices, d.Name)
	}
	alive := func(ctx context.Context) error { return answers(ctx, srv, devices) }
	watching := sup.begin(ctx, alive, "serving on "+strings.Join(addrs, ", "))
	result := o.wait(ctx, signals, served, singles, tree, sup, log)
	watching()
	sup.say("STOPPING=1", "STATUS=ending all sessions")
	return errors.Join(result, drain(srv, tree, log))
}

// wait waits for a reason to stop: a signal, a listener that fails, or the end of the last of the connections that were there from the beginning, of
// which there are singles. With files to read again SIGHUP is none.
func (o *serveOptions) wait(ctx context.Context, signals <-chan os.Signal, served <-chan error, singles int, tree *clonefs.FS,
	sup *supervisor, log zerolog.Logger) error {
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGHUP || o.config == "" && o.tls == nil {
				log.Info().Stringer("signal", s).Msg("stopping")
				return nil
			}
			sup.reloading()
			if o.config == "" {
				o.reloadTLS(log)
				sup.ready("the certificates were read again")
				continue
			}
			later, err := o.reload(tree)
			text := "the rules of the configuration hold from now on"
			switch {
			case err != nil:
				text = "the configuration is as before"
				log.Error().Err(err).Msg(text)
			case len(later) > 0:
				log.Warn().Strs("restart", later).Msg(text + ", its other changes from the next start")
			default:
				log.Info().Msg(text)
			}
			o.reloadTLS(log)
			sup.ready(text)
		case err := <-served:
			if err == nil {
				if singles--; singles > 0 {
					continue
				}
				log.Info().Msg("the connection has ended; stopping")
				return nil
			}
			log.Error().Err(err).Msg("a listener failed; stopping")
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// drain ends all sessions and conversations, within the time that there is.
func drain(srv *server.Server, tree *clonefs.FS, log zerolog.Logger) error {
	begin := time.Now()
	all, cancel := context.WithTimeout(context.Background(), drainAll)
	defer cancel()
	first, cancel := context.WithTimeout(all, drainSessions)
	defer cancel()
	if err := srv.Shutdown(first); err != nil {
		log.Warn().Err(err).Msg("sessions did not end in time")
	}
	if err := tree.Close(all); err != nil {
		return fmt.Errorf("conversations did not end in time; the kernel takes what they held: %w", err)
	}
	log.Info().Dur("ms", time.Since(begin)).Msg("stopped")
	return nil
}

// check finds the mistakes in options that only this program knows to be such.
func (o *serveOptions) check() error {
	switch o.net {
	case "auto", "host":
	case "private":
		if runtime.GOOS != "linux" {
			return usagef("--net private: %v", private.ErrUnsupported)
		}
	default:
		return usagef("--net %s: want auto, host or private", o.net)
	}
	switch listen.TCPIdentity(o.identity) {
	case listen.Nobody, listen.Trust:
	default:
		return usagef("--tcp-identity %s: want nobody or trust", o.identity)
	}
	if m, err := strconv.ParseUint(o.socketMode, 8, 9); err != nil || m == 0 {
		return usagef("--socket-mode %s: want an octal mode such as 0660", o.socketMode)
	}
	for _, l := range []struct {
		name  string
		value int64
	}{
		{"max-message", int64(o.limits.MaxMessage)},
		{"max-conns", int64(o.limits.MaxConns)},
		{"max-pending", int64(o.limits.MaxPending)},
		{"max-per-host", int64(o.limits.MaxPerHost)},
		{"max-fids", int64(o.limits.MaxFids)},
		{"max-requests", int64(o.limits.MaxRequests)},
		{"max-held", int64(o.limits.MaxHeld)},
		{"max-attaches", int64(o.limits.MaxAttaches)},
		{"write-timeout", int64(o.limits.WriteTimeout)},
		{"hello-timeout", int64(o.limits.HelloTimeout)},
	} {
		if l.value <= 0 {
			return usagef("--%s must be more than 0", l.name)
		}
	}
	var taken []listen.Addr
	for _, addr := range o.listen {
		a, err := listen.Parse(addr)
		switch {
		case err != nil:
			return usagef("--listen: %w", err)
		case a.Network == "exec":
			return usagef("--listen %s: exec! is for clients: nobody can connect to a command", addr)
		case a.Network == "dev":
			return usagef("--listen %s: dev! is for clients: nobody can connect to a device", addr)
		case slices.Contains(taken, a) && (a.Network == "stdio" || a.Network == "fd"):
			return usagef("--listen %s twice: its one connection can be served once", addr)
		}
		taken = append(taken, a)
	}
	return o.checkTLS()
}

// build makes the drivers. One that this machine cannot have is an error where it was asked for by name, else left out.
func build(chosen []kind, named bool, log zerolog.Logger) (drivers []clonefs.Driver, all needs, err error) {
	for _, k := range chosen {
		d, err := k.build()
		switch {
		case err == nil:
			drivers = append(drivers, d)
			all |= k.needs
		case named || runtime.GOOS == "linux":
			return nil, 0, usageError{err} // a bad setting
		default:
			log.Warn().Err(err).Msg("device left out")
		}
	}
	return drivers, all, nil
}

// listeners listens on all addresses.
func (o *serveOptions) listeners() ([]*listen.Listener, error) {
	addrs := o.listen
	if len(addrs) == 0 {
		addr, err := listen.Default()
		if err != nil {
			return nil, err
		}
		addrs = []string{addr}
	}
	mode, _ := strconv.ParseUint(o.socketMode, 8, 9) // checked
	lo := listen.Options{TLS: o.tls, TCPIdentity: listen.TCPIdentity(o.identity), InsecureTCP: o.insecureTCP, Mode: fs.FileMode(mode), Group: o.socketGroup}
	return listen.ListenAll(addrs, lo)
}

// inherit makes listeners of what the first run handed over, and returns the files that are none of theirs.
func inherit(files []*os.File, hs []listen.Handover) (ls []*listen.Listener, rest []*os.File, err error) {
	want := 0
	for _, h := range hs {
		want += max(h.Files, 1)
	}
	if len(files) < want {
		return nil, nil, fmt.Errorf("%d files were handed over for %d listeners that need %d", len(files), len(hs), want)
	}
	for _, h := range hs {
		l, err := listen.Inherit(files[:h.Files], h)
		if err != nil {
			return ls, nil, err
		}
		ls, files = append(ls, l), files[h.Files:]
	}
	return ls, files, nil
}

// private decides whether the server goes into a network namespace of its own; why is what speaks against the host's, or nil.
func (o *serveOptions) private() (why error, enter bool) {
	if runtime.GOOS != "linux" {
		return nil, false
	}
	if o.net == "private" {
		return errors.New("--net private asks for it"), true
	}
	why = private.MayAdminister()
	return why, why != nil && o.net == "auto"
}

// keep decides which capabilities a server of these devices goes on with; privilege.All stands for all that there are.
func (o *serveOptions) keep(chosen []kind) (keep privilege.Set, err error) {
	if o.keepAll || !privilege.Droppable() {
		return privilege.All, nil
	}
	for _, k := range chosen {
		s, err := privilege.Of(k.privileges()...)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", k.name, err)
		}
		keep |= s
	}
	return keep, nil
}

// dropping is what a thread does before it executes the second run, which is to have those capabilities.
func dropping(keep privilege.Set) func() error {
	if keep == privilege.All {
		return nil
	}
	return func() error { return privilege.Drop(keep) }
}

// enter hands the listeners to a second run of the server in a private network namespace, see private.Enter. When that cannot be, the
// listeners are as they were.
func (a *app) enter(ls []*listen.Listener, sup *supervisor, why error, keep privilege.Set) (st int, started bool, err error) {
	n := note{Private: true, Reduced: keep != privilege.All, Why: why.Error()}
	err = hand(ls, sup, n, func(files []*os.File, n note) (err error) {
		st, started, err = private.Enter(files, n, dropping(keep))
		return err
	})
	return st, started, err
}

// again hands the listeners to a second run of the server in its place, which has no other capabilities than these.
func (a *app) again(ls []*listen.Listener, sup *supervisor, keep privilege.Set) error {
	return hand(ls, sup, note{Reduced: true}, func(files []*os.File, n note) error { return private.Again(files, n, dropping(keep)) })
}

// hand makes files and the rest of a note of the listeners and the supervisor for run, which returns nil when the second run is over. After an error of
// run the listeners are as they were.
func hand(ls []*listen.Listener, sup *supervisor, n note, run func([]*os.File, note) error) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, l := range ls {
		fs, h, err := l.Hand()
		if err != nil {
			return err
		}
		files = append(files, fs...)
		n.Listeners = append(n.Listeners, h)
	}
	more, supervision, stop, err := sup.hand()
	if err != nil {
		return err
	}
	defer stop()
	n.Supervision = supervision
	files = append(files, more...)
	if err = run(files, n); err == nil { // it is over
		return nil
	}
	again, rest, e := inherit(files, n.Listeners)
	files = rest
	copy(ls, again)
	return errors.Join(err, e)
}

// mountLine is the command that mounts the tree on Linux, from the first listener of the kind that people mount.
func mountLine(ls []*listen.Listener) string {
	for _, l := range ls {
		if a := l.Address(); a.Network == "unix" && a.Path[0] != '@' { // the kernel cannot mount from an abstract one
			return "mount -t 9p -o trans=unix,version=9p2000.L,cache=none,noxattr,access=user,msize=1048576 " + a.Path + " /n/clone"
		}
	}
	for _, l := range ls {
		if a := l.Address(); a.Network == "tcp" {
			host := a.Host
			if host == "*" {
				host = "ADDRESS"
			}
			return fmt.Sprintf("mount -t 9p -o trans=tcp,port=%d,version=9p2000.L,cache=none,noxattr,access=any,msize=1048576 %s /n/clone", a.Port, host)
		}
	}
	return ""
}

// exitWith is the error that makes the program exit with st.
func exitWith(st int) error {
	if st == 0 {
		return nil
	}
	return status(st)
}

// statsText renders /stats.
func statsText(s server.Stats, devices []clonefs.DeviceStats) string {
	var b strings.Builder
	for _, l := range []struct {
		name  string
		value any
	}{
		{"connections", s.Sessions},
		{"pending-connections", s.Pending},
		{"fids", s.Fids},
		{"requests", s.Requests},
		{"total-connections", s.TotalSessions},
		{"refused-connections", s.Refused},
		{"messages", s.Messages},
		{"bytes-in", s.BytesIn},
		{"bytes-out", s.BytesOut},
		{"flushes", s.Flushes},
	} {
		fmt.Fprintf(&b, "%s %d\n", l.name, l.value)
	}
	for _, d := range devices {
		fmt.Fprintf(&b, "%s-conversations %d\n%[1]s-clones %[3]d\n%[1]s-releases %[4]d\n%[1]s-refused %[5]d\n",
			d.Name, d.Convs, d.Clones, d.Releases, d.Refused)
	}
	return b.String()
}
