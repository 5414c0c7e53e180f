package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Shop is one web shop: a REST API, notifications over WebSocket, and the
// PostgreSQL and Redis they need. `spec: {}` is a working one.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories={all,shopkeeper}
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.api.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Version,type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name=API,type=string,JSONPath=`.status.pods.api`
// +kubebuilder:printcolumn:name=Notifications,type=string,JSONPath=`.status.pods.notifications`
// +kubebuilder:printcolumn:name=URL,type=string,JSONPath=`.status.endpoints.api`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name=Database,type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="DatabaseReady")].reason`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40",message="metadata.name must have at most 40 characters: the names of the shop's Jobs and Services are built on it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must start with a letter and have only a-z, 0-9 and '-': the names of the shop's Services are built on it"
// +kubebuilder:validation:XValidation:rule="!has(self.status) || !has(self.status.schemaVersion) || !has(self.spec.database.managed) || !has(self.spec.database.managed.version) || !has(oldSelf.spec.database.managed) || !has(oldSelf.spec.database.managed.version) || self.spec.database.managed.version.split('.')[0] == oldSelf.spec.database.managed.version.split('.')[0]",message="version cannot change to another major one, which cannot read the data: put it back, or make a new Shop and move the data with pg_dump",fieldPath=".spec.database.managed.version"
type Shop struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	Spec   ShopSpec   `json:"spec,omitzero"`
	Status ShopStatus `json:"status,omitzero"`
}

// ShopList is a list of Shops.
//
// +kubebuilder:object:root=true
type ShopList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Shop `json:"items"`
}

// ShopSpec is what a Shop should be. Every field may be left out.
type ShopSpec struct {
	// Version of the shop server, which is the tag of its image. Default: the
	// operator's own version. A new version migrates the database before any pod
	// of it starts.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$')",message="must be a semantic version with no leading v and no build metadata, such as 0.1.0 or 0.2.0-rc.1"
	Version string `json:"version,omitempty"`

	// Rollback says what becomes of a rollout that makes no progress: Manual leaves
	// it to you, Auto returns the shop to the last version that served. The schema
	// of the database stays: the version before runs on it too.
	//
	// +kubebuilder:default=Manual
	Rollback RollbackPolicy `json:"rollback,omitempty"`

	// Paused makes the operator leave everything as it is, until it is false again.
	//
	// +kubebuilder:default=false
	Paused bool `json:"paused,omitempty"`

	// Hibernated stops every pod of the shop. Its data, Secrets and addresses
	// stay.
	//
	// +kubebuilder:default=false
	Hibernated bool `json:"hibernated,omitempty"`

	// DeletionPolicy says what becomes of the data when the Shop is deleted: Retain
	// keeps the volumes and the Secrets, so that the same Shop applied again goes
	// on with them; Delete deletes them. What is external is never touched.
	//
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Image of the shop server.
	//
	// +kubebuilder:default={}
	Image Image `json:"image,omitzero"`

	// API is the REST API.
	//
	// +kubebuilder:default={}
	API API `json:"api,omitzero"`

	// Notifications is the WebSocket listener.
	//
	// +kubebuilder:default={}
	Notifications Notifications `json:"notifications,omitzero"`

	// Database is where the shop keeps its data; exactly one mode.
	//
	// +kubebuilder:default={managed: {}}
	Database Database `json:"database,omitzero"`

	// Redis carries notifications between pods; exactly one mode.
	//
	// +kubebuilder:default={managed: {}}
	Redis Redis `json:"redis,omitzero"`

	// Ingress leads to the shop from outside the cluster. Without it there are
	// Services only.
	//
	// +optional
	Ingress *Ingress `json:"ingress,omitempty"`

	// Auth is about the tokens that clients log in with.
	//
	// +kubebuilder:default={}
	Auth Auth `json:"auth,omitzero"`

	// Admin is the first staff user.
	//
	// +kubebuilder:default={}
	Admin Admin `json:"admin,omitzero"`

	// Monitoring leads Prometheus and Grafana to the shop.
	//
	// +kubebuilder:default={}
	Monitoring Monitoring `json:"monitoring,omitzero"`

	// NetworkPolicy says who may connect to the shop's pods.
	//
	// +kubebuilder:default={}
	NetworkPolicy NetworkPolicy `json:"networkPolicy,omitzero"`
}

