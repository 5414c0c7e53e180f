package main

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

const (
	crowd     = 6           // customers who buy at once
	kinds     = 3           // products that they buy
	staleness = time.Second // that a product read on one process may have when another changed it
	there     = `{"shipping_address": "there"}`
)

// bazaar is a shop that many customers use at once, through one server process or several.
type bazaar struct {
	t      *testing.T
	apis   []string
	client *http.Client
	staff  string        // token
	crowd  [crowd]string // tokens
	names  [kinds + 1]string

	lock  sync.Mutex
	began time.Time
	last  int64 // order before this day
	made  map[int64]order
	deeds []deedAt
}

// deedAt is an operation on stock and the server process that did it.
type deedAt struct {
	porcupine.Operation
	stockOf

	pod int
}

// order is an order as its customer sees it.
type order struct {
	ID     int64
	Status string
	Items  []struct {
		Product           struct{ ID int }
		Quantity          int
		Price, TotalPrice string
	}
	TotalAmount string `json:"total_amount"`
}

func (o order) lines() map[int]int {
	lines := map[int]int{}
	for _, item := range o.Items {
		lines[item.Product.ID] += item.Quantity
	}
	return lines
}

// Whatever customers and staff do at once, on two processes of one shop, or on one with its embedded database:
// what is sold and what is left is what there was, each order adds up, each cart and each Idempotency-Key is one
// order, and all that anybody was told of a product's stock fits one order of events. No request fails.
func TestInvariants(t *testing.T) {
	staff := []string{"SHOP_ADMIN_EMAIL=staff@example.com", "SHOP_ADMIN_PASSWORD=correct horse battery"}
	t.Run("two processes on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		settings := append(postgresShop(t), staff...)
		rapid.Check(t, openBazaar(t, start(t, settings...), start(t, settings...)).oneDay)
	})
	t.Run("one process on SQLite", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, openBazaar(t, start(t, staff...)).oneDay)
	})
}

func openBazaar(t *testing.T, pods ...*server) *bazaar {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 4 * crowd}
	t.Cleanup(transport.CloseIdleConnections)
	b := &bazaar{t: t, client: &http.Client{Timeout: 20 * time.Second, Transport: transport}}
	for _, pod := range pods {
		awaitReady(t, pod.api, http.StatusOK)
		b.apis = append(b.apis, pod.api)
	}
	b.staff = field(t, want(t, 200, b.apis[0], "POST", "/auth/api/token/", "",
		`{"email": "staff@example.com", "password": "correct horse battery"}`), "access")
	for i := range b.crowd {
		someone := strings.NewReplacer("user@", fmt.Sprintf("user%d@", i), "testuser", fmt.Sprintf("buyer%d", i)).Replace(registration)
		b.crowd[i] = field(t, want(t, 201, b.apis[0], "POST", "/auth/api/register/", "", someone), "access")
	}
	return b
}

// visit is what a customer does with one cart, beside all others.
type visit struct {
	pod    int
	lines  map[int]int // units by product
	orders string      // once, twice, or again, which is twice with one Idempotency-Key
	rivals []string    // who decide about the order at once
	looks  int         // at this product, before and after
	price  int         // that staff give to that product meanwhile, in cents; 0 is none
}

func drawVisit(r *rapid.T) visit {
	return visit{
		pod:    rapid.IntRange(0, 1).Draw(r, "pod"),
		lines:  rapid.MapOfN(rapid.IntRange(1, kinds), rapid.IntRange(1, 3), 1, kinds).Draw(r, "lines"),
		orders: rapid.SampledFrom([]string{"once", "twice", "again"}).Draw(r, "orders"),
		rivals: rapid.SampledFrom([][]string{nil, {"owner cancels"}, {"owner cancels", "staff cancel"}, {"owner cancels", "staff ship"}}).Draw(r, "rivals"),
		looks:  rapid.IntRange(1, kinds).Draw(r, "looks"),
		price:  rapid.SampledFrom([]int{0, 0, 1, 1999}).Draw(r, "price"),
	}
}

