package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/clone9p/clone9p/clonefs"
	"github.com/spf13/cobra"
)

// topicCommands makes a help topic of each device, "clone9p help ethfoo": its files, control messages and options. They come from the tables
// from which the server works. A device that this machine cannot have has no topic.
func topicCommands(ks []kind) []*cobra.Command {
	var all []*cobra.Command
	for _, k := range ks {
		d, err := k.build()
		if err != nil {
			continue
		}
		info, err := clonefs.Describe(d)
		if err != nil {
			continue
		}
		// Indented, the text is left as it is when it becomes a manual page.
		var text strings.Builder
		for line := range strings.Lines(info.Help() + "\nOptions of clone9p serve\n" + optionsText(k)) {
			if line != "\n" {
				text.WriteString("    ")
			}
			text.WriteString(line)
		}
		all = append(all, &cobra.Command{
			Use:                   info.Name,
			DisableFlagsInUseLine: true,
			Short:                 info.Doc,
			Long:                  "The device " + info.Name + ".\n\n" + strings.TrimRight(text.String(), "\n"),
		})
	}
	return all
}

// optionsText lists the options of a device, with their defaults.
func optionsText(k kind) string {
	var flags, helps []string
	width := 0
	for _, o := range k.options {
		f := strings.TrimRight(fmt.Sprintf("--%s-%s %s", k.name, o.Name, o.Arg), " ")
		flags, helps = append(flags, f), append(helps, fmt.Sprintf("%s (%v)", o.Help, optionValue(o)))
		width = max(width, len(f))
	}
	var b strings.Builder
	for i, f := range flags {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, f, helps[i])
	}
	return b.String()
}

// optionValue is the present value of an option.
func optionValue(o clonefs.Option) any {
	switch v := o.Value.(type) {
	case *string:
		return *v
	case *int:
		return *v
	case *bool:
		return *v
	case *time.Duration:
		return *v
	case *[]string:
		return strings.Join(*v, " ")
	}
	return ""
}
