package dmover

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/clonefs"
)

const (
	defaultLimit   = 256
	defaultPerUser = 64
	defaultBuffer  = 16 << 20
	defaultMemory  = 1 << 30
	maxLimit       = 1 << 20
	maxBuffer      = 1 << 30
	maxMemory      = 1<<(strconv.IntSize-1) - 1

	defaultDepth = 64
	maxDepth     = 4096
)

// A Config holds the settings of the device. Make one with [DefaultConfig], change it, hand it to [New], which checks it and keeps a copy.
type Config struct {
	Limit   int      // sessions at once, at least 1
	PerUser int      // sessions at once of one user, at least 1
	Buffer  int      // bytes that one of the nine buffers of a session holds in memory at most
	Memory  int      // bytes that the buffers of all sessions have together at most
	Roots   []string // directories whose files may be bound, [NAME=]DIR; a PATH of bind is NAME/PATH where the root has a name
}

// DefaultConfig returns the settings that the server has unless told otherwise: no files.
func DefaultConfig() Config {
	return Config{Limit: defaultLimit, PerUser: defaultPerUser, Buffer: defaultBuffer, Memory: defaultMemory}
}

// Options returns c's settings as data, from which a program makes flags, configuration keys and their documentation. They point into c.
func (c *Config) Options() []clonefs.Option {
	return []clonefs.Option{
		{Name: "limit", Arg: "N", Help: "sessions at once", Value: &c.Limit},
		{Name: "per-user", Arg: "N", Help: "sessions at once of one user", Value: &c.PerUser},
		{Name: "buffer", Arg: "BYTES", Help: "memory of each of a session's nine buffers, at most", Value: &c.Buffer},
		{Name: "memory", Arg: "BYTES", Help: "memory of the buffers of all sessions together, at most", Value: &c.Memory},
		{Name: "root", Arg: "[NAME=]DIR", Help: "let sessions bind files below DIR, with their owners' rights; repeatable", Value: &c.Roots},
	}
}

// Privileges are the capabilities(7) that a server run by root needs for the device with these settings: with roots, to open files with the rights of
// others, and with all of its own where a session is root's.
func (c *Config) Privileges() []string {
	if len(c.Roots) == 0 {
		return nil
	}
	return []string{"setuid", "setgid", "dac_override"}
}

// A root is an exported directory.
type root struct{ name, dir string }

// check returns the roots, or what is wrong with c, in terms of the options' names.
func (c *Config) check() ([]root, error) {
	for _, o := range []struct {
		name       string
		value, max int
	}{{"limit", c.Limit, maxLimit}, {"per-user", c.PerUser, maxLimit}, {"buffer", c.Buffer, maxBuffer}, {"memory", c.Memory, maxMemory}} {
		if o.value < 1 || o.value > o.max {
			return nil, fmt.Errorf("dmover: %s is %d, it must be 1 to %d", o.name, o.value, o.max)
		}
	}
	var roots []root
	names := make(map[string]bool)
	for _, entry := range c.Roots {
		r := root{dir: entry}
		if name, dir, ok := strings.Cut(entry, "="); ok && !strings.Contains(name, "/") {
			if r = (root{name, dir}); name == "" || name == "." || name == ".." {
				return nil, fmt.Errorf("dmover: root %q has no name before the =", entry)
			}
		}
		if !filepath.IsAbs(r.dir) {
			return nil, fmt.Errorf("dmover: root %q is no absolute path", r.dir)
		}
		if names[r.name] {
			if r.name == "" {
				return nil, errors.New("dmover: two roots have no name: write NAME=DIR")
			}
			return nil, fmt.Errorf("dmover: two roots are called %q", r.name)
		}
		names[r.name] = true
		roots = append(roots, r)
	}
	return roots, nil
}
