package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

const (
	lookEvery    = 400 * time.Millisecond // for changes that nobody told of; with pageLifetime less than a second
	keptVersions = 1000                   // of the catalogue, for counts to catch up
	mostChanges  = 5000                   // in more than these, all is read again
	mostSearches = 10_000                 // whose counts are remembered
	loadTimeout  = time.Minute
	idsAtOnce    = 500
)

// The marks of a product in counts.
const (
	onSale uint8 = 1 << iota
	inStock
	featured
)

// countedProduct is what products are filtered by, but for the search.
type countedProduct struct {
	id, category, price int64
	inStock, featured   bool
}

func (p *countedProduct) columns() []any {
	return []any{&p.id, &p.category, &p.price, &p.inStock, &p.featured}
}

func (p *countedProduct) marks() uint8 {
	marks := onSale
	if p.inStock {
		marks |= inStock
	}
	if p.featured {
		marks |= featured
	}
	return marks
}

const countedColumns = "SELECT p.id, p.category_id, p.price_cents, p.stock > 0, p.featured FROM products p WHERE p.archived_at IS NULL"

// counts tells how many products a filter finds without asking the database each time. It keeps, in 29 bytes a
// product, what filters look at, and catches up with the changes that the database lists.
type counts struct {
	db     *database.DB
	behind atomic.Bool // there are changes; else a look is taken now and then

	mutex    sync.Mutex
	loaded   bool
	loading  bool
	version  int64 // of the catalogue, at least
	looked   time.Time
	searches map[string]counted // of this version, by filter

	ids        []int64 // ascending
	categories []int64
	prices     []int64
	marks      []uint8
	members    map[int64][]int32 // of each category: where its products are, ascending
}

// counted is how many products a search finds.
type counted struct {
	products int64
	lasting  bool // until texts change, for nothing else is looked at
}

func newCounts(db *database.DB) *counts { return &counts{db: db, searches: map[string]counted{}} }

// of returns how many products a filter finds.
func (n *counts) of(ctx context.Context, f filter) (int64, error) {
	current, err := n.current(ctx)
	if err != nil {
		return 0, err
	}
	if !current {
		return countIn(n.db.WithContext(ctx), f)
	}
	if len(f.words) == 0 {
		defer n.mutex.Unlock()
		return n.scan(f), nil
	}
	key := f.key()
	known, ok := n.searches[key]
	version := n.version
	n.mutex.Unlock()
	if ok {
		return known.products, nil
	}
	count, err := countIn(n.db.WithContext(ctx), f)
	if err != nil {
		return 0, err
	}
	n.remember(key, version, counted{count, f.ofTexts()})
	return count, nil
}

func countIn(tx *gorm.DB, f filter) (count int64, err error) {
	where, arguments := f.where(tx)
	if err := tx.Raw("SELECT count(*) FROM products p WHERE "+where, arguments...).Scan(&count).Error; err != nil {
		return 0, fmt.Errorf("count products: %w", err)
	}
	return count, nil
}

// remember keeps the count of a search, made while the catalogue had at least this version.
func (n *counts) remember(key string, version int64, count counted) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.version != version || n.behind.Load() {
		return // it may be of either version
	}
	if len(n.searches) >= mostSearches {
		clear(n.searches)
	}
	n.searches[key] = count
}

// current brings the counts up to date and leaves the mutex locked. It returns false, and leaves it unlocked,
// while the products are not read yet.
func (n *counts) current(ctx context.Context) (bool, error) {
	n.mutex.Lock()
	if n.loaded && (n.behind.Swap(false) || time.Since(n.looked) > lookEvery) {
		if err := n.catchUp(n.db.WithContext(ctx)); err != nil {
			n.behind.Store(true)
			n.mutex.Unlock()
			return false, err
		}
	}
	if n.loaded {
		return true, nil
	}
	if !n.loading {
		n.loading = true
		go n.load(context.WithoutCancel(ctx))
	}
	n.mutex.Unlock()
	return false, nil
}

// load reads all products.
func (n *counts) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	db, looked := n.db.WithContext(ctx), time.Now()
	fresh := &counts{members: map[int64][]int32{}}
	// The version first: what changes after that is read again by and by.
	err := db.Raw("SELECT version FROM catalog_version").Scan(&fresh.version).Error
	if err == nil {
		err = fresh.readAll(db)
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.loading = false
	if err != nil {
		return // counted by the database meanwhile; the next who asks tries again
	}
	n.ids, n.categories, n.prices, n.marks, n.members = fresh.ids, fresh.categories, fresh.prices, fresh.marks, fresh.members
	n.version, n.looked, n.loaded = fresh.version, looked, true
	n.behind.Store(true)
	clear(n.searches)
}

