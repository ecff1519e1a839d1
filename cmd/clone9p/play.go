package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/clone9p/clone9p/client"
	"github.com/clone9p/clone9p/devices/audio/wav"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// playPiece is how much is written at once: little enough that what is shown moves on.
const playPiece = 16 << 10

func (a *app) playCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "play [FLAGS] FILE...",
		Short: "Play files through the server's device audio",
		Long: `Play has the server's device audio play each FILE, one after the other without a gap, and ends when the last has sounded: WAV, FLAC,
Ogg Vorbis and MP3 are known by their first bytes, all else is taken for samples. - is standard input. An interrupt ends it at
once. On a terminal it shows the time, the level and, of a file whose length is known, about how much remains.`,
		Example: "  clone9p play song.flac\n  sox -n -t raw -r 8000 -c 1 -b 16 -e signed - synth 1 sine 440 | clone9p play --format s16c1r8000 -",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("play wants a FILE")
			}
			return nil
		},
	}
	where := targetFlags(cmd)
	format := cmd.Flags().String("format", "", "the files are samples, in the format `WORD`: s16c2r44100 is signed, 16 bits, 2 channels, 44100 frames a second")
	gain := cmd.Flags().Float64("gain", 0, "make it louder or softer by `DB`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return interruptible(cmd.Context(), func(ctx context.Context) error {
			v, err := a.newVoice(ctx, where)
			if err != nil {
				return err
			}
			defer v.session.Close()
			defer func() {
				if ctx.Err() != nil { // closed, the voice would play out
					quick, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
					defer cancel()
					v.say(quick, "hangup")
				}
			}()
			if *format != "" {
				if err := v.say(ctx, "format "+*format); err != nil {
					return err
				}
			}
			if *gain != 0 {
				if err := v.say(ctx, fmt.Sprintf("gain %g", *gain)); err != nil {
					return err
				}
			}
			return v.play(ctx, args)
		})
	}
	return cmd
}

// A voice is a conversation with the device audio. It goes with the connection.
type voice struct {
	*app
	*session
	dir   string
	ctl   *client.File
	began float64 // the voice's time when the present file began, for show; NaN: with what is shown next
}

func (a *app) newVoice(ctx context.Context, t target) (*voice, error) {
	s, err := connect(ctx, t)
	if err != nil {
		return nil, err
	}
	v := &voice{app: a, session: s, began: math.NaN()}
	if v.ctl, v.dir, err = s.begin(ctx, "audio"); err != nil {
		s.Close()
		return nil, err
	}
	return v, nil
}

// say sends a control message.
func (v *voice) say(ctx context.Context, text string) error {
	if _, err := v.ctl.WriteContext(ctx, []byte(text), 0); err != nil {
		return fmt.Errorf("%s: %w", text, v.hint(err, "clone9p help audio says what there is"))
	}
	return nil
}

// play plays the files. One that cannot be played does not keep the others from being heard.
func (v *voice) play(ctx context.Context, names []string) error {
	tx, err := v.open(ctx, v.dir+"/tx", p9.WriteOnly)
	if err != nil {
		return err
	}
	defer tx.Close()
	failed := false
	for _, name := range names {
		err := v.playFile(ctx, tx, name)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil || errors.Is(err, client.ErrLost):
			return err
		}
		fmt.Fprintf(v.stderr, "clone9p: %s: %s\n", name, sentence(err))
		failed = true
		if err := v.clear(ctx); err != nil {
			return err
		}
	}
	if err := v.show(ctx, names[len(names)-1], func(ctx context.Context, _ func(done, size int64)) error { return v.wait(ctx) }); err != nil {
		return err
	}
	if failed {
		return status(1)
	}
	return nil
}

// wait waits until all that was written has been played.
func (v *voice) wait(ctx context.Context) error {
	_, err := v.text(ctx, v.dir+"/wait")
	return err
}

// clear makes the voice as new for the next file, when what came before the broken one has been played.
func (v *voice) clear(ctx context.Context) error {
	if err := v.wait(ctx); err != nil {
		return err
	}
	return v.say(ctx, "flush")
}

