package v1alpha1_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

var config *rest.Config

func TestMain(m *testing.M) { kubetest.Main(m, &config) }

// TestRefusals has a Shop for every rule of the schema, and the message that
// its writer gets.
func TestRefusals(t *testing.T) {
	longName := strings.Repeat("a", 41)
	for _, test := range []struct{ name, spec, message string }{
		{"version with v", `version: v0.1.0`, `spec.version: Invalid value: "v0.1.0": must be a semantic version with no leading v and no build metadata, such as 0.1.0 or 0.2.0-rc.1`},
		{"version with build metadata", `version: 0.1.0+a`, `spec.version: Invalid value: "0.1.0+a": must be a semantic version`},
		{"version that is a number", `version: 0.1`, `spec.version: Invalid value: "number": spec.version in body must be of type string`},
		{"repository with tag", `image: {repository: "example.com/server:1"}`, `spec.image.repository: Invalid value: "example.com/server:1": must be a repository with no tag or digest, such as ghcr.io/shopkeeper-dev/server: the tag is spec.version, the digest spec.image.digest`},
		{"repository with digest", `image: {repository: "example.com/server@sha256:00"}`, `spec.image.repository: Invalid value: "example.com/server@sha256:00": must be a repository`},
		{"short digest", `image: {digest: "sha256:00"}`, `spec.image.digest: Invalid value: "sha256:00": must be sha256: followed by 64 hexadecimal digits`},
		{"pull policy", `image: {pullPolicy: Sometimes}`, `spec.image.pullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`},
		{"negative replicas", `api: {replicas: -1}`, `spec.api.replicas: Invalid value: -1: spec.api.replicas in body should be greater than or equal to 0`},
		{"too many replicas", `notifications: {replicas: 501}`, `spec.notifications.replicas: Invalid value: 501: spec.notifications.replicas in body should be less than or equal to 500`},
		{"label of the operator's", `api: {podLabels: {app.kubernetes.io/name: x}}`, `spec.api.podLabels: Invalid value: keys under app.kubernetes.io/ and shopkeeper.dev/ are the operator's own: choose another prefix`},
		{"annotation of the operator's", `api: {podAnnotations: {shopkeeper.dev/secrets-hash: x}}`, `spec.api.podAnnotations: Invalid value: keys under shopkeeper.dev/ are the operator's own: choose another prefix`},
		{"variable of the operator's", `api: {env: [{name: SHOP_DATABASE_URL, value: x}]}`, `spec.api.env: Invalid value: the operator sets SHOP_DATABASE_URL, `},
		{"drain too long", `notifications: {drainSeconds: 601}`, `spec.notifications.drainSeconds: Invalid value: 601: spec.notifications.drainSeconds in body should be less than or equal to 600`},
		{"origin without scheme", `notifications: {allowedOrigins: [shop.example.com]}`, `spec.notifications.allowedOrigins: Invalid value: each must be "*" or scheme://host[:port] with no path, such as https://shop.example.com`},
		{"origin with path", `notifications: {allowedOrigins: ["https://shop.example.com/"]}`, `spec.notifications.allowedOrigins: Invalid value: each must be "*"`},
		{"database without a mode", `database: {}`, `spec.database: Invalid value: needs a mode: set external.urlSecretRef to use a PostgreSQL of yours, or managed: {} for one of the shop's own`},
		{"two databases", `database: {managed: {}, external: {urlSecretRef: {name: x}}}`, `spec.database: Invalid value: set managed or external, not both`},
		{"external database without Secret", `database: {external: {}}`, `spec.database.external.urlSecretRef: Required value`},
		{"URL without name", `redis: {external: {urlSecretRef: {key: url}}}`, `spec.redis.external.urlSecretRef.name: Required value`},
		{"two Redis", `redis: {managed: {}, external: {urlSecretRef: {name: x}}}`, `spec.redis: Invalid value: set managed or external, not both`},
		{"version of PostgreSQL that is none", `database: {managed: {version: latest}}`, `spec.database.managed.version: Invalid value: "latest": must be a version of PostgreSQL, such as 17 or 17.6`},
		{"version and image of PostgreSQL", `database: {managed: {version: "17", image: "postgres:17"}}`, `spec.database.managed: Invalid value: set version or image, not both: the image's tag is a version already`},
		{"redis without a mode", `redis: {}`, `spec.redis: Invalid value: needs a mode: set external.urlSecretRef to use a Redis of yours, or managed: {} for one of the shop's own`},
		{"parameter of the operator's", `database: {managed: {parameters: {port: "1"}}}`, `spec.database.managed.parameters: Invalid value: the operator sets listen_addresses, port, unix_socket_directories and the paths of files itself: remove them`},
		{"parameter that is none", `database: {managed: {parameters: {"a b": "1"}}}`, `spec.database.managed.parameters: Invalid value: each key must be the name of a PostgreSQL parameter, such as max_connections`},
		{"parameter that is a number", `database: {managed: {parameters: {max_connections: 200}}}`, `spec.database.managed.parameters.max_connections: Invalid value: "integer": spec.database.managed.parameters.max_connections in body must be of type string`},
		{"small database", `database: {managed: {storage: {size: 1Mi}}}`, `spec.database.managed.storage.size: Invalid value: "1Mi": must be at least 1Gi`},
		{"small redis", `redis: {managed: {storage: {size: 1}}}`, `spec.redis.managed.storage.size: Invalid value: 1: must be at least 100Mi`},
		{"size that is none", `database: {managed: {storage: {size: big}}}`, `spec.database.managed.storage.size: Invalid value: "big": spec.database.managed.storage.size in body should match`},
		{"host with scheme", `ingress: {host: "https://shop.example.com"}`, `spec.ingress.host: Invalid value: "https://shop.example.com": must be a host name in lower case such as shop.example.com, with no scheme, port, path or wildcard`},
		{"host with port", `ingress: {host: "shop.example.com:8000"}`, `spec.ingress.host: Invalid value: "shop.example.com:8000": must be a host name`},
		{"host in upper case", `ingress: {host: Shop.example.com}`, `spec.ingress.host: Invalid value: "Shop.example.com": must be a host name`},
		{"both ways in", `ingress: {ingress: {}, gateway: {parentRefs: [{name: x}]}}`, `spec.ingress: Invalid value: set ingress or gateway, not both`},
		{"notifications host alone", `ingress: {notificationsHost: ws.example.com}`, `spec.ingress: Invalid value: notificationsHost needs host beside it`},
		{"the same host twice", `ingress: {host: shop.example.com, notificationsHost: shop.example.com}`, `spec.ingress: Invalid value: notificationsHost must differ from host: leave it out to serve notifications at /ws/ of host`},
		{"certificate with gateway", `ingress: {gateway: {parentRefs: [{name: x}]}, tls: {secretName: x}}`, `spec.ingress: Invalid value: with gateway the certificate belongs to the Gateway's listener: remove tls.secretName and tls.issuerRef; tls: {} says that its addresses are https`},
		{"issuer with gateway", `ingress: {host: localhost, gateway: {parentRefs: [{name: x}]}, tls: {issuerRef: {name: x}}}`, `spec.ingress: Invalid value: with gateway the certificate belongs to the Gateway's listener`},
		{"issuer without host", `ingress: {tls: {issuerRef: {name: x}}}`, `spec.ingress: Invalid value: tls.issuerRef needs host: a certificate is made out to a name`},
		{"issuer and Secret", `ingress: {host: localhost, tls: {secretName: x, issuerRef: {name: x}}}`, `spec.ingress.tls: Invalid value: set secretName or issuerRef, not both: the certificate of an issuer is kept in Secret <shop>-tls`},
		{"issuer without name", `ingress: {host: localhost, tls: {issuerRef: {}}}`, `spec.ingress.tls.issuerRef.name: Required value`},
		{"gateway without parents", `ingress: {gateway: {parentRefs: []}}`, `spec.ingress.gateway.parentRefs: Invalid value: 0: spec.ingress.gateway.parentRefs in body should have at least 1 items`},
		{"parent without name", `ingress: {gateway: {parentRefs: [{}]}}`, `spec.ingress.gateway.parentRefs[0].name: Required value`},
		{"proxy that is no network", `ingress: {trustedProxies: ["10.0.0.1"]}`, `spec.ingress.trustedProxies: Invalid value: each must be a network in CIDR notation, such as 10.0.0.0/8`},
		{"annotation of the operator's on the Ingress", `ingress: {ingress: {annotations: {shopkeeper.dev/applied-hash: x}}}`, `spec.ingress.ingress.annotations: Invalid value: keys under shopkeeper.dev/ are the operator's own: choose another prefix`},
		{"token for a second", `auth: {accessTokenTTL: 1s}`, `spec.auth.accessTokenTTL: Invalid value: "1s": must be a duration between 1m and 24h, such as 15m or 1h30m`},
		{"token for two days", `auth: {accessTokenTTL: 48h}`, `spec.auth.accessTokenTTL: Invalid value: "48h": must be a duration between 1m and 24h`},
		{"duration in days", `auth: {refreshTokenTTL: 7d}`, `spec.auth.refreshTokenTTL: Invalid value: "7d": must be a duration between 1m and 2160h (90 days), such as 168h for a week`},
		{"access longer than refresh", `auth: {accessTokenTTL: 2h, refreshTokenTTL: 1h}`, `spec.auth: Invalid value: accessTokenTTL must not be longer than refreshTokenTTL`},
		{"secret without name", `auth: {signingKeySecretRef: {key: x}}`, `spec.auth.signingKeySecretRef.name: Required value`},
		{"email that is none", `admin: {email: admin}`, `spec.admin.email: Invalid value: "admin": must be an e-mail address such as admin@example.com`},
		{"rollback to somewhere", `rollback: Never`, `spec.rollback: Unsupported value: "Never": supported values: "Manual", "Auto"`},
		{"deletion of some", `deletionPolicy: Orphan`, `spec.deletionPolicy: Unsupported value: "Orphan": supported values: "Retain", "Delete"`},
		{"paused by word", `paused: "yes"`, `spec.paused: Invalid value: "string": spec.paused in body must be of type boolean`},
		{"hibernated by number", `hibernated: 1`, `spec.hibernated: Invalid value: "integer": spec.hibernated in body must be of type boolean`},
		{"autoscaling without a most", `api: {autoscaling: {}}`, `spec.api.autoscaling.maxReplicas: Required value`},
		{"autoscaling upside down", `api: {autoscaling: {minReplicas: 5, maxReplicas: 4}}`, `spec.api.autoscaling: Invalid value: minReplicas must not be more than maxReplicas`},
		{"autoscaling to one", `notifications: {autoscaling: {maxReplicas: 1}}`, `spec.notifications.autoscaling: Invalid value: minReplicas must not be more than maxReplicas`},
		{"autoscaling to none", `api: {autoscaling: {minReplicas: 0, maxReplicas: 4}}`, `spec.api.autoscaling.minReplicas: Invalid value: 0: spec.api.autoscaling.minReplicas in body should be greater than or equal to 1`},
		{"autoscaling beyond", `api: {autoscaling: {maxReplicas: 501}}`, `spec.api.autoscaling.maxReplicas: Invalid value: 501: spec.api.autoscaling.maxReplicas in body should be less than or equal to 500`},
		{"autoscaling for no load", `api: {autoscaling: {maxReplicas: 4, targetCPUUtilization: 0}}`, `spec.api.autoscaling.targetCPUUtilization: Invalid value: 0: `},
		{"autoscaling by what is not requested", `api: {autoscaling: {maxReplicas: 4}, resources: {limits: {memory: 1Gi}}}`, `spec.api: Invalid value: autoscaling by CPU needs resources.requests.cpu: set it, or leave resources out for the default of 100m`},
		{"the same of the notifications", `notifications: {autoscaling: {maxReplicas: 4}, resources: {requests: {memory: 1Gi}}}`, `spec.notifications: Invalid value: autoscaling by CPU needs resources.requests.cpu`},
		{"autoscaling for no socket", `notifications: {autoscaling: {maxReplicas: 4, targetConnections: 0}}`, `spec.notifications.autoscaling.targetConnections: Invalid value: 0: `},
		{"sockets of the API", `api: {autoscaling: {maxReplicas: 4, targetConnections: 1}}`, `unknown field "spec.api.autoscaling.targetConnections"`},
		{"spread over nothing", `api: {topologySpread: [{maxSkew: 2}]}`, `spec.api.topologySpread[0].topologyKey: Required value`},
		{"spread over the same twice", `api: {topologySpread: [{topologyKey: zone}, {topologyKey: zone}]}`, `spec.api.topologySpread[1]: Duplicate value: {"topologyKey":"zone"}`},
		{"spread with no skew", `api: {topologySpread: [{topologyKey: zone, maxSkew: 0}]}`, `spec.api.topologySpread[0].maxSkew: Invalid value: 0: `},
		{"spread or else", `api: {topologySpread: [{topologyKey: zone, whenUnsatisfiable: Fail}]}`, `spec.api.topologySpread[0].whenUnsatisfiable: Unsupported value: "Fail": supported values: "ScheduleAnyway", "DoNotSchedule"`},
		{"priority that is no name", `api: {priorityClass: High Priority}`, `spec.api.priorityClass: Invalid value: "High Priority": must be the name of a PriorityClass: those there are show with kubectl get priorityclasses`},
		{"rate without unit", `api: {rateLimits: {login: "10"}}`, `spec.api.rateLimits.login: Invalid value: "10": must be a count per s, m, h or d, such as 10/m, or off`},
		{"rate of nothing", `api: {rateLimits: {user: 0/m}}`, `spec.api.rateLimits.user: Invalid value: "0/m": must be a count per s, m, h or d`},
		{"rate beyond counting", `api: {rateLimits: {user: 1000001/s}}`, `spec.api.rateLimits.user: Invalid value: "1000001/s": must be a count`},
		{"limit that is none", `api: {rateLimits: {checkout: 1/m}}`, `unknown field "spec.api.rateLimits.checkout"`},
		{"CORS origin with path", `api: {corsOrigins: ["https://shop.example.com/"]}`, `spec.api.corsOrigins: Invalid value: each must be "*" or scheme://host[:port] with no path, such as https://shop.example.com`},
		{"setting that has a field", `api: {env: [{name: SHOP_RATE_LIMITS, value: "off"}]}`, `spec.api.env: Invalid value: the operator sets SHOP_DATABASE_URL, `},
		{"interval of a day", `monitoring: {podMonitor: {interval: 24h}}`, `spec.monitoring.podMonitor.interval: Invalid value: "24h": must be a duration between 1s and 1h, such as 30s`},
		{"monitor label of the operator's", `monitoring: {podMonitor: {labels: {app.kubernetes.io/name: x}}}`, `spec.monitoring.podMonitor.labels: Invalid value: keys under app.kubernetes.io/ and shopkeeper.dev/ are the operator's own: choose another prefix`},
		{"dashboard label of the operator's", `monitoring: {dashboard: {labels: {shopkeeper.dev/x: x}}}`, `spec.monitoring.dashboard.labels: Invalid value: keys under app.kubernetes.io/ and shopkeeper.dev/ are the operator's own: choose another prefix`},
		{"dashboard label that is none", `monitoring: {dashboard: {labels: {"grafana dashboard": "1"}}}`, `spec.monitoring.dashboard.labels: Invalid value: each key must be the name of a label, such as team or example.com/team: at most 63 letters, digits, '-', '_' and '.'`},
		{"dashboard label of no value", `monitoring: {dashboard: {labels: {grafana_dashboard: "yes, please"}}}`, `spec.monitoring.dashboard.labels[grafana_dashboard]: Invalid value: "yes, please": must be the value of a label: letters, digits, '-', '_' and '.', with a letter or a digit at either end`},
		{"dashboard labels without end", `monitoring: {dashboard: {labels: {` + manyLabels(51) + `}}}`, `spec.monitoring.dashboard.labels: Too many: 51: must have at most 50 items`},
		{"monitor label that is none", `monitoring: {podMonitor: {labels: {example.com/a/b: x}}}`, `spec.monitoring.podMonitor.labels: Invalid value: each key must be the name of a label`},
		{"monitor label too long", `monitoring: {podMonitor: {labels: {a: ` + strings.Repeat("a", 64) + `}}}`, `spec.monitoring.podMonitor.labels.a: Too long: may not be more than 63 bytes`},
		{"pod label that is none", `api: {podLabels: {-a: x}}`, `spec.api.podLabels: Invalid value: each key must be the name of a label`},
		{"pod label of no value", `notifications: {podLabels: {a: x-}}`, `spec.notifications.podLabels[a]: Invalid value: "x-": must be the value of a label`},
		{"policy by word", `networkPolicy: {enabled: "on"}`, `spec.networkPolicy.enabled: Invalid value: "string": spec.networkPolicy.enabled in body must be of type boolean`},
		{"policy with a port", `networkPolicy: {clients: [{ports: [80]}]}`, `unknown field "spec.networkPolicy.clients[0].ports"`},
		{"unknown field", `replicas: 3`, `unknown field "spec.replicas"`},
		{"unknown field deep down", `database: {managed: {size: 3Gi}}`, `unknown field "spec.database.managed.size"`},
		{"long name", ``, `metadata.name must have at most 40 characters: the names of the shop's Jobs and Services are built on it`},
		{"name with a digit first", ``, `metadata.name must start with a letter and have only a-z, 0-9 and '-': the names of the shop's Services are built on it`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t)
			shop := parse(t, test.spec)
			shop.SetNamespace(kubetest.Namespace(t, c))
			switch test.name {
			case "long name":
				shop.SetName(longName)
			case "name with a digit first":
				shop.SetName("1st")
			}
			err := c.Create(kubetest.Context(t), shop)
			if err == nil {
				t.Fatalf("accepted, and it should say: %s", test.message)
			}
			if !strings.Contains(err.Error(), test.message) {
				t.Errorf("says:\n%v\ninstead of:\n%s", err, test.message)
			}
		})
	}
}

