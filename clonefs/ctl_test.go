package clonefs_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// TestCtl has what a message does, and how each kind of failure is answered.
func TestCtl(t *testing.T) {
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	ctl := alice.MustOpen("mem/clone", p9.ReadWrite)
	tests := []struct {
		say   string
		errno linux.Errno // 0: none
		text  string      // of the error
		note  string      // afterwards; what echo was given
	}{
		{"echo a b", 0, "", "a|b"},
		{"echo 'a b' it''s", 0, "", "a b|its"},
		{"echo 'it''s' ''", 0, "", "it's|"},
		{" \techo\tx  ", 0, "", "x"},
		{"echo 1\necho 2\n\necho 3", 0, "", "3"},
		{"echo 4\nnonsense\necho 5", linux.EINVAL, "unknown control message: nonsense", "4"},
		{"speed fast", 0, "", "fast"},
		{"speed medium", linux.EINVAL, "bad control message: speed wants slow|fast", "fast"},
		{"set x to 1", 0, "", "x|to|1"},
		{"set x to 1 m", 0, "", "x|to|1|m"},
		{"set x 1", linux.EINVAL, "bad control message: set wants NAME [to VALUE [UNIT]]", "x|to|1|m"},
		{"bind tun", 0, "", "tun"},
		{"bind link 1 2 3", 0, "", "link|1|2|3"},
		{"bind", linux.EINVAL, "bad control message: bind wants tun, or link ID REMOTE [DEV]", "link|1|2|3"},
		{"busy now", linux.EINVAL, "bad control message: busy wants no argument", "link|1|2|3"},
		{"count x", linux.EINVAL, "bad control message: count wants N", "link|1|2|3"},
		{"count 3", 0, "", "link|1|2|3"},
		{"busy", linux.EBUSY, "device or object already in use", "link|1|2|3"},
		{"fail 1", linux.EPERM, "fail: operation not permitted", "link|1|2|3"},
		{"fail 112", linux.EHOSTDOWN, "fail: host is down", "link|1|2|3"},
		{"root x", linux.EINVAL, "bad control message: root wants no argument", "link|1|2|3"},
		{"root", linux.EPERM, "permission denied: root is for the superuser", "link|1|2|3"},
		{"label 'open", linux.EINVAL, "bad control message: a quote is not closed", "link|1|2|3"},
		{strings.Repeat("w", 100), linux.EINVAL, "unknown control message: " + strings.Repeat("w", 64) + "...", "link|1|2|3"},
		{"\xff\u202e", linux.EINVAL, "unknown control message: ??", "link|1|2|3"},
	}
	for _, tt := range tests {
		err := ctl.Say(tt.say)
		if tt.errno != 0 {
			clonetest.CheckError(t, tt.say, err, tt.errno, tt.text)
		} else if err != nil {
			t.Errorf("%q: %v", tt.say, err)
		}
		if note, err := alice.ReadFile("mem/0/note"); note != tt.note+"\n" || err != nil {
			t.Errorf("after %q the note is %q, %v, want %q", tt.say, note, err, tt.note)
		}
	}
	super := clonetest.Attach(t, fs, clonetest.Super)
	if err := super.WriteFile("mem/0/ctl", "root"); err != nil {
		t.Errorf("the superuser's message: %v", err)
	}
}

// FuzzCtl writes anything to ctl: the answer is an Error with both faces, or none, and the conversation lives on unless it was told not to.
func FuzzCtl(f *testing.F) {
	info, err := clonefs.Describe(clonetest.Mem(clonetest.MemOptions{}))
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range info.Messages { // the dictionary
		f.Add([]byte(m.Word + " " + m.Args))
		f.Add([]byte(m.Word + "\n" + m.Word + " '''' x"))
	}
	f.Add([]byte("label 'a''b\x00"))
	fs, err := clonefs.New(clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { fs.Close(context.Background()) })
	f.Fuzz(func(t *testing.T, p []byte) {
		ctl, err := clonetest.Attach(t, fs, clonetest.Alice).Open("mem/clone", p9.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		defer ctl.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		n, err := ctl.Write(ctx, p, 0)
		var e *p9ext.Error
		if err != nil && (!errors.As(err, &e) || e.Errno == 0 || e.Text == "" || n != 0) || err == nil && n != len(p) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q is answered with control characters: %q", p, err)
		}
	})
}

