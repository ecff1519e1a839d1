package main

import (
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: wrong\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:7: needs root\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"--- SKIP: TestC (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.01s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"ok  \tq\t0.01s\n"}
{"Action":"pass","Package":"q"}
{"Action":"output","Package":"n","Output":"?   \tn\t[no test files]\n"}
{"Action":"skip","Package":"n"}
{"ImportPath":"r","Action":"build-output","Output":"r.go:1: syntax error\n"}
{"Action":"output","Package":"r","Output":"FAIL\tr [build failed]\n"}
{"Action":"fail","Package":"r"}
{"Action":"output","Package":"s","Test":"TestD","Output":"panic: no\n"}
{"Action":"output","Package":"s","Output":"FAIL\ts\n"}
{"Action":"fail","Package":"s"}
go: something else
`
	var w strings.Builder
	c := newCounter(&w)
	if err := c.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if c.passed != 1 || c.failed != 3 {
		t.Errorf("%d passed, %d failed; want 1 and 3: TestB, and the packages r and s", c.passed, c.failed)
	}
	if want := "p TestC (0.00s): c_test.go:7: needs root"; len(c.skipped) != 1 || c.skipped[0] != want {
		t.Errorf("skipped %q, want %q", c.skipped, want)
	}
	want := `    b_test.go:7: wrong
--- FAIL: TestB (0.00s)
FAIL	p	0.01s
ok  	q	0.01s
r.go:1: syntax error
FAIL	r [build failed]
FAIL	s
panic: no
go: something else
`
	if w.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", w.String(), want)
	}
}
