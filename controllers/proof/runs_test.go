package proof

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

var every = flag.Int("every", 0, "disturb each Nth call of every script by itself; 0 for a sample")

// undisturbed is how a script goes by itself.
type undisturbed struct {
	picture string
	calls   []call // of the operator
	jobs    int    // that it made
}

// TestScripts: at the end of each script the operator has nothing to do; and
// that end is reached whatever befalls whichever call, however old or slow its
// cache is, and when there are two of it.
func TestScripts(t *testing.T) {
	for n, sc := range scripts {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			s := sc.begin(t)
			s.wire.reset(nil)
			sc.play(s)
			want := undisturbed{s.picture(), s.wire.made(), s.wire.jobs}
			s.judge()
			t.Logf("%d calls", len(want.calls))

			turns, stride, seeds := 5, 24, n%2
			if n == 0 {
				turns = 100
			}
			if *every > 0 {
				turns, stride, seeds = 100, 1, 10
			}
			s.stayAtRest(turns)
			s.startWithOlderCaches(want.picture, stride)
			for seed := range seeds {
				random := rand.New(rand.NewPCG(uint64(n), uint64(seed))) //nolint:gosec // a run that can be had again
				t.Run(fmt.Sprint("a slow cache/", seed), func(t *testing.T) { sc.lagging(t, want, random) })
			}
			t.Run("each call in turn", func(t *testing.T) { sc.disturbed(t, want, inTurn(n)) })
			for k := 0; *every > 0 && k < len(want.calls); k += *every {
				for _, fault := range faults {
					t.Run(fmt.Sprintf("%s/call %d", fault, k), func(t *testing.T) { sc.disturbed(t, want, only(k, fault)) })
				}
			}
		})
	}
}

// stayAtRest takes turns, which make no call at all. Each Secret that the shop
// uses is read again from time to time, for it may not be watched: by one call
// each, and no other.
func (s *stage) stayAtRest(turns int) {
	s.t.Helper()
	s.wire.reset(nil)
	for range turns {
		s.must(s.turn(), "take a turn")
	}
	if made := s.wire.made(); len(made) > 0 {
		s.t.Errorf("%d turns made %d calls: %v", turns, len(made), last(made, 10))
	}
	if news := s.operator.LookAtSecrets(s.ctx()); len(news) > 0 {
		s.t.Errorf("a look at Secrets that nobody changed is news to %v", news)
	}
	var want []call
	for _, name := range s.secretsInUse() {
		want = append(want, call{http.MethodGet, "/api/v1/namespaces/" + s.namespace + "/secrets/" + name})
	}
	if made := s.wire.made(); !slices.Equal(made, want) {
		s.t.Errorf("a look at the Secrets made the calls %v, want %v", made, want)
	}
}

// secretsInUse are the names of the Secrets that the operator makes for the shop,
// and of those that its spec refers to.
func (s *stage) secretsInUse() []string {
	acme := as(s.replica.at(s.replica.revision(), key{"Shop", "acme"}), &shopv1.Shop{})
	names := builders.SecretNames(acme)
	for _, foreign := range builders.ForeignSecrets(acme) {
		names = append(names, foreign.Ref.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// startWithOlderCaches starts operators whose caches are of older revisions. They
// do nothing that cannot be made good, and nothing that must not be.
func (s *stage) startWithOlderCaches(want string, stride int) {
	s.t.Helper()
	end := s.replica.revision()
	s.wire.reset(nil)
	for revision := 0; revision < end; revision += stride {
		s.operator = s.newOperator(func(string) int { return revision })
		_ = s.turn() // it may well be refused
		s.restart()
		s.settle()
		if s.expect(want); s.wire.jobs > 0 {
			s.t.Errorf("%d migrations were started", s.wire.jobs)
		}
		if s.t.Failed() {
			s.t.Fatalf("at revision %d of %d, after %s; the last calls were %v", revision, end, s.replica.history[max(0, revision-1)].key, last(s.wire.made(), 12))
		}
	}
	s.judge()
}

// lagging plays a script with events that come late until each step's end, each
// kind's at a pace of its own, and several as one; and the operator's own writes
// are among them. Another operator, whose cache is current, is at work as well.
func (sc script) lagging(t *testing.T, want undisturbed, random *rand.Rand) {
	t.Helper()
	s := sc.begin(t)
	s.wire.reset(nil)
	for _, step := range sc.steps {
		all, reached := s.replica.revision(), map[string]int{}
		seen := func(kind string) int { return max(all, reached[kind]) }
		s.restart()
		current, slow := s.operator, s.newOperator(seen)
		step(s)
		for range 30 {
			switch random.IntN(5) {
			case 0:
				s.others.act()
			case 1:
				s.operator = current
				_ = s.turn() // it will be taken again
			case 2:
				s.operator = slow
				_ = s.turn()
			default:
				kinds := s.replica.kinds()
				kind := kinds[random.IntN(len(kinds))]
				reached[kind] = seen(kind) + random.IntN(s.replica.revision()-seen(kind)+1)
			}
		}
		s.restart()
		s.settle()
	}
	s.expectEnd(want)
}

// disturbed plays the script with faults.
func (sc script) disturbed(t *testing.T, want undisturbed, disturb func(int, call) fault) {
	t.Helper()
	s := sc.begin(t)
	s.wire.reset(disturb)
	sc.play(s)
	s.expectEnd(want)
}

// expectEnd holds the end of a run against that of the undisturbed one.
func (s *stage) expectEnd(want undisturbed) {
	s.t.Helper()
	s.expect(want.picture)
	if s.wire.jobs != want.jobs {
		s.t.Errorf("%d migration Jobs were made, want %d", s.wire.jobs, want.jobs)
	}
	s.judge()
}

// only disturbs one call.
func only(number int, with fault) func(int, call) fault {
	return func(k int, _ call) fault {
		if k == number {
			return with
		}
		return nothing
	}
}

// inTurn disturbs each call when it is made for the first time, with one fault
// after the other.
func inTurn(first int) func(int, call) fault {
	seen := map[call]bool{}
	return func(_ int, c call) fault {
		if seen[c] {
			return nothing
		}
		seen[c] = true
		return faults[(first+len(seen))%len(faults)]
	}
}
