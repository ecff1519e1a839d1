package clonefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/clone9p/clone9p/p9ext"
)

// A bell is a waiter that counts.
type bell struct{ rung int }

func (b *bell) Wake() { b.rung++ }

// TestQueueScript runs scripts of operations, one a word, and compares what they answer:
//
//	push:X     Push("X")                       own:X      PushOwned("X")
//	a          PollRead as waiter a            a/2        PollRead of 2 bytes
//	-a         Unpoll(a)                       unread:X   Unread("X")
//	max:N      SetMax(N)                       bytes:N    SetMaxBytes(N)
//	eof        CloseWithError(io.EOF)          close      Close()
//	all:X,Y    PushAllOwned of both            batch:on   SetBatch
//	back:X,Y   Unread of a batch of both       try:X      TryPushOwned("X"), "full" when it is not held
//
// A read answers what it read (a batch as X,Y), "wait" or "eof" or "hungup" or "small"; an operation that wakes waiters answers their names.
func TestQueueScript(t *testing.T) {
	tests := []struct {
		name, script, want string
		stream             bool
		max                int
	}{
		{name: "records in order", script: "push:x push:yy a a a", want: ". . x yy wait"},
		{name: "owned records", script: "own:x own:y a a", want: ". . x y"},
		{name: "a short read truncates", script: "push:abcd push:e a/2 a", want: ". . ab e"},
		{name: "a read of nothing takes nothing", script: "push:a a/0 a", want: ".  a"},
		{name: "the oldest is dropped", max: 2, script: "push:x push:y push:z a a a", want: ". . . y z wait"},
		{name: "waiters in order", script: "a b push:x push:y b a", want: "wait wait a b y x"},
		{name: "a newcomer does not overtake", script: "a push:x b a", want: "wait a wait x"},
		{name: "a newcomer takes what is free", script: "a push:x push:y b a", want: "wait a . y x"},
		{name: "asking again changes nothing", script: "a a a push:x a a", want: "wait wait wait a x wait"},
		{name: "unpoll of a sleeper", script: "a b -a push:x b", want: "wait wait . b x"},
		{name: "unpoll passes the reservation on", script: "a b push:x -a b", want: "wait wait a b x"},
		{name: "unpoll of a stranger", script: "push:x -z a", want: ". . x"},
		{name: "unpoll in the middle", script: "a b c -b push:x push:y a c", want: "wait wait wait . a c x y"},
		{name: "unread goes to the head", script: "push:x push:y a unread:x b b", want: ". . x . x y"},
		{name: "unread wakes", script: "a unread:x a", want: "wait a x"},
		{name: "unread of nothing", script: "unread: a", want: ". wait"},
		{name: "unread into a full queue", max: 1, script: "push:x a push:y unread:x a a", want: ". x . . x y"},
		{name: "a drop keeps reservations", max: 1, script: "a push:x push:y push:z a", want: "wait a . . z"},
		{name: "shrinking keeps reservations", script: "a b push:x push:y max:1 b a", want: "wait wait a b . y x"},
		{name: "shrinking", script: "push:x push:y push:z max:1 a a", want: ". . . . z wait"},
		{name: "bytes are limited", script: "bytes:4 push:aa push:bb push:c a a a", want: ". . . . bb c wait"},
		{name: "one record is held however long", script: "bytes:2 push:abcdef a", want: ". . abcdef"},
		{name: "bytes limited later", script: "push:aa push:bb bytes:3 a a", want: ". . . bb wait"},
		{name: "end of file after the records", script: "push:x eof a a a", want: ". . x eof eof"},
		{name: "end of file wakes all", script: "a b push:x eof b a", want: "wait wait a b eof x"},
		{name: "close drops", script: "push:x close a", want: ". . hungup"},
		{name: "close wakes all", script: "a b close b a", want: "wait wait a,b hungup hungup"},
		{name: "the first end counts", script: "eof close a", want: ". . eof"},
		{name: "unread after the end of file", script: "push:x eof a unread:x a a", want: ". . x . x eof"},
		{name: "unread after close", script: "close unread:x a", want: ". . hungup"},
		{name: "push after the end", script: "eof push:x a", want: ". closed eof"},

		{name: "several at once wake as many", script: "a b all:x,y,z a b c", want: "wait wait a,b x y z"},
		{name: "several at once after the end", script: "eof all:x,y a", want: ". closed eof"},
		{name: "several at once are bounded", max: 2, script: "all:x,y,z a a a", want: ". y z wait"},

		{name: "a try drops the newest", max: 1, script: "try:x try:y a try:z a", want: ". full x . z"},
		{name: "a try wakes", script: "a b try:x a", want: "wait wait a x"},
		{name: "a try of nothing, and after the end", script: "try: try:x eof try:y", want: "full . . full"},
		{name: "bytes: a try keeps what is partly read", stream: true, max: 4, script: "try:abcd a/2 try:xyz a", want: ". ab full cd"},

		{name: "batch: a read takes all", script: "batch:on push:x push:yy a a", want: ". . . x,yy wait"},
		{name: "batch: a read takes what fits whole", script: "batch:on all:x,yy,z a/10 a", want: ". . x yy,z"},
		{name: "batch: without room for one", script: "batch:on push:abcd a/7 a/8", want: ". . small abcd"},
		{name: "batch: who has no room leaves it to the next", script: "batch:on a b push:abcd a/7 b", want: ". wait wait a small+b abcd"},
		{name: "batch: one reader at a time", script: "batch:on a b all:x,y a b", want: ". wait wait a x,y wait"},
		{name: "batch: the next gets the rest", script: "batch:on a b all:x,y a/5 b", want: ". wait wait a x+b y"},
		{name: "batch: a newcomer waits", script: "batch:on a all:x,y b a b", want: ". wait a wait x,y wait"},
		{name: "batch: a drop keeps the reservation", max: 1, script: "batch:on a all:x,y,z a", want: ". wait a z"},
		{name: "batch: switched on beside the woken", script: "a b all:x,y,z batch:on b a", want: "wait wait a,b . y,z x"},
		{name: "batch: switched on before the first", script: "a b all:x,y,z batch:on a b", want: "wait wait a,b . x,y z"},
		{name: "batch: switched off wakes more", script: "batch:on a b all:x,y batch:off b a", want: ". wait wait a b y x"},
		{name: "batch: put back", script: "batch:on all:x,y a back:x,y a/5 a", want: ". . x,y . x y"},
		{name: "batch: put back when off", script: "batch:on all:x,y a batch:off back:x,y a a", want: ". . x,y . . x y"},
		{name: "batch: a record put back when on", script: "push:x a batch:on unread:x a", want: ". x . . x"},
		{name: "batch: end of file after the rest", script: "batch:on a b all:x,y eof a/5 b b", want: ". wait wait a . x+b y eof"},
		{name: "batch: switched on after the end", script: "a b c push:x eof batch:on a b c", want: "wait wait wait a b,c . x eof eof"},
		{name: "batch: not of bytes", stream: true, script: "batch:on push:ab push:c a", want: ". . . abc"},

		{name: "bytes: the rest stays", stream: true, script: "push:abcd a/2 a a", want: ". ab cd wait"},
		{name: "bytes: one read takes several pushes", stream: true, script: "push:ab push:cd push:ef a/5 a", want: ". . . abcde f"},
		{name: "bytes: one reader at a time", stream: true, script: "a b push:xy a b", want: "wait wait a xy wait"},
		{name: "bytes: the next gets the rest", stream: true, script: "a b push:xy a/1 b", want: "wait wait a x+b y"},
		{name: "bytes: a newcomer waits", stream: true, script: "a push:xy b a b", want: "wait a wait xy wait"},
		{name: "bytes: end of file after the rest", stream: true, script: "a b push:xy eof a/1 b/1 b", want: "wait wait a . x+b y eof"},
		{name: "bytes: end of file for all", stream: true, script: "a b c eof c b a", want: "wait wait wait a,b,c eof eof eof"},
		{name: "bytes: bounded", stream: true, max: 4, script: "push:ab push:cd push:e a", want: ". . . cde"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.max == 0 {
				tt.max = 100
			}
			q := NewQueue(tt.max)
			if tt.stream {
				q = NewByteQueue(tt.max)
			}
			bells := map[string]*bell{}
			var got []string
			for _, op := range strings.Fields(tt.script) {
				before := map[string]int{}
				for name, b := range bells {
					before[name] = b.rung
				}
				answer := ""
				verb, arg, hasArg := strings.Cut(op, ":")
				n := 100
				switch {
				case verb == "push" && !q.Push([]byte(arg)):
					answer = "closed"
				case verb == "own" && !q.PushOwned([]byte(arg)):
					answer = "closed"
				case verb == "push", verb == "own":
				case verb == "try" && !q.TryPushOwned([]byte(arg)):
					answer = "full"
				case verb == "try":
				case verb == "all" && !q.PushAllOwned(split(arg)):
					answer = "closed"
				case verb == "all":
				case verb == "batch":
					q.SetBatch(arg == "on")
				case verb == "back":
					q.Unread(batch(split(arg)...))
				case verb == "unread":
					q.Unread([]byte(arg))
				case verb == "max":
					fmt.Sscan(arg, &n)
					q.SetMax(n)
				case verb == "bytes":
					fmt.Sscan(arg, &n)
					q.SetMaxBytes(n)
				case verb == "eof":
					q.CloseWithError(io.EOF)
				case verb == "close":
					q.Close()
				case hasArg:
					t.Fatalf("bad op %q", op)
				case op[0] == '-':
					if b := bells[op[1:]]; b != nil {
						q.Unpoll(b)
					} else {
						q.Unpoll(&bell{})
					}
				default:
					name, size, ok := strings.Cut(op, "/")
					if ok {
						fmt.Sscan(size, &n)
					}
					if bells[name] == nil {
						bells[name] = &bell{}
					}
					buf := make([]byte, n)
					n, err := q.PollRead(buf, 0, bells[name])
					answer = string(buf[:n])
					if isBatch(buf[:n]) {
						answer = string(bytes.Join(unbatch(t, buf[:n]), []byte(",")))
					}
					switch {
					case errors.Is(err, p9ext.ErrTooSmall):
						answer = "small"
					case err == nil:
						if answer == "" {
							answer = "nothing"
						}
					case err == p9ext.ErrWait:
						answer = "wait"
					case err == io.EOF:
						answer = "eof"
					case err == p9ext.ErrHungup:
						answer = "hungup"
					default:
						t.Fatal(err)
					}
				}
				var woken []string
				for name, b := range bells {
					if b.rung != before[name] {
						woken = append(woken, name)
					}
				}
				slices.Sort(woken)
				if answer != "" && len(woken) > 0 {
					answer += "+"
				}
				answer += strings.Join(woken, ",")
				if answer == "" {
					answer = "."
				}
				got = append(got, answer)
			}
			want := strings.ReplaceAll(tt.want, ".  ", ". nothing ")
			if g := strings.Join(got, " "); g != want {
				t.Errorf("%s\n got %s\nwant %s", tt.script, g, want)
			}
		})
	}
}

