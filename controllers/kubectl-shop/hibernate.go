package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// fieldManager is who changes what this plugin changes.
const fieldManager = "kubectl-shop"

func (p *plugin) hibernateCommand() *cobra.Command {
	return p.sleepCommand("hibernate", "Stop every pod of a Shop; its data, Secrets and addresses stay", true)
}

func (p *plugin) wakeCommand() *cobra.Command {
	return p.sleepCommand("wake", "Start the pods of a hibernated Shop again", false)
}

// sleepCommand sets spec.hibernated and waits until the Shop is so.
func (p *plugin) sleepCommand(name, short string, hibernated bool) *cobra.Command {
	var waits bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:               name + " [NAME]",
		Short:             short,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeShops,
		RunE: func(command *cobra.Command, arguments []string) error {
			cluster, shop, err := p.find(command.Context(), arguments)
			if err != nil {
				return err
			}
			changed := shop.Spec.Hibernated != hibernated
			if changed {
				if err := cluster.setHibernated(command.Context(), shop, hibernated); err != nil {
					return err
				}
				p.warnOfOtherManager(shop)
			}
			if waits {
				if err := cluster.awaitSettled(command.Context(), shop, timeout); err != nil {
					return err
				}
			}
			return p.tellSleep(shop, changed)
		},
	}
	command.Flags().BoolVar(&waits, "wait", true, "wait until the operator has done it; =false returns at once")
	command.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	p.addOutput(command)
	return command
}

func (c *cluster) setHibernated(ctx context.Context, shop *shopv1.Shop, hibernated bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	patch := fmt.Appendf(nil, `{"spec":{"hibernated":%t}}`, hibernated)
	return c.Patch(ctx, shop, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldManager))
}

// warnOfOtherManager tells of a tool that may set the field back to what its
// own source says.
func (p *plugin) warnOfOtherManager(shop *shopv1.Shop) {
	for _, entry := range shop.ManagedFields {
		byTool := entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && !strings.HasPrefix(entry.Manager, "kubectl")
		if byTool {
			fmt.Fprintf(p.ErrOut, "Warning: %s applies this Shop too, and may undo it: set spec.hibernated in what it applies\n", entry.Manager)
		}
	}
}

// awaitSettled waits until the operator has done what the spec says.
func (c *cluster) awaitSettled(ctx context.Context, shop *shopv1.Shop, timeout time.Duration) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, time.Second, timeout, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(shop), shop); err != nil {
			return false, err
		}
		if shop.Status.ObservedGeneration < shop.Generation {
			last = "the operator has not seen it yet: see that it runs"
			return false, nil
		}
		if stalled := meta.FindStatusCondition(shop.Status.Conditions, shopv1.ConditionStalled); stalled != nil {
			return false, fmt.Errorf("%s: %s", stalled.Reason, stalled.Message)
		}
		reconciling := meta.FindStatusCondition(shop.Status.Conditions, shopv1.ConditionReconciling)
		if reconciling != nil {
			last = reconciling.Message
		}
		return reconciling == nil, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not so after %s, it goes on without this command; last seen: %s", timeout, last)
	}
	return err
}

func (p *plugin) tellSleep(shop *shopv1.Shop, changed bool) error {
	if p.output == jsonOutput {
		return writeJSON(p.Out, map[string]any{
			"name": shop.Name, "namespace": shop.Namespace, "hibernated": shop.Spec.Hibernated, "changed": changed,
		})
	}
	state, again := "awake", ""
	if shop.Spec.Hibernated {
		state = "hibernated"
	}
	if !changed {
		again = " already"
	}
	_, err := fmt.Fprintf(p.Out, "shop %s is %s%s\n", shop.Name, state, again)
	return err
}
