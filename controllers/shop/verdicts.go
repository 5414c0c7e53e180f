package shop

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kinds"
)

// verdict is how one part of a shop is doing: a condition in the making.
type verdict struct {
	condition string
	state     state
	reason    string
	message   string
}

type state int

const (
	progressing state = iota // will come by itself
	ready
	stalled // someone has to do something
	asleep  // it does not serve, and should not
)

// judge looks at each part of a shop. The first one that is not ready is what
// the shop waits for.
func judge(shop *shopv1.Shop, observed *observation, plan *plan, failed failures) []verdict {
	verdicts := []verdict{
		judgeDatabase(shop, observed, plan),
		judgeRedis(shop, observed),
		judgeMigration(shop, observed, plan),
		judgeServer(shop, observed, plan, shopv1.ConditionAPIReady, builders.APIName(shop), builders.ComponentAPI),
		judgeServer(shop, observed, plan, shopv1.ConditionNotificationsReady, builders.NotificationsName(shop), builders.ComponentNotifications),
	}
	if shop.Spec.Ingress != nil {
		verdicts = append(verdicts, judgeIngress(shop, observed))
	}
	if wantsMonitoring(shop) {
		verdicts = append(verdicts, judgeMonitoring(shop, observed))
	}
	for i := range verdicts {
		if shop.Spec.Hibernated {
			verdicts[i] = judgeSleep(observed, verdicts[i])
		}
		verdicts[i] = failed.weigh(shop, verdicts[i])
	}
	return verdicts
}

// judgeSleep changes the verdict on a part that has no pods in hibernation.
func judgeSleep(observed *observation, awake verdict) verdict {
	components := map[string]builders.Component{
		shopv1.ConditionDatabaseReady: builders.ComponentDatabase, shopv1.ConditionRedisReady: builders.ComponentRedis,
		shopv1.ConditionAPIReady: builders.ComponentAPI, shopv1.ConditionNotificationsReady: builders.ComponentNotifications,
	}
	component, hasPods := components[awake.condition]
	switch left := len(podsOf(observed, component)); {
	case awake.condition == shopv1.ConditionMigrated && awake.reason == shopv1.ReasonWaitingForDatabase:
		return verdict{awake.condition, asleep, shopv1.ReasonHibernated, "The database is migrated when the shop wakes."}
	case !hasPods:
		return awake
	case left > 0:
		return verdict{awake.condition, progressing, shopv1.ReasonHibernating, fmt.Sprintf("%d of its pods have not stopped yet.", left)}
	default:
		return verdict{awake.condition, asleep, shopv1.ReasonHibernated, "No pod runs, as spec.hibernated says."}
	}
}

// weigh changes the verdict on a part of which the API server refused an object.
func (f failures) weigh(shop *shopv1.Shop, judged verdict) verdict {
	condition := judged.condition
	for _, failure := range f {
		if conditionOf(shop, failure.key) != condition || !isRefusal(failure.err) {
			continue
		}
		if failure.key.kind == "PersistentVolumeClaim" {
			if judged.state == ready {
				return verdict{condition, ready, shopv1.ReasonVolumeNotGrown, fmt.Sprintf(
					"It serves, but its volume stays as it is: %v. Let the storage class allow expansion, or move the data to a new Shop.", failure.err)}
			}
			continue
		}
		if taken, ok := errors.AsType[*apply.TakenError](failure.err); ok {
			return verdict{condition, stalled, shopv1.ReasonNameTaken, fmt.Sprintf(
				"%s %s exists and was not made by the operator. Delete it, or give the Shop another name; to let the Shop have it, label it %s=%s.",
				taken.Kind, taken.Name, builders.LabelManagedBy, builders.ManagedBy)}
		}
		return verdict{condition, stalled, shopv1.ReasonRefused, fmt.Sprintf(
			"The API server refuses: %v. It is tried again until the cause is mended.", failure.err)}
	}
	return judged
}

// conditionOf is the condition that a child's failure is told in.
func conditionOf(shop *shopv1.Shop, child key) string {
	switch {
	case child.kind == "Job":
		return shopv1.ConditionMigrated
	case child.kind == "Ingress" || child.kind == kindHTTPRoute || child.kind == kindCertificate:
		return shopv1.ConditionIngressReady
	case child.kind == kindPodMonitor || child.kind == "ConfigMap":
		return shopv1.ConditionMonitoringReady
	case child.name == builders.DatabaseName(shop), child.name == builders.DataClaimName(builders.DatabaseName(shop)):
		return shopv1.ConditionDatabaseReady
	case child.name == builders.RedisName(shop), child.name == builders.DataClaimName(builders.RedisName(shop)):
		return shopv1.ConditionRedisReady
	case child.name == builders.NotificationsName(shop):
		return shopv1.ConditionNotificationsReady
	default:
		return shopv1.ConditionAPIReady
	}
}