// RollbackPolicy is what becomes of a rollout that makes no progress.
//
// +kubebuilder:validation:Enum=Manual;Auto
type RollbackPolicy string

// The rollback policies.
const (
	RollbackManual RollbackPolicy = "Manual"
	RollbackAuto   RollbackPolicy = "Auto"
)

// DeletionPolicy is what becomes of the data of a Shop that is deleted.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// The deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// Image says where the shop server's image comes from. Its tag is the version.
type Image struct {
	// Repository of the image, without tag or digest. Default: the operator's
	// --server-image.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]+([._:/-]+[a-z0-9]+)*$') && !self.matches(':[^/]*$')",message="must be a repository with no tag or digest, such as ghcr.io/shopkeeper-dev/server: the tag is spec.version, the digest spec.image.digest"
	Repository string `json:"repository,omitempty"`

	// Digest pins the image, whatever the tag points to later.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:XValidation:rule="self.matches('^sha256:[0-9a-f]{64}$')",message="must be sha256: followed by 64 hexadecimal digits"
	Digest string `json:"digest,omitempty"`

	// PullPolicy of every container of the shop.
	//
	// +kubebuilder:default=IfNotPresent
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	PullPolicy corev1.PullPolicy `json:"pullPolicy,omitempty"`

	// PullSecrets are Secrets of the Shop's namespace with the registry's
	// credentials.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	PullSecrets []corev1.LocalObjectReference `json:"pullSecrets,omitempty"`
}