func manyLabels(count int) string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("a%d: x", i))
	}
	return strings.Join(all, ", ")
}

// TestChangesRefused has the rules about what cannot change.
func TestChangesRefused(t *testing.T) {
	for _, test := range []struct{ name, before, after, message string }{
		{"major version", `database: {managed: {version: "16"}}`, `database: {managed: {version: "17"}}`, `spec.database.managed.version: Invalid value: version cannot change to another major one, which cannot read the data: put it back, or make a new Shop and move the data with pg_dump`},
		{"class", `database: {managed: {storage: {className: a}}}`, `database: {managed: {storage: {className: b}}}`, `spec.database.managed.storage: Invalid value: className cannot change once the volume exists: put it back, or make a new Shop and move the data`},
		{"class added", `redis: {managed: {}}`, `redis: {managed: {storage: {className: b}}}`, `spec.redis.managed.storage: Invalid value: className cannot change`},
		{"class taken away", `redis: {managed: {storage: {className: b}}}`, ``, `spec.redis.managed.storage: Invalid value: className cannot change`},
		{"shrink", `database: {managed: {storage: {size: 20Gi}}}`, `database: {managed: {storage: {size: 19Gi}}}`, `spec.database.managed.storage.size: Invalid value: "19Gi": a volume cannot shrink: put back the size it had, or more`},
		{"shrink to the default", `database: {managed: {storage: {size: 20Gi}}}`, ``, `a volume cannot shrink`},
		{"shrink from the default", ``, `redis: {managed: {storage: {size: 500Mi}}}`, `a volume cannot shrink`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t)
			shop := parse(t, test.before)
			shop.SetNamespace(kubetest.Namespace(t, c))
			if err := c.Create(kubetest.Context(t), shop); err != nil {
				t.Fatal(err)
			}
			shop.Object["status"] = map[string]any{"schemaVersion": int64(1)} // there are data
			if err := c.Status().Update(kubetest.Context(t), shop); err != nil {
				t.Fatal(err)
			}
			shop.Object["spec"] = parse(t, test.after).Object["spec"]
			kubetest.MustContain(t, c.Update(kubetest.Context(t), shop), test.message)
		})
	}
}

