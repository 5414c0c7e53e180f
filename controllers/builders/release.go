package builders

import (
	appsv1 "k8s.io/api/apps/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// Defaults are the operator's own answers to what a Shop leaves open.
type Defaults struct {
	Version       string // of the shop server
	ServerImage   string // repository, without tag
	PostgresImage string // with tag
	RedisImage    string // with tag
	Namespace     string // of the operator; "": it runs outside the cluster
}

// Release is one version of the shop server, as its pods run it.
type Release struct {
	Version string
	Image   string
}

// WantedRelease is the release that the spec asks for.
func WantedRelease(shop *shopv1.Shop, defaults Defaults) Release {
	version := shop.Spec.Version
	if version == "" {
		version = defaults.Version
	}
	image := shop.Spec.Image.Repository
	if image == "" {
		image = defaults.ServerImage
	}
	image += ":" + version
	if digest := shop.Spec.Image.Digest; digest != "" {
		image += "@" + digest
	}
	return Release{Version: version, Image: image}
}

// ReleaseOf is the release that a Deployment of the shop was last moved to, or
// none when it cannot be told.
func ReleaseOf(deployment *appsv1.Deployment) Release {
	for _, container := range deployment.Spec.Template.Spec.Containers {
		if version := deployment.Labels[LabelVersion]; container.Name == serverContainer && version != "" {
			return Release{Version: version, Image: container.Image}
		}
	}
	return Release{}
}
