// Command manifests applies the Kubernetes manifests of its standard input to an API server of its own,
// which it then throws away: that knows what no schema file does, such as unions, CEL rules and names.
// With -schemas FOLDER it also writes the JSON schemas of their kinds there, for tools that check a manifest
// without an API server. KUBEBUILDER_ASSETS names the folder of kube-apiserver and etcd.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// timeout bounds all that is asked of the API server.
const timeout = 2 * time.Minute

func main() {
	schemas := flag.String("schemas", "", "`folder` to write JSON schemas to; none means that none are written")
	flag.Parse()
	count, err := run(os.Stdin, *schemas)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d objects accepted by an API server\n", count)
}

func run(manifests io.Reader, schemas string) (count int, err error) {
	config, stop, err := kubetest.Start()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return check(config, manifests, schemas)
}

// check returns how many objects the manifests hold, and what is wrong with any of them. It writes the
// schemas of their kinds to a folder, if that has a name.
func check(config *rest.Config, manifests io.Reader, schemas string) (count int, err error) {
	objects, err := decode(manifests)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := apply(ctx, config, objects); err != nil || schemas == "" {
		return len(objects), err
	}
	return len(objects), writeSchemas(ctx, config, objects, schemas)
}

func decode(manifests io.Reader) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(manifests, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("read manifest %d: %w", len(objects)+1, err)
		}
		if len(object.Object) > 0 { // a document of comments has none
			objects = append(objects, object)
		}
	}
}

// apply applies each object as soon as what it stands on is there, and goes on after a failure.
func apply(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured) error {
	cluster, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	definitions, rest := split(objects, "CustomResourceDefinition")
	namespaces, rest := split(rest, "Namespace")

	failures := applyAll(ctx, cluster, definitions)
	failures = append(failures, awaitDefinitions(config, definitions))
	failures = append(failures, applyAll(ctx, cluster, append(namespaces, missingNamespaces(rest)...))...)
	return errors.Join(append(failures, applyAll(ctx, cluster, rest)...)...)
}

func split(objects []*unstructured.Unstructured, kind string) (ofKind, others []*unstructured.Unstructured) {
	for _, object := range objects {
		if object.GetKind() == kind {
			ofKind = append(ofKind, object)
		} else {
			others = append(others, object)
		}
	}
	return ofKind, others
}

// missingNamespaces are those that objects name, as an installer makes them ("helm install --create-namespace").
func missingNamespaces(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	var names []string
	for _, object := range objects {
		if name := object.GetNamespace(); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var namespaces []*unstructured.Unstructured
	for _, name := range slices.Compact(names) {
		namespace := &unstructured.Unstructured{}
		namespace.SetAPIVersion("v1")
		namespace.SetKind("Namespace")
		namespace.SetName(name)
		namespaces = append(namespaces, namespace)
	}
	return namespaces
}

func applyAll(ctx context.Context, cluster client.Client, objects []*unstructured.Unstructured) []error {
	var failures []error
	for _, object := range objects {
		if err := applyOne(ctx, cluster, object.DeepCopy()); err != nil {
			failures = append(failures, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err))
		}
	}
	return failures
}

func applyOne(ctx context.Context, cluster client.Client, object *unstructured.Unstructured) error {
	namespaced, err := cluster.IsObjectNamespaced(object)
	if err != nil {
		return err
	}
	if namespaced && object.GetNamespace() == "" {
		object.SetNamespace(metav1.NamespaceDefault) // as kubectl does
	}
	return cluster.Apply(ctx, client.ApplyConfigurationFromUnstructured(object),
		client.FieldOwner("manifests"), client.ForceOwnership)
}

func awaitDefinitions(config *rest.Config, objects []*unstructured.Unstructured) error {
	var definitions []*apiextensionsv1.CustomResourceDefinition
	for _, object := range objects {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, definition); err != nil {
			return fmt.Errorf("CustomResourceDefinition %s: %w", object.GetName(), err)
		}
		definitions = append(definitions, definition)
	}
	return envtest.WaitForCRDs(config, definitions, envtest.CRDInstallOptions{
		MaxTime: 30 * time.Second, PollInterval: 100 * time.Millisecond,
	})
}
