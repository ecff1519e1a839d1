//go:build linux

package main

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/clone9p/clone9p/scripts/e2e/internal/talk"
	"golang.org/x/sys/unix"
)

func init() {
	cases["dmover-copy"] = caseDmoverCopy
	cases["dmover-xor"] = caseDmoverXOR
	cases["dmover-crc"] = caseDmoverCRC
}

// mover opens dmover/clone.
func (t *T) mover(mnt string) *conv {
	c := &conv{file: t.open(mnt+"/dmover/clone", unix.O_RDWR)}
	p, err := c.read(4096)
	if err != nil {
		t.Fatalf("read of clone: %v", err)
	}
	c.n = t.number(p)
	c.dir = filepath.Join(mnt, "dmover", strconv.Itoa(c.n))
	return c
}

// onHost has a shell on the host carry out a script in the exported directory, and returns what it printed.
func (t *T) onHost(script string) (out string) {
	t.call("sh", talk.Args{Script: script}, &out)
	return out
}

// caseDmoverCopy is the README's example.
func caseDmoverCopy(t *T) {
	mnt := t.mount()
	const size = 256 << 20
	t.onHost(fmt.Sprintf("head -c %d /dev/urandom >base.img && chmod 644 base.img", size))
	got := t.mustSh(mnt+"/dmover", fmt.Sprintf(`exec 3<>clone; read n <&3; cd $n
		echo func copy >&3; echo bind in0 base.img >&3; echo bind out vm.img create >&3
		echo '1 in=in0:0:%d out=out:0:%d' > tx; head -n 1 rx`, size, size))
	if want := fmt.Sprintf("1 ok bytes=%d", size); got != want {
		t.Errorf("the response is %q, want %q", got, want)
	}
	if sums := strings.Fields(t.onHost("sha256sum <base.img; sha256sum <vm.img; rm base.img vm.img")); len(sums) != 4 || sums[0] != sums[2] {
		t.Errorf("the sums are %q", sums)
	}
}

func caseDmoverXOR(t *T) {
	mnt := t.mount()
	t.onHost("for f in a b c; do head -c 3000001 /dev/urandom >$f; done")
	got := t.mustSh(mnt+"/dmover", `exec 3<>clone; read n <&3; cd $n
		for word in 'func xor3' 'bind in0 a' 'bind in1 b' 'bind in2 c' 'bind out d create'; do echo $word >&3; done
		echo '7 in=in0:0:3000001 in=in1:0:3000001 in=in2:0:3000001 out=out:0:3000001' > tx; head -n 1 rx`)
	if got != "7 ok bytes=3000001" {
		t.Errorf("the response is %q", got)
	}
	// The sum of all four is zero, by the device itself and checked by another program.
	got = t.mustSh(mnt+"/dmover", `exec 3<>clone; read n <&3; cd $n
		for word in 'func xor4' 'bind in0 a' 'bind in1 b' 'bind in2 c' 'bind in3 d' 'bind out zeros create'; do echo $word >&3; done
		echo '8 in=in0:0:3000001 in=in1:0:3000001 in=in2:0:3000001 in=in3:0:3000001 out=out:0:3000001' > tx; head -n 1 rx`)
	if got != "8 ok bytes=3000001" {
		t.Errorf("the response is %q", got)
	}
	if out := t.onHost("head -c 3000001 /dev/zero | cmp - zeros && cmp -s a d || echo different; rm a b c d zeros"); out != "different" {
		t.Errorf("cmp says %q", out)
	}
}

func caseDmoverCRC(t *T) {
	mnt := t.mount()
	c := t.mover(mnt)
	p := make([]byte, 5_000_003)
	rand.Read(p)
	t.must(os.WriteFile("/tmp/p", p, 0o600))
	defer os.Remove("/tmp/p")
	c.ctl("func iscsi-crc32c")
	t.mustSh(c.dir, "cat /tmp/p >in0")
	tx, rx := t.open(c.at("tx"), unix.O_WRONLY), t.open(c.at("rx"), unix.O_RDONLY)
	imm := ""
	for i, at := 0, 0; at < len(p); i++ {
		n := min(len(p)-at, 1_234_567)
		t.must(tx.write(fmt.Appendf(nil, "%d in=in0:%d:%d%s\n", i, at, n, imm)))
		answer, err := rx.read(4096)
		if err != nil {
			t.Fatalf("%v", err)
		}
		word := strings.Fields(string(answer))
		if len(word) != 4 || word[0] != strconv.Itoa(i) || word[1] != "ok" {
			t.Fatalf("the response is %q", answer)
		}
		imm = " " + word[2]
		at += n
	}
	crc := crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli))
	if want := fmt.Sprintf(" imm=%02x%02x%02x%02x", byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)); imm != want {
		t.Errorf("the CRC is%s, want%s", imm, want)
	}
}
