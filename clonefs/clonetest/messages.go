package clonetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// badLines returns lines that do not fit what a message of this word wants, for all its forms in the table.
func badLines(word string, forms []string) (lines []string) {
	tooFew, tooMany, literal := true, true, true
	for _, args := range forms {
		first, _, _ := strings.Cut(args, " ")
		if first == "" || strings.HasPrefix(first, "[") || strings.HasSuffix(first, "...") {
			tooFew, literal = false, false
		}
		if strings.Contains(args, "...") {
			tooMany = false
		}
		if first != strings.ToLower(first) || strings.ContainsAny(first, "0123456789.") {
			literal = false
		}
	}
	if tooFew {
		lines = append(lines, word, "  "+word+" \t")
	}
	if tooMany {
		lines = append(lines, word+strings.Repeat(" x", 40))
	}
	if literal {
		lines = append(lines, word+" no-such-choice", word+" ''")
	}
	return lines
}

// forms are the words of the device's messages and the arguments of each, in the order of the table.
func (s *suite) forms() (words []string, args map[string][]string) {
	args = make(map[string][]string)
	for _, m := range s.info.Messages {
		if args[m.Word] == nil {
			words = append(words, m.Word)
		}
		args[m.Word] = append(args[m.Word], m.Args)
	}
	return words, args
}

func (s *suite) badMessages() {
	ctl, n := s.clone(s.alice)
	CheckError(s, "unknown word", ctl.Say("frobnicate x"), linux.EINVAL, "unknown control message: frobnicate")
	CheckError(s, "unknown word", ctl.Say("'two words'"), linux.EINVAL, "unknown control message: two words")
	CheckError(s, "open quote", ctl.Say("label 'x"), linux.EINVAL, "")
	CheckError(s, "control character", ctl.Say("label \x00"), linux.EINVAL, "")
	CheckError(s, "endless write", ctl.Say(strings.Repeat("x", 1<<20)), linux.EMSGSIZE, "read or write too large")
	for _, empty := range []string{"", "\n", " \t\n\n", "\r\n"} {
		if err := ctl.Say(empty); err != nil {
			s.Errorf("message %q: %v", empty, err)
		}
	}
	words, forms := s.forms()
	for _, word := range words {
		want := fmt.Sprintf("bad control message: %s wants ", word)
		for _, line := range badLines(word, forms[word]) {
			err := ctl.Say(line)
			CheckError(s, line, err, linux.EINVAL, "")
			if err != nil && !strings.HasPrefix(err.Error(), want) {
				s.Errorf("%q is answered %q, want %q", line, err, want)
			}
		}
		if slices.ContainsFunc(s.info.Messages, func(m clonefs.MessageInfo) bool { return m.Word == word && !m.Super }) {
			continue
		}
		line := word
		if args := forms[word][0]; args != "" {
			line += " " + strings.Join(junk(args), " ")
		}
		if err := ctl.Say(line); !errors.Is(err, linux.EPERM) && !errors.Is(err, linux.EINVAL) {
			s.Errorf("%q, which is the superuser's: %v", line, err)
		}
	}
	if _, err := s.alice.ReadFile(s.path(n, "status")); err != nil {
		s.Errorf("after bad messages: %v", err)
	}
}

// junk makes arguments that fit the form and mean nothing.
func junk(args string) (words []string) {
	for _, w := range strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(args)) {
		switch {
		case w == strings.ToLower(w) && !strings.ContainsAny(w, "0123456789."):
			first, _, _ := strings.Cut(w, "|")
			words = append(words, first)
		default:
			words = append(words, "'?!'")
		}
	}
	return words
}

// junkMessages sends each message with arguments of the right number and no sense. Whatever the answer is, it comes, has an errno, and
// the device lives on.
func (s *suite) junkMessages() {
	words, forms := s.forms()
	for _, word := range words {
		for _, args := range forms[word] {
			ctl, _ := s.clone(s.alice)
			ctx, cancel := context.WithTimeout(s.Context(), time.Second)
			line := strings.TrimSpace(word + " " + strings.Join(junk(args), " "))
			_, err := ctl.Write(ctx, []byte(line), 0)
			cancel()
			var e *p9ext.Error
			if err != nil && (!errors.As(err, &e) || e.Errno == 0 || e.Text == "") {
				s.Errorf("%q is answered %v (%T), want an errno and a text", line, err, err)
			}
			ctl.Close()
		}
	}
	if _, err := s.alice.Open(s.path("clone"), p9.ReadWrite); err != nil {
		s.Errorf("after junk: %v", err)
	}
}

func (s *suite) labelAndLines() {
	ctl, n := s.clone(s.alice)
	status := func(want string, there bool) {
		s.Helper()
		text, err := s.bob.ReadFile(s.path(n, "status"))
		if err != nil || strings.Contains(text, want) != there {
			s.Errorf("status is %q, %v; %q in it should be %v", text, err, want, there)
		}
		if !strings.HasSuffix(text, "\n") {
			s.Errorf("status does not end its last line: %q", text)
		}
	}
	status(s.dev+"/"+n+" ", true)
	status("label", false)
	if err := ctl.Say("label 'it''s mine'"); err != nil {
		s.Error(err)
	}
	status("\nlabel it's mine\n", true)
	CheckError(s, "lines", ctl.Say("label one\nfrobnicate\nlabel two\n"), linux.EINVAL, "unknown control message: frobnicate")
	status("\nlabel one\n", true)
	if err := ctl.Say("label a\n\nlabel b\npersist off"); err != nil {
		s.Error(err)
	}
	status("\nlabel b\n", true)
	for _, bad := range []string{strings.Repeat("x", 65), "'a\tb'", "'\xff'"} {
		CheckError(s, "label "+bad, ctl.Say("label "+bad), linux.EINVAL, "")
	}
	status("\nlabel b\n", true)
	if err := ctl.Say("label ''"); err != nil {
		s.Error(err)
	}
	status("label", false)
}

// storm opens, uses and closes conversations from many goroutines at once.
func (s *suite) storm() {
	const rounds = 10
	var wg sync.WaitGroup
	for i := range min(8, s.o.Convs) {
		c := []*Client{s.alice, s.bob, s.super, s.nobody}[i%4]
		wg.Go(func() { s.stormOf(c, rand.New(rand.NewPCG(uint64(i), 1)), rounds) })
	}
	wg.Wait()
	s.convs("after the storm")
}

func (s *suite) stormOf(c *Client, r *rand.Rand, rounds int) {
	for range rounds {
		ctl, err := c.Open(s.path("clone"), p9.ReadWrite)
		if err != nil {
			s.Errorf("clone: %v", err)
			return
		}
		n, err := ctl.Number()
		if err != nil {
			s.Errorf("read ctl: %v", err)
		}
		files := []*File{ctl}
		for range 3 {
			f := s.info.Files[r.IntN(len(s.info.Files))]
			if file, err := c.Open(s.path(n, f.Name), flags(f)); err == nil {
				files = append(files, file)
			}
		}
		if _, err := c.ReadFile(s.path(n, "status")); err != nil {
			s.Errorf("status: %v", err)
		}
		if _, err := c.List(s.dev); err != nil {
			s.Errorf("list: %v", err)
		}
		if err := ctl.Say("label " + n); err != nil {
			s.Errorf("label: %v", err)
		}
		if r.IntN(3) == 0 {
			if err := ctl.Say("hangup"); err != nil {
				s.Errorf("hangup: %v", err)
			}
		}
		var wg sync.WaitGroup
		for _, f := range files {
			wg.Go(func() { f.Close() })
		}
		wg.Wait()
	}
}
