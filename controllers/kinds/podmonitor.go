package kinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

// Monitoring is the group and version of PodMonitor.
var Monitoring = schema.GroupVersion{Group: "monitoring.coreos.com", Version: "v1"}

// PodMonitor tells the Prometheus Operator which pods to scrape.
//
// +kubebuilder:object:root=true
type PodMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PodMonitorSpec `json:"spec,omitzero"`
}

// PodMonitorList is a list of PodMonitors.
//
// +kubebuilder:object:root=true
type PodMonitorList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PodMonitor `json:"items"`
}

// PodMonitorSpec says which pods, and how.
type PodMonitorSpec struct {
	Selector            metav1.LabelSelector `json:"selector,omitzero"`
	PodTargetLabels     []string             `json:"podTargetLabels,omitempty"`
	PodMetricsEndpoints []PodMetricsEndpoint `json:"podMetricsEndpoints,omitempty"`
}

// PodMetricsEndpoint is one port of the pods.
type PodMetricsEndpoint struct {
	Port     string `json:"port,omitempty"`
	Interval string `json:"interval,omitempty"`
}

// PodMonitorConfiguration is an apply configuration of a PodMonitor.
//
// +kubebuilder:object:generate=false
type PodMonitorConfiguration struct {
	metav1ac.TypeMetaApplyConfiguration    `json:",inline"`
	*metav1ac.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`

	Spec *PodMonitorSpec `json:"spec,omitempty"`
}

// NewPodMonitor is the configuration of a PodMonitor.
func NewPodMonitor(metadata *metav1ac.ObjectMetaApplyConfiguration, spec PodMonitorSpec) *PodMonitorConfiguration {
	return &PodMonitorConfiguration{
		TypeMetaApplyConfiguration:   *metav1ac.TypeMeta().WithAPIVersion(Monitoring.String()).WithKind("PodMonitor"),
		ObjectMetaApplyConfiguration: metadata,
		Spec:                         &spec,
	}
}

// IsApplyConfiguration marks it as one.
func (PodMonitorConfiguration) IsApplyConfiguration() {}

// GetAPIVersion is the group and version.
func (c *PodMonitorConfiguration) GetAPIVersion() *string { return c.APIVersion }

// GetKind is PodMonitor.
func (c *PodMonitorConfiguration) GetKind() *string { return c.Kind }

// GetName is the object's name.
func (c *PodMonitorConfiguration) GetName() *string { return c.Name }

// GetNamespace is the object's namespace.
func (c *PodMonitorConfiguration) GetNamespace() *string { return c.Namespace }
