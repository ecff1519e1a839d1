package server

import (
	"context"
	"os/user"
	"strconv"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
)

// A Peer is what the transport knows of the other side of a connection. Whoever accepts the connection fills it in; it decides as whom the sessions on
// it may attach:
//
//   - Any: as whomever they name. So are root over a unix socket and, where the setting trusts it, tcp.
//   - Proven, not Any: as themselves only. A name that is not theirs is refused.
//   - neither: as nobody, whatever they name.
type Peer struct {
	Addr     string // for logs: "unix:pid=812,uid=0", "tcp:10.0.2.15:1022"
	UID, GID uint32
	Groups   []uint32 // supplementary groups
	Name     string   // login name; "" is looked up from UID
	Any      bool     // may attach as anyone
	Proven   bool     // the transport proved UID
}

// Nobody is the peer at addr of whom nothing is known.
func Nobody(addr string) Peer {
	return Peer{Addr: addr, UID: p9ext.NobodyUID, GID: p9ext.NobodyGID, Name: "nobody"}
}

// self is the user that the peer itself is.
func (p Peer) self() p9ext.User {
	u := p9ext.User{UID: p.UID, GID: p.GID, Groups: p.Groups, Name: p.Name, Addr: p.Addr, Proven: p.Proven}
	if u.Name == "" {
		u.Name = userName(p.UID)
	}
	return u
}

// user decides as whom an attach of (uname, nuname) by p acts. n_uname ~0 with uname "nobody" or "" means the
// peer itself: it is what v9fs sends for the mount as such. It may wait for the user database.
func (p Peer) user(_ context.Context, uname string, nuname uint32) (p9ext.User, error) {
	self := p.self()
	if nuname == wire.NoUid && (uname == "" || uname == "nobody" || uname == self.Name) {
		return self, nil
	}
	if nuname != wire.NoUid && nuname == self.UID {
		return self, nil
	}
	if !p.Any {
		if !p.Proven {
			return self, nil
		}
		return p9ext.User{}, p9ext.Errorf(linux.EACCES, "permission denied: user %s cannot attach as %s", self.Name, askedFor(uname, nuname))
	}
	var u *user.User
	var err error
	if nuname != wire.NoUid {
		u, err = user.LookupId(strconv.FormatUint(uint64(nuname), 10))
		if err != nil { // a user of the client's machine that this one does not know is still a number
			return p9ext.User{UID: nuname, GID: nuname, Name: askedFor("", nuname), Addr: p.Addr, Proven: p.Proven}, nil
		}
	} else if u, err = user.Lookup(uname); err != nil {
		return p9ext.User{}, p9ext.Errorf(linux.EACCES, "permission denied: no user %q on this machine", uname)
	}
	out := p9ext.User{UID: atou32(u.Uid), GID: atou32(u.Gid), Name: u.Username, Addr: p.Addr, Proven: p.Proven}
	if gids, err := u.GroupIds(); err == nil {
		for _, g := range gids {
			out.Groups = append(out.Groups, atou32(g))
		}
	}
	return out, nil
}

func askedFor(uname string, nuname uint32) string {
	if nuname != wire.NoUid {
		return strconv.FormatUint(uint64(nuname), 10)
	}
	return uname
}

// atou32 reads a decimal id of the user database; what is no number there is nobody.
func atou32(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return p9ext.NobodyUID
	}
	return uint32(n)
}
