// Package money holds amounts of money exactly: whole hundredths in an int64, never floating point.
package money

import (
	"errors"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Amount is a sum in hundredths of the shop's currency: 99999 is 999.99. Its column holds the integer, its
// JSON is a string with two decimals.
type Amount int64

// Max is the largest price of a product: 99,999,999.99.
const Max Amount = 9_999_999_999

// What can be wrong with a text that should be an amount.
var (
	ErrSyntax    = errors.New("not a decimal number")
	ErrPrecision = errors.New("more than two decimal places")
	ErrRange     = errors.New("too many digits")
)

// Parse reads a decimal such as 12, 12.5, +12.50 or -0.01, with no exponent and at most two decimals that
// are not zero.
func Parse(text string) (Amount, error) {
	digits, negative := strings.CutPrefix(text, "-")
	if !negative {
		digits = strings.TrimPrefix(digits, "+")
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole+fraction == "" || !isDigits(whole) || !isDigits(fraction) {
		return 0, ErrSyntax
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > 2 {
		return 0, ErrPrecision
	}
	fraction += strings.Repeat("0", 2-len(fraction))
	hundredths, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return 0, ErrRange
	}
	if negative {
		hundredths = -hundredths
	}
	return Amount(hundredths), nil
}

func isDigits(text string) bool {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// String writes the sum with two decimals: "999.99".
func (a Amount) String() string {
	digits, negative := strings.CutPrefix(strconv.FormatInt(int64(a), 10), "-")
	if negative {
		return "-" + decimal(digits)
	}
	return decimal(digits)
}

// decimal puts the point into the digits of a number of hundredths.
func decimal(digits string) string {
	if len(digits) < 3 {
		digits = "000"[len(digits):] + digits
	}
	point := len(digits) - 2
	return digits[:point] + "." + digits[point:]
}

// MarshalText makes the JSON a string with two decimals.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Total is a sum of prices times quantities, neither of them negative. It is 128 bits wide, so that no cart
// is too dear to be shown exactly. Its zero value is 0.00.
type Total struct{ high, low uint64 }

// Plus is the total with quantity times price added.
func (t Total) Plus(price Amount, quantity int64) Total {
	high, low := bits.Mul64(uint64(price), uint64(quantity)) //nolint:gosec // neither is negative
	low, carry := bits.Add64(t.low, low, 0)
	high, _ = bits.Add64(t.high, high, carry)
	return Total{high: high, low: low}
}

// Amount is the same sum; ok is false when it does not fit.
func (t Total) Amount() (sum Amount, ok bool) {
	if t.high != 0 || t.low > math.MaxInt64 {
		return 0, false
	}
	return Amount(t.low), true
}

// String writes the total with two decimals.
func (t Total) String() string {
	if sum, ok := t.Amount(); ok {
		return sum.String()
	}
	hundredths := new(big.Int).Lsh(new(big.Int).SetUint64(t.high), 64)
	return decimal(hundredths.Add(hundredths, new(big.Int).SetUint64(t.low)).String())
}

// MarshalText makes the JSON a string with two decimals.
func (t Total) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
