package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

func (p *plugin) statusCommand() *cobra.Command {
	command := &cobra.Command{
		Use:               "status [NAME]",
		Short:             "Show a Shop and its parts as a tree: how each is doing, and why",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeShops,
		RunE: func(command *cobra.Command, arguments []string) error {
			cluster, shop, err := p.find(command.Context(), arguments)
			if err != nil {
				return err
			}
			root, hidden, err := cluster.tree(command.Context(), shop)
			if err != nil {
				return err
			}
			if p.output == jsonOutput {
				return writeJSON(p.Out, root)
			}
			if len(hidden) > 0 {
				fmt.Fprintf(p.ErrOut, "Not shown, for you may not list them: %s\n", strings.Join(hidden, ", "))
			}
			return root.write(p.Out, time.Now())
		},
	}
	p.addOutput(command)
	return command
}

// node is a line of the tree: the Shop, a part of it, or an object.
type node struct {
	Kind     string       `json:"kind,omitempty"` // none for a part
	Name     string       `json:"name"`
	Health   health       `json:"health,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Message  string       `json:"message,omitempty"`
	Created  *metav1.Time `json:"created,omitempty"`
	Children []*node      `json:"children,omitempty"`
}

// part is what a condition of the Shop is about.
type part struct {
	component builders.Component
	condition string
}

// parts are in the order in which a shop comes up.
var parts = []part{
	{builders.ComponentDatabase, shopv1.ConditionDatabaseReady},
	{builders.ComponentRedis, shopv1.ConditionRedisReady},
	{builders.ComponentMigration, shopv1.ConditionMigrated},
	{builders.ComponentAPI, shopv1.ConditionAPIReady},
	{builders.ComponentNotifications, shopv1.ConditionNotificationsReady},
	{builders.ComponentIngress, shopv1.ConditionIngressReady},
}

// childKinds are what the operator makes, and what Kubernetes makes of that.
var childKinds = []schema.GroupVersionKind{
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Group: "apps", Version: "v1", Kind: "ReplicaSet"},
	{Group: "batch", Version: "v1", Kind: "Job"},
	{Group: "batch", Version: "v1", Kind: "CronJob"},
	{Version: "v1", Kind: "Pod"},
	{Version: "v1", Kind: "PersistentVolumeClaim"},
	{Version: "v1", Kind: "Service"},
	{Version: "v1", Kind: "Secret"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "ServiceAccount"},
	{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"},
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"},
	{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"},
	{Group: "monitoring.coreos.com", Version: "v1", Kind: "PodMonitor"},
}

// tree is the Shop with all that belongs to it, and the kinds that the user may
// not list.
func (c *cluster) tree(ctx context.Context, shop *shopv1.Shop) (root *node, hidden []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found := make([][]unstructured.Unstructured, len(childKinds))
	lists, ctx := errgroup.WithContext(ctx)
	var mutex sync.Mutex
	for i, kind := range childKinds {
		lists.Go(func() error {
			var err error
			found[i], err = c.children(ctx, shop, kind)
			switch {
			case meta.IsNoMatchError(err):
				return nil // the cluster has no such kind, so the shop has none
			case apierrors.IsForbidden(err):
				mutex.Lock()
				defer mutex.Unlock()
				hidden = append(hidden, kind.Kind)
				return nil
			default:
				return err
			}
		})
	}
	if err := lists.Wait(); err != nil {
		return nil, nil, err
	}
	slices.Sort(hidden)
	root, err = grow(shop, slices.Concat(found...))
	return root, hidden, err
}

// children are the objects of a kind that bear the shop's name. Of Secrets and
// ConfigMaps nothing but the metadata is asked for.
func (c *cluster) children(ctx context.Context, shop *shopv1.Shop, kind schema.GroupVersionKind) ([]unstructured.Unstructured, error) {
	list := kind.GroupVersion().WithKind(kind.Kind + "List")
	ofShop := []client.ListOption{client.InNamespace(shop.Namespace), client.MatchingLabels{
		builders.LabelManagedBy: builders.ManagedBy, builders.LabelInstance: shop.Name,
	}}
	if kind.Kind != "Secret" && kind.Kind != "ConfigMap" {
		objects := &unstructured.UnstructuredList{}
		objects.SetGroupVersionKind(list)
		err := c.List(ctx, objects, ofShop...)
		return objects.Items, err
	}
	metadata := &metav1.PartialObjectMetadataList{}
	metadata.SetGroupVersionKind(list)
	if err := c.List(ctx, metadata, ofShop...); err != nil {
		return nil, err
	}
	var objects []unstructured.Unstructured
	for _, item := range metadata.Items {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&item)
		if err != nil {
			return nil, err
		}
		objects = append(objects, unstructured.Unstructured{Object: object})
		objects[len(objects)-1].SetGroupVersionKind(kind)
	}
	return objects, nil
}

// grow makes the tree of a Shop and its objects. It is pure.
func grow(shop *shopv1.Shop, objects []unstructured.Unstructured) (*node, error) {
	document, err := runtime.DefaultUnstructuredConverter.ToUnstructured(shop)
	if err != nil {
		return nil, fmt.Errorf("read the Shop: %w", err)
	}
	whole := &unstructured.Unstructured{Object: document}
	whole.SetGroupVersionKind(shopv1.GroupVersion.WithKind("Shop"))
	root := nodeOf(whole)
	if condition := meta.FindStatusCondition(shop.Status.Conditions, shopv1.ConditionReady); condition != nil {
		root.Reason, root.Message = condition.Reason, condition.Message
	}
	byPart := map[builders.Component]*node{}
	for _, part := range parts {
		byPart[part.component] = partNode(string(part.component), meta.FindStatusCondition(shop.Status.Conditions, part.condition))
		root.Children = append(root.Children, byPart[part.component])
	}
	root.Children = append(root.Children, otherConditions(shop)...)
	hang(root, byPart, objects)
	root.Children = slices.DeleteFunc(root.Children, func(part *node) bool { return part.Health == "" && len(part.Children) == 0 })
	return root, nil
}

// otherConditions are parts that have a condition but no component of that name.
func otherConditions(shop *shopv1.Shop) []*node {
	var others []*node
	for _, condition := range shop.Status.Conditions {
		known := []string{shopv1.ConditionReady, shopv1.ConditionReconciling, shopv1.ConditionStalled}
		for _, part := range parts {
			known = append(known, part.condition)
		}
		if !slices.Contains(known, condition.Type) {
			others = append(others, partNode(condition.Type, &condition))
		}
	}
	return others
}

func partNode(name string, condition *metav1.Condition) *node {
	part := &node{Name: name}
	if condition == nil {
		return part
	}
	part.Reason, part.Message = condition.Reason, condition.Message
	switch condition.Status {
	case metav1.ConditionTrue:
		part.Health = healthy
	case metav1.ConditionFalse:
		part.Health = progressing
	default:
		part.Health = unknown
	}
	return part
}

// hang puts each object below its owner, or below the part it belongs to.
// ReplicaSets are left out: their pods hang below the Deployment.
func hang(root *node, byPart map[builders.Component]*node, objects []unstructured.Unstructured) {
	nodes, owner := map[types.UID]*node{}, map[types.UID]types.UID{}
	for _, object := range objects {
		if controller := metav1.GetControllerOf(&object); controller != nil {
			owner[object.GetUID()] = controller.UID
		}
		if object.GetKind() != "ReplicaSet" {
			nodes[object.GetUID()] = nodeOf(&object)
		}
	}
	for _, object := range objects {
		child := nodes[object.GetUID()]
		if child == nil {
			continue
		}
		above := owner[object.GetUID()]
		if nodes[above] == nil {
			above = owner[above] // over the ReplicaSet
		}
		parent := nodes[above]
		if parent == nil {
			parent = partOf(root, byPart, builders.Component(object.GetLabels()[builders.LabelComponent]))
		}
		parent.Children = append(parent.Children, child)
	}
}

func partOf(root *node, byPart map[builders.Component]*node, component builders.Component) *node {
	if component == "" || component == builders.ComponentServer {
		component = "shared"
	}
	if byPart[component] == nil {
		byPart[component] = &node{Name: string(component)}
		root.Children = append(root.Children, byPart[component])
	}
	return byPart[component]
}

func nodeOf(object *unstructured.Unstructured) *node {
	created := object.GetCreationTimestamp()
	line := &node{Kind: object.GetKind(), Name: object.GetName(), Created: &created}
	line.Health, line.Message = healthOf(object)
	return line
}

// write draws the tree.
func (n *node) write(out io.Writer, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tHEALTH\tAGE\tWHY")
	n.writeLines(table, now, "", "")
	return table.Flush()
}

func (n *node) writeLines(out io.Writer, now time.Time, first, next string) {
	name, age := n.Name, ""
	if n.Kind != "" {
		name = n.Kind + "/" + n.Name
	}
	if n.Created != nil {
		age = duration.HumanDuration(now.Sub(n.Created.Time))
	}
	why := strings.Join(strings.Fields(n.Message), " ")
	if n.Reason != "" && n.Health != healthy {
		why = n.Reason + ": " + why
	}
	fmt.Fprintln(out, strings.TrimRight(strings.Join([]string{first + name, cmp.Or(string(n.Health), "-"), cmp.Or(age, "-"), why}, "\t"), "\t"))
	for i, child := range n.Children {
		if i == len(n.Children)-1 {
			child.writeLines(out, now, next+"└─ ", next+"   ")
		} else {
			child.writeLines(out, now, next+"├─ ", next+"│  ")
		}
	}
}

const jsonOutput = "json"

// addOutput gives a command the flag -o.
func (p *plugin) addOutput(command *cobra.Command) {
	command.Flags().VarP((*outputValue)(&p.output), "output", "o", "`form` of the answer: json, or a text for people")
	must(command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{jsonOutput}, cobra.ShellCompDirectiveNoFileComp)))
}

// outputValue is a flag that takes what is known only.
type outputValue string

func (o *outputValue) String() string { return string(*o) }
func (*outputValue) Type() string     { return "form" }
func (o *outputValue) Set(form string) error {
	if form != jsonOutput {
		return fmt.Errorf("must be %s, or left out", jsonOutput)
	}
	*o = outputValue(form)
	return nil
}

func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
