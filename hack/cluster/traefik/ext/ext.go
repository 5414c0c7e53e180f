// Package ext is Traefik's extension point. Its module is a folder of Traefik's
// own tree that is not published, so it is spelled out here: nothing extended.
package ext

// HTTP is embedded in Traefik's dynamic HTTP configuration.
type HTTP struct{}

// Router is embedded in every Traefik HTTP router.
type Router struct{}