// oneDay stocks the shop, lets everybody in, and checks the books in the evening.
func (b *bazaar) oneDay(r *rapid.T) {
	stock := rapid.IntRange(0, 8).Draw(r, "stock")
	visits := rapid.SliceOfN(rapid.Custom(drawVisit), 2*crowd, 2*crowd).Draw(r, "visits")
	b.open(stock)
	var everybody sync.WaitGroup
	for n, buyer := range b.crowd {
		everybody.Go(func() {
			b.visit(buyer, visits[n])
			b.visit(buyer, visits[n+crowd])
		})
	}
	everybody.Wait()
	b.checkBooks(r, stock)
	if !isLinearizable(stock, b.history()) {
		r.Errorf("of each product there were %d; this fits no order of events:\n%s", stock, b.story())
	}
}

// open puts the same stock of each product on sale. Each process is told, so that none has an older one to tell.
func (b *bazaar) open(stock int) {
	for pod := range b.apis {
		for product := 1; product <= kinds; product++ {
			answer := b.send(pod, "PATCH", productPath(product), b.staff, fmt.Sprintf(`{"stock": %d}`, stock))
			b.names[product] = field(b.t, answer.body, "name")
		}
	}
	b.last = 0
	for _, order := range b.allOrders() {
		b.last = max(b.last, order.ID)
	}
	b.began, b.made, b.deeds = time.Now(), map[int64]order{}, nil
}

func productPath(id int) string { return fmt.Sprintf("/api/products/%d/", id) }

// reply is an answer and the time it took from the first moment of the day.
type reply struct {
	pod, status int
	replayed    bool
	body        string
	from, to    time.Duration
}

func (a reply) did(product int, deed deed, units int) deedAt {
	did := stockOf{product, deed, units}
	return deedAt{porcupine.Operation{Input: did, Call: int64(a.from), Return: int64(a.to)}, did, a.pod}
}

// send sends a request to a process. No answer says that the shop has failed.
func (b *bazaar) send(pod int, method, path, token, body string, key ...string) reply {
	pod %= len(b.apis)
	request, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.apis[pod]+path, strings.NewReader(body))
	if err != nil {
		b.t.Error(err)
		return reply{}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	for _, name := range key {
		request.Header.Set("Idempotency-Key", name)
	}
	from := time.Since(b.began)
	response, err := b.client.Do(request)
	if err != nil {
		b.t.Error(err)
		return reply{}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 500 {
		b.t.Errorf("%s %s %s: %d %s %v", method, path, body, response.StatusCode, text, err)
	}
	return reply{pod, response.StatusCode, response.Header.Get("Idempotent-Replayed") == "true", string(text), from, time.Since(b.began)}
}

// must is a request that goes well.
func (b *bazaar) must(pod int, method, path, token, body string) reply {
	answer := b.send(pod, method, path, token, body)
	if answer.status >= 300 {
		b.t.Errorf("%s %s %s: %d %s", method, path, body, answer.status, answer.body)
	}
	return answer
}

func (b *bazaar) note(deeds ...deedAt) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.deeds = append(b.deeds, deeds...)
}

func (b *bazaar) visit(buyer string, v visit) {
	b.look(buyer, v)
	defer b.look(buyer, v)
	var office sync.WaitGroup
	defer office.Wait()
	if v.price > 0 {
		office.Go(func() {
			changed := b.must(v.pod+1, "PATCH", productPath(v.looks), b.staff, fmt.Sprintf(`{"price": "%d.%02d"}`, v.price/100, v.price%100))
			b.note(changed.did(v.looks, repriced, b.stockIn(changed)))
		})
	}
	cart := map[int]int{}
	for product, units := range v.lines {
		added := b.send(v.pod, "POST", "/api/cart/items/", buyer, fmt.Sprintf(`{"product_id": %d, "quantity": %d}`, product, units))
		switch {
		case added.status == http.StatusCreated:
			cart[product] = units
			b.note(added.did(product, held, units))
		case added.status == http.StatusBadRequest && added.body == `{"error":"Insufficient stock"}`:
			b.note(added.did(product, refused, units))
		default:
			b.t.Errorf("put %d of product %d into a cart: %d %s", units, product, added.status, added.body)
		}
	}
	if id := b.order(buyer, v, cart); id != 0 {
		b.decide(buyer, v, id, cart)
	}
	b.must(v.pod, "DELETE", "/api/cart/", buyer, "")
}

