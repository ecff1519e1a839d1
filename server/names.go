package server

import (
	"os/user"
	"strconv"
	"sync"
	"time"
)

// names remembers how uids and gids are called: the stat of 9P2000 carries names where p9.Attr has numbers. An entry is looked up anew after a while,
// so that a server of many months learns of new users. It is bounded: when full it starts over.
type names struct {
	mu     sync.RWMutex // guards the maps; never held across a lookup
	users  map[uint32]nameEntry
	groups map[uint32]nameEntry
}

type nameEntry struct {
	name  string
	until time.Time
}

const (
	nameLife = 5 * time.Minute
	maxNames = 4096
)

func userName(uid uint32) string {
	s := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(s); err == nil {
		return u.Username
	}
	return s
}

func groupName(gid uint32) string {
	s := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(s); err == nil {
		return g.Name
	}
	return s
}

// user returns the name of uid, or the number in decimal where there is no name.
func (n *names) user(uid uint32) string { return n.get(&n.users, uid, userName) }

// group is the same for gid.
func (n *names) group(gid uint32) string { return n.get(&n.groups, gid, groupName) }

func (n *names) get(m *map[uint32]nameEntry, id uint32, look func(uint32) string) string {
	n.mu.RLock()
	e, ok := (*m)[id]
	n.mu.RUnlock()
	now := time.Now()
	if ok && now.Before(e.until) {
		return e.name
	}
	e = nameEntry{name: look(id), until: now.Add(nameLife)}
	n.mu.Lock()
	if *m == nil || len(*m) >= maxNames {
		*m = make(map[uint32]nameEntry)
	}
	(*m)[id] = e
	n.mu.Unlock()
	return e.name
}
