package clonefs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree makes a tree that is closed with the test.
func tree(t testing.TB, c clonefs.Config, drivers ...clonefs.Driver) *clonefs.FS {
	t.Helper()
	fs, err := clonefs.New(c, drivers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := fs.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return fs
}

func TestNewRefuses(t *testing.T) {
	type T = *clonetest.MemConv
	clone := func(context.Context, *clonefs.Conv) (T, error) { return nil, nil }
	do := func(T, context.Context, []string) error { return nil }
	text := func(T) (string, error) { return "", nil }
	open := func(T, context.Context, clonefs.Mode) (clonefs.Stream, error) { return nil, nil }
	device := func(change func(*clonefs.Device[T])) []clonefs.Driver {
		d := &clonefs.Device[T]{Name: "x", Clone: clone}
		change(d)
		return []clonefs.Driver{d}
	}
	message := func(word, args string) []clonefs.Driver {
		return device(func(d *clonefs.Device[T]) { d.Ctl = clonefs.Messages[T]{{Word: word, Args: args, Do: do}} })
	}
	file := func(f ...clonefs.File[T]) []clonefs.Driver {
		return device(func(d *clonefs.Device[T]) { d.Files = f })
	}
	shared := func(f ...clonefs.SharedFile) []clonefs.Driver {
		return device(func(d *clonefs.Device[T]) { d.Shared = f })
	}
	sharedText := func() (string, error) { return "", nil }
	sharedOpen := func(context.Context, clonefs.User, clonefs.Mode) (clonefs.Stream, error) { return nil, nil }
	tests := []struct {
		name    string
		drivers []clonefs.Driver
		root    []clonefs.RootFile
		want    string // part of the error
	}{
		{"no name", device(func(d *clonefs.Device[T]) { d.Name = "" }), nil, `called ""`},
		{"a bad name", device(func(d *clonefs.Device[T]) { d.Name = "a/b" }), nil, `called "a/b"`},
		{"the name of a root file", device(func(d *clonefs.Device[T]) { d.Name = "README" }), nil, "README"},
		{"no Clone", device(func(d *clonefs.Device[T]) { d.Clone = nil }), nil, "no Clone"},
		{"two of one name", append(message("a", ""), message("b", "")...), nil, "two devices are called x"},
		{"bad args", message("a", "[x"), nil, "[ without ]"},
		{"bad word", message("a b", ""), nil, "not a word"},
		{"everybody's word", message("hangup", ""), nil, "every device has it"},
		{"no Do", device(func(d *clonefs.Device[T]) { d.Ctl = clonefs.Messages[T]{{Word: "a"}} }), nil, "no Do"},
		{"a file that is nothing", file(clonefs.File[T]{Name: "a"}), nil, "exactly one"},
		{"a file that is two things", file(clonefs.File[T]{Name: "a", Text: text, Open: open}), nil, "exactly one"},
		{"SetText alone", file(clonefs.File[T]{Name: "a", Open: open, SetText: func(T, context.Context, string) error { return nil }}), nil,
			"SetText without Text"},
		{"ctl twice", file(clonefs.File[T]{Name: "ctl", Text: text}), nil, "twice"},
		{"rx twice", file(clonefs.File[T]{Name: "rx", Text: text}, clonefs.File[T]{Name: "data", Duplex: open}), nil, "twice"},
		{"a shared file that is nothing", shared(clonefs.SharedFile{Name: "a"}), nil, "either"},
		{"a shared file that is two things", shared(clonefs.SharedFile{Name: "a", Text: sharedText, Open: sharedOpen}), nil, "either"},
		{"a text that counts", shared(clonefs.SharedFile{Name: "a", Text: sharedText, Counts: true}), nil, "either"},
		{"a number", shared(clonefs.SharedFile{Name: "7", Text: sharedText}), nil, "conversation"},
		{"clone twice", shared(clonefs.SharedFile{Name: "clone", Text: sharedText}), nil, "already"},
		{"a root file twice", nil, []clonefs.RootFile{{Name: "devices", Text: sharedText}}, "twice"},
		{"a root file without text", nil, []clonefs.RootFile{{Name: "a"}}, "no Text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := clonefs.New(clonefs.Config{Root: tt.root}, tt.drivers...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

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
		{"root", linux.EPERM, "permission denied", "link|1|2|3"},
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

// TestStreams has records go through data, rx, tx and the file that can't poll, to every reader.
func TestStreams(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	fs := tree(t, clonefs.Config{}, mem)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	data := alice.MustOpen("mem/0/data", p9.ReadWrite)
	rx := alice.MustOpen("mem/0/rx", p9.ReadOnly)
	tx := alice.MustOpen("mem/0/tx", p9.WriteOnly)
	plain := alice.MustOpen("mem/0/plain", p9.ReadWrite)
	readers := map[string]*clonetest.File{"data": data, "rx": rx, "plain": plain}
	ctx := t.Context()

	for name, f := range map[string]*clonetest.File{"data": data, "tx": tx, "plain": plain} {
		if n, err := f.Write(ctx, []byte("from "+name), 0); n != 5+len(name) || err != nil {
			t.Errorf("write %s: %d, %v", name, n, err)
		}
		for reader, r := range readers {
			if got, err := r.Record(ctx); got != "from "+name || err != nil {
				t.Errorf("%s reads %q, %v; want what %s wrote", reader, got, err, name)
			}
		}
	}
	for name, r := range readers { // what was put back comes first
		mem.Conv(0).Push([]byte("one"))
		mem.Conv(0).Push([]byte("two"))
		one, err := r.Record(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r.File.(p9ext.Unreader).Unread([]byte(one))
		var got []string
		for range 2 {
			s, _ := r.Record(ctx)
			got = append(got, s)
		}
		if !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%s reads %q after Unread", name, got)
		}
		for other, o := range readers {
			if other != name {
				o.Record(ctx)
				o.Record(ctx)
			}
		}
	}
	_, err := tx.Read(ctx, make([]byte, 1), 0)
	clonetest.CheckError(t, "read of tx", err, linux.EBADF, "")
	_, err = rx.Write(ctx, []byte("x"), 0)
	clonetest.CheckError(t, "write to rx", err, linux.EBADF, "")
	_, err = tx.Write(ctx, nil, 0)
	clonetest.CheckError(t, "write of nothing", err, linux.EINVAL, "read or write too small")
	super := clonetest.Attach(t, fs, clonetest.Super)
	for path, flags := range map[string]p9.OpenFlags{"rx": p9.WriteOnly, "tx": p9.ReadOnly, "status": p9.ReadWrite, "../help": p9.WriteOnly} {
		_, err = super.Open("mem/0/"+path, flags)
		clonetest.CheckError(t, "the superuser opens "+path+" the wrong way", err, linux.EACCES, "permission denied")
	}

	mem.Conv(0).Push([]byte("last"))
	mem.Conv(0).EndOfFile(io.EOF)
	for name, r := range readers {
		if got, err := r.Record(ctx); got != "last" || err != nil {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
		if got, err := r.Record(ctx); got != "" || err != nil {
			t.Errorf("%s at its end reads %q, %v", name, got, err)
		}
	}
}

// TestUnreadWhileReading puts a record back into a stream that lacks Unread while a later read of it waits.
func TestUnreadWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := clonetest.Mem(clonetest.MemOptions{})
		fs := tree(t, clonefs.Config{}, mem)
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		alice.MustOpen("mem/clone", p9.ReadWrite)
		plain := alice.MustOpen("mem/0/plain", p9.ReadOnly)
		got := make(chan string, 1)
		read := func() {
			s, err := plain.Record(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- s
		}
		go read()
		synctest.Wait()
		plain.File.(p9ext.Unreader).Unread([]byte("back"))
		if s := <-got; s != "back" {
			t.Errorf("read %q", s)
		}
		go read()
		synctest.Wait()
		mem.Conv(0).Push([]byte("new"))
		if s := <-got; s != "new" {
			t.Errorf("read %q", s)
		}
	})
}

// TestParkedReads hangs up beneath many parked reads: each is woken once, and answers.
func TestParkedReads(t *testing.T) {
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	ctl := alice.MustOpen("mem/clone", p9.ReadWrite)
	var bells []*bell
	var files []p9ext.ReadPoller
	for i := range 100 {
		f := alice.MustOpen([]string{"mem/0/rx", "mem/0/tap"}[i%2], p9.ReadOnly).File.(p9ext.ReadPoller)
		b := &bell{c: make(chan struct{}, 2)}
		if _, err := f.PollRead(make([]byte, 10), 0, b); err != p9ext.ErrWait {
			t.Fatal(err)
		}
		bells, files = append(bells, b), append(files, f)
	}
	if err := ctl.Say("hangup"); err != nil {
		t.Fatal(err)
	}
	for i, b := range bells {
		<-b.c
		_, err := files[i].PollRead(make([]byte, 10), 0, b)
		clonetest.CheckError(t, "parked read", err, linux.EIO, "i/o on hungup channel")
		files[i].Unpoll(b)
		if len(b.c) != 0 {
			t.Error("woken twice")
		}
	}
}

type bell struct{ c chan struct{} }

func (b *bell) Wake() { b.c <- struct{}{} }

// TestTaken has numbers whose names are in use outside.
func TestTaken(t *testing.T) {
	taken := map[int]bool{0: true, 1: true, 3: true}
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{OnClone: func(_ context.Context, n int) error {
		if taken[n] {
			return fmt.Errorf("mem%d: %w", n, clonefs.ErrTaken)
		}
		return nil
	}}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	for _, want := range []string{"2", "4", "5"} {
		if n, _ := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != want {
			t.Errorf("got %s, want %s", n, want)
		}
	}
	taken[0] = false
	if n, _ := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != "0" {
		t.Errorf("got %s, want 0, which is free now", n)
	}
	for n := range 2000 {
		taken[n] = true
	}
	_, err := alice.Open("mem/clone", p9.ReadWrite)
	clonetest.CheckError(t, "all taken", err, linux.EBUSY, "device or object already in use")
}

// TestCloneFails checks that nothing is left of a conversation that did not begin, and what its opener hears.
func TestCloneFails(t *testing.T) {
	var fail error
	mem := clonetest.Mem(clonetest.MemOptions{OnClone: func(context.Context, int) error { return fail }})
	fs := tree(t, clonefs.Config{}, mem)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	for _, tt := range []struct {
		fail  error
		errno linux.Errno
		text  string
	}{
		{p9ext.ErrInUse, linux.EBUSY, "device or object already in use"},
		{p9ext.Errorf(linux.EACCES, "cannot make it: %w", linux.EPERM), linux.EACCES, "cannot make it: operation not permitted"},
		{fmt.Errorf("making it: %w", p9ext.ErrTooLarge), linux.EMSGSIZE, "making it: read or write too large"},
		{errors.New("out of luck"), linux.EIO, "out of luck"},
	} {
		fail = tt.fail
		_, err := alice.Open("mem/clone", p9.ReadWrite)
		clonetest.CheckError(t, "clone", err, tt.errno, tt.text)
	}
	fail = nil
	if n, err := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != "0" || err != nil {
		t.Errorf("then the first is %s, %v", n, err)
	}
	if s := fs.Stats()[0]; s.Refused != 4 || s.Clones != 1 || mem.Live() != 1 {
		t.Errorf("%+v, %d live", s, mem.Live())
	}
}

// TestSlowDriver has a driver whose Clone and Close block: who waits for them, and who does not.
func TestSlowDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloning, closing := make(chan struct{}), make(chan struct{})
		mem := clonetest.Mem(clonetest.MemOptions{
			OnClone: func(ctx context.Context, _ int) error {
				select {
				case <-cloning:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
			OnClose: func(int) error { <-closing; return nil },
		})
		fs := tree(t, clonefs.Config{}, mem)
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		var wg sync.WaitGroup

		open := func(ctx context.Context) (p9.File, <-chan error) {
			f, err := alice.Walk("mem/clone")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			wg.Go(func() {
				_, err := clonetest.Open(ctx, f, p9.ReadWrite)
				done <- err
			})
			synctest.Wait()
			return f, done
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, flushed := open(ctx)
		clunkedFile, clunked := open(t.Context())
		if convs := alice.Convs("mem"); convs != nil {
			t.Errorf("listed while Clone runs: %v", convs)
		}
		cancel()
		clonetest.CheckError(t, "flushed open", <-flushed, linux.EINTR, "interrupted")
		clunkedFile.Close()
		clonetest.CheckError(t, "clunked open", <-clunked, linux.EINTR, "interrupted")
		close(cloning)

		const convs = 100
		var files []*clonetest.File
		for range convs {
			files = append(files, alice.MustOpen("mem/clone", p9.ReadWrite))
		}
		for _, f := range files {
			wg.Go(func() { f.Close() })
		}
		synctest.Wait() // a hundred Closes block
		if list := alice.Convs("mem"); list != nil {
			t.Errorf("listed while Close runs: %v", list)
		}
		if n, _ := alice.MustOpen("mem/clone", p9.ReadWrite).Number(); n != fmt.Sprint(convs) {
			t.Errorf("a number is given out while its driver closes: %s", n)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := fs.Close(short); err == nil || !strings.Contains(err.Error(), "101 of mem") {
			t.Errorf("the end of the tree, with drivers that do not close: %v", err)
		}
		close(closing)
		wg.Wait()
	})
}

// TestStubbornMethod has a method that ignores the end of its conversation: Close waits five seconds for it.
func TestStubbornMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		closed := make(chan time.Time, 1)
		d := &clonefs.Device[closer]{
			Name:  "x",
			Clone: func(context.Context, *clonefs.Conv) (closer, error) { return func() { closed <- time.Now() }, nil },
			Ctl: clonefs.Messages[closer]{{Word: "sleep", Do: func(_ closer, ctx context.Context, _ []string) error {
				<-ctx.Done()
				time.Sleep(time.Second) // this much is waited for
				return nil
			}}, {Word: "stick", Do: func(closer, context.Context, []string) error { <-gate; return nil }}},
		}
		fs := tree(t, clonefs.Config{}, d)
		alice := clonetest.Attach(t, fs, clonetest.Alice)
		for word, want := range map[string]time.Duration{"sleep": time.Second, "stick": 5 * time.Second} {
			ctl := alice.MustOpen("x/clone", p9.ReadWrite)
			go ctl.Say(word)
			synctest.Wait()
			start := time.Now()
			ctl.Close()
			if took := (<-closed).Sub(start); took != want {
				t.Errorf("%s: closed after %v, want %v", word, took, want)
			}
		}
		close(gate)
	})
}

type closer func()

func (c closer) Close() error { c(); return nil }

// TestDriverHangsUp has the driver end a conversation, from a message, from outside, and before it began.
func TestDriverHangsUp(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	early := &clonefs.Device[closer]{
		Name: "early",
		Clone: func(ctx context.Context, c *clonefs.Conv) (closer, error) {
			c.Hangup(errors.New("no"))
			<-c.Done()
			<-ctx.Done()
			return func() {}, nil
		},
	}
	fs := tree(t, clonefs.Config{}, mem, early)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	ctl := alice.MustOpen("mem/clone", p9.ReadWrite)
	rx := alice.MustOpen("mem/0/rx", p9.ReadOnly)
	if err := ctl.Say("die\nlabel x"); err != nil {
		t.Error(err)
	}
	_, err := rx.Record(t.Context())
	clonetest.CheckError(t, "read", err, linux.EIO, "i/o on hungup channel")

	alice.MustOpen("mem/clone", p9.ReadWrite)
	for n := range 2 { // the first may still be closing
		if v := mem.Conv(n); v != nil {
			v.Hangup(nil)
			v.Hangup(nil)
		}
	}
	if convs := alice.Convs("mem"); convs != nil {
		t.Errorf("listed: %v", convs)
	}
	_, err = alice.Open("early/clone", p9.ReadWrite)
	clonetest.CheckError(t, "clone", err, linux.EIO, "i/o on hungup channel")
}

func TestSharedFiles(t *testing.T) {
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{MaxConvs: 2}))
	bob := clonetest.Attach(t, fs, clonetest.Bob)
	if err := bob.WriteFile("mem/level", " 7\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := bob.ReadFile("mem/level"); text != "7\n" || err != nil {
		t.Errorf("level is %q, %v", text, err)
	}
	clonetest.CheckError(t, "bad level", bob.WriteFile("mem/level", "x"), linux.EINVAL, `a level is a number, not "x"`)

	voice := bob.MustOpen("mem/voice", p9.ReadWrite)
	if err := voice.Say("la"); err != nil {
		t.Error(err)
	}
	if s, err := voice.Record(t.Context()); s != "la" || err != nil {
		t.Errorf("voice says %q, %v", s, err)
	}
	_, err := bob.Open("mem/clone", p9.ReadWrite) // half of two is one a user
	clonetest.CheckError(t, "bob's second", err, linux.ENOSPC, "no free devices")
	clonetest.Attach(t, fs, clonetest.Alice).MustOpen("mem/clone", p9.ReadWrite)
	_, err = clonetest.Attach(t, fs, clonetest.Super).Open("mem/voice", p9.ReadWrite)
	clonetest.CheckError(t, "the third", err, linux.ENOSPC, "no free devices")
	if convs := bob.Convs("mem"); !slices.Equal(convs, []string{"0"}) {
		t.Errorf("listed: %v", convs)
	}
	voice.Close()
	voice = bob.MustOpen("mem/voice", p9.ReadOnly)
	fs.Close(t.Context())
	_, err = voice.Record(t.Context())
	clonetest.CheckError(t, "voice after the end", err, linux.EIO, "")
}