func (n *counts) readAll(db *gorm.DB) error {
	rows, err := db.Raw(countedColumns + " ORDER BY p.id").Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	var p countedProduct
	columns := p.columns()
	for rows.Next() {
		if err := rows.Scan(columns...); err != nil {
			return err
		}
		n.set(p.id, p.category, p.price, p.marks())
	}
	return rows.Err()
}

// change is a line of what the database lists.
type change struct {
	version, product int64
	texts            bool // see [filter.ofTexts]
}

func (c *change) columns() []any { return []any{&c.version, &c.product, &c.texts} }

// catchUp reads what has changed since the version that is here.
func (n *counts) catchUp(db *gorm.DB) error {
	looked := time.Now()
	var version int64
	if err := db.Raw("SELECT version FROM catalog_version").Scan(&version).Error; err != nil {
		return fmt.Errorf("read the version of the catalogue: %w", err)
	}
	if version < n.version { // the database was set back to an earlier state
		n.loaded = false
	}
	if version <= n.version {
		n.looked = looked
		return nil
	}
	changes, err := database.Select(
		db.Raw("SELECT version, product_id, texts FROM catalog_changes WHERE version > ? ORDER BY version LIMIT ?", n.version, mostChanges),
		(*change).columns)
	if err != nil {
		return fmt.Errorf("read the changes of the catalogue: %w", err)
	}
	n.looked = looked
	if len(changes) == 0 {
		return nil
	}
	if len(changes) == mostChanges || changes[0].version != n.version+1 { // too many, or some are forgotten
		n.loaded = false
		return nil
	}
	ids, texts := make([]int64, len(changes)), false
	for i, change := range changes {
		ids[i], texts = change.product, texts || change.texts
	}
	if err := n.readAgain(db, ids); err != nil {
		return err
	}
	n.version = changes[len(changes)-1].version
	maps.DeleteFunc(n.searches, func(_ string, search counted) bool { return texts || !search.lasting })
	return nil
}

// readAgain reads products that changed.
func (n *counts) readAgain(db *gorm.DB, ids []int64) error {
	slices.Sort(ids)
	for some := range slices.Chunk(slices.Compact(ids), idsAtOnce) {
		found, err := database.Select(db.Raw(countedColumns+" AND p.id IN ?", some), (*countedProduct).columns)
		if err != nil {
			return fmt.Errorf("read the products that changed: %w", err)
		}
		onSale := make(map[int64]countedProduct, len(found))
		for _, p := range found {
			onSale[p.id] = p
		}
		for _, id := range some {
			if p, ok := onSale[id]; ok {
				n.set(id, p.category, p.price, p.marks())
			} else {
				n.set(id, 0, 0, 0)
			}
		}
	}
	return nil
}

// set puts in a product, most often a new one at the end.
func (n *counts) set(id, category, price int64, marks uint8) {
	at, present := len(n.ids), false
	if at > 0 && id <= n.ids[at-1] {
		at, present = slices.BinarySearch(n.ids, id)
	}
	place := int32(at) //nolint:gosec // there are not that many
	if !present {
		n.insert(place, id)
	}
	if n.categories[at] != category {
		n.move(place, category)
	}
	n.prices[at], n.marks[at] = price, marks
}

// insert makes room for a product that has no category yet.
func (n *counts) insert(place int32, id int64) {
	at := int(place)
	if at < len(n.ids) { // a rare thing
		for _, places := range n.members {
			first, _ := slices.BinarySearch(places, place)
			for i := range places[first:] {
				places[first+i]++
			}
		}
	}
	n.ids = slices.Insert(n.ids, at, id)
	n.categories = slices.Insert(n.categories, at, 0)
	n.prices = slices.Insert(n.prices, at, 0)
	n.marks = slices.Insert(n.marks, at, 0)
}

// move puts a product into another category, 0 for none.
func (n *counts) move(place int32, category int64) {
	if former := n.categories[place]; former != 0 {
		i, _ := slices.BinarySearch(n.members[former], place)
		n.members[former] = slices.Delete(n.members[former], i, i+1)
	}
	if category != 0 {
		i, _ := slices.BinarySearch(n.members[category], place)
		n.members[category] = slices.Insert(n.members[category], i, place)
	}
	n.categories[place] = category
}

// scan counts: two milliseconds for a million products, and those of one category as much sooner as they are fewer.
func (n *counts) scan(f filter) (count int64) {
	mask, want := f.marks()
	fits := func(at int) bool {
		return n.marks[at]&mask == want && f.lowest <= n.prices[at] && n.prices[at] <= f.highest
	}
	if f.hasCategory {
		for _, place := range n.members[f.category] {
			if fits(int(place)) {
				count++
			}
		}
		return count
	}
	for at := range n.ids {
		if fits(at) {
			count++
		}
	}
	return count
}
