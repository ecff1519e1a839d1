package script

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/internal/wire"
)

// A Server is what a test starts for one run of a script.
type Server struct {
	// Dial makes a connection to the server. options are what the script's conn line says; nil for the connection main.
	Dial func(options []string) (net.Conn, error)

	// Do has the functions that the script's do lines call: what happens on the device's side. An error fails the test.
	// A function that waits for something to happen must give up by itself.
	Do map[string]func(args []string) error

	// Close ends the server. It is called once, after the script's connections were closed, also when the script failed.
	// An error fails the test; here is the place to look whether anything is left. May be nil.
	Close func() error
}

// A ServeFunc starts the server of one tree, for a script's serve line. It fails t when it knows no such tree.
type ServeFunc func(t testing.TB, tree string, options []string) Server

// Run runs each file that matches pattern, as filepath.Glob has it, as a subtest, and as one within that for each dialect when it names
// several. No matching file is a failure.
func Run(t *testing.T, pattern string, serve ServeFunc) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dialects, lines, err := parseFile(string(data))
			if err != nil {
				t.Fatalf("%s:%v", file, err)
			}
			if len(dialects) == 0 {
				if err := runLines(t, file, wire.P9, lines, serve); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, d := range dialects {
				t.Run(d.String(), func(t *testing.T) {
					if err := runLines(t, file, d, lines, serve); err != nil {
						t.Fatal(err)
					}
				})
			}
		})
	}
}

// A line of a script that says something.
type line struct {
	no   int
	text string
}

// parseFile divides a script into lines and takes off the dialects line, if it begins with one.
func parseFile(data string) ([]wire.Dialect, []line, error) {
	var dialects []wire.Dialect
	var lines []line
	for i, text := range strings.Split(data, "\n") {
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		words := strings.Fields(text)
		if words[0] != "dialects" {
			lines = append(lines, line{i + 1, text})
			continue
		}
		if len(lines) > 0 || dialects != nil || len(words) < 2 {
			return nil, nil, fmt.Errorf("%d: dialects is not the first line, or names none", i+1)
		}
		if len(words) == 2 && words[1] == "all" {
			words = append(words[:1], wire.P9.String(), wire.P9u.String(), wire.P9L.String())
		}
		for _, w := range words[1:] {
			d, err := parseDialect(w)
			if err != nil {
				return nil, nil, fmt.Errorf("%d: %w", i+1, err)
			}
			dialects = append(dialects, d)
		}
	}
	return dialects, lines, nil
}

func parseDialect(s string) (wire.Dialect, error) {
	d, ok := wire.ParseVersion(s)
	if !ok || d.String() != s {
		return 0, fmt.Errorf("%q is none of 9P2000, 9P2000.u and 9P2000.L", s)
	}
	return d, nil
}

// runLines runs a script to its end. Its error says where it stopped, what is wrong, and what was said before.
func runLines(t testing.TB, file string, d wire.Dialect, lines []line, serve ServeFunc) error {
	r := &runner{t: t, serve: serve, dialect: d, conns: map[string]*conn{}, vars: vars{"dialect": d.String()}, timeout: 5 * time.Second}
	err := r.run(lines)
	if err == nil {
		r.at = line{}
		err = r.finish()
	}
	r.hangUp()
	if r.server != nil && r.server.Close != nil {
		if e := r.server.Close(); e != nil && err == nil {
			r.at = line{}
			err = fmt.Errorf("closing the server: %w", e)
		}
	}
	if err == nil {
		return nil
	}
	where := file + ": at its end"
	if r.at.no > 0 {
		where = fmt.Sprintf("%s:%d: %s", file, r.at.no, r.at.text)
	}
	return fmt.Errorf("%s\n%w\nbefore that:\n\t%s", where, err, strings.Join(r.said, "\n\t"))
}

// A runner is one run of a script. It belongs to one goroutine.
type runner struct {
	t       testing.TB
	serve   ServeFunc
	server  *Server
	dialect wire.Dialect // of the dialects line
	timeout time.Duration
	vars    vars

	conns map[string]*conn
	order []*conn // in the order in which they were made
	cur   *conn

	at   line     // what is being done
	said []string // the last messages, for a failure
}