func (b *bazaar) look(buyer string, v visit) {
	seen := b.must(v.pod, "GET", productPath(v.looks), buyer, "")
	b.note(seen.did(v.looks, looked, b.stockIn(seen)))
}

func (b *bazaar) stockIn(product reply) int {
	var told struct{ Stock int }
	b.read(product, &told)
	return told.Stock
}

func (b *bazaar) read(answer reply, into any) {
	if err := json.Unmarshal([]byte(answer.body), into); err != nil {
		b.t.Errorf("%s: %v", answer.body, err)
	}
}

// order orders a cart as the visit says and returns the order's id, 0 if there is none.
func (b *bazaar) order(buyer string, v visit, cart map[int]int) int64 {
	answers, key := make([]reply, 2), []string(nil)
	switch v.orders {
	case "once":
		answers = answers[:1]
	case "again":
		key = []string{rand.Text()}
	}
	var both sync.WaitGroup
	for n := range answers {
		both.Go(func() { answers[n] = b.send(v.pod+n, "POST", "/api/orders/", buyer, there, key...) })
	}
	both.Wait()
	made := slices.DeleteFunc(slices.Clone(answers), func(a reply) bool { return a.status != http.StatusCreated })
	for _, answer := range answers {
		b.checkRefusal(answer, cart, len(cart) == 0 || len(made) > 0 && v.orders == "twice")
	}
	if len(made) == 0 {
		return 0
	}
	if v.orders == "again" {
		made = append(made, b.send(v.pod, "POST", "/api/orders/", buyer, there, key...))
	}
	return b.noteOrder(made, cart)
}

// checkRefusal notes what an answer other than an order tells.
func (b *bazaar) checkRefusal(answer reply, cart map[int]int, mayBeEmpty bool) {
	short, isShort := strings.CutPrefix(answer.body, `{"error":"Insufficient stock for `)
	product := slices.Index(b.names[:], strings.TrimSuffix(short, `"}`))
	switch {
	case answer.status == http.StatusCreated:
	case answer.status == http.StatusBadRequest && isShort && cart[product] > 0:
		b.note(answer.did(product, refused, cart[product]))
	case answer.status == http.StatusBadRequest && answer.body == `{"error":"Cart is empty"}` && mayBeEmpty:
	default:
		b.t.Errorf("order a cart with %v: %d %s", cart, answer.status, answer.body)
	}
}

// noteOrder notes an order, which one answer made and all others repeat.
func (b *bazaar) noteOrder(answers []reply, cart map[int]int) int64 {
	first := slices.IndexFunc(answers, func(a reply) bool { return !a.replayed })
	whole := answers[0]
	for n, answer := range answers {
		if first < 0 || answer.body != whole.body || answer.replayed != (n != first) {
			b.t.Errorf("one cart, or one key, was ordered with the answers %+v", answers)
			return 0
		}
		whole.from, whole.to = min(whole.from, answer.from), min(whole.to, answer.to)
	}
	whole.pod = answers[first].pod
	var made order
	b.read(whole, &made)
	if !maps.Equal(made.lines(), cart) {
		b.t.Errorf("of a cart with %v became the order %s", cart, whole.body)
	}
	for product, units := range cart {
		b.note(whole.did(product, bought, units))
	}
	b.lock.Lock()
	defer b.lock.Unlock()
	b.made[made.ID] = made
	return made.ID
}

