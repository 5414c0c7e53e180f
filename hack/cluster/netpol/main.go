// Command netpol enforces NetworkPolicies on one node, with one nftables table
// in the node's network namespace. Whenever a pod, namespace, node or policy
// changes, the whole table is rewritten in a single transaction.
//
// IPv4 only. A pod is isolated once its address is known to the API server,
// some milliseconds after it got it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	table    = "netpol"
	debounce = 50 * time.Millisecond // a rollout is many events
	retry    = time.Second
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "path of a kubeconfig that may watch pods, namespaces, nodes and network policies")
	node := flag.String("node", "", "name of this node")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *node); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, kubeconfig, node string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	changed := make(chan struct{}, 1)
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().Pods().Informer(), factory.Core().V1().Namespaces().Informer(),
		factory.Core().V1().Nodes().Informer(), factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		if _, err := informer.AddEventHandler(notify(changed)); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	factory.WaitForCacheSync(ctx.Done())
	return follow(ctx, factory, node, changed)
}

// notify leaves one token in changed however many events there are.
func notify(changed chan<- struct{}) cache.ResourceEventHandler {
	mark := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: mark, UpdateFunc: func(_, o any) { mark(o) }, DeleteFunc: mark}
}

// follow applies the rules after each change until ctx ends.
func follow(ctx context.Context, factory informers.SharedInformerFactory, node string, changed chan struct{}) error {
	applied := ""
	for wait := debounce; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		time.Sleep(wait)
		rules, err := compile(factory, node)
		if err == nil && rules != applied {
			err = apply(ctx, rules)
		}
		if err != nil {
			log.Printf("%v; trying again in %s", err, retry)
			wait = retry
			notify(changed).OnAdd(nil, false)
			continue
		}
		wait, applied = debounce, rules
	}
}

// compile reads the caches and returns the rules for node.
func compile(factory informers.SharedInformerFactory, node string) (string, error) {
	c := &cluster{node: node, namespaces: map[string]labels.Set{}}
	var err error
	if c.pods, err = factory.Core().V1().Pods().Lister().List(labels.Everything()); err != nil {
		return "", fmt.Errorf("list pods: %w", err)
	}
	if c.policies, err = factory.Networking().V1().NetworkPolicies().Lister().List(labels.Everything()); err != nil {
		return "", fmt.Errorf("list policies: %w", err)
	}
	slices.SortFunc(c.policies, func(a, b *netv1.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	namespaces, err := factory.Core().V1().Namespaces().Lister().List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("list namespaces: %w", err)
	}
	for _, n := range namespaces {
		c.namespaces[n.Name] = n.Labels
	}
	nodes, err := factory.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("list nodes: %w", err)
	}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				c.nodeAddresses = append(c.nodeAddresses, a.Address)
			}
		}
	}
	slices.Sort(c.nodeAddresses)
	return c.ruleset(table), nil
}

// apply hands the rules to the kernel: all of them or none.
func apply(ctx context.Context, rules string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	nft := exec.CommandContext(ctx, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}
