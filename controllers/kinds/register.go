package kinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// AddToScheme registers the kinds.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(CertManager, &Certificate{}, &CertificateList{})
	scheme.AddKnownTypes(Monitoring, &PodMonitor{}, &PodMonitorList{})
	metav1.AddToGroupVersion(scheme, CertManager)
	metav1.AddToGroupVersion(scheme, Monitoring)
	return nil
}
