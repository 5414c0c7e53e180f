package kubetest

import (
	"errors"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

var camelCase = regexp.MustCompile(`^[A-Z][A-Za-z]+$`)

// CheckStatus holds a Shop that the operator has told the status of against our
// own rules, that a status is about one generation and a condition says why; and
// has kstatus, by which Argo CD, Flux and kubectl shop go, read it the same way.
func CheckStatus(shop *shopv1.Shop) error {
	conditions := shop.Status.Conditions
	var problems []error
	for _, condition := range conditions {
		if condition.ObservedGeneration != shop.Status.ObservedGeneration {
			problems = append(problems, fmt.Errorf("%s is of generation %d", condition.Type, condition.ObservedGeneration))
		}
		if !camelCase.MatchString(condition.Reason) || condition.Message == "" {
			problems = append(problems, fmt.Errorf("%s has the reason %q and the message %q", condition.Type, condition.Reason, condition.Message))
		}
		abnormal := condition.Type == shopv1.ConditionReconciling || condition.Type == shopv1.ConditionStalled
		if abnormal && condition.Status != metav1.ConditionTrue {
			problems = append(problems, fmt.Errorf("%s is there and %s", condition.Type, condition.Status))
		}
	}
	if shop.Status.ObservedGeneration > shop.Generation {
		problems = append(problems, errors.New("the status is of a generation to come"))
	}
	return errors.Join(append(problems, checkHealth(shop))...)
}

// checkHealth has kstatus read what the conditions say.
func checkHealth(shop *shopv1.Shop) error {
	var healths []status.Status
	for condition, health := range map[string]status.Status{
		shopv1.ConditionReady: status.CurrentStatus, shopv1.ConditionReconciling: status.InProgressStatus, shopv1.ConditionStalled: status.FailedStatus,
	} {
		if meta.IsStatusConditionTrue(shop.Status.Conditions, condition) {
			healths = append(healths, health)
		}
	}
	if len(healths) != 1 {
		return errors.New("not exactly one of Ready, Reconciling and Stalled is true")
	}
	want := healths[0]
	switch {
	case shop.DeletionTimestamp != nil:
		want = status.TerminatingStatus
	case shop.Status.ObservedGeneration != shop.Generation:
		want = status.InProgressStatus
	}
	document, err := runtime.DefaultUnstructuredConverter.ToUnstructured(shop)
	if err != nil {
		return fmt.Errorf("write the Shop as kstatus reads it: %w", err)
	}
	got, err := status.Compute(&unstructured.Unstructured{Object: document})
	if err != nil {
		return fmt.Errorf("kstatus cannot read it: %w", err)
	}
	if got.Status != want {
		return fmt.Errorf("kstatus takes it for %s (%s), and it is %s", got.Status, got.Message, want)
	}
	return nil
}
