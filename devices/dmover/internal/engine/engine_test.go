package engine

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// run does f once with a backend, a fold in pieces of random length.
func run(f *Func, b *Backend, in [][]byte, n int, imm []byte, r *rand.Rand) (out, sum []byte) {
	imm = append(imm, make([]byte, max(f.ImmIn-len(imm), 0))...)
	if b.Map != nil {
		out = make([]byte, f.Outputs*n)
		b.Map(out, in, imm)
		return out, nil
	}
	fold := b.Fold(imm)
	for at := 0; at < n; {
		m := min(n-at, 1+r.IntN(3000))
		piece := make([][]byte, len(in))
		for k := range in {
			piece[k] = in[k][at : at+m]
		}
		if fold.Add(piece) {
			break
		}
		at += m
	}
	return nil, fold.Sum(nil)
}

// inputs are n bytes each, at odd addresses, the same in the beginning so that compare has something to do.
func inputs(f *Func, n int, r *rand.Rand) [][]byte {
	in := make([][]byte, f.Inputs)
	if f.Least < f.Inputs {
		in = in[:f.Least+r.IntN(f.Inputs-f.Least+1)]
	}
	for k := range in {
		align := r.IntN(64)
		in[k] = make([]byte, align+n)[align:]
		for i := range in[k] {
			in[k][i] = byte(r.Uint32())
		}
	}
	if f.Name == "compare" && n > 0 {
		copy(in[1], in[0][:r.IntN(n+1)])
	}
	return in
}

func compareBackends(t *testing.T, f *Func, n int, r *rand.Rand) {
	t.Helper()
	in := inputs(f, n, r)
	imm := make([]byte, f.ImmIn)
	for i := range imm {
		imm[i] = byte(r.Uint32())
	}
	wantOut, wantSum := run(f, f.Backend(Generic), in, n, imm, r)
	for i := range f.Backends[1:] {
		b := &f.Backends[1+i]
		if out, sum := run(f, b, in, n, imm, r); !bytes.Equal(out, wantOut) || !bytes.Equal(sum, wantSum) {
			t.Fatalf("%s of %s, %d inputs of %d bytes: %x, want %x", f.Name, b.Name, len(in), n, sum, wantSum)
		}
	}
}

// Every backend gives what the reference gives, for every small length and for long ones at odd addresses.
func TestBackendsAgree(t *testing.T) {
	for _, f := range Funcs() {
		t.Run(f.Name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(f.Name))))
			t.Parallel()
			for n := 0; n <= 4096; n++ {
				compareBackends(t, f, n, r)
			}
			longest := 16 << 20
			if raceEnabled {
				longest = 256 << 10
			}
			for n := 8192; n < longest; n *= 4 {
				compareBackends(t, f, n+r.IntN(n), r)
			}
		})
	}
}

