package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// TestRules has one isolated pod, "shop/api" at 10.244.0.5 on node1, among
// others, and compares what a policy makes of its two chains.
func TestRules(t *testing.T) {
	for name, test := range map[string]struct{ policy, in, out string }{
		"a policy for other pods isolates nobody here": {
			policy: `{podSelector: {matchLabels: {app: other}}, policyTypes: [Ingress]}`,
			in:     "not isolated", out: "not isolated",
		},
		"no rule allows nothing": {
			policy: `{podSelector: {}, policyTypes: [Ingress, Egress]}`,
		},
		"an empty rule allows everything": {
			policy: `{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}`,
			in:     "return", out: "not isolated",
		},
		"pods of the same namespace": {
			policy: `{podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}`,
			in:     "ip saddr { 10.244.0.6 } return", out: "not isolated",
		},
		"pods of other namespaces, on any node": {
			policy: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {name: system}}}], ports: [{port: 53, protocol: UDP}]}]}`,
			in:     "not isolated", out: "ip daddr { 10.244.1.7 } udp dport 53 return",
		},
		"both selectors must choose a pod": {
			policy: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}]}]}`,
			in:     "not isolated", out: "ip daddr { 10.244.0.6 } return",
		},
		"a peer that chooses nobody allows nobody": {
			policy: `{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: none}}}]}]}`,
			out:    "not isolated",
		},
		"a range of addresses with a hole, and of ports": {
			policy: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80, endPort: 90}]}]}`,
			in:     "not isolated", out: "ip daddr 10.0.0.0/8 ip daddr != { 10.1.0.0/16 } tcp dport 80-90 return",
		},
		"IPv6 matches nothing": {
			policy: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: "fd00::/8"}}]}]}`,
			in:     "not isolated",
		},
		"a protocol with all its ports": {
			policy: `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: SCTP}]}]}`,
			in:     "meta l4proto sctp return", out: "not isolated",
		},
		"a named port in is the pod's own": {
			policy: `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: web}]}]}`,
			in:     "tcp dport 8000 return", out: "not isolated",
		},
		"a named port out is each peer's": {
			policy: `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}`,
			in:     "not isolated",
			out:    "ip daddr { 10.244.0.5 } tcp dport 8000 return|ip daddr { 10.244.1.7 } tcp dport 9000 return",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := sample(t)
			c.policies = []*netv1.NetworkPolicy{parse[netv1.NetworkPolicy](t, `{metadata: {namespace: shop}, spec: `+test.policy+`}`)}
			for _, want := range []struct {
				dir   direction
				rules string
			}{{ingress, test.in}, {egress, test.out}} {
				if got := rulesOf(c, want.dir); got != want.rules {
					t.Errorf("chain %q is\n %s\nand not\n %s", want.dir.chain, got, want.rules)
				}
			}
		})
	}
}

// TestRuleset checks the frame around the chains: who is sent into them, at
// which hooks, and who never is.
func TestRuleset(t *testing.T) {
	c := sample(t)
	c.policies = []*netv1.NetworkPolicy{parse[netv1.NetworkPolicy](t, `{metadata: {namespace: shop}, spec: {podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress, Egress]}}`)}
	const want = `table ip test
delete table ip test
table ip test {
	chain out-10.244.0.5 { # shop/api
		counter drop
	}
	chain in-10.244.0.5 { # shop/api
		counter drop
	}
	chain forward {
		type filter hook forward priority filter - 5; policy accept;
		ct state established,related accept
		ip saddr { 10.250.0.2 } accept
		ip saddr vmap { 10.244.0.5 : jump out-10.244.0.5 }
		ip daddr vmap { 10.244.0.5 : jump in-10.244.0.5 }
	}
	chain input {
		type filter hook input priority filter - 5; policy accept;
		ct state established,related accept
		ip saddr { 10.250.0.2 } accept
		ip saddr vmap { 10.244.0.5 : jump out-10.244.0.5 }
	}
}
`
	if got := c.ruleset("test"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// rulesOf returns the rules of shop/api in one direction, joined by "|".
func rulesOf(c *cluster, dir direction) string {
	lines, isolated := c.podRules(dir, c.pods[0])
	if !isolated {
		return "not isolated"
	}
	return strings.ReplaceAll(strings.TrimSpace(lines), "\n\t\t", "|")
}

func sample(t *testing.T) *cluster {
	return &cluster{
		node:          "node1",
		nodeAddresses: []string{"10.250.0.2"},
		namespaces:    map[string]labels.Set{"shop": {}, "kube-system": {"name": "system"}},
		pods: []*corev1.Pod{
			parse[corev1.Pod](t, `{metadata: {namespace: shop, name: api, labels: {app: api}}, spec: {nodeName: node1, containers: [{ports: [{name: web, containerPort: 8000, protocol: TCP}]}]}, status: {podIP: 10.244.0.5}}`),
			parse[corev1.Pod](t, `{metadata: {namespace: shop, name: db, labels: {app: db}}, spec: {nodeName: node1}, status: {podIP: 10.244.0.6}}`),
			parse[corev1.Pod](t, `{metadata: {namespace: kube-system, name: dns}, spec: {nodeName: node2, containers: [{ports: [{name: web, containerPort: 9000, protocol: TCP}]}]}, status: {podIP: 10.244.1.7}}`),
			parse[corev1.Pod](t, `{metadata: {namespace: shop, name: ended, labels: {app: db}}, spec: {nodeName: node1}, status: {podIP: 10.244.0.8, phase: Succeeded}}`),
			parse[corev1.Pod](t, `{metadata: {namespace: shop, name: host, labels: {app: db}}, spec: {nodeName: node1, hostNetwork: true}, status: {podIP: 10.250.0.2}}`),
		},
	}
}

func parse[T any](t *testing.T, document string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(document), out); err != nil {
		t.Fatal(err)
	}
	return out
}
