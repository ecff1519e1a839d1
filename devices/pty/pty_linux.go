package pty

import (
	"context"
	"fmt"
	"strings"

	"github.com/clone9p/clone9p/clonefs"
)

// New returns the device. It touches nothing outside; an error says which setting of c is wrong.
func New(c Config) (*clonefs.Device[*Pair], error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &clonefs.Device[*Pair]{
		Name: "pty",
		Doc:  "a terminal an open",
		Clone: func(ctx context.Context, conv *clonefs.Conv) (*Pair, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return open(c, conv.Owner())
		},
		State:  (*Pair).state,
		Status: (*Pair).statusText,
		Ctl: clonefs.Messages[*Pair]{
			{Word: "exec", Args: "CMD [ARGS...]", Help: "run a command on the slave as the owner, where --pty-exec allows it; status tells its end", Do: (*Pair).exec},
			{Word: "signal", Args: "NAME", Help: "send a signal (INT, TERM, 15) to the foreground process group", Do: (*Pair).signal},
			{Word: "eof", Help: "tell the line discipline that the input ends, as ^D does", Do: (*Pair).eof},
			{Word: "raw", Help: "hand bytes on as they are", Do: (*Pair).setRaw},
			{Word: "cooked", Help: "hand lines on, edited and echoed, with signals for ^C and the like", Do: (*Pair).setCooked},
			{Word: "echo", Args: "on|off", Help: "whether what is typed is shown", Do: (*Pair).setEcho},
		},
		Files: clonefs.Files[*Pair]{
			{Name: "data", Mode: 0o660, Prompt: true, Help: "the master's bytes: what is shown comes out, what is typed goes in", Duplex: (*Pair).data},
			{Name: "winsize", Mode: 0o660, Help: "ROWS COLS of the window", Text: (*Pair).winsize, SetText: (*Pair).setWinsize},
			{Name: "slave", Mode: 0o444, Help: "the path of the slave on the server's machine", Text: (*Pair).slave},
		},
		MaxConvs:   c.Limit,
		MaxPerUser: c.PerUser,
	}, nil
}

func (p *Pair) slave() (string, error) { return p.path + "\n", nil }

// state is the word in the first line of status.
func (p *Pair) state() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.command == nil:
		return "open"
	case p.command.running():
		return "running"
	}
	return "ended"
}

// statusText is the rest of status, `name value` a line.
func (p *Pair) statusText() (string, error) {
	t, err := p.termios()
	if err != nil {
		return "", err
	}
	size, err := p.winsize()
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "slave %s\nwinsize %sdiscipline %s\necho %s\nreaders %d\n", p.path, size, discipline(t), onOff(echoes(t)), len(p.queues))
	if c := p.command; c != nil {
		fmt.Fprintf(&b, "command %s\npid %d\n", clonefs.Quote(c.name), c.pid)
		if !c.running() {
			fmt.Fprintf(&b, "%s\n", c.end)
		}
	}
	return b.String(), nil
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
