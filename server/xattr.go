package server

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// An xattr is what a fid stands for after Txattrwalk (its value is read) or Txattrcreate (it is written, and set by the clunk).
type xattr struct {
	of    *fid // whose attribute; its file is used, not closed
	name  string
	value []byte
	size  uint64 // what Txattrcreate announced
	flags p9.XattrFlags
}

// maxXattr is the largest value, as on Linux.
const maxXattr = 64 << 10

// xattrwalk answers Txattrwalk: newfid reads the value of an attribute, or the list of names.
func (c *session) xattrwalk(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	c.mu.Lock()
	err := c.checkNew(m.Newfid)
	c.mu.Unlock()
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	tag, newfid, name := m.Tag, m.Newfid, string(m.Name)
	c.change(m, f, reads, func(context.Context) (result, error) {
		var value []byte
		var err error
		if name == "" {
			var names []string
			names, err = f.file.ListXattrs()
			if len(names) > 0 {
				value = []byte(strings.Join(names, "\x00") + "\x00")
			}
		} else {
			value, err = f.file.GetXattr(name)
		}
		if err != nil {
			return result{}, err
		}
		g := &fid{id: newfid, file: f.file, root: f.root, node: f.node, prompt: true, state: xattrRead, xattr: &xattr{of: f, value: value}}
		res := f.reply(&wire.Msg{Type: wire.Rxattrwalk, Tag: tag, Mask: uint64(len(value))})
		res.commit = func() error { return c.insert(g) }
		return res, nil
	})
}

// xattrcreate answers Txattrcreate: the fid becomes one that takes the value.
func (c *session) xattrcreate(m *wire.Msg) {
	f := c.lookup(m.Tag, m.Fid)
	if f == nil {
		return
	}
	if m.Mask > maxXattr {
		c.fail(m.Tag, p9ext.Errorf(linux.E2BIG, "extended attribute of %d bytes: at most %d are allowed", m.Mask, maxXattr))
		return
	}
	x := &xattr{of: f, name: string(m.Name), size: m.Mask, flags: p9.XattrFlags(m.Flags)}
	c.change(m, f, reads, func(context.Context) (result, error) {
		// A tree without attributes says so now, not when the value has been written.
		if _, err := f.file.ListXattrs(); errors.Is(err, linux.EOPNOTSUPP) || errors.Is(err, linux.ENOSYS) {
			return result{}, err
		}
		return result{commit: func() error {
			if f.state != walked {
				return errOpenFid
			}
			f.state, f.xattr = xattrWrite, x
			return nil
		}}, nil
	})
}

func (c *session) readXattr(m *wire.Msg, x *xattr) {
	v := x.value
	v = v[min(m.Offset, uint64(len(v))):]
	v = v[:min(len(v), int(min(m.Count, c.msize-wire.DataHeader)))]
	start := len(c.batch)
	c.batch = append(wire.BeginRread(c.batch, m.Tag), v...)
	wire.EndRread(c.batch, start)
}

func (c *session) writeXattr(m *wire.Msg, x *xattr) {
	if m.Offset != uint64(len(x.value)) || uint64(len(x.value)+len(m.Data)) > x.size {
		c.fail(m.Tag, p9ext.ErrTooLarge)
		return
	}
	x.value = append(x.value, m.Data...)
	c.batch = wire.AppendRwrite(c.batch, m.Tag, uint32(len(m.Data)))
}

// clunkXattr ends a fid of an attribute; one that was written is set now.
func (c *session) clunkXattr(m *wire.Msg, f *fid) {
	x := f.xattr
	if f.state != xattrWrite {
		c.batch = wire.AppendRclunk(c.batch, m.Tag)
		return
	}
	value := slices.Clone(x.value)
	c.workers.Add(1)
	c.do(m, nil, false, func(ctx context.Context) (result, error) {
		defer c.workers.Done()
		defer c.closeFid(f)
		if uint64(len(value)) != x.size {
			return result{}, p9ext.Errorf(linux.EINVAL, "extended attribute %q: %d bytes announced, %d written", x.name, x.size, len(value))
		}
		unlock, err := c.srv.tree.lock(ctx, f.node, writes)
		if err != nil {
			return result{}, err
		}
		defer unlock()
		if x.size == 0 && x.flags&p9.XattrReplace != 0 {
			return result{}, f.file.RemoveXattr(x.name)
		}
		return result{}, f.file.SetXattr(x.name, value, x.flags)
	})
}
