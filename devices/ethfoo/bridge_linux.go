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

// The links are what the conversations of one device need beside their TAPs: bridges and vxlan links that they made. The kernel does not remove
// those with our descriptors, so they are counted here, and marked with whose they are (see a seal) for the server that comes after a kill.
type links struct {
	cleaned atomic.Bool // nothing of killed servers remains to be looked for

	// mu guards all below and the fields bridge and vxlan of every Interface of the device. It is held across requests to the kernel, which wait for no
	// event: nobody may join a bridge between the look at its ports and its end.
	mu     sync.Mutex
	looked time.Time   // when clean looked last and something remained
	made   map[int]int // by index of a link that we made: how many of our interfaces are on it and have not left
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
	if err := i.bridgeable(); err != nil {
		return err
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
	l.move(i, bridge.Attrs().Index, 0)
	return nil
}

// bridgeable tells why the interface can be on no bridge here.
func (i *Interface) bridgeable() error {
	switch {
	case i.away.Load():
		return p9ext.Errorf(linux.EXDEV, "%s is in another network namespace: its bridges are for those who rule there", i.lastName())
	case i.frames.packets.Load():
		return p9ext.Errorf(linux.EINVAL, "%s is a TUN, which carries IP packets: a bridge wants Ethernet", i.lastName())
	}
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
	l.move(i, 0, 0)
	l.tidy(i.nl)
	return nil
}

// leave notes that the kernel has taken i off its bridge, with the interface or with its network namespace.
func (l *links) leave(i *Interface) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i.bridge != 0 {
		l.move(i, 0, 0)
		l.tidy(i.nl)
	}
}

// move notes that i has left the bridge and the vxlan link it was on for those of these indexes, 0 for none. The caller has l.mu, and calls tidy.
func (l *links) move(i *Interface, bridge, vxlan int) {
	for _, index := range []int{i.bridge, i.vxlan} {
		if _, ours := l.made[index]; ours {
			l.made[index]--
		}
	}
	for _, index := range []int{bridge, vxlan} {
		if _, ours := l.made[index]; ours {
			l.made[index]++
		}
	}
	i.bridge, i.vxlan = bridge, vxlan
}

// makeBridge makes the bridge, up and sealed. The caller has l.mu, and joins it or calls tidy.
func (l *links) makeBridge(nl *netlink.Handle, name string) (netlink.Link, error) {
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = name
	if err := l.makeLink(nl, bridge); err != nil {
		return nil, err
	}
	return bridge, nil
}

// makeLink makes a link, up and sealed, has its index put into it and counts nobody on it. When it fails no link is left. The caller has l.mu, and
// calls move or tidy.
func (l *links) makeLink(nl *netlink.Handle, link netlink.Link) error {
	if l.seal == nil {
		s, err := newSeal()
		if err != nil {
			return err
		}
		l.seal = s
		defer l.unseal()
	}
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
		return err
	}
	if l.made == nil {
		l.made = make(map[int]int)
	}
	l.made[link.Attrs().Index] = 0
	return nil
}

// tidy removes the links we made that nobody is on any more. A bridge that others have ports on stays, and is looked at again the next
// time; a link that lost our seal has found another owner. The caller has l.mu.
func (l *links) tidy(nl *netlink.Handle) {
	for again := true; again; { // a vxlan link that went was a port of its bridge
		again = false
		for index, members := range l.made {
			if members == 0 && l.remove(nl, index) {
				delete(l.made, index)
				again = true
			}
		}
	}
	l.unseal()
}

// remove removes the link of that index, unless it has ports, and reports whether it is ours no longer.
func (l *links) remove(nl *netlink.Handle, index int) bool {
	link, err := nl.LinkByIndex(index)
	if notFound(err) || err == nil && link.Attrs().Alias != l.seal.text {
		return true
	}
	if err != nil {
		return false
	}
	all, err := listLinks(nl)
	return err == nil && !hasPorts(all, index) && nl.LinkDel(link) == nil
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

// listLinks lists all links.
func listLinks(nl *netlink.Handle) ([]netlink.Link, error) { return dump(nl.LinkList) }

// dumpTries is how often a list that changed while the kernel sent it is asked for again.
const dumpTries = 5

// dump asks for a list of the kernel's. One that changed while it was sent is asked for again; the last try's is good enough.
func dump[T any](ask func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		list, err := ask()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
		if try == dumpTries {
			return list, nil
		}
	}
}