// playFile writes a file to the voice, which takes it as it plays.
func (v *voice) playFile(ctx context.Context, tx *client.File, name string) error {
	var r io.Reader = v.stdin
	size := int64(-1)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			var p *os.PathError
			if errors.As(err, &p) {
				err = p.Err
			}
			return err
		}
		defer f.Close()
		r = f
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	v.began = math.NaN()
	return v.show(ctx, name, func(ctx context.Context, progress func(done, size int64)) error {
		buf := make([]byte, playPiece)
		for done := int64(0); ; {
			n, err := io.ReadFull(r, buf)
			if n > 0 {
				if _, err := tx.WriteContext(ctx, buf[:n], done); err != nil {
					if text, e := v.text(ctx, v.dir+"/status"); e == nil && field(text, "error") != "" {
						err = errors.New(field(text, "error")) // 9P2000.L does not carry the words
					}
					return err
				}
				done += int64(n)
				progress(done, size)
			}
			switch err {
			case nil:
			case io.EOF, io.ErrUnexpectedEOF:
				return nil
			default:
				return err
			}
		}
	})
}

// show runs f and meanwhile shows on a terminal what is played: the name, the time, how much remains, and the level.
func (v *voice) show(ctx context.Context, name string, f func(ctx context.Context, progress func(done, size int64)) error) error {
	screen, ok := v.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(screen.Fd())) {
		return f(ctx, func(int64, int64) {})
	}
	type place struct{ done, size int64 }
	places := make(chan place, 1)
	over := make(chan error, 1)
	go func() { // ends with f
		over <- f(ctx, func(done, size int64) {
			select {
			case <-places:
			default:
			}
			places <- place{done, size}
		})
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	defer fmt.Fprint(screen, "\r\x1b[K")
	var at place
	for {
		select {
		case err := <-over:
			return err
		case at = <-places:
		case <-tick.C:
			text, err := v.text(ctx, v.dir+"/status")
			if err != nil {
				continue // f has it too
			}
			now := played(text)
			if math.IsNaN(v.began) {
				v.began = now
			}
			now -= v.began
			meter, _ := v.text(ctx, v.dir+"/meter")
			line := []rune(playLine(filepath.Base(name), now, remains(now, at.done, at.size), meter))
			if width, _, err := term.GetSize(int(screen.Fd())); err == nil && width > 0 {
				line = line[:min(len(line), width-1)]
			}
			fmt.Fprintf(screen, "\r\x1b[K%s", string(line))
		}
	}
}

// field is what stands behind a name in a text of lines.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// played is how many seconds a voice has played, by its status.
func played(text string) float64 {
	var frames, channels, rate float64
	var kind string
	fmt.Sscan(field(text, "played"), &frames)
	if _, err := fmt.Sscanf(field(text, "playing"), "%s c%gr%g", &kind, &channels, &rate); err != nil || rate == 0 {
		return 0
	}
	return frames / rate
}

// remains estimates how many seconds of a file are left after so many, of its bytes so many being written; it is less than 0 where nobody knows:
// of a pipe, and when all has been written, and what the server holds is unknown.
func remains(seconds float64, done, size int64) float64 {
	if done == 0 || done >= size || seconds <= 0 {
		return -1
	}
	return max(0, seconds/float64(done)*float64(size)-seconds)
}

// playLine is what show shows: "song.flac  1:02  -3:40  left -12.0 dB ####----  right ...".
func playLine(name string, seconds, left float64, meter string) string {
	s := name + "  " + clockText(seconds)
	if left >= 0 {
		s += "  -" + clockText(left)
	}
	for line := range strings.Lines(meter) {
		var channel, db string
		if _, err := fmt.Sscanf(line, "%s peak %s", &channel, &db); err != nil {
			continue
		}
		level := math.Inf(-1)
		fmt.Sscan(db, &level)
		const steps, range_ = 12, 48 // of 4 dB
		n := int(math.Round(max(0, min(1, 1+level/range_)) * steps))
		s += fmt.Sprintf("  %s %s%s %6s dB", channel, strings.Repeat("#", n), strings.Repeat("-", steps-n), db)
	}
	return s
}

