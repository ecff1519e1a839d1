package clonefs_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/clone9p/clone9p/clonefs/clonetest"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/rs/zerolog"
)

// A radio is a device with a control file of its own.
type radio struct {
	said   []string
	closed int
	broken error
	conv   *clonefs.Conv
	log    zerolog.Logger
}

func (r *radio) device() *clonefs.Device[*radio] {
	note := func(word string) func(clonefs.User, context.Context, []string) error {
		return func(u clonefs.User, _ context.Context, args []string) error {
			r.said = append(r.said, u.Name+" "+word+" "+strings.Join(args, " "))
			return nil
		}
	}
	return &clonefs.Device[*radio]{
		Name:  "radio",
		Doc:   "a set an open",
		Clone: func(_ context.Context, c *clonefs.Conv) (*radio, error) { r.conv = c; return &radio{}, nil },
		Begin: func(log zerolog.Logger) { r.log = log },
		Close: func() error { r.closed++; return r.broken },
		Shared: []clonefs.SharedFile{{Name: "radioctl", Mode: 0o222, Help: "of all sets", Ctl: clonefs.Messages[clonefs.User]{
			{Word: "tune", Args: "HZ", Help: "to a station", Do: note("tune")},
			{Word: "mast", Args: "up|down", Help: "the antenna", Super: true, Do: note("mast")},
		}}},
	}
}

func (r *radio) Close() error { return nil }

func TestControlFileOfADevice(t *testing.T) {
	r := new(radio)
	fs, err := clonefs.New(clonefs.Config{}, r.device())
	if err != nil {
		t.Fatal(err)
	}
	super, bob := clonetest.Attach(t, fs, clonetest.Super), clonetest.Attach(t, fs, clonetest.Bob)
	for _, tt := range []struct {
		who   *clonetest.Client
		text  string
		errno linux.Errno
		words string
	}{
		{bob, "tune 5\ntune 6\n", 0, ""},
		{bob, "mast up", linux.EPERM, "permission denied: mast is for the superuser"},
		{super, "mast up", 0, ""},
		{super, "mast", linux.EINVAL, "bad control message: mast wants up|down"},
		{super, "tune 7\nhangup", linux.EINVAL, "unknown control message: hangup"},
		{super, "", 0, ""},
	} {
		err := tt.who.WriteFile("radio/radioctl", tt.text)
		if tt.errno == 0 && err != nil {
			t.Errorf("%q: %v", tt.text, err)
		} else if tt.errno != 0 {
			clonetest.CheckError(t, tt.text, err, tt.errno, tt.words)
		}
	}
	if got, want := strings.Join(r.said, "; "), "bob tune 5; bob tune 6; super mast up; super tune 7"; got != want {
		t.Errorf("the device heard %q, want %q", got, want)
	}
	help, err := bob.ReadFile("radio/help")
	if err != nil || !strings.Contains(help, "Messages to radio/radioctl") || !strings.Contains(help, "the antenna (superuser)") {
		t.Errorf("help says %q, %v", help, err)
	}

	ctl := bob.MustOpen("radio/clone", p9.ReadWrite)
	defer ctl.Close()
	for who, may := range map[*clonefs.User]bool{&clonetest.Bob: true, &clonetest.Super: true, &clonetest.Alice: false, &clonetest.Nobody: false} {
		if got := r.conv.MayWrite(*who); got != may {
			t.Errorf("%s may write what is bob's: %v, want %v", who.Name, got, may)
		}
	}
}

// The device itself is closed once, with the tree, and its error is not lost.
func TestDeviceIsClosedWithTheTree(t *testing.T) {
	r := &radio{broken: errors.New("the valve is hot")}
	var log strings.Builder
	fs, err := clonefs.New(clonefs.Config{Log: zerolog.New(&log)}, r.device())
	if err != nil {
		t.Fatal(err)
	}
	r.log.Info().Msg("warm")
	if want := `"dev":"radio","message":"warm"`; !strings.Contains(log.String(), want) {
		t.Errorf("the device's log says %s, want %s in it", log.String(), want)
	}
	if err := fs.Close(t.Context()); !errors.Is(err, r.broken) {
		t.Errorf("Close says %v", err)
	}
	if err := fs.Close(t.Context()); err != nil || r.closed != 1 {
		t.Errorf("closed %d times, %v", r.closed, err)
	}
}
