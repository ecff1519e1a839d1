//go:build unix

package dmover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/clone9p/clone9p/devices/dmover/internal/engine"
	"github.com/clone9p/clone9p/p9ext"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// me is who runs the tests.
var me = clonefs.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Name: "me", Addr: "unix:test", Proven: true}

func device9(t testing.TB, c Config) *clonefs.Device[*Session] {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	clonetest.Run(t, func(t *testing.T) clonefs.Driver { return device9(t, DefaultConfig()) }, clonetest.Options{
		Limited: func(t *testing.T, convs, perUser int) clonefs.Driver {
			c := DefaultConfig()
			c.Limit, c.PerUser = convs, perUser
			return device9(t, c)
		},
	})
}

// A user is an attached user of a device under test.
type user struct {
	t *testing.T
	*clonetest.Client
}

// serve attaches u to a device with the roots.
func serve(t *testing.T, u clonefs.User, roots ...string) *user {
	t.Helper()
	c := DefaultConfig()
	c.Roots = roots
	fs, err := clonefs.New(clonefs.Config{}, device9(t, c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := fs.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &user{t, clonetest.Attach(t, fs, u)}
}

// A talk is a session of a user's.
type talk struct {
	*user
	ctl, rx, tx *clonetest.File
	dir         string
}

func (u *user) session(ctl ...string) *talk {
	u.t.Helper()
	s := &talk{user: u, ctl: u.MustOpen("/dmover/clone", p9.ReadWrite)}
	n, err := s.ctl.Number()
	if err != nil {
		u.t.Fatal(err)
	}
	s.dir = "/dmover/" + n
	s.rx, s.tx = u.MustOpen(s.dir+"/rx", p9.ReadOnly), u.MustOpen(s.dir+"/tx", p9.WriteOnly)
	for _, line := range ctl {
		s.say(line)
	}
	return s
}

func (s *talk) say(line string) {
	s.t.Helper()
	if err := s.ctl.Say(line); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
}

// put fills an input buffer.
func (s *talk) put(buf string, p []byte) {
	s.t.Helper()
	f, err := s.Open(s.dir+"/"+buf, p9.WriteOnly)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for off := 0; off < len(p) || off == 0; {
		n, err := f.Write(s.t.Context(), p[off:min(len(p), off+1<<20)], int64(off))
		if err != nil {
			s.t.Fatal(err)
		}
		if off += n; n == 0 {
			return
		}
	}
}

// get reads the output buffer.
func (s *talk) get() []byte {
	s.t.Helper()
	f := s.MustOpen(s.dir+"/out", p9.ReadOnly)
	defer f.Close()
	var all []byte
	p := make([]byte, 1<<20)
	for {
		n, err := f.Read(s.t.Context(), p, int64(len(all)))
		if err != nil {
			s.t.Fatal(err)
		}
		if n == 0 {
			return all
		}
		all = append(all, p[:n]...)
	}
}

func (s *talk) send(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := s.tx.Write(ctx, []byte(text), 0)
	return err
}

// answer reads one response.
func (s *talk) answer() string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := make([]byte, 4096)
	n, err := s.rx.Read(ctx, p, 0)
	if err != nil {
		s.t.Fatalf("no response: %v", err)
	}
	return strings.TrimSuffix(string(p[:n]), "\n")
}

// ask sends a request and returns its response.
func (s *talk) ask(line string) string {
	s.t.Helper()
	if err := s.send(line); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	return s.answer()
}

func (s *talk) want(line, response string) {
	s.t.Helper()
	if got := s.ask(line); got != response {
		s.t.Errorf("%s\n\tgets  %s\n\twant  %s", line, got, response)
	}
}

func random(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func TestMemory(t *testing.T) {
	u := serve(t, me)
	s := u.session("func iscsi-crc32c")
	s.put("in0", []byte("123456789"))
	s.want("1 in=in0:0:9", "1 ok imm=839206e3 bytes=9")
	s.want("2 in=in0:0:4", "2 ok imm="+strings.TrimPrefix(strings.TrimSuffix(s.ask("3 in=in0:0:4"), " bytes=4"), "3 ok imm=")+" bytes=4")
	// Chained over pieces it is that of the whole; zeros at the end of the immediate may be left out.
	first := strings.Fields(s.ask("4 in=in0:0:5"))[2]
	s.want("5 in=in0:5:4 "+first, "5 ok imm=839206e3 bytes=4")
	s.want("6 in=in0:0:9 imm=", "6 ok imm=839206e3 bytes=9")
	s.put("in0", []byte("12")) // anew
	s.want("7 in=in0:0:9", "7 error 22 in0 has 2 bytes, the request ends at 9")

	x := u.session("func xor3")
	a, b, c := random(100_000), random(100_001)[1:], random(100_002)[2:]
	x.put("in0", a)
	x.put("in3", b)
	x.put("in7", c)
	x.want("18446744073709551615 out=out:7:100000 in=in0:0:100000 in=in3:0:100000 in=in7:0:100000", "18446744073709551615 ok bytes=100000")
	out := x.get()
	if len(out) != 100_007 || !bytes.Equal(out[:7], make([]byte, 7)) {
		t.Fatalf("out has %d bytes", len(out))
	}
	for i := range a {
		if out[7+i] != a[i]^b[i]^c[i] {
			t.Fatalf("byte %d is wrong", i)
		}
	}

	// Larger than what is parted among the processors.
	big := u.session("func copy")
	p := random(10<<20 + 3)
	big.put("in0", p)
	big.want("1 in=in0:0:10485763 out=out:0:10485763", "1 ok bytes=10485763")
	if !bytes.Equal(big.get(), p) {
		t.Error("the copy is another")
	}
	big.want("2 in=in0:3:4 out=out:0:4", "2 ok bytes=4")
	if !bytes.Equal(big.get()[:8], append(bytes.Clone(p[3:7]), p[4:8]...)) {
		t.Error("the small copy is another")
	}

	q := u.session("func pq")
	q.put("in0", []byte{1, 2})
	q.put("in1", []byte{4, 8})
	q.want("1 in=in0:0:2 in=in1:0:2 out=out:0:4", "1 ok bytes=2")
	if got := q.get(); !bytes.Equal(got, []byte{5, 10, 9, 18}) { // Q is in0 + 2*in1
		t.Errorf("pq makes %v", got)
	}
	z := u.session("func fill8")
	z.want("1 out=out:0:3 imm=2a", "1 ok bytes=3")
	z.want("2 out=out:1:1", "2 ok bytes=1")
	if got := z.get(); !bytes.Equal(got, []byte{42, 0, 42}) {
		t.Errorf("fill8 makes %v", got)
	}
	d := u.session("func compare")
	d.put("in0", []byte("abcdef"))
	d.put("in1", []byte("abcxef"))
	d.want("1 in=in0:0:6 in=in1:0:6", "1 ok imm=0300000000000000 bytes=6")
	d.want("2 in=in0:0:3 in=in1:0:3", "2 ok imm=ffffffffffffffff bytes=3")
	h := u.session("func sha256")
	h.put("in0", p)
	sum := sha256.Sum256(p)
	h.want("1 in=in0:0:10485763", "1 ok imm="+hex.EncodeToString(sum[:])+" bytes=10485763")
}

func TestCtl(t *testing.T) {
	u := serve(t, me)
	s := u.session()
	s.want("1 in=in0:0:0", "1 error 22 no function is chosen: send func NAME to ctl")
	for _, c := range []struct {
		line  string
		errno linux.Errno
		text  string
	}{
		{"func none", linux.EINVAL, `no such function: "none"; dmover/functions lists those there are`},
		{"backend simd", linux.EINVAL, "no function is chosen: send func NAME first"},
		{"depth 0", linux.EINVAL, ""},
		{"depth 4097", linux.EINVAL, ""},
		{"depth x", linux.EINVAL, `bad control message: depth wants N: "x" is no number from 1 to 4096`},
		{"bind in9 x", linux.EINVAL, `bad control message: bind wants BUF: "in9" is no buffer, write in0 to in7, or out`},
		{"bind in0 x", linux.EPERM, `cannot bind "x": the server exports no files (--dmover-root)`},
		{"unbind data", linux.EINVAL, ""},
		{"func", linux.EINVAL, "bad control message: func wants NAME"},
		{"bind in0", linux.EINVAL, ""},
	} {
		clonetest.CheckError(t, c.line, s.ctl.Say(c.line), c.errno, c.text)
	}
	s.say("func crc64")
	clonetest.CheckError(t, "func again", s.ctl.Say("func copy"), linux.EBUSY, "device or object already in use: this session does crc64, a function is chosen once")
	clonetest.CheckError(t, "backend kernel", s.ctl.Say("backend kernel"), linux.EINVAL, `crc64 has no backend "kernel"; dmover/functions lists those it has`)
	s.put("in0", []byte("123456789"))
	for i, backend := range []string{"generic", "simd"} {
		s.say("backend " + backend)
		s.want(fmt.Sprintf("%d in=in0:0:9", i), fmt.Sprintf("%d ok imm=fa3919dfbbc95d99 bytes=9", i))
	}
	status, err := s.ReadFile(s.dir + "/status")
	if err != nil || !strings.Contains(status, " ready owner ") || !strings.Contains(status, "\nfunc crc64\nbackend simd\ndepth 64\noutstanding 0\nin0 memory 9\n") {
		t.Errorf("status, %v:\n%s", err, status)
	}
	text, err := s.ReadFile("/dmover/functions")
	if err != nil || strings.Count(text, "\n") != 18 || !strings.Contains(text, "\niscsi-crc32c 1 4 4 generic=") || !strings.HasPrefix(text, "zero 0 0 0 generic=") {
		t.Errorf("functions, %v:\n%s", err, text)
	}
	for line := range strings.Lines(text) {
		for _, word := range strings.Fields(line)[4:] {
			backend, text, _ := strings.Cut(word, "=")
			if speed, err := strconv.ParseFloat(text, 64); backend != "kernel" && (err != nil || speed <= 0) {
				t.Errorf("no speed of %s in %s", backend, line)
			}
		}
	}
}

// A speed is printed as it is: a slow one is not 0, a fast one has no exponent.
func TestDecimals(t *testing.T) {
	for speed, want := range map[float64]string{0.01234: "0.0123", 0.5: "0.500", 1: "1.00", 9.876: "9.88", 42.42: "42.4", 999.9: "1000", 123456.7: "123457"} {
		if got := fmt.Sprintf("%.*f", decimals(speed), speed); got != want {
			t.Errorf("%v is printed as %s, want %s", speed, got, want)
		}
	}
}

// The buffers of all sessions have so much memory and not more; unbind and the end of a session give it back.
func TestMemoryOfAllSessions(t *testing.T) {
	c := DefaultConfig()
	c.Buffer, c.Memory = 2<<20, 3<<20
	d := newDevice(c, nil)
	a, b := d.open(me), d.open(me)
	fill := func(s *Session, n int) error {
		f := &fill{b: &s.buffers[0]}
		for off := 0; off < n; off += 64 << 10 {
			if _, err := f.PollWrite(make([]byte, min(64<<10, n-off)), int64(off), nil); err != nil {
				return err
			}
		}
		return nil
	}
	const full = "no memory for in0: the buffers of all sessions have the 3145728 bytes that they may (--dmover-memory)"
	if err := fill(a, 2<<20); err != nil {
		t.Fatal(err)
	}
	clonetest.CheckError(t, "more", fill(b, 2<<20), linux.ENOMEM, full)
	if err := b.setFunc(t.Context(), []string{"zero"}); err != nil {
		t.Fatal(err)
	}
	var l line
	if err := l.parse([]byte("1 out=out:0:2097152")); err != nil {
		t.Fatal(err)
	}
	clonetest.CheckError(t, "an output", b.prepare(&request{f: b.f}, &l), linux.ENOMEM, strings.Replace(full, "in0", "out", 1))
	for _, s := range []*Session{b, a} {
		if err := s.unbind(t.Context(), []string{"in0"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill(b, 2<<20); err != nil {
		t.Errorf("after unbind: %v", err)
	}
	b.Close()
	if err := fill(b, 1); !errors.Is(err, p9ext.ErrHungup) {
		t.Errorf("after the end of the session: %v", err)
	}
	if err := fill(a, 2<<20); err != nil {
		t.Errorf("after the end of the other: %v", err)
	}
	a.Close()
	if n := d.memory.used.Load(); n != 0 {
		t.Errorf("at the end %d bytes are taken", n)
	}
}

// What is wrong with a request is told in its response; what is no request ends the write.
func TestBadRequests(t *testing.T) {
	s := serve(t, me).session("func copy")
	s.put("in0", make([]byte, 100))
	for line, text := range map[string]string{
		"1 in=in0:0:10":                          "copy wants out=BUF:OFF:LEN",
		"1 out=out:0:10":                         "copy wants 1 inputs, this has 0",
		"1 in=in0:0:10 in=in0:0:10 out=out:0:10": "copy wants 1 inputs, this has 2",
		"1 in=in0:0:10 out=out:0:9":              "the output has 9 bytes, copy of 10 bytes makes 10",
		"1 in=in0:95:10 out=out:0:10":            "in0 has 100 bytes, the request ends at 105",
		"1 in=in0:0:10 out=out:99999999:10":      "out ends at 100000009, it holds 16777216 bytes at most (--dmover-buffer)",
		"1 in=in0:0:10 out=in1:0:10":             "in1 is an input buffer: the output is out",
		"1 in=in0:0:10 out=out:0:10 imm=01":      "copy takes 0 bytes of immediate, this has 1",
	} {
		s.want(line, "1 error 22 "+text)
	}
	s.want("1 in=in0:0:100 out=out:0:100", "1 ok bytes=100")
	s.want("1 in=out:0:10 out=out:9:10", "1 error 22 the input out overlaps the output")
	s.want("1 in=out:0:10 out=out:10:10", "1 ok bytes=10")
	for _, line := range []string{
		"", "\n", "x", "-1 in=in0:0:1", "18446744073709551616 in=in0:0:1", "1 in=in0", "1 in=in8:0:1", "1 in=in0:-1:1", "1 in=in0:0:9223372036854775808",
		"1 in=in0:9223372036854775807:1", "1 what", "1 out=out:0:1 out=out:0:1", "1 imm=0", "1 imm=xx", "1 imm=00 imm=00",
		"1" + strings.Repeat(" in=in0:0:1", 9), "1 imm=" + strings.Repeat("00", maxLine/2),
		strings.Repeat("garbage ", 1<<17), strings.Repeat("x\n", 1<<19), strings.Repeat("\x00", 1<<20), strings.Repeat("1 ", 1<<19), strings.Repeat("\n", 1<<20),
	} {
		if err := s.send(line); !errors.Is(err, linux.EINVAL) || !strings.HasPrefix(err.Error(), "bad request") || len(err.Error()) > 300 {
			t.Errorf("%.40q: %v", line, err)
		}
	}
	// Those before the bad one stand.
	if err := s.send("7 in=in0:0:1 out=out:0:1\n8 in=in0:0:1 out=out:0:1\nnonsense\n9 in=in0:0:1 out=out:0:1\n"); !errors.Is(err, linux.EINVAL) {
		t.Errorf("the bad line: %v", err)
	}
	for _, want := range []string{"7 ok bytes=1", "8 ok bytes=1"} {
		if got := s.answer(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	s.want("10 in=in0:0:1 out=out:0:1", "10 ok bytes=1")
	if err := s.send("11 in=in0:0:1 out=out:0:1\n" + strings.Repeat("garbage ", 1<<17)); !errors.Is(err, linux.EINVAL) || s.answer() != "11 ok bytes=1" {
		t.Errorf("garbage behind a request: %v", err)
	}
	// None of one write is over before the write is.
	err := s.send("12 in=in0:0:1 out=out:0:1\n12 in=in0:0:2 out=out:0:2\n13 in=in0:0:1 out=out:0:1\n")
	clonetest.CheckError(t, "an id twice", err, linux.EINVAL, "bad request: the id 12 is outstanding")
	if got := s.answer(); got != "12 ok bytes=1" {
		t.Errorf("got %s", got)
	}
	s.want("12 in=in0:0:2 out=out:0:2", "12 ok bytes=2")
}

// A session's turn is a megabyte: of one request, or of several over memory.
func TestTurns(t *testing.T) {
	s := s9(t)
	p := s.dev.pool
	p.max, p.tasks = 0, 1 // somebody waits, nobody works
	for _, c := range []struct {
		name  string
		sizes []int64
		file  int   // the one that is over a file
		turns []int // requests of each turn
	}{
		{"small ones", []int64{400_000, 400_000, 400_000, 100}, -1, []int{2, 2}},
		{"exactly a megabyte", []int64{1 << 19, 1 << 19, 0}, -1, []int{2, 1}},
		{"a large one between small ones", []int64{1, 5 << 20, 1}, -1, []int{1, 1, 1}},
		{"very many", make([]int64, 300), -1, []int{256, 44}},
		{"a file between small ones", []int64{1, 1, 1, 1}, 2, []int{2, 1, 1}},
		{"files", []int64{1, 1}, 0, []int{1, 1}},
	} {
		f := engine.Lookup("zero")
		s.tasks = nil
		for i, n := range c.sizes {
			s.tasks = append(s.tasks, &task{r: &request{s: s, f: f, backend: f.Backend(engine.SIMD), n: n, files: i == c.file}, end: n})
		}
		all := slices.Clone(s.tasks)
		var turns []int
		for len(s.tasks) > 0 {
			var w turn
			w.take(s)
			if !slices.Equal(w.tasks, all[:len(w.tasks)]) {
				t.Errorf("%s: another order", c.name)
			}
			all = all[len(w.tasks):]
			turns = append(turns, len(w.tasks))
		}
		if !slices.Equal(turns, c.turns) {
			t.Errorf("%s: turns of %v, want %v", c.name, turns, c.turns)
		}
	}
}

// The requests of a write that nobody does at once are queued together, large maps in parts.
func TestStart(t *testing.T) {
	d := newDevice(DefaultConfig(), nil)
	s := d.open(me)
	defer s.Close()
	p := d.pool
	p.max, p.tasks, p.processors = 0, 1, 2
	if err := s.setFunc(t.Context(), []string{"fill8"}); err != nil {
		t.Fatal(err)
	}
	if err := s.setBackend(t.Context(), []string{engine.SIMD}); err != nil {
		t.Fatal(err)
	}
	st := &stream{Queue: s.answers, s: s}
	const text = "1 out=out:0:100 imm=2a\n2 out=out:0:16777216 imm=2a\n3 out=out:0:1\n"
	if n, err := st.PollWrite([]byte(text), 0, never{}); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
	type part struct {
		id      uint64
		at, end int64
	}
	var got []part
	for _, t := range s.tasks {
		got = append(got, part{t.r.id, t.at, t.end})
	}
	if want := []part{{1, 0, 100}, {2, 0, 8 << 20}, {2, 8 << 20, 16 << 20}, {3, 0, 1}}; !slices.Equal(got, want) {
		t.Errorf("queued are %v, want %v", got, want)
	}
	status, err := s.statusText()
	if err != nil || !strings.Contains(status, "\noutstanding 3\n") || !strings.Contains(status, "\nrequest 2 0 of 16777216 bytes ") {
		t.Errorf("status, %v:\n%s", err, status)
	}
	// A worker does them all.
	p.mu.Lock()
	p.max, p.tasks = 1, p.tasks-1
	p.hire()
	p.mu.Unlock()
	seen := make(map[string]bool)
	for range 3 {
		line := make([]byte, 100)
		n, err := st.ReadContext(t.Context(), line, 0)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(line[:n])] = true
	}
	for _, want := range []string{"1 ok bytes=100\n", "2 ok bytes=16777216\n", "3 ok bytes=1\n"} {
		if !seen[want] {
			t.Errorf("no %q in %v", want, seen)
		}
	}
}

// A request counts until its response is read: then the next writer goes on. A writer that gives up takes nothing.
func TestDepth(t *testing.T) {
	s := serve(t, me).session("func zero", "depth 4")
	if err := s.send("0 out=out:0:1\n1 out=out:0:1\n2 out=out:0:1\n3 out=out:0:1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.tx.Write(ctx, []byte("4 out=out:0:1"), 0); err == nil {
		t.Error("the queue took a fifth")
	}
	sent := make(chan error, 1)
	go func() { sent <- s.send("5 out=out:0:1") }()
	for want := range 4 {
		if got := s.answer(); got != fmt.Sprintf("%d ok bytes=1", want) {
			t.Errorf("response %d is %s", want, got)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if got := s.answer(); got != "5 ok bytes=1" {
		t.Errorf("then %s", got)
	}
	// A response that was put back still counts once.
	st := &stream{Queue: s9(t).answers}
	st.s = s9(t)
	st.Queue = st.s.answers
	if _, err := st.PollWrite([]byte("1 out=out:0:1"), 0, nil); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 100)
	for range 3 {
		n, err := st.PollRead(p, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		st.Unread(p[:n])
	}
	if n := st.s.credits.Used(); n != 0 {
		t.Errorf("%d credits are used after the first read", n)
	}
	if _, err := st.PollRead(p, 0, nil); err != nil {
		t.Fatal(err)
	}
	if n := st.s.credits.Used(); n != 0 {
		t.Errorf("%d credits are used at the end", n)
	}
}

// s9 is a session by itself.
func s9(t *testing.T) *Session {
	t.Helper()
	s := newDevice(DefaultConfig(), nil).open(me)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	data := random(5<<20 + 17)
	write(t, dir+"/a", data)
	write(t, dir+"/b", data[:1000])
	u := serve(t, me, dir, "other="+t.TempDir())
	s := u.session("func copy", "bind in0 a", "bind out c create")
	n := len(data)
	s.want(fmt.Sprintf("1 in=in0:0:%d out=out:0:%d", n, n), fmt.Sprintf("1 ok bytes=%d", n))
	if got := read(t, dir+"/c"); !bytes.Equal(got, data) {
		t.Error("the copy is another")
	}
	// Every backend, parts at odd offsets, the length as it is when the request comes.
	for _, backend := range []string{"generic", "simd", "kernel"} {
		if backend == "kernel" && !hasKernel {
			continue
		}
		s.say("backend " + backend)
		s.say("bind in0 b 10")
		s.say("bind out 'd " + backend + "' 5 create")
		s.want("2 in=in0:1:989 out=out:0:989", "2 ok bytes=989")
		s.want("3 in=in0:1:990 out=out:0:990", "3 error 22 in0 has 990 bytes, the request ends at 991")
		if got := read(t, dir+"/d "+backend); !bytes.Equal(got, append(make([]byte, 5), data[11:1000]...)) {
			t.Errorf("%s copied %d bytes", backend, len(got))
		}
	}
	if !bytes.Equal(s.get(), data[11:1000]) {
		t.Error("out reads as another")
	}
	s.say("bind out c 0 10")
	s.want("4 in=in0:0:11 out=out:0:11", "4 error 22 out has 10 bytes, the request ends at 11")
	s.say("bind in0 c")
	s.want("5 in=in0:0:6 out=out:4:6", "5 error 22 the input in0 overlaps the output")
	clonetest.CheckError(t, "write", func() error {
		_, err := s.MustOpen(s.dir+"/in0", p9.WriteOnly).Write(t.Context(), []byte("x"), 0)
		return err
	}(),
		linux.EBUSY, `device or object already in use: in0 stands for the file "c": unbind it first`)
	s.say("unbind in0")
	s.put("in0", []byte("hello"))
	s.say("unbind out")
	s.say("bind out other/x create")
	s.want("6 in=in0:0:5 out=out:0:5", "6 ok bytes=5")
	if got := s.get(); string(got) != "hello" {
		t.Errorf("out is %q", got)
	}

	z := u.session("func zero", "bind out a")
	z.want("1 out=out:100:4000000", "1 ok bytes=4000000")
	copy(data[100:], make([]byte, 4000000))
	if !bytes.Equal(read(t, dir+"/a"), data) {
		t.Error("zero cleared something else")
	}
	z.want(fmt.Sprintf("2 out=out:%d:1000", n), "2 ok bytes=1000") // beyond the end
	if got := read(t, dir+"/a"); len(got) != n+1000 {
		t.Errorf("the file has %d bytes", len(got))
	}
	x := u.session("func sha256", "bind in0 c")
	sum := sha256.Sum256(read(t, dir+"/c"))
	x.want(fmt.Sprintf("1 in=in0:0:%d", n), fmt.Sprintf("1 ok imm=%x bytes=%d", sum, n))
}

func write(t *testing.T, path string, p []byte) {
	t.Helper()
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// No path leads out of what is exported, and nothing but a regular file is opened.
func TestEscapes(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "root")
	for _, err := range []error{
		os.Mkdir(dir, 0o755), os.WriteFile(top+"/secret", []byte("x"), 0o644), os.WriteFile(dir+"/plain", []byte("x"), 0o644),
		os.Symlink("../secret", dir+"/up"), os.Symlink(top+"/secret", dir+"/absolute"), os.Symlink("plain", dir+"/within"), os.Symlink("loop", dir+"/loop"),
		os.Mkdir(dir+"/sub", 0o755), mkfifo(dir + "/fifo"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, me, "r="+dir).session("func copy")
	s.say("bind in0 r/within")
	for path, errno := range map[string]linux.Errno{
		"r/up": linux.EACCES, "r/absolute": linux.EACCES, "r/../secret": linux.EACCES, "r/sub/../../secret": linux.EACCES, "r/loop": linux.ELOOP,
		"r/sub": linux.EINVAL, "r/fifo": linux.EINVAL, "r/none": linux.ENOENT, "plain": linux.ENOENT, "/etc/passwd": linux.ENOENT, "r": linux.ENOENT,
		"../secret": linux.ENOENT, "r//etc/passwd": linux.EACCES, "r/plain/x": linux.ENOTDIR, "''": linux.ENOENT,
	} {
		err := s.ctl.Say("bind in0 " + path)
		if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "cannot bind ") {
			t.Errorf("bind in0 %s: %v, want %v", path, err, errno)
		}
	}
	if err := s.ctl.Say("bind out r/up create"); !errors.Is(err, linux.EACCES) {
		t.Errorf("created outside: %v", err)
	}
	if err := s.ctl.Say("bind in0 r/plain create"); !errors.Is(err, linux.EINVAL) {
		t.Errorf("an input was created: %v", err)
	}
	for _, bad := range []string{"-1", "x", "9223372036854775808", "0 -1"} {
		if err := s.ctl.Say("bind in0 r/plain " + bad); !errors.Is(err, linux.EINVAL) {
			t.Errorf("bind in0 r/plain %s: %v", bad, err)
		}
	}
}

// Many clients with requests running: their sessions go at once, and nothing writes afterwards.
func TestCloseCancels(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 33 // sparse
	if err := os.Truncate(touch(t, dir+"/big"), size); err != nil {
		t.Fatal(err)
	}
	u := serve(t, me, dir)
	s := u.session("func sha256", "bind in0 big")
	var lines strings.Builder
	for id := range 64 {
		fmt.Fprintf(&lines, "%d in=in0:0:%d\n", id, size)
	}
	if err := s.send(lines.String()); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "work", func() bool {
		status, err := s.ReadFile(s.dir + "/status")
		return err == nil && strings.Contains(status, "\nrequest 0 ") && !strings.Contains(status, "\nrequest 0 0 of")
	})
	begin := time.Now()
	s.say("hangup")
	waitUntil(t, "the end of the session", func() bool { return len(u.Convs("dmover")) == 0 })
	if took := time.Since(begin); took > 10*time.Second { // a second, and more on a machine that is busy elsewhere
		t.Errorf("it took %v", took)
	}
	// A new one has the workers for itself.
	n := u.session("func zero")
	n.want("1 out=out:0:1000000", "1 ok bytes=1000000")
}

func touch(t *testing.T, path string) string {
	t.Helper()
	write(t, path, nil)
	return path
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: in vain", what)
		}
	}
}

// A file that is made shorter while it is read is told of, with how far it went.
func TestFileMadeShorter(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", make([]byte, 4<<20))
	s := newDevice(DefaultConfig(), []root{{"", dir}}).open(me)
	defer s.Close()
	if err := s.setFunc(t.Context(), []string{"crc32"}); err != nil {
		t.Fatal(err)
	}
	if err := s.bindTo(t.Context(), []string{"in0", "a"}); err != nil {
		t.Fatal(err)
	}
	var l line
	if err := l.parse([]byte("1 in=in0:0:4194304")); err != nil {
		t.Fatal(err)
	}
	r := &request{s: s, id: 1, f: s.f, backend: s.backend}
	if err := s.prepare(r, &l); err != nil {
		t.Fatal(err)
	}
	r.fold = r.backend.Fold(r.imm)
	task := task{r: r, end: r.n}
	var room scratch
	if !task.step(&room) {
		t.Fatal("it was done at once")
	}
	if err := os.Truncate(dir+"/a", 1<<20+5); err != nil {
		t.Fatal(err)
	}
	if task.step(&room) || string(r.response(nil)) != "1 error 5 in0 ended after 1048581 bytes: the file was made shorter\n" {
		t.Errorf("response %s", r.response(nil))
	}
	r.release()
}

// A number is what strconv takes for one.
func TestNumber(t *testing.T) {
	for _, s := range []string{
		"", "0", "00", "7", "0123", "-1", "+1", "1_0", "1 ", " 1", "x", "1x", "/", ":", "\xff", "0x10", "1e3",
		"9223372036854775806", "9223372036854775807", "9223372036854775808", "9223372036854775810",
		"18446744073709551614", "18446744073709551615", "18446744073709551616", "18446744073709551620", "99999999999999999999", "184467440737095516150",
	} {
		for bits, most := range map[int]uint64{63: math.MaxInt64, 64: math.MaxUint64} {
			want, err := strconv.ParseUint(s, 10, bits)
			if err != nil {
				want = 0
			}
			if got, ok := number([]byte(s), most); got != want || ok != (err == nil) {
				t.Errorf("%q of %d bits: %d, %v; want %d, %v", s, bits, got, ok, want, err)
			}
		}
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{"1 in=in0:0:9", "2 out=out:0:1 in=in7:5:1 imm=00ff", "x", "", "1 in=in0:9223372036854775807:1", "1 out=out:0:1 out=out:0:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var l line
		if l.parse([]byte(s)) != nil {
			return
		}
		for _, sp := range append(l.in[:l.inputs], l.out) {
			if sp.buf < 0 || sp.buf >= numBuffers || sp.off < 0 || sp.n < 0 || sp.off+sp.n < 0 {
				t.Errorf("%q: %+v", s, sp)
			}
		}
	})
}
