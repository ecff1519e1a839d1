package server

import (
	"context"
	"path"
	"sync"
	"time"
)

// A node is a place in the tree: what a fid was walked to by. A Prompt file's node is its own; nodes of p9's own kind of files are shared by all fids of a path on
// all sessions, because p9 promises such files exclusion and word of renames.
type node struct {
	parent *node // nil at the root
	name   string
	depth  int
	shared *shared // nil for a Prompt file
}

// shared is what the fids of one path of a p9.File have in common. The fields below op, and the parent and name of its node, are guarded by tree.mu.
type shared struct {
	op rwlock // the read and write exclusion of p9.File's documentation, at this path

	children map[string]*node
	fids     map[*fid]struct{}
	deleted  bool
}

// A tree holds the nodes of all p9.Files of a server.
type tree struct {
	rename rwlock // the global exclusion of p9.File's documentation

	mu   sync.Mutex // guards the nodes, never held across a file's method
	root *node
}

func (t *tree) init() {
	t.root = &node{name: "/", shared: newShared()}
	t.rename.init()
}

func newShared() *shared {
	s := &shared{children: make(map[string]*node), fids: make(map[*fid]struct{})}
	s.op.init()
	return s
}

// path returns the slash-separated path of n.
func (t *tree) path(n *node) string { return path.Join(append([]string{"/"}, t.names(n)...)...) }

// names returns the names that lead from the root of the tree to n.
func (t *tree) names(n *node) []string {
	if n == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, n.depth)
	for i := n.depth - 1; i >= 0; i-- {
		names[i] = n.name
		n = n.parent
	}
	return names
}

