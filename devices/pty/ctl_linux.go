package pty

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"
)

// winsize is ROWS COLS.
func (p *Pair) winsize() (string, error) {
	var size *unix.Winsize
	err := p.control(func(fd int) (err error) {
		size, err = unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		return err
	})
	if err != nil {
		return "", p.refused(err, "ask for the window's size")
	}
	return fmt.Sprintf("%d %d\n", size.Row, size.Col), nil
}

// setWinsize has the window be of another size; the kernel sends SIGWINCH to the foreground process group when it changes.
func (p *Pair) setWinsize(_ context.Context, text string) error {
	size, err := parseWinsize(text)
	if err != nil {
		return err
	}
	err = p.control(func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size) })
	if err != nil {
		return p.refused(err, "set the window's size")
	}
	return nil
}

// parseWinsize reads ROWS COLS.
func parseWinsize(text string) (unix.Winsize, error) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return unix.Winsize{}, p9ext.Errorf(linux.EINVAL, "bad window size: write ROWS COLS, as in 24 80")
	}
	var n [2]uint16
	for i, w := range words {
		v, err := strconv.ParseUint(w, 10, 16)
		if err != nil || v == 0 {
			return unix.Winsize{}, p9ext.Errorf(linux.EINVAL, "bad window size: %s is no number from 1 to 65535", quote(w))
		}
		n[i] = uint16(v)
	}
	return unix.Winsize{Row: n[0], Col: n[1]}, nil
}

// quote shows a word that came from outside, in quotes and not more than the beginning of it.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// refused makes the error of a request that the kernel refused, from what was tried.
func (p *Pair) refused(err error, what string) error {
	if err == p9ext.ErrHungup {
		return err
	}
	return p9ext.Errorf(errnoOf(err), "cannot %s: %w", what, errnoOf(err))
}

// termios is the line discipline's: the master's descriptor speaks for the slave.
func (p *Pair) termios() (t *unix.Termios, err error) {
	err = p.control(func(fd int) (err error) {
		t, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil {
		return nil, p.refused(err, "ask for the line discipline")
	}
	return t, nil
}

// change changes the line discipline.
func (p *Pair) change(f func(*unix.Termios)) error {
	t, err := p.termios()
	if err != nil {
		return err
	}
	f(t)
	if err := p.control(func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, t) }); err != nil {
		return p.refused(err, "change the line discipline")
	}
	return nil
}

// What raw changes, cfmakeraw(3), and cooked turns back, as stty(1) sane.
const (
	cookedInput  = unix.BRKINT | unix.ICRNL | unix.IXON
	cookedOutput = unix.OPOST | unix.ONLCR
	cookedLocal  = unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ICANON | unix.ISIG | unix.IEXTEN
	rawInput     = unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
)

func (p *Pair) setRaw(context.Context, []string) error {
	return p.change(func(t *unix.Termios) {
		t.Iflag &^= rawInput
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	})
}

func (p *Pair) setCooked(context.Context, []string) error {
	return p.change(func(t *unix.Termios) {
		t.Iflag = t.Iflag&^(unix.IGNBRK|unix.INLCR|unix.IGNCR|unix.ISTRIP|unix.PARMRK) | cookedInput
		t.Oflag |= cookedOutput
		t.Lflag |= cookedLocal
		// In canonical mode these two mean something else on some systems, and on Linux nothing; readers of raw mode left them.
		t.Cc[unix.VEOF] = 'D' - '@'
	})
}

func (p *Pair) setEcho(_ context.Context, argv []string) error {
	return p.change(func(t *unix.Termios) {
		if argv[0] == "on" {
			t.Lflag |= unix.ECHO
		} else {
			t.Lflag &^= unix.ECHO
		}
	})
}

func echoes(t *unix.Termios) bool { return t.Lflag&unix.ECHO != 0 }

// discipline is what status calls the line discipline: what is neither is what a program like an editor has made of it.
func discipline(t *unix.Termios) string {
	switch {
	case t.Lflag&unix.ICANON != 0:
		return "cooked"
	case t.Lflag&unix.ISIG == 0:
		return "raw"
	}
	return "cbreak"
}

// eof types the character that ends the input. Behind a line that has begun it ends the line, as it does on every terminal.
func (p *Pair) eof(ctx context.Context, _ []string) error {
	t, err := p.termios()
	if err != nil {
		return err
	}
	if t.Lflag&unix.ICANON == 0 || t.Cc[unix.VEOF] == 0 {
		return p9ext.Errorf(linux.EINVAL, "bad control message: the line discipline knows no end of the input now: send cooked first")
	}
	// It is only a byte; but what is typed may be waiting for room, and ctl must not.
	if n, err := (&writer{p}).PollWrite([]byte{t.Cc[unix.VEOF]}, 0, nil); n != 1 {
		if err == nil || err == p9ext.ErrNoPoll {
			return p9ext.Errorf(linux.EAGAIN, "cannot end the input: the line discipline has no room: try again")
		}
		return err
	}
	return nil
}

// signal sends a signal to the foreground process group. What a key can send reaches everybody there, as the key does; of other
// signals only those processes hear to which the owner may send them.
func (p *Pair) signal(_ context.Context, argv []string) error {
	sig, err := parseSignal(argv[0])
	if err != nil {
		return err
	}
	group, err := p.ioctlInt(unix.TIOCGPGRP)
	if err != nil && errnoOf(err) != linux.ENOTTY {
		return p.refused(err, "find the foreground process group")
	}
	if group <= 0 {
		return p9ext.Errorf(linux.ESRCH, "cannot send %s: no process has this terminal as its own", unix.SignalName(sig))
	}
	if sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGTSTP {
		if err := p.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCSIG, int(sig)) }); err != nil {
			return p.refused(err, "send "+unix.SignalName(sig))
		}
		return nil
	}
	sent, found := signalAll(func(s procStat) bool { return s.group == group }, p.owner, sig)
	switch {
	case sent > 0:
		return nil
	case found:
		return p9ext.Errorf(linux.EPERM, "cannot send %s: the foreground process group is not %s's to send it to", unix.SignalName(sig), p.owner.Name)
	}
	return p9ext.Errorf(linux.ESRCH, "cannot send %s: the foreground process group has ended", unix.SignalName(sig))
}

// parseSignal reads a signal's name, with or without SIG, or its number.
func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.ParseUint(s, 10, 7); err == nil {
		if unix.SignalName(syscall.Signal(n)) != "" {
			return syscall.Signal(n), nil
		}
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, p9ext.Errorf(linux.EINVAL, "bad control message: signal wants NAME: %s is no signal, write INT, HUP, TERM, KILL or another", quote(s))
}

var _ clonefs.Closer = (*Pair)(nil)
