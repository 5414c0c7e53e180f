package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limit is how often one client may do something: Count times at once, and then as often on average in each
// period Per.
type Limit struct {
	Name  string
	Count int64
	Per   time.Duration
}

// Limits are those of a shop; one with a Count of 0 is no limit.
type Limits struct {
	Login     Limit // attempts to log in from one address
	Register  Limit // new users from one address
	Reset     Limit // requests to reset a password from one address
	Anonymous Limit // whatever else is asked without a valid token, from one address
	User      Limit // whatever one user asks
}

func (l *Limits) named() map[string]*Limit {
	return map[string]*Limit{
		"login": &l.Login, "register": &l.Register, "reset": &l.Reset, "anonymous": &l.Anonymous, "user": &l.User,
	}
}

// Off is the text for no limit at all.
const Off = "off"

var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// Parse reads limits as NAME=COUNT/UNIT with commas between them, such as login=5/m,user=600/m. A unit is s,
// m, h or d. A name that is left out has no limit.
func Parse(text string) (Limits, error) {
	var limits Limits
	if strings.TrimSpace(text) == Off {
		return limits, nil
	}
	named := limits.named()
	for term := range strings.SplitSeq(text, ",") {
		name, rate, _ := strings.Cut(strings.TrimSpace(term), "=")
		target, known := named[name]
		if !known {
			return Limits{}, fmt.Errorf("unknown limit %q", name)
		}
		if target.Name != "" {
			return Limits{}, fmt.Errorf("%s is there twice", name)
		}
		limit, err := parseRate(rate)
		if err != nil {
			return Limits{}, fmt.Errorf("%s: %w", name, err)
		}
		limit.Name = name
		*target = limit
	}
	return limits, nil
}

func parseRate(text string) (Limit, error) {
	count, unit, _ := strings.Cut(text, "/")
	number, err := strconv.ParseInt(count, 10, 64)
	per, known := units[unit]
	if err != nil || !known {
		return Limit{}, errors.New("not a rate")
	}
	if number < 1 || number > per.Microseconds() {
		return Limit{}, errors.New("out of bounds")
	}
	return Limit{Count: number, Per: per}, nil
}

// interval is the time in which one use is earned, in whole microseconds, so that all sums are exact.
func (l Limit) interval() int64 { return l.Per.Microseconds() / l.Count }

// window is the time in which all uses are earned, in microseconds.
func (l Limit) window() int64 { return l.interval() * l.Count }

// largestLease bounds what a pod takes at once.
const largestLease = 100

// lease is how many uses a pod takes from Redis at once: a fiftieth of the limit, so that what a few pods
// hold unused keeps little from a client. Few of few is one, and then each use is counted in Redis.
func (l Limit) lease() int64 { return min(max(l.Count/50, 1), largestLease) }

// seconds rounds up, so that whoever waits as long as told has waited long enough.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
