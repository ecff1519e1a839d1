package server_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/fsimpl/templatefs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// A device is the tree most tests serve: one directory of files, one of each kind the server tells apart. What a file does is scripted by the test.
//
//	text    a text file that may be written; the server pads it
//	tape    a stream whose reads are polled (p9ext.ReadPoller): push makes records
//	line    a stream whose reads have a goroutine (p9ext.Reader), fed by pushLine; writes wait while the line is held
//	door    a file whose open waits (p9ext.Opener) for a knock
//	deaf    a file of p9's own kind whose ReadAt waits and hears of nothing
//	still   the same kind, whose ReadAt returns at once
//	gate    the same kind, whose Open waits for a knock and hears of nothing else
//	dir/    a directory of p9's own kind
//
// It counts the files that it gave out, and notes one that is closed twice or opened when it is closed already.
type device struct {
	mu       sync.Mutex // guards all below
	changed  *sync.Cond
	text     []byte
	records  [][]byte
	waiters  []p9ext.Waiter
	lines    [][]byte
	held     bool // writes to line wait
	knocks   int
	stubborn bool // door opens although it was told not to
	barred   bool // attaches wait
	written  [][]byte

	files  int            // given out and not closed
	open   map[string]int // the same, by name
	misuse []string       // what no server may do to a file

	opens, closes atomic.Int64
	deafReads     atomic.Int64 // begun
	users         []p9ext.User
	deaf          chan struct{} // closed: deaf reads return
}

func newDevice() *device {
	d := &device{deaf: make(chan struct{}), text: []byte("hello\n"), open: make(map[string]int)}
	d.changed = sync.NewCond(&d.mu)
	return d
}

func (d *device) Attach() (p9.File, error) { return d.AttachUser(context.Background(), p9ext.User{}) }

func (d *device) AttachUser(ctx context.Context, u p9ext.User) (p9.File, error) {
	d.mu.Lock()
	err := d.wait(ctx, func() bool { return !d.barred })
	d.users = append(d.users, u)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return d.file("/"), nil
}

// bar has attaches wait, and walks of "..", which begin with one.
func (d *device) bar(barred bool) {
	d.mu.Lock()
	d.barred = barred
	d.changed.Broadcast()
	d.mu.Unlock()
}

// left tells what is wrong when every file should be closed, and exactly once.
func (d *device) left() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files != 0 || d.misuse != nil {
		return fmt.Errorf("%d files are open: %v; %q", d.files, d.open, d.misuse)
	}
	return nil
}

// lastUser is who attached last.
func (d *device) lastUser() p9ext.User {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.users[len(d.users)-1]
}

// push makes a record of the tape.
func (d *device) push(rec string) {
	d.mu.Lock()
	d.records = append(d.records, []byte(rec))
	d.wake()
	d.mu.Unlock()
}

func (d *device) wake() {
	if len(d.records) > 0 && len(d.waiters) > 0 {
		w := d.waiters[0]
		d.waiters = d.waiters[1:]
		w.Wake()
	}
}

func (d *device) pushLine(rec string) {
	d.mu.Lock()
	d.lines = append(d.lines, []byte(rec))
	d.changed.Broadcast()
	d.mu.Unlock()
}

func (d *device) hold(held bool) {
	d.mu.Lock()
	d.held = held
	d.changed.Broadcast()
	d.mu.Unlock()
}

func (d *device) knock() {
	d.mu.Lock()
	d.knocks++
	d.changed.Broadcast()
	d.mu.Unlock()
}

// wait waits for cond, with d.mu held, until ctx ends.
func (d *device) wait(ctx context.Context, cond func() bool) error {
	stop := context.AfterFunc(ctx, func() { d.mu.Lock(); d.changed.Broadcast(); d.mu.Unlock() })
	defer stop()
	for !cond() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.changed.Wait()
	}
	return nil
}

var names = []string{"text", "tape", "line", "door", "deaf", "still", "gate", "dir"}

