package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/clonefs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// sums are the functions of dmover that sum knows, by what people call them.
var sums = map[string]string{
	"crc32c": "iscsi-crc32c", "iscsi-crc32c": "iscsi-crc32c", "crc32": "crc32", "crc64": "crc64", "sha256": "sha256", "sha512": "sha512", "blake3": "blake3",
}

func (a *app) dmoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dmover",
		Short: "Copy and check files where they are: on the server",
		Long: `Dmover has the server's device dmover copy a file to another, or tell its checksum: both are files below a directory that
the server exports (--dmover-root), and no byte of them comes here. On a terminal it shows how far it is.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q", args[0])
			}
			return errors.New("dmover wants copy or sum")
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // not reached
	}
	cmd.AddCommand(a.dmoverCopyCommand(), a.dmoverSumCommand())
	return cmd
}

func (a *app) dmoverCopyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a file of the server to another",
		Long: `Copy has the server copy SRC to DST, both below its exported directories. DST is made where it is missing and must not be
longer than SRC: what is there is written over, and nothing is cut off. Where the file system can, both share their blocks.`,
		Example: "  clone9p dmover copy images/base.img images/vm1.img",
		Args:    exactly("a file SRC", "a file DST"),
	}
	where := targetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return interruptible(cmd.Context(), func(ctx context.Context) error { return a.dmoverCopy(ctx, where, args[0], args[1]) })
	}
	return cmd
}

func (a *app) dmoverCopy(ctx context.Context, t target, src, dst string) error {
	m, err := a.newMover(ctx, t, "copy")
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.say(ctx, "bind in0 "+clonefs.Quote(src)); err != nil {
		return fmt.Errorf("%s: %w", src, err)
	}
	if err := m.say(ctx, "bind out "+clonefs.Quote(dst)+" create"); err != nil {
		return fmt.Errorf("%s: %w", dst, err)
	}
	n, err := m.size(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", src, err)
	}
	if _, err := m.ask(ctx, dst, n, fmt.Sprintf("in=in0:0:%d out=out:0:%d", n, n)); err != nil {
		return fmt.Errorf("%s: %w", dst, err)
	}
	return nil
}

func (a *app) dmoverSumCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sum ALGO FILE...",
		Short: "Tell the checksums of files of the server",
		Long: `Sum has the server compute the checksum of each FILE below its exported directories and prints a line for each, as sha256sum does:
