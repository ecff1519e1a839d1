package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"testing"
	"time"

	"9fans.net/go/plan9"
	plan9client "9fans.net/go/plan9/client"
)

// A stranger is plan9port's client in Go, as one user of this server.
type stranger struct {
	t *testing.T
	c *plan9client.Conn
	*plan9client.Fsys
}

// newStranger tries to authenticate, as `9p` and 9front do, and attaches as name.
func newStranger(t *testing.T, addr, name string) *stranger {
	t.Helper()
	c, err := plan9client.NewConn(dialPlain(t, addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Auth(name, ""); err == nil || err.Error() != "authentication not required" {
		t.Errorf("Tauth is answered with %v", err)
	}
	fs, err := c.Attach(nil, name, "")
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{t, c, fs}
}

func (s *stranger) open(path string, mode uint8) *plan9client.Fid {
	s.t.Helper()
	f, err := s.Open(path, mode)
	if err != nil {
		s.t.Fatalf("open %s: %v", path, err)
	}
	s.t.Cleanup(func() { f.Close() }) // closing again does nothing
	return f
}

// get reads once.
func (s *stranger) get(f *plan9client.Fid) string {
	s.t.Helper()
	p := make([]byte, 8192)
	n, err := f.Read(p)
	if err != nil && (err != io.EOF || n > 0) {
		s.t.Fatalf("read: %v", err)
	}
	return string(p[:n])
}

func (s *stranger) put(f *plan9client.Fid, text string) {
	s.t.Helper()
	if n, err := f.Write([]byte(text)); err != nil || n != len(text) {
		s.t.Fatalf("write %q: %d, %v", text, n, err)
	}
}

// cat reads a text to its end.
func (s *stranger) cat(path string) string {
	s.t.Helper()
	f := s.open(path, plan9.OREAD)
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		s.t.Fatalf("cat %s: %v", path, err)
	}
	return string(b)
}

func (s *stranger) names(path string) []string {
	s.t.Helper()
	f := s.open(path, plan9.OREAD)
	defer f.Close()
	dirs, err := f.Dirreadall()
	if err != nil {
		s.t.Fatalf("ls %s: %v", path, err)
	}
	var names []string
	for _, d := range dirs {
		names = append(names, d.Name)
	}
	return names
}

// A talk is what is said with the data of one device: dir is the conversation, ctl is open.
type talk func(s *stranger, dir string, ctl *plan9client.Fid)

// talks are those of all devices.
var talks = map[string]talk{
	"audio": func(s *stranger, dir string, ctl *plan9client.Fid) {
		s.put(ctl, "format s16c2r44100\nlatency 500")
		data := s.open(dir+"/tx", plan9.OWRITE)
		s.put(data, strings.Repeat("\x00", 4*4410))
		wait := s.open(dir+"/wait", plan9.OREAD)
		if got := s.get(wait); got != "played 4410\n" {
			s.t.Errorf("of 4410 frames wait says %q", got)
		}
	},
	"ethfoo": func(s *stranger, dir string, ctl *plan9client.Fid) {
		s.put(ctl, "add 10.9.0.1/24\nup\n")
		data := s.open(dir+"/data", plan9.ORDWR)
		addr := strings.TrimSpace(s.cat(dir + "/addr"))
		// Who has 10.9.0.1? The kernel answers, perhaps behind what it has to say on its own.
		s.put(data, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06"+
			"\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x09\x00\x02\x00\x00\x00\x00\x00\x00\x0a\x09\x00\x01")
		for {
			frame := s.get(data)
			if len(frame) >= 42 && frame[12:14] == "\x08\x06" && frame[20:22] == "\x00\x02" {
				if got := fmt.Sprintf("%x", frame[22:28]); got != addr {
					s.t.Errorf("%s answers for 10.9.0.1, its addr is %s", got, addr)
				}
				return
			}
		}
	},
	"dmover": func(s *stranger, dir string, ctl *plan9client.Fid) {
		s.put(ctl, "func iscsi-crc32c")
		in := s.open(dir+"/in0", plan9.OWRITE|plan9.OTRUNC)
		s.put(in, "123456789")
		in.Close()
		data := s.open(dir+"/data", plan9.ORDWR)
		s.put(data, "7 in=in0:0:9\n")
		if got := s.get(data); got != "7 ok imm=839206e3 bytes=9\n" {
			s.t.Errorf("the checksum is %q", got)
		}
	},
	"pty": func(s *stranger, dir string, ctl *plan9client.Fid) {
		f := s.open(dir+"/winsize", plan9.ORDWR)
		s.put(f, "25 80\n")
		f.Close()
		if got := s.cat(dir + "/winsize"); got != "25 80\n" {
			s.t.Errorf("winsize is %q", got)
		}
		data := s.open(dir+"/data", plan9.ORDWR)
		s.put(data, "hello\r")
		for echo := ""; echo != "hello\r\n"; {
			echo += s.get(data)
			if len(echo) > 7 {
				s.t.Fatalf("the echo of hello is %q", echo)
			}
		}
	},
}

// blocking are files whose reads wait.
var blocking = map[string]string{"audio": "rx", "ethfoo": "pcap", "dmover": "rx", "pty": "rx"}

// plan9port's own client has a whole conversation with every device of the program, as nobody over TCP and as himself over the unix socket.
func TestPlan9Client(t *testing.T) {
	if ok, why := checkTun(tunDevice); !ok {
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	unix, tcp := startServer(t, "--net", "private")
	for _, as := range []struct{ how, addr, name, owner string }{
		{"unix", unix, me.Username, me.Username},
		{"tcp", tcp, "glenda", "nobody"},
	} {
		t.Run(as.how, func(t *testing.T) {
			s := newStranger(t, as.addr, as.name)
			tried := 0
			for _, dev := range s.names("/") {
				if d, err := s.Stat(dev); err != nil {
					t.Errorf("stat %s: %v", dev, err)
				} else if d.Mode&plan9.DMDIR == 0 {
					continue
				}
				tried++
				t.Run(dev, func(t *testing.T) {
					s := newStranger(t, as.addr, as.name)
					s.converse(dev, as.owner)
					s.leave(newStranger(t, as.addr, as.name), dev)
				})
			}
			if tried < 3 {
				t.Errorf("%d devices were tried", tried)
			}
		})
	}
}

// converse clones dev, looks around, uses the data, and hangs up.
func (s *stranger) converse(dev, owner string) {
	t := s.t
	talk := talks[dev]
	if talk == nil {
		t.Fatalf("there is no talk with %s", dev)
	}
	if err := s.Access(dev+"/clone", plan9.AREAD); err != nil {
		t.Errorf("access: %v", err)
	}
	ctl := s.open(dev+"/clone", plan9.ORDWR)
	number := s.get(ctl)
	if again := s.get(ctl); again != "" {
		t.Errorf("behind the number stands %q", again)
	}
	dir := dev + "/" + strings.TrimSpace(number)
	if got := s.cat(dir + "/ctl"); got != number {
		t.Errorf("ctl reads %q, clone %q", got, number)
	}
	first, _, _ := strings.Cut(s.cat(dir+"/status"), "\n")
	if !strings.HasPrefix(first, dir+" ") || !strings.HasSuffix(first, " owner "+owner+" opens 1") {
		t.Errorf("status begins with %q", first)
	}
	d, err := s.Stat(dir + "/status")
	if err != nil || d.Name != "status" || d.Uid != owner || d.Length != 0 || d.Mode != 0o444 {
		t.Errorf("stat of status: %v, %v", d, err)
	}
	s.put(ctl, "label 'a stranger'")
	if text := s.cat(dir + "/status"); !strings.Contains(text, "a stranger") {
		t.Errorf("status has no label: %q", text)
	}
	if _, err := ctl.Write([]byte("no such message")); err == nil || err.Error() != "unknown control message: no" {
		t.Errorf("an unknown message is answered with %v", err)
	}

	talk(s, dir, ctl)

	// A read that waits hinders nothing else on the connection, and ends with the conversation.
	f := s.open(dir+"/"+blocking[dev], plan9.OREAD)
	ended := make(chan error, 1)
	go func() { // ends with the hangup
		p := make([]byte, 8192)
		for {
			if _, err := f.Read(p); err != nil {
				ended <- err
				return
			}
		}
	}()
	s.waits()
	s.put(ctl, "hangup")
	if err := <-ended; err.Error() != "i/o on hungup channel" && err != io.EOF {
		t.Errorf("the read that waited ends with %v", err)
	}
	if !s.gone(dir) {
		t.Errorf("%s is still there", dir)
	}
	if _, err := ctl.Write([]byte("label x")); err == nil || err.Error() != "i/o on hungup channel" {
		t.Errorf("a message to what was hung up: %v", err)
	}
}

// waits returns when a request of some session waits.
func (s *stranger) waits() {
	s.t.Helper()
	s.until("a read waits", func() bool { return strings.Contains(s.cat("stats"), "\nrequests 1\n") })
}

func (s *stranger) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("it never came to be that %s", what)
		}
	}
}

// leave has a session end with a conversation and a read that waits; witness sees that nothing stays.
func (s *stranger) leave(witness *stranger, dev string) {
	t := s.t
	ctl := s.open(dev+"/clone", plan9.ORDWR)
	dir := dev + "/" + strings.TrimSpace(s.get(ctl))
	f := s.open(dir+"/"+blocking[dev], plan9.OREAD)
	ended := make(chan error, 1)
	go func() { // ends with the connection
		p := make([]byte, 8192)
		for {
			if _, err := f.Read(p); err != nil {
				ended <- err
				return
			}
		}
	}()
	witness.waits()
	if !strings.HasPrefix(witness.cat(dir+"/status"), dir+" ") {
		t.Errorf("%s is not there", dir)
	}
	if err := s.c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the read that waited succeeded")
	}
	witness.until(dir+" is gone", func() bool { return witness.gone(dir) })
}

// gone reports whether the directory of a conversation is neither listed nor found.
func (s *stranger) gone(dir string) bool {
	s.t.Helper()
	dev, n, _ := strings.Cut(dir, "/")
	_, err := s.Stat(dir)
	return err != nil && !slices.Contains(s.names(dev), n)
}
