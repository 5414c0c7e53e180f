package shop

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// migration is where the database's schema stands, and what to do about it.
// The Job's name says which release and which database it is of, so that what
// has been done is read from the cluster and never remembered.
type migration struct {
	reason   string // of the condition Migrated
	release  builders.Release
	job      *batchv1.Job        // that the reason is about, if there is one
	start    apply.Configuration // the Job to start in this turn, if no other is at work
	obsolete []key               // Jobs that have had their time
}

func planMigration(shop *shopv1.Shop, observed *observation, wanted builders.Release) migration {
	databaseID := databaseOf(shop, observed)
	if databaseID == "" {
		return migration{reason: shopv1.ReasonWaitingForDatabase, release: wanted}
	}
	name := builders.MigrationJobName(shop, wanted, databaseID)
	current := find[*batchv1.Job](observed.children, "Job", name)
	others := otherJobs(observed.children, name)

	m := migration{release: wanted, job: current, obsolete: idle(others)}
	working := slices.IndexFunc(others, func(job *batchv1.Job) bool { return !isFinished(job) })
	switch {
	case current != nil && current.DeletionTimestamp != nil:
		m.reason = shopv1.ReasonWaitingForOtherMigration
	case current != nil && hasCondition(current, batchv1.JobComplete):
		m.reason = shopv1.ReasonMigrated
		m.obsolete = append(m.obsolete, finished(others)...)
	case current != nil && hasCondition(current, batchv1.JobFailed):
		m.reason = shopv1.ReasonMigrationFailed
		m.tryAgain(observed)
	case current != nil && isRefusedLogin(current, observed):
		m.reason = shopv1.ReasonDatabaseRefuses
	case current != nil && whatBlocks(current, observed) != "":
		m.reason = shopv1.ReasonMigrationBlocked
	case current != nil:
		m.reason = shopv1.ReasonMigrationRunning
	case working >= 0:
		m.reason, m.job = shopv1.ReasonWaitingForOtherMigration, others[working]
	case shop.Spec.Hibernated, !databaseAccepts(shop, observed):
		m.reason = shopv1.ReasonWaitingForDatabase
	default:
		m.reason = shopv1.ReasonMigrationRunning
		m.start = builders.MigrationJob(shop, wanted, databaseID)
	}
	return m
}

// refusedLogin is what the server says of a database that does not let it in.
const refusedLogin = "reach the database"

// isRefusedLogin reports whether that is what the last pod of a Job ended of.
func isRefusedLogin(job *batchv1.Job, observed *observation) bool {
	return strings.Contains(lastWords(job, observed.migrationPods), refusedLogin)
}

// tryAgain takes a failed Job out of the way, after a while, that did not even
// get at the database: it changed nothing, and may well get further now.
func (m *migration) tryAgain(observed *observation) {
	if !isRefusedLogin(m.job, observed) {
		return
	}
	m.reason = shopv1.ReasonDatabaseRefuses
	for _, condition := range m.job.Status.Conditions {
		if condition.Type == batchv1.JobFailed && time.Since(condition.LastTransitionTime.Time) > retryAfter {
			m.obsolete = append(m.obsolete, key{"Job", m.job.Name})
		}
	}
}

// databaseOf tells one database from another: by its volume, or by the URL that
// leads to it; "" when there is none yet. Another password is another URL: its
// migration finds nothing to do, and is the proof that the password is good
// before any pod is restarted with it.
func databaseOf(shop *shopv1.Shop, observed *observation) string {
	if shop.Spec.Database.External != nil {
		return "external/" + observed.databaseURL
	}
	claim := find[*corev1.PersistentVolumeClaim](observed.children, "PersistentVolumeClaim", builders.DataClaimName(builders.DatabaseName(shop)))
	if claim == nil {
		return ""
	}
	return string(claim.UID)
}

// databaseAccepts reports whether a migration may start. Of an external
// database only the migration can tell.
func databaseAccepts(shop *shopv1.Shop, observed *observation) bool {
	if shop.Spec.Database.External != nil {
		_, unfit := judgeSecrets(observed, "", builders.ComponentDatabase)
		return !unfit
	}
	return accepts(find[*appsv1.StatefulSet](observed.children, "StatefulSet", builders.DatabaseName(shop)))
}

