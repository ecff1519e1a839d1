package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory",
		Long: `Man writes a manual page of each command into the directory DIR, which it makes when it is missing.
They are made from the same texts as the help. Read one with

  man -l DIR/clone9p-serve.1`,
		Args: exactly("a directory DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o777); err != nil {
				return fmt.Errorf("cannot make the directory for manual pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the date of generation is no news
			return doc.GenManTree(root, &doc.GenManHeader{Title: "CLONE9P", Section: "1", Source: "clone9p", Manual: "clone9p"}, args[0])
		},
	}
}
