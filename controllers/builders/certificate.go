package builders

import (
	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kinds"
)

// Certificate asks cert-manager for a certificate of the shop's hosts.
func Certificate(shop *shopv1.Shop) *kinds.CertificateConfiguration {
	wanted := shop.Spec.Ingress
	spec := kinds.CertificateSpec{
		SecretName: CertificateName(shop),
		IssuerRef: kinds.IssuerRef{
			Name:  wanted.TLS.IssuerRef.Name,
			Kind:  wanted.TLS.IssuerRef.Kind,
			Group: wanted.TLS.IssuerRef.Group,
		},
	}
	for _, host := range []shopv1.HostName{wanted.Host, wanted.NotificationsHost} {
		if host != "" {
			spec.DNSNames = append(spec.DNSNames, string(host))
		}
	}
	return kinds.NewCertificate(metadata(shop, CertificateName(shop), ComponentIngress), spec)
}