// node is what all files of the tree share.
type node struct {
	templatefs.NotSymlinkFile
	templatefs.XattrUnimplemented
	templatefs.NoopRenamed
	templatefs.NotLockable
	p9.DefaultWalkGetAttr
	d    *device
	name string
	life *life
}

// A life is that of one p9.File. Guarded by device.mu.
type life struct{ opening, closed bool }

func (n *node) isDir() bool { return n.name == "/" || n.name == "dir" }

func (n *node) qid() p9.QID {
	q := p9.QID{Path: 1}
	for i, s := range names {
		if s == n.name {
			q.Path = uint64(i) + 2
		}
	}
	if n.isDir() {
		q.Type = p9.TypeDir
	}
	return q
}

func (n *node) Walk(path []string) ([]p9.QID, p9.File, error) {
	if len(path) == 0 {
		return nil, n.d.file(n.name), nil
	}
	var qids []p9.QID
	at := n
	for _, name := range path {
		if at.name != "/" {
			return nil, nil, linux.ENOENT
		}
		at = &node{d: n.d, name: name}
		q := at.qid()
		if q.Path == 1 {
			return nil, nil, p9ext.ErrNotExist
		}
		qids = append(qids, q)
	}
	return qids, n.d.file(at.name), nil
}

func (d *device) file(name string) p9.File {
	d.mu.Lock()
	d.files++
	d.open[name]++
	d.mu.Unlock()
	n := node{d: d, name: name, life: new(life)}
	switch name {
	case "text":
		return &textFile{promptFile{node: n}}
	case "tape":
		return &tapeFile{promptFile{node: n}}
	case "line":
		return &lineFile{promptFile{node: n}}
	case "door":
		return &doorFile{promptFile{node: n}}
	case "deaf":
		return &deafFile{plainFile{node: n}}
	case "gate":
		return &gateFile{plainFile{node: n}}
	case "still", "dir":
		return &plainFile{node: n}
	}
	return &promptFile{node: n}
}

func (n *node) StatFS() (p9.FSStat, error) { return p9.FSStat{NameLength: 255}, nil }
func (n *node) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	mode := p9.ModeRegular | 0o666
	if n.isDir() {
		mode = p9.ModeDirectory | 0o755
	}
	return n.qid(), p9.AttrMaskAll, p9.Attr{Mode: mode, NLink: 1}, nil
}
func (n *node) SetAttr(p9.SetAttrMask, p9.SetAttr) error { return nil }
func (n *node) FSync() error                             { return nil }
func (n *node) Close() error {
	n.d.closes.Add(1)
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	switch {
	case n.life.closed:
		n.d.misuse = append(n.d.misuse, n.name+" closed twice")
		return nil
	case n.life.opening:
		n.d.misuse = append(n.d.misuse, n.name+" closed while it was being opened")
	}
	n.life.closed = true
	n.d.files--
	n.d.open[n.name]--
	return nil
}
func (n *node) Open(p9.OpenFlags) (p9.QID, uint32, error) {
	n.d.opens.Add(1)
	return n.qid(), 0, nil
}
func (n *node) ReadAt(p []byte, off int64) (int, error)  { return 0, io.EOF }
func (n *node) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }
func (n *node) Readdir(off uint64, count uint32) (p9.Dirents, error) {
	if n.name != "/" {
		return nil, io.EOF
	}
	var ents p9.Dirents
	for i := off; i < uint64(len(names)); i++ {
		q := (&node{name: names[i]}).qid()
		ents = append(ents, p9.Dirent{QID: q, Type: q.Type, Offset: i + 1, Name: names[i]})
	}
	return ents, nil
}
func (n *node) Create(string, p9.OpenFlags, p9.FileMode, p9.UID, p9.GID) (p9.File, p9.QID, uint32, error) {
	return nil, p9.QID{}, 0, linux.EPERM
}
func (n *node) Mkdir(string, p9.FileMode, p9.UID, p9.GID) (p9.QID, error) {
	return p9.QID{}, linux.EPERM
}
func (n *node) Symlink(string, string, p9.UID, p9.GID) (p9.QID, error) {
	return p9.QID{}, linux.EPERM
}
func (n *node) Link(p9.File, string) error { return linux.EPERM }
func (n *node) Mknod(string, p9.FileMode, uint32, uint32, p9.UID, p9.GID) (p9.QID, error) {
	return p9.QID{}, linux.EPERM
}
func (n *node) Rename(p9.File, string) error           { return linux.EPERM }
func (n *node) RenameAt(string, p9.File, string) error { return nil }
func (n *node) UnlinkAt(string, uint32) error          { return nil }

