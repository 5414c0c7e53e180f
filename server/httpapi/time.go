package httpapi

import "time"

// TimeLayout is how a [Time] is written.
const TimeLayout = "2006-01-02T15:04:05Z"

// Time is a moment that JSON shows as RFC 3339 in UTC with Z, in whole seconds.
type Time time.Time

// MarshalText makes the JSON.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(TimeLayout)), nil
}
