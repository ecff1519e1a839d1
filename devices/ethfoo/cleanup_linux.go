package ethfoo

import (
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clean removes the bridges and vxlan links that servers left behind when they were killed. The first open does it, and the next ones do again while
// something remains: the TAPs of a server that was killed this moment may outlive its seal by a little, and others may have ports there.
// From then on it costs nothing. It never fails: what cannot be removed hinders nobody.
func (l *links) clean(nl *netlink.Handle) {
	if l.cleaned.Load() {
		return
	}
	l.mu.Lock() // nobody of ours joins a bridge that is about to go
	defer l.mu.Unlock()
	if l.cleaned.Load() || time.Since(l.looked) < cleanPause { // another open may have been first
		return
	}
	l.cleaned.Store(cleanDead(nl))
	l.looked = time.Now()
}

// cleanPause bounds how often opens look for what remains, as long as something does: with many links a look takes milliseconds.
const cleanPause = time.Second / 2

// cleanDead removes the links of every server that is dead and reports whether there is nothing left to do. A seal that is taken is its
// owner's, or that of another server that cleans up after it.
func cleanDead(nl *netlink.Handle) bool {
	all, err := listLinks(nl)
	if err != nil {
		return false
	}
	done := true
	seen := make(map[string]bool)
	for _, link := range all {
		text := link.Attrs().Alias
		if !canOutlive(link) || !isSeal(text) || seen[text] {
			continue
		}
		seen[text] = true
		s, err := takeSeal(text)
		if err == unix.EADDRINUSE {
			continue
		}
		if err != nil {
			done = false
			continue
		}
		done = removeSealed(nl, text) && done
		s.close()
	}
	return done
}

// canOutlive reports whether a link is of a kind that a server makes and the kernel keeps when the server is gone.
func canOutlive(link netlink.Link) bool { return link.Type() == "bridge" || link.Type() == "vxlan" }

// removeSealed removes the links that bear a seal, which the caller has taken, but for bridges with ports, and reports whether none is left.
// It asks for the links anew: before the seal was the caller's somebody may have joined one of them or taken it over.
func removeSealed(nl *netlink.Handle, text string) bool {
	for {
		all, err := listLinks(nl)
		if err != nil {
			return false
		}
		left, removed := 0, 0
		for _, link := range all {
			a := link.Attrs()
			if !canOutlive(link) || a.Alias != text {
				continue
			}
			if hasPorts(all, a.Index) || nl.LinkDel(link) != nil {
				left++
			} else {
				removed++
			}
		}
		if left == 0 || removed == 0 { // a vxlan link that went was a port of its bridge
			return left == 0
		}
	}
}
