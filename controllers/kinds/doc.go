// Package kinds has, of kinds that others define and a cluster may lack, what
// the operator says of them and reads back: cert-manager's Certificate and the
// Prometheus Operator's PodMonitor. Their own modules would bring their whole
// dependencies along.
//
// +kubebuilder:object:generate=true
package kinds
