package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

func (p *plugin) migrateCommand() *cobra.Command {
	parent := &cobra.Command{Use: "migrate", Short: "Look after the schema of a Shop's database", Args: cobra.NoArgs, RunE: func(command *cobra.Command, _ []string) error {
		return command.Help()
	}}
	command := &cobra.Command{
		Use:               "status [NAME]",
		Short:             "Tell the schema's version, and how its migrations did",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeShops,
		RunE: func(command *cobra.Command, arguments []string) error {
			cluster, shop, err := p.find(command.Context(), arguments)
			if err != nil {
				return err
			}
			status, err := cluster.migrationStatus(command.Context(), shop)
			if err != nil {
				return err
			}
			if p.output == jsonOutput {
				return writeJSON(p.Out, status)
			}
			return status.write(p.Out, time.Now())
		},
	}
	p.addOutput(command)
	parent.AddCommand(command)
	return parent
}

// migrationStatus is where the schema of a shop's database stands.
type migrationStatus struct {
	Name          string            `json:"name"`
	Namespace     string            `json:"namespace"`
	SchemaVersion int64             `json:"schemaVersion"` // 0: none is known
	Version       string            `json:"version,omitempty"`
	Migrated      *metav1.Condition `json:"migrated,omitempty"`
	Jobs          []migrationJob    `json:"jobs"`
}

// migrationJob is one run of a migration.
type migrationJob struct {
	Name    string       `json:"name"`
	State   string       `json:"state"`
	Version string       `json:"version,omitempty"`
	Started *metav1.Time `json:"started,omitempty"`
	Ended   *metav1.Time `json:"ended,omitempty"`
}

func (c *cluster) migrationStatus(ctx context.Context, shop *shopv1.Shop) (*migrationStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	jobs := &batchv1.JobList{}
	err := c.List(ctx, jobs, client.InNamespace(shop.Namespace), client.MatchingLabels(builders.ChildLabels(shop, builders.ComponentMigration)))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(jobs.Items, func(a, b batchv1.Job) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	status := &migrationStatus{
		Name: shop.Name, Namespace: shop.Namespace, SchemaVersion: shop.Status.SchemaVersion, Version: shop.Status.Version,
		Migrated: meta.FindStatusCondition(shop.Status.Conditions, shopv1.ConditionMigrated), Jobs: []migrationJob{},
	}
	for _, job := range jobs.Items {
		state, ended := jobState(&job)
		status.Jobs = append(status.Jobs, migrationJob{
			Name: job.Name, State: state, Version: job.Labels[builders.LabelVersion], Started: job.Status.StartTime, Ended: ended,
		})
	}
	return status, nil
}

func jobState(job *batchv1.Job) (state string, ended *metav1.Time) {
	for _, condition := range job.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) {
			return string(condition.Type), &condition.LastTransitionTime
		}
	}
	if job.Status.Active > 0 {
		return "Running", nil
	}
	return "Pending", nil
}

func (m *migrationStatus) write(out io.Writer, now time.Time) error {
	fmt.Fprintf(out, "Version that serves: %s\n", cmp.Or(m.Version, "none yet"))
	if m.SchemaVersion == 0 {
		fmt.Fprintln(out, "Schema:              none yet")
	} else {
		fmt.Fprintf(out, "Schema:              version %d\n", m.SchemaVersion)
	}
	if m.Migrated != nil {
		fmt.Fprintf(out, "Migrated:            %s, %s: %s\n", m.Migrated.Status, m.Migrated.Reason, m.Migrated.Message)
	}
	if len(m.Jobs) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nJOB\tVERSION\tSTATE\tSTARTED\tTOOK")
	for _, job := range m.Jobs {
		started, took := "-", "-"
		if job.Started != nil {
			started = duration.HumanDuration(now.Sub(job.Started.Time)) + " ago"
			if job.Ended != nil {
				took = duration.HumanDuration(job.Ended.Sub(job.Started.Time))
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", job.Name, cmp.Or(job.Version, "-"), job.State, started, took)
	}
	return table.Flush()
}