// decide lets the rivals decide about an order, of whom one wins.
func (b *bazaar) decide(buyer string, v visit, id int64, cart map[int]int) {
	answers := make([]reply, len(v.rivals))
	var all sync.WaitGroup
	for n, rival := range v.rivals {
		all.Go(func() {
			switch rival {
			case "owner cancels":
				answers[n] = b.send(v.pod, "POST", fmt.Sprintf("/api/orders/%d/cancel/", id), buyer, "")
			case "staff cancel":
				answers[n] = b.send(v.pod+1, "POST", fmt.Sprintf("/api/orders/%d/cancel/", id), b.staff, "")
			default:
				answers[n] = b.send(v.pod+1, "PATCH", fmt.Sprintf("/api/orders/%d/status/", id), b.staff, `{"status": "shipped"}`)
			}
		})
	}
	all.Wait()
	won := 0
	for n, answer := range answers {
		switch {
		case answer.status == http.StatusBadRequest && strings.HasPrefix(answer.body, `{"status":["`):
			continue
		case answer.status != http.StatusOK:
			b.t.Errorf("%s: %d %s", v.rivals[n], answer.status, answer.body)
		case v.rivals[n] != "staff ship":
			for product, units := range cart {
				b.note(answer.did(product, returned, units))
			}
		}
		won++
	}
	if won != min(len(v.rivals), 1) {
		b.t.Errorf("of %q %d won: %+v", v.rivals, won, answers)
	}
}

// checkBooks compares what there was with what is left and what was sold, and the orders with what customers know.
func (b *bazaar) checkBooks(r *rapid.T, stock int) {
	var left [kinds + 1]int
	for product := 1; product <= kinds; product++ {
		left[product] = b.stockIn(b.must(0, "PATCH", productPath(product), b.staff, "{}")) // not a read, which may be old
	}
	known := 0
	for _, order := range b.allOrders() {
		if order.ID <= b.last {
			continue
		}
		known++
		if made, isKnown := b.made[order.ID]; !isKnown || !maps.Equal(made.lines(), order.lines()) || made.TotalAmount != order.TotalAmount {
			r.Errorf("the order %+v, which its customer knows as %+v", order, made)
		}
		total := 0
		for _, item := range order.Items {
			total += cents(r, item.Price) * item.Quantity
			if order.Status != "cancelled" {
				left[item.Product.ID] += item.Quantity
			}
		}
		if cents(r, order.TotalAmount) != total {
			r.Errorf("the order %+v adds up to %d cents", order, total)
		}
	}
	if known != len(b.made) {
		r.Errorf("there are %d orders, and customers know of %d", known, len(b.made))
	}
	for product, units := range left[1:] {
		if units != stock {
			r.Errorf("of product %d there were %d, and there are %d, what was sold included", product+1, stock, units)
		}
	}
}

// allOrders are the latest orders, more than a day's.
func (b *bazaar) allOrders() []order {
	var page struct{ Results []order }
	b.read(b.must(0, "GET", "/api/orders/?page_size=100", b.staff, ""), &page)
	return page.Results
}

func cents(r *rapid.T, amount string) int {
	whole, fraction, _ := strings.Cut(amount, ".")
	number, err := strconv.Atoi(whole + fraction)
	if err != nil || len(fraction) != 2 {
		r.Errorf("%q is no amount", amount)
	}
	return number
}

// history is the day's operations. A read may tell of any moment since its process last changed the product, but
// of none longer ago than a second: that is as if it had begun then.
func (b *bazaar) history() []porcupine.Operation {
	history := make([]porcupine.Operation, 0, len(b.deeds))
	for _, did := range b.deeds {
		if did.deed == looked {
			since := max(did.Call-int64(staleness), 0)
			for _, other := range b.deeds {
				if other.pod == did.pod && other.product == did.product && other.deed.changes() && other.Return < did.Call {
					since = max(since, other.Return)
				}
			}
			did.Call = since
		}
		history = append(history, did.Operation)
	}
	return history
}

// story is the day's operations for a human reader.
func (b *bazaar) story() string {
	slices.SortFunc(b.deeds, func(x, y deedAt) int { return cmp.Or(x.product-y.product, cmp.Compare(x.Call, y.Call)) })
	var lines strings.Builder
	for _, did := range b.deeds {
		fmt.Fprintf(&lines, "product %d, process %d, %8v to %8v: %s %d\n", did.product, did.pod,
			time.Duration(did.Call).Round(time.Microsecond), time.Duration(did.Return).Round(time.Microsecond), did.deed, did.units)
	}
	return lines.String()
}