// plainFile is a file of p9's own kind.
type plainFile struct{ node }

// promptFile is one that the server answers on its receiving goroutine.
type promptFile struct{ node }

func (*promptFile) Prompt() {}

type textFile struct{ promptFile }

func (*textFile) IsText() bool { return true }
func (f *textFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.d.text)) {
		return 0, io.EOF
	}
	return copy(p, f.d.text[off:]), nil
}

type tapeFile struct{ promptFile }

func (f *tapeFile) PollRead(p []byte, _ int64, w p9ext.Waiter) (int, error) {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.records) == 0 {
		d.waiters = append(d.waiters, w)
		return 0, p9ext.ErrWait
	}
	n := copy(p, d.records[0])
	d.records = d.records[1:]
	return n, nil
}
func (f *tapeFile) Unpoll(w p9ext.Waiter) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	for i, x := range f.d.waiters {
		if x == w {
			f.d.waiters = append(f.d.waiters[:i:i], f.d.waiters[i+1:]...)
			break
		}
	}
	f.d.wake()
}
func (f *tapeFile) Unread(p []byte) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.records = append([][]byte{append([]byte(nil), p...)}, f.d.records...)
	f.d.wake()
}

type lineFile struct{ promptFile }

func (f *lineFile) ReadContext(ctx context.Context, p []byte, _ int64) (int, error) {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.wait(ctx, func() bool { return len(d.lines) > 0 }); err != nil {
		return 0, err
	}
	n := copy(p, d.lines[0])
	d.lines = d.lines[1:]
	return n, nil
}

func (f *lineFile) WriteContext(ctx context.Context, p []byte, _ int64) (int, error) {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.wait(ctx, func() bool { return !d.held })
	if err == nil {
		err = ctx.Err() // the line was released after the write had been cancelled
	}
	if err != nil {
		return 0, err
	}
	d.written = append(d.written, append([]byte(nil), p...))
	return len(p), nil
}

// Unread puts a record back in front of those that have come meanwhile.
func (f *lineFile) Unread(p []byte) {
	d := f.d
	d.mu.Lock()
	d.lines = append([][]byte{append([]byte(nil), p...)}, d.lines...)
	d.changed.Broadcast()
	d.mu.Unlock()
}

type doorFile struct{ promptFile }

func (f *doorFile) OpenContext(ctx context.Context, _ p9.OpenFlags) (p9.QID, uint32, error) {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stubborn {
		ctx = context.WithoutCancel(ctx)
	}
	err := d.wait(ctx, func() bool { return d.knocks > 0 })
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return p9.QID{}, 0, err
	}
	d.knocks--
	d.opens.Add(1)
	q := f.qid()
	q.Path = 1000 + uint64(d.opens.Load())
	return q, 0, nil
}

// gateFile waits in Open, which has no context. Only what knows p9ext.Opener may be closed meanwhile.
type gateFile struct{ plainFile }

func (f *gateFile) Open(flags p9.OpenFlags) (p9.QID, uint32, error) {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	f.life.opening = true
	d.wait(context.Background(), func() bool { return d.knocks > 0 })
	f.life.opening = false
	d.knocks--
	d.opens.Add(1)
	return f.qid(), 0, nil
}

// deafFile waits in ReadAt, which has no context, until the test ends.
type deafFile struct{ plainFile }

func (f *deafFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.deafReads.Add(1)
	<-f.d.deaf
	return 0, io.EOF
}
