package main

import (
	"context"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"strings"

	p9client "github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/cmd/clone9p/internal/fusemount"
	"github.com/clone9p/clone9p/server/listen"
	"github.com/rs/zerolog"
)

// mountFUSE is the way by FUSE.
func mountFUSE(ctx context.Context, r mountRequest, ready func() error) error {
	if why := fusemount.Possible(); why != nil {
		return fmt.Errorf("FUSE cannot be used: %w", why)
	}
	switch info, err := os.Stat(r.dir); {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory to mount on", r.dir)
	}
	log, closeLog, err := r.newLog()
	if err != nil {
		return err
	}
	defer closeLog()
	var signals chan os.Signal
	m, err := r.mount(ctx, &log, func() { signals = endSignals() })
	if err != nil {
		return err
	}
	stop := untilSignalled(signals, func() {
		if err := m.Unmount(); err != nil {
			log.Error().Err(err).Msg("cannot unmount")
			os.Exit(1) // the kernel ends what is mounted with this process
		}
	})
	defer stop()
	if err := ready(); err != nil {
		_ = m.Unmount() // the first error counts
		return err
	}
	m.Wait()
	return nil
}

// mount connects and mounts. It calls mounting between the two.
func (r mountRequest) mount(ctx context.Context, log *zerolog.Logger, mounting func()) (*fusemount.Mount, error) {
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(r.addr))
	defer cancel()
	nc, err := dial(ctx, r.addr)
	if err != nil {
		return nil, err
	}
	// 9P2000.L first: it renames between directories and knows statfs.
	conn, err := p9client.New(ctx, nc, p9client.Options{Dialects: []p9client.Dialect{p9client.P9L, p9client.P9u, p9client.P9}})
	if err != nil {
		return nil, fmt.Errorf("cannot talk to the server at %s: %w", r.addr, err)
	}
	attach := p9client.Attach{Name: r.aname}
	if addr, err := listen.Parse(r.addr); err == nil && (addr.Network == "tcp" || addr.Network == "vsock") { // where nothing proves who we are
		uid := uint32(os.Geteuid())
		attach.UID = &uid
	}
	if name, ok := withoutRecords(r.aname); ok {
		// A server that is not ours knows no options, and no such name.
		plain := attach
		if attach.Name = name; !r.attaches(ctx, conn, attach) {
			attach = plain
		}
	}
	mounting()
	m, err := fusemount.New(ctx, conn, r.dir, fusemount.Options{
		Attach: attach, PerUser: r.perUser, AllowOther: r.allowOther || os.Geteuid() == 0,
		Name: r.aname, Source: r.addr, Options: r.options, Log: log,
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// attaches reports whether the server lets us attach so.
func (r mountRequest) attaches(ctx context.Context, conn *p9client.Conn, a p9client.Attach) bool {
	f, err := conn.Attach(ctx, a)
	if err != nil {
		return false
	}
	f.Drop()
	return true
}

// withoutRecords is the attach name that tells a server of ours not to help Linux's client with records; false when the name says something of that itself.
func withoutRecords(aname string) (string, bool) {
	path, options, _ := strings.Cut(aname, "?")
	for o := range strings.SplitSeq(options, "&") {
		if strings.HasPrefix(o, "records=") {
			return aname, false
		}
	}
	if path == "" {
		path = "/"
	}
	if options != "" {
		options += "&"
	}
	return path + "?" + options + "records=off", true
}

// newLog is the log of a mount: a file, or else standard error in the foreground, and the system's log where nobody would read that.
func (r mountRequest) newLog() (zerolog.Logger, func(), error) {
	var w io.Writer = io.Discard
	closer := func() {}
	switch {
	case r.log != "":
		f, err := os.OpenFile(r.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return zerolog.Nop(), nil, fmt.Errorf("--log: %w", err)
		}
		w, closer = f, func() { f.Close() }
	case r.foreground:
		w = os.Stderr
	default:
		if s, err := syslog.New(syslog.LOG_DAEMON, "clone9p"); err == nil { // not every machine has one
			w, closer = zerolog.SyslogLevelWriter(s), func() { s.Close() }
		}
	}
	log, err := newLogger(w, "auto", "info")
	return log, closer, err
}

func unmountFUSE(ctx context.Context, dir string) (detached bool, err error) {
	return fusemount.Unmount(ctx, dir)
}
