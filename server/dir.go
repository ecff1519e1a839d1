package server

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/clone9p/clone9p/internal/wire"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/p9"
)

// DT_ constants of Linux's readdir.
const (
	dtDir  = 4
	dtReg  = 8
	dtLink = 10
)

func direntType(t p9.QIDType) uint8 {
	switch {
	case t&p9.TypeDir != 0:
		return dtDir
	case t&p9.TypeSymlink != 0:
		return dtLink
	}
	return dtReg
}

// readdir answers Treaddir: as many whole entries as fit.
func (c *session) readdir(m *wire.Msg) {
	c.mu.Lock()
	f := c.fids[m.Fid]
	var err error
	switch {
	case f == nil:
		err = errUnknownFid
	case !f.isDir:
		err = errNotDir
	case !f.canRead():
		err = errNotOpen
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(m.Tag, err)
		return
	}
	count, off, tag := min(m.Count, c.msize-wire.DataHeader), m.Offset, m.Tag
	c.do(m, f, f.prompt, func(ctx context.Context) (result, error) {
		ents, err := c.entries(ctx, f, off, count)
		if err == nil && len(ents) > 0 && wire.DirentSize(ents[0].Name) > int(count) {
			err = p9ext.ErrTooSmall // an empty answer would be the directory's end
		}
		if err != nil {
			return result{}, err
		}
		return result{reply: func(b []byte) []byte {
			start := len(b)
			b = wire.BeginRreaddir(b, tag)
			for _, e := range ents {
				if len(b)-start-wire.DataHeader+wire.DirentSize(e.Name) > int(count) {
					break
				}
				b = wire.AppendDirent(b, wireQid(e.QID), e.Offset, direntType(e.QID.Type), e.Name)
			}
			wire.EndRread(b, start)
			return b
		}}, nil
	})
}

// entries asks f's file for about as many entries from offset off as fit into count bytes.
func (c *session) entries(ctx context.Context, f *fid, off uint64, count uint32) (p9.Dirents, error) {
	unlock, err := c.srv.tree.lock(ctx, f.node, reads)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c.srv.tree.gone(f.node) {
		return nil, p9ext.ErrNotExist
	}
	ents, err := f.file.Readdir(off, max(count/uint32(wire.DirentSize("0")), 1))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return ents, err
}

// A dirPos is how far a directory was read in 9P2000, where offsets count bytes of stat entries and p9's count entries.
type dirPos struct {
	bytes uint64 // the next read has this offset, or 0 to begin again
	entry uint64 // p9's offset
}

// readDir answers Tread of a directory in 9P2000 and .u: whole stat entries.
func (c *session) readDir(m *wire.Msg, f *fid, count uint32) {
	c.mu.Lock()
	if m.Offset == 0 {
		f.dir = dirPos{}
	}
	from := f.dir
	c.mu.Unlock()
	if m.Offset != from.bytes {
		c.fail(m.Tag, errBadOffset)
		return
	}
	tag := m.Tag
	c.do(m, f, f.prompt, func(ctx context.Context) (result, error) {
		data, pos, err := c.statEntries(ctx, f, from, count)
		if err != nil {
			return result{}, err
		}
		return result{
			commit: func() error { f.dir = pos; return nil },
			reply: func(b []byte) []byte {
				start := len(b)
				b = append(wire.BeginRread(b, tag), data...)
				wire.EndRread(b, start)
				return b
			},
		}, nil
	})
}

// statEntries returns stat entries of f's files from pos on, at most count bytes of them, and the position after. An
// entry that went away between Readdir and Walk is left out.
func (c *session) statEntries(ctx context.Context, f *fid, pos dirPos, count uint32) ([]byte, dirPos, error) {
	var data []byte
	for {
		ents, err := c.entries(ctx, f, pos.entry, count/4)
		if err != nil {
			return nil, pos, err
		}
		for _, e := range ents {
			st, err := c.statEntry(ctx, f, e.Name)
			if err == nil {
				if len(data)+wire.StatSize(f.root.dialect, &st) > int(count) {
					if len(data) == 0 {
						return nil, pos, p9ext.ErrTooSmall
					}
					return data, pos, nil
				}
				before := len(data)
				if data, err = wire.AppendStat(data, f.root.dialect, &st); err != nil {
					return nil, pos, err
				}
				pos.bytes += uint64(len(data) - before)
			}
			pos.entry = e.Offset
		}
		if len(ents) == 0 || ctx.Err() != nil {
			return slices.Clip(data), pos, ctx.Err()
		}
	}
}

// statEntry is the stat of name in the directory f.
func (c *session) statEntry(ctx context.Context, f *fid, name string) (wire.Stat, error) {
	end, err := c.srv.tree.still(ctx, f.node)
	if err != nil {
		return wire.Stat{}, err
	}
	defer end()
	_, file, err := c.walkFile(ctx, f.file, f.node, []string{name})
	if err != nil {
		return wire.Stat{}, err
	}
	defer file.Close()
	q, _, attr, err := file.GetAttr(p9.AttrMaskAll)
	if err != nil {
		return wire.Stat{}, err
	}
	return c.srv.makeStat(f.root.dialect, name, wireQid(q), attr), nil
}
