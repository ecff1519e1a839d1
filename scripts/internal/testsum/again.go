package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// maxAgain is how many failures of one package are run again: more are no accident.
const maxAgain = 8

// goTest runs go test with args for a counter that counts nothing else.
func goTest(w io.Writer, args []string) *counter {
	c := newCounter(w)
	if err := c.test(args); err != nil {
		fmt.Fprintf(w, "FAIL\tgo test %s: %v\n", strings.Join(args, " "), err)
		c.failed++
	}
	return c
}

// again runs once more what the last go test, whose arguments were args, saw fail, each failure by itself, with run. What passes now is
// counted as passed and named in c.flaky.
func (c *counter) again(args []string, run func(io.Writer, []string) *counter) {
	var flags []string
	for _, a := range args {
		if !strings.HasPrefix(a, "./") {
			flags = append(flags, a)
		}
	}
	// A test fails with each subtest of it that does; only the innermost are run, and those around them with them.
	innermost := slices.DeleteFunc(slices.Clone(c.failures), func(r result) bool {
		return c.final[r.pkg] || slices.ContainsFunc(c.failures, func(in result) bool {
			return in.pkg == r.pkg && strings.HasPrefix(in.test, r.test+"/")
		})
	})
	in := make(map[string]int)
	for _, r := range innermost {
		in[r.pkg]++
	}
	passed, failed := make(map[result]bool), make(map[result]bool)
	for _, r := range innermost {
		if in[r.pkg] > maxAgain {
			continue
		}
		this := append(slices.Clone(flags), "-count=1")
		if r.test != "" {
			this = append(this, "-run", pattern(r.test))
		}
		fmt.Fprintf(c.w, "again\t%s\n", strings.TrimSpace(r.pkg+" "+r.test))
		second := run(c.w, append(this, r.pkg))
		if second.failed > 0 {
			failed[r] = true
			for _, f := range second.failures {
				failed[f] = true
			}
			continue
		}
		if r.test == "" {
			passed[r] = true
		}
		for p := range second.passes {
			passed[p] = true
		}
	}
	for _, r := range c.failures {
		if passed[r] && !failed[r] {
			c.failed--
			if r.test != "" {
				c.passed++
			}
			c.flaky = append(c.flaky, strings.TrimSpace(r.pkg+" "+r.test)+": failed once, then passed")
		}
	}
}

// pattern is what go test -run takes for one test or subtest.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}
