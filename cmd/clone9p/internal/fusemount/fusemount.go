package fusemount

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"
)

// Type is the type that the kernel gives these mounts.
const Type = "fuse.clone9p"

// Options are the settings of a mount.
type Options struct {
	Attach client.Attach // the tree, and as whom

	// PerUser has each user attach as himself. The server must believe the mounter that he speaks for them.
	PerUser bool

	// AllowOther lets others than the mounter in. For an ordinary user /etc/fuse.conf decides about that. PerUser implies it.
	AllowOther bool

	Name    string          // of what is attached, for errors; Attach.Name may have options behind it
	Source  string          // what is mounted, for lists of mounts
	Options []string        // of mount(8) for the kernel: ro, noexec and the like
	Log     *zerolog.Logger // nil for none
}

// A Mount is a mounted tree. Its methods are safe for concurrent use.
type Mount struct {
	fuse.RawFileSystem // answers what 9P has no word for: not implemented

	conn *client.Conn
	dir  string
	o    Options
	log  zerolog.Logger

	uid uint32 // the mounter's
	gid uint32

	server *fuse.Server
	ending chan struct{}  // closed when the end was asked for: losing the connection is no news then
	end    func()         // closes it, and conn; once
	over   chan struct{}  // closed when the kernel has ended it
	leave  func() error   // unmounts, once
	wg     sync.WaitGroup // what serves the kernel, and what watches the connection

	nodes nodes

	handles struct {
		sync.Mutex // guards what follows; a leaf
		last       uint64
		byID       map[uint64]*handle
	}
}

// nodes are what the kernel knows.
type nodes struct {
	sync.Mutex // guards what follows and the fields of node that say so. Files are dropped under it, which waits for nobody.
	last       uint64
	byID       map[uint64]*node
	byKey      map[qidKey]*node
}

// maxIO is the most that one read or write of the kernel carries.
const maxIO = 1 << 20

// New mounts a tree of the session conn at the directory dir, which exists. It owns conn from then on. ctx bounds New only.
func New(ctx context.Context, conn *client.Conn, dir string, o Options) (_ *Mount, err error) {
	m := &Mount{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		conn:          conn, o: o, log: zerolog.Nop(), ending: make(chan struct{}), over: make(chan struct{}),
		uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
	}
	if o.Log != nil {
		m.log = *o.Log
	}
	m.end = sync.OnceFunc(func() {
		close(m.ending)
		conn.Close()
	})
	m.leave = sync.OnceValue(m.unmount)
	defer func() {
		if err != nil {
			m.end()
		}
	}()
	m.handles.byID = make(map[uint64]*handle)
	root := &node{id: fuse.FUSE_ROOT_ID, fids: make(map[uint32]*client.File)}
	m.nodes.last = fuse.FUSE_ROOT_ID
	m.nodes.byID = map[uint64]*node{root.id: root}
	m.nodes.byKey = make(map[qidKey]*node)
	mounter := m.user(&fuse.Caller{Owner: fuse.Owner{Uid: m.uid}})
	f, err := m.attach(ctx, mounter)
	if err != nil {
		var words *p9ext.Error // of the server, without the client's
		if errors.As(err, &words) {
			err = words
		}
		return nil, fmt.Errorf("cannot attach to %s at %s: %w", o.Name, o.Source, err)
	}
	root.key = keyOf(f.QID())
	root.fids[mounter] = f
	m.nodes.byKey[root.key] = root

	if m.dir, err = mountPoint(dir); err != nil {
		return nil, err
	}
	options := o.Options
	if o.AllowOther && !o.PerUser {
		options = append([]string{"default_permissions"}, options...)
	}
	source := o.Source
	if source == "" {
		source = "clone9p"
	}
	m.server, err = fuse.NewServer(m, m.dir, &fuse.MountOptions{
		Name: strings.TrimPrefix(Type, "fuse."), FsName: source, Options: options,
		AllowOther:         o.AllowOther || o.PerUser,
		MaxWrite:           maxIO,
		DirectMountStrict:  m.uid == 0,
		DisableXAttrs:      true,
		DisableReadDirPlus: true,
		Logger:             stdlog.New(libraryLog{m.log}, "", 0),
	})
	if err != nil {
		return nil, explain(m.dir, err)
	}
	m.wg.Go(m.server.Serve) // ends when the mount does
	if err := m.server.WaitMount(); err != nil {
		return nil, errors.Join(explain(m.dir, err), m.Unmount())
	}
	m.wg.Go(m.watch)
	return m, nil
}

// libraryLog has what the library says in the log.
type libraryLog struct{ zerolog.Logger }

func (l libraryLog) Write(p []byte) (int, error) {
	l.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}

// watch tells when the server is gone. It ends with the connection.
func (m *Mount) watch() {
	<-m.conn.Done()
	select {
	case <-m.ending:
	default:
		m.log.Error().Str("mount", m.dir).Str("server", m.o.Source).AnErr("error", m.conn.Err()).
			Msg("the server is gone: what uses the mount gets the error ENOTCONN until it is unmounted, by clone9p umount")
	}
}

// OnUnmount implements fuse.RawFileSystem: it is over.
func (m *Mount) OnUnmount() {
	m.end()
	close(m.over)
}

// Dir is the absolute path of the directory on which it is mounted.
func (m *Mount) Dir() string { return m.dir }

// Wait waits until it is unmounted, by whomever.
func (m *Mount) Wait() { m.wg.Wait() }

// Unmount ends the session with the server, by which every call that waits fails with ENOTCONN, and unmounts. A mount that processes still use after a
// moment is detached: it is no longer there for others, and ends with the last of them or with this process. Unmounting again, or what
// others have unmounted, does nothing.
func (m *Mount) Unmount() error {
	m.end()
	return m.leave()
}

func (m *Mount) unmount() error {
	select {
	case <-m.over:
		return nil
	default:
	}
	detached, err := unmount(m.dir, unmountPatience)
	if err == nil && !detached {
		m.Wait()
	}
	return err
}

// unmountPatience is how long an unmount waits for processes to leave, which have heard that it is over.
const unmountPatience = time.Second

// mountPoint is the absolute path of a directory. Of its last element nothing is asked, which may be a mount that does not answer.
func mountPoint(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil || dir == "/" {
		return dir, err
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	return filepath.Join(above, filepath.Base(dir)), nil
}

// user is the key of the fids of who calls: the uid, or 0 where all are one.
func (m *Mount) user(c *fuse.Caller) uint32 {
	if m.o.PerUser {
		return c.Uid
	}
	return 0
}

// attach attaches for a user.
func (m *Mount) attach(ctx context.Context, user uint32) (*client.File, error) {
	a := m.o.Attach
	if m.o.PerUser {
		a.User, a.UID = "", &user
	}
	return m.conn.Attach(ctx, a)
}
