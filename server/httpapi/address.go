package httpapi

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// Proxies are the addresses whose word is taken for where a request came from.
type Proxies []netip.Prefix

// ParseProxies reads addresses and CIDR ranges.
func ParseProxies(texts []string) (Proxies, error) {
	proxies := make(Proxies, 0, len(texts))
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil {
			proxies = append(proxies, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("read the proxy %q: %w", text, err)
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}

func (p Proxies) trust(address netip.Addr) bool {
	for _, proxy := range p {
		if proxy.Contains(address) {
			return true
		}
	}
	return false
}

// Client returns the address that a request came from: the nearest one that is no trusted proxy. Each proxy
// appends to X-Forwarded-For whom it heard, so that what stands further left is only what that client says.
func (p Proxies) Client(c *fiber.Ctx) netip.Addr {
	client, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	client = client.Unmap()
	var heard []string
	for _, line := range c.Request().Header.PeekAll(fiber.HeaderXForwardedFor) {
		heard = append(heard, strings.Split(string(line), ",")...)
	}
	for i := len(heard) - 1; i >= 0 && p.trust(client); i-- {
		next, err := parseForwarded(heard[i])
		if err != nil {
			break
		}
		client = next
	}
	return client
}

// Network returns the address that a request came from, or the network of an IPv6 one: a /64 is one customer's.
func (p Proxies) Network(c *fiber.Ctx) string {
	address := p.Client(c)
	if address.Is4() {
		return address.String()
	}
	return netip.PrefixFrom(address, 64).Masked().String()
}

// parseForwarded reads an address that some proxies write with a port.
func parseForwarded(text string) (netip.Addr, error) {
	text = strings.TrimSpace(text)
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), nil
	}
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return address.Unmap().WithZone(""), err
}
