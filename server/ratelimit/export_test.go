package ratelimit

import "time"

// Patient makes a limiter wait for Redis as long as a busy machine may need.
func (l *Limiter) Patient() *Limiter {
	l.deadline = 10 * time.Second
	return l
}