// migrationsAtWork are the Jobs that have not ended.
func (o *observation) migrationsAtWork() []*batchv1.Job {
	return slices.DeleteFunc(otherJobs(o.children, ""), isFinished)
}

// otherJobs are the migration Jobs but the named one, in the order of their
// names.
func otherJobs(all children, name string) []*batchv1.Job {
	var jobs []*batchv1.Job
	for key, object := range all {
		if job, ok := object.(*batchv1.Job); ok && key.name != name {
			jobs = append(jobs, job)
		}
	}
	slices.SortFunc(jobs, func(a, b *batchv1.Job) int { return cmp.Compare(a.Name, b.Name) })
	return jobs
}

// idle are the Jobs that have not ended and have no pod at work, such as one
// whose image cannot be pulled. They would keep the way blocked for hours.
// PostgreSQL undoes the step of a migration that is cut off all the same.
func idle(jobs []*batchv1.Job) []key {
	return selectJobs(jobs, func(job *batchv1.Job) bool {
		return !isFinished(job) && !isEnding(job) && (job.Status.Ready == nil || *job.Status.Ready == 0)
	})
}

func finished(jobs []*batchv1.Job) []key { return selectJobs(jobs, isFinished) }

func selectJobs(jobs []*batchv1.Job, is func(*batchv1.Job) bool) []key {
	var selected []key
	for _, job := range jobs {
		if job.DeletionTimestamp == nil && is(job) {
			selected = append(selected, key{"Job", job.Name})
		}
	}
	return selected
}

func isFinished(job *batchv1.Job) bool {
	return hasCondition(job, batchv1.JobComplete) || hasCondition(job, batchv1.JobFailed)
}

// isEnding reports whether a Job is about to be finished, and only waits for its
// pods to be gone.
func isEnding(job *batchv1.Job) bool {
	return hasCondition(job, batchv1.JobSuccessCriteriaMet) || hasCondition(job, batchv1.JobFailureTarget)
}

func hasCondition(job *batchv1.Job, kind batchv1.JobConditionType) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(condition batchv1.JobCondition) bool {
		return condition.Type == kind && condition.Status == corev1.ConditionTrue
	})
}

// accepts reports whether the pod of a StatefulSet takes connections.
func accepts(set *appsv1.StatefulSet) bool {
	return set != nil && set.DeletionTimestamp == nil && set.Status.ReadyReplicas > 0
}

// lastWords are what the last pod of a Job left as its termination message: its
// result, or the end of its log.
func lastWords(job *batchv1.Job, pods []corev1.Pod) string {
	var last *corev1.ContainerStateTerminated
	for _, pod := range pods {
		if pod.Labels[batchv1.JobNameLabel] != job.Name {
			continue
		}
		for _, container := range pod.Status.ContainerStatuses {
			ended := container.State.Terminated
			if ended != nil && (last == nil || last.FinishedAt.Before(&ended.FinishedAt)) {
				last = ended
			}
		}
	}
	if last == nil {
		return ""
	}
	return last.Message
}

// whatBlocks says what keeps a Job from its work, or "" if nothing does. It has
// the same words for as long as the cause is the same.
func whatBlocks(job *batchv1.Job, observed *observation) string {
	if said := observed.said[job.UID]; said != "" {
		return fmt.Sprintf("Kubernetes makes no pod for it: %s. Let the namespace have room for it.", said)
	}
	for _, pod := range observed.migrationPods {
		if found := troubleOf(&pod); found != nil && pod.Labels[batchv1.JobNameLabel] == job.Name {
			return found.message
		}
	}
	return ""
}

// schemaVersion is what the migration reported, or known if it left no word.
func schemaVersion(m migration, pods []corev1.Pod, known int64) int64 {
	if m.reason != shopv1.ReasonMigrated {
		return known
	}
	result := struct {
		SchemaVersion int64 `json:"schemaVersion"`
	}{}
	if err := json.Unmarshal([]byte(lastWords(m.job, pods)), &result); err != nil || result.SchemaVersion == 0 {
		return known
	}
	return result.SchemaVersion
}