// TestCtlWaits checks that a message that waits is interrupted, keeps others of its conversation waiting, and nobody else.
func TestCtlWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		one, two := alice.MustOpen("mem/clone", p9.ReadWrite), alice.MustOpen("mem/clone", p9.ReadWrite)
		say := func(ctx context.Context, f *clonetest.File, text string) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := f.Write(ctx, []byte(text), 0)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		ctx, cancel := context.WithCancel(t.Context())
		waiting := say(ctx, one, "wait")
		queued := say(t.Context(), one, "label queued")
		ctx2, cancel2 := context.WithCancel(t.Context())
		given := say(ctx2, one, "label given-up")
		note, err := alice.Open("mem/0/note", p9.WriteOnly)
		if err != nil {
			t.Fatal(err)
		}
		noted := say(t.Context(), note, "queued too")
		for name, c := range map[string]<-chan error{"wait": waiting, "label": queued, "given up": given, "note": noted} {
			select {
			case err := <-c:
				t.Errorf("%s did not wait: %v", name, err)
			default:
			}
		}
		if err := two.Say("label free"); err != nil {
			t.Error(err)
		}
		cancel2()
		clonetest.CheckError(t, "given up", <-given, linux.EINTR, "interrupted")
		cancel()
		clonetest.CheckError(t, "wait", <-waiting, linux.EINTR, "interrupted")
		if err := <-queued; err != nil {
			t.Error(err)
		}
		if err := <-noted; err != nil {
			t.Error(err)
		}
		note.Close()
		text, err := alice.ReadFile("mem/0/status")
		if want := "mem/0 open owner alice opens 1\nlabel queued\nreaders 0\n"; text != want || err != nil {
			t.Errorf("status is %q, %v, want %q", text, err, want)
		}

		waiting = say(t.Context(), one, "wait") // and hangup ends it
		queued = say(t.Context(), one, "label x")
		fs.Close(t.Context())
		clonetest.CheckError(t, "wait", <-waiting, linux.EIO, "i/o on hungup channel")
		clonetest.CheckError(t, "label", <-queued, linux.EIO, "i/o on hungup channel")
	})
}

// TestLog has one line for each failure, the everyday ones at level debug, and not more than so many a second.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that all happens within a second
		var lines lineCounter
		fs := tree(t, clonefs.Config{Log: zerolog.New(&lines).Level(zerolog.InfoLevel)}, clonetest.Mem(clonetest.MemOptions{}))
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		ctl := alice.MustOpen("mem/clone", p9.ReadWrite)
		ctl.Say("nonsense")
		alice.Walk("nothing")
		clonetest.Attach(t, fs, clonetest.Bob).Open("mem/0/ctl", p9.ReadOnly)
		if s := lines.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, `"file":"/mem/0/ctl"`) ||
			!strings.Contains(s, `"peer":"test:alice"`) || !strings.Contains(s, "unknown control message: nonsense") {
			t.Errorf("log: %s", s)
		}
		for range 1000 {
			ctl.Say("nonsense")
		}
		if n := strings.Count(lines.String(), "\n"); n != 50 {
			t.Errorf("%d lines of 1001 failures", n)
		}
		time.Sleep(time.Second)
		ctl.Say("nonsense")
		if s := lines.String(); !strings.Contains(s, `"suppressed":951`) {
			t.Errorf("the log ends with %s", s[len(s)-300:])
		}
	})
}

type lineCounter struct {
	mu sync.Mutex // guards the buffer
	bytes.Buffer
}

func (l *lineCounter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *lineCounter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}
