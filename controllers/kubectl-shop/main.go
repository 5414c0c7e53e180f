// Command kubectl-shop is a plugin of kubectl that looks after Shops. On the
// PATH it is `kubectl shop`; as kubectl_complete-shop beside it, the same
// program completes its command lines for the shell.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// version is stamped at build time.
var version = "dev"

func main() {
	arguments := os.Args[1:]
	if filepath.Base(os.Args[0]) == "kubectl_complete-shop" {
		arguments = append([]string{cobra.ShellCompRequestCmd}, arguments...)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	command := newCommand(genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	command.SetArgs(arguments)
	err := explain(command.ExecuteContext(ctx))
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !(interrupted && errors.Is(err, context.Canceled)) {
		fmt.Fprintln(os.Stderr, "kubectl shop:", err)
		os.Exit(1)
	}
}

// plugin is what all commands share: which cluster and namespace, where to
// read and write, and in which form.
type plugin struct {
	genericiooptions.IOStreams
	flags  *genericclioptions.ConfigFlags
	output string
}

func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	p := &plugin{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:   "kubectl-shop",
		Short: "Look after Shops",
		Long: "Look after Shops.\n\nWhere a command takes the NAME of a Shop, it may be left out\n" +
			"if the namespace has only one.",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl shop"},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	p.flags.AddFlags(root.PersistentFlags())
	must(root.RegisterFlagCompletionFunc("namespace", p.completeNamespaces))
	must(root.RegisterFlagCompletionFunc("context", p.completeContexts))
	root.AddCommand(
		p.statusCommand(), p.logsCommand(), p.openCommand(), p.createAdminCommand(),
		p.hibernateCommand(), p.wakeCommand(), p.migrateCommand(),
	)
	return root
}

// must is for what can only fail by a mistake in this program.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
