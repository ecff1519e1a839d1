package main

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// accessRules are the tables [access.DEV] of a configuration file, by device; "*" is for each device without a table of its own.
type accessRules map[string]*accessRule

// An accessRule is one such table: as it was written, to be shown, and what it means.
type accessRule struct {
	mode, owner, group string
	allow, deny        []string
	limits             map[string]int
	conf               clonefs.DeviceConfig
}

const anyDevice = "*"

// access reads the table access.
func (r *configReader) access(p toml.Primitive, ks []kind) accessRules {
	rules := make(accessRules)
	r.tableOf(p, func(device string, p toml.Primitive) {
		if device != anyDevice && !slices.ContainsFunc(ks, func(k kind) bool { return k.name == device }) {
			r.refuse(p, "access.%s: there is no such device; the devices are in clone9p --help, and \"*\" is each without a table of its own", device)
			return
		}
		a := new(accessRule)
		rules[device] = a
		r.tableOf(p, func(key string, p toml.Primitive) {
			if key == "limits" {
				r.limits(a, p)
				return
			}
			r.value(p, func(v any) error { return a.set(key, v) })
		})
	})
	return rules
}

// set takes the value of one key.
func (a *accessRule) set(key string, v any) (err error) {
	text, isText := v.(string)
	switch key {
	case "mode", "owner", "group":
		if !isText {
			return wrongType(key, "string")
		}
	}
	switch key {
	case "mode":
		m, err := strconv.ParseUint(text, 8, 9)
		if err != nil || m == 0 {
			return fmt.Errorf(`mode %q: want an octal mode such as "0660"`, text)
		}
		a.mode, a.conf.Mode = text, p9.FileMode(m)
	case "owner":
		n, err := lookupUser(text)
		if err != nil {
			return fmt.Errorf("owner: %w", err)
		}
		uid := p9.UID(n)
		a.owner, a.conf.Owner = text, &uid
	case "group":
		n, err := lookupGroup(text)
		if err != nil {
			return fmt.Errorf("group: %w", err)
		}
		gid := p9.GID(n)
		a.group, a.conf.Group = text, &gid
	case "allow":
		a.allow, a.conf.Allow, err = who(key, v)
	case "deny":
		a.deny, a.conf.Deny, err = who(key, v)
	default:
		err = fmt.Errorf("unknown key %s: a table [access.DEV] has mode, owner, group, allow, deny and limits", key)
	}
	return err
}

// limits reads the table limits: conversations by user and @group.
func (r *configReader) limits(a *accessRule, p toml.Primitive) {
	a.limits = make(map[string]int)
	r.tableOf(p, func(name string, p toml.Primitive) {
		r.value(p, func(v any) error {
			n, ok := v.(int64)
			if !ok || n < 1 || n > 1<<30 {
				return fmt.Errorf("limits: %s wants a number of conversations, 1 at least; deny keeps out", name)
			}
			var w whom
			if err := w.add(name); err != nil {
				return fmt.Errorf("limits: %w", err)
			}
			a.limits[name] = int(n)
			a.conf.Limits = append(a.conf.Limits, clonefs.UserLimit{Who: w.Who, Max: int(n)})
			return nil
		})
	})
}

// who reads a list of users and @groups.
func who(key string, v any) ([]string, clonefs.Who, error) {
	list, err := stringList(key, v)
	var w whom
	for _, name := range list {
		if e := w.add(name); e != nil {
			return nil, w.Who, fmt.Errorf("%s: %w", key, e)
		}
	}
	return list, w.Who, err
}

type whom struct{ clonefs.Who }

// add adds a user, or with @ before it a group, by name or number.
func (w *whom) add(name string) error {
	if group, ok := strings.CutPrefix(name, "@"); ok {
		n, err := lookupGroup(group)
		w.GIDs = append(w.GIDs, n)
		return err
	}
	if name == "nobody" { // whoever is unknown, also where the machine has no such user, or one with another number
		w.Names = append(w.Names, name)
		return nil
	}
	n, err := lookupUser(name)
	w.UIDs = append(w.UIDs, n)
	return err
}

// lookupUser finds the number of a user by name or number. Nobody is who is unknown, whatever the machine calls so.
func lookupUser(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	if name == "nobody" {
		return p9ext.NobodyUID, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("no user %q on this machine", name)
	}
	return number(u.Uid)
}

// lookupGroup does the same for a group.
func lookupGroup(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	if name == "nogroup" {
		return p9ext.NobodyGID, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("no group %q on this machine", name)
	}
	return number(g.Gid)
}

func number(id string) (uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	return uint32(n), err
}

// of returns what the rules say of the devices that are served.
func (rules accessRules) of(devices []clonefs.DeviceStats) map[string]clonefs.DeviceConfig {
	all := make(map[string]clonefs.DeviceConfig)
	for _, d := range devices {
		if a := rules.rule(d.Name); a != nil {
			all[d.Name] = a.conf
		}
	}
	return all
}

// rule returns the rule of a device, or nil.
func (rules accessRules) rule(device string) *accessRule {
	if a := rules[device]; a != nil {
		return a
	}
	return rules[anyDevice]
}
