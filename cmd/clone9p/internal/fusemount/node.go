package fusemount

import (
	"context"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// errStale is the answer about a file that is no longer where it was found.
var errStale = &p9ext.Error{Errno: linux.ESTALE, Text: "the file is no longer where it was"}

// A node is a file that the kernel knows by a number, since it has looked it up and not forgotten it. Nodes are the same when their qids are, so that
// a process's working directory stays the directory that is listed.
type node struct {
	id  uint64
	key qidKey

	// Guarded by Mount.nodes.
	lookups  uint64 // which the kernel will forget
	children int    // nodes whose parent it is
	parent   *node  // where it was found last; nil for the root
	name     string
	fids     map[uint32]*client.File // walked, by the user for whom; see Mount.user
}

// A qidKey is what of a qid tells files apart. The version is the content's.
type qidKey struct {
	path uint64
	typ  p9.QIDType
}

func keyOf(q p9.QID) qidKey { return qidKey{q.Path, q.Type & (p9.TypeDir | p9.TypeSymlink)} }

// file is the node of a number that the kernel has, and its fid of a user.
func (m *Mount) file(ctx context.Context, id uint64, user uint32) (*node, *client.File, error) {
	m.nodes.Lock()
	n := m.nodes.byID[id]
	if n == nil {
		m.nodes.Unlock()
		return nil, nil, errStale
	}
	if f := n.fids[user]; f != nil {
		m.nodes.Unlock()
		return n, f, nil
	}
	m.nodes.Unlock()
	f, err := m.fid(ctx, n, user)
	return n, f, err
}

// fid is the node's fid of a user. For one who comes to the node for the first time it is walked from the node's parent, and for
// the root attached. It stays the node's.
func (m *Mount) fid(ctx context.Context, n *node, user uint32) (*client.File, error) {
	m.nodes.Lock()
	f, parent, name := n.fids[user], n.parent, n.name
	m.nodes.Unlock()
	if f != nil {
		return f, nil
	}
	if parent == nil {
		if n.id != fuse.FUSE_ROOT_ID {
			return nil, errStale
		}
		var err error
		if f, err = m.attach(ctx, user); err != nil {
			return nil, err
		}
	} else {
		from, err := m.fid(ctx, parent, user)
		if err != nil {
			return nil, err
		}
		if f, err = from.Walk(ctx, name); err != nil {
			return nil, err
		}
		if keyOf(f.QID()) != n.key {
			f.Drop()
			return nil, errStale
		}
	}
	return m.adopt(n, user, f)
}

// adopt makes f the node's fid of a user, unless there is one by now, which it returns.
func (m *Mount) adopt(n *node, user uint32, f *client.File) (*client.File, error) {
	m.nodes.Lock()
	defer m.nodes.Unlock()
	old := n.fids[user]
	switch {
	case n.fids == nil:
		f.Drop()
		return nil, errStale
	case old != nil:
		f.Drop()
		return old, nil
	}
	n.fids[user] = f
	return f, nil
}

// enter is the node of f, which was walked to by name from parent for a user, looked up once more. f belongs to the node then.
func (m *Mount) enter(parent *node, name string, user uint32, f *client.File) (*node, error) {
	key := keyOf(f.QID())
	m.nodes.Lock()
	n := m.nodes.byKey[key]
	if n == nil {
		m.nodes.last++
		n = &node{id: m.nodes.last, key: key, fids: make(map[uint32]*client.File, 1)}
		m.nodes.byID[n.id], m.nodes.byKey[key] = n, n
	}
	n.lookups++
	m.place(n, parent, name)
	m.nodes.Unlock()
	_, err := m.adopt(n, user, f)
	return n, err
}

// place notes where a node was found. The caller holds nodes' lock.
func (m *Mount) place(n, parent *node, name string) {
	for above := parent; above != nil; above = above.parent {
		if above == n { // a tree that bites its tail
			return
		}
	}
	parent.children++
	old := n.parent
	n.parent, n.name = parent, name
	if old != nil {
		old.children--
		m.sweep(old)
	}
}

// Forget implements fuse.RawFileSystem.
func (m *Mount) Forget(id, lookups uint64) {
	m.nodes.Lock()
	defer m.nodes.Unlock()
	if n := m.nodes.byID[id]; n != nil && id != fuse.FUSE_ROOT_ID {
		n.lookups -= min(n.lookups, lookups)
		m.sweep(n)
	}
}

// sweep lets go of a node that nobody needs, and of those that were needed by it alone. The caller holds nodes' lock.
func (m *Mount) sweep(n *node) {
	for n != nil && n.id != fuse.FUSE_ROOT_ID && n.lookups == 0 && n.children == 0 {
		delete(m.nodes.byID, n.id)
		delete(m.nodes.byKey, n.key)
		for _, f := range n.fids {
			f.Drop() // does not wait
		}
		n.fids = nil
		if n = n.parent; n != nil {
			n.children--
		}
	}
}
