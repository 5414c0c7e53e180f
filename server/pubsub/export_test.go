package pubsub

// EmbeddedAddress is where the Redis of this process listens.
func (c *Client) EmbeddedAddress() string { return c.embedded.Addr() }