const (
	saidMax   = 40    // messages shown with a failure
	saidBytes = 80    // of data in each
	helperTag = 65000 // the tag of a shorthand's message
	quietTag  = 65001
	noSuchTag = 65002 // never in use: what a quiet question flushes
)

func (r *runner) say(format string, args ...any) {
	if len(r.said) == saidMax {
		r.said = r.said[1:]
	}
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// run does the lines one after the other.
func (r *runner) run(lines []line) error {
	for i := 0; i < len(lines); i++ {
		r.at = lines[i]
		text, ok, err := r.condition(lines[i].text)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		words, err := parseWords(text)
		if err != nil {
			return err
		}
		if len(words) == 0 || words[0].kind != bare {
			return fmt.Errorf("a line begins with a word")
		}
		verb := words[0].text
		switch verb {
		case "for":
			n, err := blockEnd(lines[i:], "for", "done")
			if err != nil {
				return err
			}
			if err := r.loop(words, lines[i+1:i+n]); err != nil {
				return err
			}
			i += n
			continue
		case "{":
			n, err := blockEnd(lines[i:], "{", "}")
			if err != nil {
				return err
			}
			if err := r.unordered(lines[i+1 : i+n]); err != nil {
				return err
			}
			i += n
			continue
		}
		isReply := verb[0] == 'R' || verb[0] == '?'
		if words, err = r.vars.expand(words, isReply); err != nil {
			return err
		}
		if err := r.do(verb, words); err != nil {
			return err
		}
	}
	return nil
}

// condition takes [DIALECT] or [!DIALECT] off the front of a line and reports whether the line counts.
func (r *runner) condition(text string) (string, bool, error) {
	if text[0] != '[' {
		return text, true, nil
	}
	cond, rest, ok := strings.Cut(text[1:], "]")
	if !ok {
		return "", false, fmt.Errorf("no ] after the dialect")
	}
	name, not := strings.CutPrefix(cond, "!")
	d, err := parseDialect(name)
	return strings.TrimSpace(rest), (d == r.dialect) != not && strings.TrimSpace(rest) != "", err
}

// blockEnd returns how many lines after the first the block that it opens is closed.
func blockEnd(lines []line, open, end string) (int, error) {
	depth := 0
	for i, l := range lines {
		verb, _, _ := strings.Cut(l.text, " ")
		switch verb {
		case open:
			depth++
		case end:
			if depth--; depth == 0 {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("no %s ends it", end)
}

// loop does `for VAR FROM TO`.
func (r *runner) loop(words []value, body []line) error {
	if len(words) != 4 {
		return fmt.Errorf("for wants VAR FROM TO")
	}
	bounds, err := r.vars.expand(words[2:], false)
	if err != nil {
		return err
	}
	from, err1 := strconv.Atoi(bounds[0].text)
	to, err2 := strconv.Atoi(bounds[1].text)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	for i := from; i <= to; i++ {
		r.vars[words[1].text] = strconv.Itoa(i)
		if err := r.run(body); err != nil {
			return err
		}
	}
	return nil
}

// do does one line.
func (r *runner) do(verb string, words []value) error {
	args := make([]string, 0, len(words))
	for _, w := range words[1:] {
		args = append(args, w.text)
	}
	switch verb {
	case "serve":
		if r.server != nil || len(args) == 0 {
			return fmt.Errorf("serve stands once in a script, with the name of a tree")
		}
		s := r.serve(r.t, args[0], args[1:])
		r.server = &s
		return nil
	case "do":
		if r.server == nil || len(args) == 0 {
			return fmt.Errorf("do needs a server, and a name")
		}
		f, ok := r.server.Do[args[0]]
		if !ok {
			return fmt.Errorf("the test has no function %q", args[0])
		}
		r.say("do %s", strings.Join(args, " "))
		return f(args[1:])
	case "timeout":
		if len(args) != 1 {
			return fmt.Errorf("timeout wants a duration")
		}
		var err error
		r.timeout, err = time.ParseDuration(args[0])
		return err
	case "conn":
		if len(args) == 0 {
			return fmt.Errorf("conn wants a name")
		}
		return r.connect(args[0], args[1:])
	}

	if r.cur == nil {
		if err := r.connect("main", nil); err != nil {
			return err
		}
	}
	c := r.cur
	if c.c == nil {
		return fmt.Errorf("connection %s was closed", c.name)
	}
	switch verb {
	case "dialect":
		if len(args) != 1 {
			return fmt.Errorf("dialect wants one")
		}
		d, err := parseDialect(args[0])
		c.dialect = d
		return err
	case "raw":
		b, err := parseHex(args)
		if err != nil {
			return err
		}
		r.say("%s> raw %.40x (%d bytes)", c.name, b, len(b))
		return c.send(b, r.timeout)
	case "quiet":
		return r.quiet(c)
	case "end":
		return r.end(c)
	case "close":
		return r.close(c)
	case "shut":
		s, ok := c.c.(interface{ CloseWrite() error })
		if !ok {
			return fmt.Errorf("a %T cannot be shut on one side", c.c)
		}
		r.say("%s> shut", c.name)
		c.shut = true
		return s.CloseWrite()
	case "version", "attach", "walk", "open", "clunk":
		return r.shorthand(c, verb, words[1:])
	}
	switch verb[0] {
	case 'T':
		t, ok := wire.ParseType(verb)
		if !ok {
			return fmt.Errorf("no message is called %s", verb)
		}
		f, err := parseFields(words[1:])
		if err != nil {
			return err
		}
		m, err := buildMessage(c.dialect, t, f)
		if err != nil {
			return err
		}
		return r.send(c, m)
	case 'R':
		p, err := parsePattern(words)
		if err != nil {
			return err
		}
		return r.expect(c, p)
	case '?':
		words[0].text = verb[1:]
		if words[0].text == "" || words[0].text[0] != 'R' {
			return fmt.Errorf("? stands before a reply")
		}
		p, err := parsePattern(words)
		if err != nil {
			return err
		}
		c.maybe = append(c.maybe, p)
		return nil
	}
	return fmt.Errorf("no line begins with %s", verb)
}

// connect makes NAME the current connection, and makes it first when it is new or was closed.
func (r *runner) connect(name string, options []string) error {
	if r.server == nil {
		return fmt.Errorf("no server was started")
	}
	if c := r.conns[name]; c != nil && c.c != nil {
		if len(options) > 0 {
			return fmt.Errorf("connection %s is there already, its options are settled", name)
		}
		r.cur = c
		return nil
	}
	nc, err := r.server.Dial(options)
	if err != nil {
		return err
	}
	c := &conn{name: name, c: nc, dialect: r.dialect}
	r.conns[name] = c
	r.order = append(r.order, c)
	r.cur = c
	return nil
}

func (r *runner) send(c *conn, m *wire.Msg) error {
	b, err := wire.Append(nil, c.dialect, m)
	if err != nil {
		return err
	}
	r.say("%s> %s", c.name, c.text(m, saidBytes))
	return c.send(b, r.timeout)
}

// next looks at the next reply that is none of those that may come.
func (r *runner) next(c *conn) (*wire.Msg, error) {
next:
	for {
		m, err := c.peek(r.timeout)
		if errors.Is(err, io.EOF) {
			return nil, errEnded
		}
		if err != nil {
			return nil, err
		}
		for i, p := range c.maybe {
			if found, err := p.match(c.dialect, m, r.vars); err == nil {
				c.maybe = c.maybe[i+1:]
				r.accept(c, m, found)
				continue next
			}
		}
		c.maybe = nil
		return m, nil
	}
}

var errEnded = errors.New("the server ended the connection")

// accept takes the reply that next showed.
func (r *runner) accept(c *conn, m *wire.Msg, found vars) {
	r.say("%s< %s", c.name, c.text(m, saidBytes))
	r.vars.merge(found)
	c.take()
}

// expect takes the next reply, which must be p.
func (r *runner) expect(c *conn, p pattern) error {
	m, err := r.next(c)
	if err != nil {
		return err
	}
	found, err := p.match(c.dialect, m, r.vars)
	if err != nil {
		return fmt.Errorf("got %s\nbut %w", c.text(m, 1000), err)
	}
	r.accept(c, m, found)
	return nil
}

// unordered does { }: each of the replies that come must be one of the lines, and each line must come, save those with ?.
func (r *runner) unordered(lines []line) error {
	type expected struct {
		line  line
		p     pattern
		maybe bool
	}
	var wants []expected
	must := 0
	for _, l := range lines {
		r.at = l
		text, ok, err := r.condition(l.text)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		text, maybe := strings.CutPrefix(text, "?")
		words, err := parseWords(text)
		if err != nil {
			return err
		}
		if len(words) == 0 || words[0].kind != bare || words[0].text[0] != 'R' {
			return fmt.Errorf("only replies stand between { and }")
		}
		if words, err = r.vars.expand(words, true); err != nil {
			return err
		}
		p, err := parsePattern(words)
		if err != nil {
			return err
		}
		wants = append(wants, expected{l, p, maybe})
		if !maybe {
			must++
		}
	}
	if r.cur == nil || r.cur.c == nil {
		return fmt.Errorf("no connection")
	}
	c := r.cur
next:
	for must > 0 {
		m, err := r.next(c)
		if err != nil {
			return fmt.Errorf("%w, %d replies are still due", err, must)
		}
		var why []string
		for i, w := range wants {
			found, err := w.p.match(c.dialect, m, r.vars)
			if err != nil {
				why = append(why, fmt.Sprintf("\n\tline %d %s: %v", w.line.no, w.line.text, err))
				continue
			}
			r.accept(c, m, found)
			wants = slices.Delete(wants, i, i+1)
			if !w.maybe {
				must--
			}
			continue next
		}
		return fmt.Errorf("got %s\nwhich is none of these:%s", c.text(m, 1000), strings.Join(why, ""))
	}
	return nil
}

// quiet asks c a question that is answered at once, and wants the answer and nothing before it.
func (r *runner) quiet(c *conn) error {
	if err := r.send(c, &wire.Msg{Type: wire.Tflush, Tag: quietTag, Oldtag: noSuchTag}); err != nil {
		return err
	}
	m, err := r.next(c)
	if err != nil {
		return err
	}
	if m.Type != wire.Rflush || m.Tag != quietTag {
		return fmt.Errorf("a reply that nothing here expects: %s", c.text(m, 1000))
	}
	r.accept(c, m, nil)
	return nil
}

// end wants the server to have ended the connection.
func (r *runner) end(c *conn) error {
	m, err := r.next(c)
	if err == nil {
		return fmt.Errorf("a reply instead of the end: %s", c.text(m, 1000))
	}
	if !errors.Is(err, errEnded) {
		return fmt.Errorf("the connection did not end: %w", err)
	}
	return r.close(c)
}

func (r *runner) close(c *conn) error {
	r.say("%s> close", c.name)
	err := c.c.Close()
	c.c = nil
	return err
}

// finish is what happens after the last line.
func (r *runner) finish() error {
	for _, c := range r.order {
		if c.c == nil || c.shut || !c.greeted {
			continue
		}
		if err := r.quiet(c); err != nil {
			return fmt.Errorf("connection %s: %w", c.name, err)
		}
	}
	return nil
}

// hangUp closes what is still open.
func (r *runner) hangUp() {
	for _, c := range r.order {
		if c.c != nil {
			c.c.Close()
			c.c = nil
		}
	}
}

// maxRaw bounds what a raw line sends.
const maxRaw = 64 << 20

// parseHex reads the words of a raw line.
func parseHex(words []string) ([]byte, error) {
	var b []byte
	for _, w := range words {
		digits, times, repeated := strings.Cut(w, "*")
		p, err := hex.DecodeString(digits)
		if err != nil {
			return nil, err
		}
		n := 1
		if repeated {
			if n, err = strconv.Atoi(times); err != nil {
				return nil, err
			}
		}
		if n < 0 || len(b)+n*len(p) > maxRaw {
			return nil, fmt.Errorf("%s is too long", w)
		}
		for range n {
			b = append(b, p...)
		}
	}
	return b, nil
}
