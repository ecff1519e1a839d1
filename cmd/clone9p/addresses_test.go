package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A person gets the time to answer ssh.
func TestTimeoutOf(t *testing.T) {
	if d := timeoutOf("exec!ssh host clone9p relay"); d != commandTimeout {
		t.Errorf("a command: %v", d)
	}
	if d := timeoutOf("unix!/run/clone9p.sock"); d != dialTimeout {
		t.Errorf("a socket: %v", d)
	}
}

var execStart = regexp.MustCompile(`(?m)^#?ExecStart=\S+/clone9p (serve .*)$`)

// The command lines of the units for systemd, those in comments too, are right.
func TestUnits(t *testing.T) {
	b, err := os.ReadFile("systemd/clone9p.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := execStart.FindAllStringSubmatch(string(b), -1)
	if len(lines) != 2 {
		t.Fatalf("%d command lines in the unit", len(lines))
	}
	for _, line := range lines {
		var o serveOptions
		cmd := &cobra.Command{}
		o.addFlags(cmd, kinds())
		err := cmd.ParseFlags(strings.Fields(line[1])[1:])
		if err == nil {
			err = o.check()
		}
		if err != nil {
			t.Errorf("%s: %v", line[1], err)
		}
	}
}
