package v1alpha1

// The conditions of a Shop. Ready, Reconciling and Stalled follow kstatus, so
// kubectl, Argo CD and Flux read the health of a Shop with no plug-in:
// Reconciling and Stalled are there only while they are true, and never both.
const (
	// ConditionReady is true while everything the spec asks for is there and
	// serves. Monitoring apart, which nobody buys from.
	ConditionReady = "Ready"
	// ConditionReconciling is true while the operator works towards the spec and
	// expects to arrive by itself.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when the operator cannot go on until someone
	// changes something; its message says what.
	ConditionStalled = "Stalled"

	// ConditionDatabaseReady is true while PostgreSQL accepts connections.
	ConditionDatabaseReady = "DatabaseReady"
	// ConditionRedisReady is true while Redis accepts connections.
	ConditionRedisReady = "RedisReady"
	// ConditionMigrated is true when the database has the schema of the version
	// that the spec asks for.
	ConditionMigrated = "Migrated"
	// ConditionAPIReady is true while every REST pod asked for is available.
	ConditionAPIReady = "APIReady"
	// ConditionNotificationsReady is true while every notification pod asked for
	// is available.
	ConditionNotificationsReady = "NotificationsReady"
	// ConditionIngressReady is true when the Ingress has an address or the
	// HTTPRoutes are accepted. It is absent when the spec asks for neither.
	ConditionIngressReady = "IngressReady"
	// ConditionMonitoringReady is true when the PodMonitor and the dashboard are
	// there. It is absent when the spec asks for neither, and Ready does not wait
	// for it.
	ConditionMonitoringReady = "MonitoringReady"
)

// The reasons a condition gives. They are part of the contract: alerts and
// scripts may match them; messages may change.
const (
	// ReasonAvailable: the component is there and serves.
	ReasonAvailable = "Available"
	// ReasonStarting: its first pods are not ready yet.
	ReasonStarting = "Starting"
	// ReasonRollingOut: pods are being replaced or added.
	ReasonRollingOut = "RollingOut"
	// ReasonDegraded: pods that were there are missing.
	ReasonDegraded = "Degraded"
	// ReasonRolloutStuck: a rollout made no progress within its deadline.
	ReasonRolloutStuck = "RolloutStuck"
	// ReasonTerminating: an older object of the same name is still being deleted.
	ReasonTerminating = "Terminating"
	// ReasonVolumeNotGrown: it serves, from a volume smaller than the spec asks
	// for; the message quotes why the API server refuses the growth.
	ReasonVolumeNotGrown = "VolumeNotGrown"
	// ReasonMajorVersionRefused: it serves, but not the major version of PostgreSQL
	// that the spec asks for, which cannot read the data.
	ReasonMajorVersionRefused = "MajorVersionRefused"
	// ReasonRefused: the API server refused an object; the message quotes it.
	ReasonRefused = "Refused"
	// ReasonNameTaken: an object of that name exists and is not the operator's.
	ReasonNameTaken = "NameTaken"
	// ReasonSecretMissing: a Secret that the spec refers to is not there, or has
	// no such key.
	ReasonSecretMissing = "SecretMissing"
	// ReasonSecretMalformed: what a Secret that the spec refers to holds is not
	// what is needed.
	ReasonSecretMalformed = "SecretMalformed"

	// ReasonMigrated: the migration Job of this version and database succeeded.
	ReasonMigrated = "Migrated"
	// ReasonWaitingForDatabase: the migration starts when PostgreSQL is ready.
	ReasonWaitingForDatabase = "WaitingForDatabase"
	// ReasonWaitingForMigration: no pod starts before the schema is there.
	ReasonWaitingForMigration = "WaitingForMigration"
	// ReasonWaitingForOtherMigration: the Job of another version has to end first.
	ReasonWaitingForOtherMigration = "WaitingForOtherMigration"
	// ReasonMigrationRunning: the migration Job is at work.
	ReasonMigrationRunning = "MigrationRunning"
	// ReasonMigrationBlocked: the pod of the migration Job cannot start.
	ReasonMigrationBlocked = "MigrationBlocked"
	// ReasonMigrationFailed: the migration Job gave up; the message has the end
	// of its log.
	ReasonMigrationFailed = "MigrationFailed"

	// ReasonWaitingForAddress: no ingress controller has taken up the Ingress.
	ReasonWaitingForAddress = "WaitingForAddress"
	// ReasonWaitingForGateway: no Gateway has judged the HTTPRoutes yet.
	ReasonWaitingForGateway = "WaitingForGateway"
	// ReasonRouteNotAccepted: a Gateway refuses an HTTPRoute.
	ReasonRouteNotAccepted = "RouteNotAccepted"
	// ReasonGatewayAPIMissing: the cluster has no HTTPRoute kind.
	ReasonGatewayAPIMissing = "GatewayAPIMissing"

	// ReasonCertManagerMissing: the cluster has no Certificate kind.
	ReasonCertManagerMissing = "CertManagerMissing"
	// ReasonWaitingForCertificate: cert-manager has not issued the certificate yet.
	ReasonWaitingForCertificate = "WaitingForCertificate"
	// ReasonPodMonitorMissing: the cluster has no PodMonitor kind.
	ReasonPodMonitorMissing = "PodMonitorMissing"
	// ReasonNotScaling: it serves, but the autoscaler cannot tell the load; the
	// message quotes it.
	ReasonNotScaling = "NotScaling"

	// ReasonPaused: the spec is paused, and the operator leaves everything as it is.
	ReasonPaused = "Paused"
	// ReasonHibernated: the spec is hibernated, and no pod runs.
	ReasonHibernated = "Hibernated"
	// ReasonRolledBack: a rollout made no progress, and the version before serves.
	ReasonRolledBack = "RolledBack"

	// ReasonImagePullFailed: an image cannot be pulled.
	ReasonImagePullFailed = "ImagePullFailed"
	// ReasonCrashing: a pod ends, or does not start, again and again; the message
	// has its last words.
	ReasonCrashing = "Crashing"
	// ReasonOutOfMemory: a pod needs more memory than its limit.
	ReasonOutOfMemory = "OutOfMemory"
	// ReasonUnschedulable: no node takes a pod.
	ReasonUnschedulable = "Unschedulable"
	// ReasonPodsRefused: Kubernetes makes no pod, for a quota or a policy; the
	// message quotes it.
	ReasonPodsRefused = "PodsRefused"
	// ReasonVolumePending: there is no volume yet; the message quotes why.
	ReasonVolumePending = "VolumePending"
	// ReasonVolumeFull: the volume has no room left, or nearly none.
	ReasonVolumeFull = "VolumeFull"
	// ReasonDatabaseRefuses: the database refuses the login, or is not there; pods
	// try again by themselves, and the migration at least every minute.
	ReasonDatabaseRefuses = "DatabaseRefuses"
	// ReasonRedisRefuses: an external Redis refuses the login.
	ReasonRedisRefuses = "RedisRefuses"
	// ReasonUnreachable: the pods do not reach an external database or Redis.
	ReasonUnreachable = "Unreachable"
	// ReasonHibernating: pods are being stopped.
	ReasonHibernating = "Hibernating"

	// ReasonProgressing: the reason of Reconciling.
	ReasonProgressing = "Progressing"
)