func judgeDatabase(shop *shopv1.Shop, observed *observation, plan *plan) verdict {
	if shop.Spec.Database.External != nil {
		return judgeExternal(shop, observed, shopv1.ConditionDatabaseReady, "PostgreSQL", shopv1.ReasonDatabaseRefuses, builders.ComponentDatabase, builders.DatabaseURLRef(shop))
	}
	judged := judgeData(shop, observed, shopv1.ConditionDatabaseReady, "PostgreSQL", builders.DatabaseName(shop))
	if plan.refused != "" && judged.state == ready {
		return verdict{judged.condition, stalled, shopv1.ReasonMajorVersionRefused, fmt.Sprintf(
			"PostgreSQL serves on as it is: %s is of another major version, which cannot read the data. Remove version and image from spec.database.managed to stay with the one that can, or make a new Shop and move the data with pg_dump.", plan.refused)}
	}
	return judged
}

func judgeRedis(shop *shopv1.Shop, observed *observation) verdict {
	if shop.Spec.Redis.External != nil {
		return judgeExternal(shop, observed, shopv1.ConditionRedisReady, "Redis", shopv1.ReasonRedisRefuses, builders.ComponentRedis, builders.RedisURLRef(shop))
	}
	return judgeData(shop, observed, shopv1.ConditionRedisReady, "Redis", builders.RedisName(shop))
}

// judgeExternal knows where the server's URL is. Whether it answers, the pods
// say that use it.
func judgeExternal(shop *shopv1.Shop, observed *observation, condition, what, refuses string, component builders.Component, url shopv1.SecretKeyRef) verdict {
	if verdict, bad := judgeSecrets(observed, condition, component); bad {
		return verdict
	}
	at := fmt.Sprintf("key %q of Secret %s", url.Key, url.Name)
	switch whatIsSaid(shop, observed, condition) {
	case saysRefused:
		return verdict{condition, stalled, refuses, fmt.Sprintf(
			"%s refuses the login that pods have from %s. Put the right URL into the Secret, or let %s take this one; pods try again by themselves.", what, at, what)}
	case saysUnreachable:
		return verdict{condition, progressing, shopv1.ReasonUnreachable, fmt.Sprintf(
			"Pods do not reach %s by the URL in %s. See that it runs and that no firewall or NetworkPolicy is in between, or put the right URL into the Secret; pods try again by themselves.", what, at)}
	default:
		return verdict{condition, ready, shopv1.ReasonAvailable, fmt.Sprintf("It is external; its URL is in %s.", at)}
	}
}

func judgeData(shop *shopv1.Shop, observed *observation, condition, what, name string) verdict {
	set := find[*appsv1.StatefulSet](observed.children, "StatefulSet", name)
	if set != nil && set.DeletionTimestamp == nil && set.Status.ReadyReplicas == 0 {
		if found := troubleWithData(observed, set); found != nil {
			return verdict{condition, found.state, found.reason, found.message}
		}
	}
	describe := fmt.Sprintf("kubectl -n %s describe pod %s-0", shop.Namespace, name)
	switch {
	case set == nil:
		return verdict{condition, progressing, shopv1.ReasonStarting, what + " is about to be set up."}
	case set.DeletionTimestamp != nil:
		return terminating(condition, "StatefulSet", name)
	case shop.Status.Version == "" && set.Status.ReadyReplicas == 0:
		return verdict{condition, progressing, shopv1.ReasonStarting, fmt.Sprintf("%s starts for the first time. If that takes long: %s", what, describe)}
	case set.Status.ObservedGeneration < set.Generation,
		set.Status.UpdateRevision != set.Status.CurrentRevision && set.Status.UpdatedReplicas < 1:
		return verdict{condition, progressing, shopv1.ReasonRollingOut, what + " restarts with a changed configuration."}
	case set.Status.ReadyReplicas > 0:
		return verdict{condition, ready, shopv1.ReasonAvailable, what + " accepts connections."}
	default:
		return verdict{condition, progressing, shopv1.ReasonDegraded, fmt.Sprintf("The pod of %s is not ready. To see why: %s", what, describe)}
	}
}