// clockText is minutes and seconds.
func clockText(seconds float64) string {
	n := int(seconds)
	return fmt.Sprintf("%d:%02d", n/60, n%60)
}

func (a *app) recordCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "record [FLAGS] FILE",
		Short: "Record what the server's device audio hears, or plays",
		Long: `Record writes what the server's sound server records, or what the device audio plays where nothing is recorded, to the WAV file
FILE, until it is interrupted or the time is over. The file is whole at every moment. - writes bare samples to standard output. What
is played is recorded while something plays.`,
		Example: "  clone9p record --time 10s greeting.wav\n  clone9p record --mix evening.wav",
		Args:    exactly("a FILE"),
	}
	where := targetFlags(cmd)
	format := cmd.Flags().String("format", "", "record in the format `WORD`, such as s24c2r48000 (default s16c2 at the rate of the mix)")
	limit := cmd.Flags().Duration("time", 0, "end after so much `TIME` of sound (default when interrupted)")
	mix := cmd.Flags().Bool("mix", false, "what is played, even where there is something to record")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *limit < 0 {
			return usagef("--time %v: a time is more than nothing", *limit)
		}
		if *mix && *format != "" {
			return usagef("--mix is in the format of the mix: --format does not go with it")
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM) // the usual end
		defer stop()
		v, err := a.newVoice(ctx, where)
		if err != nil {
			return err
		}
		defer v.session.Close()
		return v.record(ctx, args[0], *format, *limit, *mix)
	}
	return cmd
}

// record writes what it hears to the file name until ctx ends or so much of it has come.
func (v *voice) record(ctx context.Context, name, format string, limit time.Duration, mix bool) (err error) {
	if format == "" {
		text, err := v.text(ctx, "/audio/audiostat")
		if err != nil {
			return err
		}
		format = "s16c2r" + field(text, "rate")
	}
	rx := v.dir + "/rx"
	if mix {
		rx = "/audio/audio"
	} else if err := v.say(ctx, "format "+format); err != nil {
		return err
	}
	bytesPerSecond, frame, err := formatSize(format)
	if err != nil {
		return usageError{err}
	}
	most := int64(math.MaxInt64)
	if limit > 0 {
		most = int64(limit.Seconds()*float64(bytesPerSecond)) / frame * frame
	}

	out := v.stdout
	if name != "-" {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		w, err := wav.NewWriter(f, format)
		if err != nil {
			f.Close()
			return usageError{err}
		}
		defer func() { err = errors.Join(err, w.Close(), f.Close()) }()
		out = w
	}
	f, err := v.open(ctx, rx, p9.ReadOnly)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	show := func(int64) {}
	if screen, ok := v.stderr.(*os.File); ok && term.IsTerminal(int(screen.Fd())) {
		defer fmt.Fprint(screen, "\r\x1b[K")
		show = func(done int64) {
			fmt.Fprintf(screen, "\r\x1b[K%s  %s", filepath.Base(name), clockText(float64(done)/float64(bytesPerSecond)))
		}
	}
	buf := make([]byte, playPiece)
	for done := int64(0); done < most; show(done) {
		n, err := f.ReadContext(ctx, buf[:min(int64(len(buf)), most-done)], done)
		done += int64(n)
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		switch {
		case ctx.Err() != nil, err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", rx, err)
		}
	}
	return nil
}

// formatSize is how many bytes a second of a format has, and how many a frame. Words are checked by the server; this reads sBITScCHANNELSrRATE with
// all its parts.
func formatSize(word string) (second, frame int64, err error) {
	var kind rune
	var bits, channels, rate int64
	if _, err := fmt.Sscanf(word, "%c%dc%dr%d", &kind, &bits, &channels, &rate); err != nil {
		return 0, 0, fmt.Errorf("--format %s: it wants all its parts, as s16c2r44100 has", word)
	}
	frame = (bits + 7) / 8 * channels
	return frame * rate, frame, nil
}
