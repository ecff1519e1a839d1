package ethfoo

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/vishvananda/netlink"
)

// The links are what the conversations of one device need beside their TAPs: bridges that they made. The kernel does not remove those
// with our descriptors, so they are counted here, and marked with whose they are (see a seal) for the server that comes after a kill.
type links struct {
	cleaned atomic.Bool // nothing of killed servers remains to be looked for

	// mu guards all below and the field bridge of every Interface of the device. It is held across requests to the kernel, which wait for no
	// event: nobody may join a bridge between the look at its ports and its end.
	mu     sync.Mutex
	looked time.Time   // when clean looked last and something remained
	made   map[int]int // by index of a bridge that we made: how many of our interfaces joined it and have not left
	seal   *seal       // marks all that is in made; nil while that is empty
}

// joinBridge makes the interface a port of bridge BR, and of no other. With create a bridge that is missing is made, up; it goes when our
// last interface leaves it, unless others have ports there.
func (i *Interface) joinBridge(argv []string) error {
	name, create := argv[0], len(argv) > 1
	if reason := badName(name); reason != "" {
		return &badArgument{errors.New("the name " + reason)}
	}
	if _, err := i.link(); err != nil { // which also tells where it is
		return err
	}
	if i.away.Load() {
		return p9ext.Errorf(linux.EXDEV, "%s is in another network namespace: its bridges are for those who rule there", i.lastName())
	}
	l := &i.dev.links
	l.mu.Lock()
	defer l.mu.Unlock()
	bridge, err := i.nl.LinkByName(name)
	switch {
	case notFound(err) && !create:
		return p9ext.Errorf(linux.ENODEV, "there is no bridge %s: bridge %s create makes it", name, name)
	case notFound(err):
		bridge, err = l.makeBridge(i.nl, name)
	case err == nil && bridge.Type() != "bridge":
		return p9ext.Errorf(linux.EINVAL, "%s is no bridge, it is of the kind %s", name, bridge.Type())
	}
	if err != nil {
		return i.refused(err, "make the bridge "+name)
	}
	defer l.tidy(i.nl) // the bridge left, or the one just made when it cannot be joined
	if err := i.nl.LinkSetMaster(i.ref(), bridge); err != nil {
		return i.refused(err, "put "+i.lastName()+" on the bridge "+name)
	}
	l.move(i, bridge.Attrs().Index)
	return nil
}

// leaveBridge takes the interface off its bridge, whoever put it there. Where it is on none nothing happens.
func (i *Interface) leaveBridge([]string) error {
	l := &i.dev.links
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := i.ask((*netlink.Handle).LinkSetNoMaster); err != nil {
		return i.refused(err, "take "+i.lastName()+" off its bridge")
	}
	l.move(i, 0)
	l.tidy(i.nl)
	return nil
}

// leave notes that the kernel has taken i off its bridge, with the interface or with its network namespace.
func (l *links) leave(i *Interface) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i.bridge != 0 {
		l.move(i, 0)
		l.tidy(i.nl)
	}
}

// move notes that i has left the bridge it was on for the one of that index, 0 for none. The caller has l.mu.
func (l *links) move(i *Interface, index int) {
	if _, ours := l.made[i.bridge]; ours {
		l.made[i.bridge]--
	}
	if _, ours := l.made[index]; ours {
		l.made[index]++
	}
	i.bridge = index
}

// makeBridge makes the bridge, up and sealed. The caller has l.mu, and joins it or calls tidy.
func (l *links) makeBridge(nl *netlink.Handle, name string) (netlink.Link, error) {
	if l.seal == nil {
		s, err := newSeal()
		if err != nil {
			return nil, err
		}
		l.seal = s
		defer l.unseal()
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = name
	if err := l.makeLink(nl, bridge); err != nil {
		return nil, err
	}
	if l.made == nil {
		l.made = make(map[int]int)
	}
	l.made[bridge.Index] = 0
	return bridge, nil
}

// makeLink makes a link, up and sealed, and has its index put into it. When it fails no link is left.
func (l *links) makeLink(nl *netlink.Handle, link netlink.Link) error {
	if err := nl.LinkAdd(link); err != nil {
		return err
	}
	// Not by name any more: who renames the link meanwhile must not have us seal another.
	err := nl.LinkSetAlias(link, l.seal.text)
	if err == nil {
		err = nl.LinkSetUp(link)
	}
	if err != nil {
		nl.LinkDel(link)
	}
	return err
}

// tidy removes the bridges we made that nobody is on any more. One that others have ports on stays, and is looked at again the next
// time; one that lost our seal has found another owner. The caller has l.mu.
func (l *links) tidy(nl *netlink.Handle) {
	for index, members := range l.made {
		if members > 0 {
			continue
		}
		link, err := nl.LinkByIndex(index)
		if notFound(err) || err == nil && link.Attrs().Alias != l.seal.text {
			delete(l.made, index)
			continue
		}
		if err != nil {
			continue
		}
		if all, err := listLinks(nl); err != nil || hasPorts(all, index) {
			continue
		}
		if nl.LinkDel(link) == nil {
			delete(l.made, index)
		}
	}
	l.unseal()
}

// unseal gives the seal up when nothing bears it any more. The caller has l.mu.
func (l *links) unseal() {
	if len(l.made) == 0 && l.seal != nil {
		l.seal.close()
		l.seal = nil
	}
}

// hasPorts reports whether one of the links is on the bridge of that index.
func hasPorts(all []netlink.Link, bridge int) bool {
	for _, link := range all {
		if link.Attrs().MasterIndex == bridge {
			return true
		}
	}
	return false
}

// listLinks lists all links. A list that changed while the kernel sent it is asked for again; the last try's is good enough.
func listLinks(nl *netlink.Handle) ([]netlink.Link, error) {
	for try := 1; ; try++ {
		list, err := nl.LinkList()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
		if try == dumpTries {
			return list, nil
		}
	}
}