// TestAccepted has Shops at the edges of what is allowed, and those that only
// name a thing or two.
func TestAccepted(t *testing.T) {
	for name, spec := range map[string]string{
		"nothing":                 ``,
		"empty parts":             `{api: {}, notifications: {}, image: {}, auth: {}, admin: {}, ingress: {}}`,
		"release candidate":       `version: 1.20.300-rc.1`,
		"registry with a port":    `image: {repository: "registry.example.com:5000/team/shop_server"}`,
		"local repository":        `image: {repository: localhost/shopkeeper-server}`,
		"no pods":                 `{api: {replicas: 0}, notifications: {replicas: 0, drainSeconds: 0}}`,
		"size as a number":        `database: {managed: {storage: {size: 2147483648}}}`,
		"only a class":            `database: {managed: {storage: {className: fast}}}`,
		"local host":              `ingress: {host: localhost}`,
		"https by the controller": `ingress: {host: shop.example.com, tls: {}}`,
		"gateway":                 `ingress: {host: shop.example.com, notificationsHost: ws.example.com, gateway: {parentRefs: [{name: edge, namespace: gateways, sectionName: https, port: 443}]}, tls: {}}`,
		"IPv6 proxies":            `ingress: {trustedProxies: ["fd00::/8"]}`,
		"equal lives":             `auth: {accessTokenTTL: 1h, refreshTokenTTL: 60m}`,
		"any origin":              `notifications: {allowedOrigins: ["*", "http://localhost:3000"]}`,
		"autoscaling":             `{api: {autoscaling: {maxReplicas: 10}}, notifications: {autoscaling: {minReplicas: 1, maxReplicas: 1, targetConnections: 5000}, resources: {limits: {cpu: 1}}}}`,
		"external servers":        `{database: {external: {urlSecretRef: {name: database}}}, redis: {external: {urlSecretRef: {name: redis, key: address}}}}`,
		"issued certificate":      `ingress: {host: shop.example.com, tls: {issuerRef: {name: letsencrypt, kind: ClusterIssuer}}}`,
		"no limits":               `api: {rateLimits: {login: "off", register: "off", reset: "off", anonymous: "off", user: 1000/s}}`,
		"peers":                   `networkPolicy: {clients: [{namespaceSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], scrapers: [{podSelector: {}}]}`,
		"monitoring":              `monitoring: {podMonitor: {interval: 30s, labels: {release: prometheus}}, dashboard: {}}`,
		"all states":              `{paused: true, hibernated: true, deletionPolicy: Delete, rollback: Auto}`,
		"spread and priority":     `api: {topologySpread: [{topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}], priorityClass: system-cluster-critical}`,
		"labels":                  `{api: {podLabels: {team: Web, example.com/a.b_c: ""}}, monitoring: {dashboard: {labels: {grafana_dashboard: "1"}}}}`,
		"a setting more":          `api: {env: [{name: SHOP_LOG_LEVEL, value: debug}, {name: OTEL_TOKEN, valueFrom: {secretKeyRef: {name: a, key: b}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			shop := parse(t, spec)
			shop.SetNamespace(kubetest.Namespace(t, c))
			if err := c.Create(kubetest.Context(t), shop); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSamples: each Shop of config/samples is one that the API server takes as
// it stands.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile("../../config/samples/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if name == "kustomization.yaml" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(listed), "- "+name+"\n") {
				t.Error("kustomization.yaml does not list it")
			}
			document, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t)
			namespace := kubetest.Namespace(t, c)
			for part := range strings.SplitSeq(string(document), "\n---\n") {
				object := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte(part), &object.Object); err != nil {
					t.Fatal(err)
				}
				object.SetNamespace(namespace)
				if err := c.Create(kubetest.Context(t), object); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestGrowth: a volume may grow, in whatever unit it is written.
func TestGrowth(t *testing.T) {
	c := newClient(t)
	shop := parse(t, `database: {managed: {storage: {size: 1024Mi}}}`)
	shop.SetNamespace(kubetest.Namespace(t, c))
	if err := c.Create(kubetest.Context(t), shop); err != nil {
		t.Fatal(err)
	}
	for _, size := range []any{"1Gi", "2Gi", int64(3 << 30)} {
		if err := unstructured.SetNestedField(shop.Object, size, "spec", "database", "managed", "storage", "size"); err != nil {
			t.Fatal(err)
		}
		if err := c.Update(kubetest.Context(t), shop); err != nil {
			t.Errorf("%v: %v", size, err)
		}
	}
}

// TestDefaults: what the schema fills in is what the documentation says.
func TestDefaults(t *testing.T) {
	c := newClient(t)
	shop := parse(t, ``)
	shop.SetNamespace(kubetest.Namespace(t, c))
	if err := c.Create(kubetest.Context(t), shop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"api.replicas":                  "2",
		"notifications.replicas":        "2",
		"notifications.drainSeconds":    "30",
		"image.pullPolicy":              "IfNotPresent",
		"version":                       "<nil>",
		"database.managed.storage.size": "10Gi",
		"redis.managed.storage.size":    "1Gi",
		"auth.accessTokenTTL":           "15m",
		"auth.refreshTokenTTL":          "168h",
		"admin.email":                   "admin@example.com",
		"ingress":                       "<nil>",
		"rollback":                      "Manual",
		"deletionPolicy":                "Retain",
		"paused":                        "false",
		"hibernated":                    "false",
		"api.rateLimits.login":          "10/m",
		"networkPolicy.enabled":         "true",
		"monitoring.podMonitor":         "<nil>",
		"api.autoscaling":               "<nil>",
	} {
		got, _, err := unstructured.NestedFieldNoCopy(shop.Object, append([]string{"spec"}, strings.Split(path, ".")...)...)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("spec.%s is %v (%v), want %s", path, got, err, want)
		}
	}
}

// TestScale: kubectl scale changes the API's replicas.
func TestScale(t *testing.T) {
	c := newClient(t)
	shop := parse(t, ``)
	shop.SetNamespace(kubetest.Namespace(t, c))
	if err := c.Create(kubetest.Context(t), shop); err != nil {
		t.Fatal(err)
	}
	scale := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": map[string]any{"replicas": int64(5)}}}
	if err := c.SubResource("scale").Update(kubetest.Context(t), shop, client.WithSubResourceBody(scale)); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(kubetest.Context(t), client.ObjectKeyFromObject(shop), shop); err != nil {
		t.Fatal(err)
	}
	if replicas, _, _ := unstructured.NestedInt64(shop.Object, "spec", "api", "replicas"); replicas != 5 {
		t.Errorf("spec.api.replicas is %d", replicas)
	}
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// parse reads the YAML of a spec the way a user writes it.
func parse(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	document := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &document); err != nil {
		t.Fatal(err)
	}
	shop := &unstructured.Unstructured{Object: map[string]any{"spec": document}}
	shop.SetGroupVersionKind(shopv1.GroupVersion.WithKind("Shop"))
	shop.SetName("acme")
	return shop
}
