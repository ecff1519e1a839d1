package pty

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/clonefs"
)

const (
	defaultLimit   = 256
	defaultPerUser = 64
	maxLimit       = 1 << 20 // /proc/sys/kernel/pty/max is lower anyway
)

// AnyLocal in [Config.Exec] allows exec to every user whom the peer credentials of a unix socket prove.
const AnyLocal = "any-local"

// A Config holds the settings of the device. Make one with [DefaultConfig], change it, hand it to [New], which checks it and keeps a copy.
type Config struct {
	Limit   int      // pairs at once, at least 1
	PerUser int      // pairs at once of one user, at least 1
	Exec    []string // who may run commands: user names, decimal uids, [AnyLocal]; an entry may hold several, divided by commas. None by default.
}

// DefaultConfig returns the settings that the server has unless told otherwise.
func DefaultConfig() Config { return Config{Limit: defaultLimit, PerUser: defaultPerUser} }

// Options returns c's settings as data, from which a program makes flags, configuration keys and their documentation. They point into c.
func (c *Config) Options() []clonefs.Option {
	return []clonefs.Option{
		{Name: "limit", Arg: "N", Help: "terminals at once", Value: &c.Limit},
		{Name: "per-user", Arg: "N", Help: "terminals at once of one user", Value: &c.PerUser},
		{Name: "exec", Arg: "USER[,USER]", Help: "who may run commands, as themselves; any-local: all whom a unix socket proves", Value: &c.Exec},
	}
}

// Privileges are the capabilities(7) that a server run by root needs for the device with these settings: to give slaves away, or all where users run
// commands. A command of root's is to be root's, and sudo in a terminal is to work; both have no more than the server.
func (c *Config) Privileges() []string {
	if len(c.Exec) > 0 {
		return []string{"all"}
	}
	return []string{"chown", "fowner"}
}

// check returns what is wrong with c, in terms of the options' names.
func (c *Config) check() error {
	for _, o := range []struct {
		name  string
		value int
	}{{"limit", c.Limit}, {"per-user", c.PerUser}} {
		if o.value < 1 || o.value > maxLimit {
			return fmt.Errorf("pty: %s is %d, it must be 1 to %d", o.name, o.value, maxLimit)
		}
	}
	for _, entry := range c.Exec {
		for name := range strings.SplitSeq(entry, ",") {
			if name == "" {
				return errors.New("pty: exec names nobody: give a user, or any-local")
			}
		}
	}
	return nil
}

// mayExec tells why u may not run commands; nil: he may.
func (c *Config) mayExec(u clonefs.User) error {
	if len(c.Exec) == 0 {
		return errors.New("the server allows it to nobody (--pty-exec)")
	}
	if !u.Proven || u.IsNobody() {
		return fmt.Errorf("who you are is not proven over %s: come over a unix socket, or with a certificate", transport(u))
	}
	for _, entry := range c.Exec {
		for name := range strings.SplitSeq(entry, ",") {
			if name == AnyLocal && strings.HasPrefix(u.Addr, "unix") || name == u.Name || name == strconv.FormatUint(uint64(u.UID), 10) {
				return nil
			}
		}
	}
	return fmt.Errorf("the server does not allow it to %s (--pty-exec)", u.Name)
}

// transport is how u came, for a person.
func transport(u clonefs.User) string {
	if name, _, ok := strings.Cut(u.Addr, ":"); ok && name != "" {
		return name
	}
	return "this connection"
}
