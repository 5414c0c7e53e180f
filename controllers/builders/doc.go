// Package builders makes the children of a Shop: one file per kind of child,
// each function pure, from the Shop and what is known of the cluster to the
// object as the operator wants it.
//
// A result is an apply configuration: it has the fields that the operator has
// an opinion on and no others, so that whatever someone else sets on a child
// stays theirs. Pod templates follow from the Shop and the version it runs,
// never from the operator's own version: an operator upgrade restarts no pod.
package builders
