package script

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clone9p/clone9p/internal/wire"
)

// TestScripts shows every kind of line on a server that does what the script says.
func TestScripts(t *testing.T) { Run(t, "testdata/*.txt", serveFake) }

// TestComplaints runs scripts that must fail, and looks at what is said. The lines before the one tried are put in front.
func TestComplaints(t *testing.T) {
	const begin = "serve fake\nversion 9P2000.L\nattach 1\nwalk 1 2 line\nopen 2 r\n"
	for _, tc := range []struct {
		name, script string
		want         []string
	}{
		{"another type", begin + "Tclunk tag 1 fid 2\nRremove tag 1", []string{"x.txt:7: Rremove tag 1", "got Rclunk tag 1", "the type is Rclunk"}},
		{"another tag", begin + "Tclunk tag 1 fid 2\nRclunk tag 2", []string{"got Rclunk tag 1", "tag is 1, not 2"}},
		{"another tag, rest open", begin + "Tclunk tag 1 fid 2\nRclunk ...", []string{"tag is 1"}},
		{"another number", begin + "Tgetattr fid 2 mask 3\nRgetattr size 6 ...", []string{"size is 5, not 6"}},
		{"a field not named", begin + "Tgetattr fid 2 mask 3\nRgetattr valid 3 size 5 nlink 1", []string{"mode is 33060 and was not named"}},
		{"another string", begin + "do push hello\nTread fid 2\nRread data 'hell'", []string{"data is 'hello', not 'hell'"}},
		{"no match", begin + "do push hello\nTread fid 2\nRread data h*l", []string{"data is 'hello', not h*l"}},
		{"another qid", begin + "Twalk fid 1 newfid 5 wname a\nRwalk wqid 0x105.0", []string{"wqid 0 is 0x105.7, not 0x105.0"}},
		{"another qid type", begin + "Twalk fid 1 newfid 5 wname a\nRwalk wqid *.*.d", []string{"wqid 0 is 0x105.7, not *.*.d"}},
		{"fewer qids", begin + "Twalk fid 1 newfid 5 wname a\nRwalk", []string{"wqid is [0x105.7] and was not named"}},
		{"a variable differs", begin + "Twalk fid 1 newfid 5 wname a\nRwalk wqid $q.7\nTwalk fid 1 newfid 6 wname a\nRwalk wqid $q.7",
			[]string{"x.txt:9", "wqid 0 is 0x106.7, not 0x105.7"}},
		{"a variable without a value", begin + "Tread fid $none", []string{"$none has no value"}},
		{"a reply too many at the end", begin + "Tclunk tag 1 fid 2", []string{"at its end", "connection main", "nothing here expects: Rclunk tag 1",
			"main> Tclunk tag 1 fid 2"}},
		{"not quiet", begin + "do push x\nTread tag 3 fid 2\nquiet", []string{"x.txt:8: quiet", "nothing here expects: Rread tag 3 data 'x'"}},
		{"no reply", begin + "timeout 20ms\nTread tag 3 fid 2\nRread tag 3 ...", []string{"no reply within 20ms"}},
		{"no end", begin + "timeout 20ms\nend", []string{"the connection did not end: no reply within 20ms"}},
		{"a reply instead of the end", begin + "Tclunk tag 1 fid 2\nend", []string{"a reply instead of the end: Rclunk tag 1"}},
		{"an end too early", begin + "raw 00000000\nRclunk", []string{"the server ended the connection"}},
		{"none of several", begin + "Tclunk tag 1 fid 2\n{\nRclunk tag 2\n?Rfail tag 1\n}",
			[]string{"got Rclunk tag 1\nwhich is none of these", "line 8 Rclunk tag 2: tag is 1, not 2", "line 9 ?Rfail tag 1: the type is Rclunk"}},
		{"one of several is missing", begin + "timeout 20ms\nTclunk tag 1 fid 2\n{\nRclunk tag 1\nRclunk tag 2\n}", []string{"no reply within 20ms, 1 replies are still due"}},
		{"a request among replies", begin + "{\nTclunk\n}", []string{"only replies stand between"}},
		{"an errno by name", begin + "attach 5 aname none", []string{"got Rlerror tag 65000 errno 2 (ENOENT)"}},
		{"another error", begin + "Tattach fid 5 aname none\nRfail errno EIO ename 'i/o error'", []string{"errno is 2, not EIO"}},
		{"a version refused", "serve fake\nversion 9P2000.L\nversion 9P2000.u\nversion msize 4096 version '9P2000.foo'", []string{"got version 9P2000"}},
		{"a stat that differs", "serve fake\nversion 9P2000\nTstat fid 2\nRstat stat (name line length 6 ...)", []string{"stat: length is 5, not 6"}},
		{"a stat in part", "serve fake\nversion 9P2000\nTstat fid 2\nRstat stat (name line length 5 mode 0444 qid *)", []string{"stat: uid is 'glenda' and was not named"}},
		{"an entry too many", begin + "Treaddir fid 1\nRreaddir data []", []string{"entry 0 more than expected: (qid 0x102.0 offset 1 type 8 name 'line')"}},
		{"an entry too few", begin + "Treaddir fid 1\nRreaddir data [(name line ...) (name more ...)]", []string{"1 entries, not 2"}},
		{"an entry that differs", begin + "Treaddir fid 1\nRreaddir data (name lime ...)", []string{"entry 0: name is 'line', not lime"}},
		{"data that is no directory", begin + "do push x\nTread fid 2\nRread data []", []string{"entry 0: wire: malformed"}},

		{"an unknown line", begin + "frobnicate", []string{"no line begins with frobnicate"}},
		{"an unknown request", begin + "Tfoo", []string{"no message is called Tfoo"}},
		{"an unknown reply", begin + "Rfoo", []string{"no message is called Rfoo"}},
		{"a request among the replies", begin + "?Tclunk", []string{"? stands before a reply"}},
		{"a request of another dialect", begin + "Topen fid 2", []string{"9P2000.L has no Topen"}},
		{"a reply of another dialect", begin + "Tclunk fid 2\nRopen", []string{"9P2000.L has no Ropen"}},
		{"an unknown field", begin + "Tclunk fod 2", []string{`no field "fod", there are: tag fid`}},
		{"an unknown field of a reply", begin + "Tclunk fid 2\nRclunk fid 2", []string{`no field "fid", there are: tag`}},
		{"a field twice", begin + "Tclunk fid 2 fid 3", []string{"fid stands there twice"}},
		{"no value", begin + "Tclunk fid", []string{"fid has no value"}},
		{"no number", begin + "Tclunk fid two", []string{`"two" is no number of 32 bits`}},
		{"a number too large", begin + "Tclunk tag 65536 fid 2", []string{"no number of 16 bits"}},
		{"a list for a number", begin + "Tclunk fid [2]", []string{"[2] is no number"}},
		{"17 names", begin + "Twalk fid 1 newfid 3 wname [a a a a a a a a a a a a a a a a a]", []string{"17 names"}},
		{"brackets", begin + "Twalk wname [a", []string{"no ] before the end"}},
		{"parentheses", begin + "Twalk wname a)", []string{") without its opening"}},
		{"quotes", begin + "Twalk wname 'a", []string{"no ' before the end"}},
		{"no function", begin + "do dance", []string{`no function "dance"`}},
		{"a function that fails", begin + "do waiting 5", []string{"x.txt:6: do waiting 5", "0 reads are waiting, not 5"}},
		{"a loop without end", begin + "for i 1 2\nquiet", []string{"no done ends it"}},
		{"a loop that fails", begin + "for i 1 9\ndo waiting $i\ndone", []string{"x.txt:7: do waiting $i", "not 1"}},
		{"two servers", begin + "serve fake", []string{"serve stands once"}},
		{"no server", "version", []string{"no server was started"}},
		{"a closed connection", begin + "close\nTclunk fid 2", []string{"connection main was closed"}},
		{"a bad dialect", begin + "dialect 9P3000", []string{"none of 9P2000, 9P2000.u and 9P2000.L"}},
		{"a bad condition", begin + "[9P3000] quiet", []string{"none of 9P2000"}},
		{"an open in the wrong order", begin + "open 2 trunc r", []string{"trunc cannot stand there"}},

		{"the server hangs up", "serve fake hangs up\nversion\nTclunk fid 1\nRclunk", []string{"the server ended the connection"}},
		{"the server hangs up within a reply", "serve fake hangs up within\nversion\nTclunk fid 1\nend", []string{"within a reply of 11 bytes"}},
		{"the server asks", "serve fake asks\nversion\nTclunk fid 1\nRclunk", []string{"the server sent a request: Tclunk"}},
		{"the server answers twice", "serve fake answers twice\nversion\nclunk 1", []string{"at its end", "nothing here expects: Rclunk tag 65000"}},
		{"the server says nonsense", "serve fake says nonsense\nversion\nclunk 1", []string{"a reply of 1 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dialects, lines, err := parseFile(tc.script)
			if err != nil || dialects != nil {
				t.Fatal(dialects, err)
			}
			err = runLines(t, "x.txt", wire.P9, lines, serveFake)
			for _, want := range tc.want {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("%q is not in:\n%v", want, err)
				}
			}
		})
	}
}

func TestParseFile(t *testing.T) {
	d, lines, err := parseFile("# a comment\n\n dialects all\n  serve x  \n")
	if err != nil || len(d) != 3 || len(lines) != 1 || lines[0] != (line{4, "serve x"}) {
		t.Errorf("%v %v %v", d, lines, err)
	}
	for _, bad := range []string{"serve x\ndialects all", "dialects", "dialects 9P", "dialects all\ndialects all"} {
		if _, _, err := parseFile(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