// The vectors of RFC 3720, B.4, and of the standards.
func TestVectors(t *testing.T) {
	ramp := make([]byte, 32)
	for i := range ramp {
		ramp[i] = byte(i)
	}
	down := make([]byte, 32)
	for i := range down {
		down[i] = byte(31 - i)
	}
	read10 := make([]byte, 48) // an iSCSI SCSI Read (10) command
	copy(read10, []byte{0x01, 0xc0})
	copy(read10[16:], []byte{0x14, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28})
	copy(read10[40:], []byte{0x02})
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"iscsi-crc32c", []byte("123456789"), "839206e3"},
		{"iscsi-crc32c", make([]byte, 32), "aa36918a"},
		{"iscsi-crc32c", bytes.Repeat([]byte{0xff}, 32), "43aba862"},
		{"iscsi-crc32c", ramp, "4e79dd46"},
		{"iscsi-crc32c", down, "5cdb3f11"},
		{"iscsi-crc32c", read10, "563a96d9"},
		{"crc32", []byte("123456789"), "2639f4cb"},
		{"crc64", []byte("123456789"), "fa3919dfbbc95d99"},
		{"sha256", []byte("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"sha256", nil, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"sha512", []byte("abc"), "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
		{"blake3", nil, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{"blake3", []byte("abc"), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"},
	} {
		f := Lookup(c.name)
		for i := range f.Backends {
			r := rand.New(rand.NewPCG(1, 2))
			if _, sum := run(f, &f.Backends[i], [][]byte{c.in}, len(c.in), nil, r); hex.EncodeToString(sum) != c.want {
				t.Errorf("%s of %s of %.20q: %x, want %s", c.name, f.Backends[i].Name, c.in, sum, c.want)
			}
		}
	}
}

// A CRC goes on where the one before it ended.
func TestChaining(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, name := range []string{"iscsi-crc32c", "crc32", "crc64"} {
		f := Lookup(name)
		in := inputs(f, 10000, r)
		for i := range f.Backends {
			_, whole := run(f, &f.Backends[i], in, 10000, nil, r)
			_, half := run(f, &f.Backends[i], [][]byte{in[0][:3333]}, 3333, nil, r)
			if _, rest := run(f, &f.Backends[i], [][]byte{in[0][3333:]}, 10000-3333, half, r); !bytes.Equal(rest, whole) {
				t.Errorf("%s of %s: %x in two, %x whole", name, f.Backends[i].Name, rest, whole)
			}
		}
	}
}

// Two lost inputs come back from P and Q: so they are those of RAID-6.
func TestPQRecovers(t *testing.T) {
	mul := func(a, b byte) (p byte) {
		for ; b != 0; b >>= 1 {
			if b&1 != 0 {
				p ^= a
			}
			a = a<<1 ^ a>>7*0x1d
		}
		return p
	}
	power := func(n int) byte {
		g := byte(1)
		for range n {
			g = mul(g, 2)
		}
		return g
	}
	f := Lookup("pq")
	r := rand.New(rand.NewPCG(5, 6))
	in := make([][]byte, 8)
	for k := range in {
		in[k] = []byte{byte(r.Uint32()), byte(r.Uint32())}
	}
	out, _ := run(f, f.Backend(Generic), in, 2, nil, r)
	for i := range 2 {
		const x, y = 2, 5
		p, q := out[i], out[2+i]
		for k := range in {
			if k != x && k != y {
				p ^= in[k][i]
				q ^= mul(power(k), in[k][i])
			}
		}
		// p = Dx + Dy, q = g^x Dx + g^y Dy
		if p != in[x][i]^in[y][i] || q != mul(power(x), in[x][i])^mul(power(y), in[y][i]) {
			t.Errorf("byte %d: P and Q do not fit", i)
		}
	}
}

func TestTable(t *testing.T) {
	var names []string
	for _, f := range Funcs() {
		names = append(names, f.Name)
		if f.Doc == "" || len(f.Backends) != 2 || f.Backends[0].Name != Generic || f.IsMap() != (f.Backends[0].Map != nil) {
			t.Errorf("%s: %+v", f.Name, f)
		}
		if f.Backends[0].Speed() <= 0 || f.Backends[1].Speed() <= 0 || f.Fastest() == nil {
			t.Errorf("%s has no speed", f.Name)
		}
	}
	const want = "zero fill8 copy xor2 xor3 xor4 xor5 xor6 xor7 xor8 iscsi-crc32c crc32 crc64 sha256 sha512 blake3 compare pq"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("functions %s", got)
	}
	if Lookup("none") != nil || Lookup("copy").Backend("none") != nil {
		t.Error("found what is not there")
	}
}

func Example() {
	f := Lookup("iscsi-crc32c")
	fold := f.Fastest().Fold(make([]byte, f.ImmIn))
	fold.Add([][]byte{[]byte("12345")})
	fold.Add([][]byte{[]byte("6789")})
	fmt.Printf("%x\n", fold.Sum(nil))
	// Output: 839206e3
}
