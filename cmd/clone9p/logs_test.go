package main

import (
	"bytes"
	stdlog "log"
	"strings"
	"testing"
)

// What a library prints by itself is in the log for who asks for it, and nowhere else.
func TestLibrariesPrintIntoTheLog(t *testing.T) {
	defer stdlog.SetFlags(stdlog.Flags())
	defer stdlog.SetOutput(stdlog.Writer())
	for level, want := range map[string]bool{"info": false, "debug": true} {
		var out bytes.Buffer
		l, err := newLogger(&out, "json", level)
		if err != nil {
			t.Fatal(err)
		}
		logLibraries(l)
		stdlog.Print("a rare rate")
		if got := strings.Contains(out.String(), `"level":"debug"`) && strings.Contains(out.String(), `"message":"a rare rate"`); got != want || !want && out.Len() > 0 {
			t.Errorf("at level %s the log says %q", level, out.String())
		}
	}
}
