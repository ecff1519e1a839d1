package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manSection is the annotation of a help topic that says in which section of the manual its page is.
const manSection = "section"

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory",
		Long: `Man writes a manual page of each command into the directory DIR, which it makes when it is missing.
They are made from the same texts as the help. Read one with

    man -l DIR/clone9p-serve.1

Those of the devices, clone9p-ethfoo.4 for one, have their files, control messages and options.`,
		Args: exactly("a directory DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o777); err != nil {
				return fmt.Errorf("cannot make the directory for manual pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the date of generation is no news
			header := doc.GenManHeader{Title: "CLONE9P", Section: "1", Source: "clone9p", Manual: "clone9p"}
			if err := doc.GenManTree(root, &header, args[0]); err != nil {
				return err
			}
			// The devices are topics of help and no commands; the section of devices is 4, other topics say theirs.
			for _, topic := range root.Commands() {
				if !topic.IsAdditionalHelpTopicCommand() {
					continue
				}
				header.Section = "4"
				if s, ok := topic.Annotations[manSection]; ok {
					header.Section = s
				}
				if err := writePage(topic, header, filepath.Join(args[0], "clone9p-"+topic.Name()+"."+header.Section)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// writePage writes the manual page of one command.
func writePage(cmd *cobra.Command, header doc.GenManHeader, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := doc.GenMan(cmd, &header, f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
