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

# seed_shop: something to look at, for whoever tries the shop.
seed_shop() { kubectl exec deployment/shop-api -- /shopkeeper-server seed; }

# restart_pods IMAGE: an image that was built again has the name of the old one,
# so the pods that run it are replaced.
restart_pods() {
  local namespace pod
  kubectl get pods --all-namespaces --field-selector=status.phase=Running \
    -o jsonpath='{range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{" "}{.spec.containers[0].image}{"\n"}{end}' |
    awk -v image="$1" '$3 == image {print $1, $2}' | while read -r namespace pod; do
    kubectl --namespace "$namespace" delete pod "$pod" --wait=false </dev/null
  done
}

secret_key() { kubectl get secret "$1" -o jsonpath="{.data.$2}" | base64 --decode; }
