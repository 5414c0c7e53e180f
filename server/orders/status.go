package orders

import "slices"

// The statuses of an order.
const (
	pending    = "pending"
	processing = "processing"
	shipped    = "shipped"
	delivered  = "delivered"
	cancelled  = "cancelled"
)

var statuses = []string{pending, processing, shipped, delivered, cancelled}

// next are the statuses that may follow one; after delivered and cancelled comes nothing.
var next = map[string][]string{
	pending:    {processing, shipped, cancelled},
	processing: {shipped, cancelled},
	shipped:    {delivered},
}

func mayFollow(from, to string) bool { return slices.Contains(next[from], to) }
