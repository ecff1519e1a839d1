package clonefs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// A Driver is a kind of device, ready to be served by [New]: a *[Device] of whatever type its conversations have.
type Driver interface {
	table() (*table, error)
}

// A table is a Device without its type parameter, checked: what the tree works with.
type table struct {
	name, doc  string
	clone      func(context.Context, *Conv) (Closer, error)
	state      func(*Conv) string
	status     func(*Conv) (string, error)
	begin      func(zerolog.Logger) // of the device; nil: nothing
	close      func() error         // of the device; nil: nothing
	ctl        messages             // the driver's, then everybody's
	files      []entry              // of a conversation: ctl, status, the driver's
	shared     []entry              // of the device: the driver's alone
	maxConvs   int
	maxPerUser int
	mode       p9.FileMode
	owner      *p9.UID
	group      *p9.GID
}

// A message is a Message without its type parameter.
type message struct {
	word, args, help string
	pattern          pattern
	super            bool
	do               func(context.Context, *Conv, *User, []string) error
}

// A kind says which type of p9.File a file of the tree is.
type kind uint8

const (
	kindStatic kind = iota // text that is there at once
	kindClone
	kindCtl
	kindText   // text that the driver renders
	kindStream // what may wait
)

// An entry is one file of the tree as its directory knows it. It never changes once the tree is built.
type entry struct {
	name string
	mode p9.FileMode // permission bits
	help string
	kind kind
	path uint64 // qid.path; in a conversation, what is added to that of the conversation's directory

	static  func() (string, error)
	text    func(*Conv) (string, error)                              // the Conv is nil for a file of the device itself, here and below
	setText func(context.Context, *Conv, User, string) error         // nil: can't be written
	msgs    messages                                                 // what setText understands, where it is lines like those of ctl
	open    func(context.Context, *Conv, User, Mode) (Stream, error) // kindStream
	prompt  bool                                                     // neither open nor the stream's Close waits
	holds   bool                                                     // an open is a reference to the conversation
	counts  bool                                                     // an open counts as a conversation
}

// writable reports whether the text of the file can be set.
func (e *entry) writable() bool { return e.setText != nil || len(e.msgs) > 0 }

// table implements Driver.
func (d *Device[T]) table() (*table, error) {
	t := &table{
		name: d.Name, doc: d.Doc,
		maxConvs: d.MaxConvs, maxPerUser: d.MaxPerUser,
		mode: d.Mode & 0o777, owner: d.Owner, group: d.Group,
	}
	if t.mode == 0 {
		t.mode = 0o666
	}
	if !validName(d.Name) {
		return nil, fmt.Errorf("clonefs: a device can't be called %q", d.Name)
	}
	fail := func(format string, args ...any) (*table, error) {
		return nil, fmt.Errorf("clonefs: device %s: %w", d.Name, fmt.Errorf(format, args...))
	}
	if d.Clone == nil {
		return fail("no Clone")
	}
	t.clone = func(ctx context.Context, c *Conv) (Closer, error) { return d.Clone(ctx, c) }
	if d.State != nil {
		t.state = func(c *Conv) string { return d.State(c.driver.(T)) }
	}
	if d.Status != nil {
		t.status = func(c *Conv) (string, error) { return d.Status(c.driver.(T)) }
	}

	t.begin, t.close = d.Begin, d.Close
	ms, err := compile(d.Ctl, func(c *Conv, _ *User) T { return c.driver.(T) })
	if err != nil {
		return fail("%w", err)
	}
	for _, m := range ms {
		if isBuiltin(m.word) {
			return fail("message %s: every device has it already", m.word)
		}
	}
	t.ctl = append(ms, builtins...)

	t.files = []entry{
		{name: "ctl", mode: 0o660, kind: kindCtl, help: "reading gives N; writing sends the messages below, one a line", holds: true},
		{name: "status", mode: 0o444, kind: kindText, help: "state, owner, opens, and what the device tells", text: t.statusText},
	}
	for _, f := range d.Files {
		if err := t.addFile(convEntry(f)); err != nil {
			return fail("file %s: %w", f.Name, err)
		}
	}
	for _, f := range d.Shared {
		e, err := sharedEntry(f)
		if err == nil {
			err = unique(t.shared, e.name, "clone", "help", "stats")
		}
		if err != nil {
			return fail("file %s: %w", f.Name, err)
		}
		t.shared = append(t.shared, e)
	}
	return t, nil
}

// compile makes messages of a table's; of finds on what a message acts.
func compile[T any](table []Message[T], of func(*Conv, *User) T) (messages, error) {
	var ms messages
	for _, m := range table {
		p, err := parsePattern(m.Args)
		switch {
		case err != nil:
			return nil, fmt.Errorf("message %s: %w", m.Word, err)
		case m.Do == nil:
			return nil, fmt.Errorf("message %s: no Do", m.Word)
		case !validName(m.Word):
			return nil, fmt.Errorf("message %q: not a word", m.Word)
		}
		ms = append(ms, message{m.Word, m.Args, m.Help, p, m.Super,
			func(ctx context.Context, c *Conv, u *User, args []string) error { return m.Do(of(c, u), ctx, args) }})
	}
	return ms, nil
}