// TestListing pages through a directory while conversations come and go.
func TestListing(t *testing.T) {
	fs := tree(t, clonefs.Config{DefaultMaxPerUser: 1024}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	var files []*clonetest.File
	for range 200 {
		files = append(files, alice.MustOpen("mem/clone", p9.ReadWrite))
	}
	files[7].Close()
	dir := alice.MustOpen("mem", p9.ReadOnly)
	var got []string
	offset := uint64(0)
	for i := 0; ; i++ {
		list, err := dir.Readdir(offset, 12)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		if i == 2 { // behind the place, and before it
			files[0].Close()
			files[199].Close()
		}
		for _, d := range list {
			got = append(got, d.Name)
			offset = d.Offset
		}
	}
	want := []string{"clone", "help", "stats", "level", "voice"}
	for n := range 199 {
		if n != 7 {
			want = append(want, fmt.Sprint(n))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v", got)
	}
	if _, err := dir.Readdir(1<<63, 12); err == nil {
		t.Error("an offset from nowhere is taken")
	}
	root, err := alice.List("")
	if want := []string{"README", "devices", "mem"}; !slices.Equal(root, want) || err != nil {
		t.Errorf("the root has %v, %v, want %v", root, err, want)
	}
}

func TestWalk(t *testing.T) {
	fs := tree(t, clonefs.Config{}, clonetest.Mem(clonetest.MemOptions{}))
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	for path, want := range map[string]linux.Errno{
		"": 0, "mem": 0, "mem/0": 0, "mem/0/ctl": 0, "mem/0/../0/./rx": 0, "..": 0, "mem/../README": 0, "mem/0/../../devices": 0,
		"nothing": linux.ENOENT, "mem/1": linux.ENOENT, "mem/00": linux.ENOENT, "mem/-0": linux.ENOENT, "mem/0/nothing": linux.ENOENT,
		"mem/99999999999999999999": linux.ENOENT, "mem/999999999": linux.ENOENT, "README/x": linux.ENOTDIR, "mem/clone/..": linux.ENOTDIR,
	} {
		_, err := alice.Walk(path)
		if want == 0 && err != nil || want != 0 && !errors.Is(err, want) {
			t.Errorf("walk %q: %v, want %v", path, err, want)
		}
	}
	qids, f, mask, attr, err := alice.Root.WalkGetAttr([]string{"mem", "0", "ctl"})
	if q, _, a, _ := f.GetAttr(p9.AttrMaskAll); err != nil || len(qids) != 3 || q != qids[2] || a != attr || !mask.Mode {
		t.Errorf("WalkGetAttr: %v, %v", qids, err)
	}
}

// TestRootFiles has a file that cmd adds, as /stats is.
func TestRootFiles(t *testing.T) {
	n := 0
	fs := tree(t, clonefs.Config{
		Mount: "mount -t 9p here there",
		Root:  []clonefs.RootFile{{Name: "stats", Help: "counters", Text: func() (string, error) { n++; return fmt.Sprintln("opens", n), nil }}},
	}, clonetest.Mem(clonetest.MemOptions{}))
	bob := clonetest.Attach(t, fs, clonetest.Bob)
	for _, want := range []string{"opens 1\n", "opens 2\n"} {
		if text, err := bob.ReadFile("stats"); text != want || err != nil {
			t.Errorf("stats is %q, %v, want %q", text, err, want)
		}
	}
	readme, _ := bob.ReadFile("README")
	for _, want := range []string{"mount -t 9p here there", "stats", "counters", "mem", "a loopback in memory"} {
		if !strings.Contains(readme, want) {
			t.Errorf("README does not say %q:\n%s", want, readme)
		}
	}
	if text, _ := bob.ReadFile("devices"); text != "mem 0 1024 a loopback in memory\n" {
		t.Errorf("devices is %q", text)
	}
}

// TestText checks that a text is a snapshot from its first read on, and padding is allowed.
func TestText(t *testing.T) {
	mem := clonetest.Mem(clonetest.MemOptions{})
	fs := tree(t, clonefs.Config{}, mem)
	alice := clonetest.Attach(t, fs, clonetest.Alice)
	alice.MustOpen("mem/clone", p9.ReadWrite)
	info := alice.MustOpen("mem/0/info", p9.ReadOnly)
	p := make([]byte, 8)
	read := func(off int64) string {
		n, err := info.Read(t.Context(), p, off)
		if err != nil {
			t.Error(err)
		}
		return string(p[:n])
	}
	if s := read(0); s != "readers " {
		t.Errorf("read %q", s)
	}
	alice.MustOpen("mem/0/rx", p9.ReadOnly)
	if s := read(8) + "," + read(10); s != "0\n," {
		t.Errorf("the rest is %q", s)
	}
	if s := read(0) + read(8); s != "readers 1\n" {
		t.Errorf("read again: %q", s)
	}
	for path, want := range map[string]bool{"README": true, "mem/clone": true, "mem/0/ctl": true, "mem/0/note": true, "mem/0/lock": true, "mem/0/rx": false, "mem": false} {
		f, err := alice.Walk(path)
		if err != nil {
			t.Fatal(err)
		}
		text, ok := f.(p9ext.Text)
		if got := ok && text.IsText(); got != want {
			t.Errorf("%s is text: %v, want %v", path, got, want)
		}
		if _, ok := f.(p9ext.Prompt); !ok {
			t.Errorf("%s is not prompt", path)
		}
	}
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
