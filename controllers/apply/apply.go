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
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// FieldOwner is the name under which the operator owns fields.
	FieldOwner = "shopkeeper"
	// AnnotationHash on an object is the hash of what was last applied to it.
	AnnotationHash = "shopkeeper.dev/applied-hash"

	// secretKind is in no cache, so that no cache can be waited for.
	secretKind = "Secret"

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
	// Seen spares what was compared before from being compared again; nil spares
	// nothing.
	Seen *Seen
	// HasWritten is whether any object is another than before.
	HasWritten bool
}

// Object makes an object as wanted and returns it as it then stands. known is
// the object as the cache has it, nil if it has none. What is not there is
// created, never taken over: an object that others made is a *TakenError. One
// that is being deleted is returned as it is; the way is free when it is gone.
// One that has changed since it was known is a conflict, to be looked at again:
// a cache that is behind overwrites nothing.
func (a *Applier) Object(ctx context.Context, wanted Configuration, known client.Object) (client.Object, error) {
	written, err := json.Marshal(wanted)
	if err != nil {
		return nil, fmt.Errorf("write %T: %w", wanted, err)
	}
	sum := hash(written)
	if known != nil && (known.GetDeletionTimestamp() != nil || a.Seen.has(known, sum)) {
		return known, nil
	}
	document := document{}
	if err := json.Unmarshal(written, &document); err != nil {
		return nil, fmt.Errorf("read %T: %w", wanted, err)
	}
	if known == nil {
		return a.create(ctx, wanted, document, sum)
	}
	same, err := isAsWanted(known, document, sum)
	if err != nil {
		return known, err
	}
	if same {
		a.Seen.add(known, sum)
		return known, nil
	}
	document.metadata()["resourceVersion"] = known.GetResourceVersion()
	return a.send(ctx, wanted, document, sum, client.ForceOwnership)
}

// Share makes another field owner own what the configuration says, beside
// whoever does already. It says nothing new: where the object has another value,
// that is a conflict. The object is known anew by what it returns: its resource
// version.
func (a *Applier) Share(ctx context.Context, known Configuration, with string) (string, error) {
	if err := a.Client.Apply(ctx, known, client.FieldOwner(with)); err != nil {
		return "", fmt.Errorf("hand over %s %s: %w", *known.GetKind(), *known.GetName(), err)
	}
	a.HasWritten = true
	applied := document{}
	if err := remarshal(known, &applied); err != nil {
		return "", err
	}
	version, _ := applied.metadata()["resourceVersion"].(string)
	return version, nil
}

// Delete deletes this very object as it was last seen, and what it owns before
// it. One that is gone is fine; one that has changed since is a conflict, to be
// looked at again.
func (a *Applier) Delete(ctx context.Context, known client.Object) error {
	uid, version := known.GetUID(), known.GetResourceVersion()
	options := []client.DeleteOption{
		client.Preconditions{UID: &uid, ResourceVersion: &version},
		client.PropagationPolicy(metav1.DeletePropagationForeground),
	}
	if _, isSecret := known.(*corev1.Secret); isSecret {
		options = append(options, client.DisableReadYourWritesConsistency)
	}
	if err := a.Client.Delete(ctx, known, options...); err != nil {
		return client.IgnoreNotFound(err)
	}
	a.HasWritten = true
	return nil
}

func (a *Applier) create(ctx context.Context, wanted Configuration, document document, sum string) (client.Object, error) {
	document.metadata()["resourceVersion"] = noResourceVersion
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
	case slices.ContainsFunc(existing.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return slices.Contains(document.owners(), string(owner.UID))
	}):
		document.metadata()["resourceVersion"] = existing.ResourceVersion
		return a.send(ctx, wanted, document, sum, client.ForceOwnership) // ours, but somebody took the label off
	default:
		return nil, &TakenError{Kind: *wanted.GetKind(), Name: *wanted.GetName()}
	}
}

// send applies the document, with its hash, and returns the object as it then is.
func (a *Applier) send(ctx context.Context, wanted Configuration, document document, sum string, options ...client.PatchOption) (client.Object, error) {
	document.annotate(AnnotationHash, sum)
	written, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("write %T: %w", wanted, err)
	}
	made, err := a.Client.Scheme().New(kindOf(wanted))
	if err != nil {
		return nil, err
	}
	object, ok := made.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", made)
	}
	object.SetNamespace(*wanted.GetNamespace())
	object.SetName(*wanted.GetName())
	options = append(options, client.FieldOwner(FieldOwner))
	if *wanted.GetKind() == secretKind {
		options = append(options, client.DisableReadYourWritesConsistency)
	}
	// A patch is answered with the object, in the encoding of the cache; an apply
	// of the configuration would be answered with a configuration, in JSON.
	if err := a.Client.Patch(ctx, object, client.RawPatch(types.ApplyPatchType, written), options...); err != nil {
		return nil, fmt.Errorf("apply %s %s: %w", *wanted.GetKind(), *wanted.GetName(), err)
	}
	a.HasWritten = true
	object.SetManagedFields(nil) // as it is in the cache
	return object, nil
}

func isAsWanted(known client.Object, document document, sum string) (bool, error) {
	if known.GetAnnotations()[AnnotationHash] != sum {
		return false, nil
	}
	actual := map[string]any{}
	if err := remarshal(known, &actual); err != nil {
		return false, err
	}
	// The cache's typed objects do not say what kind they are.
	actual["apiVersion"], actual["kind"] = document["apiVersion"], document["kind"]
	return contains(actual, map[string]any(document), ""), nil
}

// document is an apply configuration as JSON has it.
type document map[string]any

// hash is that of a configuration's JSON.
func hash(written []byte) string {
	sum := sha256.Sum256(written)
	return hex.EncodeToString(sum[:16])
}

func (d document) metadata() map[string]any { return child(d, "metadata") }

// annotate sets an annotation.
func (d document) annotate(key, value string) { child(d.metadata(), "annotations")[key] = value }

// owners are the UIDs of the document's owners.
func (d document) owners() []string {
	references, _ := d.metadata()["ownerReferences"].([]any)
	var uids []string
	for _, reference := range references {
		fields, _ := reference.(map[string]any)
		uid, _ := fields["uid"].(string)
		uids = append(uids, uid)
	}
	return uids
}

// child is the object under a key; one is made if there is none.
func child(parent map[string]any, key string) map[string]any {
	object, ok := parent[key].(map[string]any)
	if !ok {
		object = map[string]any{}
		parent[key] = object
	}
	return object
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
