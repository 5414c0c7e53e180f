package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// bareClients send at once.
const bareClients = 8

// child is what the operator applied for a Shop.
type child struct {
	path string // of its URL
	body []byte
}

// childrenOf are those of a Shop of the first namespace, as the operator applied them first.
func (p *plane) childrenOf(shop types.NamespacedName) (children []child, err error) {
	seen := map[string]bool{}
	err = p.audited(func(event auditEvent) error {
		of := event.ObjectRef
		target, err := url.Parse(event.RequestURI)
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		isChild := event.User.Username == operatorAccount && event.Verb == "patch" && of.Subresource == "" &&
			of.Resource != "persistentvolumeclaims" && // which the StatefulSet makes
			(of.Name == shop.Name || strings.HasPrefix(of.Name, shop.Name+"-"))
		if !isChild || seen[target.Path] {
			return nil
		}
		seen[target.Path] = true
		var object map[string]any
		if err := json.Unmarshal(event.RequestObject, &object); err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		if metadata, ok := object["metadata"].(map[string]any); ok {
			delete(metadata, "ownerReferences") // of a Shop that will not be there
		}
		body, err := json.Marshal(object)
		children = append(children, child{target.Path, body})
		return err
	})
	return children, err
}

// benchBare is the ceiling of Shops: their children alone, applied by clients that do nothing else, on a control plane
// as that of the Shops but without the operator. It returns how many Shops' children a second run.
func benchBare(ctx context.Context, count int, model types.NamespacedName, children []child) (rate float64, shares string, err error) {
	plane, err := startPlane(ctx)
	if err != nil {
		return 0, "", err
	}
	defer plane.stop() //nolint:errcheck // what is left is in a temporary folder
	if err := (&shopsBench{plane: plane, count: count}).prepare(ctx); err != nil {
		return 0, "", err
	}
	cluster, err := kubernetes.NewForConfig(plane.config)
	if err != nil {
		return 0, "", err
	}
	before, started := plane.processorTimes(), time.Now()
	everybody, sending := errgroup.WithContext(ctx)
	everybody.SetLimit(bareClients)
	for n := range count {
		everybody.Go(func() error { return applyAll(sending, cluster.CoreV1().RESTClient(), model, shopName(n), children) })
	}
	if err := everybody.Wait(); err != nil {
		return 0, "", err
	}
	say("applied the children of %d Shops after %s", count, seconds(time.Since(started)))
	if err := plane.awaitPods(ctx); err != nil {
		return 0, "", err
	}
	took := time.Since(started)
	return float64(count) / took.Seconds(), plane.shares(before, took), nil
}

// applyAll applies the children of one Shop as those of another.
func applyAll(ctx context.Context, api rest.Interface, model, shop types.NamespacedName, children []child) error {
	renamed := strings.NewReplacer(model.Namespace, shop.Namespace, model.Name, shop.Name)
	for _, child := range children {
		err := api.Patch(types.ApplyPatchType).AbsPath(renamed.Replace(child.path)).
			Param("fieldManager", "bench").Param("force", "true").
			SetHeader("Accept", "application/vnd.kubernetes.protobuf").
			Body([]byte(renamed.Replace(string(child.body)))).Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("apply %s for %s: %w", child.path, shop, err)
		}
	}
	return nil
}

// awaitPods waits until all pods that are wanted are ready.
func (p *plane) awaitPods(ctx context.Context) error {
	for deadline := time.Now().Add(quietLimit); time.Now().Before(deadline); {
		deployments, sets := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}
		for _, list := range []client.ObjectList{deployments, sets} {
			if err := p.client.List(ctx, list); err != nil {
				return fmt.Errorf("look for pods: %w", err)
			}
		}
		lacking := 0
		for _, one := range deployments.Items {
			if one.Status.ReadyReplicas < *one.Spec.Replicas {
				lacking++
			}
		}
		for _, one := range sets.Items {
			if one.Status.ReadyReplicas < *one.Spec.Replicas {
				lacking++
			}
		}
		if lacking == 0 {
			return nil
		}
		if err := sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	return fmt.Errorf("pods are lacking after %s", quietLimit)
}