// addFile appends a conversation's file, and its two halves if it is duplex.
func (t *table) addFile(e entry, duplex bool, err error) error {
	if err != nil {
		return err
	}
	list := []entry{e}
	if duplex {
		rx, tx := e, e
		rx.name, rx.mode, rx.help = "rx", e.mode&0o444, "the reading half of "+e.name
		tx.name, tx.mode, tx.help = "tx", e.mode&0o222, "the writing half of "+e.name
		list = append(list, rx, tx)
	}
	for _, e := range list {
		if err := unique(t.files, e.name); err != nil {
			return err
		}
		t.files = append(t.files, e)
	}
	return nil
}

// convEntry turns a driver's File into an entry; duplex asks for rx and tx beside it.
func convEntry[T any](f File[T]) (e entry, duplex bool, err error) {
	e = entry{name: f.Name, mode: f.Mode & 0o666, help: f.Help, holds: f.Holds || f.Duplex != nil, prompt: f.Prompt}
	open := f.Open
	if open == nil {
		open = f.Duplex
	}
	if n := count(f.Text != nil, f.Open != nil, f.Duplex != nil); n != 1 {
		return e, false, errors.New("exactly one of Text, Open and Duplex is wanted")
	}
	if f.SetText != nil && f.Text == nil {
		return e, false, errors.New("SetText without Text")
	}
	if f.Text != nil {
		e.kind = kindText
		e.text = func(c *Conv) (string, error) { return f.Text(c.driver.(T)) }
		if f.SetText != nil {
			e.setText = func(ctx context.Context, c *Conv, _ User, s string) error { return f.SetText(c.driver.(T), ctx, s) }
		}
		e.mode = defaultMode(e.mode, f.SetText != nil, 0o660)
		return e, false, nil
	}
	e.kind = kindStream
	e.open = func(ctx context.Context, c *Conv, _ User, m Mode) (Stream, error) { return open(c.driver.(T), ctx, m) }
	if e.mode == 0 && f.Open != nil {
		e.mode = 0o440
	} else if e.mode == 0 {
		e.mode = 0o660
	}
	return e, f.Duplex != nil, nil
}

// sharedEntry turns a file of the device itself into an entry.
func sharedEntry(f SharedFile) (entry, error) {
	e := entry{name: f.Name, mode: f.Mode & 0o666, help: f.Help, counts: f.Counts}
	switch {
	case f.Open != nil && f.Text == nil && f.SetText == nil && f.Ctl == nil:
		e.kind = kindStream
		e.open = func(ctx context.Context, _ *Conv, u User, m Mode) (Stream, error) { return f.Open(ctx, u, m) }
		if e.mode == 0 {
			e.mode = 0o666
		}
		return e, nil
	case f.Open == nil && (f.Text != nil || f.SetText != nil || f.Ctl != nil) && (f.SetText == nil || f.Ctl == nil) && !f.Counts:
		e.kind = kindText
		e.text = func(*Conv) (string, error) { return "", nil }
		if f.Text != nil {
			e.text = func(*Conv) (string, error) { return f.Text() }
		}
		if f.SetText != nil {
			e.setText = func(ctx context.Context, _ *Conv, u User, s string) error { return f.SetText(ctx, u, s) }
		}
		var err error
		if e.msgs, err = compile(f.Ctl, func(_ *Conv, u *User) User { return *u }); err != nil {
			return e, err
		}
		e.mode = defaultMode(e.mode, e.writable(), 0o660)
		return e, nil
	}
	return e, errors.New("either Open, or Text with SetText or Ctl, is wanted, and Counts goes with Open")
}

func defaultMode(mode p9.FileMode, writable bool, then p9.FileMode) p9.FileMode {
	switch {
	case mode != 0:
		return mode
	case writable:
		return then
	}
	return 0o444
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// unique reports an error when name is no name for a file beside those of list and the reserved ones.
func unique(list []entry, name string, reserved ...string) error {
	if !validName(name) {
		return errors.New("not a name")
	}
	for _, r := range reserved {
		if r == name {
			return errors.New("every device has it already")
		}
	}
	for i := range list {
		if list[i].name == name {
			return errors.New("it is there twice")
		}
	}
	if _, ok := parseNumber(name); ok {
		return errors.New("a number is a conversation")
	}
	return nil
}

// validName reports whether a file or a control message can be called so: printable ASCII that needs no quoting anywhere.
func validName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 64 {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`/'"\|[]`, c) >= 0 {
			return false
		}
	}
	return true
}

// parseNumber reads the name of a conversation's directory: digits, without leading zeros.
func parseNumber(name string) (int, bool) {
	if len(name) == 0 || len(name) > 9 || name[0] == '0' && len(name) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(name) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
