// Package apply brings objects to a wanted state by Server-Side Apply, and
// makes no call for one that is there already.
//
// A Server-Side Apply that changes nothing costs the API server as much as one
// that does, so the comparison is made before it, against the cache: an object
// is as wanted when it carries the hash of what was last applied (so nothing
// was dropped since) and still has every value of it (so nobody changed one).
// Neither needs managedFields, which the cache therefore leaves out, nor memory
// of an earlier run.
package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// FieldOwner is the name under which the operator owns fields.
	FieldOwner = "shopkeeper"
	// AnnotationHash on an object is the hash of what was last applied to it.
	AnnotationHash = "shopkeeper.dev/applied-hash"

	// noResourceVersion makes an apply a creation: no object ever has this
	// resource version (etcd's first revision is that of the empty store), so
	// where there is one the API server answers with a conflict.
	noResourceVersion = "1"
)

// Configuration is what the generated apply configurations have in common.
type Configuration interface {
	runtime.ApplyConfiguration
	GetAPIVersion() *string
	GetKind() *string
	GetNamespace() *string
	GetName() *string
}

// TakenError reports an object of the wanted name that is somebody else's.
type TakenError struct {
	Kind, Name string
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s %s exists and is not the operator's", e.Kind, e.Name)
}

// Applier writes objects.
type Applier struct {
	// Client reads from a cache that holds the objects with Label only.
	Client client.Client
	// Live reads from the API server. It is asked only about an object that the
	// cache does not have and the API server does.
	Live client.Reader
	// Label and Value mark the operator's own objects.
	Label, Value string
}

// Object makes an object as wanted and returns it as it then stands. known is
// the object as the cache has it, nil if it has none. What is not there is
// created, never taken over: an object that others made is a *TakenError. One
// that is being deleted is returned as it is; the way is free when it is gone.
func (a *Applier) Object(ctx context.Context, wanted Configuration, known client.Object) (client.Object, error) {
	document, err := toDocument(wanted)
	if err != nil {
		return nil, err
	}
	sum, err := hash(document)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return a.create(ctx, wanted, document, sum)
	}
	if known.GetDeletionTimestamp() != nil {
		return known, nil
	}
	same, err := isAsWanted(known, document, sum)
	if same || err != nil {
		return known, err
	}
	return a.send(ctx, wanted, document, sum, client.ForceOwnership)
}

// Delete deletes this very object as it was last seen, and what it owns before
// it. One that is gone is fine; one that has changed since is a conflict, to be
// looked at again.
func (a *Applier) Delete(ctx context.Context, known client.Object) error {
	uid, version := known.GetUID(), known.GetResourceVersion()
	err := a.Client.Delete(ctx, known,
		client.Preconditions{UID: &uid, ResourceVersion: &version},
		client.PropagationPolicy(metav1.DeletePropagationForeground))
	return client.IgnoreNotFound(err)
}

func (a *Applier) create(ctx context.Context, wanted Configuration, document map[string]any, sum string) (client.Object, error) {
	metadata(document)["resourceVersion"] = noResourceVersion
	created, err := a.send(ctx, wanted, document, sum)
	if !apierrors.IsConflict(err) {
		return created, err
	}
	existing := &metav1.PartialObjectMetadata{}
	existing.SetGroupVersionKind(kindOf(wanted))
	key := client.ObjectKey{Namespace: *wanted.GetNamespace(), Name: *wanted.GetName()}
	if getErr := a.Live.Get(ctx, key, existing); getErr != nil {
		return nil, fmt.Errorf("see whose %s %s is: %w", *wanted.GetKind(), *wanted.GetName(), getErr)
	}
	switch {
	case existing.Labels[a.Label] == a.Value:
		return nil, err // ours; the cache is about to learn of it
	case hasOwner(existing, document):
		delete(metadata(document), "resourceVersion")
		return a.send(ctx, wanted, document, sum, client.ForceOwnership) // ours, but somebody took the label off
	default:
		return nil, &TakenError{Kind: *wanted.GetKind(), Name: *wanted.GetName()}
	}
}

// send applies the document, with its hash, and reads back the object.
func (a *Applier) send(ctx context.Context, wanted Configuration, document map[string]any, sum string, options ...client.ApplyOption) (client.Object, error) {
	annotations, _ := metadata(document)["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		metadata(document)["annotations"] = annotations
	}
	annotations[AnnotationHash] = sum

	// A configuration of the wanted's own type, for the client to tell its kind.
	configuration := reflect.New(reflect.TypeOf(wanted).Elem()).Interface().(Configuration)
	if err := remarshal(document, configuration); err != nil {
		return nil, err
	}
	options = append(options, client.FieldOwner(FieldOwner))
	if err := a.Client.Apply(ctx, configuration, options...); err != nil {
		return nil, fmt.Errorf("apply %s %s: %w", *wanted.GetKind(), *wanted.GetName(), err)
	}
	object, err := a.Client.Scheme().New(kindOf(wanted))
	if err != nil {
		return nil, err
	}
	return object.(client.Object), remarshal(configuration, object)
}

func isAsWanted(known client.Object, document map[string]any, sum string) (bool, error) {
	if known.GetAnnotations()[AnnotationHash] != sum {
		return false, nil
	}
	actual := map[string]any{}
	if err := remarshal(known, &actual); err != nil {
		return false, err
	}
	// The cache's typed objects do not say what kind they are.
	actual["apiVersion"], actual["kind"] = document["apiVersion"], document["kind"]
	return contains(actual, document, ""), nil
}

// hasOwner reports whether an object has the owner that the document gives it.
func hasOwner(existing metav1.Object, document map[string]any) bool {
	controller := metav1.GetControllerOf(existing)
	references, _ := metadata(document)["ownerReferences"].([]any)
	for _, reference := range references {
		fields, _ := reference.(map[string]any)
		if controller != nil && fields["uid"] == string(controller.UID) {
			return true
		}
	}
	return false
}

func toDocument(wanted Configuration) (map[string]any, error) {
	document := map[string]any{}
	if err := remarshal(wanted, &document); err != nil {
		return nil, err
	}
	return document, nil
}

// hash is that of the document's JSON, whose keys are sorted.
func hash(document map[string]any) (string, error) {
	bytes, err := json.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("hash an object: %w", err)
	}
	sum := sha256.Sum256(bytes)
	return hex.EncodeToString(sum[:16]), nil
}

func metadata(document map[string]any) map[string]any {
	return document["metadata"].(map[string]any)
}

func kindOf(wanted Configuration) schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(*wanted.GetAPIVersion(), *wanted.GetKind())
}

// remarshal copies a value to one of another type with the same JSON.
func remarshal(from, to any) error {
	bytes, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(bytes, to)
	}
	if err != nil {
		return fmt.Errorf("turn %T into %T: %w", from, to, err)
	}
	return nil
}
