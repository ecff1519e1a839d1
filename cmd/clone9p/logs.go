package main

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// logFormats are the values of --log-format.
const logFormats = "auto, console or json"

// newLogger makes the server's log.
func newLogger(w io.Writer, format, level string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil || l == zerolog.NoLevel {
		return zerolog.Nop(), usagef("--log-level %s: want trace, debug, info, warn, error or disabled", level)
	}
	f, ok := w.(*os.File)
	tty := ok && term.IsTerminal(int(f.Fd()))
	switch format {
	case "auto":
		if !tty {
			break
		}
		fallthrough
	case "console":
		w = zerolog.ConsoleWriter{Out: w, NoColor: !tty, TimeFormat: time.TimeOnly}
	case "json":
	default:
		return zerolog.Nop(), usagef("--log-format %s: want %s", format, logFormats)
	}
	return zerolog.New(w).Level(l).With().Timestamp().Logger(), nil
}
