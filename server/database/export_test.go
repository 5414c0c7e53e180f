package database

// Waiting is how many queries that may travel together wait for a lane.
func (db *DB) Waiting() int { return db.reads.Waiting() }
