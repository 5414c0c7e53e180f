package orders

import "context"

// OrderOf makes an order of a user's cart.
func (s *Orders) OrderOf(ctx context.Context, userID int64) error {
	_, err := s.create(ctx, order{UserID: userID, ShippingAddress: "123 Main St"}, idempotencyKey{})
	return err
}

// Waiting is how many orders wait for their turn.
func (s *Orders) Waiting() int { return s.turns.Waiting() }
