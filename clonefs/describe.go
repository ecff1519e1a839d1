package clonefs

import (
	"fmt"
	"strings"

	"github.com/hugelgupf/p9/p9"
)

// Info describes a device for people: what its help file, its manual page and the command line's help are made of.
type Info struct {
	Name, Doc string
	Messages  []MessageInfo // to ctl, in the table's order, then those of every device
	Files     []FileInfo    // of a conversation
	Shared    []FileInfo    // of the device
}

// MessageInfo describes one control message, see [Message].
type MessageInfo struct {
	Word, Args, Help string
	Super            bool // for the superuser only
}

// FileInfo describes one file.
type FileInfo struct {
	Name   string
	Mode   p9.FileMode // permission bits
	Help   string
	Holds  bool // an open is a reference to the conversation
	Stream bool // reads and writes may wait; the others are text

	Messages []MessageInfo // of a file of the device that understands some
}

// Describe returns what d's tables say. It returns the error that [New] would.
func Describe(d Driver) (Info, error) {
	t, err := d.table()
	if err != nil {
		return Info{}, err
	}
	return t.describe(), nil
}

const (
	cloneHelp = "opening it begins a conversation; the descriptor is then N/ctl"
	helpHelp  = "this text"
	statsHelp = "clones, releases, refused, conversations now, peak, limit"
)

func (t *table) describe() Info {
	i := Info{Name: t.name, Doc: t.doc}
	i.Messages = t.ctl.info()
	for _, e := range t.files {
		i.Files = append(i.Files, e.info())
	}
	i.Shared = []FileInfo{
		{Name: "clone", Mode: t.mode, Help: cloneHelp, Holds: true},
		{Name: "help", Mode: 0o444, Help: helpHelp},
		{Name: "stats", Mode: 0o444, Help: statsHelp},
	}
	for _, e := range t.shared {
		i.Shared = append(i.Shared, e.info())
	}
	return i
}

func (ms messages) info() []MessageInfo {
	var info []MessageInfo
	for _, m := range ms {
		info = append(info, MessageInfo{m.word, m.args, m.help, m.super})
	}
	return info
}

func (e *entry) info() FileInfo {
	return FileInfo{e.name, e.mode, e.help, e.holds, e.kind == kindStream, e.msgs.info()}
}

// Help renders the description as the device's help file has it.
func (i Info) Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", i.Name, i.Doc)
	var lines [][2]string
	flush := func(title string) {
		width := 0
		for _, l := range lines {
			width = max(width, len(l[0]))
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, l := range lines {
			b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s  %s", width, l[0], l[1]), " ") + "\n")
		}
		lines = nil
	}
	for _, f := range i.Shared {
		lines = append(lines, [2]string{fmt.Sprintf("%s/%s", i.Name, f.Name), fmt.Sprintf("%04o  %s", f.Mode, f.Help)})
	}
	for _, f := range i.Files {
		lines = append(lines, [2]string{fmt.Sprintf("%s/N/%s", i.Name, f.Name), fmt.Sprintf("%04o  %s", f.Mode, f.Help)})
	}
	flush("Files")
	messages := func(to string, ms []MessageInfo) {
		for _, m := range ms {
			help := m.Help
			if m.Super {
				help += " (superuser)"
			}
			lines = append(lines, [2]string{strings.TrimSpace(m.Word + " " + m.Args), help})
		}
		flush("Messages to " + to + ", one a line; words with blanks are quoted 'so', as in rc(1)")
	}
	messages("ctl", i.Messages)
	for _, f := range i.Shared {
		if f.Messages != nil {
			messages(i.Name+"/"+f.Name, f.Messages)
		}
	}
	return b.String()
}

// readme is the default text of /README.
func (fs *FS) readme(mount string) string {
	if mount == "" {
		mount = "mount -t 9p -o trans=unix,version=9p2000.L,cache=none,noxattr,access=user,msize=1048576 SOCKET DIRECTORY"
	}
	var b strings.Builder
	b.WriteString("These files are devices that clone. Open DEV/clone, and the descriptor is the control file of a new DEV/N;\n" +
		"read it for N; when the last working descriptor in DEV/N closes, it is gone. For example, in a shell:\n\n" +
		"  exec 3<>DEV/clone; read n <&3; cat DEV/$n/status; exec 3>&-\n\n" +
		"Control messages are lines written to ctl; DEV/help lists them. On Linux read rx and write tx rather than data.\n\n" +
		"Mount it with\n\n  " + mount + "\n\nDevices\n")
	width := 0
	for _, d := range fs.devices {
		width = max(width, len(d.name))
	}
	for _, d := range fs.devices {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, d.name, d.doc)
	}
	b.WriteString("\nFiles here\n")
	width = 0
	for _, e := range fs.entries {
		width = max(width, len(e.name))
	}
	for _, e := range fs.entries {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s  %s", width, e.name, e.help), " ") + "\n")
	}
	return b.String()
}