// name returns n's last name, "/" for the root.
func (t *tree) name(n *node) string {
	if n.shared == nil {
		return n.name
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return n.name
}

// child returns the node of name in n, for a Prompt file or one of p9's own kind.
func (t *tree) child(n *node, name string, prompt bool) *node {
	if prompt {
		return &node{parent: n, name: name, depth: n.depth + 1}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.shared == nil { // a tree that mixes both kinds
		return &node{parent: n, name: name, depth: n.depth + 1, shared: newShared()}
	}
	if c := n.shared.children[name]; c != nil {
		return c
	}
	c := &node{parent: n, name: name, depth: n.depth + 1, shared: newShared()}
	n.shared.children[name] = c
	return c
}

// descend returns the node that names lead to from n; those of a Prompt file come in one piece.
func (t *tree) descend(n *node, names []string, prompt bool) *node {
	if !prompt {
		for _, name := range names {
			n = t.child(n, name, false)
		}
		return n
	}
	nodes := make([]node, len(names))
	for i, name := range names {
		nodes[i] = node{parent: n, name: name, depth: n.depth + 1}
		n = &nodes[i]
	}
	return n
}

// enter notes that f is a fid of its node.
func (t *tree) enter(f *fid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.node.shared.fids[f] = struct{}{}
}

// leave is the end of enter; nodes that nobody needs go.
func (t *tree) leave(f *fid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(f.node.shared.fids, f)
	t.prune(f.node)
}

// prune removes n and what is above it where nothing is left there. The caller holds t.mu.
func (t *tree) prune(n *node) {
	for n.parent != nil && n.shared != nil && len(n.shared.fids) == 0 && len(n.shared.children) == 0 {
		p := n.parent
		if p.shared != nil && p.shared.children[n.name] == n {
			delete(p.shared.children, n.name)
		}
		n = p
	}
}

// gone tells whether the file of n was removed.
func (t *tree) gone(n *node) bool {
	if n.shared == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return n.shared.deleted
}

// removed notes that name in dir was removed: its fids are of a file without a place.
func (t *tree) removed(dir *node, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if dir.shared == nil {
		return
	}
	if c := dir.shared.children[name]; c != nil {
		delete(dir.shared.children, name)
		markDeleted(c)
	}
}

func markDeleted(n *node) {
	n.shared.deleted = true
	for _, c := range n.shared.children {
		if c.shared != nil {
			markDeleted(c)
		}
	}
}

// renamed moves the node of oldName in oldDir to newName in newDir and returns the fids that have to hear of it, those of the moved file first.
// The caller holds the global exclusion.
func (t *tree) renamed(oldDir *node, oldName string, newDir *node, newName string) []*fid {
	t.removed(newDir, newName)
	t.mu.Lock()
	defer t.mu.Unlock()
	if oldDir.shared == nil || newDir.shared == nil {
		return nil
	}
	n := oldDir.shared.children[oldName]
	if n == nil {
		return nil
	}
	delete(oldDir.shared.children, oldName)
	n.parent, n.name = newDir, newName
	newDir.shared.children[newName] = n
	var fids []*fid
	var visit func(n *node)
	visit = func(n *node) {
		n.depth = n.parent.depth + 1
		if n.shared == nil {
			return
		}
		for f := range n.shared.fids {
			fids = append(fids, f)
		}
		for _, c := range n.shared.children {
			visit(c)
		}
	}
	visit(n)
	t.prune(oldDir)
	return fids
}

// An exclusion says what p9.File's documentation promises a method.
type exclusion uint8

const (
	none    exclusion = iota
	reads             // of writes at the path, and of renames
	writes            // of reads and writes at the path, and of renames
	renames           // of everything
)

// lock enters the exclusion e for n and returns its end. It gives up when ctx ends: a request that waits behind
// a read that blocks can be flushed, and nobody waits for it.
func (t *tree) lock(ctx context.Context, n *node, e exclusion) (unlock func(), err error) {
	switch {
	case e == none || n.shared == nil:
		return func() {}, nil
	case e == renames:
		if err := t.rename.lock(ctx); err != nil {
			return nil, err
		}
		return t.rename.unlock, nil
	}
	if err := t.rename.rlock(ctx); err != nil {
		return nil, err
	}
	op, err := n.shared.lock(ctx, e)
	if err != nil {
		t.rename.runlock()
		return nil, err
	}
	return func() { op(); t.rename.runlock() }, nil
}

// lock is the part of tree.lock that concerns one path. The caller has the tree's lock against renames.
func (s *shared) lock(ctx context.Context, e exclusion) (unlock func(), err error) {
	if e == reads {
		if err := s.op.rlock(ctx); err != nil {
			return nil, err
		}
		return s.op.runlock, nil
	}
	if err := s.op.lock(ctx); err != nil {
		return nil, err
	}
	return s.op.unlock, nil
}

// still keeps everything from being renamed, for walks: a new fid enters the tree by the name under which it was found.
func (t *tree) still(ctx context.Context, n *node) (end func(), err error) {
	if n.shared == nil {
		return func() {}, nil
	}
	if err := t.rename.rlock(ctx); err != nil {
		return nil, err
	}
	return t.rename.runlock, nil
}

// An rwlock is a lock for many readers or one writer whose waiters can give up. A writer that waits bars new readers for writerTurn only, then lets
// them in for as long: a reader that blocks (a FIFO served by a file of p9's own kind) delays that writer, and nobody else.
type rwlock struct {
	mu      sync.Mutex // guards what follows; held for a few instructions
	readers int
	writer  bool
	barring int           // writers that bar new readers
	change  chan struct{} // closed and replaced when a waiter should look again
	waiters int
}

const writerTurn = 20 * time.Millisecond

func (l *rwlock) init() { l.change = make(chan struct{}) }

// changed wakes the waiters. The caller holds l.mu.
func (l *rwlock) changed() {
	if l.waiters > 0 {
		close(l.change)
		l.change = make(chan struct{})
	}
}

// wait releases l.mu until something changed, d (when it is not zero) is over or ctx ends.
func (l *rwlock) wait(ctx context.Context, d time.Duration) error {
	ch := l.change
	l.waiters++
	l.mu.Unlock()
	var over <-chan time.Time
	if d != 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	var err error
	select {
	case <-ch:
	case <-over:
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	l.waiters--
	return err
}

func (l *rwlock) rlock(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writer || l.barring > 0 {
		if err := l.wait(ctx, 0); err != nil {
			return err
		}
	}
	l.readers++
	return nil
}

func (l *rwlock) runlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers--
	l.changed()
}

func (l *rwlock) lock(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	bar := true
	for until := time.Now().Add(writerTurn); l.writer || l.readers > 0; {
		if bar {
			l.barring++
		}
		err := l.wait(ctx, max(time.Until(until), time.Microsecond))
		if bar {
			l.barring--
			l.changed()
		}
		if err != nil {
			return err
		}
		if !time.Now().Before(until) {
			bar, until = !bar, time.Now().Add(writerTurn)
		}
	}
	l.writer = true
	return nil
}

func (l *rwlock) unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writer = false
	l.changed()
}
