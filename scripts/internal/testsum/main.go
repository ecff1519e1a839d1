// Testsum runs go test and counts. What fails is printed as go test prints it, what passes is a line for each package, and the
// last line, alone, is the sum of all: "N passed, N failed".
//
//	testsum [-passed N] [-failed N] -- ARGS [-- ARGS]...
//
// Each ARGS are the arguments of one go test; they run one after the other. Tests and subtests count, as does a package that fails outside
// of any test. The two flags are what the caller has counted before. The exit status is 1 when anything failed.
//
// What failed is run once more, by itself (again.go): emulated machines and loaded ones fail in ways of their own. A test that passes then has
// passed, and a line before the last names it as flaky, for somebody to mend. A data race is not run again.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// An event is a line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// A counter counts the events of go tests.
type counter struct {
	w               io.Writer
	passed, failed  int
	skipped         []string
	flaky           []string                   // what failed and then passed
	output          map[event]*strings.Builder // by Package and Test, until it is known whether that failed
	failedInPackage map[string]int

	passes   map[result]bool // of the go test that runs
	failures []result        // of the go test that runs, in the order of their ends
	final    map[string]bool // packages of which nothing is run again
}

// A result is the end of a test, or with no test of a package as a whole.
type result struct{ pkg, test string }

func newCounter(w io.Writer) *counter {
	return &counter{
		w: w, output: make(map[event]*strings.Builder), failedInPackage: make(map[string]int),
		passes: make(map[result]bool), final: make(map[string]bool),
	}
}

func main() {
	passed := flag.Int("passed", 0, "what passed before")
	failed := flag.Int("failed", 0, "what failed before")
	flag.Parse()
	c := newCounter(os.Stdout)
	c.passed, c.failed = *passed, *failed
	for args := flag.Args(); len(args) > 0; {
		var this []string
		if i := slices.Index(args, "--"); i >= 0 {
			this, args = args[:i], args[i+1:]
		} else {
			this, args = args, nil
		}
		if err := c.test(this); err != nil {
			fmt.Printf("FAIL\tgo test %s: %v\n", strings.Join(this, " "), err)
			c.failed++
		}
		c.again(this, goTest)
	}
	for _, s := range c.flaky {
		fmt.Println("flaky", s)
	}
	for _, s := range c.skipped {
		fmt.Println("skipped", s)
	}
	fmt.Printf("%d passed, %d failed\n", c.passed, c.failed)
	if c.failed > 0 {
		os.Exit(1)
	}
}

// test runs one go test. Its error is of a failure that was not counted.
func (c *counter) test(args []string) error {
	before := c.failed
	c.failures = nil
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := c.read(out)
	if err := cmd.Wait(); err != nil && c.failed == before {
		return err
	}
	return readErr
}

// read counts the events of one go test.
func (c *counter) read(r io.Reader) error {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				c.count(e)
			} else {
				c.w.Write(line) // what go itself has to say
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// count counts one event.
func (c *counter) count(e event) {
	key := event{Package: e.Package, Test: e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(c.w, e.Output)
	case "output":
		b := c.output[key]
		if b == nil {
			b = new(strings.Builder)
			c.output[key] = b
		}
		b.WriteString(e.Output)
		if strings.Contains(e.Output, "WARNING: DATA RACE") {
			c.final[e.Package] = true
		}
	case "pass", "fail", "skip":
		text := ""
		if b := c.output[key]; b != nil {
			text = b.String()
			delete(c.output, key)
		}
		if e.Test == "" {
			c.endPackage(e, text)
			return
		}
		switch e.Action {
		case "pass":
			c.passed++
			c.passes[result{e.Package, e.Test}] = true
		case "fail":
			c.failed++
			c.failedInPackage[e.Package]++
			c.failures = append(c.failures, result{e.Package, e.Test})
			io.WriteString(c.w, text)
		case "skip":
			c.skipped = append(c.skipped, e.Package+" "+reason(text))
		}
	}
}

// endPackage prints what go test says of a package as a whole.
func (c *counter) endPackage(e event, text string) {
	if e.Action == "fail" {
		if c.failedInPackage[e.Package] == 0 {
			c.failed++
			c.failures = append(c.failures, result{pkg: e.Package})
		}
		if strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]") {
			c.final[e.Package] = true
		}
		io.WriteString(c.w, text)
		// What a test said that never came to its end, because the process did.
		for key, b := range c.output {
			if key.Package == e.Package {
				io.WriteString(c.w, b.String())
				delete(c.output, key)
			}
		}
		return
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "ok ") {
			io.WriteString(c.w, line)
		}
	}
}

// reason makes one line of what a skipped test said.
func reason(text string) string {
	var words []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "===") {
			words = append(words, strings.TrimPrefix(line, "--- SKIP: "))
		}
	}
	slices.Reverse(words) // the name first, then what it said
	return strings.Join(words, ": ")
}
