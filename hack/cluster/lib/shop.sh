# shellcheck shell=bash
# Sourced: the product on a cluster, ours or another.

# install_operator OVERLAY: applies the operator and waits for it.
install_operator() {
  kubectl apply --server-side --force-conflicts -k "$REPO/config/$1"
  kubectl wait --for=condition=Established crd/shops.shopkeeper.dev --timeout=60s
  kubectl --namespace shopkeeper-system rollout status deployment --timeout=180s
}

# apply_shop: the sample, and each new word of its conditions until it is Ready.
apply_shop() {
  local deadline=$((SECONDS + 300)) now before=
  kubectl apply --server-side -f "$REPO/config/samples/shop.yaml"
  until kubectl wait --for=condition=Ready shop/shop --timeout=1s >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "the Shop did not get Ready: kubectl describe shop shop"
    now=$(kubectl get shop shop -o jsonpath='{range .status.conditions[?(@.status!="True")]}{.type}{": "}{.message}{"\n"}{end}')
    if [ "$now" != "$before" ]; then
      comm -13 <(sort <<<"$before") <(sort <<<"$now") | grep . || true
      before=$now
    fi
  done
}

# open_shop: a Shop that serves, with something in it for whoever tries it.
open_shop() {
  apply_shop
  kubectl rollout status deployment/shop-api --timeout=120s >/dev/null
  kubectl rollout status deployment/shop-notifications --timeout=120s >/dev/null
  kubectl exec deployment/shop-api -- /shopkeeper-server seed 2>"$LOG/seed.log" ||
    die "the catalogue was not filled; why: $LOG/seed.log"
}

# restart_pods IMAGE: an image that was built again has the name of the old one,
# so the pods that run it are replaced, in haste.
restart_pods() {
  local namespace pods
  kubectl get pods --all-namespaces --field-selector=status.phase=Running \
    -o jsonpath='{range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{" "}{.spec.containers[0].image}{"\n"}{end}' |
    awk -v image="$1" '$3 == image {pods[$1] = pods[$1] " " $2} END {for (n in pods) print n pods[n]}' |
    while read -r namespace pods; do
      # shellcheck disable=SC2086 # a list
      kubectl --namespace "$namespace" delete pod --grace-period=5 $pods </dev/null
    done
}

secret_key() { kubectl get secret "$1" -o jsonpath="{.data.$2}" | base64 --decode; }
