package server

import (
	"net/url"
	"strings"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// An attachName is what the attach name of Tattach asks for: "/subtree?option=value&...".
type attachName struct {
	names   []string // the subtree, from the root
	records recordMode
}

type recordMode uint8

const (
	recordsDefault recordMode = iota // on in 9P2000.L and 9P2000.u, off in 9P2000
	recordsOn
	recordsOff
)

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
			switch value {
			case "on":
				a.records = recordsOn
			case "off":
				a.records = recordsOff
			default:
				return a, p9ext.Errorf(linux.EINVAL, "bad attach option records=%q: records is on or off", value)
			}
		default:
			return a, p9ext.Errorf(linux.EINVAL, "unknown attach option: %q", key)
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