the digits, two blanks, the name. ALGO is crc32c, crc32, crc64, sha256, sha512 or blake3. The digits of a CRC are those of the number.`,
		Example: "  clone9p dmover sum sha256 images/base.img images/vm1.img",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("sum wants an algorithm ALGO")
			case sums[args[0]] == "":
				return fmt.Errorf("sum knows no %q: crc32c, crc32, crc64, sha256, sha512, blake3", args[0])
			case len(args) == 1:
				return errors.New("sum wants a FILE")
			}
			return nil
		},
	}
	where := targetFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return interruptible(cmd.Context(), func(ctx context.Context) error { return a.dmoverSum(ctx, where, args[0], args[1:]) })
	}
	return cmd
}

func (a *app) dmoverSum(ctx context.Context, t target, algo string, names []string) error {
	m, err := a.newMover(ctx, t, sums[algo])
	if err != nil {
		return err
	}
	defer m.Close()
	failed := false
	for _, name := range names {
		sum, err := m.sum(ctx, name)
		if errors.Is(err, client.ErrLost) || ctx.Err() != nil {
			return err
		}
		if err != nil { // the others may be right
			fmt.Fprintf(a.stderr, "clone9p: %s: %s\n", name, sentence(err))
			failed = true
			continue
		}
		if strings.Contains(algo, "crc") {
			sum = backwards(sum)
		}
		if _, err := fmt.Fprintf(a.stdout, "%s  %s\n", sum, name); err != nil {
			return err
		}
	}
	if failed {
		return status(1)
	}
	return nil
}

// backwards turns the bytes of a number in memory order, in hexadecimal, into its digits.
func backwards(s string) string {
	var b strings.Builder
	for i := len(s) - 2; i >= 0; i -= 2 {
		b.WriteString(s[i : i+2])
	}
	return b.String()
}

// A mover is a session of the server's device dmover.
type mover struct {
	*app
	*session
	dir    string
	ctl    *client.File
	rx, tx *client.File
	id     int
}

// newMover begins a session for one function. It goes with the connection.
func (a *app) newMover(ctx context.Context, t target, function string) (*mover, error) {
	s, err := connect(ctx, t)
	if err != nil {
		return nil, err
	}
	m := &mover{app: a, session: s}
	if err := m.begin(ctx, function); err != nil {
		s.Close()
		return nil, err
	}
	return m, nil
}

func (m *mover) begin(ctx context.Context, function string) (err error) {
	if m.ctl, m.dir, err = m.session.begin(ctx, "dmover"); err != nil {
		return err
	}
	if m.rx, err = m.open(ctx, m.dir+"/rx", p9.ReadOnly); err != nil {
		return err
	}
	if m.tx, err = m.open(ctx, m.dir+"/tx", p9.WriteOnly); err != nil {
		return err
	}
	return m.say(ctx, "func "+function)
}

// say sends a control message.
func (m *mover) say(ctx context.Context, text string) error {
	_, err := m.ctl.WriteContext(ctx, []byte(text), 0)
	if errors.Is(err, linux.EPERM) {
		return fmt.Errorf("%w: does the server export a directory (--dmover-root)?", err)
	}
	return err
}

// size is how many bytes in0 has, which is bound: status has the line in0 file PATH OFF SIZE.
func (m *mover) size(ctx context.Context) (int64, error) {
	line, err := m.status(ctx, "in0 file ")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(line[strings.LastIndexByte(line, ' ')+1:], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the server does not say how long it is: %q", line)
	}
	return n, nil
}

// status returns what stands behind prefix in status, "" when no line begins so.
func (m *mover) status(ctx context.Context, prefix string) (string, error) {
	text, err := m.text(ctx, m.dir+"/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSuffix(rest, "\n"), nil
		}
	}
	return "", nil
}

// sum returns the checksum of a file, in memory order.
func (m *mover) sum(ctx context.Context, name string) (string, error) {
	if err := m.say(ctx, "bind in0 "+clonefs.Quote(name)); err != nil {
		return "", err
	}
	n, err := m.size(ctx)
	if err != nil {
		return "", err
	}
	answer, err := m.ask(ctx, name, n, fmt.Sprintf("in=in0:0:%d", n))
	if err != nil {
		return "", err
	}
	for word := range strings.FieldsSeq(answer) {
		if imm, ok := strings.CutPrefix(word, "imm="); ok {
			return imm, nil
		}
	}
	return "", fmt.Errorf("the server answers %q", answer)
}

// request sends one and returns its response, without the id.
func (m *mover) request(ctx context.Context, id int, text string) (string, error) {
	if _, err := m.tx.WriteContext(ctx, fmt.Appendf(nil, "%d %s\n", id, text), 0); err != nil {
		return "", err
	}
	buf := make([]byte, 4096)
	n, err := m.rx.ReadContext(ctx, buf, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	answer := strings.TrimSuffix(string(buf[:n]), "\n")
	return strings.TrimPrefix(answer, strconv.Itoa(id)+" "), nil
}

// ask sends a request that may take its time, shows how far it is, and returns its response.
func (m *mover) ask(ctx context.Context, what string, total int64, text string) (string, error) {
	type result struct {
		answer string
		err    error
	}
	done := make(chan result, 1)
	m.id++
	id := m.id
	go func() { // ends with the answer, or with ctx
		answer, err := m.request(ctx, id, text)
		done <- result{answer, err}
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	show := func() {}
	if f, ok := m.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar := progressbar.NewOptions64(max(total, 1), progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
		defer bar.Clear()
		show = func() {
			var n int64
			if line, err := m.status(ctx, fmt.Sprintf("request %d ", m.id)); err == nil {
				if _, err := fmt.Sscan(line, &n); err == nil {
					bar.Set64(n)
				}
			}
		}
	}
	for {
		select {
		case r := <-done:
			if r.err != nil {
				return "", r.err
			}
			if words, ok := strings.CutPrefix(r.answer, "error "); ok {
				_, words, _ = strings.Cut(words, " ")
				return "", errors.New(words)
			}
			return r.answer, nil
		case <-tick.C:
			show()
		}
	}
}