// TestQueueModel compares the queue with a simple one for many random sequences of operations.
func TestQueueModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		size := 1 + r.IntN(100)
		q := NewQueue(size)
		type waiter struct{ bell }
		var (
			model   []string  // records
			parked  []*waiter // in order
			drops   uint64
			counter int
		)
		for range 400 {
			switch op := r.IntN(10); {
			case op < 4:
				counter++
				rec := fmt.Sprint(counter, strings.Repeat("x", r.IntN(100)))
				if r.IntN(2) == 0 {
					q.Push([]byte(rec))
				} else {
					q.PushOwned([]byte(rec))
				}
				for reserved := min(len(parked), len(model)); len(model) >= size && len(model) >= reserved; {
					model = model[1:]
					drops++
				}
				model = append(model, rec)
			case op < 6: // a newcomer
				w := &waiter{}
				buf := make([]byte, 200)
				n, err := q.PollRead(buf, 0, w)
				if i := len(parked); i < len(model) {
					if err != nil || string(buf[:n]) != model[i] {
						t.Fatalf("seed %d: newcomer got %q, %v, want %q", seed, buf[:n], err, model[i])
					}
					model = slices.Delete(model, i, i+1)
				} else if err != p9ext.ErrWait {
					t.Fatalf("seed %d: newcomer got %q, %v, want ErrWait", seed, buf[:n], err)
				} else {
					parked = append(parked, w)
				}
			case op < 9 && len(parked) > 0: // one comes back, or gives up
				i := r.IntN(len(parked))
				w := parked[i]
				if op == 8 {
					q.Unpoll(w)
					parked = slices.Delete(parked, i, i+1)
					break
				}
				buf := make([]byte, 200)
				n, err := q.PollRead(buf, 0, w)
				if i >= len(model) {
					if err != p9ext.ErrWait {
						t.Fatalf("seed %d: waiter %d of %d got %q, %v with %d records", seed, i, len(parked), buf[:n], err, len(model))
					}
					break
				}
				if err != nil || string(buf[:n]) != model[i] {
					t.Fatalf("seed %d: waiter %d got %q, %v, want %q", seed, i, buf[:n], err, model[i])
				}
				model = slices.Delete(model, i, i+1)
				parked = slices.Delete(parked, i, i+1)
			case op == 9:
				q.Unread([]byte("back"))
				model = append([]string{"back"}, model...)
			}
			for i, w := range parked {
				if want := i < len(model); (w.rung > 0) != want {
					t.Fatalf("seed %d: waiter %d of %d woken %v with %d records", seed, i, len(parked), w.rung > 0, len(model))
				}
				if w.rung > 1 {
					t.Fatalf("seed %d: a waiter was woken %d times", seed, w.rung)
				}
			}
			if n, _ := q.Len(); n != len(model) || q.Drops() != drops {
				t.Fatalf("seed %d: %d records, %d drops; want %d, %d", seed, n, q.Drops(), len(model), drops)
			}
		}
	}
}

func TestQueueReadContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(4)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := q.ReadContext(ctx, make([]byte, 9), 0); err != p9ext.ErrInterrupted {
				t.Errorf("interrupted read: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			buf := make([]byte, 9)
			if n, err := q.ReadContext(t.Context(), buf, 0); err != nil || string(buf[:n]) != "x" {
				t.Errorf("read %q, %v", buf[:n], err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		q.Push([]byte("x"))
		wg.Wait()
		if n, _ := q.Len(); n != 0 {
			t.Errorf("%d records left", n)
		}
		if _, err := q.ReadContext(ctx, make([]byte, 9), 0); err != p9ext.ErrInterrupted {
			t.Errorf("a read whose context has ended: %v", err)
		}
		wg.Go(func() {
			if _, err := q.ReadContext(t.Context(), make([]byte, 9), 0); err != p9ext.ErrHungup {
				t.Errorf("read of a closed queue: %v", err)
			}
		})
		synctest.Wait()
		q.Close()
		wg.Wait()
	})
}

func TestQueuePushContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewByteQueue(4)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := q.PushContext(t.Context(), []byte("abc")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if _, n := q.Len(); n != 3 {
			t.Fatalf("%d bytes in a queue for 4", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := q.PushContext(ctx, []byte("x")); err != nil && err != p9ext.ErrInterrupted {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		buf := make([]byte, 4)
		for range 3 {
			if n, err := q.ReadContext(t.Context(), buf, 0); err != nil || n < 3 {
				t.Errorf("read %d bytes, %v", n, err)
			}
			synctest.Wait()
		}
		wg.Wait()
		if q.Drops() != 0 || len(q.room) != 0 {
			t.Errorf("%d drops, %d who wait for room", q.Drops(), len(q.room))
		}
		q.Push([]byte("full"))
		wg.Go(func() {
			if err := q.PushContext(t.Context(), []byte("x")); err != io.EOF {
				t.Errorf("push to an ended queue: %v", err)
			}
		})
		synctest.Wait()
		q.CloseWithError(io.EOF)
		wg.Wait()
	})
}

// TestQueueConcurrent has several readers compete, some of whom give up and put back, and counts.
func TestQueueConcurrent(t *testing.T) {
	const records, readers = 20000, 8
	q := NewQueue(records)
	seen := make(chan int, records)
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			buf := make([]byte, 16)
			for {
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(4) == 0 {
					go cancel()
				}
				n, err := q.ReadContext(ctx, buf, 0)
				cancel()
				switch {
				case errors.Is(err, p9ext.ErrInterrupted):
					continue
				case err == io.EOF:
					return
				case err != nil:
					t.Error(err)
					return
				}
				if r.IntN(8) == 0 {
					q.Unread(buf[:n])
					continue
				}
				var k int
				fmt.Sscan(string(buf[:n]), &k)
				seen <- k
			}
		})
	}
	for i := range records {
		q.Push(fmt.Append(nil, i))
	}
	got := make([]bool, records)
	for range records {
		k := <-seen
		if got[k] {
			t.Fatalf("record %d came twice", k)
		}
		got[k] = true
	}
	q.CloseWithError(io.EOF)
	wg.Wait()
}