func judgeMigration(shop *shopv1.Shop, observed *observation, plan *plan) verdict {
	m := plan.migration
	judgement := func(state state, format string, arguments ...any) verdict {
		return verdict{shopv1.ConditionMigrated, state, m.reason, fmt.Sprintf(format, arguments...)}
	}
	version := m.release.Version
	switch m.reason {
	case shopv1.ReasonMigrated:
		return judgement(ready, "The database has the schema of version %s.", version)
	case shopv1.ReasonMigrationFailed:
		return judgement(stalled, "Job %s of version %s failed: %s\n%sTo try again, mend the cause and delete the Job (kubectl -n %s delete job %s), or set another version or image.",
			m.job.Name, version, failureText(m, observed.migrationPods), goesOn(plan), shop.Namespace, m.job.Name)
	case shopv1.ReasonDatabaseRefuses:
		url := builders.DatabaseURLRef(shop)
		return judgement(stalled, "The database refuses the login of key %q of Secret %s: %s\n%sPut the right URL into the Secret, or let the database take this one; it is tried again every minute.",
			url.Key, url.Name, failureText(m, observed.migrationPods), goesOn(plan))
	case shopv1.ReasonWaitingForOtherMigration:
		return judgement(progressing, "The migration to version %s starts when Job %s has ended. To follow it: kubectl -n %s logs job/%s",
			version, m.job.Name, shop.Namespace, m.job.Name)
	case shopv1.ReasonMigrationBlocked:
		return judgement(progressing, "Job %s makes no headway: %s %sTo see more: kubectl -n %s describe pods -l %s",
			m.job.Name, whatBlocks(m.job, observed), goesOn(plan), shop.Namespace, builders.Selector(shop, builders.ComponentMigration))
	case shopv1.ReasonMigrationRunning:
		return judgement(progressing, "The database is being brought to the schema of version %s. To follow it: kubectl -n %s logs -l %s --tail=-1",
			version, shop.Namespace, builders.Selector(shop, builders.ComponentMigration))
	default:
		return judgement(progressing, "The migration to version %s starts when PostgreSQL accepts connections.", version)
	}
}

// failureText is the end of a failed Job's log or, when no pod of it ever ran,
// what the Job itself says.
func failureText(m migration, pods []corev1.Pod) string {
	if words := strings.TrimSpace(lastWords(m.job, pods)); words != "" {
		return words
	}
	for _, condition := range m.job.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && condition.Message != "" {
			return condition.Message
		}
	}
	return "it left no word."
}

// goesOn says which version serves while another one does not get through.
func goesOn(plan *plan) string {
	if plan.release.Version == "" {
		return ""
	}
	return fmt.Sprintf("Version %s goes on serving. ", plan.release.Version)
}

func judgeServer(shop *shopv1.Shop, observed *observation, plan *plan, condition, name string, component builders.Component) verdict {
	deployment := find[*appsv1.Deployment](observed.children, "Deployment", name)
	if verdict, bad := judgeSecrets(observed, condition, component); bad {
		return verdict
	}
	switch {
	case deployment == nil && plan.release.Version == "":
		return verdict{condition, progressing, shopv1.ReasonWaitingForMigration, "Pods start when the database has the schema of their version; see the condition Migrated."}
	case deployment == nil:
		return verdict{condition, progressing, shopv1.ReasonStarting, fmt.Sprintf("Deployment %s is about to be made.", name)}
	case deployment.DeletionTimestamp != nil:
		return terminating(condition, "Deployment", name)
	}
	if found := troubleWithServer(observed, deployment, component); found != nil {
		return verdict{condition, found.state, found.reason, found.message}
	}
	return judgeRollout(shop, observed, plan, deployment, condition, component)
}

