package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

func (p *plugin) createAdminCommand() *cobra.Command {
	var fromStdin bool
	command := &cobra.Command{
		Use:   "create-admin [NAME] EMAIL",
		Short: "Make a staff user of a Shop, or make a user one of the staff",
		Long: "Make a staff user of a Shop, with a password that it prints, or that it reads.\n" +
			"A user who is there already becomes one of the staff and keeps the password.",
		Example: `  kubectl shop create-admin acme admin@example.com
  pass show shop | kubectl shop create-admin acme admin@example.com --password-stdin`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: p.completeShops,
		RunE: func(command *cobra.Command, arguments []string) error {
			names, email := arguments[:len(arguments)-1], arguments[len(arguments)-1]
			if !strings.Contains(email, "@") {
				return fmt.Errorf("%q is no e-mail address: kubectl shop %s", email, command.Use)
			}
			password, err := p.password(fromStdin)
			if err != nil {
				return err
			}
			cluster, shop, err := p.find(command.Context(), names)
			if err != nil {
				return err
			}
			created, err := cluster.createAdmin(command.Context(), shop, email, password)
			if err != nil {
				return err
			}
			if fromStdin || !created {
				password = "" // known to whoever gave it, or not used
			}
			return p.tellAdmin(shop, email, password, created)
		},
	}
	command.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input, its first line")
	p.addOutput(command)
	return command
}

// password is the first line of standard input, or a new one.
func (p *plugin) password(fromStdin bool) (string, error) {
	if !fromStdin {
		return strings.ToLower(rand.Text()), nil
	}
	line, err := bufio.NewReader(io.LimitReader(p.In, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("--password-stdin: standard input has no password")
	}
	return line, nil
}

// createAdmin lets a pod of the API do it, and tells whether the user is new.
// The password goes by standard input: arguments are there for all to read.
func (c *cluster) createAdmin(ctx context.Context, shop *shopv1.Shop, email, password string) (created bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pod, err := c.readyPod(ctx, shop, builders.ComponentAPI)
	if err != nil {
		return false, err
	}
	said, err := c.exec(ctx, pod, "server", strings.NewReader(password+"\n"),
		"/shopkeeper-server", "createadmin", "--password-stdin", email)
	if err != nil {
		return false, fmt.Errorf("make %s a staff user: %w", email, err)
	}
	return strings.HasPrefix(said, "staff user "+email+" made"), nil
}

func (p *plugin) tellAdmin(shop *shopv1.Shop, email, password string, created bool) error {
	if p.output == jsonOutput {
		answer := map[string]any{"name": shop.Name, "namespace": shop.Namespace, "email": email, "created": created}
		if password != "" {
			answer["password"] = password
		}
		return writeJSON(p.Out, answer)
	}
	switch {
	case !created:
		fmt.Fprintf(p.Out, "%s was a user of shop %s already and is staff now; the password stays as it was\n", email, shop.Name)
	case password == "":
		fmt.Fprintf(p.Out, "%s is a staff user of shop %s, with the password given\n", email, shop.Name)
	default:
		fmt.Fprintf(p.Out, "%s is a staff user of shop %s, with the password %s\n", email, shop.Name, password)
	}
	return nil
}
