package kinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

// CertManager is the group and version of Certificate.
var CertManager = schema.GroupVersion{Group: "cert-manager.io", Version: "v1"}

// Certificate is a certificate that cert-manager issues and renews.
//
// +kubebuilder:object:root=true
type Certificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   CertificateSpec   `json:"spec,omitzero"`
	Status CertificateStatus `json:"status,omitzero"`
}

// CertificateList is a list of Certificates.
//
// +kubebuilder:object:root=true
type CertificateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Certificate `json:"items"`
}

// CertificateSpec is what is to be issued.
type CertificateSpec struct {
	SecretName string    `json:"secretName,omitempty"`
	DNSNames   []string  `json:"dnsNames,omitempty"`
	IssuerRef  IssuerRef `json:"issuerRef,omitzero"`
}

// IssuerRef names the issuer.
type IssuerRef struct {
	Name  string `json:"name,omitempty"`
	Kind  string `json:"kind,omitempty"`
	Group string `json:"group,omitempty"`
}

// CertificateStatus says how far it is.
type CertificateStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CertificateConfiguration is an apply configuration of a Certificate.
//
// +kubebuilder:object:generate=false
type CertificateConfiguration struct {
	metav1ac.TypeMetaApplyConfiguration    `json:",inline"`
	*metav1ac.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`

	Spec   *CertificateSpec   `json:"spec,omitempty"`
	Status *CertificateStatus `json:"status,omitempty"`
}

// NewCertificate is the configuration of a Certificate, with nothing in it yet.
func NewCertificate(metadata *metav1ac.ObjectMetaApplyConfiguration, spec CertificateSpec) *CertificateConfiguration {
	return &CertificateConfiguration{
		TypeMetaApplyConfiguration:   *metav1ac.TypeMeta().WithAPIVersion(CertManager.String()).WithKind("Certificate"),
		ObjectMetaApplyConfiguration: metadata,
		Spec:                         &spec,
	}
}

// IsApplyConfiguration marks it as one.
func (CertificateConfiguration) IsApplyConfiguration() {}

// GetAPIVersion is the group and version.
func (c *CertificateConfiguration) GetAPIVersion() *string { return c.APIVersion }

// GetKind is Certificate.
func (c *CertificateConfiguration) GetKind() *string { return c.Kind }

// GetName is the object's name.
func (c *CertificateConfiguration) GetName() *string { return c.Name }

// GetNamespace is the object's namespace.
func (c *CertificateConfiguration) GetNamespace() *string { return c.Namespace }
