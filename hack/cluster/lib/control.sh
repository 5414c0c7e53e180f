# shellcheck shell=bash
# Sourced: the control plane, plain processes in the first node.

CONTROL_PLANE=$(node_address 1)

# write_pki: certificates, and a kubeconfig for each who talks to the API
# server; kubeadm serves as the generator only.
write_pki() {
  cat >"$RUN/kubeadm.yaml" <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: $CONTROL_PLANE, bindPort: 6443}
nodeRegistration: {name: node1, criSocket: unix:///run/containerd/containerd.sock}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: shopkeeper
kubernetesVersion: $KUBERNETES
certificatesDir: $RUN/pki
encryptionAlgorithm: ECDSA-P256
controlPlaneEndpoint: $CONTROL_PLANE:6443
networking: {serviceSubnet: $SERVICE_NET.0.0/16, podSubnet: $POD_NET.0.0/16}
etcd: {external: {endpoints: ["http://127.0.0.1:2379"]}}
EOF
  kubeadm init phase certs all --config "$RUN/kubeadm.yaml"
  kubeconfig "$KUBECONFIG_FILE" admin system:masters
  kubeconfig "$RUN/controller-manager.conf" system:kube-controller-manager
  kubeconfig "$RUN/scheduler.conf" system:kube-scheduler
  kubeconfig "$RUN/kube-proxy.conf" system:kube-proxy
  kubeconfig "$RUN/netpol.conf" netpol
}

# kubeconfig FILE USER [GROUP]
kubeconfig() {
  (
    umask 077
    kubeadm kubeconfig user --config "$RUN/kubeadm.yaml" --client-name "$2" ${3:+--org "$3"} >"$1"
  )
}

start_control_plane() {
  local pki=$RUN/pki etcd=http://127.0.0.1:2379 name
  # The data is gone with the cluster: there is no reason to wait for the disk.
  daemon 1 etcd "$BIN/etcd" --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls $etcd --advertise-client-urls $etcd --listen-peer-urls http://127.0.0.1:2380
  daemon 1 kube-apiserver "$BIN/kube-apiserver" --etcd-servers=$etcd \
    --advertise-address="$CONTROL_PLANE" --service-cluster-ip-range="$SERVICE_NET.0.0/16" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
  until_true 60 "the API server is ready" kubectl get --raw /readyz
  name=$RUN/controller-manager.conf
  daemon 1 kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$name" \
    --authentication-kubeconfig="$name" --authorization-kubeconfig="$name" \
    --leader-elect=false --use-service-account-credentials --flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins \
    --root-ca-file="$pki/ca.crt" --client-ca-file="$pki/ca.crt" --requestheader-client-ca-file="$pki/front-proxy-ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --service-account-private-key-file="$pki/sa.key" \
    --cluster-cidr="$POD_NET.0.0/16" --service-cluster-ip-range="$SERVICE_NET.0.0/16"
  name=$RUN/scheduler.conf
  daemon 1 kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$name" \
    --authentication-kubeconfig="$name" --authorization-kubeconfig="$name" --leader-elect=false
  kubectl apply --server-side -f "$HERE/manifests/node.yaml"
}
