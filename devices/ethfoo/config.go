package ethfoo

import (
	"fmt"
	"strings"

	"github.com/clone9p/clone9p/clonefs"
)

// What the defaults are and where the limits of the limits lie.
const (
	defaultPrefix   = "ethfoo"
	defaultLimit    = 1024
	defaultPerUser  = 256
	defaultQueue    = 256
	defaultMaxQueue = 4096

	maxPrefix = 9       // leaves six digits of the kernel's fifteen bytes for the number
	maxLimit  = 1000000 // interfaces; six digits
	maxQueue  = 1 << 20 // frames
)

// A Config holds the settings of the device. Make one with [DefaultConfig], change it, hand it to [New], which checks it and keeps
// a copy.
type Config struct {
	Prefix   string // what interfaces are called before their number: 1 to 9 bytes, see the name message
	Limit    int    // interfaces at once, at least 1
	PerUser  int    // interfaces at once of one user, at least 1
	Queue    int    // frames held for a reader that is behind, until its conversation says otherwise
	Netns    bool   // an owner may move an interface into another network namespace; otherwise the superuser alone
	MaxQueue int    // the most a conversation may ask for with "queue N"; a reader never holds more than 16 MiB
}

// DefaultConfig returns the settings that the server has unless told otherwise.
func DefaultConfig() Config {
	return Config{
		Prefix:   defaultPrefix,
		Limit:    defaultLimit,
		PerUser:  defaultPerUser,
		Queue:    defaultQueue,
		MaxQueue: defaultMaxQueue,
	}
}

// Options returns c's settings as data, from which a program makes flags, configuration keys and their documentation.
// They point into c.
func (c *Config) Options() []clonefs.Option {
	return []clonefs.Option{
		{Name: "prefix", Arg: "NAME", Help: "what interfaces are called before their number", Value: &c.Prefix},
		{Name: "limit", Arg: "N", Help: "interfaces at once", Value: &c.Limit},
		{Name: "per-user", Arg: "N", Help: "interfaces at once of one user", Value: &c.PerUser},
		{Name: "netns", Help: "let owners move their interfaces into other network namespaces; keeps the privileges for that, which the superuser's netns wants too", Value: &c.Netns},
		{Name: "queue", Arg: "FRAMES", Help: "frames held for a reader that is behind, before the oldest is dropped", Value: &c.Queue},
		{Name: "max-queue", Arg: "FRAMES", Help: "the most frames that a conversation may ask for with its queue message", Value: &c.MaxQueue},
	}
}

// Privileges are the capabilities(7) that a server run by root needs for the device with these settings. To follow an interface into another network
// namespace takes sys_admin, to find that of a process sys_ptrace.
func (c *Config) Privileges() []string {
	if c.Netns {
		return []string{"net_admin", "sys_admin", "sys_ptrace"}
	}
	return []string{"net_admin"}
}

// check returns what is wrong with c, in terms of the options' names.
func (c *Config) check() error {
	if reason := badName(c.Prefix); reason != "" {
		return fmt.Errorf("ethfoo: prefix %q %s", c.Prefix, reason)
	}
	if len(c.Prefix) > maxPrefix {
		return fmt.Errorf("ethfoo: prefix %q is longer than %d bytes", c.Prefix, maxPrefix)
	}
	for _, o := range []struct {
		name       string
		value, max int
	}{
		{"limit", c.Limit, maxLimit},
		{"per-user", c.PerUser, maxLimit},
		{"max-queue", c.MaxQueue, maxQueue},
		{"queue", c.Queue, c.MaxQueue},
	} {
		if o.value < 1 || o.value > o.max {
			return fmt.Errorf("ethfoo: %s is %d, it must be 1 to %d", o.name, o.value, o.max)
		}
	}
	return nil
}

// badName says in what way s cannot be the name of a network interface, "" when it can. The rules are the kernel's
// (dev_valid_name), and ours: no %, which the kernel would take for a pattern, and nothing that a shell script's ip(8) would take for an option.
func badName(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > 15:
		return "is longer than 15 bytes"
	case s == "." || s == "..":
		return "is a directory's name"
	case s[0] == '-':
		return "begins as an option of a command does"
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' || r == '%' }); i >= 0 {
		return fmt.Sprintf("has %q in it", s[i:i+1])
	}
	return ""
}
