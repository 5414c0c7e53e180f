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

// maxDigits is how many digits an int64 has at most.
const maxDigits = 19

// What can be wrong with a text that should be an amount.
var (
	ErrSyntax    = errors.New("not a decimal number")
	ErrPrecision = errors.New("more than two decimal places")
	ErrRange     = errors.New("too many digits")
)

// Parse reads a decimal such as 12, 12.5, +12.50, -0.01 or 1.25e1, with at most two decimals that are not
// zero. It costs no more than the text is long, whatever the exponent. With ErrRange comes the nearest Amount.
func Parse(text string) (Amount, error) {
	unsigned, negative := strings.CutPrefix(text, "-")
	if !negative {
		unsigned = strings.TrimPrefix(unsigned, "+")
	}
	amount, err := parseUnsigned(unsigned)
	if negative {
		amount = -amount
	}
	return amount, err
}

func parseUnsigned(text string) (Amount, error) {
	mantissa, exponent, err := cutExponent(text)
	if err != nil {
		return 0, err
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if digits == "" || !isDigits(digits) {
		return 0, ErrSyntax
	}
	significant := strings.TrimRight(digits, "0")
	zeros := len(digits) - len(significant) - len(fraction) + exponent + 2 // that make hundredths of it
	significant = strings.TrimLeft(significant, "0")
	switch {
	case significant == "":
		return 0, nil
	case zeros < 0:
		return 0, ErrPrecision
	case len(significant)+zeros > maxDigits:
		return math.MaxInt64, ErrRange
	}
	hundredths, err := strconv.ParseInt(significant+strings.Repeat("0", zeros), 10, 64)
	if err != nil {
		return math.MaxInt64, ErrRange
	}
	return Amount(hundredths), nil
}

// cutExponent takes the exponent, of at most 32 bits, off a number.
func cutExponent(number string) (mantissa string, exponent int, err error) {
	at := strings.IndexAny(number, "eE")
	if at < 0 {
		return number, 0, nil
	}
	parsed, err := strconv.ParseInt(number[at+1:], 10, 32)
	if err != nil {
		return "", 0, ErrSyntax
	}
	return number[:at], int(parsed), nil
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
func (a Amount) String() string { return string(a.Append(nil)) }

// Append appends the amount with two decimals.
func (a Amount) Append(text []byte) []byte {
	hundredths := uint64(a) //nolint:gosec // of which the sign is taken
	if a < 0 {
		text, hundredths = append(text, '-'), -hundredths
	}
	text = strconv.AppendUint(text, hundredths/100, 10)
	return append(text, '.', '0'+byte(hundredths/10%10), '0'+byte(hundredths%10))
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
func (a Amount) MarshalText() ([]byte, error) { return a.Append(nil), nil }

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
func (t Total) String() string { return string(t.Append(nil)) }

// Append appends the total with two decimals.
func (t Total) Append(text []byte) []byte {
	if sum, ok := t.Amount(); ok {
		return sum.Append(text)
	}
	hundredths := new(big.Int).Lsh(new(big.Int).SetUint64(t.high), 64)
	return append(text, decimal(hundredths.Add(hundredths, new(big.Int).SetUint64(t.low)).String())...)
}

// MarshalText makes the JSON a string with two decimals.
func (t Total) MarshalText() ([]byte, error) { return t.Append(nil), nil }
