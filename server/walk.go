package server

import (
	"context"
	"errors"
	"slices"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

func wireQid(q p9.QID) wire.Qid {
	return wire.Qid{Type: uint8(q.Type), Version: q.Version, Path: q.Path}
}

// attach makes a root fid for the user that the peer may be.
func (c *session) attach(m *wire.Msg) {
	if m.Afid != wire.NoFid {
		c.fail(m.Tag, errNoAuth)
		return
	}
	an, err := parseAname(string(m.Aname))
	if err != nil {
		c.srv.complaint(&c.log, zerolog.InfoLevel).Err(err).Msg("attach refused")
		c.fail(m.Tag, err)
		return
	}
	c.mu.Lock()
	err = c.checkNew(m.Fid)
	if err == nil && c.attaches >= c.srv.conf.MaxAttaches {
		err = errTooManyRoots
	}
	if err == nil {
		c.attaches++
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	id, tag, uname, nuname := m.Fid, m.Tag, string(m.Uname), m.NUname
	if c.dialect == wire.P9 {
		nuname = wire.NoUid
	}
	r := &root{dialect: c.dialect, msize: c.msize}
	ok := c.do(m, nil, false, func(ctx context.Context) (result, error) {
		f, err := c.attachFid(ctx, id, r, an, uname, nuname)
		if err != nil {
			c.srv.complaint(&c.log, zerolog.InfoLevel).Err(err).Str("uname", uname).Msg("attach refused")
			c.mu.Lock()
			c.attaches--
			c.mu.Unlock()
			return result{}, err
		}
		c.log.Debug().Str("user", f.root.user.Name).Uint32("uid", f.root.user.UID).Msg("attached")
		f.attach = true
		res := c.newFidResult(f, func(b []byte) []byte { return wire.AppendRattach(b, tag, f.qid) })
		res.undo = func() {
			c.mu.Lock()
			c.attaches--
			c.mu.Unlock()
			c.closeFid(f)
		}
		return res, nil
	})
	if !ok {
		c.mu.Lock()
		c.attaches--
		c.mu.Unlock()
	}
}

// newFidResult is the result of a handler that made the fid f: it enters the table with the reply, and its file is
// closed when nobody wants it any more.
func (c *session) newFidResult(f *fid, reply func([]byte) []byte) result {
	return result{
		reply:  reply,
		commit: func() error { return c.insert(f) },
		undo:   func() { c.closeFid(f) },
	}
}

// attachRoot asks the tree for its root as u sees it.
func (s *Server) attachRoot(ctx context.Context, u p9ext.User) (p9.File, error) {
	if a, ok := s.attacher.(p9ext.Attacher); ok {
		return a.AttachUser(ctx, u)
	}
	return s.attacher.Attach()
}

// attachFid makes the fid of an attach whose root is to be r.
func (c *session) attachFid(ctx context.Context, id uint32, r *root, an attachName, uname string, nuname uint32) (*fid, error) {
	u, err := c.peer.user(ctx, uname, nuname)
	if err != nil {
		return nil, err
	}
	r.user, r.patience = u, an.patience
	r.records = an.records.or(r.dialect != wire.P9)
	r.pad = an.sizes.or(r.records)
	f, err := c.walkFromRoot(ctx, id, r, an.names)
	if err != nil {
		return nil, err
	}
	r.node = f.node
	return f, nil
}

// walkFromRoot makes a fid of the file that names lead to from the root of the tree.
func (c *session) walkFromRoot(ctx context.Context, id uint32, r *root, names []string) (*fid, error) {
	file, err := c.srv.attachRoot(ctx, r.user)
	if err != nil {
		return nil, err
	}
	qid, _, attr, err := file.GetAttr(p9.AttrMask{Mode: true})
	if err != nil {
		file.Close()
		return nil, err
	}
	qid.Type = attr.Mode.QIDType()
	_, prompt := file.(p9ext.Prompt)
	n := c.srv.tree.root
	if prompt {
		n = &node{name: "/"}
	}
	f := newFid(id, file, r, n, wireQid(qid))
	c.enter(f)
	if len(names) == 0 {
		return f, nil
	}
	defer c.closeFid(f)
	g, qids, err := c.walkNames(ctx, f, id, names)
	if err != nil {
		return nil, err
	}
	if len(qids) < len(names) {
		return nil, p9ext.ErrNotExist
	}
	return g, nil
}

// enter registers f at its node where that is shared.
func (c *session) enter(f *fid) {
	if f.node.shared != nil {
		c.srv.tree.enter(f)
	}
}

// walk answers Twalk. Where a tree is prompt that happens at once.
func (c *session) walk(m *wire.Msg) {
	c.mu.Lock()
	f := c.fids[m.Fid]
	var err error
	switch {
	case f == nil:
		err = errUnknownFid
	case f.state != walked:
		err = errOpenFid
	case m.Newfid != m.Fid:
		err = c.checkNew(m.Newfid)
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	var names []string
	now := f.prompt
	if m.Nwname > 0 {
		names = wnames(m)
		for _, name := range names {
			if err := checkName(name); err != nil {
				c.fail(m.Tag, err)
				return
			}
			if name == ".." {
				now = false // walked anew from the root, which may wait
			}
		}
	}
	if now {
		g, qids, err := c.walkNames(c.ctx, f, m.Newfid, names)
		c.walked(m.Tag, f, g, qids, err)
		return
	}
	newfid, tag := m.Newfid, m.Tag
	c.do(m, f, false, func(ctx context.Context) (result, error) {
		g, qids, err := c.walkNames(ctx, f, newfid, names)
		if err != nil {
			return result{}, err
		}
		reply := func(b []byte) []byte { return wire.AppendRwalk(b, tag, qids) }
		if g == nil {
			return result{reply: reply}, nil
		}
		res := c.newFidResult(g, reply)
		c.replacing(&res, f, g, nil)
		return res, nil
	})
}

// wnames copies the names of a Twalk, all of them into one string.
func wnames(m *wire.Msg) []string {
	var buf [256]byte
	b := buf[:0]
	for _, n := range m.Wname[:m.Nwname] {
		b = append(b, n...)
	}
	all := string(b)
	names := make([]string, m.Nwname)
	for i := range names {
		n := len(m.Wname[i])
		names[i], all = all[:n], all[n:]
	}
	return names
}

// replacing has res put g, which was made from f, into the table, see replace; then is called when that has happened, and may be nil.
func (c *session) replacing(res *result, f, g *fid, then func()) {
	var old *fid
	var dead []*request
	res.commit = func() (err error) {
		if old, dead, err = c.replace(f, g); err == nil && then != nil {
			then()
		}
		return err
	}
	res.after = func() { c.dismiss(old, dead) }
}

// walked answers a walk that was done on the receiving goroutine.
func (c *session) walked(tag uint16, f, g *fid, qids []wire.Qid, err error) {
	if err != nil {
		c.fail(tag, err)
		return
	}
	if g != nil {
		c.mu.Lock()
		old, dead, err := c.replace(f, g)
		c.mu.Unlock()
		if err != nil {
			c.closeFid(g)
			c.fail(tag, err)
			return
		}
		c.dismiss(old, dead)
	}
	c.batch = wire.AppendRwalk(c.batch, tag, qids)
}

// replace puts g, which a walk from f made, into the table. Where both have one number f ends, with the requests that are in flight on it
// (the client walks and uses one fid at the same time: its own doing), and both are returned for dismiss, which must be called. The caller holds c.mu.
func (c *session) replace(f, g *fid) (old *fid, dead []*request, err error) {
	if f.id == g.id && !f.clunked {
		old, dead = f, c.take(f)
		for _, r := range dead {
			c.out.push(c.appendError(nil, r.tag, p9ext.ErrInterrupted))
		}
	}
	if err := c.insert(g); err != nil { // never where f made room
		return nil, nil, err
	}
	if old != nil {
		c.workers.Add(1) // under c.mu: the end of the session, which takes that, waits for it
	}
	return old, dead, nil
}

// dismiss ends what replace returned.
func (c *session) dismiss(f *fid, dead []*request) {
	for _, r := range dead {
		r.bury()
	}
	if f == nil {
		return
	}
	if !f.mayWaitInClose() {
		defer c.workers.Done()
		c.closeFid(f)
		return
	}
	go func() { defer c.workers.Done(); c.closeFid(f) }()
}

// walkNames walks from f and returns a new fid of number id when all names were found, and the qids of those that were.
// See partWay for fewer.
func (c *session) walkNames(ctx context.Context, f *fid, id uint32, names []string) (*fid, []wire.Qid, error) {
	if slices.Contains(names, "..") {
		return c.walkDotDot(ctx, f, id, names)
	}
	if f.node.depth+len(names) > c.srv.conf.MaxDepth {
		return nil, nil, errTooDeep
	}
	if f.prompt && len(names) > 0 && f.isDir {
		if g, qids, ok := c.walkAll(f, id, names); ok {
			return g, qids, nil
		}
	}
	end, err := c.srv.tree.still(ctx, f.node)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	if len(names) == 0 {
		_, file, err := c.walkFile(ctx, f.file, f.node, nil)
		if err != nil {
			return nil, nil, err
		}
		c.mu.Lock()
		q := f.qid // which an open beside us may be changing
		c.mu.Unlock()
		g := newFid(id, file, f.root, f.node, q)
		c.enter(g)
		return g, nil, nil
	}
	if !f.isDir {
		return nil, nil, errNotDir
	}
	return c.walkEach(ctx, f, id, names)
}

// partWay is the error of a walk whose name number i was not found. By walk(5) a walk that fails after its first name succeeds with fewer qids;
// so it does in 9P2000 and .u. In .L it fails as a whole: Linux takes both as the same, and p9.Client takes fewer qids for all.
func (f *fid) partWay(i int, err error) error {
	if i == 0 || f.root.dialect == wire.P9L {
		return err
	}
	return nil
}

// walkAll walks all names with one call, which a Prompt file allows.
func (c *session) walkAll(f *fid, id uint32, names []string) (*fid, []wire.Qid, bool) {
	pq, file, err := f.file.Walk(names)
	if err != nil || len(pq) != len(names) {
		return nil, nil, false
	}
	qids := make([]wire.Qid, len(pq))
	for i, q := range pq {
		qids[i] = wireQid(q)
	}
	_, prompt := file.(p9ext.Prompt)
	n := c.srv.tree.descend(f.node, names, prompt)
	g := newFid(id, file, f.root, n, qids[len(qids)-1])
	c.enter(g)
	return g, qids, true
}

// walkEach walks name by name, so that it knows how far it came.
func (c *session) walkEach(ctx context.Context, f *fid, id uint32, names []string) (*fid, []wire.Qid, error) {
	var qids []wire.Qid
	cur, n := f.file, f.node
	for i, name := range names {
		if i > 0 && qids[i-1].Type&wire.QTDIR == 0 {
			cur.Close()
			return nil, qids, f.partWay(i, errNotDir)
		}
		q, next, err := c.walkFile(ctx, cur, n, []string{name})
		if i > 0 {
			cur.Close()
		}
		if err != nil {
			return nil, qids, f.partWay(i, err)
		}
		_, prompt := next.(p9ext.Prompt)
		n = c.srv.tree.child(n, name, prompt)
		qids = append(qids, q)
		cur = next
	}
	g := newFid(id, cur, f.root, n, qids[len(qids)-1])
	c.enter(g)
	return g, qids, nil
}

// walkFile is one Walk of p9.File with the exclusion it is promised. The caller keeps the tree still.
func (c *session) walkFile(ctx context.Context, file p9.File, n *node, names []string) (wire.Qid, p9.File, error) {
	if n.shared != nil {
		unlock, err := n.shared.lock(ctx, reads)
		if err != nil {
			return wire.Qid{}, nil, err
		}
		defer unlock()
	}
	if len(names) > 0 && c.srv.tree.gone(n) {
		return wire.Qid{}, nil, p9ext.ErrNotExist
	}
	qids, next, _, attr, err := file.WalkGetAttr(names)
	if errors.Is(err, linux.ENOSYS) {
		qids, next, err = file.Walk(names)
		if err != nil {
			return wire.Qid{}, nil, err
		}
		if len(qids) > 0 {
			return wireQid(qids[len(qids)-1]), next, nil
		}
		return wire.Qid{}, next, nil
	}
	if err != nil {
		return wire.Qid{}, nil, err
	}
	if len(qids) == 0 {
		return wire.Qid{}, next, nil
	}
	q := wireQid(qids[len(qids)-1])
	q.Type = uint8(attr.Mode.QIDType())
	return q, next, nil
}

// walkDotDot walks names with ".." among them: each step anew from the root of the tree, never above what was attached.
func (c *session) walkDotDot(ctx context.Context, f *fid, id uint32, names []string) (*fid, []wire.Qid, error) {
	at := c.srv.tree.names(f.node)
	floor := len(c.srv.tree.names(f.root.node))
	var qids []wire.Qid
	var g *fid
	for i, name := range names {
		if name == ".." {
			at = at[:max(floor, len(at)-1)]
		} else {
			at = append(slices.Clone(at), name)
		}
		next, err := c.walkFromRoot(ctx, id, f.root, at)
		if err != nil {
			if g != nil {
				c.closeFid(g)
			}
			return nil, qids, f.partWay(i, err)
		}
		if g != nil {
			c.closeFid(g)
		}
		g = next
		qids = append(qids, g.qid)
	}
	return g, qids, nil
}
