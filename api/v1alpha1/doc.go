// Package v1alpha1 is the Shop resource, shopkeeper.dev/v1alpha1: what a
// platform team writes, and what the operator reports back.
//
// Every field of the spec has a default, in the schema where it is static and
// in controllers/builders where it is computed; the operator never writes the
// spec. Rules that a schema cannot say are CEL rules beside the field they
// guard, so the API server itself refuses a bad Shop and no webhook is needed.
//
// +kubebuilder:object:generate=true
// +groupName=shopkeeper.dev
package v1alpha1