// judgeRollout says how far the pods of a Deployment are.
func judgeRollout(shop *shopv1.Shop, observed *observation, plan *plan, deployment *appsv1.Deployment, condition string, component builders.Component) verdict {
	counts := fmt.Sprintf("%d of %d pods of version %s are available.", deployment.Status.AvailableReplicas, desired(deployment), plan.release.Version)
	look := fmt.Sprintf("%s To see why: kubectl -n %s describe pods -l %s", counts, shop.Namespace, builders.Selector(shop, component))
	progress := deploymentCondition(deployment, appsv1.DeploymentProgressing)
	switch {
	case plan.failed.Version != "" && component == builders.ComponentAPI && isRolledOut(deployment):
		return verdict{condition, stalled, shopv1.ReasonRolledBack, fmt.Sprintf(
			"The rollout of version %s made no progress, and version %s serves again. Set another version or image; to try the same again: kubectl -n %s annotate deployment %s %s-",
			plan.failed.Version, plan.release.Version, shop.Namespace, deployment.Name, builders.AnnotationRolledBack)}
	case isRolledOut(deployment):
		if complaint := whyNotScaling(observed, deployment.Name); complaint != "" {
			return verdict{condition, ready, shopv1.ReasonNotScaling, fmt.Sprintf(
				"%s Their number stays as it is, since the autoscaler cannot tell the load: %s. See that the cluster has metrics-server, and for sockets a custom metrics API.", counts, strings.TrimSuffix(complaint, "."))}
		}
		return verdict{condition, ready, shopv1.ReasonAvailable, counts}
	case progress.Status == corev1.ConditionFalse && isObserved(deployment):
		return verdict{condition, stalled, shopv1.ReasonRolloutStuck, "The rollout makes no progress: " + look}
	case progress.Reason == "NewReplicaSetAvailable" && isObserved(deployment) && isUpdated(deployment):
		return verdict{condition, progressing, shopv1.ReasonDegraded, look}
	default:
		old := deployment.Status.Replicas - deployment.Status.UpdatedReplicas
		return verdict{condition, progressing, shopv1.ReasonRollingOut, fmt.Sprintf("%s %d are of its newest template, %d of an older one.", counts, deployment.Status.UpdatedReplicas, max(old, 0))}
	}
}

// judgeSecrets says which Secrets of others a component does not work with.
func judgeSecrets(observed *observation, condition string, component builders.Component) (verdict, bool) {
	reason, problems := shopv1.ReasonSecretMalformed, []string(nil)
	for _, unfit := range observed.unfit {
		if !slices.Contains(unfit.Users, component) {
			continue
		}
		if unfit.missing {
			reason = shopv1.ReasonSecretMissing
			problems = append(problems, fmt.Sprintf("%s asks for key %q of Secret %s, and there is none: make it, or correct the reference.",
				unfit.Field, unfit.Ref.Key, unfit.Ref.Name))
			continue
		}
		problems = append(problems, fmt.Sprintf("Key %q of Secret %s, which %s refers to, cannot be used: %v. Put right what is in it; what runs goes on with what it started with.",
			unfit.Ref.Key, unfit.Ref.Name, unfit.Field, unfit.problem))
	}
	return verdict{condition, stalled, reason, strings.Join(problems, " ")}, len(problems) > 0
}

func judgeIngress(shop *shopv1.Shop, observed *observation) verdict {
	if verdict, bad := judgeSecrets(observed, shopv1.ConditionIngressReady, builders.ComponentIngress); bad {
		return verdict
	}
	if !wantsGateway(shop) {
		object := judgeIngressObject(shop, observed)
		if certificate, ok := judgeCertificate(shop, observed); !ok && (object.state == ready || certificate.state == stalled) {
			return certificate
		}
		return object
	}
	if !observed.kinds[kindHTTPRoute] {
		return verdict{shopv1.ConditionIngressReady, stalled, shopv1.ReasonGatewayAPIMissing,
			"spec.ingress.gateway needs the kind HTTPRoute of gateway.networking.k8s.io/v1, and the cluster has none: install the Gateway API and a controller of it, or use spec.ingress.ingress."}
	}
	for _, name := range []string{builders.APIName(shop), builders.NotificationsName(shop)} {
		route := find[*gatewayv1.HTTPRoute](observed.children, "HTTPRoute", name)
		if verdict, ok := judgeRoute(shop, name, route); !ok {
			return verdict
		}
	}
	return verdict{shopv1.ConditionIngressReady, ready, shopv1.ReasonAvailable, "The Gateways accept the HTTPRoutes."}
}

// judgeCertificate says whether the certificate that the spec asks for is there.
func judgeCertificate(shop *shopv1.Shop, observed *observation) (verdict, bool) {
	if !wantsCertificate(shop) {
		return verdict{}, true
	}
	if !observed.kinds[kindCertificate] {
		return verdict{shopv1.ConditionIngressReady, stalled, shopv1.ReasonCertManagerMissing,
			"spec.ingress.tls.issuerRef needs the kind Certificate of cert-manager.io/v1, and the cluster has none: install cert-manager, or use spec.ingress.tls.secretName."}, false
	}
	name := builders.CertificateName(shop)
	waiting := func(says string) verdict {
		return verdict{shopv1.ConditionIngressReady, progressing, shopv1.ReasonWaitingForCertificate, fmt.Sprintf(
			"Certificate %s is not issued yet%s. To see why: kubectl -n %s describe certificate %s", name, says, shop.Namespace, name)}
	}
	certificate := find[*kinds.Certificate](observed.children, kindCertificate, name)
	if certificate == nil {
		return waiting(""), false
	}
	issued := meta.FindStatusCondition(certificate.Status.Conditions, "Ready")
	switch {
	case issued == nil:
		return waiting(""), false
	case issued.Status != "True":
		return waiting(": " + strings.TrimSuffix(issued.Message, ".")), false
	default:
		return verdict{}, true
	}
}

