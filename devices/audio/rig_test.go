package audio

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/p9"
)

// A rig is a device whose sink is the test: a block leaves for it when the test takes it.
type rig struct {
	t      testing.TB
	m      *mixer
	fs     *clonefs.FS
	client *clonetest.Client
	offers chan struct{} // a block has been mixed
	blocks chan []float32
	mixed  bool // an offer was taken, its block was not
}

func newRig(t testing.TB, c Config) *rig {
	t.Helper()
	r := &rig{t: t, m: newMixer(c), offers: make(chan struct{}), blocks: make(chan []float32)}
	r.m.setSink(sinkNull, r, nil)
	fs, err := clonefs.New(clonefs.Config{}, r.m.device())
	if err != nil {
		t.Fatal(err)
	}
	r.fs = fs
	t.Cleanup(func() {
		if err := fs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	r.client = clonetest.Attach(t, fs, clonetest.Super)
	return r
}

// Write, String and Close are a sink's.
func (r *rig) Write(ctx context.Context, block []float32) error {
	select {
	case r.offers <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case r.blocks <- slices.Clone(block):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (r *rig) String() string { return "test" }
func (r *rig) Close() error   { return nil }

// next waits until the next block has been mixed. It leaves when block takes it; what is said before that is heard in the one after it.
func (r *rig) next() {
	r.t.Helper()
	select {
	case <-r.offers:
		r.mixed = true
	case <-time.After(patience):
		r.t.Fatal("no block comes")
	}
}

// block takes the next block.
func (r *rig) block() []float32 {
	r.t.Helper()
	if !r.mixed {
		r.next()
	}
	r.mixed = false
	return <-r.blocks
}

// rest takes blocks until nothing plays any more, and these voices have played out.
func (r *rig) rest(closing ...*Voice) (mix []float32) {
	r.t.Helper()
	over := func() bool {
		r.m.mu.Lock()
		running := r.m.running
		r.m.mu.Unlock()
		for _, v := range closing {
			v.mu.Lock()
			running = running || !v.closed
			v.mu.Unlock()
		}
		return !running
	}
	until(r.t, "the end", func() bool {
		if !r.mixed {
			select {
			case <-r.offers:
				r.mixed = true
			default:
				return over()
			}
		}
		mix = append(mix, r.block()...)
		return false
	})
	return mix
}

// A voice is a conversation of the client.
type voice struct {
	r   *rig
	ctl *clonetest.File
	dir string
}

func (r *rig) voice(messages ...string) *voice {
	r.t.Helper()
	ctl := r.client.MustOpen("audio/clone", p9.ReadWrite)
	n, err := ctl.Number()
	if err != nil {
		r.t.Fatal(err)
	}
	v := &voice{r, ctl, "audio/" + n}
	for _, s := range messages {
		v.say(s)
	}
	return v
}

// say writes to ctl.
func (v *voice) say(s string) {
	v.r.t.Helper()
	if err := v.ctl.Say(s); err != nil {
		v.r.t.Fatalf("%s: %v", s, err)
	}
}

// of is the voice as the device has it.
func (v *voice) of() *Voice {
	v.r.t.Helper()
	n, err := v.ctl.Number()
	if err != nil {
		v.r.t.Fatal(err)
	}
	number, err := strconv.Atoi(n)
	if err != nil {
		v.r.t.Fatal(err)
	}
	v.r.m.mu.Lock()
	defer v.r.m.mu.Unlock()
	return v.r.m.convs[number]
}

// until waits for what another goroutine brings about.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// play writes to tx, of which the voice must have room.
func (v *voice) play(b []byte) {
	v.r.t.Helper()
	if err := v.r.client.WriteFile(v.dir+"/tx", string(b)); err != nil {
		v.r.t.Fatal(err)
	}
}

// status is the line of status with that name.
func (v *voice) status(name string) string {
	v.r.t.Helper()
	text, err := v.r.client.ReadFile(v.dir + "/status")
	if err != nil {
		v.r.t.Fatal(err)
	}
	return line(text, name)
}

// line is what comes behind a name in a text of lines.
func line(text, name string) string {
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(l, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// steps is n frames of f32c1 that count up from first, each a step of 2^-20, which float32 adds up exactly.
func steps(first, n int) []byte {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(first+i) / (1 << 20)
	}
	return f32(x)
}

// checkSteps checks that both channels of mix count up from first.
func checkSteps(t testing.TB, what string, mix []float32, first int) {
	t.Helper()
	for i := 0; i < len(mix); i += 2 {
		if want := float32(first+i/2) / (1 << 20); mix[i] != want || mix[i+1] != want {
			t.Fatalf("%s: frame %d is %g and %g, want %g", what, i/2, mix[i], mix[i+1], want)
		}
	}
}

// checkRamp checks a channel of a block over which the gain goes evenly.
func checkRamp(t testing.TB, what string, mix []float32, channel, first int, from, to float64) {
	t.Helper()
	n := len(mix) / 2
	for i := range n {
		want := float64(first+i) / (1 << 20) * (from + (to-from)*float64(i)/float64(n))
		if got := float64(mix[2*i+channel]); math.Abs(got-want) > 1e-6 {
			t.Fatalf("%s: frame %d is %g, want %g", what, i, got, want)
		}
	}
}

func silent(mix []float32) bool {
	return !slices.ContainsFunc(mix, func(x float32) bool { return x != 0 })
}
