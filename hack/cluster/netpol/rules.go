package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// cluster is what the rules are made from. Only pods of node get chains; pods
// of every node are peers.
type cluster struct {
	node          string
	nodeAddresses []string
	pods          []*corev1.Pod
	namespaces    map[string]labels.Set
	policies      []*netv1.NetworkPolicy
}

// direction is one side of a policy, seen from the pod that it isolates.
type direction struct {
	chain string // prefix of a pod's chain
	self  string // the header field that holds the pod
	peer  string // the header field that holds its peer
}

var (
	ingress = direction{chain: "in-", self: "daddr", peer: "saddr"}
	egress  = direction{chain: "out-", self: "saddr", peer: "daddr"}
)

// ruleset is the nftables script that makes table hold the rules and no others.
// A pod that a policy isolates has a chain per direction, entered by its
// address: what a rule allows returns from it, all else is dropped. Replies and
// the nodes themselves (kubelet's probes, host-network pods) always pass.
func (c *cluster) ruleset(table string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table ip %[1]s\ndelete table ip %[1]s\ntable ip %[1]s {\n", table)
	out, in := c.chains(&b, egress), c.chains(&b, ingress)
	nodes := ""
	if len(c.nodeAddresses) > 0 {
		nodes = "\t\tip saddr " + set(c.nodeAddresses) + " accept\n"
	}
	hook(&b, "forward", nodes+out+in)
	hook(&b, "input", nodes+out) // from a pod to its own node
	b.WriteString("}\n")
	return b.String()
}

// chains writes the chains of one direction, and returns the line that leads
// into them.
func (c *cluster) chains(b *strings.Builder, dir direction) string {
	var entries []string
	for _, pod := range c.isolatable() {
		lines, isolated := c.podRules(dir, pod)
		if !isolated {
			continue
		}
		name := dir.chain + pod.Status.PodIP
		entries = append(entries, pod.Status.PodIP+" : jump "+name)
		fmt.Fprintf(b, "\tchain %s { # %s/%s\n%s\t\tcounter drop\n\t}\n", name, pod.Namespace, pod.Name, lines)
	}
	if len(entries) == 0 {
		return ""
	}
	return fmt.Sprintf("\t\tip %s vmap %s\n", dir.self, set(entries))
}

func hook(b *strings.Builder, name, lines string) {
	fmt.Fprintf(b, "\tchain %[1]s {\n\t\ttype filter hook %[1]s priority filter - 5; policy accept;\n"+
		"\t\tct state established,related accept\n%[2]s\t}\n", name, lines)
}

// podRules returns a pod's rules in one direction, and whether any policy
// isolates it there.
func (c *cluster) podRules(dir direction, pod *corev1.Pod) (lines string, isolated bool) {
	var b strings.Builder
	for _, policy := range c.policies {
		if policy.Namespace != pod.Namespace || !selects(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		if dir == ingress && slices.Contains(policy.Spec.PolicyTypes, netv1.PolicyTypeIngress) {
			isolated = true
			for _, rule := range policy.Spec.Ingress {
				c.allow(&b, dir, policy.Namespace, rule.From, rule.Ports, pod)
			}
		}
		if dir == egress && slices.Contains(policy.Spec.PolicyTypes, netv1.PolicyTypeEgress) {
			isolated = true
			for _, rule := range policy.Spec.Egress {
				c.allow(&b, dir, policy.Namespace, rule.To, rule.Ports, pod)
			}
		}
	}
	return b.String(), isolated
}

// peer is who a rule allows: a match on the header, and the pods behind it,
// whose named ports count when they are the destination.
type peer struct {
	match string
	pods  []*corev1.Pod
}

// allow writes one line for each peer and port of a rule.
func (c *cluster) allow(b *strings.Builder, dir direction, namespace string, peers []netv1.NetworkPolicyPeer, ports []netv1.NetworkPolicyPort, pod *corev1.Pod) {
	for _, p := range c.resolve(dir, namespace, peers) {
		if len(ports) == 0 {
			fmt.Fprintf(b, "\t\t%sreturn\n", p.match)
		}
		for _, port := range ports {
			switch {
			case port.Port == nil || port.Port.StrVal == "":
				fmt.Fprintf(b, "\t\t%s%s return\n", p.match, portMatch(port))
			case dir == ingress:
				writeNamed(b, p.match, port, []*corev1.Pod{pod}, "")
			default:
				writeNamed(b, "", port, p.pods, dir.peer)
			}
		}
	}
}

// resolve turns a rule's peers into matches. No peers at all means everyone.
func (c *cluster) resolve(dir direction, namespace string, peers []netv1.NetworkPolicyPeer) []peer {
	if len(peers) == 0 {
		return []peer{{pods: c.live()}}
	}
	var out []peer
	for _, p := range peers {
		if block := p.IPBlock; block != nil {
			if strings.Contains(block.CIDR, ":") {
				continue // the cluster has no IPv6
			}
			match := fmt.Sprintf("ip %s %s ", dir.peer, block.CIDR)
			if len(block.Except) > 0 {
				match += fmt.Sprintf("ip %s != %s ", dir.peer, set(block.Except))
			}
			out = append(out, peer{match: match})
			continue
		}
		if pods := c.selected(p, namespace); len(pods) > 0 {
			out = append(out, peer{match: fmt.Sprintf("ip %s %s ", dir.peer, set(addresses(pods))), pods: pods})
		}
	}
	return out
}

// selected returns the pods that a peer's selectors choose; without a namespace
// selector, only those of the policy's own namespace.
func (c *cluster) selected(p netv1.NetworkPolicyPeer, namespace string) []*corev1.Pod {
	return slices.DeleteFunc(c.live(), func(pod *corev1.Pod) bool {
		if p.NamespaceSelector == nil && pod.Namespace != namespace {
			return true
		}
		if p.NamespaceSelector != nil && !selects(p.NamespaceSelector, c.namespaces[pod.Namespace]) {
			return true
		}
		return p.PodSelector != nil && !selects(p.PodSelector, pod.Labels)
	})
}

// live returns the pods that have an address of their own, ordered by it.
func (c *cluster) live() []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range c.pods {
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if p.Status.PodIP != "" && !p.Spec.HostNetwork && !ended {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return strings.Compare(a.Status.PodIP, b.Status.PodIP) })
	return out
}

// isolatable returns the live pods of this node.
func (c *cluster) isolatable() []*corev1.Pod {
	return slices.DeleteFunc(c.live(), func(p *corev1.Pod) bool { return p.Spec.NodeName != c.node })
}

// portMatch matches a protocol, or a numbered port of it, or a range of them.
func portMatch(port netv1.NetworkPolicyPort) string {
	switch proto := protocol(port); {
	case port.Port == nil:
		return "meta l4proto " + proto
	case port.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d", proto, port.Port.IntVal, *port.EndPort)
	default:
		return fmt.Sprintf("%s dport %d", proto, port.Port.IntVal)
	}
}

// writeNamed writes a line for each number that targets give to a named port.
// With a field, each line also matches the targets that use that number.
func writeNamed(b *strings.Builder, match string, port netv1.NetworkPolicyPort, targets []*corev1.Pod, field string) {
	users := map[int32][]*corev1.Pod{}
	var numbers []int32
	for _, pod := range targets {
		for _, container := range pod.Spec.Containers {
			for _, p := range container.Ports {
				if p.Name == port.Port.StrVal && strings.EqualFold(string(p.Protocol), protocol(port)) {
					users[p.ContainerPort] = append(users[p.ContainerPort], pod)
					numbers = append(numbers, p.ContainerPort)
				}
			}
		}
	}
	slices.Sort(numbers)
	for _, n := range slices.Compact(numbers) {
		if field != "" {
			match = fmt.Sprintf("ip %s %s ", field, set(addresses(users[n])))
		}
		fmt.Fprintf(b, "\t\t%s%s dport %d return\n", match, protocol(port), n)
	}
}

func protocol(port netv1.NetworkPolicyPort) string {
	if port.Protocol == nil {
		return "tcp"
	}
	return strings.ToLower(string(*port.Protocol))
}

func selects(selector *metav1.LabelSelector, of labels.Set) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(of) // the API server refuses selectors that do not parse
}

func addresses(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Status.PodIP)
	}
	return out
}

func set(elements []string) string { return "{ " + strings.Join(elements, ", ") + " }" }