func wantsMonitoring(shop *shopv1.Shop) bool { return shop.Spec.Monitoring != (shopv1.Monitoring{}) }

func judgeMonitoring(shop *shopv1.Shop, observed *observation) verdict {
	if shop.Spec.Monitoring.PodMonitor != nil && !observed.kinds[kindPodMonitor] {
		return verdict{shopv1.ConditionMonitoringReady, stalled, shopv1.ReasonPodMonitorMissing,
			"spec.monitoring.podMonitor needs the kind PodMonitor of monitoring.coreos.com/v1, and the cluster has none: install the Prometheus Operator, or remove the field."}
	}
	return verdict{shopv1.ConditionMonitoringReady, ready, shopv1.ReasonAvailable, "What leads Prometheus and Grafana to the shop is there."}
}

func judgeIngressObject(shop *shopv1.Shop, observed *observation) verdict {
	name := builders.IngressName(shop)
	ingress := find[*networkingv1.Ingress](observed.children, "Ingress", name)
	switch {
	case ingress != nil && ingress.DeletionTimestamp != nil:
		return terminating(shopv1.ConditionIngressReady, "Ingress", name)
	case ingress != nil && len(ingress.Status.LoadBalancer.Ingress) > 0:
		return verdict{shopv1.ConditionIngressReady, ready, shopv1.ReasonAvailable, "The Ingress has an address."}
	default:
		return verdict{shopv1.ConditionIngressReady, progressing, shopv1.ReasonWaitingForAddress, fmt.Sprintf(
			"Ingress %s has no address yet: an ingress controller gives it one. If none does, see that spec.ingress.ingress.className is one of those of: kubectl get ingressclasses", name)}
	}
}

// judgeRoute says whether every Gateway that an HTTPRoute names has taken it.
func judgeRoute(shop *shopv1.Shop, name string, route *gatewayv1.HTTPRoute) (verdict, bool) {
	waiting := verdict{shopv1.ConditionIngressReady, progressing, shopv1.ReasonWaitingForGateway, fmt.Sprintf(
		"No answer yet to HTTPRoute %s from every Gateway of spec.ingress.gateway.parentRefs. If none comes, see that they exist: kubectl get gateways -A", name)}
	if route == nil || len(route.Status.Parents) < len(shop.Spec.Ingress.Gateway.ParentRefs) {
		return waiting, false
	}
	for _, parent := range route.Status.Parents {
		for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
			condition := meta.FindStatusCondition(parent.Conditions, string(kind))
			if condition == nil || condition.ObservedGeneration < route.Generation {
				return waiting, false
			}
			if condition.Status != "True" {
				return verdict{shopv1.ConditionIngressReady, stalled, shopv1.ReasonRouteNotAccepted, fmt.Sprintf(
					"Gateway %s says of HTTPRoute %s: %s: %s", parent.ParentRef.Name, name, condition.Reason, condition.Message)}, false
			}
		}
	}
	return verdict{}, true
}

func terminating(condition, kind, name string) verdict {
	return verdict{condition, progressing, shopv1.ReasonTerminating, fmt.Sprintf("%s %s is being deleted, and is made anew when it is gone.", kind, name)}
}

// isRolledOut reports whether every pod of a Deployment is of its newest
// template and available, and none is left of an older one.
func isRolledOut(deployment *appsv1.Deployment) bool {
	return deployment != nil && isObserved(deployment) && isUpdated(deployment) &&
		deployment.Status.AvailableReplicas >= desired(deployment)
}

func isObserved(deployment *appsv1.Deployment) bool {
	return deployment.Status.ObservedGeneration >= deployment.Generation
}

func isUpdated(deployment *appsv1.Deployment) bool {
	return deployment.Status.UpdatedReplicas >= desired(deployment) && deployment.Status.Replicas == deployment.Status.UpdatedReplicas
}

func desired(deployment *appsv1.Deployment) int32 {
	if deployment.Spec.Replicas == nil {
		return 1 // the API server's default
	}
	return *deployment.Spec.Replicas
}

func deploymentCondition(deployment *appsv1.Deployment, kind appsv1.DeploymentConditionType) appsv1.DeploymentCondition {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == kind {
			return condition
		}
	}
	return appsv1.DeploymentCondition{}
}