func TestQueueSteadyStateDoesNotAllocate(t *testing.T) {
	q := NewQueue(256)
	frame, buf := make([]byte, 1514), make([]byte, 2048)
	ws := make([]*bell, 32)
	for i := range ws {
		ws[i] = &bell{}
	}
	cycle := func() {
		for _, w := range ws {
			q.PollRead(buf, 0, w)
		}
		for range ws {
			q.Push(frame)
		}
		for _, w := range ws {
			if _, err := q.PollRead(buf, 0, w); err != nil {
				t.Fatal(err)
			}
		}
	}
	cycle()
	if n := testing.AllocsPerRun(100, cycle); n > 0 {
		t.Errorf("32 parked reads of 1514 bytes: %v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprintf("push+poll/%d", size), func(b *testing.B) {
			q := NewQueue(256)
			frame, buf, w := make([]byte, size), make([]byte, 2048), &bell{}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				q.Push(frame)
				q.PollRead(buf, 0, w)
			}
		})
		b.Run(fmt.Sprintf("park+push+poll/%d", size), func(b *testing.B) {
			q := NewQueue(256)
			frame, buf, w := make([]byte, size), make([]byte, 2048), &bell{}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				q.PollRead(buf, 0, w)
				q.Push(frame)
				q.PollRead(buf, 0, w)
			}
		})
	}
	b.Run("100k waiters", func(b *testing.B) {
		q := NewQueue(256)
		ws := make([]bell, 100_000)
		frame, buf := make([]byte, 64), make([]byte, 64)
		for i := range ws {
			q.PollRead(buf, 0, &ws[i])
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			w := &ws[i%len(ws)]
			q.Push(frame)
			q.PollRead(buf, 0, w) // served
			q.PollRead(buf, 0, w) // the last again
		}
	})
	b.Run("100k waiters unpoll", func(b *testing.B) {
		q := NewQueue(256)
		ws := make([]bell, 100_000)
		buf := make([]byte, 64)
		for i := range ws {
			q.PollRead(buf, 0, &ws[i])
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			w := &ws[(i*7919)%len(ws)]
			q.Unpoll(w)
			q.PollRead(buf, 0, w)
		}
	})
}
