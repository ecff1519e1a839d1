package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// What is run again, and how it counts when it passes and when it does not.
func TestAgain(t *testing.T) {
	const first = `{"Action":"fail","Package":"p","Test":"TestA/x.y"}
{"Action":"fail","Package":"p","Test":"TestA/z"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"r","Test":"TestR","Output":"WARNING: DATA RACE\n"}
{"Action":"fail","Package":"r","Test":"TestR"}
{"Action":"fail","Package":"r"}
{"Action":"output","Package":"b","Output":"FAIL\tb [build failed]\n"}
{"Action":"fail","Package":"b"}
{"Action":"fail","Package":"leak"}
`
	c := newCounter(io.Discard)
	if err := c.read(strings.NewReader(first)); err != nil {
		t.Fatal(err)
	}
	if c.passed != 0 || c.failed != 7 {
		t.Fatalf("%d passed, %d failed, want 0 and 7", c.passed, c.failed)
	}
	seconds := map[string]string{
		"-race -count=1 -run ^TestA$/^x\\.y$ p": `{"Action":"pass","Package":"p","Test":"TestA/x.y"}
{"Action":"pass","Package":"p","Test":"TestA"}`,
		"-race -count=1 -run ^TestA$/^z$ p": `{"Action":"pass","Package":"p","Test":"TestA/z"}
{"Action":"pass","Package":"p","Test":"TestA"}`,
		"-race -count=1 -run ^TestB$ p": `{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}`,
		"-race -count=1 leak": `{"Action":"pass","Package":"leak"}`,
	}
	var ran []string
	c.again([]string{"-race", "./..."}, func(_ io.Writer, args []string) *counter {
		key := strings.Join(args, " ")
		text, ok := seconds[key]
		if !ok {
			t.Errorf("ran go test %s again", key)
		}
		ran = append(ran, key)
		second := newCounter(io.Discard)
		if err := second.read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		return second
	})
	if len(ran) != len(seconds) {
		t.Errorf("ran again %q, want %d runs", ran, len(seconds))
	}
	if c.passed != 3 || c.failed != 3 {
		t.Errorf("%d passed, %d failed; want 3, TestA and its subtests, and 3: TestB, TestR, the package b", c.passed, c.failed)
	}
	want := []string{
		"p TestA/x.y: failed once, then passed",
		"p TestA/z: failed once, then passed",
		"p TestA: failed once, then passed",
		"leak: failed once, then passed",
	}
	if !slices.Equal(c.flaky, want) {
		t.Errorf("flaky\n%q, want\n%q", c.flaky, want)
	}
}

// Many failures are no accident.
func TestManyFailuresStand(t *testing.T) {
	c := newCounter(io.Discard)
	for range maxAgain + 1 {
		c.count(event{Action: "fail", Package: "p", Test: "Test" + strings.Repeat("X", c.failed)})
	}
	c.again(nil, func(io.Writer, []string) *counter {
		t.Error("ran one again")
		return newCounter(io.Discard)
	})
	if c.failed != maxAgain+1 {
		t.Errorf("%d failed, want %d", c.failed, maxAgain+1)
	}
}
