package main

import (
	"io"
	stdlog "log"
	"os"
	"strings"
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

// logLibraries has what libraries print by Go's standard logger (the FLAC decoder does, at every frame of a rare rate) in l, at level debug.
func logLibraries(l zerolog.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraryLog{l})
}

type libraryLog struct{ zerolog.Logger }

func (l libraryLog) Write(p []byte) (int, error) {
	l.Debug().Msg(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}
