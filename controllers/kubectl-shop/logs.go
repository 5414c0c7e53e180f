package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// lookForPods is how often, with --follow, pods are looked for that are new.
const lookForPods = time.Second

// roles are the parts of a shop that have pods.
var roles = []string{
	string(builders.ComponentAPI), string(builders.ComponentNotifications), string(builders.ComponentMigration),
	string(builders.ComponentDatabase), string(builders.ComponentRedis),
}

func (p *plugin) logsCommand() *cobra.Command {
	l := &logs{out: p.Out, notes: p.ErrOut}
	command := &cobra.Command{
		Use:   "logs [NAME]",
		Short: "Print the logs of all pods of a role, each line with its pod's name",
		Example: `  kubectl shop logs acme --follow                       # API and notifications, also of pods yet to come
  kubectl shop logs acme --role=migrate                 # what the migration did
  kubectl shop logs acme --role=database --since=10m`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeShops,
		RunE: func(command *cobra.Command, arguments []string) error {
			for _, role := range l.roles {
				if !slices.Contains(roles, role) {
					return fmt.Errorf("--role %q: must be of %s", role, strings.Join(roles, ", "))
				}
			}
			var err error
			if l.cluster, l.shop, err = p.find(command.Context(), arguments); err != nil {
				return err
			}
			if l.follows {
				return l.follow(command.Context())
			}
			return l.print(command.Context())
		},
	}
	flags := command.Flags()
	flags.StringSliceVarP(&l.roles, "role", "r", roles[:2], "which `pods`: of "+strings.Join(roles, ", "))
	flags.BoolVarP(&l.follows, "follow", "f", false, "go on with what is yet to be logged, also by pods yet to come")
	flags.DurationVar(&l.since, "since", 0, "leave out what is older, such as 10m")
	flags.Int64Var(&l.tail, "tail", -1, "of each pod, the last `lines` only")
	flags.BoolVarP(&l.previous, "previous", "p", false, "of the containers before their last restart")
	command.MarkFlagsMutuallyExclusive("follow", "previous")
	must(command.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp)))
	return command
}

// logs prints what containers log, whole lines at a time.
type logs struct {
	cluster           *cluster
	shop              *shopv1.Shop
	roles             []string
	follows, previous bool
	since             time.Duration
	tail              int64

	mutex      sync.Mutex
	out, notes io.Writer
}

// run is one run of a container: after a restart it is another.
type run struct {
	pod       types.UID
	container string
	restarts  int32
}

// print prints the log of each container, one after the other.
func (l *logs) print(ctx context.Context) error {
	var failures []error
	read := 0
	err := l.each(ctx, func(pod corev1.Pod, container corev1.ContainerStatus) {
		if err := l.copy(ctx, pod.Name, container.Name, l.options()); err != nil {
			failures = append(failures, err)
			return
		}
		read++
	})
	switch {
	case err != nil:
		return err
	case len(failures) > 0:
		return errors.Join(failures...)
	case read == 0 && l.shop.Spec.Hibernated:
		return fmt.Errorf("shop %s is hibernated and has no such pods", l.shop.Name)
	case read == 0:
		return fmt.Errorf("shop %s has no pods of %s; why: kubectl shop status %s --namespace %s", l.shop.Name, strings.Join(l.roles, ", "), l.shop.Name, l.shop.Namespace)
	}
	return nil
}

// follow prints what all containers log until it is interrupted.
func (l *logs) follow(ctx context.Context) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	seen := map[run]bool{}
	options := l.options()
	for {
		err := l.each(ctx, func(pod corev1.Pod, container corev1.ContainerStatus) {
			this := run{pod.UID, container.Name, container.RestartCount}
			if seen[this] || container.State.Waiting != nil {
				return
			}
			seen[this] = true
			readers.Go(func() {
				if err := l.copy(ctx, pod.Name, container.Name, options); err != nil && ctx.Err() == nil {
					l.note(err)
				}
			})
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		options.SinceSeconds, options.TailLines = nil, nil // whoever comes later is read from its start
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookForPods):
		}
	}
}

// options are those of the first look at a container.
func (l *logs) options() corev1.PodLogOptions {
	options := corev1.PodLogOptions{Follow: l.follows, Previous: l.previous}
	if l.since > 0 {
		options.SinceSeconds = new(int64(l.since.Seconds()))
	}
	if l.tail >= 0 {
		options.TailLines = &l.tail
	}
	return options
}

// each visits the containers of the roles.
func (l *logs) each(ctx context.Context, visit func(corev1.Pod, corev1.ContainerStatus)) error {
	for _, role := range l.roles {
		pods, err := l.cluster.podsOf(ctx, l.shop, builders.Component(role))
		if err != nil {
			return err
		}
		for _, pod := range pods {
			for _, container := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
				visit(pod, container)
			}
		}
	}
	return nil
}

// copy prints the log of one container, each line behind the pod's name.
func (l *logs) copy(ctx context.Context, pod, container string, options corev1.PodLogOptions) error {
	options.Container = container
	stream, err := l.cluster.pods.Pods(l.shop.Namespace).GetLogs(pod, &options).Stream(ctx)
	if err != nil {
		return fmt.Errorf("read the log of pod %s: %w", pod, err)
	}
	defer stream.Close()
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			l.line(pod, strings.TrimSuffix(line, "\n"))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log of pod %s: %w", pod, err)
		}
	}
}

func (l *logs) line(pod, line string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	fmt.Fprintf(l.out, "%s %s\n", pod, line)
}

func (l *logs) note(err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	fmt.Fprintln(l.notes, err)
}
