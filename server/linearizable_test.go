package main

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// deed is what somebody did with the stock of one product, or was told of it.
type deed string

const (
	bought   deed = "bought"   // the units were taken
	returned deed = "returned" // an order of the units was cancelled
	refused  deed = "refused"  // fewer than the units are left
	held     deed = "held"     // no fewer than the units are left
	repriced deed = "repriced" // the units are left, and another thing about the product was changed
	looked   deed = "looked"   // the units are left
)

// changes tells whether the product is another one after the deed.
func (d deed) changes() bool { return d == bought || d == returned || d == repriced }

// stockOf is an operation on the stock of one product.
type stockOf struct {
	product int
	deed    deed
	units   int
}

// did is an operation between two moments of the same clock.
func did(product int, deed deed, units int, from, to time.Duration) porcupine.Operation {
	return porcupine.Operation{Input: stockOf{product, deed, units}, Call: int64(from), Return: int64(to)}
}

// stockModel is a shop in which each product has this many units at first, and one thing happens after the other.
func stockModel(stock int) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
			byProduct := map[int][]porcupine.Operation{}
			for _, operation := range history {
				product := operation.Input.(stockOf).product
				byProduct[product] = append(byProduct[product], operation)
			}
			for _, part := range byProduct {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return stock },
		Step: func(state, input, _ any) (possible bool, next any) {
			left, did := state.(int), input.(stockOf)
			switch did.deed {
			case bought:
				return left >= did.units, left - did.units
			case refused:
				return left < did.units, left
			case returned:
				return true, left + did.units
			case held:
				return left >= did.units, left
			default:
				return left == did.units, left
			}
		},
	}
}

// isLinearizable tells whether a history can be put in an order that keeps what was over before something else
// began before it, and in which each operation does what it said. In doubt it cannot.
func isLinearizable(stock int, history []porcupine.Operation) bool {
	return porcupine.CheckOperationsTimeout(stockModel(stock), history, 10*time.Second) == porcupine.Ok
}

func TestWhatIsLinearizable(t *testing.T) {
	for _, test := range []struct {
		name    string
		stock   int
		history []porcupine.Operation
		want    bool
	}{
		{"the last unit is sold once", 1, []porcupine.Operation{did(1, bought, 1, 0, 9), did(1, refused, 1, 1, 8)}, true},
		{"the last unit is sold twice", 1, []porcupine.Operation{did(1, bought, 1, 0, 9), did(1, bought, 1, 1, 8)}, false},
		{"each product has a last unit", 1, []porcupine.Operation{did(1, bought, 1, 0, 9), did(2, bought, 1, 1, 8)}, true},
		{"a sale is refused before the shelf is empty", 1, []porcupine.Operation{did(1, refused, 1, 0, 1), did(1, bought, 1, 2, 3)}, false},
		{"a sale is refused for another at once", 1, []porcupine.Operation{did(1, refused, 1, 0, 3), did(1, bought, 1, 2, 4)}, true},
		{"what is returned is sold again", 1, []porcupine.Operation{did(1, bought, 1, 0, 1), did(1, returned, 1, 2, 3), did(1, bought, 1, 4, 5)}, true},
		{"what is returned is lost", 1, []porcupine.Operation{did(1, bought, 1, 0, 1), did(1, returned, 1, 2, 3), did(1, refused, 1, 4, 5)}, false},
		{"a read sees a sale under way, or not", 2, []porcupine.Operation{did(1, bought, 1, 0, 9), did(1, looked, 2, 1, 2), did(1, looked, 1, 3, 4)}, true},
		{"a read sees a sale and the next one does not", 2, []porcupine.Operation{did(1, bought, 1, 0, 9), did(1, looked, 1, 1, 2), did(1, looked, 2, 3, 4)}, false},
		{"a read is out of date", 2, []porcupine.Operation{did(1, bought, 1, 0, 1), did(1, looked, 2, 2, 3)}, false},
		{"a cart takes more than there is", 2, []porcupine.Operation{did(1, bought, 1, 0, 1), did(1, held, 2, 2, 3)}, false},
	} {
		if got := isLinearizable(test.stock, test.history); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
