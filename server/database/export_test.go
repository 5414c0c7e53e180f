package database

// Waiting is how many queries wait for a lane.
func (l *Lanes[T]) Waiting() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return len(l.waiting)
}