// Pods is what both roles of the server have in common: how many pods, and
// what they are like.
type Pods struct {
	// Replicas is how many pods run. For the API, `kubectl scale shop` sets it.
	// While autoscaling is set it has no effect: it is the count to go to when
	// autoscaling is taken away.
	//
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=500
	Replicas *int32 `json:"replicas,omitempty"`

	// Resources of one pod.
	//
	// +kubebuilder:default={requests: {cpu: "100m", memory: "64Mi"}, limits: {memory: "512Mi"}}
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`

	// NodeSelector that a node must match.
	//
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of node taints.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Affinity of the pods. They spread over the nodes without it.
	//
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// TopologySpread says how evenly pods spread over zones, nodes or whatever else
	// the nodes' labels tell. Default: over zones and over nodes, as evenly as
	// there is room.
	//
	// +optional
	// +listType=map
	// +listMapKey=topologyKey
	// +kubebuilder:validation:MaxItems=10
	TopologySpread []TopologySpread `json:"topologySpread,omitempty"`

	// PriorityClass of the pods. Default: the cluster's default.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of a PriorityClass: those there are show with kubectl get priorityclasses"
	PriorityClass string `json:"priorityClass,omitempty"`

	// PodLabels are added to the pods.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=50
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('shopkeeper.dev/'))",message="keys under app.kubernetes.io/ and shopkeeper.dev/ are the operator's own: choose another prefix"
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="each key must be the name of a label, such as team or example.com/team: at most 63 letters, digits, '-', '_' and '.'"
	PodLabels map[string]LabelValue `json:"podLabels,omitempty"`

	// PodAnnotations are added to the pods.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=50
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('shopkeeper.dev/'))",message="keys under shopkeeper.dev/ are the operator's own: choose another prefix"
	PodAnnotations map[string]string `json:"podAnnotations,omitempty"`

	// Env adds settings of the server, such as SHOP_LOG_LEVEL or OTEL_*.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:XValidation:rule="self.all(env, !(env.name in ['SHOP_DATABASE_URL','SHOP_DATABASE_URL_FILE','SHOP_REDIS_URL','SHOP_REDIS_URL_FILE','SHOP_SIGNING_KEYS','SHOP_SIGNING_KEYS_FILE','SHOP_ADMIN_EMAIL','SHOP_ADMIN_PASSWORD','SHOP_ADMIN_PASSWORD_FILE','SHOP_ROLES','SHOP_API_ADDR','SHOP_NOTIFICATIONS_ADDR','SHOP_METRICS_ADDR','SHOP_ISSUER','SHOP_PUBLIC_URL','SHOP_TRUSTED_PROXIES','SHOP_PUBLIC_CATALOG','SHOP_ALLOWED_ORIGINS','SHOP_CORS_ORIGINS','SHOP_RATE_LIMITS','SHOP_ACCESS_TOKEN_TTL','SHOP_REFRESH_TOKEN_TTL','SHOP_DRAIN_SECONDS','SHOP_LOG_FORMAT']))",message="the operator sets SHOP_DATABASE_URL, SHOP_REDIS_URL, SHOP_SIGNING_KEYS, SHOP_ADMIN_*, SHOP_ROLES, SHOP_*_ADDR, SHOP_ISSUER, SHOP_PUBLIC_URL, SHOP_TRUSTED_PROXIES, SHOP_PUBLIC_CATALOG, SHOP_ALLOWED_ORIGINS, SHOP_CORS_ORIGINS, SHOP_RATE_LIMITS, SHOP_*_TOKEN_TTL, SHOP_DRAIN_SECONDS and SHOP_LOG_FORMAT itself: use the field of the spec instead"
	Env []corev1.EnvVar `json:"env,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="must be the value of a label: letters, digits, '-', '_' and '.', with a letter or a digit at either end"
type LabelValue string

// TopologySpread bounds how unevenly pods spread over the values of a node label.
type TopologySpread struct {
	// TopologyKey is the label of the nodes, such as topology.kubernetes.io/zone.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	TopologyKey string `json:"topologyKey"`

	// MaxSkew is how many pods more one value of the label may have than another.
	//
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxSkew int32 `json:"maxSkew,omitempty"`

	// WhenUnsatisfiable says what becomes of a pod that would go beyond it:
	// ScheduleAnyway starts it all the same, DoNotSchedule lets it wait.
	//
	// +kubebuilder:default=ScheduleAnyway
	// +kubebuilder:validation:Enum=ScheduleAnyway;DoNotSchedule
	WhenUnsatisfiable corev1.UnsatisfiableConstraintAction `json:"whenUnsatisfiable,omitempty"`
}

// Autoscaling lets a HorizontalPodAutoscaler set how many pods run.
//
// +kubebuilder:validation:XValidation:rule="self.minReplicas <= self.maxReplicas",message="minReplicas must not be more than maxReplicas"
type Autoscaling struct {
	// MinReplicas is the least that run.
	//
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// MaxReplicas is the most that run.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	MaxReplicas int32 `json:"maxReplicas"`

	// TargetCPUUtilization is how busy the pods are kept, in percent of the CPU
	// that they request. The cluster needs metrics-server for it.
	//
	// +kubebuilder:default=75
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	TargetCPUUtilization *int32 `json:"targetCPUUtilization,omitempty"`
}

// NotificationsAutoscaling is by CPU and by open sockets: the one that asks for
// more pods wins.
type NotificationsAutoscaling struct {
	Autoscaling `json:",inline"`

	// TargetConnections is how many open sockets a pod is to have on average. The
	// cluster needs a custom metrics API for it that serves the pods' metric
	// shop_notification_sockets, such as the one of prometheus-adapter.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	TargetConnections *int32 `json:"targetConnections,omitempty"`
}

// API is the REST API of the shop.
//
// +kubebuilder:validation:XValidation:rule="!has(self.autoscaling) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits)",message="autoscaling by CPU needs resources.requests.cpu: set it, or leave resources out for the default of 100m"
type API struct {
	Pods `json:",inline"`

	// Autoscaling lets the load set how many pods run, instead of replicas.
	//
	// +optional
	Autoscaling *Autoscaling `json:"autoscaling,omitempty"`

	// RateLimits bound how often clients may ask.
	//
	// +kubebuilder:default={}
	RateLimits RateLimits `json:"rateLimits,omitzero"`

	// CORSOrigins are the web origins whose scripts may use the API, such as
	// https://shop.example.com; "*" allows any.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=300
	// +kubebuilder:validation:XValidation:rule="self.all(origin, origin == '*' || origin.matches('^https?://[^/,?#@ ]+$'))",message="each must be \"*\" or scheme://host[:port] with no path, such as https://shop.example.com"
	CORSOrigins []string `json:"corsOrigins,omitempty"`

	// PublicCatalog lets anyone read products and categories without a token.
	//
	// +kubebuilder:default=false
	PublicCatalog bool `json:"publicCatalog,omitempty"`
}

// RateLimits bound how often a client may ask, counted over all pods.
type RateLimits struct {
	// Login bounds the tries to log in from one address.
	//
	// +kubebuilder:default="10/m"
	Login Rate `json:"login,omitempty"`

	// Register bounds the new users from one address.
	//
	// +kubebuilder:default="5/m"
	Register Rate `json:"register,omitempty"`

	// Reset bounds the password resets asked for from one address.
	//
	// +kubebuilder:default="3/m"
	Reset Rate `json:"reset,omitempty"`

	// Anonymous bounds all that one address without a token asks.
	//
	// +kubebuilder:default="120/m"
	Anonymous Rate `json:"anonymous,omitempty"`

	// User bounds all that one user asks.
	//
	// +kubebuilder:default="600/m"
	User Rate `json:"user,omitempty"`
}

// Rate is a count per second, minute, hour or day, such as 10/m, or off.
//
// +kubebuilder:validation:MaxLength=12
// +kubebuilder:validation:XValidation:rule="self.matches('^(off|[1-9][0-9]{0,5}/[smhd])$')",message="must be a count per s, m, h or d, such as 10/m, or off"
type Rate string

// RateOff is no limit.
const RateOff Rate = "off"

// Notifications is the WebSocket listener of the shop.
//
// +kubebuilder:validation:XValidation:rule="!has(self.autoscaling) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits)",message="autoscaling by CPU needs resources.requests.cpu: set it, or leave resources out for the default of 100m"
type Notifications struct {
	Pods `json:",inline"`

	// Autoscaling lets the load set how many pods run, instead of replicas.
	//
	// +optional
	Autoscaling *NotificationsAutoscaling `json:"autoscaling,omitempty"`

	// DrainSeconds is how long a stopping pod spreads the closing of its sockets
	// over, so that clients do not all reconnect at once.
	//
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=600
	DrainSeconds *int32 `json:"drainSeconds,omitempty"`

	// AllowedOrigins may open a socket from a browser, such as
	// https://shop.example.com; "*" allows any.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=300
	// +kubebuilder:validation:XValidation:rule="self.all(origin, origin == '*' || origin.matches('^https?://[^/,?#@ ]+$'))",message="each must be \"*\" or scheme://host[:port] with no path, such as https://shop.example.com"
	AllowedOrigins []string `json:"allowedOrigins,omitempty"`
}

// Database is where the shop keeps its data.
//
// +kubebuilder:validation:XValidation:rule="has(self.managed) || has(self.external)",message="needs a mode: set external.urlSecretRef to use a PostgreSQL of yours, or managed: {} for one of the shop's own"
// +kubebuilder:validation:XValidation:rule="!(has(self.managed) && has(self.external))",message="set managed or external, not both"
type Database struct {
	// Managed is one PostgreSQL that the operator runs.
	//
	// +optional
	Managed *ManagedDatabase `json:"managed,omitempty"`

	// External is a PostgreSQL that someone else runs.
	//
	// +optional
	External *ExternalServer `json:"external,omitempty"`
}

// ExternalServer is a server that the operator does not run.
type ExternalServer struct {
	// URLSecretRef is a key of a Secret of yours with the server's URL, login
	// included: postgres://user:password@host:5432/name for PostgreSQL,
	// redis://:password@host:6379/0 or rediss:// for Redis: a single one, any node
	// of a Cluster, or a Sentinel with ?master_name=name&addr=other:26379 behind.
	// Its key defaults to url.
	//
	// +required
	URLSecretRef SecretKeyRef `json:"urlSecretRef"`
}

// ManagedDatabase is a PostgreSQL StatefulSet with one pod and one volume.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.version) && has(self.image))",message="set version or image, not both: the image's tag is a version already"
type ManagedDatabase struct {
	// Version of PostgreSQL, such as 17 or 17.6: the tag of the operator's
	// --postgres-image. Default: the one of that image at the time the shop was
	// made; later operators do not change it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]?([.][0-9]+)?$')",message="must be a version of PostgreSQL, such as 17 or 17.6"
	Version string `json:"version,omitempty"`

	// Image of PostgreSQL, following the contract of the official image. Default:
	// the operator's --postgres-image at the time the shop was made; later
	// operators do not change it.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitzero"`

	// Storage of the data. It stays when the Shop is deleted.
	//
	// +kubebuilder:default={}
	Storage DatabaseStorage `json:"storage,omitzero"`

	// Resources of the pod.
	//
	// +kubebuilder:default={requests: {cpu: "100m", memory: "256Mi"}, limits: {memory: "1Gi"}}
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`

	// Parameters of postgresql.conf, such as max_connections: "200". A change
	// restarts PostgreSQL.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=100
	// +kubebuilder:validation:XValidation:rule="self.all(name, !(name in ['listen_addresses','port','data_directory','config_file','hba_file','ident_file','external_pid_file','unix_socket_directories']))",message="the operator sets listen_addresses, port, unix_socket_directories and the paths of files itself: remove them"
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 63 && name.matches('^[A-Za-z_][A-Za-z0-9_.]*$'))",message="each key must be the name of a PostgreSQL parameter, such as max_connections"
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Redis carries notifications between pods and counts rate limits.
//
// +kubebuilder:validation:XValidation:rule="has(self.managed) || has(self.external)",message="needs a mode: set external.urlSecretRef to use a Redis of yours, or managed: {} for one of the shop's own"
// +kubebuilder:validation:XValidation:rule="!(has(self.managed) && has(self.external))",message="set managed or external, not both"
type Redis struct {
	// Managed is one Redis or Valkey that the operator runs.
	//
	// +optional
	Managed *ManagedRedis `json:"managed,omitempty"`

	// External is a Redis or Valkey that someone else runs.
	//
	// +optional
	External *ExternalServer `json:"external,omitempty"`
}

// ManagedRedis is a Redis or Valkey StatefulSet with one pod and one volume.
type ManagedRedis struct {
	// Image of Redis or Valkey. Default: the operator's --redis-image at the time
	// the shop was made; later operators do not change it.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitzero"`

	// Storage of the append-only file. It stays when the Shop is deleted.
	//
	// +kubebuilder:default={}
	Storage RedisStorage `json:"storage,omitzero"`

	// Resources of the pod. Redis itself uses at most three quarters of the
	// memory limit.
	//
	// +kubebuilder:default={requests: {cpu: "50m", memory: "64Mi"}, limits: {memory: "256Mi"}}
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`
}

// DatabaseStorage is the volume of PostgreSQL.
type DatabaseStorage struct {
	// Size of the volume. It can grow where the storage class allows it.
	//
	// +kubebuilder:default="10Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Gi')) >= 0",message="must be at least 1Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",message="a volume cannot shrink: put back the size it had, or more"
	Size *resource.Quantity `json:"size,omitempty"`

	StorageClass `json:",inline"`
}

// RedisStorage is the volume of Redis.
type RedisStorage struct {
	// Size of the volume. It can grow where the storage class allows it.
	//
	// +kubebuilder:default="1Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('100Mi')) >= 0",message="must be at least 100Mi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",message="a volume cannot shrink: put back the size it had, or more"
	Size *resource.Quantity `json:"size,omitempty"`

	StorageClass `json:",inline"`
}

// StorageClass says who makes a volume.
//
// +kubebuilder:validation:XValidation:rule="has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)",message="className cannot change once the volume exists: put it back, or make a new Shop and move the data"
type StorageClass struct {
	// ClassName of the StorageClass. Default: the cluster's default class.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClassName *string `json:"className,omitempty"`
}

// Ingress leads to the shop from outside the cluster: by an Ingress, or by
// HTTPRoutes when gateway is set.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.ingress) && has(self.gateway))",message="set ingress or gateway, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.notificationsHost) || has(self.host)",message="notificationsHost needs host beside it"
// +kubebuilder:validation:XValidation:rule="!has(self.notificationsHost) || !has(self.host) || self.notificationsHost != self.host",message="notificationsHost must differ from host: leave it out to serve notifications at /ws/ of host"
// +kubebuilder:validation:XValidation:rule="!(has(self.gateway) && has(self.tls) && (has(self.tls.secretName) || has(self.tls.issuerRef)))",message="with gateway the certificate belongs to the Gateway's listener: remove tls.secretName and tls.issuerRef; tls: {} says that its addresses are https"
// +kubebuilder:validation:XValidation:rule="!(has(self.tls) && has(self.tls.issuerRef)) || has(self.host)",message="tls.issuerRef needs host: a certificate is made out to a name"
type Ingress struct {
	// Host of the REST API at / and, unless notificationsHost is set, of the
	// notifications at /ws/. Default: any host.
	//
	// +optional
	Host HostName `json:"host,omitempty"`

	// NotificationsHost serves the notifications under a host of their own.
	//
	// +optional
	NotificationsHost HostName `json:"notificationsHost,omitempty"`

	// Ingress is about the Ingress object. Without it and without gateway the
	// cluster's default ingress class is used.
	//
	// +optional
	Ingress *IngressObject `json:"ingress,omitempty"`

	// Gateway attaches HTTPRoutes to Gateways of the Gateway API instead.
	//
	// +optional
	Gateway *Gateway `json:"gateway,omitempty"`

	// TLS makes the addresses https and wss.
	//
	// +optional
	TLS *TLS `json:"tls,omitempty"`

	// TrustedProxies are the networks that ingress controllers connect from; only
	// from there are X-Forwarded-* headers believed. Default: the private ones.
	//
	// +kubebuilder:default={"10.0.0.0/8","172.16.0.0/12","192.168.0.0/16","fc00::/7"}
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=50
	// +kubebuilder:validation:XValidation:rule="self.all(network, isCIDR(network))",message="each must be a network in CIDR notation, such as 10.0.0.0/8"
	TrustedProxies []string `json:"trustedProxies,omitempty"`
}

// HostName is a DNS name.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$')",message="must be a host name in lower case such as shop.example.com, with no scheme, port, path or wildcard"
type HostName string

// IngressObject is about the Ingress object.
type IngressObject struct {
	// ClassName of the IngressClass. Default: the cluster's default class.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClassName *string `json:"className,omitempty"`

	// Annotations of the Ingress, for its controller. None is needed.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=50
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('shopkeeper.dev/'))",message="keys under shopkeeper.dev/ are the operator's own: choose another prefix"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Gateway is about the HTTPRoute objects.
type Gateway struct {
	// ParentRefs are the Gateways, or their listeners, that the HTTPRoutes attach
	// to.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	ParentRefs []ParentRef `json:"parentRefs"`
}

// ParentRef names a Gateway.
type ParentRef struct {
	// Name of the Gateway.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Namespace of the Gateway. Default: the Shop's.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`

	// SectionName of one listener. Default: every listener that allows it.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SectionName *string `json:"sectionName,omitempty"`

	// Port of the listeners.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
}

// TLS says who holds the certificate. With neither field it is the ingress
// controller's own.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.secretName) && has(self.issuerRef))",message="set secretName or issuerRef, not both: the certificate of an issuer is kept in Secret <shop>-tls"
type TLS struct {
	// SecretName of the Secret of type kubernetes.io/tls in the Shop's namespace.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName *string `json:"secretName,omitempty"`

	// IssuerRef asks cert-manager for a certificate, which is kept in Secret
	// <shop>-tls.
	//
	// +optional
	IssuerRef *IssuerRef `json:"issuerRef,omitempty"`
}

// IssuerRef names an issuer of cert-manager.
type IssuerRef struct {
	// Name of the issuer.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Kind of the issuer: Issuer of the Shop's namespace, ClusterIssuer, or one of
	// another group.
	//
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`

	// Group of the issuer.
	//
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// Auth is about the tokens that clients log in with.
//
// +kubebuilder:validation:XValidation:rule="!has(self.accessTokenTTL) || !has(self.refreshTokenTTL) || duration(self.accessTokenTTL) <= duration(self.refreshTokenTTL)",message="accessTokenTTL must not be longer than refreshTokenTTL"
type Auth struct {
	// SigningKeySecretRef is a key of a Secret of yours with kid:secret pairs,
	// commas between; the first one signs, all verify. Its key defaults to
	// signing-keys. Default: made into Secret <shop>-auth.
	//
	// +optional
	SigningKeySecretRef *SecretKeyRef `json:"signingKeySecretRef,omitempty"`

	// AccessTokenTTL is how long an access token is good.
	//
	// +kubebuilder:default="15m"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="must be a duration between 1m and 24h, such as 15m or 1h30m"
	AccessTokenTTL Duration `json:"accessTokenTTL,omitempty"`

	// RefreshTokenTTL is how long a refresh token is good.
	//
	// +kubebuilder:default="168h"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('2160h')",message="must be a duration between 1m and 2160h (90 days), such as 168h for a week"
	RefreshTokenTTL Duration `json:"refreshTokenTTL,omitempty"`

	// Issuer of the tokens; no other shop's tokens are good here. Default:
	// <namespace>/<name>. A change logs everyone out.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Issuer string `json:"issuer,omitempty"`
}

// Duration is a length of time as Go writes it, such as 1h30m. It is a string
// and not a metav1.Duration so that the schema can bound it and it reads back
// as it was written.
//
// +kubebuilder:validation:MaxLength=40
type Duration string

// Admin is the first staff user, made when the shop first starts. Another
// password in the Secret becomes the user's.
type Admin struct {
	// Email to log in with.
	//
	// +kubebuilder:default="admin@example.com"
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^@ ]+@[^@ ]+[.][^@ ]+$')",message="must be an e-mail address such as admin@example.com"
	Email string `json:"email,omitempty"`

	// PasswordSecretRef is a key of a Secret of yours with the password. Its key
	// defaults to password. Default: made into Secret <shop>-admin.
	//
	// +optional
	PasswordSecretRef *SecretKeyRef `json:"passwordSecretRef,omitempty"`
}

// Monitoring leads Prometheus and Grafana to the shop.
type Monitoring struct {
	// PodMonitor makes a PodMonitor of the Prometheus Operator, so that Prometheus
	// scrapes the shop's pods.
	//
	// +optional
	PodMonitor *PodMonitor `json:"podMonitor,omitempty"`

	// Dashboard makes a ConfigMap with a Grafana dashboard of the shop.
	//
	// +optional
	Dashboard *Dashboard `json:"dashboard,omitempty"`
}

// PodMonitor is about the PodMonitor object.
type PodMonitor struct {
	// Interval between two scrapes. Default: Prometheus's own.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration between 1s and 1h, such as 30s"
	Interval Duration `json:"interval,omitempty"`

	// Labels are added, for a Prometheus that selects PodMonitors by label.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=50
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('shopkeeper.dev/'))",message="keys under app.kubernetes.io/ and shopkeeper.dev/ are the operator's own: choose another prefix"
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="each key must be the name of a label, such as team or example.com/team: at most 63 letters, digits, '-', '_' and '.'"
	Labels map[string]LabelValue `json:"labels,omitempty"`
}

// Dashboard is about the ConfigMap with the dashboard.
type Dashboard struct {
	// Labels by which Grafana finds it.
	//
	// +kubebuilder:default={grafana_dashboard: "1"}
	// +kubebuilder:validation:MaxProperties=50
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('shopkeeper.dev/'))",message="keys under app.kubernetes.io/ and shopkeeper.dev/ are the operator's own: choose another prefix"
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="each key must be the name of a label, such as team or example.com/team: at most 63 letters, digits, '-', '_' and '.'"
	Labels map[string]LabelValue `json:"labels,omitempty"`
}

// NetworkPolicy says who may connect to the shop's pods. PostgreSQL and Redis
// are reached by the shop's own pods only, and reach nothing themselves. The
// server's own connections, such as to a collector of traces, are not bounded.
type NetworkPolicy struct {
	// Enabled makes NetworkPolicies. The cluster's network has to enforce them.
	//
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`

	// Clients may connect to the API and to the notifications: the ingress
	// controller, as a rule, and pods that use the Services. Default: everyone.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Clients []networkingv1.NetworkPolicyPeer `json:"clients,omitempty"`

	// Scrapers may connect to the metrics. Default: the pods of any namespace that
	// are labelled app.kubernetes.io/name: prometheus.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Scrapers []networkingv1.NetworkPolicyPeer `json:"scrapers,omitempty"`
}

// SecretKeyRef names one key of a Secret in the Shop's namespace.
type SecretKeyRef struct {
	// Name of the Secret.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Key within the Secret.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// ShopStatus is what a Shop is.
type ShopStatus struct {
	// ObservedGeneration is the generation of the spec that the rest of the
	// status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions say how each part is doing, and what to do next when it is not
	// doing well.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Version that serves: the last one whose rollout was complete.
	//
	// +optional
	Version string `json:"version,omitempty"`

	// SchemaVersion of the database, as the last migration reported it.
	//
	// +optional
	SchemaVersion int64 `json:"schemaVersion,omitempty"`

	// History is of the versions that served, the newest first.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	History []ServedRelease `json:"history,omitempty"`

	// Endpoints of the shop.
	//
	// +optional
	Endpoints Endpoints `json:"endpoints,omitzero"`

	// Pods that are available, of those asked for.
	//
	// +optional
	Pods PodCounts `json:"pods,omitzero"`

	// Replicas of the API, for the scale subresource.
	//
	// +optional
	Replicas int32 `json:"replicas"`

	// Selector of the API's pods, for the scale subresource.
	//
	// +optional
	Selector string `json:"selector,omitempty"`

	// Connections are the open sockets, about: a change of less than a tenth is not
	// told. They are known where notifications.autoscaling.targetConnections is set,
	// from the autoscaler.
	//
	// +optional
	Connections *int64 `json:"connections,omitempty"`
}

// ServedRelease is a version whose rollout was once complete.
type ServedRelease struct {
	// Version of the shop server.
	//
	// +required
	Version string `json:"version"`

	// Image that it ran.
	//
	// +required
	Image string `json:"image"`

	// Since is when its rollout was complete.
	//
	// +required
	Since metav1.Time `json:"since"`
}

// Endpoints are the addresses of a shop.
type Endpoints struct {
	// API is the base URL of the REST API.
	//
	// +optional
	API string `json:"api,omitzero"`

	// Notifications is the base URL of the notifications; the user's id and a
	// slash follow.
	//
	// +optional
	Notifications string `json:"notifications,omitzero"`
}

// PodCounts are pods in the form available/desired, such as 2/2.
type PodCounts struct {
	// API pods.
	//
	// +optional
	API string `json:"api,omitzero"`

	// Notifications pods.
	//
	// +optional
	Notifications string `json:"notifications,omitzero"`
}
