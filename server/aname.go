package server

import (
	"net/url"
	"strings"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// An attachName is what the attach name of Tattach asks for: "/subtree?option=value&...". The options are
//
//	records=on|off     short reads of a file of records are for a client that refills them, as Linux does; see records.go
//	sizes=on|off       text is padded for a client that believes in the sizes of what it wrote; as records, unless it is told;
//	                   with records=off for a guest's kernel behind the client, see records.go
//	patience=DURATION  a read that has waited so long is answered with nothing, for clients whose whole mount breaks when one
//	                   request takes a minute. 45s, 1m30s; 0 waits for ever
type attachName struct {
	names    []string // the subtree, from the root
	records  choice
	sizes    choice
	patience time.Duration
}

// A choice is the value of an option that is on or off.
type choice uint8

const (
	byDialect choice = iota // on in 9P2000.L and 9P2000.u, off in 9P2000
	on
	off
)

// or returns what c chooses, def if it leaves that open.
func (c choice) or(def bool) bool {
	if c == byDialect {
		return def
	}
	return c == on
}

func parseChoice(key, value string) (choice, error) {
	switch value {
	case "on":
		return on, nil
	case "off":
		return off, nil
	}
	return byDialect, p9ext.Errorf(linux.EINVAL, "bad attach option %s=%q: %[1]s is on or off", key, value)
}

// The patience that a client may ask for. Less than the shortest is a client that asks without end.
const (
	minPatience = 10 * time.Millisecond
	maxPatience = 24 * time.Hour
)

func parsePatience(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d != 0 && (d < minPatience || d > maxPatience) {
		return 0, p9ext.Errorf(linux.EINVAL, "bad attach option patience=%q: patience is a time from 10ms to 24h, such as 45s, or 0", value)
	}
	return d, nil
}

// maxAname is the longest attach name that is looked at.
const maxAname = 4096

// parseAname reads an attach name. Options are separated by & and escaped as in a URL; one that is unknown is an error, so that a
// misspelt one is noticed.
func parseAname(s string) (a attachName, err error) {
	if len(s) > maxAname {
		return a, p9ext.Errorf(linux.ENAMETOOLONG, "attach name of %d bytes: at most %d are allowed", len(s), maxAname)
	}
	path, query, _ := strings.Cut(s, "?")
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if err := checkName(name); err != nil || name == ".." {
			return a, p9ext.Errorf(linux.EINVAL, "bad attach name %q: a path from the root, without ..", path)
		}
		a.names = append(a.names, name)
	}
	if query == "" {
		return a, nil
	}
	opts, err := url.ParseQuery(query)
	if err != nil {
		return a, p9ext.Errorf(linux.EINVAL, "bad attach options %q: %w", query, err)
	}
	for key, values := range opts {
		value := values[len(values)-1]
		switch key {
		case "records":
			a.records, err = parseChoice(key, value)
		case "sizes":
			a.sizes, err = parseChoice(key, value)
		case "patience":
			a.patience, err = parsePatience(value)
		default:
			err = p9ext.Errorf(linux.EINVAL, "unknown attach option: %q; there are records, sizes and patience", key)
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// checkName refuses what can be no name of a file. ".." is one here: it is walked like Plan 9 does.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || strings.ContainsAny(name, "/\x00"):
		return errBadName
	case len(name) > maxName:
		return errNameTooLong
	}
	return nil
}

// maxName is the longest name of a file, as on Linux.
const maxName = 255
