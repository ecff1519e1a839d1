package clonefs

import (
	"fmt"
	"maps"
	"slices"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// A DeviceConfig has the settings of one device that the server's operator makes: how many conversations there may be, and who may have
// one. What is zero is as the driver's table says, or as [Config] says.
//
// Whether a user may use the device is decided in this order; the first that applies counts:
//
//  1. The superuser may.
//  2. Whom Deny names may not.
//  3. Where Allow names anybody, whom it does not name may not.
//  4. Whom Mode, Owner and Group let neither read nor write clone may not; the others may open it for what the mode says.
//
// Who may not use the device is kept out entirely: he can list DEV and read help and stats, and neither clone nor open, walk to or change
// anything else, whatever the modes of conversations and of the driver's files say. What he has open when the settings change stays open.
type DeviceConfig struct {
	MaxConvs, MaxPerUser int         // conversations at once, of the device and of one user
	Mode                 p9.FileMode // permission bits of clone
	Owner                *p9.UID     // of clone
	Group                *p9.GID     // of clone and of all conversations

	Deny, Allow Who

	// Limits replaces MaxPerUser for some users: the one that names the user himself counts, or else the largest of those that name a
	// group of his.
	Limits []UserLimit
}

// A Who names users in three ways: by their own numbers, by their groups' (primary or supplementary), and by their own names. The name "nobody" also
// means whoever is nobody (p9ext.NobodyUID), on machines too that have no such user.
type Who struct {
	UIDs, GIDs []uint32
	Names      []string
}

// A UserLimit is how many conversations at once each of these users may have.
type UserLimit struct {
	Who
	Max int // at least 1
}

// himself reports whether w names u other than by a group of his.
func (w *Who) himself(u *User) bool {
	return slices.Contains(w.UIDs, u.UID) || slices.Contains(w.Names, u.Name) || u.IsNobody() && slices.Contains(w.Names, "nobody")
}

func (w *Who) group(u *User) bool { return slices.ContainsFunc(w.GIDs, u.InGroup) }

func (w *Who) names(u *User) bool { return w.himself(u) || w.group(u) }

func (w *Who) empty() bool { return len(w.UIDs)+len(w.GIDs)+len(w.Names) == 0 }

// A policy is what the table and a DeviceConfig together say. It is immutable.
type policy struct {
	DeviceConfig
	perms perms // of clone
}

// policy merges c into what the table says. self runs the server.
func (t *table) policy(c DeviceConfig, conf *Config, self *User) (*policy, error) {
	first := func(ns ...int) int {
		for _, n := range ns {
			if n > 0 {
				return n
			}
		}
		return 0
	}
	for _, l := range c.Limits {
		if l.Max < 1 {
			return nil, fmt.Errorf("clonefs: a limit of %d conversations of %s for a user; to keep him out deny him", l.Max, t.name)
		}
	}
	p := &policy{DeviceConfig: c}
	p.Deny, p.Allow, p.Limits = c.Deny.clone(), c.Allow.clone(), slices.Clone(c.Limits)
	for i := range p.Limits {
		p.Limits[i].Who = p.Limits[i].clone()
	}
	p.MaxConvs = first(c.MaxConvs, t.maxConvs, conf.DefaultMaxConvs, 1024)
	p.MaxPerUser = first(c.MaxPerUser, t.maxPerUser, conf.DefaultMaxPerUser, p.MaxConvs/2, 1)
	if p.Mode &= 0o777; p.Mode == 0 {
		p.Mode = t.mode
	}
	if p.Owner == nil {
		p.Owner = t.owner
	}
	if p.Group == nil {
		p.Group = t.group
	}
	p.perms = perms{mode: p.Mode, uid: p9.UID(self.UID), gid: p9.GID(self.GID)}
	if p.Owner != nil {
		p.perms.uid, p.perms.nobodyOwns = *p.Owner, true
	}
	if p.Group != nil {
		p.perms.gid, p.perms.nogroupOwns = *p.Group, true
	}
	return p, nil
}

func (w Who) clone() Who {
	return Who{slices.Clone(w.UIDs), slices.Clone(w.GIDs), slices.Clone(w.Names)}
}

// perms is what decides who may do what with a file.
type perms struct {
	mode p9.FileMode
	uid  p9.UID
	gid  p9.GID

	// Where the server itself runs as nobody, its files are nobody's and nogroup's, and so is everybody who is unknown. Those two count as
	// owner and group only where somebody chose them.
	nobodyOwns, nogroupOwns bool
}

// class returns the bits that a user who is not the superuser has.
func (p perms) class(u *User) p9.FileMode {
	switch {
	case u.UID == uint32(p.uid) && (p.nobodyOwns || !u.IsNobody()):
		return p.mode >> 6 & 7
	case u.InGroup(uint32(p.gid)) && (p.nogroupOwns || p.gid != p9ext.NobodyGID):
		return p.mode >> 3 & 7
	}
	return p.mode & 7
}

// allows reports whether u may do what want says (4 read, 2 write, 1 search).
func (fs *FS) allows(u *User, want p9.FileMode, p perms) bool {
	return fs.isSuper(u) || want&^p.class(u)&7 == 0
}

// admits reports whether u may use the device at all.
func (d *device) admits(u *User) bool {
	p := d.policy.Load()
	switch {
	case d.fs.isSuper(u):
		return true
	case p.Deny.names(u), !p.Allow.empty() && !p.Allow.names(u):
		return false
	}
	return p.perms.class(u)&6 != 0
}

// limit is how many conversations at once u may have.
func (d *device) limit(u *User) int {
	p := d.policy.Load()
	if d.fs.isSuper(u) {
		return p.MaxConvs
	}
	most := 0
	for i := range p.Limits {
		l := &p.Limits[i]
		if l.himself(u) {
			return l.Max
		}
		if l.group(u) {
			most = max(most, l.Max)
		}
	}
	if most > 0 {
		return most
	}
	return p.MaxPerUser
}

// Configure replaces the settings of all devices, those of [Config].Devices at first, by these; a device that has none here is again as its
// driver's table says. They hold from then on for what is opened; conversations that are there stay, those beyond a new limit too.
// After an error nothing has changed.
func (fs *FS) Configure(devices map[string]DeviceConfig) error {
	policies := make([]*policy, len(fs.devices))
	unknown := maps.Clone(devices)
	for i, d := range fs.devices {
		p, err := d.table.policy(devices[d.name], &fs.conf, &fs.self)
		if err != nil {
			return err
		}
		policies[i] = p
		delete(unknown, d.name)
	}
	for name := range unknown {
		return fmt.Errorf("clonefs: settings for %s, which is no device here", name)
	}
	for i, d := range fs.devices {
		d.policy.Store(policies[i])
	}
	return nil
}
